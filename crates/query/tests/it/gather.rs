//! Traces for analyses: those that a search finds, with everything that their records say.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use proptest::prelude::*;
use tracewell_analysis::{Attribute, Builder, Traces};
use tracewell_model::{LogEntry, LogRecord, SpanId, SpanRecord, TraceId};
use tracewell_query::traceql::Query;
use tracewell_query::{Budget, GatherRequest, Gathered, QueryError, Which, gather, search};
use tracewell_store::head::Head;
use tracewell_store::table::{Signal, Source};
use tracewell_wire::otlp::encode_logs;

use crate::data::{head, memory, query, resource, span, spans, trace_id};
use crate::laws::{request, split, threads};
use crate::segments::merged;

/// Everything that is said of each trace, in texts and without an order where there is none.
fn told(traces: &Traces) -> BTreeMap<TraceId, BTreeSet<String>> {
    let text = |text| traces.text(text);
    let attributes = |all: &[Attribute]| {
        all.iter()
            .map(|one| format!("{}={}", text(one.key), one.value.traceql(traces.texts())))
            .collect::<BTreeSet<_>>()
    };
    let of_span = |trace: &tracewell_analysis::Trace, number: usize| {
        let span = &traces.spans()[number];
        let logs = traces.logs_of(trace).iter().filter(|log| log.span as usize == number);
        let mut logs: Vec<String> = logs
            .map(|log| format!("{} {} {} {:?}", log.time_ns, text(log.service), text(log.site), log.source))
            .collect();
        logs.sort();
        let links = traces.links().iter().filter(|link| link.span as usize == number);
        let mut links: Vec<String> = links.map(|link| format!("{}/{}", link.trace_id, link.span_id)).collect();
        links.sort();
        format!(
            "{} {:?} {:?} {}..{} {} {:?} {} {:?} {:?} {} {:?} {logs:?} {links:?} {:?} {:?}",
            span.id,
            span.parent_id,
            traces.parent(number).map(|parent| traces.spans()[parent].id),
            span.start_ns,
            span.end_ns,
            span.kind,
            span.status,
            span.flags,
            [span.service, span.operation, span.instance, span.host, span.version].map(text),
            [span.peer, span.statement, span.trace_state, span.status_message].map(text),
            span.depth,
            span.descendants,
            attributes(traces.attributes(number)),
            attributes(traces.resource(number)),
        )
    };
    let of_trace = |trace: &tracewell_analysis::Trace| {
        let loose = traces.logs_of(trace).iter().filter(|log| log.span == tracewell_analysis::NO_SPAN);
        let loose = loose.map(|log| format!("{} {}", log.time_ns, text(log.site)));
        (trace.id, trace.spans().map(|span| of_span(trace, span)).chain(loose).collect())
    };
    traces.traces().iter().map(of_trace).collect()
}

fn gathered(sources: &[Arc<dyn Source>], logs: &[Arc<dyn Source>], request: &GatherRequest) -> Gathered {
    let one = gather(sources, logs, request, &threads(1)).unwrap();
    let two = gather(sources, logs, request, &threads(2)).unwrap();
    assert_eq!(told(&one.traces), told(&two.traces));
    one
}

fn every(which: Which) -> GatherRequest {
    GatherRequest::new(which)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_gathered_is_what_is_found_with_all_its_spans(
        spans in spans(),
        text in query(),
        range in prop_oneof![2 => Just((0, u64::MAX)), 1 => (1_000u64..1_080, 0u64..60).prop_map(|(from, len)| (from, from + len))],
    ) {
        let dir = tempfile::tempdir().unwrap();
        let records: Vec<SpanRecord> = spans.iter().map(|(record, _)| record.clone()).collect();
        let found = search(&head(&records), &request(&text, range.0, range.1, 1_000), &threads(1)).unwrap();
        let ids: BTreeSet<TraceId> = found.traces.iter().map(|trace| trace.trace_id).collect();
        let matching: Vec<SpanRecord> =
            records.iter().filter(|record| ids.contains(&record.span.trace_id)).cloned().collect();
        let expected = told(&Builder::from_records(&matching, &[]));
        let wanted = GatherRequest { start: range.0, end: range.1, ..every(Which::Query(Query::parse(&text).unwrap())) };
        let holders = [
            ("split", split(&spans)),
            ("ordered", vec![memory(&records, 5, 3)]),
            ("head", head(&records)),
            ("segments", merged(&head(&records), dir.path())),
        ];
        for (holder, sources) in holders {
            let all = gathered(&sources, &[], &wanted);
            prop_assert_eq!(told(&all.traces), expected.clone(), "{}: {}", holder, text);
            prop_assert_eq!(all.matched.unwrap().value as usize, ids.len());
            prop_assert!(!all.sampled && all.traces.traces().iter().all(|trace| trace.weight == 1.0));
            let bare = gathered(&sources, &[], &GatherRequest { attributes: false, ..wanted.clone() });
            for (left, right) in bare.traces.spans().iter().zip(all.traces.spans()) {
                let peers = [(&bare, left.peer), (&all, right.peer), (&bare, left.statement), (&all, right.statement)];
                let [bare_peer, peer, bare_statement, statement] = peers.map(|(of, text)| of.traces.text(text).to_owned());
                prop_assert_eq!((left.id, bare_peer, bare_statement), (right.id, peer, statement));
                prop_assert_eq!(left.attributes_count, 0);
            }
        }
    }
}

/// A hundred traces of three spans, the root an operation of `gateway`.
fn hundred() -> Vec<SpanRecord> {
    let one = |trace: u8| {
        let start = 1_000 + u64::from(trace) * 100;
        let mut root = span(trace, 1, 0, start, if trace.is_multiple_of(4) { "GET /" } else { "GET /cart" });
        root.resource = resource("gateway", &[]);
        [root, span(trace, 2, 1, start + 1, "work"), span(trace, 3, 2, start + 2, "more work")]
    };
    (1..=100).flat_map(one).collect()
}

#[test]
fn a_sample_is_the_same_for_everyone_and_stands_for_the_rest() {
    let records = hundred();
    let all = Which::Query(Query::parse("{}").unwrap());
    let ids = |gathered: &Gathered| gathered.traces.traces().iter().map(|trace| trace.id).collect::<Vec<_>>();
    let twenty = GatherRequest { limit: 20, ..every(all.clone()) };
    let sample = gathered(&head(&records), &[], &twenty);
    assert!(sample.sampled);
    assert_eq!((sample.matched.unwrap().value, sample.traces.traces().len()), (100, 20));
    assert!(sample.traces.traces().iter().all(|trace| trace.weight == 5.0));
    // Neither where the spans lie nor how they came changes who is in it.
    assert_eq!(ids(&sample), ids(&gathered(&[memory(&records, 7, 5)], &[], &twenty)));
    let halves = [head(&records[..150]), head(&records[150..])].concat();
    assert_eq!(ids(&sample), ids(&gathered(&halves, &[], &twenty)));
    // A smaller sample is part of a larger one, and neither is just the newest.
    let ten = gathered(&halves, &[], &GatherRequest { limit: 10, ..every(all.clone()) });
    assert!(ids(&ten).iter().all(|id| ids(&sample).contains(id)));
    assert!(ids(&sample).iter().any(|id| id.0[0] < 50));
    // So does a bound of spans cut; one trace is told whatever its size.
    let few = gathered(&halves, &[], &GatherRequest { spans_max: 31, ..every(all.clone()) });
    assert_eq!((ids(&few), few.sampled), (ids(&ten), true));
    let one = gathered(&halves, &[], &GatherRequest { spans_max: 1, ..every(all) });
    assert_eq!(one.traces.spans().len(), 3);
}

#[test]
fn traces_are_gathered_by_their_root_and_by_their_id() {
    let records = hundred();
    let rooted = Which::Root { service: "gateway".into(), name: "GET /".into() };
    for sources in [head(&records), vec![memory(&records, 7, 5)], [head(&records), head(&records)].concat()] {
        let within = GatherRequest { start: 2_000, end: 9_000, ..every(rooted.clone()) };
        let numbers: Vec<u8> =
            gathered(&sources, &[], &within).traces.traces().iter().map(|trace| trace.id.0[0]).collect();
        assert_eq!(numbers, (10..80).filter(|number: &u8| number.is_multiple_of(4)).collect::<Vec<_>>());
        let others = gathered(&sources, &[], &GatherRequest { except: [trace_id(12)].into(), ..within });
        assert_eq!(others.matched.unwrap().value, 16);
        let ids = Which::Ids(vec![trace_id(3), trace_id(200), trace_id(3)]);
        let found = gathered(&sources, &[], &every(ids));
        assert_eq!((found.traces.traces().len(), found.traces.spans().len()), (1, 3));
    }
}

#[test]
fn log_records_come_with_their_traces_once() {
    let entry = |span_id: u64, time: u64, body: &str, service: &str| LogEntry {
        resource: resource(service, &[]),
        record: LogRecord {
            trace_id: Some(trace_id(1)),
            span_id: (span_id != 0).then(|| SpanId::from_u64(span_id)),
            time_unix_nano: time,
            severity_number: 17,
            body: body.into(),
            ..LogRecord::default()
        },
        ..LogEntry::default()
    };
    let entries = vec![
        entry(1, 1_010, "started", "gateway"),
        entry(2, 1_020, "payment failed", "svc"),
        entry(0, 1_030, "whose", ""),
        LogEntry {
            record: LogRecord { event_name: "evicted".into(), ..entry(2, 1_040, "", "svc").record },
            ..entry(2, 1_040, "", "svc")
        },
    ];
    let held = |entries: &[LogEntry]| {
        let head = Head::new(Signal::Logs);
        head.append(&encode_logs(entries));
        head.sources()
    };
    let records = hundred();
    let wanted = every(Which::Ids(vec![trace_id(1)]));
    let logs = [held(&entries), held(&entries[1..2])].concat();
    let found = gathered(&head(&records), &logs, &wanted);
    let expected = Builder::from_records(&records[..3], &entries);
    assert_eq!(told(&found.traces), told(&expected));
    assert_eq!(found.traces.logs().len(), 4);
}

#[test]
fn a_cancelled_gathering_is_an_error_and_an_exhausted_one_says_so() {
    let records = hundred();
    let all = every(Which::Query(Query::parse("{}").unwrap()));
    let budget = Budget::default();
    budget.cancelled.store(true, std::sync::atomic::Ordering::Relaxed);
    assert!(matches!(gather(&head(&records), &[], &all, &budget), Err(QueryError::Cancelled)));
    let budget = Budget { max_bytes: 10, threads: 1, ..Budget::default() };
    let found = gather(&[memory(&records, 7, 5)], &[], &all, &budget).unwrap();
    assert!(found.traces.traces().len() < 100 && found.warnings.iter().any(|warning| warning.contains("budget")));
}
