//! Whole traces out of what was received, and what tests ask of them.

use std::collections::{BTreeSet, HashMap};

use tracewell_model::{SpanId, SpanKind, SpanRecord, StatusCode, TraceId, Value};

/// How much later than a trace's end something must have been received for the trace to be taken for complete.
const SETTLED_NS: u64 = 1_500_000_000;

/// A trace with every parent.
#[derive(Clone)]
pub struct Trace {
    pub spans: Vec<SpanRecord>,
    by_id: HashMap<SpanId, usize>,
}

/// Traces that have a root of that name, begun at `since` or later, and that are complete.
pub fn settled(spans: &[SpanRecord], root: &str, since: u64) -> Vec<Trace> {
    let latest = spans.iter().map(|record| record.span.end_unix_nano).max().unwrap_or_default();
    let mut traces: HashMap<TraceId, Vec<SpanRecord>> = HashMap::new();
    for record in spans {
        traces.entry(record.span.trace_id).or_default().push(record.clone());
    }
    let traces = traces.into_values().map(|spans| {
        let by_id = spans.iter().enumerate().map(|(place, record)| (record.span.span_id, place)).collect();
        Trace { spans, by_id }
    });
    traces
        .filter(|trace| {
            trace.root().is_some_and(|root_span| {
                let span = &root_span.span;
                span.name == root && span.start_unix_nano >= since && span.end_unix_nano + SETTLED_NS < latest
            }) && trace
                .spans
                .iter()
                .all(|record| record.span.parent_span_id.is_none_or(|parent| trace.by_id.contains_key(&parent)))
        })
        .collect()
}

pub fn service(record: &SpanRecord) -> &str {
    record.resource.service_name()
}

pub fn text<'a>(record: &'a SpanRecord, key: &str) -> &'a str {
    record.span.attribute(key).and_then(Value::as_str).unwrap_or_default()
}

pub fn resource<'a>(record: &'a SpanRecord, key: &str) -> &'a str {
    let found = record.resource.attributes.iter().find(|attribute| attribute.key == key);
    found.and_then(|attribute| attribute.value.as_str()).unwrap_or_default()
}

pub fn failed(record: &SpanRecord) -> bool {
    record.span.status.code == StatusCode::Error as i32
}

impl Trace {
    pub fn root(&self) -> Option<&SpanRecord> {
        self.spans.iter().find(|record| record.span.parent_span_id.is_none())
    }

    pub fn parent(&self, of: &SpanRecord) -> Option<&SpanRecord> {
        self.by_id.get(&of.span.parent_span_id?).map(|place| &self.spans[*place])
    }

    pub fn child(&self, of: &SpanRecord) -> Option<&SpanRecord> {
        self.spans.iter().find(|record| record.span.parent_span_id == Some(of.span.span_id))
    }

    /// Spans of a service and kind, in order of their start.
    pub fn of(&self, name: &str, kind: SpanKind) -> Vec<&SpanRecord> {
        let found = self.spans.iter().filter(|record| service(record) == name && record.span.kind == kind as i32);
        let mut found: Vec<_> = found.collect();
        found.sort_by_key(|record| record.span.start_unix_nano);
        found
    }

    /// Those of them with this name.
    pub fn named(&self, name: &str, kind: SpanKind, span: &str) -> Vec<&SpanRecord> {
        let mut found = self.of(name, kind);
        found.retain(|record| record.span.name == span);
        found
    }

    pub fn services(&self) -> BTreeSet<&str> {
        self.spans.iter().map(service).collect()
    }

    /// `caller -> callee` for every span whose parent belongs to another service.
    pub fn edges(&self) -> BTreeSet<String> {
        let pairs = self.spans.iter().filter_map(|record| self.parent(record).map(|parent| (parent, record)));
        pairs
            .filter(|(parent, record)| service(parent) != service(record))
            .map(|(parent, record)| {
                assert_eq!(parent.span.kind, SpanKind::Client as i32, "{} calls with a client span", parent.span.name);
                assert_eq!(record.span.kind, SpanKind::Server as i32, "{} is called", record.span.name);
                assert_eq!(record.span.flags & 0x300, 0x300, "the parent is remote");
                format!("{} -> {}", service(parent), service(record))
            })
            .collect()
    }

    /// The services from the root down to a span, each once.
    pub fn path(&self, to: &SpanRecord) -> Vec<&str> {
        let mut path = Vec::new();
        let mut at = self.spans.iter().find(|record| record.span.span_id == to.span.span_id);
        while let Some(record) = at {
            if path.last() != Some(&service(record)) {
                path.push(service(record));
            }
            at = self.parent(record);
        }
        path.reverse();
        path
    }

    /// For the first call from one service to another, what the way there and the way back took by the recorded times.
    pub fn hop(&self, caller: &str, callee: &str) -> Option<(i64, i64)> {
        let called = self.of(callee, SpanKind::Server).into_iter().next()?;
        let call = self.parent(called).filter(|parent| service(parent) == caller)?;
        let between = |from: u64, to: u64| to as i64 - from as i64;
        Some((
            between(call.span.start_unix_nano, called.span.start_unix_nano),
            between(called.span.end_unix_nano, call.span.end_unix_nano),
        ))
    }
}
