//! Calls that nobody recorded: services that tell what they are asked, and not what they ask.
//!
//! ```text
//! recorded     a (server) ── a (client) ── b (server)
//! unrecorded   a (server) ──────────────── b (server)
//! ```
//!
//! What a unit of work usually has below it stands for its calls: a *slot* for each service that ever stood directly below
//! that operation. A slot without an answer may be a call that was not needed this time, so that it counts as lost only
//! if something speaks for it: a span in the air, a trace that fits, a threshold or a moment that divides those
//! with an answer from those without. Services that record no calls at all have an *open* slot as well, for somebody who
//! never stood below them in these traces. Linear in spans, times the slots of a unit.

use std::collections::HashSet;

use foldhash::fast::RandomState;

use crate::traces::{NO_SPAN, Text, Traces};

use super::survey::{Call, Map, Protocol, Site, Survey, count};

/// Slots of one operation: beyond it is no operation but a name for everything.
const SLOTS_MAX: usize = 64;

/// Adds the calls that nobody recorded.
pub(super) fn add(traces: &Traces, survey: &mut Survey) {
    let answers = answers(traces, &entries(traces));
    if answers.is_empty() {
        return;
    }
    let calls_out = |site: &&Site| !matches!(site.protocol, Protocol::Database | Protocol::Message);
    let callers: HashSet<Text, RandomState> = survey.sites.iter().filter(calls_out).map(|site| site.service).collect();
    let pairs = survey.sites.iter().flat_map(|site| site.callees.iter().map(|(callee, _)| (site.service, *callee)));
    let recorded: HashSet<(Text, Text), RandomState> = pairs.collect();
    // Who stands directly below an operation of a service.
    let mut slots: Map<(Text, Text), Vec<(Text, u32)>> = Map::default();
    for answer in &answers {
        let (unit, callee) = (&traces.spans()[answer.unit as usize], traces.spans()[answer.child as usize].service);
        if !recorded.contains(&(unit.service, callee)) {
            count(slots.entry((unit.service, unit.operation)).or_default(), callee);
        }
    }
    let mut sites: Map<(Text, Text, Text), u32> = Map::default();
    let mut next = 0;
    for (number, trace) in traces.traces().iter().enumerate() {
        for index in trace.spans() {
            let from = next;
            next += answers[next..].iter().take_while(|answer| answer.unit as usize == index).count();
            let own = &answers[from..next];
            let unit = &traces.spans()[index];
            let slots = slots.get(&(unit.service, unit.operation)).map_or(&[][..], Vec::as_slice);
            let is_unit = !own.is_empty() || unit.is_incoming();
            if !is_unit || slots.len() > SLOTS_MAX {
                continue;
            }
            let mut call = |callee: Text, child: u32| {
                let operation = if callee.is_empty() { Text::EMPTY } else { unit.operation };
                let site = *sites.entry((unit.service, operation, callee)).or_insert_with(|| {
                    survey.sites.push(Site::unrecorded(unit.service, operation));
                    survey.sites.len() as u32 - 1
                });
                let known = &mut survey.sites[site as usize];
                known.calls += 1;
                if child != NO_SPAN {
                    known.answered += 1;
                    count(&mut known.callees, callee);
                }
                survey.calls.push(Call { span: index as u32, trace: number as u32, site, child });
            };
            for (callee, _) in slots {
                let child = own.iter().find(|answer| traces.spans()[answer.child as usize].service == *callee);
                // What failed may have got no further.
                if child.is_some() || !unit.is_error() {
                    call(*callee, child.map_or(NO_SPAN, |answer| answer.child));
                }
            }
            if !callers.contains(&unit.service) {
                call(Text::EMPTY, NO_SPAN);
            }
        }
    }
    survey.calls.sort_by_key(|call| call.trace);
}

/// A span that answers a unit of work of another service without a call between them.
struct Answer {
    unit: u32,
    child: u32,
}

/// For each span the one that began the work of its service: the first above whose parent is of another service, or that
/// was called.
fn entries(traces: &Traces) -> Vec<u32> {
    let spans = traces.spans();
    let mut entries: Vec<u32> = Vec::with_capacity(spans.len());
    for (index, span) in spans.iter().enumerate() {
        let above = traces.parent(index).filter(|above| spans[*above].service == span.service && !span.is_incoming());
        entries.push(above.map_or(index as u32, |above| entries[above]));
    }
    entries
}

/// All answers, in order of their units.
fn answers(traces: &Traces, entries: &[u32]) -> Vec<Answer> {
    let spans = traces.spans();
    let mut answers = Vec::new();
    for (index, span) in spans.iter().enumerate() {
        let Some(parent) = traces.parent(index) else { continue };
        if span.is_consumer() || spans[parent].service == span.service {
            continue;
        }
        let unit = entries[parent];
        let mut above = Some(parent);
        let mut recorded = false;
        while let Some(at) = above.filter(|_| !recorded) {
            recorded = spans[at].is_outgoing();
            above = if at as u32 == unit { None } else { traces.parent(at) };
        }
        if !recorded {
            answers.push(Answer { unit, child: index as u32 });
        }
    }
    answers.sort_by_key(|answer| (answer.unit, answer.child));
    answers
}
