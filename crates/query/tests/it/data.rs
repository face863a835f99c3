//! Spans and queries to test with: few distinct values, so that everything meets everything.

use std::sync::Arc;

use proptest::prelude::*;
use tracewell_model::{Event, KeyValue, Link, Resource, Scope, Span, SpanId, SpanRecord, Status, TraceId, Value};
use tracewell_store::head::Head;
use tracewell_store::table::{Signal, Source};
use tracewell_wire::otlp::encode_traces;

use crate::memory::Memory;

/// Trace number `number`.
pub fn trace_id(number: u8) -> TraceId {
    TraceId([number; 16])
}

/// A span of service `svc`, with a duration of one millisecond.
pub fn span(trace: u8, id: u64, parent: u64, start: u64, name: &str) -> SpanRecord {
    SpanRecord {
        resource: resource("svc", &[]),
        scope: Arc::new(Scope { name: "lib".into(), version: "1.0".into(), ..Scope::default() }),
        span: Span {
            trace_id: trace_id(trace),
            span_id: SpanId::from_u64(id),
            parent_span_id: (parent != 0).then(|| SpanId::from_u64(parent)),
            name: name.into(),
            kind: 1,
            start_unix_nano: start,
            end_unix_nano: start + 1_000_000,
            ..Span::default()
        },
    }
}

/// A resource with a service name, unless that is empty, and more.
pub fn resource(service: &str, more: &[(&str, Value)]) -> Arc<Resource> {
    let name = (!service.is_empty()).then(|| KeyValue::new("service.name", service));
    let more = more.iter().map(|(key, value)| KeyValue { key: (*key).into(), value: value.clone() });
    Arc::new(Resource { attributes: name.into_iter().chain(more).collect(), ..Resource::default() })
}

/// A block of the head with these spans.
pub fn head(spans: &[SpanRecord]) -> Vec<Arc<dyn Source>> {
    let head = Head::new(Signal::Traces);
    head.append(&encode_traces(spans));
    head.sources()
}

/// An ordered source with these spans.
pub fn memory(spans: &[SpanRecord], chunk_rows: u32, block_traces: u32) -> Arc<dyn Source> {
    Arc::new(Memory::new(spans.to_vec(), chunk_rows, block_traces))
}

fn value() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Str("x".into())),
        Just(Value::Str("y".into())),
        Just(Value::Str("200".into())),
        (0i64..4).prop_map(Value::Int),
        Just(Value::Double(1.0)),
        Just(Value::Double(2.5)),
        any::<bool>().prop_map(Value::Bool),
        Just(Value::Array(vec![Value::Str("x".into()), Value::Int(2), Value::Bool(true)])),
        Just(Value::Array(vec![])),
        Just(Value::Bytes(vec![1, 2])),
        Just(Value::Empty),
    ]
}

fn attributes() -> impl Strategy<Value = Vec<KeyValue>> {
    let key = proptest::sample::select(vec!["a", "b", "rare", "rare.x"]);
    proptest::collection::btree_map(key, value(), 0..3)
        .prop_map(|attributes| attributes.into_iter().map(|(key, value)| KeyValue { key: key.into(), value }).collect())
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let name = proptest::sample::select(vec!["exception", "log"]);
    let event = (name, 0u64..20, attributes()).prop_map(|(name, at, attributes)| Event {
        name: name.into(),
        time_unix_nano: 1_000 + at,
        attributes,
        ..Event::default()
    });
    proptest::collection::vec(event, 0..3)
}

fn links() -> impl Strategy<Value = Vec<Link>> {
    let link = (1u8..4, 1u64..9, attributes()).prop_map(|(trace, id, attributes)| Link {
        trace_id: trace_id(trace),
        span_id: SpanId::from_u64(id),
        attributes,
        ..Link::default()
    });
    proptest::collection::vec(link, 0..2)
}

/// Some traces, and for each span the sources (of four) that hold it.
pub fn spans() -> impl Strategy<Value = Vec<(SpanRecord, Vec<usize>)>> {
    let place = prop_oneof![
        4 => (0usize..4).prop_map(|source| vec![source]),
        1 => (0usize..4, 0usize..4).prop_map(|(one, other)| vec![one, other]),
    ];
    let resource_part = (
        proptest::sample::select(vec!["cart", "shop", "", "unknown_service"]),
        proptest::option::of(value()),
        proptest::sample::select(vec!["a", "zone"]),
    );
    let scope_part = (proptest::sample::select(vec!["", "lib", "grpc"]), proptest::option::of(value()));
    let span_part = (
        proptest::sample::select(vec!["GET /", "db", "x"]),
        0i32..4,
        (0i32..3, proptest::sample::select(vec!["", "timeout"])),
        (0u64..40, 0u64..30),
        0usize..8,
    );
    let one = (1u8..6, span_part, attributes(), events(), links(), resource_part, scope_part, place);
    proptest::collection::vec(one, 1..24).prop_map(|all| {
        let mut spans: Vec<(SpanRecord, Vec<usize>)> = Vec::new();
        for (index, one) in all.into_iter().enumerate() {
            let (trace, span_part, attributes, events, links, resource_part, scope_part, place) = one;
            let (name, kind, (code, message), (start, duration), parent) = span_part;
            let trace_id = trace_id(trace);
            // Parents come before their children, or are missing, or there is none.
            let earlier: Vec<SpanId> = spans
                .iter()
                .filter(|(other, _)| other.span.trace_id == trace_id)
                .map(|(other, _)| other.span.span_id)
                .collect();
            let parent_span_id = match parent {
                7 => Some(SpanId::from_u64(999)),
                6 => None,
                parent => earlier.get(parent.min(earlier.len().saturating_sub(1))).copied(),
            };
            // Roots of a trace never start at the same time: which is the root would be a matter of taste.
            let start_unix_nano = 1_000 + if parent_span_id.is_none() { 40 + index as u64 } else { start };
            let (service, zone, zone_key) = resource_part;
            let more: Vec<(&str, Value)> = zone.into_iter().map(|value| (zone_key, value)).collect();
            let (scope_name, scope_value) = scope_part;
            let scope_attributes = scope_value.into_iter().map(|value| KeyValue { key: "a".into(), value }).collect();
            let record = SpanRecord {
                resource: resource(service, &more),
                scope: Arc::new(Scope { name: scope_name.into(), attributes: scope_attributes, ..Scope::default() }),
                span: Span {
                    trace_id,
                    span_id: SpanId::from_u64(index as u64 + 1),
                    parent_span_id,
                    name: name.into(),
                    kind,
                    start_unix_nano,
                    end_unix_nano: start_unix_nano + duration,
                    attributes,
                    events,
                    links,
                    status: Status { code, message: message.into() },
                    ..Span::default()
                },
            };
            spans.push((record, place));
        }
        spans
    })
}

/// Conditions that every kind of field and test appears in.
const CONDITIONS: &[&str] = &[
    "true",
    "false",
    "duration > 10ns",
    "duration <= 5ns",
    "duration = 12.0",
    "duration != 7ns",
    "name = \"db\"",
    "name != \"db\"",
    "name =~ \"G.*\"",
    "name !~ \"x|db\"",
    "name > \"a\"",
    "status = error",
    "status != error",
    "status = unset",
    "kind = server",
    "kind != client",
    "kind = unspecified",
    "statusMessage = \"\"",
    "statusMessage != \"timeout\"",
    "statusMessage =~ \"t.*\"",
    "span.a = \"x\"",
    "span.a != \"x\"",
    "span.a = 2",
    "span.a != 2",
    "span.a > 1",
    "span.a >= 2.5",
    "span.a = 1",
    "span.a = true",
    "span.a != true",
    "span.a",
    "!span.a",
    "span.a = nil",
    "span.a != nil",
    "nil != span.a",
    "span.a =~ \".*0\"",
    "span.a !~ \"x\"",
    "span.a < \"y\"",
    "span.rare = \"x\"",
    "span.rare != \"x\"",
    "span.rare = 2",
    "span.rare = nil",
    "span.rare.x != nil",
    "span.rare.x =~ \"[xy]\"",
    "span.rare != 1",
    "span.rare = true",
    ".a = \"x\"",
    ".a != \"x\"",
    ".a = nil",
    ".a != nil",
    ".a > 0",
    ".a = true",
    ".service.name = \"cart\"",
    ".zone = \"x\"",
    ".rare != nil",
    "resource.service.name = \"cart\"",
    "resource.service.name != \"cart\"",
    "resource.service.name = \"unknown_service\"",
    "resource.service.name = nil",
    "resource.service.name != nil",
    "resource.service.name =~ \".*\"",
    "resource.service.name !~ \"sh.*\"",
    "resource.zone = \"x\"",
    "resource.zone != \"x\"",
    "resource.zone = nil",
    "resource.zone > 1",
    "resource.a",
    "instrumentation:name = \"lib\"",
    "instrumentation:name != \"lib\"",
    "instrumentation:version = \"\"",
    "instrumentation.a = \"x\"",
    "instrumentation.a != nil",
    "instrumentation.a = nil",
    "event:name = \"exception\"",
    "event:name != \"exception\"",
    "event:name != nil",
    "event:name = nil",
    "event:timeSinceStart > 5ns",
    "event:timeSinceStart != 0ns",
    "event.a = \"x\"",
    "event.a != \"x\"",
    "event.a = nil",
    "event.b > 1",
    "link.a = 2",
    "link.a != nil",
    "link:spanID = \"3\"",
    "link:traceID != \"01010101010101010101010101010101\"",
    "link:spanID = nil",
    "span:id = \"4\"",
    "span:id != \"0000000000000004\"",
    "span:id =~ \".*5\"",
    "parent = nil",
    "parent != nil",
    "nestedSetParent < 0",
    "nestedSetParent = -1",
    "span:parentID = nil",
    "span:parentID = \"1\"",
    "span:parentID != \"1\"",
    "span:childCount = 0",
    "childCount > 1",
    "parent.a = \"x\"",
    "parent.span.a != nil",
    "parent.resource.service.name = \"cart\"",
    "parent.duration > 5ns",
    "parent.name = \"db\"",
    "parent.a = nil",
    "trace:duration > 30ns",
    "traceDuration <= 30ns",
    "trace:rootName = \"db\"",
    "rootServiceName != \"cart\"",
    "trace:rootService = nil",
    "trace:id = \"02020202020202020202020202020202\"",
    "trace:id != \"02020202020202020202020202020202\"",
    "span.a = span.b",
    "span.a != span.b",
    "span.a + 1 > span.b",
    "-span.a < 0",
    "duration * 2 > trace:duration",
    "span.a = resource.a",
    "(span.a = 2) = (span.b = 2)",
    "span.a * 2 = 4",
    "10 - span.a > 8",
    "event.a = span.a",
    "name = span.a",
    "5ns < duration",
    "span.a + span.b - 1 != 2",
];

/// A condition: some of the above, combined.
pub fn condition() -> impl Strategy<Value = String> {
    let leaf = proptest::sample::select(CONDITIONS.to_vec()).prop_map(str::to_owned);
    leaf.prop_recursive(3, 8, 2, |inner| {
        prop_oneof![
            (inner.clone(), inner.clone()).prop_map(|(left, right)| format!("({left} && {right})")),
            (inner.clone(), inner.clone()).prop_map(|(left, right)| format!("({left} || {right})")),
            inner.prop_map(|inner| format!("!({inner})")),
        ]
    })
}

/// A query: filters, combined and followed by stages.
pub fn query() -> impl Strategy<Value = String> {
    let filter = condition().prop_map(|condition| format!("{{ {condition} }}")).boxed();
    let op = proptest::sample::select(vec![
        "&&", "||", "&&", "||", ">", "<", ">>", "<<", "~", "!>", "!<", "!>>", "!<<", "!~", "&>", "&<", "&>>", "&<<",
        "&~",
    ]);
    let spansets = prop_oneof![
        3 => filter.clone(),
        1 => (filter.clone(), op, filter.clone()).prop_map(|(left, op, right)| format!("{left} {op} {right}")),
        1 => (filter.clone(), filter.clone(), filter)
            .prop_map(|(one, two, three)| format!("({one} && {two}) || {three}")),
    ];
    let stage = proptest::sample::select(vec![
        "",
        "",
        "",
        " | count() > 1",
        " | count() = 1",
        " | avg(duration) > 12",
        " | max(span.a) >= 2",
        " | sum(span.a) < 5",
        " | min(duration) <= 3ns",
        " | by(name) | count() > 1",
        " | by(resource.service.name, status) | coalesce() | { kind = server }",
        " | select(span.a, resource.zone)",
        " | { duration > 5ns }",
    ]);
    (spansets, stage).prop_map(|(spansets, stage)| format!("{spansets}{stage}"))
}
