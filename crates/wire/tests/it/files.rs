//! Trace files are recognised by what is in them.

use tracewell_wire::file::{FileError, Format, read_traces};
use tracewell_wire::otlp::json::{self, Style, traces_to_protobuf};

use super::data;

const SPAN: &str = r#"{"traceId":"5b8efff798038103d269b633813fc60c","spanId":"eee19b7ec3c1b174","name":"x"}"#;
const JAEGER: &str = r#"{"traceID":"1","spans":[{"traceID":"1","spanID":"2","operationName":"x"}],"processes":{}}"#;

fn otlp(span: &str) -> String {
    format!(r#"{{"resourceSpans":[{{"scopeSpans":[{{"spans":[{span}]}}]}}]}}"#)
}

#[test]
fn every_format_is_recognised() {
    let request = otlp(SPAN);
    let batches = request.replace("resourceSpans", "batches");
    let base64 = batches
        .replace("5b8efff798038103d269b633813fc60c", "W47/95gDgQPSabYzgT/GDA==")
        .replace("eee19b7ec3c1b174", "7uGbfsPBsXQ=");
    let cases = [
        ("OTLP JSON", request.clone(), 1),
        ("with a byte order mark", format!("\u{feff}\n {request}\n"), 1),
        ("snake case", request.replace("resourceSpans", "resource_spans"), 1),
        ("JSON lines", format!("{request}\n{request}\n\n{request}"), 3),
        ("JSON lines with other signals", format!("{request}\n{{\"resourceLogs\":[]}}\n{request}\n"), 2),
        ("Tempo", batches.clone(), 1),
        ("Tempo with ids in base64", base64, 1),
        ("Tempo v2", format!("{{\"trace\":{request},\"metrics\":{{}}}}"), 1),
        ("Tempo v2, old", format!("{{\"trace\":{batches}}}"), 1),
        ("Jaeger trace", JAEGER.to_owned(), 1),
        ("Jaeger answer", format!("{{\"data\":[{JAEGER},{JAEGER}]}}"), 2),
        ("Jaeger array", format!("[{JAEGER}]"), 1),
        ("no spans", "{\"resourceSpans\":[]}".to_owned(), 0),
    ];
    for (name, text, spans) in cases {
        let records = read_traces(text.as_bytes()).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(records.len(), spans, "{name}");
        for record in records.iter().filter(|_| !name.contains("Jaeger")) {
            assert_eq!(record.span.span_id.to_string(), "eee19b7ec3c1b174", "{name}");
        }
    }
    let protobuf = traces_to_protobuf(request.as_bytes()).unwrap();
    assert_eq!(read_traces(&protobuf).unwrap().len(), 1);
}

#[test]
fn errors_say_what_was_recognised_and_where_it_broke() {
    let request = otlp(SPAN);
    let protobuf = traces_to_protobuf(request.as_bytes()).unwrap();
    let cases: [(&[u8], &str); 13] = [
        (b"", "the file is empty"),
        (b" \n\t", "the file is empty"),
        (b"\x1f\x8b\x08\x00", "the file is compressed with gzip; decompress it first"),
        (b"hello", "found a file that begins with \"hello\""),
        (b"[]", "found JSON without fields"),
        (b"{\"a\":1,\"b\":2}", "found JSON with the fields a, b"),
        (b"[{\"traceId\":\"1\",\"id\":\"2\"}]", "found JSON with the fields traceId, id (Zipkin JSON)"),
        (b"{\"resourceMetrics\":[]}", "found JSON with the fields resourceMetrics (OTLP metrics)"),
        (b"{oops", "found text that begins like JSON but is not: key must be a string at line 1 column 2"),
        (
            b"{\"resourceSpans\":[\n{\"scopeSpans\":7}]}",
            "the file was recognised as OTLP JSON: malformed json: line 2 column 15: \
             at resourceSpans[0].scopeSpans: invalid type: integer `7`, expected an array",
        ),
        (
            b"{\"resourceSpans\":[]}\n{\"resourceSpans\":[]}  {\"resourceSpans\":7}",
            "the file was recognised as OTLP JSON lines: malformed json: line 2 column 40: \
             at resourceSpans: invalid type: integer `7`, expected an array",
        ),
        (b"{\"data\":[{\"spans\":[7]}]}", "the file was recognised as Jaeger JSON: malformed json: line 1 column 20: "),
        (
            b"{\"trace\":{\"resourceSpans\":[\n7]}}",
            "the file was recognised as Tempo JSON: malformed json: line 2 column 1: at trace.resourceSpans[0]: ",
        ),
    ];
    for (bytes, expected) in cases {
        let error = read_traces(bytes).expect_err(expected).to_string();
        assert!(error.contains(expected), "{error}\nexpected: {expected}");
    }
    let cut = read_traces(&request.as_bytes()[..60]).unwrap_err();
    assert!(matches!(cut, FileError::Broken { format: Format::OtlpJson, .. }), "{cut}");
    let cut = read_traces(&protobuf[..20]).unwrap_err();
    assert!(matches!(cut, FileError::Broken { format: Format::OtlpProtobuf, .. }), "{cut}");
    let no_ids = read_traces(otlp("{\"name\":\"x\"}").as_bytes()).unwrap_err();
    assert_eq!(
        no_ids.to_string(),
        "the file was recognised as OTLP JSON, but it has 1 span without a valid trace id (16 bytes, not all zero)"
    );
}

#[test]
fn real_files_are_read() {
    let Some(folder) = data("traces") else { return };
    for (file, spans) in [
        ("otlp/smartthings-mobile-web-install.json", 957),
        ("otlp/smartthings-oauth-authorization.json", 172),
        ("otlp/yelp.json", 16),
        ("jaeger-genai-57-spans.json", 57),
    ] {
        let records = read_traces(&std::fs::read(folder.join(file)).unwrap()).unwrap();
        assert_eq!(records.len(), spans, "{file}");
        let mut text = Vec::new();
        json::write_traces(&records, Style::Batches, &mut text);
        assert_eq!(read_traces(&text).unwrap(), records, "{file}");
    }
}
