//! A span sent through: over each OTLP listener in, found by id and by search again.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use serde_json::Value;
use tracewell_model::{KeyValue, Resource, Scope, Span, SpanId, SpanKind, SpanRecord, TraceId};
use tracewell_server::time::now_ns;

use super::{Finding, Outcome};
use crate::client::Client;
use crate::table;

/// A span must be found within this time after its acknowledgement.
const VISIBLE_TIME_MAX: Duration = Duration::from_secs(1);

/// The service under which test spans are stored.
const SERVICE: &str = "tracewell-doctor";

/// Sends one span over each listener that the server names, and follows it.
pub async fn check(client: &Client, status: &Value) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (name, key) in [("OTLP/gRPC", "otlpGrpc"), ("OTLP/HTTP", "otlpHttp")] {
        let subject = format!("span over {name}");
        let Some(address) = status["listeners"][key].as_str() else {
            findings.push(Finding::new(&subject, Outcome::Skipped, "this listener is off"));
            continue;
        };
        findings.push(match follow(client, &reachable(client, address), key == "otlpGrpc").await {
            Ok(seen) => Finding::new(&subject, Outcome::Good, seen),
            Err(error) => {
                let causes: Vec<String> = error.chain().map(ToString::to_string).collect();
                Finding::new(&subject, Outcome::Bad, causes.join(": "))
                    .advice("the receiver's refusals above and the server's log say more")
            }
        });
    }
    findings
}

/// A listener on all interfaces is reached where the API was.
fn reachable(client: &Client, address: &str) -> String {
    let host = client.url().trim_start_matches("http://").rsplit_once(':').map(|(host, _)| host.to_owned());
    match (address.strip_prefix("0.0.0.0:").or(address.strip_prefix("[::]:")), host) {
        (Some(port), Some(host)) => format!("{host}:{port}"),
        _ => address.to_owned(),
    }
}

async fn follow(client: &Client, address: &str, grpc: bool) -> Result<String> {
    let record = test_span();
    let trace_id = record.span.trace_id;
    let message = tracewell_wire::otlp::encode_traces(std::slice::from_ref(&record));
    let receiver = Client::new(&format!("http://{address}"), None)?;
    let start = Instant::now();
    if grpc {
        receiver.grpc("/opentelemetry.proto.collector.trace.v1.TraceService/Export", &message).await?;
    } else {
        let headers = [("content-type", "application/x-protobuf")];
        let answer = receiver.send("POST", "/v1/traces", &headers, message).await?;
        if !answer.status.is_success() {
            bail!("refused with {}: {}", answer.status, String::from_utf8_lossy(&answer.body));
        }
    }
    let acknowledged = start.elapsed();
    let visible = Instant::now();
    let query = form_urlencoded::Serializer::new(String::new())
        .append_pair("q", &format!("{{ trace:id = \"{trace_id}\" && resource.service.name = \"{SERVICE}\" }}"))
        .append_pair("start", "now-5m")
        .finish();
    loop {
        let by_id = client.get_json(&format!("/api/v1/traces/{trace_id}")).await;
        let found = client.get_json(&format!("/api/v1/search?{query}")).await?;
        let by_search = found["traces"].as_array().is_some_and(|traces| !traces.is_empty());
        if by_id.is_ok() && by_search {
            break;
        }
        if visible.elapsed() > VISIBLE_TIME_MAX {
            let missing = if by_id.is_ok() { "search" } else { "id" };
            bail!("acknowledged, but not found by {missing} within {} s", VISIBLE_TIME_MAX.as_secs());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let time = |duration: Duration| table::duration(duration.as_nanos() as u64);
    Ok(format!(
        "to {address}: acknowledged after {}, found by id and search after {} (trace {trace_id})",
        time(acknowledged),
        time(visible.elapsed())
    ))
}

fn test_span() -> SpanRecord {
    let now = now_ns();
    // Unique enough for a test span, and recognisable: the bytes spell "doctor".
    let mut trace_id = *b"doctor\0\0\0\0\0\0\0\0\0\0";
    trace_id[8..].copy_from_slice(&(now ^ u64::from(std::process::id()) << 44).to_be_bytes());
    SpanRecord {
        resource: std::sync::Arc::new(Resource {
            attributes: vec![KeyValue::new("service.name", SERVICE)],
            ..Resource::default()
        }),
        scope: std::sync::Arc::new(Scope { name: "tracewell.doctor".to_owned(), ..Scope::default() }),
        span: Span {
            trace_id: TraceId(trace_id),
            span_id: SpanId::from_u64(now | 1),
            name: "test span".to_owned(),
            kind: SpanKind::Internal as i32,
            start_unix_nano: now - 1_000_000,
            end_unix_nano: now,
            ..Span::default()
        },
    }
}
