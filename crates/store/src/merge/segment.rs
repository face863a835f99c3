//! One segment: its traces in order, row group by row group.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tracewell_model::TraceId;

use super::Target;
use super::columns::{self, Plan};
use super::gather::{Gatherer, Numbers, trace_ids};
use super::order::{Order, Trace};
use super::rows::{OutRow, RowFinder};
use crate::index::{EdgeTotals, IndexWriter, Observation};
use crate::segment::{Column, DataWriter, GROUP_ROWS, Layout, SegmentMeta, Values, WriteError};
use crate::table::{Field, NO_CODE, Signal, Source};

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
    gatherer: Gatherer<'a>,
    data: DataWriter,
    index: IndexWriter,
    group: u32,
    /// Rows that wait for their row group to be full, and their traces' ordinals.
    pending: Vec<OutRow>,
    ordinals: Vec<u32>,
    /// Ids of the traces with pending rows; the first has ordinal `first_id`.
    ids: Vec<TraceId>,
    first_id: u32,
    /// Service and duration of the rows of the row group before, for parents that lie there.
    before: Vec<(u32, u64)>,
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
        before: Vec::new(),
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
            let values = match (&column.field, column.layout()) {
                (None, _) => trace_ids(ordinals, first_id, ids),
                (Some(Field::ParentDistance), _) => {
                    numbers(rows, |row| row.parent_distance.map(|distance| distance as u64))
                }
                (Some(Field::ParentSpanId), _) => numbers(rows, |row| row.parent_id),
                (Some(Field::Remainder), _) => gatherer.remainder(&plan.demoted, rows)?,
                (Some(field), Layout::Text) => gatherer.texts(field, rows)?,
                (Some(field), _) => gatherer.numbers(field, rows)?,
            };
            index.column(group, column, &values, ordinals);
            counted.take(column, &values);
            Ok(values)
        })?;
        if self.signal == Signal::Traces {
            self.before = counted.count(rows, &self.before, &mut self.index.rollup);
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

fn numbers(rows: &[OutRow], value: impl Fn(&OutRow) -> Option<u64>) -> Values {
    let mut numbers = Numbers::with_capacity(rows.len());
    rows.iter().for_each(|row| numbers.push(value(row)));
    numbers.finish()
}

/// Columns that the rollup needs.
#[derive(Default)]
struct Counted {
    start: Vec<u64>,
    duration: Vec<u64>,
    kind: Vec<u64>,
    status: Vec<u64>,
    service: Option<(Vec<u32>, Vec<String>)>,
    name: Option<(Vec<u32>, Vec<String>)>,
}

impl Counted {
    fn take(&mut self, column: &Column, values: &Values) {
        match (&column.field, values) {
            (Some(Field::Start), Values::Num { values, .. }) => self.start.clone_from(values),
            (Some(Field::Duration), Values::Num { values, .. }) => self.duration.clone_from(values),
            (Some(Field::Kind), Values::Num { values, .. }) => self.kind.clone_from(values),
            (Some(Field::StatusCode), Values::Num { values, .. }) => self.status.clone_from(values),
            (Some(Field::Service), Values::Text { codes, dict }) => {
                self.service = Some((codes.clone(), dict.iter().map(str::to_owned).collect()));
            }
            (Some(Field::Name), Values::Text { codes, dict }) => {
                self.name = Some((codes.clone(), dict.iter().map(str::to_owned).collect()));
            }
            _ => {}
        }
    }

    /// Counts the rows of a row group. Returns service and duration of each for the next group.
    fn count(&self, rows: &[OutRow], before: &[(u32, u64)], rollup: &mut crate::index::Rollup) -> Vec<(u32, u64)> {
        let mut coded = |texts: &Option<(Vec<u32>, Vec<String>)>| -> Vec<u32> {
            let Some((codes, dict)) = texts else { return vec![rollup.code(""); rows.len()] };
            let known: Vec<u32> = dict.iter().map(|text| rollup.code(text)).collect();
            let none = rollup.code("");
            codes.iter().map(|code| if *code == NO_CODE { none } else { known[*code as usize] }).collect()
        };
        let (services, names) = (coded(&self.service), coded(&self.name));
        let at = |values: &[u64], row: usize| values.get(row).copied().unwrap_or_default();
        // A duration below zero is a clock that was set back: it counts as none.
        let duration = |row: usize| (at(&self.duration, row) as i64).max(0) as u64;
        for (row, out) in rows.iter().enumerate() {
            let status = at(&self.status, row) as i64 as i32;
            rollup.add(&Observation {
                start: at(&self.start, row),
                duration_ns: duration(row),
                service: services[row],
                name: names[row],
                kind: at(&self.kind, row) as i64 as i32,
                status,
            });
            let Some(distance) = out.parent_distance.filter(|distance| *distance != 0) else { continue };
            let parent = row as i64 - distance;
            let caller = match usize::try_from(parent) {
                Ok(parent) => services.get(parent).map(|service| (*service, duration(parent))),
                Err(_) => {
                    usize::try_from(before.len() as i64 + parent).ok().and_then(|parent| before.get(parent).copied())
                }
            };
            if let Some((caller, client_ns)) = caller
                && caller != services[row]
            {
                let errors = u64::from(status == 2);
                let call = EdgeTotals { calls: 1, errors, client_ns, server_ns: duration(row) };
                rollup.add_edge(at(&self.start, row), caller, services[row], call);
            }
        }
        (0..rows.len()).map(|row| (services[row], duration(row))).collect()
    }
}
