//! The rows of the catalog and their checksums.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::table::Signal;
use crate::wal::format::{signal_code, signal_of};

/// A segment that exists.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SegmentRow {
    /// Its number, never used twice; the files are named after it.
    pub id: u64,
    /// Tenant.
    pub tenant: String,
    /// What it holds.
    #[serde(with = "code")]
    pub signal: Signal,
    /// 0 as sealed, 1 compacted within its partition, 2 compacted with other partitions of its day.
    pub level: u8,
    /// Rows.
    pub rows: u64,
    /// Traces.
    pub traces: u64,
    /// Earliest start of any row, in nanoseconds since the epoch.
    pub min_start: u64,
    /// Latest end of any row, in nanoseconds since the epoch.
    pub max_end: u64,
    /// Start of its partition, in nanoseconds since the epoch.
    pub partition_start: u64,
    /// Size of the Parquet file.
    pub data_bytes: u64,
    /// Size of the index file.
    pub index_bytes: u64,
    /// Checksum of the Parquet file's footer.
    pub data_footer_crc: u32,
    /// First frame of the log with rows in here.
    pub wal_from: u64,
    /// Last frame of the log with rows in here.
    pub wal_to: u64,
    /// When its newest rows were sealed, in milliseconds since the epoch: retention counts from here.
    pub created_ms: u64,
    /// Id of the first segment of the set that it was written with.
    pub set_id: u64,
}

/// How far a tenant's log is stored in segments.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct SealedRow {
    /// Tenant.
    pub tenant: Arc<str>,
    /// Which rows.
    pub signal: Signal,
    /// Frames up to and including this one are.
    pub frame: u64,
}

/// Hashes of requests that were stored together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestHashes {
    /// Last frame of them.
    pub frame: u64,
    /// When the last of them was received, in milliseconds since the epoch.
    pub received_ms: u64,
    /// One for each request.
    pub hashes: Vec<u128>,
}

/// A checksum over fields, each written so that no two rows have the same bytes.
struct RowCrc(u32);

impl RowCrc {
    fn number(self, number: u64) -> Self {
        Self(crc32c::crc32c_append(self.0, &number.to_le_bytes()))
    }

    fn text(self, text: &str) -> Self {
        Self(crc32c::crc32c_append(self.number(text.len() as u64).0, text.as_bytes()))
    }
}

impl SegmentRow {
    /// CRC-32C of the columns in the order of the schema, each number as 8 bytes little-endian, each text as its length
    /// and its bytes.
    pub fn crc(&self) -> u32 {
        RowCrc(0)
            .number(self.id)
            .text(&self.tenant)
            .number(u64::from(signal_code(self.signal)))
            .number(u64::from(self.level))
            .number(self.rows)
            .number(self.traces)
            .number(self.min_start)
            .number(self.max_end)
            .number(self.partition_start)
            .number(self.data_bytes)
            .number(self.index_bytes)
            .number(u64::from(self.data_footer_crc))
            .number(self.wal_from)
            .number(self.wal_to)
            .number(self.created_ms)
            .number(self.set_id)
            .0
    }

    /// Bytes of both files.
    pub fn size_bytes(&self) -> u64 {
        self.data_bytes + self.index_bytes
    }
}

impl SealedRow {
    /// As [`SegmentRow::crc`].
    pub fn crc(&self) -> u32 {
        RowCrc(0).text(&self.tenant).number(u64::from(signal_code(self.signal))).number(self.frame).0
    }
}

impl RequestHashes {
    /// The hashes, 16 bytes little-endian each.
    pub fn to_bytes(&self) -> Vec<u8> {
        self.hashes.iter().flat_map(|hash| hash.to_le_bytes()).collect()
    }

    /// The inverse of [`RequestHashes::to_bytes`].
    pub fn from_bytes(frame: u64, received_ms: u64, bytes: &[u8]) -> Option<Self> {
        let (hashes, rest) = bytes.as_chunks::<16>();
        rest.is_empty().then(|| Self {
            frame,
            received_ms,
            hashes: hashes.iter().map(|hash| u128::from_le_bytes(*hash)).collect(),
        })
    }

    /// As [`SegmentRow::crc`], with the hashes as text.
    pub fn crc(&self) -> u32 {
        let bytes = self.to_bytes();
        let RowCrc(crc) = RowCrc(0).number(self.frame).number(self.received_ms).number(bytes.len() as u64);
        crc32c::crc32c_append(crc, &bytes)
    }
}

/// A signal as its number.
mod code {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    use super::{Signal, signal_code, signal_of};

    pub fn serialize<S: Serializer>(signal: &Signal, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u8(signal_code(*signal))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Signal, D::Error> {
        let code = u8::deserialize(deserializer)?;
        signal_of(code).ok_or_else(|| D::Error::custom(format!("{code} is not a signal, expected 1 or 2")))
    }
}
