//! OTLP's JSON mapping as the specification states it, case by case.

use tracewell_model::{KeyValue, Value};
use tracewell_wire::otlp::json::{self, Style, logs_to_protobuf, traces_to_protobuf, value_from_json, value_to_json};
use tracewell_wire::otlp::{check_traces, decode_logs, decode_traces};

const IDS: &str = r#""traceId":"5B8EFFF798038103D269B633813FC60C","spanId":"eee19b7ec3c1b174""#;

/// A request with one span of these fields.
fn with(fields: &str) -> String {
    format!(r#"{{"resourceSpans":[{{"scopeSpans":[{{"spans":[{{{IDS},{fields}}}]}}]}}]}}"#)
}

fn span(fields: &str) -> tracewell_model::Span {
    let bytes = traces_to_protobuf(with(fields).as_bytes()).unwrap_or_else(|error| panic!("{fields}: {error}"));
    decode_traces(&bytes).unwrap().remove(0).span
}

fn error(json: &str) -> String {
    traces_to_protobuf(json.as_bytes()).expect_err(json).to_string()
}

#[test]
fn the_specifications_example_is_read() {
    // The trace example that opentelemetry-proto ships.
    let json = r#"{"resourceSpans":[{"resource":{"attributes":[{"key":"service.name","value":{"stringValue":"my.service"}}]},
        "scopeSpans":[{"scope":{"name":"my.library","version":"1.0.0","attributes":[{"key":"my.scope.attribute",
        "value":{"stringValue":"some scope attribute"}}]},"spans":[{"traceId":"5B8EFFF798038103D269B633813FC60C",
        "spanId":"EEE19B7EC3C1B174","parentSpanId":"EEE19B7EC3C1B173","name":"I'm a server span",
        "startTimeUnixNano":"1544712660000000000","endTimeUnixNano":"1544712661000000000","kind":2,
        "attributes":[{"key":"my.span.attr","value":{"stringValue":"some value"}}]}]}]}]}"#;
    let records = decode_traces(&traces_to_protobuf(json.as_bytes()).unwrap()).unwrap();
    let record = &records[0];
    assert_eq!(record.resource.service_name(), "my.service");
    assert_eq!((record.scope.name.as_str(), record.scope.version.as_str()), ("my.library", "1.0.0"));
    assert_eq!(record.scope.attributes, [KeyValue::new("my.scope.attribute", "some scope attribute")]);
    assert_eq!(record.span.trace_id.to_string(), "5b8efff798038103d269b633813fc60c");
    assert_eq!(record.span.parent_span_id.unwrap().to_string(), "eee19b7ec3c1b173");
    assert_eq!((record.span.start_unix_nano, record.span.end_unix_nano), (1544712660000000000, 1544712661000000000));
    assert_eq!(record.span.kind, 2);
}

#[test]
fn integers_come_as_numbers_and_as_strings() {
    for (text, expected) in [
        ("1544712660000000001", 1544712660000000001),
        ("\"1544712660000000001\"", 1544712660000000001),
        ("18446744073709551615", u64::MAX),
        ("\"18446744073709551615\"", u64::MAX),
        ("5.0", 5),
        ("1.5e3", 1500),
        ("\"1e3\"", 1000),
        ("\"5.0\"", 5),
        ("0", 0),
        ("\"0\"", 0),
        ("-0", 0),
        ("null", 0),
    ] {
        assert_eq!(span(&format!(r#""startTimeUnixNano":{text}"#)).start_unix_nano, expected, "{text}");
    }
    for (text, expected) in [("-5", -5), ("\"-9223372036854775808\"", i64::MIN), ("9223372036854775807", i64::MAX)] {
        assert_eq!(value_from_json(&format!(r#"{{"intValue":{text}}}"#)).unwrap(), Value::Int(expected), "{text}");
    }
    for bad in ["1.5", "\"1.5\"", "-1", "18446744073709551616", "\"\"", "\"x\"", "true", "[]", "{}", "\" 1\"", "1e99"] {
        let message = error(&with(&format!(r#""startTimeUnixNano":{bad}"#)));
        assert!(message.contains("spans[0].startTimeUnixNano"), "{bad}: {message}");
    }
    for (field, bad) in [("droppedEventsCount", "4294967296"), ("flags", "-1"), ("kind", "2147483648")] {
        let message = error(&with(&format!(r#""{field}":{bad}"#)));
        assert!(message.contains(field), "{message}");
    }
}

#[test]
fn enums_come_as_numbers_and_as_names() {
    for (text, expected) in
        [("3", 3), ("\"3\"", 3), ("\"SPAN_KIND_CLIENT\"", 3), ("99", 99), ("-1", -1), ("null", 0), ("3.0", 3)]
    {
        assert_eq!(span(&format!(r#""kind":{text}"#)).kind, expected, "{text}");
    }
    assert_eq!(span(r#""status":{"code":"STATUS_CODE_ERROR","message":"boom"}"#).status.code, 2);
    let log = r#"{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"severityNumber":"SEVERITY_NUMBER_WARN2"}]}]}]}"#;
    let entries = decode_logs(&logs_to_protobuf(log.as_bytes()).unwrap()).unwrap();
    assert_eq!(entries[0].record.severity_number, 14);
    assert_eq!(
        error(&with(r#""kind":"CLIENT""#)),
        "malformed json: line 1 column 132: at resourceSpans[0].scopeSpans[0].spans[0].kind: \
         invalid value: string \"CLIENT\", expected the number or the name of an enum"
    );
}

#[test]
fn values_of_every_type_are_read_and_written() {
    let map = Value::Map(vec![KeyValue::new("k", 1i64), KeyValue::new("k", Value::Empty)]);
    let cases: [(&str, Value); 14] = [
        (r#"{}"#, Value::Empty),
        (r#"{"stringValue":""}"#, "".into()),
        (r#"{"stringValue":"a\"\\\n\u0001é☃"}"#, "a\"\\\n\u{1}é☃".into()),
        (r#"{"boolValue":false}"#, false.into()),
        (r#"{"intValue":"0"}"#, 0i64.into()),
        (r#"{"intValue":"9007199254740993"}"#, 9007199254740993i64.into()),
        (r#"{"doubleValue":0.1}"#, 0.1.into()),
        (r#"{"doubleValue":"-Infinity"}"#, f64::NEG_INFINITY.into()),
        (r#"{"doubleValue":"Infinity"}"#, f64::INFINITY.into()),
        (r#"{"bytesValue":""}"#, Value::Bytes(vec![])),
        (r#"{"bytesValue":"+/8A"}"#, Value::Bytes(vec![0xfb, 0xff, 0])),
        (r#"{"arrayValue":{}}"#, Value::Array(vec![])),
        (
            r#"{"arrayValue":{"values":[{"intValue":"1"},{},{"arrayValue":{}}]}}"#,
            Value::Array(vec![1i64.into(), Value::Empty, Value::Array(vec![])]),
        ),
        (r#"{"kvlistValue":{"values":[{"key":"k","value":{"intValue":"1"}},{"key":"k","value":{}}]}}"#, map),
    ];
    for (text, value) in cases {
        assert_eq!(value_from_json(text).unwrap(), value, "{text}");
        assert_eq!(value_to_json(&value), text, "{value:?}");
    }
    assert!(matches!(value_from_json(r#"{"doubleValue":"NaN"}"#).unwrap(), Value::Double(number) if number.is_nan()));
    assert_eq!(value_to_json(&Value::Double(f64::NAN)), r#"{"doubleValue":"NaN"}"#);
    assert_eq!(value_to_json(&Value::Double(-0.0)), r#"{"doubleValue":-0.0}"#);
}

#[test]
fn values_are_read_leniently_where_the_mapping_says_so() {
    for (text, expected) in [
        (r#"{"doubleValue":1}"#, Value::Double(1.0)),
        (r#"{"doubleValue":-3}"#, Value::Double(-3.0)),
        (r#"{"doubleValue":"1.5e2"}"#, Value::Double(150.0)),
        (r#"{"bytesValue":"-_8A"}"#, Value::Bytes(vec![0xfb, 0xff, 0])),
        (r#"{"bytesValue":"Zg"}"#, Value::Bytes(b"f".to_vec())),
        (r#"{"string_value":"snake"}"#, "snake".into()),
        (r#"{"array_value":{"values":[]}}"#, Value::Array(vec![])),
        (r#"{"arrayValue":{"values":[null,{"intValue":1}]}}"#, Value::Array(vec![Value::Empty, 1i64.into()])),
        (r#"{"stringValue":null}"#, Value::Empty),
        (r#"{"futureValue":{"deep":[[[{}]]]},"intValue":7}"#, 7i64.into()),
        (r#"{"intValue":1,"stringValue":"last"}"#, "last".into()),
        (r#"{"stringValue":"\ud83d cut"}"#, "\u{fffd}\u{fffd}\u{fffd} cut".into()),
    ] {
        assert_eq!(value_from_json(text).unwrap(), expected, "{text}");
    }
    for bad in [
        r#"{"stringValue":5}"#,
        r#"{"boolValue":"true"}"#,
        r#"{"boolValue":1}"#,
        r#"{"intValue":1.5}"#,
        r#"{"doubleValue":"inf"}"#,
        r#"{"doubleValue":"0x1"}"#,
        r#"{"bytesValue":"a"}"#,
        r#"{"arrayValue":[]}"#,
        r#"{"kvlistValue":{"values":{}}}"#,
        r#"{"arrayValue":{"values":{}}}"#,
        r#""text""#,
        r#"{"intValue":1} x"#,
        r#"{"intValue":1"#,
    ] {
        assert!(value_from_json(bad).is_err(), "{bad}");
    }
}

#[test]
fn names_come_in_both_cases_unknown_ones_are_ignored_and_null_is_absent() {
    let json = format!(
        r#"{{"resource_spans":[{{"schema_url":"s","resource":null,"x":[1,{{}}],"scope_spans":[{{"scope":{{"name":"l","dropped_attributes_count":2}},
        "spans":[{{{IDS},"parent_span_id":null,"trace_state":"a=b","start_time_unix_nano":1,"dropped_links_count":3,"end_time_unix_nano":null,
        "attributes":null,"events":[{{"time_unix_nano":"5","name":"e","dropped_attributes_count":1}},null],"status":null,"_":0}}]}}]}}],"\ud800":1}}"#
    );
    let records = decode_traces(&traces_to_protobuf(json.as_bytes()).unwrap()).unwrap();
    let record = &records[0];
    assert_eq!(record.resource.schema_url, "s");
    assert_eq!((record.scope.name.as_str(), record.scope.dropped_attributes_count), ("l", 2));
    assert_eq!((record.span.trace_state.as_str(), record.span.start_unix_nano), ("a=b", 1));
    assert_eq!(record.span.dropped_links_count, 3);
    assert_eq!(record.span.events.len(), 1);
    assert_eq!(record.span.events[0].time_unix_nano, 5);
    for empty in ["{}", r#"{"resourceSpans":null}"#, r#"{"resourceSpans":[]}"#, r#" {"other":[1,2,{"a":"b"}]} "#] {
        assert_eq!(traces_to_protobuf(empty.as_bytes()).unwrap(), b"", "{empty}");
    }
}

#[test]
fn ids_of_a_wrong_length_reject_their_span_and_ids_that_are_not_hexadecimal_the_request() {
    let with_ids = |trace: &str, span: &str| {
        format!(
            r#"{{"resourceSpans":[{{"scopeSpans":[{{"spans":[{{"traceId":"{trace}","spanId":"{span}"}},{{{IDS}}}]}}]}}]}}"#
        )
    };
    let trace = "5b8efff798038103d269b633813fc60c";
    for (trace, span) in [
        ("", "eee19b7ec3c1b174"),
        (&trace[1..], "eee19b7ec3c1b174"),
        (&trace[2..], "eee19b7ec3c1b174"),
        (&trace.repeat(2), "eee19b7ec3c1b174"),
        ("00000000000000000000000000000000", "eee19b7ec3c1b174"),
        (trace, "eee19b7ec3c1b17"),
        (trace, ""),
        (trace, trace),
    ] {
        let checked = check_traces(&traces_to_protobuf(with_ids(trace, span).as_bytes()).unwrap()).unwrap();
        assert_eq!((checked.items, checked.rejected), (1, 1), "{trace} {span}");
    }
    // Base64, as generic protobuf libraries write it.
    let message = error(&with_ids("W47/95gDgQPSabYzgT/GDA==", "eee19b7ec3c1b174"));
    assert!(message.contains("spans[0].traceId: invalid value"), "{message}");
    assert!(message.contains("expected a string of hexadecimal digits"), "{message}");
}

#[test]
fn errors_name_line_column_and_way() {
    for (json, expected) in [
        ("", "malformed json: line 1 column 0: EOF while parsing a value"),
        (
            "[]",
            "malformed json: line 1 column 0: invalid type: sequence, expected an object (ExportTraceServiceRequest)",
        ),
        (
            "{\"resourceSpans\":{}}",
            "malformed json: line 1 column 19: at resourceSpans: invalid type: map, expected an array",
        ),
        (
            "{\"resourceSpans\":[\n  {\"scopeSpans\":[{\"spans\":[{},{\"name\":7}]}]}]}",
            "malformed json: line 2 column 39: at resourceSpans[0].scopeSpans[0].spans[1].name: \
             invalid type: integer `7`, expected a string",
        ),
        ("{\"resourceSpans\":[]} {}", "malformed json: line 1 column 22: trailing characters"),
    ] {
        assert_eq!(error(json), expected, "{json}");
    }
    assert!(error("{\"resourceSpans\":[{\"schemaUrl\":\"a").contains("EOF while parsing a string"));
}

#[test]
fn styles_differ_in_enums_ids_and_the_outer_name() {
    let json = with(r#""kind":2,"status":{"code":1},"flags":257"#);
    let bytes = traces_to_protobuf(json.as_bytes()).unwrap();
    for (style, expected) in [
        (
            Style::Otlp,
            r#"{"resourceSpans":[{"scopeSpans":[{"spans":[{"traceId":"5b8efff798038103d269b633813fc60c","spanId":"eee19b7ec3c1b174","kind":2,"status":{"code":1},"flags":257}]}]}]}"#,
        ),
        (
            Style::Names,
            r#"{"resourceSpans":[{"scopeSpans":[{"spans":[{"traceId":"W47/95gDgQPSabYzgT/GDA==","spanId":"7uGbfsPBsXQ=","kind":"SPAN_KIND_SERVER","status":{"code":"STATUS_CODE_OK"},"flags":257}]}]}]}"#,
        ),
        (
            Style::Batches,
            r#"{"batches":[{"scopeSpans":[{"spans":[{"traceId":"W47/95gDgQPSabYzgT/GDA==","spanId":"7uGbfsPBsXQ=","kind":"SPAN_KIND_SERVER","status":{"code":"STATUS_CODE_OK"},"flags":257}]}]}]}"#,
        ),
    ] {
        let mut out = Vec::new();
        json::traces_to_json(&bytes, style, &mut out).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }
}

#[test]
fn stored_pieces_look_like_otlp() {
    let mut resource = tracewell_model::Resource {
        attributes: vec![KeyValue::new("service.name", "shop")],
        schema_url: "https://example.org/1".to_owned(),
        ..Default::default()
    };
    assert_eq!(
        json::resource_to_json(&resource),
        r#"{"attributes":[{"key":"service.name","value":{"stringValue":"shop"}}],"schemaUrl":"https://example.org/1"}"#
    );
    resource.schema_url.clear();
    resource.attributes.clear();
    assert_eq!(json::resource_to_json(&resource), "{}");
    assert_eq!(json::attributes_to_json(&[]), "[]");
    assert_eq!(json::events_from_json("[]").unwrap(), []);
    assert!(json::events_from_json("{}").is_err());
}
