//! Calls that wait for each other without visible need.
//!
//! A run is calls of one unit, each beginning soon after the one before has ended. What ends a run: a call that writes
//! (effects have an order), a call that guards what follows (an access check, or one after whose failure the unit has been
//! seen to give up), and a pause in which the caller works, perhaps with the answer. That one call is asked with what the
//! other answered cannot be seen in a trace: three different ones are needed, because of two the second is often asked
//! with the answer of the first. Calls that the unit makes in a loop count once: the loop is told apart.

use std::collections::HashSet;

use foldhash::fast::RandomState;

use super::Kind;
use super::collect::{Collector, Hit, Place, SPANS_MAX, part};
use super::loops::{in_a_row, work};
use super::names::{Effect, Names, Shape};
use super::unit::{Call, CallKey, Change, Unit, Units, tolerance_ns};
use crate::traces::{Text, Traces};

/// Different calls that make a run.
const DIFFERENT_MIN: usize = 3;

/// The longest pause within a run: a share of the longer neighbour, and at least so many nanoseconds.
const PAUSE_SHARE: u64 = 4;
const PAUSE_MIN_NS: u64 = 1_000_000;

/// The work, and the call in it.
type CallOf = (Text, Shape, CallKey);

/// Calls whose failure ends the unit that makes them, and those whose failure does not.
#[derive(Debug, Default)]
pub(super) struct Guards {
    ends: HashSet<CallOf, RandomState>,
    goes_on: HashSet<CallOf, RandomState>,
}

impl Guards {
    /// Looks at what units do after a call has failed.
    pub(super) fn learn(&mut self, traces: &Traces, units: &Units, names: &mut Names) {
        for unit in units.iter().filter(|unit| unit.calls.iter().any(|call| call.failed)) {
            let (_, (service, operation)) = work(traces, unit, names);
            // When the last call began, and the last one that is not like it.
            let last = unit.calls.last().map(|call| (call.key, call.start_ns));
            let other = unit.calls.iter().rev().find(|call| Some(call.key) != last.map(|last| last.0));
            for call in unit.calls.iter().filter(|call| call.failed) {
                let latest_ns = match last {
                    Some((key, start_ns)) if key != call.key => Some(start_ns),
                    _ => other.map(|other| other.start_ns),
                };
                let goes_on = latest_ns.is_some_and(|start_ns| start_ns >= call.end_ns);
                let failed = traces.spans()[unit.entry].is_error();
                match (goes_on, failed) {
                    (true, _) => drop(self.goes_on.insert((service, operation, call.key))),
                    (false, true) => drop(self.ends.insert((service, operation, call.key))),
                    (false, false) => {}
                }
            }
        }
    }

    /// Takes what another set of traces has taught, where both have the same names.
    pub(super) fn learn_from(
        &mut self,
        other: &Self,
        (their_traces, their_names): (&Traces, &Names),
        (own_traces, own_names): (&Traces, &Names),
    ) {
        let text = |text: Text| own_traces.texts().find(their_traces.text(text));
        let shape = |shape: Shape| own_names.find(their_names.text(shape));
        let call = |(service, within, key): &CallOf| {
            let (callee, operation, statement) = (text(key.callee)?, shape(key.operation)?, shape(key.statement)?);
            Some((text(*service)?, shape(*within)?, CallKey { callee, operation, statement }))
        };
        self.ends.extend(other.ends.iter().filter_map(call));
        self.goes_on.extend(other.goes_on.iter().filter_map(call));
    }

    fn guards(&self, within: (Text, Shape), call: &Call) -> bool {
        let key = (within.0, within.1, call.key);
        !self.goes_on.contains(&key) && (call.guards || self.ends.contains(&key))
    }
}

/// Whether a trace may have a run: a cheap look.
pub(super) fn occurs(units: &Units) -> bool {
    units.iter().any(|unit| {
        let mut follow = unit.calls.windows(2).filter(|pair| pair[1].start_ns >= pair[0].end_ns);
        unit.calls.len() >= DIFFERENT_MIN && follow.nth(DIFFERENT_MIN - 2).is_some()
    })
}

/// Finds the runs of a trace.
pub(super) fn find(traces: &Traces, units: &Units, guards: &Guards, to: &mut Collector, names: &mut Names) {
    for unit in units.iter().filter(|unit| unit.calls.len() >= DIFFERENT_MIN) {
        let (_, within) = work(traces, unit, names);
        let loops = in_loops(traces, unit);
        for run in runs(traces, unit, guards, within) {
            if let Some(hit) = serial(traces, units, unit, &run, &loops, within) {
                to.hit(traces, units, hit);
            }
        }
    }
}

/// Calls that follow each other; of calls side by side the longest stands for all.
fn runs(traces: &Traces, unit: Unit<'_>, guards: &Guards, within: (Text, Shape)) -> Vec<Vec<usize>> {
    let tolerance = tolerance_ns(&traces.spans()[unit.entry]);
    let (mut runs, mut run, mut end) = (Vec::new(), Vec::<usize>::new(), 0);
    let mut place = 0;
    while place < unit.calls.len() {
        // All that overlap: one step.
        let (first, mut step_end) = (place, unit.calls[place].end_ns);
        let mut longest = place;
        place += 1;
        while let Some(next) = unit.calls.get(place) {
            let overlap = tolerance.min(next.duration_ns() / 2);
            if next.start_ns.saturating_add(overlap) >= step_end {
                break;
            }
            step_end = step_end.max(next.end_ns);
            if next.duration_ns() > unit.calls[longest].duration_ns() {
                longest = place;
            }
            place += 1;
        }
        let step = &unit.calls[first..place];
        let stands = |call: &Call| call.effect == Effect::Writes || guards.guards(within, call);
        let pause = unit.calls[first].start_ns.saturating_sub(end);
        let before = run.last().map_or(0, |before| unit.calls[*before].duration_ns());
        let pause_max = PAUSE_MIN_NS.max(before.max(unit.calls[longest].duration_ns()) / PAUSE_SHARE);
        if !run.is_empty() && pause > pause_max {
            runs.push(std::mem::take(&mut run));
        }
        if step.iter().any(stands) {
            runs.push(std::mem::take(&mut run));
        } else {
            run.push(longest);
        }
        end = step_end;
    }
    runs.push(run);
    runs.retain(|run| run.len() >= DIFFERENT_MIN);
    runs
}

/// Calls that are made in loops.
fn in_loops(traces: &Traces, unit: Unit<'_>) -> HashSet<CallKey, RandomState> {
    let mut order: Vec<usize> = (0..unit.calls.len()).collect();
    order.sort_by_key(|place| (unit.calls[*place].key, *place));
    let groups = order.chunk_by(|a, b| unit.calls[*a].key == unit.calls[*b].key);
    groups.filter(|group| in_a_row(traces, unit, group).is_some()).map(|group| unit.calls[group[0]].key).collect()
}

fn serial(
    traces: &Traces,
    units: &Units,
    unit: Unit<'_>,
    run: &[usize],
    loops: &HashSet<CallKey, RandomState>,
    within: (Text, Shape),
) -> Option<Hit> {
    let mut seen: HashSet<CallKey, RandomState> = HashSet::default();
    let different = run.iter().filter(|place| seen.insert(unit.calls[**place].key)).count();
    if different < DIFFERENT_MIN {
        return None;
    }
    // Of each loop its longest call, all others as they are.
    let mut counted: Vec<usize> = Vec::new();
    let mut by_length = run.to_vec();
    by_length.sort_by_key(|place| (std::cmp::Reverse(unit.calls[*place].duration_ns()), *place));
    let mut told: HashSet<CallKey, RandomState> = HashSet::default();
    for place in by_length {
        let key = unit.calls[place].key;
        if !loops.contains(&key) || told.insert(key) {
            counted.push(place);
        }
    }
    let longest = counted[0];
    counted.sort_unstable();
    let mut shrinks = vec![false; unit.calls.len()];
    counted.iter().filter(|place| **place != longest).for_each(|place| shrinks[*place] = true);
    let win_ns = units.saved_ns(traces, unit, |place, _| match shrinks[place] {
        true => Change::Shrink(0),
        false => Change::Keep,
    });
    let service = within.0;
    let place = Place {
        kind: Kind::SerialCalls,
        service,
        operation: within.1,
        caller: service,
        callee: Text::EMPTY,
        statement: Shape::default(),
        within,
    };
    let parts = counted.iter().map(|place| {
        let call = &unit.calls[*place];
        part(service, call, 1, call.duration_ns())
    });
    let parts = parts.collect();
    let spans = counted.iter().take(SPANS_MAX).map(|place| unit.calls[*place].span).collect();
    Some(Hit { count: counted.len(), win_ns, spans, parts, ..Hit::new(place, unit.entry) })
}
