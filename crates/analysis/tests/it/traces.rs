//! The input: traces in preorder, whatever order and shape they arrive in.

use std::sync::Arc;

use tracewell_analysis::{Builder, Traces};
use tracewell_model::{Event, KeyValue, Link, Resource, SERVICE_NAME, Span, SpanId, SpanRecord, TraceId, Value};

use crate::data;

#[test]
fn a_real_trace_stands_in_preorder() {
    let Some(traces) = data::records("traces/jaeger-genai-57-spans.json") else { return };
    assert_eq!((traces.traces().len(), traces.spans().len()), (1, 57));
    let trace = &traces.traces()[0];
    for span in trace.spans() {
        for child in traces.children(span) {
            assert_eq!(traces.parent(child), Some(span));
            assert_eq!(traces.spans()[child].depth, traces.spans()[span].depth + 1);
        }
    }
}

#[test]
fn a_recorded_case_has_its_logs_below_its_spans() {
    let Some(traces) = data::root_cause("2023-01-29_0850_NORMAL") else { return };
    let below = traces.logs().iter().filter(|log| log.span != tracewell_analysis::NO_SPAN).count();
    assert!(traces.traces().len() > 50 && below > 1_000, "{} traces, {below} logs", traces.traces().len());
}

/// Everything that is said of each trace, in texts.
fn told(traces: &Traces) -> Vec<String> {
    let text = |text| traces.text(text);
    let attributes = |all: &[tracewell_analysis::Attribute]| {
        all.iter().map(|one| format!("{}={}", text(one.key), one.value.traceql(traces.texts()))).collect::<Vec<_>>()
    };
    let of_trace = |trace: &tracewell_analysis::Trace| {
        let spans = trace.spans().map(|number| {
            let span = &traces.spans()[number];
            let parent = traces.parent(number).map(|parent| traces.spans()[parent].id);
            let logs = traces.logs_of(trace).iter().filter(|log| log.span == number as u32);
            let logs = logs.map(|log| format!("{} {}", text(log.service), text(log.site))).collect::<Vec<_>>();
            let links = traces.links().iter().filter(|link| link.span == number as u32).count();
            format!(
                "{} below {parent:?}: {} {} {:?} {:?} {logs:?} {links}",
                span.id,
                text(span.service),
                text(span.operation),
                attributes(traces.attributes(number)),
                attributes(traces.resource(number)),
            )
        });
        format!("{} {}: {:#?}", trace.id, trace.weight, spans.collect::<Vec<_>>())
    };
    traces.traces().iter().map(of_trace).collect()
}

#[test]
fn traces_built_apart_and_appended_are_those_built_together() {
    let record = |trace: u8, id: u64, parent: u64, service: &str| {
        let name = |text: &str| Value::Str(text.to_owned());
        let attributes = vec![KeyValue { key: SERVICE_NAME.to_owned(), value: name(service) }];
        SpanRecord {
            resource: Arc::new(Resource { attributes, ..Resource::default() }),
            span: Span {
                trace_id: TraceId([trace; 16]),
                span_id: SpanId::from_u64(id),
                parent_span_id: (parent != 0).then(|| SpanId::from_u64(parent)),
                name: format!("work {id}"),
                start_unix_nano: id,
                end_unix_nano: id + 10,
                attributes: vec![KeyValue { key: "peer.service".to_owned(), value: name("other") }],
                events: vec![Event { name: format!("event of {service}"), ..Event::default() }],
                links: vec![Link { span_id: SpanId::from_u64(9), ..Link::default() }],
                ..Span::default()
            },
            ..SpanRecord::default()
        }
    };
    let first = vec![record(1, 1, 0, "gateway"), record(1, 2, 1, "orders")];
    let second = vec![record(2, 3, 0, "orders"), record(2, 4, 3, "ledger"), record(3, 5, 7, "gateway")];
    let mut apart = Builder::from_records(&first, &[]);
    apart.append(Builder::from_records(&second, &[]));
    let together = Builder::from_records(&[first, second].concat(), &[]);
    assert_eq!(told(&apart), told(&together));
    assert_eq!(apart.texts().len(), together.texts().len());
    let mut none = Traces::default();
    none.append(together.clone());
    assert_eq!(told(&none), told(&together));
}
