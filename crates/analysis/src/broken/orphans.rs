//! Whose span is missing above an orphan, and which call without an answer it belongs into.

use std::collections::HashSet;

use foldhash::fast::RandomState;
use tracewell_model::SpanId;

use crate::traces::{Span, Text, Traces};

use super::gaps::{Expected, Gap};
use super::survey::{Map, Piece, Protocol, Survey, most};

/// A span that is missing: several orphans may name it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Missing {
    /// One of the orphans below it.
    pub orphan: Piece,
    /// The service that it was made by, where that can be told.
    pub service: Option<Text>,
    /// The call that it answered, as a number in the list of gaps.
    pub gap: Option<u32>,
}

/// Calls that are tried for one orphan.
const LOOKED_AT_MAX: usize = 64;

/// One entry for each span that is missing, in order of traces. `gaps` are in order of traces.
pub(super) fn find(traces: &Traces, survey: &Survey, gaps: &[Gap]) -> Vec<Missing> {
    let mut found = Vec::new();
    let mut next = 0;
    let mut index = 0;
    while index < survey.orphans.len() {
        let trace = survey.orphans[index].trace;
        let end = index + survey.orphans[index..].iter().take_while(|orphan| orphan.trace == trace).count();
        let in_trace = |gap: &Gap| survey.calls[gap.call as usize].trace;
        next += gaps[next..].iter().take_while(|gap| in_trace(gap) < trace).count();
        let last = next + gaps[next..].iter().take_while(|gap| in_trace(gap) == trace).count();
        of_trace(traces, survey, &survey.orphans[index..end], &gaps[next..last], next as u32, &mut found);
        (index, next) = (end, last);
    }
    found
}

fn of_trace(traces: &Traces, survey: &Survey, orphans: &[Piece], gaps: &[Gap], first: u32, found: &mut Vec<Missing>) {
    let start = |gap: &Gap| traces.spans()[survey.calls[gap.call as usize].span as usize].start_ns;
    let mut order: Vec<u32> = (0..gaps.len() as u32).collect();
    order.sort_by_key(|gap| start(&gaps[*gap as usize]));
    let mut of_parent: Map<SpanId, usize> = Map::default();
    let trace = orphans.first().map(|orphan| &traces.traces()[orphan.trace as usize]);
    let spans = trace.map_or(&[][..], |trace| traces.spans_of(trace));
    let mut present = Present::of(spans, survey.clocks_ns);
    for orphan in orphans {
        let span = &traces.spans()[orphan.span as usize];
        let Some(parent_id) = span.parent_id else { continue };
        let (service, certain) = above(survey, traces, orphan, &mut present);
        // Siblings hang below one missing span; the one that says most about it counts.
        if let Some(known) = of_parent.get(&parent_id) {
            let known: &mut Missing = &mut found[*known];
            if !span.is_incoming() || known.service.is_none() {
                known.service = service.or(known.service);
            }
            if known.gap.is_some() {
                continue;
            }
        }
        let until =
            order.partition_point(|gap| start(&gaps[*gap as usize]) <= span.start_ns.saturating_add(survey.clocks_ns));
        let tried = order[..until].iter().rev().take(LOOKED_AT_MAX);
        let best = tried
            .filter_map(|gap| Some((rank(traces, survey, &gaps[*gap as usize], orphan, (service, certain))?, *gap)))
            .min();
        // Several spans of one answer may be missing: they share the gap.
        let gap = best.map(|(_, gap)| first + gap);
        match of_parent.get(&parent_id) {
            Some(known) => found[*known].gap = gap,
            None => {
                of_parent.insert(parent_id, found.len());
                found.push(Missing { orphan: *orphan, service, gap });
            }
        }
    }
}

/// The services of a trace, and when each was at work.
struct Present<'a> {
    services: HashSet<Text, RandomState>,
    incoming: Vec<&'a Span>,
    /// Comparisons that are left: a trace may be long, and nearly all of it in pieces.
    budget: usize,
    clocks_ns: u64,
}

const COMPARED_MAX: usize = 1_000_000;

impl<'a> Present<'a> {
    fn of(spans: &'a [Span], clocks_ns: u64) -> Self {
        let services = spans.iter().map(|span| span.service).collect();
        Self {
            services,
            incoming: spans.iter().filter(|span| span.is_incoming()).collect(),
            budget: COMPARED_MAX,
            clocks_ns,
        }
    }

    /// Of these services the one that was at work most briefly around a span.
    fn around(&mut self, span: &Span, services: &[(Text, u32)]) -> Option<Text> {
        self.budget = self.budget.checked_sub(self.incoming.len())?;
        let around = self.incoming.iter().filter(|outer| {
            outer.start_ns <= span.start_ns.saturating_add(self.clocks_ns)
                && outer.end_ns.saturating_add(self.clocks_ns) >= span.end_ns
                && outer.id != span.id
                && services.iter().any(|(service, _)| *service == outer.service)
        });
        around.min_by_key(|outer| (outer.duration_ns(), outer.service)).map(|outer| outer.service)
    }
}

/// Who made the span above an orphan: its own service where it was not called from outside, else one of those who
/// usually call it: who was at work around it (then that is certain), else who is in the trace at all, else the most
/// frequent.
fn above(survey: &Survey, traces: &Traces, orphan: &Piece, present: &mut Present<'_>) -> (Option<Text>, bool) {
    let span = &traces.spans()[orphan.span as usize];
    if !span.is_incoming() {
        return (Some(span.service), true);
    }
    let Some(callers) = survey.callers.get(&(span.service, span.operation)) else { return (None, false) };
    if let Some(around) = present.around(span, callers) {
        return (Some(around), true);
    }
    let here = |caller: &&(Text, u32)| present.services.contains(&caller.0);
    let here: Vec<(Text, u32)> = callers.iter().filter(here).copied().collect();
    (most(if here.is_empty() { callers } else { &here }).map(|(service, _)| service), false)
}

/// How badly an orphan fits into a call, `None` where it does not: first by what is known, then by time.
fn rank(
    traces: &Traces,
    survey: &Survey,
    gap: &Gap,
    orphan: &Piece,
    (above, certain): (Option<Text>, bool),
) -> Option<(u8, u64)> {
    let call = &survey.calls[gap.call as usize];
    let (outer, inner) = (&traces.spans()[call.span as usize], &traces.spans()[orphan.span as usize]);
    let message = inner.is_consumer();
    let unrecorded = survey.sites[call.site as usize].unrecorded;
    // Work waits for what it asks; and what is below it does not stand above it.
    let below = (orphan.span..=orphan.span + inner.descendants).contains(&call.span);
    if unrecorded && (message || below || inner.end_ns > outer.end_ns.saturating_add(survey.clocks_ns)) {
        return None;
    }
    if !outer.is_producer() && !message && inner.start_ns > outer.end_ns.saturating_add(survey.clocks_ns) {
        return None;
    }
    // What nothing is known of is only believed where it fits exactly.
    let within = inner.is_incoming()
        && !certain
        && outer.is_producer() == message
        && (message || inner.end_ns <= outer.end_ns.saturating_add(survey.clocks_ns));
    let usually = |service: Text| {
        let callers = survey.callers.get(&(inner.service, inner.operation));
        callers.is_some_and(|callers| callers.iter().any(|(caller, _)| *caller == service))
    };
    let fits = match gap.expected {
        Expected::Service(service) if !inner.is_incoming() => (service == inner.service).then_some(0),
        Expected::Service(service) if usually(service) => Some(0),
        // What is expected to answer is seen, but never calls this.
        Expected::Service(_) => None,
        Expected::Unseen(_) => within.then_some(1),
        Expected::Nothing if survey.sites[call.site as usize].protocol == Protocol::Database => None,
        Expected::Nothing if !within => None,
        Expected::Nothing => above.is_none_or(|above| above != outer.service).then_some(2),
    };
    // Messages are taken some time after they were sent: the latest call before is the likeliest.
    let distance = if message { inner.start_ns.abs_diff(outer.start_ns) } else { outer.duration_ns() };
    fits.map(|rank| (rank, distance))
}
