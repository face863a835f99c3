//! Whole traces, listings, damage and budgets.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use proptest::prelude::*;
use tracewell_model::{KeyValue, LogEntry, LogRecord, SpanRecord, Value};
use tracewell_query::traceql::Query;
use tracewell_query::*;
use tracewell_store::head::Head;
use tracewell_store::table::{Field, Signal, Source};
use tracewell_wire::otlp::{encode_logs, encode_traces};

use crate::data::{head, memory, resource, span, spans, trace_id};
use crate::memory::Memory;

/// As it comes back: attributes in order of their keys.
fn by_key(mut record: SpanRecord) -> SpanRecord {
    record.span.attributes.sort_by(|left, right| left.key.cmp(&right.key));
    record
}

proptest! {
    /// A trace comes back with everything that was in it, once, whatever sources its spans lie in.
    #[test]
    fn a_trace_comes_back_whole(spans in spans(), number in 1u8..6) {
        let of = |source: usize| -> Vec<SpanRecord> {
            let held = spans.iter().filter(|(_, places)| places.contains(&source));
            held.map(|(record, _)| record.clone()).collect()
        };
        let mut sources = vec![memory(&of(0), 3, 2), memory(&of(1), 64, 1)];
        sources.extend(head(&of(2)));
        sources.extend(head(&of(3)));
        let mut expected: Vec<SpanRecord> = spans
            .iter()
            .filter(|(record, _)| record.span.trace_id == trace_id(number))
            .map(|(record, _)| by_key(record.clone()))
            .collect();
        expected.sort_by_key(|record| (record.span.start_unix_nano, record.span.span_id));
        let found = trace(&sources, &trace_id(number), &Budget::default()).unwrap();
        match found {
            None => prop_assert!(expected.is_empty()),
            Some(trace) => {
                prop_assert!(trace.warnings.is_empty());
                prop_assert_eq!(encode_traces(&trace.spans), encode_traces(&expected));
            }
        }
    }
}

fn shop() -> Vec<SpanRecord> {
    let mut spans = vec![
        span(1, 1, 0, 60_000_000_000, "GET /"),
        span(1, 2, 1, 60_000_000_500, "query"),
        span(2, 3, 0, 180_000_000_000, "GET /"),
    ];
    spans[1].resource = resource("db", &[("zone", Value::Str("eu".into()))]);
    spans[1].span.status.code = 2;
    spans[0].span.attributes = vec![KeyValue::new("http.route", "/"), KeyValue::new("rare", 5i64)];
    spans[2].span.attributes = vec![KeyValue::new("http.route", "/cart"), KeyValue::new("http.route.id", 7i64)];
    spans
}

#[test]
fn services_and_operations_are_counted_by_the_minute() {
    let spans = shop();
    for sources in [vec![memory(&spans, 2, 1)], head(&spans)] {
        let all = services(&sources, 0, u64::MAX, &Budget::default()).unwrap();
        let expected = [
            ServiceSummary { name: "svc".into(), spans: 2, errors: 0, operations: 1 },
            ServiceSummary { name: "db".into(), spans: 1, errors: 1, operations: 1 },
        ];
        assert_eq!(all.items, expected);
        assert!(all.complete);
        let late = services(&sources, 120_000_000_000, u64::MAX, &Budget::default()).unwrap();
        assert_eq!(late.items.iter().map(|service| service.spans).collect::<Vec<_>>(), [1]);
        let of_db = operations(&sources, Some("db"), 0, u64::MAX, &Budget::default()).unwrap();
        assert_eq!((of_db.items.len(), of_db.items[0].name.as_str()), (1, "query"));
        assert_eq!(of_db.items[0].mean_duration_ns, 1e6);
    }
}

#[test]
fn attribute_keys_and_values_are_listed_with_their_types() {
    let spans = shop();
    for sources in [vec![memory(&spans, 2, 1)], head(&spans)] {
        let keys = attribute_keys(&sources, None, 0, u64::MAX, &Budget::default()).unwrap();
        let told: Vec<(AttributeScope, &str, &[&str], u64)> =
            keys.items.iter().map(|key| (key.scope, key.key.as_str(), key.types.as_slice(), key.spans)).collect();
        let expected: [(AttributeScope, &str, &[&str], u64); 5] = [
            (AttributeScope::Span, "http.route", &["string"], 2),
            (AttributeScope::Span, "http.route.id", &["int"], 1),
            (AttributeScope::Span, "rare", &["int"], 1),
            (AttributeScope::Resource, "service.name", &["string"], 3),
            (AttributeScope::Resource, "zone", &["string"], 1),
        ];
        assert_eq!(told, expected);

        let values = |scope, key, prefix, limit| {
            let listing =
                attribute_values(&sources, scope, key, 0, u64::MAX, prefix, limit, &Budget::default()).unwrap();
            let items = listing.items.into_iter().map(|item| (item.value, item.kind, item.traces)).collect::<Vec<_>>();
            (items, listing.complete)
        };
        let one = |value: &str, kind, traces| (value.to_owned(), kind, traces);
        let span = AttributeScope::Span;
        let routes = (vec![one("/", "string", 1), one("/cart", "string", 1)], true);
        assert_eq!(values(span, "http.route", "", 10), routes);
        assert_eq!(values(span, "http.route", "/c", 10), (vec![one("/cart", "string", 1)], true));
        assert_eq!(values(span, "http.route", "", 1), (vec![one("/", "string", 1)], false));
        assert_eq!(values(span, "rare", "", 10), (vec![one("5", "int", 1)], true));
        let names = (vec![one("svc", "string", 2), one("db", "string", 1)], true);
        assert_eq!(values(AttributeScope::Resource, "service.name", "", 10), names);
        assert_eq!(values(AttributeScope::Resource, "zone", "", 10), (vec![one("eu", "string", 1)], true));
    }
}

#[test]
fn a_summary_tells_of_the_whole_trace_and_of_what_the_query_names() {
    let query = Query::parse("{ .http.route = \"/\" && resource.zone = nil } | select(rare, span.rare)");
    assert!(query.is_err(), "select takes attributes with a scope");
    let query = Query::parse("{ .http.route = \"/\" && resource.zone = nil } | select(span.rare)").unwrap();
    let response = search(&head(&shop()), &SearchRequest::new(query), &Budget::default()).unwrap();
    let [trace] = response.traces.as_slice() else { panic!("{response:?}") };
    assert_eq!((trace.span_count, trace.error_count, trace.matched_spans), (2, 1, 1));
    assert_eq!(trace.root, Some(("svc".into(), "GET /".into())));
    assert_eq!(trace.duration_ns, 1_000_500);
    let services: Vec<(&str, u64, u64)> =
        trace.services.iter().map(|service| (service.name.as_str(), service.spans, service.errors)).collect();
    assert_eq!(services, [("db", 1, 1), ("svc", 1, 0)]);
    let expected = [("http.route".to_owned(), Value::Str("/".into())), ("rare".to_owned(), Value::Int(5))];
    assert_eq!(trace.spans[0].attributes, expected);
    assert_eq!(response.total, Some(Total { value: 1, exact: true }));
}

#[test]
fn a_damaged_source_costs_a_warning_and_its_rows() {
    let spans = shop();
    let mut broken = Memory::new(vec![spans[2].clone()], 2, 1);
    broken.damaged = Some(Field::Name);
    let sources: Vec<Arc<dyn Source>> = vec![memory(&spans[..2], 2, 1), Arc::new(broken)];
    let query = Query::parse("{ name != \"x\" }").unwrap();
    let response = search(&sources, &SearchRequest::new(query), &Budget::default()).unwrap();
    assert_eq!(response.traces.iter().map(|trace| trace.trace_id).collect::<Vec<_>>(), [trace_id(1)]);
    assert_eq!(response.warnings, ["memory is damaged: made so; the answer is without it"]);
    let whole = trace(&sources, &trace_id(2), &Budget::default()).unwrap().unwrap();
    assert_eq!((whole.spans.len(), whole.warnings.len()), (0, 1));
}

#[test]
fn an_ended_budget_says_so_and_a_cancelled_query_ends() {
    let spans = shop();
    let request = SearchRequest::new(Query::parse("{ duration > 0 }").unwrap());
    let late = Budget { deadline: Some(Instant::now()), ..Budget::default() };
    let response = search(&[memory(&spans, 2, 1)], &request, &late).unwrap();
    assert_eq!(response.total, Some(Total { value: 0, exact: false }));
    assert!(response.warnings[0].contains("ran out of time"), "{:?}", response.warnings);
    let poor = Budget { max_bytes: 0, ..Budget::default() };
    let response = search(&[memory(&spans, 1, 1)], &request, &poor).unwrap();
    assert!(response.warnings[0].contains("budget of bytes"), "{:?}", response.warnings);
    let flag = Arc::new(AtomicBool::new(false));
    flag.store(true, Ordering::Relaxed);
    let cancelled = Budget { cancelled: flag, ..Budget::default() };
    assert!(matches!(search(&head(&spans), &request, &cancelled), Err(QueryError::Cancelled)));
}

fn log(trace: u8, time: u64, body: &str, service: &str) -> LogEntry {
    LogEntry {
        resource: resource(service, &[]),
        record: LogRecord {
            time_unix_nano: time,
            observed_time_unix_nano: time + 5,
            severity_number: 9,
            severity_text: "INFO".into(),
            body: Value::Str(body.into()),
            attributes: vec![KeyValue::new("k", 1i64)],
            trace_id: (trace != 0).then(|| trace_id(trace)),
            ..LogRecord::default()
        },
        ..LogEntry::default()
    }
}

#[test]
fn logs_are_found_by_trace_and_by_text_service_and_time() {
    let mut unknown_time = log(1, 0, "seen only", "shop");
    unknown_time.record.observed_time_unix_nano = 40;
    let entries = vec![
        log(1, 30, "Payment DENIED", "shop"),
        log(0, 20, "payment ok", "bank"),
        log(1, 10, "start", "shop"),
        unknown_time,
    ];
    let held = Head::new(Signal::Logs);
    held.append(&encode_logs(&entries));
    let mut sources = held.sources();
    // Spans are no logs, and what was sent twice is told once.
    sources.extend(head(&shop()));
    sources.extend(held.sources());
    let of_trace = trace_logs(&sources, &trace_id(1), &Budget::default()).unwrap();
    assert_eq!(of_trace.items, [entries[2].clone(), entries[0].clone(), entries[3].clone()]);
    let find = |text: &str, service: Option<&str>, start, end, limit| {
        let request = LogSearch { text: text.into(), service: service.map(str::to_owned), start, end, limit };
        search_logs(&sources[..1], &request, &Budget::default()).unwrap().items
    };
    assert_eq!(find("payment", None, 0, 100, 10), [entries[0].clone(), entries[1].clone()]);
    assert_eq!(find("payment", Some("bank"), 0, 100, 10), [entries[1].clone()]);
    assert_eq!(find("", None, 0, 30, 10), [entries[1].clone(), entries[2].clone()]);
    assert_eq!(find("", None, 0, 100, 2), [entries[3].clone(), entries[0].clone()]);
    assert_eq!(find("(", None, 0, 100, 2), []);
}
