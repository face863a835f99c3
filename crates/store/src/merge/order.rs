//! The order of rows in segments: traces by partition and start, joined from all sources.

use std::collections::HashMap;
use std::sync::Arc;

use tracewell_model::TraceId;

use crate::segment::WriteError;
use crate::table::{Field, Rows, Signal, Source, TraceEntry};

/// Log records without a trace that stand together as if they were of one.
pub const LOOSE_ROWS: usize = 1_024;

/// The part of a trace in one source.
#[derive(Debug, Clone, Copy)]
pub struct Piece {
    pub source: u16,
    pub ordinal: u32,
}

/// A trace to be written.
#[derive(Debug, Clone)]
pub struct Trace {
    pub id: TraceId,
    pub start: u64,
    /// Rows in all sources together, duplicates included.
    pub rows: u64,
    /// Range in `Order::pieces`, or in `Order::loose` for records without a trace.
    first: u32,
    end: u32,
    partition: u64,
}

/// All traces of some sources.
pub struct Order {
    pieces: Vec<Piece>,
    /// Rows of log records without a trace, in order of time.
    loose: Vec<(u16, u32)>,
    traces: Vec<Trace>,
}

/// What a trace to be written is made of.
pub enum Parts<'a> {
    Pieces(&'a [Piece]),
    Loose(&'a [(u16, u32)]),
}

impl Order {
    /// Reads the trace tables of `sources` and sorts.
    pub fn new(
        sources: &[Arc<dyn Source>],
        signal: Signal,
        partition_ns: u64,
        max_partitions: usize,
    ) -> Result<Self, WriteError> {
        if sources.len() > usize::from(u16::MAX) {
            return Err(WriteError::Encode {
                reason: format!("{} sources are too many to merge at once", sources.len()),
            });
        }
        let mut found: Vec<(TraceId, u64, u32, Piece)> = Vec::new();
        let mut loose: Vec<(u64, u16, u32)> = Vec::new();
        for (number, source) in sources.iter().enumerate() {
            for block in 0..source.trace_blocks() {
                let block = source.trace_block(block)?;
                for (index, (entry, rows)) in block.entries.iter().zip(&block.rows).enumerate() {
                    if signal == Signal::Logs && entry.trace_id.is_zero() {
                        add_loose(&mut loose, source.as_ref(), number as u16, rows)?;
                        continue;
                    }
                    let piece = Piece { source: number as u16, ordinal: block.first_ordinal + index as u32 };
                    found.push((entry.trace_id, entry.start, rows.len() as u32, piece));
                }
            }
        }
        found.sort_unstable_by_key(|(id, start, _, piece)| (*id, *start, piece.source, piece.ordinal));
        loose.sort_unstable();

        let mut traces: Vec<Trace> = Vec::new();
        let mut pieces = Vec::with_capacity(found.len());
        for (id, start, rows, piece) in found {
            let at = pieces.len() as u32;
            pieces.push(piece);
            match traces.last_mut().filter(|trace| trace.id == id) {
                Some(trace) => {
                    trace.end = at + 1;
                    trace.rows += u64::from(rows);
                }
                None => {
                    traces.push(Trace { id, start, rows: u64::from(rows), first: at, end: at + 1, partition: 0 });
                }
            }
        }
        for (number, group) in loose.chunks(LOOSE_ROWS).enumerate() {
            let first = (number * LOOSE_ROWS) as u32;
            let start = group.first().map_or(0, |(time, ..)| *time);
            let rows = group.len() as u64;
            traces.push(Trace { id: TraceId::default(), start, rows, first, end: first + rows as u32, partition: 0 });
        }
        let loose = loose.into_iter().map(|(_, source, row)| (source, row)).collect();
        assign_partitions(&mut traces, partition_ns.max(1), max_partitions.max(1));
        traces.sort_by_key(|trace| (trace.partition, trace.start, trace.id));
        Ok(Self { pieces, loose, traces })
    }

    /// The traces of each partition, in order.
    pub fn partitions(&self) -> impl Iterator<Item = &[Trace]> {
        self.traces.chunk_by(|a, b| a.partition == b.partition)
    }

    /// What a trace is made of.
    pub fn parts(&self, trace: &Trace) -> Parts<'_> {
        let range = trace.first as usize..trace.end as usize;
        if trace.id.is_zero() && !self.loose.is_empty() {
            Parts::Loose(&self.loose[range])
        } else {
            Parts::Pieces(&self.pieces[range])
        }
    }
}

fn add_loose(
    loose: &mut Vec<(u64, u16, u32)>,
    source: &dyn Source,
    number: u16,
    rows: &Rows,
) -> Result<(), WriteError> {
    let chunk_rows = source.chunk_rows();
    let mut held: Option<(u32, Option<Arc<crate::table::Chunk>>)> = None;
    for row in rows.iter() {
        let wanted = row / chunk_rows;
        if held.as_ref().is_none_or(|(chunk, _)| *chunk != wanted) {
            held = Some((wanted, source.chunk(&Field::Start, wanted)?));
        }
        let chunk = held.as_ref().and_then(|(_, chunk)| chunk.as_ref());
        let time = chunk.and_then(|chunk| chunk.bits((row % chunk_rows) as usize)).unwrap_or_default();
        loose.push((time, number, row));
    }
    Ok(())
}

/// Gives each trace the start of its partition. When there are too many partitions (clocks far off), the largest keep
/// to themselves and all others share the earliest of theirs.
fn assign_partitions(traces: &mut [Trace], partition_ns: u64, max_partitions: usize) {
    let mut rows: HashMap<u64, u64> = HashMap::new();
    for trace in traces.iter_mut() {
        trace.partition = trace.start / partition_ns * partition_ns;
        *rows.entry(trace.partition).or_default() += trace.rows;
    }
    if rows.len() <= max_partitions {
        return;
    }
    let mut by_size: Vec<(u64, u64)> = rows.into_iter().map(|(partition, rows)| (rows, partition)).collect();
    by_size.sort_unstable_by(|a, b| b.cmp(a));
    let mut rest: Vec<u64> = by_size.into_iter().skip(max_partitions - 1).map(|(_, partition)| partition).collect();
    rest.sort_unstable();
    let shared = rest.first().copied().unwrap_or_default();
    for trace in traces {
        if rest.binary_search(&trace.partition).is_ok() {
            trace.partition = shared;
        }
    }
}

/// The entry of a trace joined from its pieces' entries, without its root: that is found among the rows.
pub fn joined_entry(entries: &[TraceEntry]) -> Option<TraceEntry> {
    let mut joined = entries.iter().min_by_key(|entry| entry.start)?.clone();
    joined.end = entries.iter().map(|entry| entry.end).max().unwrap_or(joined.end);
    joined.spans = entries.iter().map(|entry| entry.spans).sum();
    joined.errors = entries.iter().map(|entry| entry.errors).sum();
    joined.root = None;
    Some(joined)
}
