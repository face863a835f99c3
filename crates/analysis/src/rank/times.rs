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

/// Times of every place on one side.
#[derive(Debug, Default)]
pub struct Times {
    /// Times in nanoseconds, those of a place together.
    values: Vec<f32>,
    /// Where a place's times begin; one more than there are places.
    starts: Vec<usize>,
}

/// The places of both sides.
#[derive(Debug, Default)]
pub struct Places {
    places: Vec<Place>,
    numbers: HashMap<Place, u32, RandomState>,
}

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
    /// Times of a place, in order of their traces.
    pub fn of(&self, place: usize) -> &[f32] {
        match (self.starts.get(place), self.starts.get(place + 1)) {
            (Some(start), Some(end)) => &self.values[*start..*end],
            _ => &[],
        }
    }

    /// Collects all times of some traces. The spans that were sent without times are left out.
    pub fn collect(view: &View, places: &mut Places) -> Self {
        let spans = view.traces.spans();
        let own = own_times(view);
        let mut visits = vec![0_u64; spans.len()];
        let mut found: Vec<(u32, f32)> = Vec::with_capacity(spans.len() * 2);
        for number in (0..spans.len()).filter(|number| spans[*number].timed) {
            if view.callee[number] == NO_SPAN {
                let operation = view.operation[number];
                visits[view.entry[number] as usize] += own[number];
                found.push((places.number(Place::Own { operation }), own[number] as f32));
            }
        }
        for (number, span) in spans.iter().enumerate().filter(|(_, span)| span.timed) {
            let (operation, callee) = (view.operation[number], view.callee[number] as usize);
            if let Some(there) = spans.get(callee).filter(|there| there.timed) {
                let to = view.operation[callee];
                let way = span.duration_ns().saturating_sub(there.duration_ns());
                found.push((places.number(Place::Hop { caller: operation, callee: to }), way as f32));
                let reply = span.duration_ns().min(way + visits[callee]);
                found.push((places.number(Place::Reply { caller: operation, callee: to }), reply as f32));
            } else if view.entry[number] as usize == number {
                found.push((places.number(Place::Visit { operation }), visits[number] as f32));
            }
        }
        grouped(&found, places.len())
    }
}

/// Counting sort by place.
fn grouped(found: &[(u32, f32)], places: usize) -> Times {
    let mut starts = vec![0_usize; places + 1];
    for (place, _) in found {
        starts[*place as usize + 1] += 1;
    }
    for place in 0..places {
        starts[place + 1] += starts[place];
    }
    let (mut next, mut values) = (starts.clone(), vec![0.0; found.len()]);
    for (place, value) in found {
        let at = &mut next[*place as usize];
        values[*at] = *value;
        *at += 1;
    }
    Times { values, starts }
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
        let local = !span.is_outgoing() && !span.is_incoming() && span.parent != NO_SPAN;
        if local {
            if calls_of != span.parent {
                calls_of = span.parent;
                calls.clear();
                let siblings = traces.children(span.parent as usize);
                calls.extend(siblings.filter(|at| is_call(view, *at)).take(SIBLING_CALLS_MAX).map(|at| at as u32));
            }
            let beside = calls.iter().map(|call| *call as usize).filter(|call| *call != number);
            let children = busy.len();
            busy.extend(
                beside
                    .map(|call| &spans[call])
                    .filter(|call| {
                        call.service == span.service && call.start_ns < span.end_ns && call.end_ns > span.start_ns
                    })
                    .map(|call| (call.start_ns, call.end_ns)),
            );
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
