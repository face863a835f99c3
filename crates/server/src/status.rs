//! What the server says of itself: the status document, readiness, and metrics.

use std::sync::atomic::Ordering;

use serde_json::{Value, json};
use tracewell_ingest::ReceiverSnapshot;
use tracewell_ingest::tail::{FileStatus, LineSnapshot};
use tracewell_store::StoreStatus;
use tracewell_store::table::Signal;

use crate::metrics::{self, Exposition};
use crate::state::App;
use crate::{api, build};

/// Why the server cannot take and find spans at the moment, if it cannot.
pub(crate) fn not_ready(app: &App) -> Option<String> {
    if app.is_stopping() {
        return Some("the server is stopping".to_owned());
    }
    app.store.status().unavailable
}

/// The document of `GET /api/v1/status`.
pub(crate) fn document(app: &App) -> Value {
    let store = app.store.status();
    let reason = if app.is_stopping() { Some("the server is stopping".to_owned()) } else { store.unavailable.clone() };
    let queries = &app.queries.stats;
    let mut document = json!({
        "version": build::VERSION,
        "startedUnixNano": app.started_ns.to_string(),
        "uptimeSeconds": app.started.elapsed().as_secs_f64(),
        "ready": reason.is_none(),
        "memoryBytes": metrics::resident_bytes(),
        "userInterface": api::ui_is_embedded(),
        "demo": app.demo.get().is_some(),
        "listeners": {
            "http": app.listeners.http.to_string(),
            "otlpGrpc": app.listeners.otlp_grpc.map(|address| address.to_string()),
            "otlpHttp": app.listeners.otlp_http.map(|address| address.to_string()),
        },
        "receivers": receivers(app),
        "storage": storage(&store),
        "queries": {
            "running": queries.running.load(Ordering::Relaxed),
            "waiting": queries.waiting.load(Ordering::Relaxed),
            "finished": queries.finished.load(Ordering::Relaxed),
            "failed": queries.failed.load(Ordering::Relaxed),
            "cancelled": queries.cancelled.load(Ordering::Relaxed),
            "refused": queries.refused.load(Ordering::Relaxed),
        },
    });
    if let Some(reason) = reason {
        document["notReadyReason"] = json!(reason);
    }
    document
}

/// The receivers for OTLP, and the log files where any are followed.
fn receivers(app: &App) -> Vec<Value> {
    let mut receivers: Vec<Value> = app.ingest.snapshot().receivers.iter().map(receiver).collect();
    let files = app.tail.files();
    if !files.is_empty() {
        receivers.push(log_files(&app.tail.lines.snapshot(), &files));
    }
    receivers
}

/// The log files as one receiver: what could not be read is counted among the log records, as which it is kept.
fn log_files(lines: &LineSnapshot, files: &[FileStatus]) -> Value {
    let signal = |name: &str, accepted: u64, rejected: Value| {
        json!({
            "signal": name, "requests": 0, "itemsAccepted": accepted, "itemsRejected": rejected, "refused": {},
            "bytesReceived": 0, "bytesDecoded": 0, "lastErrors": {},
        })
    };
    let last_error = files.iter().find_map(|file| Some((file, file.error.as_ref()?))).map_or(
        Value::Null,
        |(file, error)| json!({"reason": "file", "message": error, "peer": file.path, "atUnixNano": "0"}),
    );
    json!({
        "name": "log_files", "connections": 0, "connectionsOpen": 0, "lastError": last_error,
        "signals": [
            signal("traces", lines.spans, json!({})),
            signal("logs", lines.log_records, json!(lines.unreadable)),
        ],
        "lines": lines,
        "files": files,
    })
}

/// One receiver: its counters, refusals as plain counts by reason, and the last refusals in full.
fn receiver(receiver: &ReceiverSnapshot) -> Value {
    let mut document = serde_json::to_value(receiver).unwrap_or_default();
    let mut latest: Option<(u64, Value)> = None;
    for (index, signal) in receiver.signals.iter().enumerate() {
        let mut last_errors = serde_json::Map::new();
        for (reason, refused) in &signal.refused {
            document["signals"][index]["refused"][*reason] = json!(refused.count);
            let Some(last) = &refused.last else { continue };
            let error = json!({
                "reason": reason, "message": last.message, "peer": last.peer, "atUnixNano": last.at_unix_nano,
            });
            let at = last.at_unix_nano.parse().unwrap_or(0);
            if latest.as_ref().is_none_or(|(newest, _)| at >= *newest) {
                latest = Some((at, error.clone()));
            }
            last_errors.insert((*reason).to_owned(), error);
        }
        document["signals"][index]["lastErrors"] = Value::Object(last_errors);
    }
    document["lastError"] = latest.map_or(Value::Null, |(_, error)| error);
    document
}

/// The store's own status with names as the API spells them, and its totals in front.
fn storage(store: &StoreStatus) -> Value {
    let totals = Totals::of(store);
    let mut storage = camel_case(serde_json::to_value(store).unwrap_or_default());
    storage["spans"] = json!(totals.spans);
    storage["logs"] = json!(totals.logs);
    storage["segments"] = json!(totals.segments);
    storage["diskBytes"] = json!(totals.data_bytes + totals.index_bytes);
    storage
}

/// Sums over tenants and signals.
#[derive(Debug, Default)]
struct Totals {
    spans: u64,
    logs: u64,
    segments: u64,
    quarantined: u64,
    data_bytes: u64,
    index_bytes: u64,
}

impl Totals {
    fn of(store: &StoreStatus) -> Self {
        let mut totals = Self::default();
        for table in &store.tables {
            let rows = table.head_rows + table.segment_rows;
            match table.signal {
                Signal::Traces => totals.spans += rows,
                Signal::Logs => totals.logs += rows,
            }
            totals.segments += table.segments;
            totals.quarantined += table.quarantined;
            totals.data_bytes += table.data_bytes;
            totals.index_bytes += table.index_bytes;
        }
        totals
    }
}

/// Renames the fields of a document from `snake_case` to `camelCase`, at every depth.
fn camel_case(value: Value) -> Value {
    match value {
        Value::Object(fields) => fields.into_iter().map(|(name, value)| (camel(&name), camel_case(value))).collect(),
        Value::Array(items) => items.into_iter().map(camel_case).collect(),
        other => other,
    }
}

fn camel(name: &str) -> String {
    let mut words = name.split('_');
    let mut out = words.next().unwrap_or_default().to_owned();
    for word in words {
        let mut letters = word.chars();
        out.extend(letters.next().map(|first| first.to_ascii_uppercase()));
        out.push_str(letters.as_str());
    }
    out
}

/// Everything at `GET /metrics`.
pub(crate) fn exposition(app: &App) -> String {
    let mut out = Exposition::default();
    out.family("tracewell_build_info", "gauge", "Always 1; the version is a label.");
    out.sample("tracewell_build_info", &[("version", build::VERSION)], 1);
    metrics::process(&mut out, app.started.elapsed().as_secs_f64());
    metrics::receivers(&mut out, &app.ingest.snapshot());
    metrics::log_files(&mut out, &app.tail.lines.snapshot(), app.tail.files().len());
    store_metrics(&mut out, &app.store.status());
    metrics::queries(&mut out, &app.queries.stats);
    out.finish()
}

fn store_metrics(out: &mut Exposition, store: &StoreStatus) {
    let totals = Totals::of(store);
    let gauges = [
        ("tracewell_store_available", "1 while spans can be taken.", u64::from(store.unavailable.is_none())),
        ("tracewell_store_spans", "Spans stored.", totals.spans),
        ("tracewell_store_logs", "Log records stored.", totals.logs),
        ("tracewell_store_segments", "Segments.", totals.segments),
        ("tracewell_store_segments_quarantined", "Segments that cannot be opened.", totals.quarantined),
        ("tracewell_store_data_bytes", "Size of the Parquet files.", totals.data_bytes),
        ("tracewell_store_index_bytes", "Size of the index files.", totals.index_bytes),
        ("tracewell_store_head_bytes", "Memory of what is not yet in a segment.", store.memory.head_bytes),
        ("tracewell_store_in_flight_bytes", "Requests on their way into memory.", store.memory.in_flight_bytes),
        ("tracewell_store_cache_bytes", "Decoded pieces of segments.", store.memory.cache_bytes),
        ("tracewell_store_damaged_files", "Files that do not read as they were written.", store.damaged.len() as u64),
    ];
    for (name, help, value) in gauges {
        out.single(name, "gauge", help, value);
    }
    if let Some(free) = store.disk_free_bytes {
        out.single("tracewell_store_disk_free_bytes", "gauge", "Free bytes on the disk.", free);
    }
    let counters = [
        ("tracewell_store_rows_appended_total", "Spans and log records taken.", store.rows_appended),
        ("tracewell_store_rows_skipped_total", "Rows that could not be stored.", store.rows_skipped),
        ("tracewell_store_heads_sealed_total", "Heads written to segments.", store.sealing.heads),
        ("tracewell_store_merges_total", "Merges of segments.", store.compaction.merges),
        ("tracewell_store_rows_expired_total", "Rows deleted by retention.", store.retention.expired_rows),
        (
            "tracewell_store_requests_duplicate_total",
            "Requests that were sent twice and stored once.",
            store.requests.duplicates,
        ),
        (
            "tracewell_store_requests_overloaded_total",
            "Requests turned away for lack of memory.",
            store.memory.overloaded_requests,
        ),
    ];
    for (name, help, value) in counters {
        out.single(name, "counter", help, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tracewell_ingest::{LastError, RefusedSnapshot, SignalSnapshot};

    #[test]
    fn refusals_are_counts_and_the_last_of_them_is_told() {
        let refused = |at: &str, message: &str| RefusedSnapshot {
            count: 2,
            last: Some(LastError { at_unix_nano: at.into(), peer: "127.0.0.1:9".into(), message: message.into() }),
        };
        let signal = SignalSnapshot {
            signal: "traces",
            requests: 5,
            items_accepted: 1,
            items_rejected: [("invalid_span_id", 3)].into(),
            refused: [("malformed", refused("20", "newer")), ("too_large", refused("10", "older"))].into(),
            bytes_received: 0,
            bytes_decoded: 0,
        };
        let snapshot =
            ReceiverSnapshot { name: "otlp_http", connections: 1, connections_open: 0, signals: vec![signal] };
        let document = receiver(&snapshot);
        assert_eq!(document["signals"][0]["refused"], json!({"malformed": 2, "too_large": 2}));
        assert_eq!(document["signals"][0]["lastErrors"]["too_large"]["message"], "older");
        assert_eq!(document["signals"][0]["itemsRejected"], json!({"invalid_span_id": 3}));
        assert_eq!(document["lastError"]["reason"], "malformed");
    }

    #[test]
    fn names_are_spelled_as_the_api_spells_them() {
        let document = json!({"data_dir": "x", "tables": [{"head_rows": 1, "wal": {"last_frame_no": 2}}]});
        let expected = json!({"dataDir": "x", "tables": [{"headRows": 1, "wal": {"lastFrameNo": 2}}]});
        assert_eq!(camel_case(document), expected);
    }
}
