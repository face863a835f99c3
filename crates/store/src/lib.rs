//! Durable columnar storage of traces and logs.
//!
//! It is: a [`Store`] that takes OTLP requests, acknowledges them when they are on disk and visible, and shows
//! everything that it holds as [`table::Source`]s. It is not: a query engine (`tracewell-query` reads the sources), a
//! listener (`tracewell-ingest` hands requests over) or a cluster.
//!
//! ```text
//!            append                              sources
//!              │                                    ▲
//!              ▼                                    │
//!  wal ── durable ──▶ head ── sealed ──▶ segment ◀──┤── one snapshot of heads and segments
//!   ▲                  (columns in        │ merge   │
//!   │ trimmed           memory)           ▼         │
//!   └────────────── catalog ◀──────── segment ──────┘
//!                   what exists       (Parquet + index)
//! ```
//!
//! The folders are the life of a row: [`wal`] makes it durable, [`head`] makes it visible, [`merge`] writes it into a
//! [`segment`] with an [`index`], [`catalog`] says that the segment exists, `lifecycle` drives all that and deletes
//! what is old. The bytes on disk are described in `docs/formats.md`.

pub mod cache;
pub mod catalog;
mod config;
pub mod head;
pub mod index;
mod lifecycle;
pub mod merge;
mod retention;
pub mod segment;
mod store;
pub mod table;
pub mod wal;

pub use config::StoreConfig;
pub use lifecycle::{
    AppendError, CompactionStatus, DamagedFile, Environment, MemoryStatus, OpenReport, RequestStatus, RetentionStatus,
    SealingStatus, StoreError, StoreStatus, TableStatus,
};
pub use store::Store;
