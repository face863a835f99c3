//! Questions to stored traces and logs, and their answers.
//!
//! It is: TraceQL (reading, checking, planning), its execution over any set of [`Source`]s, whole traces put together
//! from wherever their parts lie, and listings of what occurs. It is not: a store (`tracewell-store` holds the rows), a
//! server (`tracewell-server` knows HTTP) or an analysis. The crate does no I/O of its own and knows no clock but
//! the deadline that it is given.
//!
//! ```text
//! text ─ traceql ─▶ Query ─ plan ─▶ Program ─ exec ─▶ answer
//!                                     ▲
//!             Source, Source, … ──────┘   blocks of the head and segments alike
//! ```
//!
//! Invariants: no answer depends on how spans are spread over sources; a page and its successors through cursors are the
//! list that one large page would be; a source that cannot be read costs a warning and its rows, nothing else.
//!
//! [`Source`]: tracewell_store::table::Source

pub(crate) mod error;
mod exec;
mod explain;
mod plan;
pub mod traceql;

pub use error::QueryError;
pub use exec::*;
pub use explain::{Counted, Explained, explain_set, explain_trace, warnings};
