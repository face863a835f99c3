//! The filters of findings (`tracewell_analysis::outliers`) find, over stored spans, the traces that the findings count.

use std::sync::Arc;

use tracewell_analysis::Builder;
use tracewell_analysis::outliers::{Finding, FindingKind, Options, find_among};
use tracewell_model::{Event, KeyValue, LogEntry, LogRecord, SpanRecord, Status, Value};
use tracewell_query::traceql::Query;
use tracewell_query::{Budget, SearchRequest, TotalMode, search};
use tracewell_store::table::Source;

use crate::data::{head, memory, resource, span, trace_id};

const TRACES: u8 = 250;

/// Numbers that look random: the middle of a product.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }

    /// True more often in marked traces.
    fn likely(&mut self, marked: bool) -> bool {
        self.below(10) < if marked { 7 } else { 2 }
    }
}

/// Traces of which the marked ones show one thing more often than the others, which one depends on the seed.
fn shop(seed: u64) -> (Vec<SpanRecord>, Vec<LogEntry>, Vec<bool>) {
    let mut dice = Dice(seed);
    let (mut spans, mut logs, mut marks) = (Vec::new(), Vec::new(), Vec::new());
    for number in 1..=TRACES {
        let marked = dice.below(4) == 0;
        marks.push(marked);
        let shows = dice.likely(marked);
        let start = u64::from(number) * 1_000_000_000;
        let add = |spans: &mut Vec<SpanRecord>, id: u64, parent: u64, service: &str, name: &str| {
            let mut record = span(number, id, parent, start + id, name);
            let version = if shows && seed.is_multiple_of(9) { "2 \"beta\"" } else { "1" };
            record.resource = resource(service, &[("service.version", Value::Str(version.into()))]);
            spans.push(record);
            spans.len() - 1
        };
        let root = add(&mut spans, 1, 0, "front \\ end", "GET /{id}");
        let attributes = &mut spans[root].span.attributes;
        attributes.push(KeyValue::new(
            "a key \"quoted\"",
            if shows && seed % 9 == 1 { "line\nbreak\t\u{1}" } else { "plain" },
        ));
        attributes.push(KeyValue::new("size", dice.below(500) as i64 + if shows && seed % 9 == 2 { 480 } else { -20 }));
        attributes.push(KeyValue { key: "load".into(), value: Value::Double(dice.below(100) as f64 / 64.0 - 0.5) });
        attributes.push(KeyValue { key: "cached".into(), value: Value::Bool(dice.below(2) == 0) });
        let shop = add(&mut spans, 2, 1, "shop", "buy");
        if shows && seed % 9 == 3 {
            spans[shop].span.status = Status { code: 2, message: "no \"stock\"".into() };
        }
        let queries = 1 + dice.below(2) + if shows && seed % 9 == 4 { 7 } else { 0 };
        for query in 0..queries {
            add(&mut spans, 10 + query, 2, "db", "SELECT");
        }
        if !(shows && seed % 9 == 5) {
            add(&mut spans, 3, 1, "prices", "price");
        }
        if shows && seed % 9 == 6 {
            add(&mut spans, 4, 2, "shop", "wait for lock");
        }
        if shows && seed % 9 == 7 {
            let kind = KeyValue::new("exception.type", "Out of \"stock\"");
            spans[shop].span.events = vec![Event {
                name: "exception".into(),
                attributes: vec![kind],
                time_unix_nano: start,
                ..Event::default()
            }];
        }
        if shows && seed % 9 == 8 {
            logs.push(LogEntry {
                resource: resource("shop", &[]),
                record: LogRecord {
                    time_unix_nano: start,
                    trace_id: Some(trace_id(number)),
                    body: Value::Str("cache is cold".into()),
                    ..LogRecord::default()
                },
                scope: Arc::default(),
            });
        }
    }
    (spans, logs, marks)
}

/// How many traces a query finds.
fn count(sources: &[Arc<dyn Source>], text: &str) -> u64 {
    let query = Query::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
    let request = SearchRequest { total: TotalMode::Exact, ..SearchRequest::new(query) };
    search(sources, &request, &Budget::default()).unwrap().total.unwrap().value
}

fn check(sources: &[Arc<dyn Source>], finding: &Finding) {
    let expected = if finding.filter.contains("trace:id") { finding.traces.min(20) } else { finding.traces };
    assert_eq!(count(sources, &finding.filter), expected as u64, "{}", finding.filter);
    // Aliases may differ in one trace of fifty.
    for alias in finding.aliases.iter().filter(|alias| !alias.contains("trace:id")) {
        let found = count(sources, alias) as f64;
        assert!((found / finding.traces as f64 - 1.0).abs() <= 0.021, "{alias} {found}, {} {expected}", finding.filter);
    }
    finding.implied.iter().for_each(|implied| check(sources, implied));
}

#[test]
fn filters_find_what_findings_count() {
    let kinds = [
        FindingKind::Attribute,
        FindingKind::Attribute,
        FindingKind::Attribute,
        FindingKind::Attribute,
        FindingKind::CallCount,
        FindingKind::Operation,
        FindingKind::Operation,
        FindingKind::LogSite,
        FindingKind::LogSite,
    ];
    for (seed, kind) in (0..).zip(kinds) {
        let (spans, logs, marks) = shop(seed);
        let traces = Builder::from_records(&spans, &logs);
        let found = find_among(&traces, &marks, &Options::default());
        let first = found.first().unwrap_or_else(|| panic!("{seed}: nothing found"));
        assert_eq!(first.kind, kind, "{seed}: {}", first.filter);
        let sources = if seed % 2 == 0 { head(&spans) } else { vec![memory(&spans, 64, 4)] };
        // Everything that was looked at, whether it means something or not.
        let all = find_among(&traces, &marks, &Options { q_max: 1.0, findings_max: 200, ..Options::default() });
        assert!(all.len() >= found.len());
        found.iter().chain(&all).for_each(|finding| check(&sources, finding));
    }
}
