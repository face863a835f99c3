//! Trace files are recognised by what is in them.

use tracewell_wire::file::{FileError, Format, is_line, read, read_line, read_traces};
use tracewell_wire::otlp::json::{self, Style, logs_to_protobuf, traces_to_protobuf};
use tracewell_wire::otlp::{decode_logs, decode_traces};

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
    let cases: [(&[u8], &str); 14] = [
        (b"", "the file is empty"),
        (b" \n\t", "the file is empty"),
        (b"\x1f\x8b\x08\x00", "the file is compressed with gzip; decompress it first"),
        (b"hello", "found a file that begins with \"hello\""),
        (b"[]", "found JSON without fields"),
        (b"{\"a\":1,\"b\":2}", "found JSON with the fields a, b"),
        (b"[{\"traceId\":\"1\",\"id\":\"2\"}]", "found JSON with the fields traceId, id (Zipkin JSON)"),
        (b"{\"resourceMetrics\":[]}", "found JSON with the fields resourceMetrics (OTLP metrics)"),
        (b"{\"resourceLogs\":[]}", "found JSON with the fields resourceLogs (OTLP logs)"),
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

const LOG: &str = r#"{"timeUnixNano":"5","severityNumber":17,"body":{"stringValue":"declined"},"traceId":"5b8efff798038103d269b633813fc60c","spanId":"eee19b7ec3c1b174"}"#;

fn logs(record: &str) -> String {
    format!(r#"{{"resourceLogs":[{{"scopeLogs":[{{"logRecords":[{record}]}}]}}]}}"#)
}

#[test]
fn spans_and_log_records_are_read_from_one_file() {
    let (spans, records) = (otlp(SPAN), logs(LOG));
    let both = format!("{},{}", spans.strip_suffix('}').unwrap(), records.strip_prefix('{').unwrap());
    let protobuf = logs_to_protobuf(records.as_bytes()).unwrap();
    let cases: [(&str, Vec<u8>, u64, u64); 9] = [
        ("spans", spans.clone().into(), 1, 0),
        ("log records", records.clone().into(), 0, 1),
        ("log records as protobuf", protobuf, 0, 1),
        ("lines of both", format!("{spans}\n{records}\n{records}\n{spans}\n").into(), 2, 2),
        ("log records first", format!("{records}\n{spans}").into(), 1, 1),
        ("metrics first", format!("{{\"resourceMetrics\":[]}}\n{records}\n{spans}").into(), 1, 1),
        ("one document", both.into(), 1, 1),
        ("Jaeger", JAEGER.into(), 1, 0),
        ("nothing", b"{\"resourceSpans\":[]}".to_vec(), 0, 0),
    ];
    for (name, bytes, spans, records) in cases {
        let contents = read(&bytes).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!((contents.spans, contents.log_records, contents.rejected), (spans, records, 0), "{name}");
        assert_eq!(decode_traces(&contents.traces).unwrap().len() as u64, spans, "{name}");
        let logs = decode_logs(&contents.logs).unwrap();
        assert_eq!(logs.len() as u64, records, "{name}");
        assert!(logs.iter().all(|entry| entry.record.body.as_str() == Some("declined")), "{name}");
        assert!(logs.iter().all(|entry| entry.record.trace_id.is_some()), "{name}");
    }
}

#[test]
fn a_file_of_lines_is_read_line_by_line() {
    let (spans, records) = (otlp(SPAN), logs(LOG));
    let both = format!("{},{}", spans.strip_suffix('}').unwrap(), records.strip_prefix('{').unwrap());
    for line in
        [&spans, &records, &both, &format!("\u{feff}{spans}"), "{\"resourceMetrics\":[]}", "{\"resource_spans\":[]}"]
    {
        assert!(is_line(line.as_bytes()), "{line}");
        assert!(read_line(line.as_bytes(), 1).is_ok(), "{line}");
    }
    for line in ["", "{", "[]", "{\"resourceSpans\":[", JAEGER, "{\"batches\":[]}", &format!("{spans} {spans}")] {
        assert!(!is_line(line.as_bytes()), "{line}");
    }
    let counts =
        |line: &str| read_line(line.as_bytes(), 1).map(|contents| (contents.spans, contents.log_records)).unwrap();
    assert_eq!(counts(&spans), (1, 0));
    assert_eq!(counts(&records), (0, 1));
    assert_eq!(counts(&both), (1, 1));
    assert_eq!(counts(&format!("{spans} {records}")), (1, 1), "two on one line");
    assert_eq!(counts("  \r"), (0, 0));
    assert_eq!(counts(&format!("{{\"schema\":1,{}", both.strip_prefix('{').unwrap())), (1, 1), "another field first");
    let error = read_line(b"{\"resourceSpans\":7}", 41).unwrap_err().to_string();
    assert!(error.contains("JSON lines: malformed json: line 41 column 18: at resourceSpans"), "{error}");
    // The name within a value is not the field.
    let tricky = otlp(SPAN).replace("\"x\"", r#""\"resourceLogs\"""#);
    assert_eq!(counts(&tricky), (1, 0));
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
