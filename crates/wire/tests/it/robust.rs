//! Any bytes at all: no decoder panics, and what the check lets through can be decoded.

use proptest::prelude::*;
use tracewell_model::{KeyValue, Value};
use tracewell_testkit::model;
use tracewell_wire::file::{is_line, read, read_line, read_traces};
use tracewell_wire::otlp::json::{self, Style};
use tracewell_wire::otlp::response::{RpcStatus, decode_export_response};
use tracewell_wire::otlp::view::{LogView, SpanView, TracesRequest, ValueView};
use tracewell_wire::{jaeger, otlp};

/// Feeds `bytes` to everything that reads bytes.
fn feed(bytes: &[u8]) {
    if otlp::check_traces(bytes).is_ok() {
        otlp::decode_traces(bytes).expect("a checked request decodes");
        let merged = otlp::check_traces(bytes).unwrap().normalized;
        let mut text = Vec::new();
        json::traces_to_json(merged.as_deref().unwrap_or(bytes), Style::Otlp, &mut text)
            .expect("a checked request can be written");
        json::traces_to_protobuf(&text).expect("what is written can be read");
    }
    if otlp::check_logs(bytes).is_ok() {
        otlp::decode_logs(bytes).expect("a checked request decodes");
    }
    walk(bytes);
    let mut out = Vec::new();
    let _ = json::traces_to_json(bytes, Style::Names, &mut out);
    let _ = json::logs_to_json(bytes, Style::Otlp, &mut out);
    let _ = json::write_resource(bytes, bytes, &mut out);
    let _ = json::write_scope(bytes, bytes, &mut out);
    let _ = json::traces_to_protobuf(bytes);
    let _ = json::logs_to_protobuf(bytes);
    let _ = jaeger::json::read(bytes);
    let _ = read_traces(bytes);
    let _ = read(bytes);
    let _ = (is_line(bytes), read_line(bytes, 1));
    let _ = decode_export_response(bytes);
    let _ = RpcStatus::decode(bytes);
    let _ = (otlp::decode_event(bytes), otlp::decode_link(bytes));
    let _ = (otlp::decode_resource(bytes, bytes), otlp::decode_scope(bytes, bytes));
    let _ = ValueView::new(bytes).and_then(otlp::decode_value);
    if let Ok(text) = std::str::from_utf8(bytes) {
        let _ = (json::attributes_from_json(text), json::events_from_json(text), json::links_from_json(text));
        let _ = (json::resource_from_json(text), json::scope_from_json(text), json::value_from_json(text));
    }
}

/// Walks a request that was not checked.
fn walk(bytes: &[u8]) {
    for group in TracesRequest::new(bytes).resource_spans().flatten() {
        for group in group.scope_spans().flatten() {
            for span in group.spans().flatten() {
                let _ = otlp::decode_span(&span);
            }
        }
    }
    let _ = SpanView::new(bytes).and_then(|span| otlp::decode_span(&span));
    let _ = LogView::new(bytes).and_then(|log| otlp::decode_log(&log));
}

proptest! {
    #![proptest_config(super::cases(200))]

    #[test]
    fn arbitrary_bytes(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        feed(&bytes);
    }

    /// Small bytes are headers and lengths more often than not.
    #[test]
    fn bytes_like_protobuf(bytes in prop::collection::vec(0u8..44, 0..120)) {
        feed(&bytes);
    }

    #[test]
    fn damaged_requests(
        records in model::span_records(),
        entries in model::log_entries(),
        cut in any::<prop::sample::Index>(),
        flips in prop::collection::vec((any::<prop::sample::Index>(), 0u8..8), 0..6),
        as_json in any::<bool>(),
    ) {
        let mut traces = otlp::encode_traces(&records);
        let mut logs = otlp::encode_logs(&entries);
        if as_json {
            (traces, logs) = (Vec::new(), Vec::new());
            json::write_traces(&records, Style::Otlp, &mut traces);
            json::write_logs(&entries, Style::Otlp, &mut logs);
        }
        for mut bytes in [traces, logs] {
            if bytes.is_empty() {
                continue;
            }
            feed(&bytes[..cut.index(bytes.len())]);
            for (place, bit) in &flips {
                let place = place.index(bytes.len());
                bytes[place] ^= 1 << bit;
            }
            feed(&bytes);
        }
    }
}

#[test]
fn nesting_is_limited_and_never_overflows_the_stack() {
    // Depth in protobuf: a list in a list in a list …, each in the value of the one around it.
    let nested = |depth: usize| {
        let mut value = b"\x0a\x01x".to_vec();
        for _ in 0..depth {
            for field in [0x0au8, 0x2a] {
                let mut outer = vec![field];
                let mut length = value.len();
                while length >= 0x80 {
                    outer.push(length as u8 | 0x80);
                    length >>= 7;
                }
                outer.push(length as u8);
                outer.extend_from_slice(&value);
                value = outer;
            }
        }
        value
    };
    for (depth, fits) in [(0, true), (1, true), (otlp::DEPTH_MAX, true), (otlp::DEPTH_MAX + 1, false), (2_000, false)] {
        let bytes = nested(depth);
        let view = ValueView::new(&bytes).unwrap();
        assert_eq!(otlp::decode_value(view).is_ok(), fits, "{depth}");
        assert_eq!(json::write_value(view, &mut Vec::new()).is_ok(), fits, "{depth}");

        let text = format!(
            "{}{{\"stringValue\":\"x\"}}{}",
            "{\"arrayValue\":{\"values\":[".repeat(depth),
            "]}}".repeat(depth)
        );
        assert_eq!(json::value_from_json(&text).is_ok(), fits, "{depth}");
    }
    // A value that is too deep to be read is not written either, and takes nothing else with it.
    let deep = (0..100).fold(Value::Empty, |value, _| Value::Array(vec![value]));
    let back = json::attributes_from_json(&json::attributes_to_json(&[
        KeyValue::new("deep", deep),
        KeyValue::new("flat", true),
    ]))
    .unwrap();
    assert_eq!((back.len(), &back[1]), (2, &KeyValue::new("flat", true)));
    let tag = format!(r#"{{"key":"k","value":{}1{}}}"#, "[".repeat(100), "]".repeat(100));
    let trace = format!(r#"{{"spans":[{{"traceID":"1","spanID":"1","tags":[{tag}]}}]}}"#);
    let records = jaeger::json::read(trace.as_bytes()).unwrap();
    assert_eq!(otlp::decode_traces(&otlp::encode_traces(&records)).unwrap(), records);
    // The same around a request, in every shape that a parser could follow without end.
    for open in ["[", "{\"a\":", "{\"resourceSpans\":[", "{\"data\":[", "{\"trace\":", "[{\"spans\":["] {
        feed(open.repeat(100_000).as_bytes());
    }
    feed(&[0x0b].repeat(100_000));
    feed(&[0x0a, 0x7f].repeat(50_000));
}

#[test]
fn a_claimed_length_allocates_nothing() {
    // A field that claims 2^60 bytes, in each place that reads lengths.
    let huge = [0x0a, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x10, 1, 2, 3];
    feed(&huge);
    assert_eq!(
        otlp::check_traces(&huge).unwrap_err().to_string(),
        "malformed protobuf: at resource_spans[0]: ExportTraceServiceRequest: it ends within a field"
    );
}
