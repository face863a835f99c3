//! What is known of a segment without opening it.

use serde::{Deserialize, Serialize};

use crate::table::Signal;

/// A segment's entry in the catalog; all but its sizes also stands in the segment's own file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SegmentMeta {
    /// Number that names the files.
    pub id: u64,
    /// Spans or log records.
    pub signal: Signal,
    /// Who owns the rows.
    pub tenant: String,
    /// Rows.
    pub rows: u64,
    /// Traces.
    pub traces: u64,
    /// Earliest start of a row, in nanoseconds since the epoch.
    pub min_start: u64,
    /// Latest end of a row, in nanoseconds since the epoch.
    pub max_end: u64,
    /// Start of the time partition, in nanoseconds since the epoch.
    pub partition_start: u64,
    /// Size of the Parquet file.
    #[serde(default)]
    pub data_bytes: u64,
    /// Size of the index file.
    #[serde(default)]
    pub index_bytes: u64,
    /// CRC-32C of the Parquet file's footer.
    #[serde(default)]
    pub data_footer_crc: u32,
    /// First write-ahead log frame whose rows are in here; 0 if there is none.
    pub wal_from: u64,
    /// Last write-ahead log frame whose rows are in here; 0 if there is none.
    pub wal_to: u64,
    /// Segments whose rows this one took over.
    pub replaces: Vec<u64>,
}

impl SegmentMeta {
    /// Name of the Parquet file.
    pub fn data_file(&self) -> String {
        data_file(self.id)
    }

    /// Name of the index file.
    pub fn index_file(&self) -> String {
        index_file(self.id)
    }
}

/// Name of a segment's Parquet file.
pub fn data_file(id: u64) -> String {
    format!("{id:016x}.parquet")
}

/// Name of a segment's index file.
pub fn index_file(id: u64) -> String {
    format!("{id:016x}.idx")
}
