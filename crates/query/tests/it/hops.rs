//! Calls between services: the same wherever their spans lie, and a service over time.

use std::sync::Arc;

use proptest::prelude::*;
use tracewell_model::{KeyValue, Resource, Span, SpanId, SpanRecord, Status, TraceId};
use tracewell_query::{Budget, HopEdge, HopRequest, hop_changes, hops, red};
use tracewell_store::table::Source;

use crate::data::{head, memory};
use crate::segments::merged;

const MINUTE_NS: u64 = 60_000_000_000;
const MS: u64 = 1_000_000;

/// A span: trace, id, parent, service, kind, start and duration in milliseconds.
fn span(trace: u64, id: u64, parent: u64, service: &str, kind: i32, start: u64, duration: u64) -> SpanRecord {
    let start = 100 * MINUTE_NS + start * MS;
    SpanRecord {
        resource: Arc::new(Resource {
            attributes: vec![KeyValue::new("service.name", service)],
            ..Resource::default()
        }),
        scope: Arc::default(),
        span: Span {
            // Zero is no id.
            trace_id: TraceId(u128::from(trace + 1).to_be_bytes()),
            span_id: SpanId::from_u64(id),
            parent_span_id: (parent > 0).then(|| SpanId::from_u64(parent)),
            name: format!("{service} work"),
            kind,
            start_unix_nano: start,
            end_unix_nano: start + duration * MS,
            status: Status { code: if kind == 2 && id.is_multiple_of(5) { 2 } else { 0 }, ..Status::default() },
            ..Span::default()
        },
    }
}

/// gateway → cart → stock, with `wait` milliseconds on the way from cart to stock; a trace each second.
fn checkout(trace: u64, wait: u64) -> Vec<SpanRecord> {
    let at = trace * 1_000;
    vec![
        span(trace, 1, 0, "gateway", 2, at, 90 + wait),
        span(trace, 2, 1, "gateway", 3, at + 5, 80 + wait),
        span(trace, 3, 2, "cart", 2, at + 10, 70 + wait),
        span(trace, 4, 3, "cart", 3, at + 20, 50 + wait),
        span(trace, 5, 4, "stock", 2, at + 25 + wait, 40 + trace % 7),
    ]
}

/// The same, with a message of the cart that waits for a minute and a half.
fn checkout_and_mail(trace: u64, wait: u64) -> Vec<SpanRecord> {
    let at = trace * 1_000;
    let mail = [span(trace, 6, 3, "cart", 4, at + 15, 1), span(trace, 7, 6, "mail", 5, at + 90_000 + wait, 30)];
    [&checkout(trace, wait)[..], &mail].concat()
}

fn all(sources: &[Arc<dyn Source>], step_minutes: u64) -> Vec<HopEdge> {
    let request = HopRequest { start: 0, end: u64::MAX, service: None, step_minutes };
    let found = hops(sources, &request, &Budget::default()).unwrap();
    assert!(found.complete && found.warnings.is_empty(), "{:?}", found.warnings);
    found.items
}

#[test]
fn calls_are_split_and_counted_by_edge_and_minute() {
    let spans: Vec<SpanRecord> = (0..120).flat_map(|trace| checkout(trace, 0)).collect();
    let edges = all(&head(&spans), 1);
    let told: Vec<_> = edges
        .iter()
        .map(|edge| (&*edge.total.caller, &*edge.total.callee, edge.total.calls, edge.total.errors, edge.steps.len()))
        .collect();
    assert_eq!(told, [("", "gateway", 120, 0, 2), ("cart", "stock", 120, 120, 2), ("gateway", "cart", 120, 0, 2)]);
    let median = |sketch: &tracewell_model::Sketch| sketch.quantile(0.5).unwrap() / MS as f64;
    let call = &edges[1].total;
    assert!((median(&call.request) - 5.0).abs() < 0.06 && (median(&call.server) - 43.0).abs() < 0.5);
    assert!((median(&edges[2].total.own) - 20.0).abs() < 0.21, "cart without its call");
}

#[test]
fn a_service_over_time_has_its_requests_and_operations() {
    let spans: Vec<SpanRecord> = (0..120).flat_map(|trace| checkout(trace, 0)).collect();
    let found = red(&head(&spans), "stock", (0, u64::MAX), 1, &Budget::default()).unwrap();
    assert_eq!((found.total.spans, found.total.errors, found.steps.len()), (120, 120, 2));
    let operation = &found.operations.items[0];
    assert_eq!((operation.name.as_str(), operation.total.spans, operation.steps.len()), ("stock work", 120, 2));
    let median = operation.total.durations.quantile(0.5).unwrap() / MS as f64;
    assert!((median - 43.0).abs() < 0.5, "{median}");
}

#[test]
fn congestion_is_found_in_the_rollups_with_its_direction() {
    let before: Vec<SpanRecord> = (0..60).flat_map(|trace| checkout(trace, 0)).collect();
    let now: Vec<SpanRecord> = (60..120).flat_map(|trace| checkout(trace, 400)).collect();
    let mut sources = head(&before);
    sources.push(memory(&now, 64, 8));
    let (first, second) = (100 * MINUTE_NS, 101 * MINUTE_NS);
    let (found, warnings) =
        hop_changes(&sources, (first, second), (second, second + MINUTE_NS), &Budget::default()).unwrap();
    assert!(warnings.is_empty());
    assert_eq!(found.locations.len(), 1, "{:#?}", found.locations);
    let link = &found.locations[0];
    assert_eq!((link.caller.as_deref(), link.callee.as_deref()), (Some("cart"), Some("stock")));
    assert_eq!(link.direction, Some(tracewell_analysis::hops::Direction::Request));
    assert!((link.shift_ns / MS as i64 - 400).abs() <= 5, "{}", link.shift_ns);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() })]

    /// However spans are spread over heads and segments, also twice, the calls are those of one place that has all.
    #[test]
    fn calls_do_not_depend_on_where_spans_lie(
        waits in prop::collection::vec(0u64..500, 1..12),
        places in prop::collection::vec(prop::collection::btree_set(0usize..4, 1..3), 84),
    ) {
        let spans: Vec<SpanRecord> =
            waits.iter().enumerate().flat_map(|(trace, wait)| checkout_and_mail(trace as u64, *wait)).collect();
        let of = |source: usize| -> Vec<SpanRecord> {
            let held = spans.iter().zip(&places).filter(|(_, places)| places.contains(&source));
            held.map(|(record, _)| record.clone()).collect()
        };
        let (first, second) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let mut sources = merged(&head(&of(0)), first.path());
        sources.extend(merged(&head(&of(1)), second.path()));
        sources.push(memory(&of(2), 3, 2));
        sources.extend(head(&of(3)));
        prop_assert_eq!(all(&sources, 1), all(&head(&spans), 1));
    }
}
