//! Work that waits for a lock, and says so: by the name of a span, or by an attribute such as `db.lock.wait_ms`.

use super::Kind;
use super::collect::{Collector, Hit, Place};
use super::names::Names;
use super::unit::{NONE, Units};
use crate::traces::{Scalar, Text, Trace, Traces};

/// Finds the waits of a trace.
pub(super) fn find(traces: &Traces, trace: &Trace, units: &Units, to: &mut Collector, names: &mut Names) {
    let mut last = NONE;
    for number in trace.spans() {
        let span = &traces.spans()[number];
        let named = names.waits_for_lock(traces.texts(), span.operation);
        let waited_ns = match said_ns(traces, number, names) {
            Some(said) => said.min(span.duration_ns()),
            None if named => span.duration_ns(),
            None => continue,
        };
        // A wait within a wait, or within the span that says how long it waits, is the same.
        let within_last = last != NONE && number <= last + traces.spans()[last].descendants as usize;
        if waited_ns == 0 || within_last {
            continue;
        }
        last = number;
        let entry = units.entry_of(number);
        let place = Place {
            kind: Kind::LockWait,
            service: span.service,
            operation: names.shape(traces.texts(), span.operation),
            caller: span.service,
            callee: Text::EMPTY,
            statement: names.shape(traces.texts(), statement(traces, number)),
            within: (span.service, names.shape(traces.texts(), traces.spans()[entry].operation)),
        };
        let win_ns = waited_ns.min(units.room_ns(traces, number));
        to.hit(traces, units, Hit { win_ns, wasted_ns: 0, spans: vec![number], ..Hit::new(place, number) });
    }
}

/// What an attribute says: its key ends in a unit and speaks of waiting for a lock.
fn said_ns(traces: &Traces, span: usize, names: &mut Names) -> Option<u64> {
    traces.attributes(span).iter().find_map(|attribute| {
        if !names.waits_for_lock(traces.texts(), attribute.key) {
            return None;
        }
        let key = traces.text(attribute.key);
        let unit_ns = match key.rsplit(['_', '.']).next()? {
            "ns" | "nanos" => 1.0,
            "us" | "micros" => 1e3,
            "ms" | "millis" => 1e6,
            "s" | "seconds" => 1e9,
            _ => return None,
        };
        let value = match attribute.value {
            Scalar::Int(value) => value as f64,
            Scalar::Double(value) => value,
            _ => return None,
        };
        Some((value * unit_ns).clamp(0.0, u64::MAX as f64) as u64)
    })
}

/// The statement that waits: that of the topmost span above with one, as whoever asked for it wrote it.
fn statement(traces: &Traces, span: usize) -> Text {
    let (mut at, mut found) = (Some(span), Text::EMPTY);
    while let Some(span) = at {
        let statement = traces.spans()[span].statement;
        if !statement.is_empty() {
            found = statement;
        }
        at = traces.parent(span);
    }
    found
}
