//! One segment: its traces in order, row group by row group.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tracewell_model::TraceId;

use super::Target;
use super::columns::{self, Plan};
use super::counted::Counted;
use super::gather::{Gatherer, trace_ids};
use super::order::{Order, Trace};
use super::rows::{OutRow, RowFinder};
use crate::index::IndexWriter;
use crate::segment::{Column, DataWriter, GROUP_ROWS, SegmentMeta, WriteError};
use crate::table::{Signal, Source};

/// Files that are deleted again unless they were finished.
struct Unfinished(Vec<PathBuf>);

impl Drop for Unfinished {
    fn drop(&mut self) {
        for path in &self.0 {
            // Should it stay, it is an orphan that the next start deletes.
            let _ = std::fs::remove_file(path);
        }
    }
}

struct Writing<'a> {
    signal: Signal,
    plan: Plan,
    gatherer: Gatherer<'a, Arc<dyn Source>>,
    data: DataWriter,
    index: IndexWriter,
    group: u32,
    /// Rows that wait for their row group to be full, and their traces' ordinals.
    pending: Vec<OutRow>,
    ordinals: Vec<u32>,
    /// Ids of the traces with pending rows; the first has ordinal `first_id`.
    ids: Vec<TraceId>,
    first_id: u32,
    /// Ordinal of the last row that was written.
    last: Option<u32>,
}

/// Writes the segment of some traces of one partition.
pub fn write(
    sources: &[Arc<dyn Source>],
    signal: Signal,
    order: &Order,
    traces: &[Trace],
    target: &mut Target<'_>,
    written: &mut Vec<SegmentMeta>,
) -> Result<(), WriteError> {
    let id = (target.next_id)();
    let (data_path, index_path) =
        (target.dir.join(crate::segment::data_file(id)), target.dir.join(crate::segment::index_file(id)));
    let mut unfinished = Unfinished(vec![data_path.clone(), index_path.clone()]);
    let plan = columns::plan(sources, signal);
    let mut writing = Writing {
        signal,
        gatherer: Gatherer::new(sources),
        data: DataWriter::create(&data_path, plan.columns.clone(), target.zstd_level)?,
        index: IndexWriter::create(&index_path, &plan.columns)?,
        plan,
        group: 0,
        pending: Vec::with_capacity(GROUP_ROWS as usize * 2),
        ordinals: Vec::with_capacity(GROUP_ROWS as usize * 2),
        ids: Vec::new(),
        first_id: 0,
        last: None,
    };
    let mut meta = SegmentMeta {
        id,
        signal,
        tenant: target.tenant.to_owned(),
        rows: 0,
        traces: 0,
        min_start: u64::MAX,
        max_end: 0,
        partition_start: traces
            .first()
            .map_or(0, |trace| trace.start / target.partition_ns.max(1) * target.partition_ns),
        data_bytes: 0,
        index_bytes: 0,
        data_footer_crc: 0,
        wal_from: target.wal_range.0,
        wal_to: target.wal_range.1,
        replaces: target.replaces.clone(),
    };
    let mut finder = RowFinder::new(sources, signal);
    for trace in traces {
        let before = writing.pending.len();
        let Some(mut entry) = finder.rows(order.parts(trace), &mut writing.pending)? else { continue };
        let rows = (writing.pending.len() - before) as u32;
        entry.spans = rows;
        meta.rows += u64::from(rows);
        meta.traces += 1;
        meta.min_start = meta.min_start.min(entry.start);
        meta.max_end = meta.max_end.max(entry.end);
        let ordinal = writing.index.traces();
        writing.ordinals.extend(std::iter::repeat_n(ordinal, rows as usize));
        writing.ids.push(entry.trace_id);
        writing.index.trace(entry, rows)?;
        while writing.pending.len() >= GROUP_ROWS as usize {
            if target.cancelled.load(Ordering::Relaxed) {
                return Err(WriteError::Cancelled);
            }
            writing.row_group(GROUP_ROWS as usize)?;
        }
    }
    if !writing.pending.is_empty() {
        writing.row_group(writing.pending.len())?;
    }
    if meta.rows == 0 {
        return Ok(());
    }
    writing.data.finish(&mut meta)?;
    meta.index_bytes = writing.index.finish()?;
    unfinished.0.clear();
    written.push(meta);
    Ok(())
}

impl Writing<'_> {
    /// Writes the first `count` pending rows as a row group.
    fn row_group(&mut self, count: usize) -> Result<(), WriteError> {
        let (rows, ordinals) = (&self.pending[..count], &self.ordinals[..count]);
        let mut counted = Counted::default();
        let (gatherer, index, plan) = (&self.gatherer, &mut self.index, &self.plan);
        let (group, ids, first_id) = (self.group, &self.ids, self.first_id);
        self.data.row_group(|column: &Column| {
            let values = match column.field {
                None => trace_ids(ordinals, first_id, ids),
                Some(_) => gatherer.values(column, &plan.demoted, rows)?,
            };
            index.column(group, column, &values, ordinals);
            counted.take(column, &values);
            Ok(values)
        })?;
        if self.signal == Signal::Traces {
            counted.count(rows, ordinals, &mut self.last, &mut self.index.rollup);
        }
        self.group += 1;
        self.pending.drain(..count);
        self.ordinals.drain(..count);
        let still = self.ordinals.first().map_or(self.ids.len(), |ordinal| (ordinal - self.first_id) as usize);
        self.ids.drain(..still);
        self.first_id += still as u32;
        Ok(())
    }
}
