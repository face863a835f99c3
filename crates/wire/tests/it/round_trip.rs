//! `decode(encode(x)) == x`, for every encoding and for the pieces that storage keeps.

use proptest::prelude::*;
use tracewell_testkit::model;
use tracewell_wire::file::read_traces;
use tracewell_wire::otlp::json::{self, Style};
use tracewell_wire::otlp::view::{SpanView, TracesRequest};
use tracewell_wire::otlp::{self, check_logs, check_traces};

/// Equality that lets NaN equal itself and tells the zeros apart.
macro_rules! assert_same {
    ($left:expr, $right:expr) => {
        prop_assert_eq!(format!("{:#?}", $left), format!("{:#?}", $right))
    };
}

proptest! {
    #![proptest_config(super::cases(96))]

    #[test]
    fn spans_survive_protobuf(records in model::span_records()) {
        let bytes = otlp::encode_traces(&records);
        let checked = check_traces(&bytes).unwrap();
        prop_assert_eq!((checked.items, checked.rejected), (records.len() as u64, 0));
        prop_assert!(checked.normalized.is_none());
        assert_same!(otlp::decode_traces(&bytes).unwrap(), records);
    }

    #[test]
    fn log_records_survive_protobuf(entries in model::log_entries()) {
        let bytes = otlp::encode_logs(&entries);
        prop_assert_eq!(check_logs(&bytes).unwrap().items, entries.len() as u64);
        assert_same!(otlp::decode_logs(&bytes).unwrap(), entries);
    }

    #[test]
    fn spans_become_the_same_protobuf_through_json(records in model::span_records()) {
        let bytes = otlp::encode_traces(&records);
        let mut text = Vec::new();
        json::write_traces(&records, Style::Otlp, &mut text);
        prop_assert_eq!(&json::traces_to_protobuf(&text).unwrap(), &bytes);
        prop_assert!(serde_json::from_slice::<serde_json::Value>(&text).is_ok());
        for style in [Style::Names, Style::Batches] {
            let mut text = Vec::new();
            json::write_traces(&records, style, &mut text);
            assert_same!(read_traces(&text).unwrap(), records);
        }
    }

    #[test]
    fn log_records_become_the_same_protobuf_through_json(entries in model::log_entries()) {
        let bytes = otlp::encode_logs(&entries);
        let mut text = Vec::new();
        json::write_logs(&entries, Style::Otlp, &mut text);
        prop_assert_eq!(&json::logs_to_protobuf(&text).unwrap(), &bytes);
    }

    #[test]
    fn json_is_the_same_after_protobuf(records in model::span_records()) {
        let (mut first, mut second) = (Vec::new(), Vec::new());
        json::write_traces(&records, Style::Otlp, &mut first);
        json::traces_to_json(&json::traces_to_protobuf(&first).unwrap(), Style::Otlp, &mut second).unwrap();
        prop_assert_eq!(String::from_utf8(first).unwrap(), String::from_utf8(second).unwrap());
    }

    #[test]
    fn what_storage_keeps_as_json_survives(
        resource in model::resource(),
        scope in model::scope(),
        span in model::span(),
        value in model::value(),
    ) {
        assert_same!(json::resource_from_json(&json::resource_to_json(&resource)).unwrap(), resource);
        assert_same!(json::scope_from_json(&json::scope_to_json(&scope)).unwrap(), scope);
        assert_same!(json::events_from_json(&json::events_to_json(&span.events)).unwrap(), span.events);
        assert_same!(json::links_from_json(&json::links_to_json(&span.links)).unwrap(), span.links);
        assert_same!(json::attributes_from_json(&json::attributes_to_json(&span.attributes)).unwrap(), span.attributes);
        assert_same!(json::value_from_json(&json::value_to_json(&value)).unwrap(), value);
    }

    /// What ingestion writes straight from the request's bytes is what the model would be written as.
    #[test]
    fn views_are_written_as_the_model_is(records in model::span_records()) {
        let bytes = otlp::encode_traces(&records);
        let mut expected = records.iter();
        for group in TracesRequest::new(&bytes).resource_spans() {
            let group = group.unwrap();
            let mut resource = Vec::new();
            json::write_resource(group.resource, group.schema_url, &mut resource).unwrap();
            for scope_spans in group.scope_spans() {
                let scope_spans = scope_spans.unwrap();
                let mut scope = Vec::new();
                json::write_scope(scope_spans.scope, scope_spans.schema_url, &mut scope).unwrap();
                for span in scope_spans.spans() {
                    let (span, record) = (span.unwrap(), expected.next().unwrap());
                    prop_assert_eq!(&resource, &json::resource_to_json(&record.resource).into_bytes());
                    prop_assert_eq!(&scope, &json::scope_to_json(&record.scope).into_bytes());
                    prop_assert_eq!(written(&span, json::write_events), json::events_to_json(&record.span.events));
                    prop_assert_eq!(written(&span, json::write_links), json::links_to_json(&record.span.links));
                    let attributes: Vec<String> = span.attributes().map(|attribute| {
                        let mut out = Vec::new();
                        json::write_attribute(&attribute.unwrap(), &mut out).unwrap();
                        String::from_utf8(out).unwrap()
                    }).collect();
                    let attributes = format!("[{}]", attributes.join(","));
                    prop_assert_eq!(attributes, json::attributes_to_json(&record.span.attributes));
                }
            }
        }
        prop_assert!(expected.next().is_none());
    }
}

type Write = fn(&SpanView<'_>, &mut Vec<u8>) -> Result<(), tracewell_wire::DecodeError>;

fn written(span: &SpanView<'_>, write: Write) -> String {
    let mut out = Vec::new();
    write(span, &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

#[test]
fn neighbours_share_their_resource_and_scope() {
    let record = |name: &str, service: &str| {
        let mut record = tracewell_model::SpanRecord::default();
        record.span.trace_id.0[0] = 1;
        record.span.span_id.0[0] = 1;
        record.span.name = name.to_owned();
        let attributes = vec![tracewell_model::KeyValue::new("service.name", service)];
        record.resource = std::sync::Arc::new(tracewell_model::Resource { attributes, ..Default::default() });
        record
    };
    let records = [record("a", "x"), record("b", "x"), record("c", "y"), record("d", "x")];
    let bytes = otlp::encode_traces(&records);
    assert_eq!(TracesRequest::new(&bytes).resource_spans().count(), 3, "equal, not merely identical, resources group");
    let decoded = otlp::decode_traces(&bytes).unwrap();
    assert_eq!(decoded, records);
    assert!(std::sync::Arc::ptr_eq(&decoded[0].resource, &decoded[1].resource));
    assert_eq!(bytes, otlp::encode_traces_data(&records));
}

#[test]
fn an_empty_answer_still_has_its_list() {
    for (style, expected) in [
        (Style::Otlp, "{\"resourceSpans\":[]}"),
        (Style::Names, "{\"resourceSpans\":[]}"),
        (Style::Batches, "{\"batches\":[]}"),
    ] {
        let mut out = Vec::new();
        json::write_traces(&[], style, &mut out);
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }
    let mut out = Vec::new();
    json::write_logs(&[], Style::Otlp, &mut out);
    assert_eq!(out, b"{\"resourceLogs\":[]}");
}
