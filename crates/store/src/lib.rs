//! Durable columnar storage of traces and logs.

pub mod table;
