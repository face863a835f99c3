//! Durable columnar storage of traces and logs.

pub mod catalog;
pub mod head;
pub mod table;
pub mod wal;
