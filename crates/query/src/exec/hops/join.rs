//! Calls of traces that lie in several sources.
//!
//! ```text
//! source 1   gateway ─ client          counted apart:  nothing
//! source 2             server ─ …      counted apart:  a call from nowhere      taken out
//! together   gateway ─ client ─ server                 gateway → server         put in
//! ```
//!
//! What a source counted of such a trace is counted again here, from the same rows by the same rules, so that it can be
//! taken out exactly.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use foldhash::fast::RandomState;
use tracewell_model::TraceId;
use tracewell_store::index::{HopSpan, Hops};
use tracewell_store::table::{Field, HopCount, Signal, Source};

use super::super::columns::{Columns, Slot};
use super::super::{Budget, Meter, Sources, Stop};
use crate::QueryError;
use crate::error::Halt;

/// Traces that are looked up in other sources at most.
const LOOK_UPS_MAX: usize = 400_000;
/// Pieces of one trace that lie further apart than this are not looked for. A call's sides overlap; this is for a message
/// that waits in a queue.
const APART_NS_MAX: u64 = 5 * 60 * 1_000_000_000;
/// Traces that are joined at most.
const TRACES_MAX: usize = 20_000;

/// What split traces were counted as, and what they come to.
#[derive(Default)]
pub(super) struct Joined {
    /// As each source counted them.
    pub apart: Vec<HopCount>,
    /// As they are.
    pub whole: Vec<HopCount>,
    pub warnings: Vec<String>,
}

/// A row of a split trace.
#[derive(Clone)]
struct Row {
    span_id: u64,
    parent_id: Option<u64>,
    /// Position of the parent among the rows of the same source.
    parent: Option<u32>,
    service: Arc<str>,
    start_ns: u64,
    duration_ns: u64,
    kind: i32,
    is_error: bool,
}

/// Joins the traces that lie in several of the sources that overlap a range of time.
pub(super) fn join(
    sources: &[Arc<dyn Source>],
    (start, end): (u64, u64),
    budget: &Budget,
) -> Result<Joined, QueryError> {
    let meter = Meter::new(budget);
    let sources = Sources::new(sources, Signal::Traces);
    let mut joined = Joined::default();
    let found = split_traces(&sources, start, end, &meter, &mut joined.warnings)
        .and_then(|split| pieces(&sources, &split, &meter));
    match found {
        Ok(traces) => count(&traces, &mut joined),
        Err(Halt::Stop(Stop::Cancelled)) => return Err(QueryError::Cancelled),
        Err(Halt::Stop(stop)) => joined.warnings.push(stop.warning()),
        Err(Halt::Source(error)) => joined.warnings.push(format!("{error}; split traces are not joined")),
    }
    Ok(joined)
}

/// Traces that lie in more than one source, each with the sources and its ordinal there.
fn split_traces(
    sources: &Sources<'_>,
    start: u64,
    end: u64,
    meter: &Meter<'_>,
    warnings: &mut Vec<String>,
) -> Result<BTreeMap<TraceId, Vec<(usize, u32)>>, Halt> {
    let is_near = |(first, last): (u64, u64), (start, end): (u64, u64)| {
        first <= end.saturating_add(APART_NS_MAX) && last.saturating_add(APART_NS_MAX) >= start
    };
    let range = (start, end.saturating_sub(1));
    let mut near: Vec<(usize, &dyn Source)> =
        sources.iter().filter(|(_, source)| is_near(source.time_range(), range)).collect();
    // The traces of all but the largest are looked up in those before them.
    near.sort_by_key(|(index, source)| (std::cmp::Reverse(source.trace_count()), *index));
    let mut split: BTreeMap<TraceId, Vec<(usize, u32)>> = BTreeMap::new();
    let mut look_ups = 0;
    for (place, (index, source)) in near.iter().enumerate().skip(1) {
        let others: Vec<_> =
            near[..place].iter().filter(|(_, other)| is_near(other.time_range(), source.time_range())).collect();
        if others.is_empty() {
            continue;
        }
        for block in 0..source.trace_blocks() {
            meter.check()?;
            let block = source.trace_block(block)?;
            for (within, entry) in block.entries.iter().enumerate() {
                let piece = (entry.start, entry.end);
                if !is_near(piece, range) {
                    continue;
                }
                let ordinal = block.first_ordinal + within as u32;
                for (other, held) in others.iter().filter(|(_, other)| is_near(other.time_range(), piece)) {
                    look_ups += 1;
                    if look_ups > LOOK_UPS_MAX || split.len() >= TRACES_MAX {
                        warnings.push(
                            "calls whose two sides lie in different segments are counted only in part".to_owned(),
                        );
                        return Ok(split);
                    }
                    if let Some(found) = held.find_trace(&entry.trace_id)? {
                        let pieces = split.entry(entry.trace_id).or_default();
                        for piece in [(*other, found), (*index, ordinal)] {
                            if !pieces.contains(&piece) {
                                pieces.push(piece);
                            }
                        }
                    }
                }
            }
        }
    }
    Ok(split)
}

/// The rows of each trace, piece by piece.
fn pieces(
    sources: &Sources<'_>,
    split: &BTreeMap<TraceId, Vec<(usize, u32)>>,
    meter: &Meter<'_>,
) -> Result<Vec<Vec<Vec<Row>>>, Halt> {
    let mut by_source: BTreeMap<usize, Vec<(u32, usize)>> = BTreeMap::new();
    for (number, pieces) in split.values().enumerate() {
        for (source, ordinal) in pieces {
            by_source.entry(*source).or_default().push((*ordinal, number));
        }
    }
    let mut traces = vec![Vec::new(); split.len()];
    for (index, mut wanted) in by_source {
        wanted.sort_unstable();
        let mut reader = Reader::new(sources.get(index), meter);
        for (ordinal, number) in wanted {
            let source = sources.get(index);
            let block = source.trace_block(source.block_of_ordinal(ordinal))?;
            let Some(rows) = block.rows.get((ordinal - block.first_ordinal) as usize) else { continue };
            let piece: Vec<u32> = rows.iter().collect();
            meter.add_spans(piece.len());
            traces[number].push(reader.rows(&piece)?);
        }
    }
    Ok(traces)
}

/// Reads the rows of one source.
struct Reader<'a> {
    columns: Columns<'a>,
    span_id: Slot,
    parent_id: Slot,
    distance: Slot,
    service: Slot,
    start: Slot,
    duration: Slot,
    kind: Slot,
    status: Slot,
}

impl<'a> Reader<'a> {
    fn new(source: &'a dyn Source, meter: &'a Meter<'a>) -> Self {
        let mut columns = Columns::new(source, meter);
        let mut slot = |field: Field| columns.slot(&field);
        let (span_id, parent_id) = (slot(Field::SpanId), slot(Field::ParentSpanId));
        let (distance, service) = (slot(Field::ParentDistance), slot(Field::Service));
        let (start, duration) = (slot(Field::Start), slot(Field::Duration));
        let (kind, status) = (slot(Field::Kind), slot(Field::StatusCode));
        Self { columns, span_id, parent_id, distance, service, start, duration, kind, status }
    }

    fn bits(&mut self, slot: Slot, row: u32) -> Result<Option<u64>, Halt> {
        let each = self.columns.source().chunk_rows().max(1);
        let chunk = self.columns.chunk(slot, row / each)?;
        Ok(chunk.and_then(|chunk| chunk.bits((row % each) as usize)))
    }

    fn text(&mut self, slot: Slot, row: u32) -> Result<Arc<str>, Halt> {
        let each = self.columns.source().chunk_rows().max(1);
        let chunk = self.columns.chunk(slot, row / each)?;
        Ok(Arc::from(chunk.as_ref().and_then(|chunk| chunk.text((row % each) as usize)).unwrap_or_default()))
    }

    /// The rows of a trace with their parents among them, as the source has counted them.
    fn rows(&mut self, rows: &[u32]) -> Result<Vec<Row>, Halt> {
        let mut order = Vec::with_capacity(rows.len());
        for row in rows {
            order.push((self.bits(self.start, *row)?, self.bits(self.span_id, *row)?, *row));
        }
        // As they are merged; in segments they stand in this order.
        if !self.columns.source().ordered() {
            order.sort_by_key(|(start, span_id, _)| (*start, *span_id));
        }
        let mut read = Vec::with_capacity(rows.len());
        let mut by_id: HashMap<u64, u32, RandomState> = HashMap::default();
        for (position, (_, _, row)) in order.iter().enumerate() {
            let span_id = self.bits(self.span_id, *row)?.unwrap_or_default();
            by_id.entry(span_id).or_insert(position as u32);
            let distance = self.bits(self.distance, *row)?.map(|bits| bits as i64).filter(|distance| *distance != 0);
            let duration = self.bits(self.duration, *row)?.unwrap_or_default() as i64;
            read.push(Row {
                span_id,
                parent_id: self.bits(self.parent_id, *row)?,
                // Where rows know the way to their parent, they stand together.
                parent: distance.and_then(|distance| u32::try_from(position as i64 - distance).ok()),
                service: self.text(self.service, *row)?,
                start_ns: self.bits(self.start, *row)?.unwrap_or_default(),
                duration_ns: duration.max(0) as u64,
                kind: self.bits(self.kind, *row)?.unwrap_or_default() as i64 as i32,
                is_error: self.bits(self.status, *row)? == Some(2),
            });
        }
        let ids: Vec<u64> = read.iter().map(|row| row.span_id).collect();
        for row in &mut read {
            if row.parent.is_none() {
                row.parent = row.parent_id.and_then(|id| by_id.get(&id).copied());
            } else if row.parent_id.is_none() {
                row.parent_id = row.parent.and_then(|parent| ids.get(parent as usize).copied());
            }
        }
        Ok(read)
    }
}

/// Counts every trace as its sources did, and whole.
fn count(traces: &[Vec<Vec<Row>>], joined: &mut Joined) {
    let (mut apart, mut whole) = (Hops::default(), Hops::default());
    for pieces in traces {
        for piece in pieces {
            for row in piece {
                apart.counted(row, row.parent);
            }
            apart.finish_trace();
        }
        // As a merge puts them: in order of start, what is there twice once, parents by id.
        let mut rows: Vec<&Row> = pieces.iter().flatten().collect();
        rows.sort_by_key(|row| (row.start_ns, row.span_id));
        let mut seen: HashSet<_, RandomState> = HashSet::default();
        rows.retain(|row| {
            seen.insert((row.span_id, row.start_ns, row.duration_ns, row.kind, Arc::clone(&row.service)))
        });
        let mut by_id: HashMap<u64, u32, RandomState> = HashMap::default();
        for (position, row) in rows.iter().enumerate() {
            by_id.entry(row.span_id).or_insert(position as u32);
        }
        for row in rows {
            whole.counted(row, row.parent_id.and_then(|id| by_id.get(&id).copied()));
        }
        whole.finish_trace();
    }
    joined.apart = apart.counts();
    joined.whole = whole.counts();
}

/// Takes a row.
trait Counted {
    fn counted(&mut self, row: &Row, parent: Option<u32>);
}

impl Counted for Hops {
    fn counted(&mut self, row: &Row, parent: Option<u32>) {
        let service = self.service(&row.service);
        self.span(HopSpan {
            id: row.span_id,
            start_ns: row.start_ns,
            duration_ns: row.duration_ns,
            kind: row.kind,
            is_error: row.is_error,
            service,
            parent,
            is_orphan: row.parent_id.is_some() && parent.is_none(),
        });
    }
}
