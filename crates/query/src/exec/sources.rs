//! The sources of one query: finding the parts of a trace, and living with a source that cannot be read.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use tracewell_model::TraceId;
use tracewell_store::table::{Field, Rows, Signal, Source, SourceError, TraceEntry};

use super::columns::Columns;
use super::scan::{MaybeChunk, place};
use super::{Budget, Meter};
use crate::error::Halt;
use crate::plan::{SpanView, Val};
use crate::traceql::{self, Intrinsic};

/// What all spans of a trace share.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct TraceFacts {
    pub trace_id: TraceId,
    /// Earliest start and latest end, nanoseconds since the epoch.
    pub start: u64,
    pub end: u64,
    /// Service and name of the root span: the earliest span without a parent.
    pub root: Option<(Arc<str>, Arc<str>)>,
}

impl TraceFacts {
    /// Visits an intrinsic of the trace; returns whether it is set.
    pub fn visit(&self, intrinsic: Intrinsic, visit: &mut dyn FnMut(Val<'_>)) -> bool {
        match (intrinsic, &self.root) {
            (Intrinsic::TraceDuration, _) => visit(Val::Int(self.end.saturating_sub(self.start) as i64)),
            (Intrinsic::TraceId, _) => visit(Val::Str(self.trace_id.to_string().into())),
            (Intrinsic::RootService, Some((service, _))) => visit(Val::text(service)),
            (Intrinsic::RootName, Some((_, name))) => visit(Val::text(name)),
            _ => return false,
        }
        true
    }
}

impl SpanView for TraceFacts {
    fn field(&self, field: &traceql::Field, visit: &mut dyn FnMut(Val<'_>)) -> bool {
        match field {
            traceql::Field::Intrinsic { parent: false, intrinsic } => self.visit(*intrinsic, visit),
            _ => false,
        }
    }
}

/// The part of a trace that lies in one source.
#[derive(Debug, Clone)]
pub(crate) struct Part {
    /// Number of the source.
    pub source: usize,
    pub ordinal: u32,
    pub entry: TraceEntry,
    pub rows: Rows,
}

/// The sources of one signal, and which of them turned out to be damaged.
pub(crate) struct Sources<'a> {
    all: Vec<&'a dyn Source>,
    broken: Vec<AtomicBool>,
    warnings: Mutex<Vec<String>>,
    /// Traces that lie in more than one source, where that was found out for all at once.
    split: OnceLock<HashSet<TraceId>>,
}

/// Traces whose ids are held at the same time at most, to find those that are split.
const SPLIT_TRACES_MAX: u64 = 8 << 20;

impl<'a> Sources<'a> {
    pub fn new(sources: &'a [Arc<dyn Source>], signal: Signal) -> Self {
        let all: Vec<&dyn Source> = sources
            .iter()
            .map(|source| &**source)
            .filter(|source| source.signal() == signal && source.rows() > 0)
            .collect();
        let broken = all.iter().map(|_| AtomicBool::new(false)).collect();
        Self { all, broken, warnings: Mutex::default(), split: OnceLock::new() }
    }

    pub fn len(&self) -> usize {
        self.all.len()
    }

    pub fn get(&self, index: usize) -> &'a dyn Source {
        self.all[index]
    }

    pub fn iter(&self) -> impl Iterator<Item = (usize, &'a dyn Source)> + '_ {
        self.all.iter().copied().enumerate().filter(|(index, _)| !self.is_broken(*index))
    }

    /// Finds out which traces lie in more than one source. Worth it before many traces are asked for their other parts;
    /// does nothing where there are too many of them, or a source cannot be read.
    pub fn learn_split(&self) {
        let traces: u64 = self.all.iter().map(|source| u64::from(source.trace_count())).sum();
        if self.len() < 2 || traces > SPLIT_TRACES_MAX || self.split.get().is_some() {
            return;
        }
        let mut ids: Vec<TraceId> = Vec::with_capacity(traces as usize);
        for source in &self.all {
            for block in 0..source.trace_blocks() {
                let Ok(block) = source.trace_block(block) else { return };
                ids.extend(block.entries.iter().map(|entry| entry.trace_id));
            }
        }
        ids.sort_unstable();
        let split = ids.windows(2).filter(|pair| pair[0] == pair[1]).map(|pair| pair[0]).collect();
        // Another thread can only have found the same.
        self.split.get_or_init(|| split);
    }

    pub fn is_broken(&self, index: usize) -> bool {
        self.broken[index].load(Ordering::Relaxed)
    }

    /// Leaves a source out from now on, with a warning.
    pub fn give_up(&self, index: usize, error: &SourceError) {
        if !self.broken[index].swap(true, Ordering::Relaxed) {
            self.warn(format!("{error}; the answer is without it"));
        }
    }

    pub fn warn(&self, warning: String) {
        self.warnings.lock().unwrap_or_else(PoisonError::into_inner).push(warning);
    }

    pub fn take_warnings(&self) -> Vec<String> {
        std::mem::take(&mut *self.warnings.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The entry and rows of a trace of one source.
    pub fn part(&self, index: usize, ordinal: u32) -> Result<Part, SourceError> {
        let source = self.get(index);
        let block = source.trace_block(source.block_of_ordinal(ordinal))?;
        let within = ordinal.wrapping_sub(block.first_ordinal) as usize;
        match (block.entries.get(within), block.rows.get(within)) {
            (Some(entry), Some(rows)) => Ok(Part { source: index, ordinal, entry: entry.clone(), rows: rows.clone() }),
            _ => Err(SourceError::Damaged {
                file: source.name(),
                reason: format!("trace {ordinal} is not in the block that should hold it"),
            }),
        }
    }

    /// The parts of a trace in all sources but `except`; sources that cannot be read are given up.
    pub fn other_parts(&self, trace_id: &TraceId, except: usize) -> Vec<Part> {
        let mut parts = Vec::new();
        let only_there = self.split.get().is_some_and(|split| except < self.len() && !split.contains(trace_id));
        if only_there {
            return parts;
        }
        for (index, source) in self.iter().filter(|(index, _)| *index != except) {
            let part = source
                .find_trace(trace_id)
                .and_then(|found| found.map(|ordinal| self.part(index, ordinal)).transpose());
            match part {
                Ok(part) => parts.extend(part),
                Err(error) => self.give_up(index, &error),
            }
        }
        parts
    }

    /// All parts of a trace.
    pub fn parts(&self, trace_id: &TraceId) -> Vec<Part> {
        self.other_parts(trace_id, usize::MAX)
    }

    /// What the spans of a trace share.
    pub fn facts(&self, parts: &[Part]) -> TraceFacts {
        let trace_id = parts.first().map(|part| part.entry.trace_id).unwrap_or_default();
        let start = parts.iter().map(|part| part.entry.start).min().unwrap_or_default();
        let end = parts.iter().map(|part| part.entry.end).max().unwrap_or_default();
        let mut rooted = parts.iter().filter(|part| part.entry.root.is_some());
        let root = match (rooted.next(), rooted.next()) {
            (Some(only), None) => only.entry.root.clone(),
            (None, _) => None,
            // Several parts have a root: the earliest span without parent is that of the trace.
            (Some(_), Some(_)) => {
                let roots = parts.iter().filter_map(|part| match self.root_of(part) {
                    Ok(root) => root,
                    Err(error) => {
                        self.give_up(part.source, &error);
                        None
                    }
                });
                roots.min_by_key(|(start, span_id, ..)| (*start, *span_id)).map(|(_, _, service, name)| (service, name))
            }
        };
        TraceFacts { trace_id, start, end, root }
    }

    /// Start, id, service and name of a part's earliest span without parent.
    fn root_of(&self, part: &Part) -> Result<Option<Root>, SourceError> {
        let unlimited = Budget { threads: 1, ..Budget::default() };
        let meter = Meter::new(&unlimited);
        let mut cells = Cells { columns: Columns::new(self.get(part.source), &meter) };
        let mut best: Option<(u64, u64, u32)> = None;
        for row in part.rows.iter() {
            if cells.bits(&Field::ParentDistance, row)?.is_none() && cells.bits(&Field::ParentSpanId, row)?.is_none() {
                let start = cells.bits(&Field::Start, row)?.unwrap_or_default();
                let span_id = cells.bits(&Field::SpanId, row)?.unwrap_or_default();
                if best.is_none_or(|(other, id, _)| (start, span_id) < (other, id)) {
                    best = Some((start, span_id, row));
                }
            }
        }
        let Some((start, span_id, row)) = best else { return Ok(None) };
        Ok(Some((start, span_id, cells.text(&Field::Service, row)?, cells.text(&Field::Name, row)?)))
    }
}

/// Start, id, service and name of a root span.
type Root = (u64, u64, Arc<str>, Arc<str>);

/// Single values of a source.
struct Cells<'a> {
    columns: Columns<'a>,
}

impl Cells<'_> {
    fn chunk(&mut self, field: &Field, row: u32) -> Result<(MaybeChunk, usize), SourceError> {
        let (index, row) = place(row, self.columns.source().chunk_rows());
        let slot = self.columns.slot(field);
        match self.columns.chunk(slot, index) {
            Ok(chunk) => Ok((chunk, row)),
            Err(Halt::Source(error)) => Err(error),
            // There is no limit.
            Err(Halt::Stop(_)) => Ok((None, row)),
        }
    }

    fn bits(&mut self, field: &Field, row: u32) -> Result<Option<u64>, SourceError> {
        let (chunk, row) = self.chunk(field, row)?;
        Ok(chunk.and_then(|chunk| chunk.bits(row)))
    }

    fn text(&mut self, field: &Field, row: u32) -> Result<Arc<str>, SourceError> {
        let (chunk, row) = self.chunk(field, row)?;
        Ok(chunk.and_then(|chunk| chunk.text(row).map(Arc::from)).unwrap_or_default())
    }
}
