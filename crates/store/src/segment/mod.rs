//! Segments: immutable files of rows, and how they are written and read.
//!
//! A segment is one Parquet file, which any program can read, and one index file, which only makes finding fast and
//! can be made again from the Parquet file. `docs/formats.md` describes both byte for byte.
//!
//! ```text
//! merge ─▶ write ─▶ column ─▶ encode, page        <id>.parquet
//!      └─▶ index::write                           <id>.idx
//! Segment (read) ─▶ decode ─▶ Chunk               both, through the cache
//! ```

mod column;
mod decode;
mod encode;
mod meta;
mod page;
mod read;
mod schema;
mod source;
pub(crate) mod varint;
mod write;

use std::path::Path;

pub use column::Values;
pub use meta::{SegmentMeta, data_file, index_file};
pub(crate) use read::DataFile;
pub use read::read_meta;
pub(crate) use read::{decompress, io_error};
pub use schema::{Column, Layout, columns, describe as columns_described, read as columns_from};
pub use source::Segment;
pub use write::DataWriter;

/// Rows in a data page, the unit of reading. Pages of all columns begin at the same rows.
pub const CHUNK_ROWS: u32 = 8_192;

/// Rows in a row group, within which dictionaries are shared.
pub const GROUP_ROWS: u32 = 16 * CHUNK_ROWS;

/// Key of the segment's own description in the Parquet file's metadata.
const META_KEY: &str = "tracewell.segment";
/// Key of the list of attribute columns in the Parquet file's metadata.
const COLUMNS_KEY: &str = "tracewell.columns";

/// Why a segment was not written. Its files are worthless then and may be deleted.
#[derive(Debug, Clone, thiserror::Error)]
pub enum WriteError {
    /// The operating system refused.
    #[error("cannot write {file}: {reason}")]
    Io {
        /// Path of the file.
        file: String,
        /// The operating system's words.
        reason: String,
        /// True when the disk is full.
        disk_full: bool,
    },
    /// A row that was to be taken over could not be read.
    #[error(transparent)]
    Source(#[from] crate::table::SourceError),
    /// Values that do not fit the format.
    #[error("cannot encode a segment: {reason}")]
    Encode {
        /// What does not fit.
        reason: String,
    },
    /// Stopped on request.
    #[error("stopped before the segment was complete")]
    Cancelled,
}

impl WriteError {
    pub(crate) fn io(path: &Path, error: &std::io::Error) -> Self {
        WriteError::Io {
            file: path.display().to_string(),
            reason: error.to_string(),
            disk_full: error.kind() == std::io::ErrorKind::StorageFull,
        }
    }

    fn parquet(path: &Path, error: parquet::errors::ParquetError) -> Self {
        use std::error::Error;
        let io = error.source().and_then(|source| source.downcast_ref::<std::io::Error>());
        match io {
            Some(io) => Self::io(path, io),
            None => WriteError::Io {
                file: path.display().to_string(),
                // The library's message is all there is; a full disk shows only in its words.
                disk_full: error.to_string().contains("No space left"),
                reason: error.to_string(),
            },
        }
    }
}
