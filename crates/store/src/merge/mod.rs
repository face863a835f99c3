//! Merging: from any number of sources to segments. Sealing the head and compaction are the same work.
//!
//! ```text
//! sources ─▶ order (traces of all sources joined by id, sorted by start, cut into time partitions)
//!         ─▶ rows  (each trace's rows in order of start, exact duplicates dropped, parents found)
//!         ─▶ gather (row group by row group, column by column) ─▶ Parquet file, index file
//! ```
//!
//! Work is bounded by the row group: what is held in memory is one column of one row group, the table of traces,
//! and the index being built.

mod columns;
mod counted;
mod gather;
mod order;
mod reindex;
mod rows;
mod segment;
#[cfg(test)]
mod tests;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

pub(crate) use reindex::reindex;

pub use crate::segment::{SegmentMeta, WriteError};
use crate::table::Source;

/// Where merged segments go, and how they are cut.
pub struct Target<'a> {
    /// Folder of the segment files.
    pub dir: &'a Path,
    /// Gives the number of the next segment.
    pub next_id: &'a mut dyn FnMut() -> u64,
    /// Owner of the rows.
    pub tenant: &'a str,
    /// Width of a time partition in nanoseconds. A trace belongs to the partition in which it starts.
    pub partition_ns: u64,
    /// Partitions that are kept apart at most; what lies outside of the largest ones shares one segment.
    pub max_partitions: usize,
    /// Rows of a segment at most (a single trace may exceed it).
    pub max_rows: u64,
    /// First and last write-ahead log frame whose rows are among the sources; (0, 0) for none.
    pub wal_range: (u64, u64),
    /// Segments that are among the sources.
    pub replaces: Vec<u64>,
    /// Level of zstd compression (1 is fast, 3 saves a few percent).
    pub zstd_level: i32,
    /// Set from outside to stop the work at the next row group.
    pub cancelled: &'a AtomicBool,
}

/// Writes all rows of `sources`, which must be of one signal, as segments. The files are durable when this returns;
/// after an error none of them is left.
pub fn write(sources: &[Arc<dyn Source>], target: &mut Target<'_>) -> Result<Vec<SegmentMeta>, WriteError> {
    let mut written = Vec::new();
    let result = write_all(sources, target, &mut written);
    if result.is_err() {
        for meta in &written {
            // Nothing refers to them; what cannot be deleted now is deleted as an orphan at the next start.
            let _ = std::fs::remove_file(target.dir.join(meta.data_file()));
            let _ = std::fs::remove_file(target.dir.join(meta.index_file()));
        }
    }
    result.map(|()| written)
}

fn write_all(
    sources: &[Arc<dyn Source>],
    target: &mut Target<'_>,
    written: &mut Vec<SegmentMeta>,
) -> Result<(), WriteError> {
    let Some(signal) = sources.first().map(|source| source.signal()) else { return Ok(()) };
    let order = order::Order::new(sources, signal, target.partition_ns, target.max_partitions)?;
    for partition in order.partitions() {
        let mut rest = partition;
        while !rest.is_empty() {
            let mut rows = 0;
            let count = rest
                .iter()
                .take_while(|trace| {
                    let fits = rows == 0 || rows + trace.rows <= target.max_rows;
                    rows += trace.rows;
                    fits
                })
                .count();
            let (own, after) = rest.split_at(count);
            rest = after;
            segment::write(sources, signal, &order, own, target, written)?;
        }
    }
    let dir = std::fs::File::open(target.dir).map_err(|error| WriteError::io(target.dir, &error))?;
    dir.sync_all().map_err(|error| WriteError::io(target.dir, &error))
}
