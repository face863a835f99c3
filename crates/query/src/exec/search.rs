//! Search: the newest matching traces over all sources.
//!
//! Every source is walked from its newest trace backwards, always the one that can still hold the newest. A trace found
//! in one source is completed from the others, and waits until no source can hold a newer one. So a page of the newest
//! twenty touches a few chunks, whatever lies behind them.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashSet};
use std::sync::{Arc, OnceLock};

use tracewell_model::TraceId;
use tracewell_store::table::{Signal, Source};

use super::sources::Part;
use super::walk::{Found, Sets, Walk};
use super::{Budget, Cursor, Meter, SearchRequest, SearchResponse, Sources, Stop, Total, TotalMode, TraceFacts};
use crate::QueryError;
use crate::error::Halt;
use crate::plan::{Need, Program, Shape};

/// Finds the newest traces that match.
///
/// A trace matches when its spans do: a span counts when its interval overlaps `[request.start, request.end)`. The order is
/// by the earliest start of any span of the trace, the latest first, then by trace id. A damaged source is
/// left out with a warning. When the budget ends, what is known to be newest is returned with a warning.
///
/// # Errors
/// [`QueryError::Cancelled`] when the budget's flag was raised.
pub fn search(
    sources: &[Arc<dyn Source>],
    request: &SearchRequest,
    budget: &Budget,
) -> Result<SearchResponse, QueryError> {
    let program = Program::new(&request.query, request.start, request.end);
    let meter = Meter::new(budget);
    let engine = Engine::new(Sources::new(sources, Signal::Traces), &program, &meter);
    let mut walks = engine.walks();

    let page = engine.page(&mut walks, request.limit, request.cursor);
    if page.stop == Some(Stop::Cancelled) {
        return Err(QueryError::Cancelled);
    }
    let total = match request.total {
        TotalMode::None => None,
        TotalMode::Exact if page.complete && request.cursor.is_none() => {
            Some(Total { value: page.hits.len() as u64, exact: true })
        }
        TotalMode::Exact => Some(match page.stop {
            Some(_) => Total { value: page.hits.len() as u64, exact: false },
            None => engine.count(page.hits.len() as u64),
        }),
    };
    let mut traces = Vec::with_capacity(page.hits.len());
    // What was found is told, whatever the budget says by now.
    meter.lift();
    for hit in &page.hits {
        traces.extend(engine.summary(&mut walks, hit, request));
    }
    if let Some(stop) = page.stop {
        engine.sources.warn(stop.warning());
    }
    let mut warnings = request.query.warnings().to_vec();
    warnings.extend(engine.sources.take_warnings());
    Ok(SearchResponse { traces, next_cursor: page.next, total, stats: meter.stats(), warnings })
}

/// A matching trace.
#[derive(Debug, Clone)]
pub(crate) struct Hit {
    pub facts: TraceFacts,
    pub parts: Vec<Part>,
    /// The filters whose spans are the answer.
    pub selected: u64,
}

/// A page of matching traces.
struct Page {
    hits: Vec<Hit>,
    next: Option<Cursor>,
    /// Every matching trace behind the cursor is on the page.
    complete: bool,
    stop: Option<Stop>,
}

/// Matching traces that newer ones may still come before: start, id, and place among those held.
type Waiting = BinaryHeap<(u64, Reverse<TraceId>, usize)>;

impl Hit {
    fn cursor(&self) -> Cursor {
        Cursor { start: self.facts.start, trace_id: self.facts.trace_id }
    }
}

impl Page {
    /// The page as far as it got: the next one begins behind what is known to be newest; what else was found is shown
    /// too, for it may be all that there is.
    fn stopped(mut self, stop: Stop, limit: usize, mut waiting: Waiting, mut held: Vec<Option<Hit>>) -> Page {
        self.stop = Some(stop);
        self.next = self.hits.last().map(Hit::cursor);
        while self.hits.len() < limit
            && let Some((_, _, slot)) = waiting.pop()
        {
            self.hits.extend(held[slot].take());
        }
        self
    }
}

/// One query over its sources.
pub(crate) struct Engine<'a> {
    pub sources: Sources<'a>,
    pub program: &'a Program,
    pub meter: &'a Meter<'a>,
    sets: Vec<OnceLock<Arc<Sets>>>,
    pub need: Need,
}

impl<'a> Engine<'a> {
    pub fn new(sources: Sources<'a>, program: &'a Program, meter: &'a Meter<'a>) -> Self {
        let sets = (0..sources.len()).map(|_| OnceLock::new()).collect();
        Self { need: program.need(), sources, program, meter, sets }
    }

    /// What the index of a source says; nothing where it cannot be read.
    pub fn sets(&self, index: usize) -> Arc<Sets> {
        let sets = self.sets[index].get_or_init(|| match Sets::new(self.sources.get(index), self.program) {
            Ok(sets) => Arc::new(sets),
            Err(error) => {
                self.sources.give_up(index, &error);
                Arc::new(Sets::nothing(self.program))
            }
        });
        Arc::clone(sets)
    }

    /// Places for the walks through all sources; a walk begins when it is first needed.
    pub fn walks(&self) -> Vec<Option<Walk<'a>>> {
        (0..self.sources.len()).map(|_| None).collect()
    }

    pub fn walk<'w>(&self, walks: &'w mut [Option<Walk<'a>>], index: usize) -> &'w mut Walk<'a> {
        walks[index].get_or_insert_with(|| {
            self.meter.add_source();
            Walk::new(self.sources.get(index), self.program, self.sets(index), self.meter)
        })
    }

    /// No trace of a source that is still to be found starts later.
    fn bound(&self, walks: &[Option<Walk<'a>>], index: usize) -> Option<u64> {
        if self.sources.is_broken(index) {
            return None;
        }
        match &walks[index] {
            Some(walk) => walk.bound(),
            None => {
                let (first, last) = self.sources.get(index).time_range();
                let overlaps = first < self.program.end && last >= self.program.start;
                overlaps.then(|| last.min(self.program.end.saturating_sub(1)))
            }
        }
    }

    fn page(&self, walks: &mut [Option<Walk<'a>>], limit: usize, cursor: Option<Cursor>) -> Page {
        let mut page = Page { hits: Vec::new(), next: None, complete: false, stop: None };
        let mut waiting = Waiting::new();
        let mut held: Vec<Option<Hit>> = Vec::new();
        let mut seen: HashSet<TraceId> = HashSet::new();
        loop {
            let mut bounds: Vec<(u64, usize)> =
                (0..walks.len()).filter_map(|index| Some((self.bound(walks, index)?, index))).collect();
            bounds.sort_unstable_by(|left, right| right.cmp(left));
            let frontier = bounds.first().map(|(bound, _)| *bound);
            while let Some((start, _, slot)) = waiting.peek().copied()
                && frontier.is_none_or(|frontier| start > frontier)
            {
                waiting.pop();
                if page.hits.len() == limit {
                    page.next = page.hits.last().map(Hit::cursor);
                    return page;
                }
                page.hits.extend(held[slot].take());
            }
            let Some(&(_, index)) = bounds.first() else {
                page.complete = true;
                return page;
            };
            // Go on in this source until another one may be newer, or a waiting trace is known to be next.
            let other = bounds.get(1).map_or(0, |(bound, _)| *bound);
            let until = waiting.peek().map_or(other, |(start, ..)| other.max(*start));
            let step = self.walk(walks, index).next(until.min(bounds[0].0));
            let found = match step {
                Ok(Some(found)) => found,
                Ok(None) => continue,
                Err(halt) => match self.halt(index, halt) {
                    Some(stop) => return page.stopped(stop, limit, waiting, held),
                    None => continue,
                },
            };
            match self.resolve(walks, index, found, &mut seen, cursor) {
                Ok(Some(hit)) => {
                    waiting.push((hit.facts.start, Reverse(hit.facts.trace_id), held.len()));
                    held.push(Some(hit));
                }
                Ok(None) => {}
                Err(stop) => return page.stopped(stop, limit, waiting, held),
            }
        }
    }

    /// Gives up a source that cannot be read; passes on what stops the query.
    fn halt(&self, index: usize, halt: Halt) -> Option<Stop> {
        match halt {
            Halt::Stop(stop) => Some(stop),
            Halt::Source(error) => {
                self.sources.give_up(index, &error);
                None
            }
        }
    }

    /// Completes a trace found in one source and decides whether it matches. Each trace is decided once: `seen` holds
    /// those that lie in several sources.
    fn resolve(
        &self,
        walks: &mut [Option<Walk<'a>>],
        index: usize,
        found: Found,
        seen: &mut HashSet<TraceId>,
        cursor: Option<Cursor>,
    ) -> Result<Option<Hit>, Stop> {
        let trace_id = found.entry.trace_id;
        let others = self.sources.other_parts(&trace_id, index);
        if !others.is_empty() && !seen.insert(trace_id) {
            return Ok(None);
        }
        let mask = found.mask;
        let mut parts = vec![found.into_part(index)];
        parts.extend(others);
        if let Some(cursor) = cursor {
            let start = parts.iter().map(|part| part.entry.start).min().unwrap_or_default();
            if !cursor.is_before(start, &trace_id) {
                return Ok(None);
            }
        }
        self.decide(walks, parts, mask)
    }

    /// Does a trace match, given all its parts and what matched in the first of them?
    pub fn decide(
        &self,
        walks: &mut [Option<Walk<'a>>],
        parts: Vec<Part>,
        first_mask: u64,
    ) -> Result<Option<Hit>, Stop> {
        let mut mask = first_mask;
        for part in parts.iter().skip(1) {
            mask |= self.mask(walks, part, None)?;
        }
        if !self.program.bound.holds(mask) {
            return Ok(None);
        }
        let facts = self.sources.facts(&parts);
        match &self.program.shape {
            Shape::Rows => {
                if self.need > Need::Row {
                    mask = 0;
                    for part in &parts {
                        mask |= self.mask(walks, part, Some(&facts))?;
                    }
                }
                let selected = self.program.bound.selected(mask);
                Ok((selected != 0).then_some(Hit { facts, parts, selected }))
            }
            Shape::Trace(steps) => {
                self.meter.check()?;
                if let Some((filter, least)) = self.program.least
                    && self.count_rows(walks, &parts, filter, &facts)? < least
                {
                    return Ok(None);
                }
                let trace = self.assemble(walks, &parts, &facts)?;
                let matched = trace.run(self.program, steps).is_some_and(|spans| !spans.is_empty());
                Ok(matched.then_some(Hit { facts, parts, selected: mask }))
            }
        }
    }

    /// How many rows a filter matches at most: tests of the tree pass, and what was received twice counts twice.
    fn count_rows(
        &self,
        walks: &mut [Option<Walk<'a>>],
        parts: &[Part],
        filter: usize,
        facts: &TraceFacts,
    ) -> Result<u64, Stop> {
        let mut count = 0;
        for part in parts.iter().filter(|part| !self.sources.is_broken(part.source)) {
            match self.walk(walks, part.source).matched_rows(1 << filter, &part.rows, facts) {
                Ok(rows) => count += rows.len() as u64,
                Err(halt) => {
                    if let Some(stop) = self.halt(part.source, halt) {
                        return Err(stop);
                    }
                }
            }
        }
        Ok(count)
    }

    /// The filters that match in a part; none where it cannot be read.
    pub fn mask(&self, walks: &mut [Option<Walk<'a>>], part: &Part, facts: Option<&TraceFacts>) -> Result<u64, Stop> {
        if self.sources.is_broken(part.source) {
            return Ok(0);
        }
        match self.walk(walks, part.source).mask(part.ordinal, &part.entry, &part.rows, facts) {
            Ok(mask) => Ok(mask),
            Err(halt) => self.halt(part.source, halt).map_or(Ok(0), Err),
        }
    }
}
