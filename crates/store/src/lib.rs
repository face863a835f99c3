//! Durable columnar storage of traces and logs.

pub mod cache;
pub mod catalog;
pub mod head;
pub mod index;
pub mod merge;
pub mod segment;
pub mod table;
pub mod wal;
