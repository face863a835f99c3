//! Where time is spent, exactly once: in a service itself, or on the way to another.
//!
//! A span's own time is its duration without the time in which it had a child under way. Reactive servers record the
//! work of a filter and the call that the filter waits for side by side; so a local span does not count the time in which
//! a call of the same parent and service was under way either. A call's time on the way is its duration without that of
//! the span over there, which needs no agreement of clocks.

use std::collections::HashMap;

use foldhash::fast::RandomState;

use super::names::View;
use crate::traces::NO_SPAN;

/// Calls beside a local span that are looked at: those of one parent, in order of their start.
const SIBLING_CALLS_MAX: usize = 64;

/// What times are collected of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Place {
    /// The own time of a service while it serves an operation: of all its spans from its entry to its calls.
    Visit { operation: u32 },
    /// The own time of an operation's spans.
    Own { operation: u32 },
    /// The way from a calling operation to a called one and back.
    Hop { caller: u32, callee: u32 },
    /// The same with the own time of the service that was called: where a server stalls (before its span begins, or
    /// after) is chance.
    Reply { caller: u32, callee: u32 },
}

/// The places of both sides.
#[derive(Debug, Default)]
pub struct Places {
    places: Vec<Place>,
    numbers: HashMap<Place, u32, RandomState>,
}

/// Times of every place on one side, by part of its time.
#[derive(Debug, Default)]
pub struct Times {
    /// Times in nanoseconds, those of a place and part together.
    values: Vec<f32>,
    /// Where the times of a place and part begin; one more than there are.
    starts: Vec<usize>,
    parts: usize,
    /// Of each span: its own place ([`Place::Own`] or [`Place::Hop`]) and its time; [`NO_PLACE`] without times.
    pub spans: Vec<(u32, f32)>,
}

/// In place of the number of a place: there is none.
pub const NO_PLACE: u32 = u32::MAX;

impl Places {
    pub fn len(&self) -> usize {
        self.places.len()
    }

    pub fn get(&self, number: usize) -> Place {
        self.places[number]
    }

    fn number(&mut self, place: Place) -> u32 {
        let next = self.places.len() as u32;
        let number = *self.numbers.entry(place).or_insert(next);
        if number == next {
            self.places.push(place);
        }
        number
    }
}

impl Times {
    /// Times of a place from a part on, those of a part in order of their traces.
    pub fn since(&self, place: usize, part: usize) -> &[f32] {
        let (first, end) = (place * self.parts + part, (place + 1) * self.parts);
        match (self.starts.get(first), self.starts.get(end)) {
            (Some(start), Some(end)) => &self.values[*start..*end],
            _ => &[],
        }
    }

    /// A quantile of the times of a place, 0 if it has none.
    pub fn quantile(&self, place: usize, since: usize, part: f64) -> f32 {
        let mut values = self.since(place, since).to_vec();
        if values.is_empty() {
            return 0.0;
        }
        let at = ((values.len() - 1) as f64 * part).round() as usize;
        *values.select_nth_unstable_by(at, f32::total_cmp).1
    }

    /// Times of a place within one part.
    pub fn within(&self, place: usize, part: usize) -> &[f32] {
        let at = place * self.parts + part;
        match (self.starts.get(at), self.starts.get(at + 1)) {
            (Some(start), Some(end)) => &self.values[*start..*end],
            _ => &[],
        }
    }

    /// Collects all times of some traces. The spans that were sent without times are left out.
    pub fn collect(view: &View, places: &mut Places) -> Self {
        let spans = view.traces.spans();
        let own = own_times(view);
        let mut visits = vec![0_u64; spans.len()];
        let mut found: Vec<(u32, u8, f32)> = Vec::with_capacity(spans.len() * 2);
        let mut by_span = vec![(NO_PLACE, 0.0); spans.len()];
        let mut by_operation: Vec<(u32, u32)> = Vec::new();
        let mut of_operation = |places: &mut Places, operation: u32| {
            let at = operation as usize;
            if at >= by_operation.len() {
                by_operation.resize(at + 1, (u32::MAX, u32::MAX));
            }
            if by_operation[at].0 == u32::MAX {
                by_operation[at] = (places.number(Place::Own { operation }), places.number(Place::Visit { operation }));
            }
            by_operation[at]
        };
        for number in (0..spans.len()).filter(|number| spans[*number].timed && view.callee[*number] == NO_SPAN) {
            visits[view.entry[number] as usize] += own[number];
            let (place, _) = of_operation(places, view.operation[number]);
            found.push((place, view.part(number), own[number] as f32));
            by_span[number] = (place, own[number] as f32);
        }
        let mut hops: HashMap<(u32, u32), (u32, u32), RandomState> = HashMap::default();
        for (number, span) in spans.iter().enumerate().filter(|(_, span)| span.timed) {
            let (operation, callee, part) = (view.operation[number], view.callee[number] as usize, view.part(number));
            if let Some(there) = spans.get(callee).filter(|there| there.timed) {
                let key = (operation, view.operation[callee]);
                let (hop, reply) = *hops.entry(key).or_insert_with(|| {
                    let (caller, callee) = key;
                    (places.number(Place::Hop { caller, callee }), places.number(Place::Reply { caller, callee }))
                });
                let way = span.duration_ns().saturating_sub(there.duration_ns());
                found.push((hop, part, way as f32));
                by_span[number] = (hop, way as f32);
                found.push((reply, part, span.duration_ns().min(way + visits[callee]) as f32));
            } else if view.entry[number] as usize == number && view.callee[number] == NO_SPAN {
                let (_, place) = of_operation(places, operation);
                found.push((place, part, visits[number] as f32));
            }
        }
        Self { spans: by_span, ..grouped(&found, places.len(), view.parts) }
    }
}

/// Counting sort by place and part.
fn grouped(found: &[(u32, u8, f32)], places: usize, parts: usize) -> Times {
    let mut starts = vec![0_usize; places * parts + 1];
    let at = |place: u32, part: u8| place as usize * parts + part as usize;
    for (place, part, _) in found {
        starts[at(*place, *part) + 1] += 1;
    }
    for group in 0..places * parts {
        starts[group + 1] += starts[group];
    }
    let (mut next, mut values) = (starts.clone(), vec![0.0; found.len()]);
    for (place, part, value) in found {
        let at = &mut next[at(*place, *part)];
        values[*at] = *value;
        *at += 1;
    }
    Times { values, starts, parts, spans: Vec::new() }
}

/// The own time of every span, nanoseconds.
fn own_times(view: &View) -> Vec<u64> {
    let (traces, spans) = (view.traces, view.traces.spans());
    let mut own: Vec<u64> = Vec::with_capacity(spans.len());
    let mut busy: Vec<(u64, u64)> = Vec::new();
    let mut calls: Vec<u32> = Vec::new();
    let mut calls_of = NO_SPAN;
    for (number, span) in spans.iter().enumerate() {
        busy.clear();
        busy.extend(traces.children(number).map(|child| (spans[child].start_ns, spans[child].end_ns)));
        if !span.is_outgoing() && !span.is_incoming() && span.parent != NO_SPAN {
            if calls_of != span.parent {
                calls_of = span.parent;
                calls.clear();
                let siblings = traces.children(span.parent as usize);
                calls.extend(siblings.filter(|at| is_call(view, *at)).take(SIBLING_CALLS_MAX).map(|at| at as u32));
            }
            let children = busy.len();
            let beside =
                calls.iter().map(|call| *call as usize).filter(|call| *call != number).map(|call| &spans[call]);
            let beside = beside.filter(|call| call.service == span.service);
            let overlapping = beside.filter(|call| call.start_ns < span.end_ns && call.end_ns > span.start_ns);
            busy.extend(overlapping.map(|call| (call.start_ns, call.end_ns)));
            if busy.len() > children {
                busy.sort_unstable();
            }
        }
        let (mut cursor, mut covered) = (span.start_ns, 0);
        for (start, end) in &busy {
            let (start, end) = ((*start).max(cursor), (*end).min(span.end_ns));
            if end > start {
                covered += end - start;
                cursor = end;
            }
        }
        own.push(span.duration_ns() - covered);
    }
    own
}

fn is_call(view: &View, span: usize) -> bool {
    view.callee[span] != NO_SPAN || view.traces.spans()[span].is_outgoing()
}
