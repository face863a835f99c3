//! Failures that nobody is told, and callers that give up before their callees do.

use std::collections::HashMap;

use foldhash::fast::RandomState;

use super::Kind;
use super::collect::{Collector, Hit, Place, part};
use super::loops::work;
use super::names::Names;
use super::unit::{Call, CallKey, Change, NONE, Unit, Units};
use crate::codes;
use crate::traces::Traces;

/// How much longer than its caller waited a callee works before clocks and flushes no longer explain it: a share, and at
/// least so many nanoseconds.
const LONGER_SHARE: u64 = 20;
const LONGER_MIN_NS: u64 = 1_000_000;

/// Finds both in all units of a trace.
pub(super) fn find(traces: &Traces, units: &Units, to: &mut Collector, names: &mut Names) {
    for unit in units.iter().filter(|unit| unit.calls.iter().any(|call| call.failed)) {
        // The last time that each call went well.
        let went_well = unit.calls.iter().enumerate().filter(|(_, call)| !call.failed);
        let well: HashMap<CallKey, usize, RandomState> = went_well.map(|(place, call)| (call.key, place)).collect();
        for (place, call) in unit.calls.iter().enumerate().filter(|(_, call)| call.failed) {
            let made_good = well.get(&call.key).is_some_and(|last| *last > place);
            if !made_good && is_swallowed(traces, unit, call) {
                to.hit(traces, units, swallowed(traces, units, unit, place, names));
            }
            if let Some(hit) = given_up(traces, units, unit, call, names) {
                to.hit(traces, units, hit);
            }
        }
    }
}

/// A call that failed by the callee's fault, by a unit that answered fine.
fn is_swallowed(traces: &Traces, unit: Unit<'_>, call: &Call) -> bool {
    let answered = status(traces, unit.entry).is_none_or(|status| status < 400);
    !traces.spans()[unit.entry].is_error() && answered && is_callees_fault(traces, call)
}

/// False where the caller asked for what cannot be had: that is an answer (HTTP 4xx but time-outs and overload, and the
/// codes of gRPC that a server does not count as its own failures, by OpenTelemetry's conventions).
fn is_callees_fault(traces: &Traces, call: &Call) -> bool {
    if call.served != NONE && traces.spans()[call.served].is_error() {
        return true;
    }
    match (status(traces, call.span), rpc_status(traces, call.span)) {
        (Some(status), _) => !(400..500).contains(&status) || status == 408 || status == 429,
        (None, Some(code)) => matches!(code, 2 | 4 | 8 | 12 | 13 | 14 | 15),
        (None, None) => true,
    }
}

fn status(traces: &Traces, span: usize) -> Option<i64> {
    let value = codes::attribute(traces, span, &["http.response.status_code", "http.status_code"])?;
    codes::number(traces, value)
}

fn rpc_status(traces: &Traces, span: usize) -> Option<i64> {
    codes::grpc(traces, codes::attribute(traces, span, &["rpc.grpc.status_code", "rpc.response.status_code"])?)
}

fn swallowed(traces: &Traces, units: &Units, unit: Unit<'_>, failed: usize, names: &mut Names) -> Hit {
    let call = &unit.calls[failed];
    let (caller, within) = work(traces, unit, names);
    let place = Place {
        kind: Kind::SwallowedError,
        service: if call.key.callee.is_empty() { caller } else { call.key.callee },
        operation: call.key.operation,
        caller,
        callee: call.key.callee,
        statement: call.key.statement,
        within,
    };
    let win_ns = units.saved_ns(traces, unit, |place, _| match place == failed {
        true => Change::Shrink(0),
        false => Change::Keep,
    });
    let spans = [call.span, call.served, origin(traces, call), unit.entry];
    let mut spans: Vec<usize> = spans.into_iter().filter(|span| *span != NONE).collect();
    spans.dedup();
    Hit { win_ns, spans, ..Hit::new(place, unit.entry) }
}

/// The deepest failure that the call's failure goes back to.
fn origin(traces: &Traces, call: &Call) -> usize {
    let mut at = call.span;
    while let Some(child) = traces.children(at).filter(|child| traces.spans()[*child].is_error()).last() {
        at = child;
    }
    at
}

/// A call that failed while the callee worked on for it. Durations are compared, not times: no clock can pretend it.
fn given_up(traces: &Traces, units: &Units, unit: Unit<'_>, call: &Call, names: &mut Names) -> Option<Hit> {
    if call.served == NONE || call.served == call.span || !traces.spans()[call.span].is_error() {
        return None;
    }
    let (waited, worked) = (call.duration_ns(), traces.spans()[call.served].duration_ns());
    let longer = worked.checked_sub(waited)?;
    if traces.spans()[call.served].is_consumer() || longer <= LONGER_MIN_NS.max(waited / LONGER_SHARE) {
        return None;
    }
    let (service, within) = work(traces, unit, names);
    let place = Place {
        kind: Kind::TimeoutInversion,
        service,
        operation: call.key.operation,
        caller: service,
        callee: call.key.callee,
        statement: call.key.statement,
        within,
    };
    // First what the caller waited, then what the callee worked, then who among its own calls kept it.
    let mut parts = vec![part(service, call, 1, waited)];
    let inner = units.unit(call.served)?;
    let longest = inner.calls.iter().max_by_key(|call| (call.duration_ns(), call.span));
    if let Some(longest) = longest.filter(|call| call.duration_ns() > waited) {
        parts.push(part(traces.spans()[call.served].service, longest, 1, longest.duration_ns()));
    }
    Some(Hit { wasted_ns: longer, spans: vec![call.span, call.served], parts, ..Hit::new(place, unit.entry) })
}
