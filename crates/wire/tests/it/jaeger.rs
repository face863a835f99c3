//! Jaeger's JSON, by the OpenTelemetry mapping.

use tracewell_model::{KeyValue, Value};
use tracewell_wire::jaeger::json::read;

use super::data;

const ONE: &str = r#"{"data":[{"traceID":"a1","spans":[
  {"traceID":"a1","spanID":"1","flags":1,"operationName":"GET /","references":[],"startTime":1700000000000001,"duration":1500,
   "tags":[{"key":"span.kind","type":"string","value":"server"},{"key":"http.status_code","type":"int64","value":500},
           {"key":"error","type":"bool","value":true},{"key":"otel.status_description","type":"string","value":"boom"},
           {"key":"otel.status_code","type":"string","value":"ERROR"},
           {"key":"otel.scope.name","type":"string","value":"lib"},{"key":"otel.scope.version","type":"string","value":"1.0"},
           {"key":"w3c.tracestate","type":"string","value":"a=b"},{"key":"ratio","type":"float64","value":1},
           {"key":"blob","type":"binary","value":"AAE="},{"key":"big","type":"int64","value":"9007199254740993"},
           {"key":"lied","type":"int64","value":"many"}],
   "logs":[{"timestamp":1700000000000002,"fields":[{"key":"event","type":"string","value":"retry"},{"key":"n","type":"int64","value":2}]}],
   "processID":"p1","warnings":null},
  {"traceID":"00000000000000a1","spanID":"2","operationName":"work","references":[
     {"refType":"FOLLOWS_FROM","traceID":"a1","spanID":"9"},{"refType":"CHILD_OF","traceID":"ff","spanID":"7"},
     {"refType":"CHILD_OF","traceID":"a1","spanID":"1"}],
   "startTime":1700000000000002,"duration":10,"tags":[{"key":"otel.status_code","value":"OK"},{"key":"error","type":"bool","value":false}],
   "logs":null,"processID":"p2"},
  {"traceID":"a1","spanID":"3","operationName":"later","references":[{"refType":"FOLLOWS_FROM","traceID":"a1","spanID":"1"}],
   "startTime":1,"duration":0,"processID":"p9"}],
  "processes":{"p1":{"serviceName":"front","tags":[{"key":"hostname","type":"string","value":"h1"}]},"p2":{"serviceName":"back"}}}],
  "total":0,"limit":0,"offset":0,"errors":null}"#;

#[test]
fn every_field_finds_its_place() {
    let records = read(ONE.as_bytes()).unwrap();
    let [server, work, later] = &records[..] else { panic!("{records:?}") };

    assert_eq!(server.resource.attributes, [KeyValue::new("service.name", "front"), KeyValue::new("hostname", "h1")]);
    assert_eq!((server.scope.name.as_str(), server.scope.version.as_str()), ("lib", "1.0"));
    let span = &server.span;
    assert_eq!(span.trace_id.to_string(), "000000000000000000000000000000a1");
    assert_eq!((span.span_id.to_u64(), span.parent_span_id, span.kind, span.flags), (1, None, 2, 1));
    assert_eq!((span.start_unix_nano, span.duration_ns()), (1_700_000_000_000_001_000, 1_500_000));
    assert_eq!((span.status.code, span.status.message.as_str()), (2, "boom"));
    assert_eq!(span.trace_state, "a=b");
    let expected = [
        KeyValue::new("http.status_code", 500i64),
        KeyValue::new("ratio", 1.0),
        KeyValue::new("blob", Value::Bytes(vec![0, 1])),
        KeyValue::new("big", 9007199254740993i64),
        KeyValue::new("lied", "many"),
    ];
    assert_eq!(span.attributes, expected);
    assert_eq!((span.events[0].time_unix_nano, span.events[0].name.as_str()), (1_700_000_000_000_002_000, "retry"));
    assert_eq!(span.events[0].attributes, [KeyValue::new("n", 2i64)]);

    assert_eq!(work.resource.service_name(), "back");
    assert_eq!(work.span.trace_id, span.trace_id, "short ids are aligned right");
    assert_eq!(work.span.parent_span_id.map(|id| id.to_u64()), Some(1), "the first CHILD_OF of this trace");
    let links: Vec<_> = work.span.links.iter().map(|link| (link.span_id.to_u64(), &link.attributes[0])).collect();
    let (child_of, follows_from) =
        (KeyValue::new("opentracing.ref_type", "child_of"), KeyValue::new("opentracing.ref_type", "follows_from"));
    assert_eq!(links, [(9, &follows_from), (7, &child_of)]);
    assert_eq!(work.span.status.code, 1);
    assert_eq!(work.span.attributes, [KeyValue::new("error", false)], "an error that is not one stays a tag");

    assert_eq!(later.span.parent_span_id.map(|id| id.to_u64()), Some(1), "else the first FOLLOWS_FROM");
    let links: Vec<_> = later.span.links.iter().map(|link| (link.span_id.to_u64(), &link.attributes[0])).collect();
    assert_eq!(links, [(1, &follows_from)], "that it follows from its parent is not lost");
    assert_eq!(later.resource.service_name(), tracewell_model::UNKNOWN_SERVICE);
}

#[test]
fn answers_arrays_and_single_traces_are_read() {
    let span = r#"{"traceID":"1","spanID":"2","operationName":"x","startTime":1,"duration":1,"processID":"p"}"#;
    let trace =
        format!(r#"{{"traceID":"1","spans":[{span}],"processes":{{"p":{{"serviceName":"s"}}}},"warnings":null}}"#);
    for (json, spans) in [
        (trace.clone(), 1),
        (format!("[{trace},{trace}]"), 2),
        (format!("{{\"data\":[{trace}]}}"), 1),
        ("{\"data\":[]}".to_owned(), 0),
        ("{\"data\":null}".to_owned(), 0),
    ] {
        assert_eq!(read(json.as_bytes()).unwrap().len(), spans, "{json}");
    }
    let error = read(b"{\"data\":[{\"spans\":[{\"spanID\":\"1\"}]}]}").unwrap_err().to_string();
    assert_eq!(error, "malformed json: line 1 column 33: missing field `traceID`");
}

#[test]
fn real_traces_are_read() {
    let Some(folder) = data("traces") else { return };
    let records = read(&std::fs::read(folder.join("jaeger-genai-57-spans.json")).unwrap()).unwrap();
    assert_eq!(records.len(), 57);
    assert!(records.iter().all(|record| record.resource.service_name() != tracewell_model::UNKNOWN_SERVICE));
    assert!(records.iter().any(|record| record.span.attribute("gen_ai.usage.input_tokens").is_some()));
    let tree = tracewell_model::TraceTree::build(&records);
    assert_eq!(tree.nodes.iter().filter(|node| node.orphan).count(), 0);

    let Some(folder) = data("critical-path") else { return };
    let mut files = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "json") {
            continue;
        }
        let records =
            read(&std::fs::read(&path).unwrap()).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let ids: std::collections::HashSet<_> = records.iter().map(|record| record.span.span_id).collect();
        assert_eq!(ids.len(), records.len(), "{}", path.display());
        files += 1;
    }
    assert_eq!(files, 33);
}
