//! What released clients put on the wire, in every encoding of OTLP.

use std::io::Read as _;
use std::path::Path;

use tracewell_model::{SpanRecord, Value};
use tracewell_wire::otlp::json::{self, Style, traces_to_protobuf};
use tracewell_wire::otlp::{check_traces, decode_traces, encode_traces};

use super::data;

/// The records of a capture, whatever its encoding.
fn capture(folder: &Path) -> Vec<SpanRecord> {
    let file = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| path.extension().is_some_and(|extension| extension == "bin"))
        .unwrap();
    let mut bytes = std::fs::read(file).unwrap();
    if bytes.starts_with(b"\x1f\x8b") {
        let mut plain = Vec::new();
        flate2::read::GzDecoder::new(&bytes[..]).read_to_end(&mut plain).unwrap();
        bytes = plain;
    }
    if bytes.starts_with(b"{") {
        bytes = traces_to_protobuf(&bytes).unwrap();
    }
    let checked = check_traces(&bytes).unwrap();
    assert_eq!((checked.rejected, checked.normalized), (0, None));
    decode_traces(&bytes).unwrap()
}

/// What must be the same in every capture of one client: everything but ids, times and texts that
/// hold the place in the client's source or its process.
fn shape(records: &[SpanRecord]) -> String {
    let mut records = records.to_vec();
    let ids: Vec<_> = records.iter().map(|record| record.span.span_id).collect();
    for record in &mut records {
        let span = &mut record.span;
        let parent = span.parent_span_id.and_then(|parent| ids.iter().position(|id| *id == parent));
        assert_eq!(parent.is_some(), span.parent_span_id.is_some());
        assert!(span.start_unix_nano > 0 && span.end_unix_nano >= span.start_unix_nano);
        span.trace_state = format!("{:?}", parent);
        span.parent_span_id = None;
        (span.trace_id, span.span_id) = Default::default();
        (span.start_unix_nano, span.end_unix_nano) = (0, 0);
        for event in &mut span.events {
            event.time_unix_nano = 0;
            event.attributes.retain(|attribute| attribute.key != "exception.stacktrace");
        }
        let mut resource = (*record.resource).clone();
        resource.attributes.retain(|attribute| attribute.key != "service.instance.id");
        record.resource = resource.into();
    }
    format!("{records:#?}")
}

#[test]
fn every_encoding_of_a_client_gives_the_same_spans() {
    let Some(folder) = data("captures") else { return };
    for (first, others, spans) in [
        ("otlp-grpc", &["otlp-grpc-gzip", "otlp-http", "otlp-http-gzip", "otlp-json"][..], 4),
        ("node-otlp-grpc", &["node-otlp-http-proto", "node-otlp-http-json", "node-otlp-http-json-gzip"], 2),
    ] {
        let expected = capture(&folder.join(first));
        assert_eq!(expected.len(), spans);
        for other in others {
            let found = capture(&folder.join(other));
            assert!(shape(&found) == shape(&expected), "{other}: {}\n{first}: {}", shape(&found), shape(&expected));
        }
    }
}

#[test]
fn captured_values_keep_their_types() {
    let Some(folder) = data("captures") else { return };
    let records = capture(&folder.join("otlp-json"));
    let server = records.iter().find(|record| record.span.name == "GET /users/{id}").unwrap();
    assert_eq!(server.resource.service_name(), "shop");
    assert_eq!(server.scope.schema_url, "https://opentelemetry.io/schemas/1.30.0");
    let expected: [(&str, Value); 6] = [
        ("http.response.status_code", 500i64.into()),
        ("ratio", 0.5.into()),
        ("ok", true.into()),
        ("ints", Value::Array(vec![1i64.into(), (-2i64).into(), 9007199254740993i64.into()])),
        ("unicode", "héllo ☃ 日本語".into()),
        ("empty", "".into()),
    ];
    for (key, value) in expected {
        assert_eq!(server.span.attribute(key), Some(&value), "{key}");
    }
    assert_eq!((server.span.links.len(), server.span.links[0].flags, server.span.flags), (1, 768, 256));
}

#[test]
fn captures_and_real_traces_survive_every_way() {
    let (Some(captures), Some(traces)) = (data("captures"), data("traces/otlp")) else { return };
    let mut all: Vec<Vec<SpanRecord>> =
        ["otlp-grpc", "otlp-json", "node-otlp-grpc"].iter().map(|name| capture(&captures.join(name))).collect();
    for entry in std::fs::read_dir(traces).unwrap() {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap();
        all.push(decode_traces(&traces_to_protobuf(&bytes).unwrap()).unwrap());
    }
    assert!(all.len() >= 9);
    for records in all {
        assert!(!records.is_empty());
        assert_eq!(decode_traces(&encode_traces(&records)).unwrap(), records);
        let mut text = Vec::new();
        json::write_traces(&records, Style::Otlp, &mut text);
        assert_eq!(decode_traces(&traces_to_protobuf(&text).unwrap()).unwrap(), records);
    }
}
