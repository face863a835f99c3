//! One call for each of many things, and too many calls over one edge.

use super::Kind;
use super::collect::{Collector, Hit, Place, SPANS_MAX, part};
use super::names::{Names, Shape};
use super::retries::Repeated;
use super::unit::{Call, Change, NONE, Unit, Units, tolerance_ns};
use crate::traces::{Text, Traces};

/// Calls of one operation, one after the other, from which a unit makes one for each of many things.
pub(super) const LOOP_MIN: usize = 5;

/// Calls from one unit to one service from which the edge is chatty.
const CHATTY_MIN: usize = 10;

/// Finds both in all units of a trace.
pub(super) fn find(traces: &Traces, units: &Units, repeated: &Repeated, to: &mut Collector, names: &mut Names) {
    for unit in units.iter().filter(|unit| unit.calls.len() >= LOOP_MIN) {
        let mut order: Vec<usize> =
            (0..unit.calls.len()).filter(|place| !repeated.contains(unit.calls[*place].span)).collect();
        order.sort_by_key(|place| (unit.calls[*place].key, *place));
        let mut rest: Vec<usize> = Vec::new();
        for group in order.chunk_by(|a, b| unit.calls[*a].key == unit.calls[*b].key) {
            match in_a_row(traces, unit, group) {
                Some(row) => to.hit(traces, units, one_by_one(traces, units, unit, &row, names)),
                None => rest.extend(group),
            }
        }
        rest.sort_by_key(|place| (unit.calls[*place].key.callee, *place));
        for group in rest.chunk_by(|a, b| unit.calls[*a].key.callee == unit.calls[*b].key.callee) {
            let callee = unit.calls[group[0]].key.callee;
            if group.len() >= CHATTY_MIN && !callee.is_empty() {
                to.hit(traces, units, chatty(traces, units, unit, group, names));
            }
        }
    }
}

/// The longest row of calls that follow each other, if it makes a loop: long enough, and busy calling rather than
/// waiting for something (who asks every second whether it is done does not want all answers at once).
pub(super) fn in_a_row(traces: &Traces, unit: Unit<'_>, group: &[usize]) -> Option<Vec<usize>> {
    if group.len() < LOOP_MIN {
        return None;
    }
    let tolerance = tolerance_ns(&traces.spans()[unit.entry]);
    let mut row: Vec<usize> = Vec::new();
    // The most that follow each other: always the next that ends first.
    let mut by_end = group.to_vec();
    by_end.sort_by_key(|place| unit.calls[*place].end_ns);
    let mut end = 0;
    for place in by_end {
        let call = &unit.calls[place];
        let overlap = tolerance.min(call.duration_ns() / 2);
        if row.is_empty() || call.start_ns.saturating_add(overlap) >= end {
            end = call.end_ns;
            row.push(place);
        }
    }
    let failed = row.iter().filter(|place| unit.calls[**place].failed).count();
    if row.len() < LOOP_MIN || failed * 2 > row.len() {
        return None;
    }
    let first = unit.calls[row[0]].start_ns;
    let busy = busy_ns(unit.calls, first, end);
    (busy.saturating_mul(2) >= end.saturating_sub(first)).then_some(row)
}

/// How long any call of the unit was under way between two times.
fn busy_ns(calls: &[Call], from: u64, to: u64) -> u64 {
    let (mut busy, mut until) = (0, from);
    for call in calls.iter().filter(|call| call.end_ns > from && call.start_ns < to) {
        let (start, end) = (call.start_ns.max(until), call.end_ns.min(to));
        if end > start {
            busy += end - start;
            until = end;
        }
    }
    busy
}

fn one_by_one(traces: &Traces, units: &Units, unit: Unit<'_>, row: &[usize], names: &mut Names) -> Hit {
    let call = &unit.calls[row[0]];
    let (service, within) = work(traces, unit, names);
    let place = Place {
        kind: Kind::NPlusOne,
        service,
        operation: call.key.operation,
        caller: service,
        callee: call.key.callee,
        statement: call.key.statement,
        within,
    };
    let longest = row.iter().copied().max_by_key(|place| (unit.calls[*place].duration_ns(), *place));
    let mut is_in_row = vec![false; unit.calls.len()];
    row.iter().for_each(|place| is_in_row[*place] = true);
    let saved = units.saved_ns(traces, unit, |place, _| match is_in_row[place] && Some(place) != longest {
        true => Change::Shrink(0),
        false => Change::Keep,
    });
    let spans = row.iter().take(SPANS_MAX).map(|place| unit.calls[*place].span).collect();
    Hit { count: row.len(), win_ns: saved, spans, ..Hit::new(place, unit.entry) }
}

/// One answer to all calls instead: each but the first loses what a call costs at least, which is the least time that any
/// of them took outside the callee (or at all, where the callee sent no spans).
fn chatty(traces: &Traces, units: &Units, unit: Unit<'_>, group: &[usize], names: &mut Names) -> Hit {
    let (service, within) = work(traces, unit, names);
    let callee = unit.calls[group[0]].key.callee;
    let (operation, statement) = (within.1, Shape::default());
    let place = Place { kind: Kind::ChattyEdge, service, operation, caller: service, callee, statement, within };
    let overhead = |call: &Call| match call.served {
        NONE => call.duration_ns(),
        served => call.duration_ns().saturating_sub(traces.spans()[served].duration_ns()),
    };
    let least = group.iter().map(|place| overhead(&unit.calls[*place])).min().unwrap_or(0);
    let mut is_in_group = vec![false; unit.calls.len()];
    group[1..].iter().for_each(|place| is_in_group[*place] = true);
    let saved = units.saved_ns(traces, unit, |place, call| match is_in_group[place] {
        true => Change::Shrink(call.duration_ns().saturating_sub(least)),
        false => Change::Keep,
    });
    let mut parts = Vec::new();
    let mut keys: Vec<usize> = group.to_vec();
    keys.sort_by_key(|place| (unit.calls[*place].key, *place));
    for same in keys.chunk_by(|a, b| unit.calls[*a].key == unit.calls[*b].key) {
        let duration = same.iter().map(|place| unit.calls[*place].duration_ns()).sum();
        parts.push(part(service, &unit.calls[same[0]], same.len(), duration));
    }
    let spans = group.iter().take(SPANS_MAX).map(|place| unit.calls[*place].span).collect();
    Hit { count: group.len(), win_ns: saved, spans, parts, ..Hit::new(place, unit.entry) }
}

/// The service of a unit and the place that its work is known by.
pub(super) fn work(traces: &Traces, unit: Unit<'_>, names: &mut Names) -> (Text, (Text, Shape)) {
    let entry = &traces.spans()[unit.entry];
    (entry.service, (entry.service, names.shape(traces.texts(), entry.operation)))
}
