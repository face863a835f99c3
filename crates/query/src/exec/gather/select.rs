//! Which traces are gathered.

use std::cmp::Ordering;
use std::collections::{BinaryHeap, HashSet};

use foldhash::fast::FixedState;
use tracewell_model::TraceId;
use tracewell_store::table::{Source, SourceError};

use super::GatherRequest;
use crate::exec::matches::Visitor;
use crate::exec::search::Engine;
use crate::exec::sources::Part;
use crate::exec::{Meter, Sources, Stop};

/// The traces to read, in order of their start.
#[derive(Debug, Default)]
pub(super) struct Selected {
    pub traces: Vec<Chosen>,
    /// How many match.
    pub matched: u64,
    /// How many of these each of the chosen stands for.
    pub weight: f64,
    pub stopped: Option<Stop>,
}

/// A trace to read.
#[derive(Debug)]
pub(super) struct Chosen {
    hash: u64,
    pub trace_id: TraceId,
    pub parts: Vec<Part>,
}

impl Chosen {
    fn new(trace_id: TraceId, parts: Vec<Part>) -> Self {
        Self { hash: hash(&trace_id), trace_id, parts }
    }

    fn key(&self) -> (u64, TraceId) {
        (self.hash, self.trace_id)
    }

    /// Rows of all its parts.
    pub fn rows(&self) -> u64 {
        self.parts.iter().map(|part| part.rows.len() as u64).sum()
    }
}

impl PartialEq for Chosen {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl Eq for Chosen {}

impl PartialOrd for Chosen {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Chosen {
    fn cmp(&self, other: &Self) -> Ordering {
        self.key().cmp(&other.key())
    }
}

/// Decides who is in a sample. Fixed for ever, and unlike anything that samplers upstream decide by: these look at the
/// id's low bits as they are.
fn hash(trace_id: &TraceId) -> u64 {
    use std::hash::BuildHasher;
    FixedState::with_seed(0x7472_6163_6577_656c).hash_one(trace_id.0)
}

/// Keeps the traces with the lowest hashes, and counts all.
struct Sample<'r> {
    request: &'r GatherRequest,
    kept: BinaryHeap<Chosen>,
    matched: u64,
    found: TraceId,
}

impl<'r> Sample<'r> {
    fn new(request: &'r GatherRequest) -> Self {
        Self { request, kept: BinaryHeap::new(), matched: 0, found: TraceId::default() }
    }
}

impl Visitor for Sample<'_> {
    fn found(&mut self, trace_id: &TraceId) -> bool {
        if self.request.except.contains(trace_id) {
            return false;
        }
        self.matched += 1;
        self.found = *trace_id;
        self.kept.len() < self.request.limit
            || self.kept.peek().is_some_and(|highest| (hash(trace_id), *trace_id) < highest.key())
    }

    fn take(&mut self, parts: Vec<Part>) {
        self.kept.push(Chosen::new(self.found, parts));
        if self.kept.len() > self.request.limit {
            self.kept.pop();
        }
    }
}

/// The sample of all samples, within the limits.
fn conclude(samples: Vec<Sample<'_>>, request: &GatherRequest, stopped: Option<Stop>) -> Selected {
    let matched = samples.iter().map(|sample| sample.matched).sum();
    let mut traces: Vec<Chosen> = samples.into_iter().flat_map(|sample| sample.kept).collect();
    traces.sort_unstable();
    traces.truncate(request.limit);
    let mut spans = 0u64;
    let fit = traces.iter().take_while(|trace| {
        spans = spans.saturating_add(trace.rows());
        spans <= request.spans_max
    });
    let fit = fit.count();
    traces.truncate(fit.max(1));
    traces.sort_by_cached_key(|trace| (trace.parts.iter().map(|part| part.entry.start).min(), trace.trace_id));
    let weight = if traces.is_empty() { 1.0 } else { matched as f64 / traces.len() as f64 };
    Selected { traces, matched, weight, stopped }
}

/// Those that match a query.
pub(super) fn by_query(engine: &Engine<'_>, request: &GatherRequest) -> Selected {
    let (samples, stopped) = engine.matches(|| Sample::new(request));
    conclude(samples, request, stopped)
}

/// Those that begin within the time range with a certain root.
pub(super) fn by_root(
    sources: &Sources<'_>,
    service: &str,
    name: &str,
    request: &GatherRequest,
    meter: &Meter<'_>,
) -> Selected {
    let mut sample = Sample::new(request);
    let mut seen: HashSet<TraceId> = HashSet::new();
    let mut stopped = None;
    for (index, source) in sources.iter() {
        let (first, last) = source.time_range();
        if first >= request.end || last < request.start {
            continue;
        }
        meter.add_source();
        let mut visit = |trace_id: TraceId| {
            if !seen.insert(trace_id) || !sample.found(&trace_id) {
                return;
            }
            let parts = sources.parts(&trace_id);
            if parts.is_empty() {
                return;
            }
            sample.take(parts);
        };
        for block in first_block(source, request.start)..source.trace_blocks() {
            if let Err(stop) = meter.check() {
                stopped = Some(stop);
                break;
            }
            let block = match source.trace_block(block) {
                Ok(block) => block,
                Err(error) => {
                    sources.give_up(index, &error);
                    break;
                }
            };
            if source.ordered() && block.entries.first().is_some_and(|entry| entry.start >= request.end) {
                break;
            }
            for entry in &block.entries {
                let begins = entry.start >= request.start && entry.start < request.end;
                let rooted = |(of, called): &(_, _)| is(of, service) && is(called, name);
                if begins && entry.root.as_ref().is_some_and(rooted) {
                    visit(entry.trace_id);
                }
            }
        }
    }
    conclude(vec![sample], request, stopped)
}

fn is(text: &std::sync::Arc<str>, wanted: &str) -> bool {
    **text == *wanted
}

/// The first block that can hold a trace which begins at `start` or later.
fn first_block(source: &dyn Source, start: u64) -> u32 {
    let begins_before = |block: u32| -> Result<bool, SourceError> {
        Ok(source.trace_block(block)?.entries.first().is_some_and(|entry| entry.start < start))
    };
    if !source.ordered() {
        return 0;
    }
    let (mut low, mut high) = (0, source.trace_blocks());
    while low < high {
        let middle = low + (high - low) / 2;
        match begins_before(middle) {
            Ok(true) => low = middle + 1,
            Ok(false) => high = middle,
            // Whoever reads it next says so.
            Err(_) => return 0,
        }
    }
    low.saturating_sub(1)
}

/// Those with certain ids.
pub(super) fn by_id(sources: &Sources<'_>, ids: &[TraceId], request: &GatherRequest) -> Selected {
    let mut sample = Sample::new(request);
    let mut seen: HashSet<TraceId> = HashSet::new();
    for id in ids.iter().filter(|id| seen.insert(**id)) {
        let parts = sources.parts(id);
        if !parts.is_empty() && sample.found(id) {
            sample.take(parts);
        }
    }
    conclude(vec![sample], request, None)
}
