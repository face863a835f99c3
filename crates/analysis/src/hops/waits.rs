//! What the data says of waiting: for a connection, and in a broker's queue.
//!
//! A client waits for a connection before it sends: the wait is in its span and would pass for the network. It is told
//! - by a span below the client's: Go's `otelhttptrace` has `http.getconn`, .NET's `System.Net.Http` has
//!   `HTTP wait_for_connection …`;
//! - by an attribute named as the metric of the semantic conventions (seconds): `http.client.request.time_in_queue`,
//!   `db.client.connection.wait_time`;
//! - by a pair of events: browsers have `fetchStart` and `requestStart` (W3C Resource Timing).

use std::collections::HashMap;

use foldhash::fast::RandomState;
use tracewell_model::{SpanId, TraceId};

use crate::{Scalar, Text, Traces};

/// Spans below a client that are its wait for a connection; the name begins with this.
const SPANS: [&str; 2] = ["http.getconn", "HTTP wait_for_connection"];
/// Attributes that are the wait in seconds.
const SECONDS: [&str; 2] = ["http.client.request.time_in_queue", "db.client.connection.wait_time"];
/// Events between which the client waits.
const EVENTS: (&str, &str) = ("fetchStart", "requestStart");

/// Which texts of some traces tell of waiting, and whom messages come from.
pub(super) struct Waits {
    spans: Vec<Text>,
    seconds: Vec<Text>,
    events: Option<(Text, Text)>,
    /// Producers that are linked to.
    sent: HashMap<(TraceId, SpanId), usize, RandomState>,
    /// Linked producer of a span.
    links: HashMap<u32, (TraceId, SpanId), RandomState>,
    /// Events of clients, where there are such events: span, and when each of the two was.
    event_times: HashMap<u32, (Option<u64>, Option<u64>), RandomState>,
}

impl Waits {
    pub(super) fn new(traces: &Traces) -> Self {
        let texts = traces.texts();
        let begins = |name: &str| SPANS.iter().any(|known| name.starts_with(known));
        let events = texts.find(EVENTS.0).zip(texts.find(EVENTS.1));
        let mut waits = Self {
            spans: (0..texts.len() as u32).map(Text).filter(|text| begins(texts.get(*text))).collect(),
            seconds: SECONDS.iter().filter_map(|key| texts.find(key)).collect(),
            events,
            sent: HashMap::default(),
            links: HashMap::default(),
            event_times: HashMap::default(),
        };
        for link in traces.links() {
            if traces.spans()[link.span as usize].is_consumer() {
                waits.links.entry(link.span).or_insert((link.trace_id, link.span_id));
            }
        }
        if !waits.links.is_empty() {
            for trace in traces.traces() {
                for span in trace.spans().filter(|span| traces.spans()[*span].is_producer()) {
                    waits.sent.insert((trace.id, traces.spans()[span].id), span);
                }
            }
        }
        if let Some((from, to)) = events {
            for log in traces.logs() {
                let times = waits.event_times.entry(log.span).or_default();
                if log.site == from {
                    times.0 = Some(log.time_ns);
                } else if log.site == to {
                    times.1 = Some(log.time_ns);
                }
            }
        }
        waits
    }

    /// The producer that sent what a consumer takes, by the consumer's link.
    pub(super) fn sent(&self, traces: &Traces, consumer: usize) -> Option<usize> {
        let linked = self.links.get(&(consumer as u32))?;
        let sent = *self.sent.get(linked)?;
        (traces.spans()[sent].service != traces.spans()[consumer].service || sent != consumer).then_some(sent)
    }

    /// How long a client waited for a connection, in nanoseconds, if it says so.
    pub(super) fn of_client(&self, traces: &Traces, client: usize) -> Option<u64> {
        if !self.spans.is_empty() {
            let waiting = traces.children(client).find(|child| self.spans.contains(&traces.spans()[*child].operation));
            if let Some(waiting) = waiting {
                return Some(traces.spans()[waiting].duration_ns());
            }
        }
        if !self.seconds.is_empty() {
            let said = traces.attributes(client).iter().find(|attribute| self.seconds.contains(&attribute.key));
            let seconds = match said.map(|attribute| attribute.value) {
                Some(Scalar::Double(seconds)) => Some(seconds),
                Some(Scalar::Int(seconds)) => Some(seconds as f64),
                _ => None,
            };
            if let Some(seconds) = seconds.filter(|seconds| *seconds >= 0.0) {
                return Some((seconds * 1e9) as u64);
            }
        }
        self.events?;
        match self.event_times.get(&(client as u32)) {
            Some((Some(from), Some(to))) => to.checked_sub(*from),
            _ => None,
        }
    }
}
