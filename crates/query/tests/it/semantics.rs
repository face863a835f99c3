//! What TraceQL means, case by case. `docs` is Tempo's "Construct a TraceQL query"; where Tempo says nothing or
//! differs, the case says so.

use std::sync::Arc;

use tracewell_model::{KeyValue, SpanRecord, Value};
use tracewell_query::traceql::Query;
use tracewell_query::{Budget, SearchRequest, search};

use crate::data::{head, memory, resource, span};

fn with(mut record: SpanRecord, attributes: &[(&str, Value)]) -> SpanRecord {
    record.span.attributes =
        attributes.iter().map(|(key, value)| KeyValue { key: (*key).into(), value: value.clone() }).collect();
    record
}

/// One trace: a front end (1) calls a shop (2), which calls a database twice (3, 4); 4 fails. Span 5 lost its parent.
fn trace() -> Vec<SpanRecord> {
    let text = |text: &str| Value::Str(text.into());
    let mut spans = vec![
        with(span(1, 1, 0, 1_000, "GET /"), &[("http.status_code", Value::Int(200)), ("foo", text("span"))]),
        with(
            span(1, 2, 1, 1_100, "shop"),
            &[("http.status_code", text("404")), ("tags", Value::Array(vec![text("bar"), text("baz")]))],
        ),
        with(span(1, 3, 2, 1_200, "query"), &[("ratio", Value::Double(0.5)), ("cached", Value::Bool(true))]),
        with(span(1, 4, 2, 1_300, "query"), &[("ratio", Value::Double(2.0)), ("cached", Value::Bool(false))]),
        with(span(1, 5, 99, 1_400, "late"), &[("ip", text("10.1.2.3"))]),
    ];
    spans[0].resource = resource("front", &[("foo", text("resource")), ("zone", text("eu"))]);
    spans[1].resource = resource("shop", &[("foo", text("resource"))]);
    spans[3].span.status.code = 2;
    spans[3].span.status.message = "Forbidden".into();
    spans[0].span.kind = 2;
    spans[2].span.kind = 3;
    spans
}

/// Queries and the spans that they select.
const CASES: &[(&str, &[u64], &str)] = &[
    ("{ }", &[1, 2, 3, 4, 5], "docs: the simplest query matches everything"),
    ("{ span.http.status_code >= 200 && span.http.status_code < 300 }", &[1], "docs, field expressions"),
    ("{ span.http.status_code >= \"400\" }", &[2], "docs: strings compare by lexicographic order"),
    ("{ span.http.status_code = 404 }", &[], "a text is no number: types are not converted"),
    ("{ span.http.status_code != 404 }", &[1], "nor is it different from one"),
    ("{ status = error }", &[4], "docs, intrinsics"),
    ("{ status != ok }", &[1, 2, 3, 4, 5], "docs; a missing status is unset"),
    ("{ span:statusMessage = \"Forbidden\" }", &[4], "docs, intrinsics"),
    ("{ kind = server || span:kind = client }", &[1, 3], "docs, intrinsics"),
    ("{ duration = 1ms }", &[1, 2, 3, 4, 5], "docs, intrinsics: end minus start"),
    ("{ span:id = \"0000000000000001\" }", &[1], "docs, intrinsics"),
    ("{ span:parentID = \"000000000000002\" }", &[3, 4], "docs, intrinsics: leading zeros may be missing"),
    ("{ trace:rootName = \"GET /\" && name = \"query\" }", &[3, 4], "docs: the same for all spans of the trace"),
    ("{ trace:rootService = \"front\" && trace:duration > 1ms && kind = server }", &[1], "docs: max(end) - min(start)"),
    ("{ trace:id = \"1010101010101010101010101010101\" && kind = server }", &[1], "docs, intrinsics"),
    ("{ name =~ \"que\" }", &[], "docs: regular expressions are fully anchored"),
    ("{ name =~ \"que.*\" }", &[3, 4], "docs"),
    ("{ name =~ \"shop|late\" }", &[2, 5], "docs: alternation is within the anchors"),
    ("{ name !~ \"que.*|shop\" }", &[1, 5], "docs"),
    ("{ span.http.status_code != nil }", &[1, 2], "docs: exists in a span"),
    ("{ nil != span.http.status_code }", &[1, 2], "either side; Tempo's issue 3989"),
    ("{ span.http.status_code = nil }", &[3, 4, 5], "Tempo: absence"),
    ("{ span.missing != \"x\" }", &[], "Tempo: a comparison with what is missing is false, != included"),
    ("{ !(span.missing = \"x\") }", &[1, 2, 3, 4, 5], "the opposite of false is true (Tempo answers nothing here)"),
    ("{ span.cached }", &[3], "an attribute alone is its truth"),
    ("{ !span.cached }", &[4], "and a missing one is neither true nor false"),
    ("{ span.tags = \"bar\" }", &[2], "docs: arrays are searched"),
    ("{ span.tags =~ \".*\" }", &[2], "docs"),
    ("{ span.tags != \"bar\" }", &[], "!= asks that no element is equal"),
    ("{ span.tags != \"other\" }", &[2], "and here none is"),
    ("{ span.ratio > 0 && span.ratio < 1 }", &[3], "whole and decimal numbers compare as numbers"),
    ("{ span.ratio = 2 }", &[4], "so 2.0 is 2"),
    ("{ .foo = \"span\" }", &[1], "Tempo: unscoped looks at the span first …"),
    ("{ .foo = \"resource\" }", &[2], "… and at the resource where the span has none"),
    ("{ resource.foo = \"resource\" }", &[1, 2], "docs: scopes"),
    ("{ instrumentation:name = \"lib\" && instrumentation:version = \"1.0\" && kind = server }", &[1], "docs"),
    ("{ parent.name = \"shop\" }", &[3, 4], "Tempo's design; of a span that is here"),
    ("{ parent.resource.service.name = \"front\" }", &[2], "Tempo's design"),
    ("{ nestedSetParent < 0 }", &[1], "Tempo: root spans, as Grafana asks for them"),
    ("{ parent = nil }", &[1], "no parent; an orphan has one that is not here"),
    ("{ span:childCount = 2 }", &[2], "direct children"),
    ("{ cidr(span.ip, \"10.0.0.0/8\") }", &[5], "Tempo: cidr()"),
    ("{ cidr(span.ip, \"192.168.0.0/16\", \"::/0\") }", &[], "Tempo: cidr()"),
    ("{ duration > 10 * 50us }", &[1, 2, 3, 4, 5], "docs, arithmetic"),
    ("{ 7 / 2 = 3 && kind = server }", &[1], "whole numbers divide to whole numbers, as in Tempo"),
    ("{ 2 ^ 3 ^ 0 = 2 && 7 % 4 = 3 && kind = server }", &[1], "^ binds to the right"),
    ("{ kind = server || kind = client && status = error }", &[1], "&& binds tighter than || (unlike in Tempo)"),
    ("{ span.cached } && { kind = server }", &[1, 3], "docs: both sides must find spans; the answer is both"),
    ("{ span.cached } && { kind = producer }", &[], "docs"),
    ("{ span.cached } || { kind = producer }", &[3], "docs"),
    ("{ kind = server } > { }", &[2], "docs: child"),
    ("{ name = \"query\" } < { }", &[2], "docs: parent"),
    ("{ kind = server } >> { name = \"query\" }", &[3, 4], "docs: descendant"),
    ("{ status = error } << { }", &[1, 2], "docs: ancestor"),
    ("{ status = error } ~ { }", &[3], "docs: sibling"),
    ("{ } !< { }", &[3, 4, 5], "docs: leaf spans"),
    ("{ } !> { }", &[1, 5], "docs: not a child"),
    ("{ kind = server } !>> { }", &[1, 5], "docs: not a descendant"),
    ("{ status = error } !~ { name = \"query\" }", &[4], "docs: not a sibling"),
    ("{ kind = server } &>> { status = error }", &[1, 4], "docs: spans of both sides"),
    ("{ name = \"query\" } &~ { status = error }", &[3, 4], "docs: spans of both sides"),
    ("{ name = \"query\" } | count() > 1", &[3, 4], "docs: aggregates"),
    ("{ name = \"query\" } | count() > 2", &[], "docs: aggregates"),
    ("{ } | avg(span.ratio) = 1.25", &[1, 2, 3, 4, 5], "spans without the attribute do not count"),
    ("{ } | by(name) | count() > 1", &[3, 4], "docs: grouping"),
    ("{ } | by(name) | count() > 1 | coalesce() | { status = error }", &[4], "docs: coalesce"),
    ("count() > 4", &[1, 2, 3, 4, 5], "docs: aggregates over the whole trace"),
    ("({ name = \"query\" } | count() > 1) && { kind = server }", &[1, 3, 4], "pipelines combine"),
    ("({ name = \"query\" } | count()) > ({ kind = server } | count())", &[1, 3, 4], "and compare"),
    ("{ kind = server } | select(span.foo, resource.zone)", &[1], "docs: selection"),
];

#[test]
fn traceql_means_what_the_table_says() {
    let spans = trace();
    let pieces: Vec<Arc<dyn tracewell_store::table::Source>> =
        spans.chunks(2).flat_map(|piece| [memory(piece, 1, 1)]).chain(head(&spans[..1])).collect();
    for (text, expected, why) in CASES {
        let query = Query::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        let request = SearchRequest { max_spans_per_trace: 10, ..SearchRequest::new(query) };
        for sources in [&[memory(&spans, 2, 1)][..], &head(&spans), &pieces] {
            let response = search(sources, &request, &Budget::default()).unwrap();
            let ids: Vec<u64> =
                response.traces.iter().flat_map(|trace| trace.spans.iter().map(|span| span.span_id.to_u64())).collect();
            assert_eq!(ids, *expected, "{text}: {why}");
        }
    }
}
