//! Prints how many spans a second one core gets through each step of the wire format.
//!
//! ```text
//! cargo run --release -p tracewell-wire --example decode_bench
//! ```

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tracewell_model::{KeyValue, Resource, Scope, Span, SpanId, SpanRecord, TraceId};
use tracewell_wire::otlp::json::{self, Style};
use tracewell_wire::otlp::view::{TracesRequest, ValueView};
use tracewell_wire::otlp::{check_traces, decode_traces, encode_traces};

const SPANS: u64 = 512;

fn main() {
    let requests: Vec<Vec<u8>> = (0..64).map(|number| encode_traces(&records(number))).collect();
    let texts: Vec<Vec<u8>> = requests.iter().map(|request| to_json(request)).collect();
    let bytes: usize = requests.iter().map(Vec::len).sum();
    println!("{} requests of {SPANS} spans, {} bytes a span", requests.len(), bytes as u64 / 64 / SPANS);

    measure("check_traces", &requests, |request| check_traces(request).map_or(0, |checked| checked.items));
    measure("walk of every value", &requests, walk);
    measure("decode_traces", &requests, |request| decode_traces(request).map_or(0, |records| records.len() as u64));
    measure("protobuf to JSON", &requests, |request| to_json(request).len() as u64);
    measure("JSON to protobuf", &texts, |text| {
        json::traces_to_protobuf(text).map_or(0, |request| request.len() as u64)
    });
}

/// Runs `step` over all requests for a second and prints the best round.
fn measure(name: &str, requests: &[Vec<u8>], step: impl Fn(&[u8]) -> u64) {
    let begin = Instant::now();
    let mut best = Duration::MAX;
    while begin.elapsed() < Duration::from_secs(1) {
        let round = Instant::now();
        for request in requests {
            black_box(step(black_box(request)));
        }
        best = best.min(round.elapsed());
    }
    let rate = (requests.len() as u64 * SPANS) as f64 / best.as_secs_f64();
    println!("{name:>20} {:>8.0} k spans/s", rate / 1e3);
}

/// Looks at everything that ingestion looks at.
fn walk(request: &[u8]) -> u64 {
    let mut sum = 0u64;
    for group in TracesRequest::new(request).resource_spans().flatten() {
        for group in group.scope_spans().flatten() {
            for span in group.spans().flatten() {
                sum += span.start_unix_nano + span.name.len() as u64 + u64::from(span.invalid().is_some());
                for attribute in span.attributes().flatten() {
                    sum += attribute.key.len() as u64;
                    sum += match attribute.value {
                        ValueView::Str(text) => text.len() as u64,
                        ValueView::Int(number) => number as u64,
                        _ => 1,
                    };
                }
            }
        }
    }
    sum
}

fn to_json(request: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(request.len() * 4);
    // A request that was encoded here can be written.
    let _ = json::traces_to_json(request, Style::Otlp, &mut out);
    out
}

/// Spans with 18 attributes, as an HTTP service that calls a database has them.
fn records(request: u64) -> Vec<SpanRecord> {
    let resource = Arc::new(Resource {
        attributes: vec![
            KeyValue::new("service.name", format!("service-{}", request % 50)),
            KeyValue::new("service.version", "1.4.2"),
            KeyValue::new("k8s.pod.name", format!("pod-{request}")),
        ],
        ..Resource::default()
    });
    let scope = Arc::new(Scope { name: "io.opentelemetry.http".to_owned(), ..Scope::default() });
    let span = |index: u64| {
        let id = request * SPANS + index + 1;
        let start = 1_795_343_881_398_540_597 + id * 1_000_003;
        let text = |key: &str, value: &str| KeyValue::new(key, value);
        Span {
            trace_id: TraceId((u128::from(id / 8 + 1) << 64 | u128::from(id)).to_be_bytes()),
            span_id: SpanId::from_u64(id.wrapping_mul(0x9e37_79b9_7f4a_7c15)),
            parent_span_id: (!index.is_multiple_of(8)).then(|| SpanId::from_u64(id - 1)),
            flags: 257,
            name: "GET /api/v1/orders/{id}".to_owned(),
            kind: 2 + (index % 2) as i32,
            start_unix_nano: start,
            end_unix_nano: start + 1_234_567,
            attributes: vec![
                text("http.request.method", "GET"),
                text("http.route", "/api/v1/orders/{id}"),
                KeyValue::new("url.path", format!("/api/v1/orders/{id}")),
                text("url.scheme", "https"),
                KeyValue::new("http.response.status_code", 200i64),
                text("server.address", "orders"),
                KeyValue::new("server.port", 8443i64),
                text("network.protocol.version", "1.1"),
                text("client.address", "10.4.17.3"),
                text("user_agent.original", "okhttp/4.12.0"),
                KeyValue::new("enduser.id", format!("user-{}", id * 7919 % 100_000)),
                text("db.system.name", "postgresql"),
                text("db.namespace", "orders"),
                text("db.operation.name", "SELECT"),
                text("thread.name", "http-worker-12"),
                KeyValue::new("thread.id", 12i64),
                KeyValue::new("cache.hit", index.is_multiple_of(3)),
                KeyValue::new("app.weight", id as f64 / 7.0),
            ],
            ..Span::default()
        }
    };
    (0..SPANS).map(|index| SpanRecord { resource: resource.clone(), scope: scope.clone(), span: span(index) }).collect()
}
