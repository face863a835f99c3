//! Whatever came in goes out again unchanged: from the head, from segments, and after segments were merged.
//!
//! Attributes are compared as sets of key, type and value (OTLP gives their order no meaning); events, links and the
//! attributes within them, of resources and of scopes in the order received.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use proptest::prelude::*;
use tracewell_model::{KeyValue, LogEntry, SpanRecord, TraceId};
use tracewell_query::{Budget, trace, trace_logs};
use tracewell_store::head::Head;
use tracewell_store::table::{Signal, Source};
use tracewell_testkit::model;
use tracewell_wire::otlp::{decode_logs, decode_traces, encode_logs, encode_traces, json};

use crate::segments::merged;

/// Sources that hold the same requests: as blocks, sealed one by one, and merged into one.
fn lives(signal: Signal, requests: &[Vec<u8>], dir: &std::path::Path) -> Vec<(&'static str, Vec<Arc<dyn Source>>)> {
    let heads: Vec<Head> = requests
        .iter()
        .map(|request| {
            let head = Head::new(signal);
            head.append(request);
            head
        })
        .collect();
    let blocks: Vec<Arc<dyn Source>> = heads.iter().flat_map(Head::sources).collect();
    let folder = |name: String| {
        let folder = dir.join(name);
        std::fs::create_dir_all(&folder).unwrap();
        folder
    };
    let sealed: Vec<Arc<dyn Source>> = heads
        .iter()
        .enumerate()
        .flat_map(|(number, head)| merged(&head.sources(), &folder(format!("sealed-{number}"))))
        .collect();
    let compacted = merged(&sealed, &folder("compacted".to_owned()));
    vec![("head", blocks), ("segments", sealed), ("merged segments", compacted)]
}

fn sorted(attributes: &mut [KeyValue]) {
    attributes.sort_by_cached_key(|attribute| (attribute.key.clone(), format!("{:?}", attribute.value)));
}

/// A span as text (NaN does not equal itself), its attributes sorted.
fn span_text(record: &SpanRecord) -> String {
    let mut record = record.clone();
    sorted(&mut record.span.attributes);
    format!("{record:?}")
}

fn log_text(entry: &LogEntry) -> String {
    let mut entry = entry.clone();
    sorted(&mut entry.record.attributes);
    format!("{entry:?}")
}

fn unlimited() -> Budget {
    Budget::default()
}

fn check_spans(records: &[SpanRecord], requests: &[Vec<u8>]) {
    let mut expected: BTreeMap<TraceId, Vec<String>> = BTreeMap::new();
    for record in records {
        expected.entry(record.span.trace_id).or_default().push(span_text(record));
    }
    let dir = tempfile::tempdir().unwrap();
    for (life, sources) in lives(Signal::Traces, requests, dir.path()) {
        for (id, spans) in &mut expected {
            spans.sort();
            spans.dedup();
            let found = trace(&sources, id, &unlimited()).unwrap().expect("the trace");
            assert_eq!(found.warnings, Vec::<String>::new());
            let mut found: Vec<String> = found.spans.iter().map(span_text).collect();
            found.sort();
            assert_eq!(&found, spans, "{life}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 120, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn spans_of_any_kind_come_back(requests in proptest::collection::vec(model::span_records(), 1..4)) {
        let payloads: Vec<Vec<u8>> = requests.iter().map(|records| encode_traces(records)).collect();
        let records: Vec<SpanRecord> = payloads.iter().flat_map(|payload| decode_traces(payload).unwrap()).collect();
        check_spans(&records, &payloads);
    }

    #[test]
    fn log_records_of_any_kind_come_back(requests in proptest::collection::vec(model::log_entries(), 1..4)) {
        let payloads: Vec<Vec<u8>> = requests.iter().map(|entries| encode_logs(entries)).collect();
        let entries: Vec<LogEntry> = payloads.iter().flat_map(|payload| decode_logs(payload).unwrap()).collect();
        let mut expected: BTreeMap<TraceId, Vec<String>> = BTreeMap::new();
        for entry in &entries {
            if let Some(id) = entry.record.trace_id {
                expected.entry(id).or_default().push(log_text(entry));
            }
        }
        let dir = tempfile::tempdir().unwrap();
        for (life, sources) in lives(Signal::Logs, &payloads, dir.path()) {
            let rows: u64 = sources.iter().map(|source| u64::from(source.rows())).sum();
            prop_assert_eq!(rows, entries.len() as u64, "{}", life);
            for (id, logs) in &mut expected {
                logs.sort();
                let found = trace_logs(&sources, id, &unlimited()).unwrap();
                let mut found: Vec<String> = found.items.iter().map(log_text).collect();
                found.sort();
                prop_assert_eq!(&found, logs, "{}", life);
            }
        }
    }
}

/// The folder of recorded payloads and real traces, or `None` after saying that it is missing.
fn shared(folder: &str) -> Option<PathBuf> {
    let path = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/data")).join(folder);
    if !path.is_dir() {
        println!("skipped: {} is missing", path.display());
        return None;
    }
    Some(path)
}

#[test]
fn what_real_clients_sent_comes_back() {
    let Some(captures) = shared("captures") else { return };
    let mut payloads = Vec::new();
    for client in ["otlp-grpc", "otlp-http", "node-otlp-grpc", "node-otlp-http-proto"] {
        for entry in std::fs::read_dir(captures.join(client)).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|extension| extension == "bin") {
                payloads.push(std::fs::read(path).unwrap());
            }
        }
    }
    for client in ["otlp-json", "node-otlp-http-json"] {
        let body = std::fs::read(captures.join(client).join("001-http.bin")).unwrap();
        payloads.push(json::traces_to_protobuf(&body).unwrap());
    }
    let records: Vec<SpanRecord> = payloads.iter().flat_map(|payload| decode_traces(payload).unwrap()).collect();
    assert!(records.len() >= 6);
    check_spans(&records, &payloads);
}

#[test]
fn real_traces_come_back() {
    let Some(traces) = shared("traces/otlp") else { return };
    let mut spans = 0;
    for entry in std::fs::read_dir(traces).unwrap() {
        let body = std::fs::read(entry.unwrap().path()).unwrap();
        let payload = json::traces_to_protobuf(&body).unwrap();
        let records = decode_traces(&payload).unwrap();
        spans += records.len();
        check_spans(&records, &[payload]);
    }
    assert!(spans > 1_000, "{spans}");
}
