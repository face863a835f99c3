//! The life of a row from request to segment, and of a segment from sealing to deletion.
//!
//! ```text
//! append ─▶ admission ─▶ requests (seen before?) ─▶ wal ─▶ inserter ─▶ head ─▶ acknowledged
//!                                                             │ full, old, or memory is short
//!                                                             ▼
//!                              view ◀── commit ◀── sealer ◀─ freeze          one thread each:
//!                               ▲                                             wal, inserter, sealer(s),
//!                               ├───── commit ◀── compactor ◀─ plan           compactor, housekeeper
//!                               └───── retention, deletion ◀── housekeeper
//! open: lock ─▶ catalog ⇄ reconcile ⇄ segment files ─▶ replay of the log ─▶ threads
//! ```
//!
//! Invariants: what is visible changes under one lock, each row once; a frame leaves the log only after the catalog
//! has its segment; a file is deleted only after the catalog no longer has it and nobody reads it.

mod admission;
mod compactor;
mod core;
mod error;
mod housekeeper;
mod inserter;
mod lock;
mod open;
mod plan;
mod requests;
mod running;
mod sealer;
mod status;
#[cfg(test)]
mod tests;
mod view;

pub use self::core::Environment;
pub(crate) use compactor::compact_all;
pub use error::{AppendError, StoreError};
pub(crate) use inserter::Ticket;
pub use open::OpenReport;
pub(crate) use requests::{Entry, request_hash};
pub(crate) use running::Running;
pub use status::{
    CompactionStatus, DamagedFile, MemoryStatus, RequestStatus, RetentionStatus, SealingStatus, StoreStatus,
    TableStatus,
};
pub(crate) use view::sources;
