//! Caches: services of their own that answer commands, and the callers' side of a command.

use axum::extract::State;
use axum::routing::post;
use axum::{Json, Router};
use http::{HeaderMap, Method};
use serde_json::{Value, json};
use tracewell_sdk::SpanExt;
use tracing::Instrument;
use tracing::field::Empty;

use crate::service::{Answer, CallError, Service};

/// The share of reads that find what they look for.
const HIT_CHANCE: f64 = 0.82;

/// Median time of a command.
const COMMAND_MEDIAN_MS: f64 = 0.4;

impl Service {
    /// Runs a command such as `HGETALL cart:17` within a client span. True where the cache had the key;
    /// always true for writes.
    pub(crate) async fn cached(&self, cache: &'static str, command: &str, key: &str) -> Result<bool, CallError> {
        let port = crate::topology::spec(cache).map_or(0, |spec| spec.port);
        let span = tracing::info_span!(
            "command",
            otel.name = format!("{command} {cache}"),
            otel.kind = "client",
            otel.status_code = Empty,
            otel.status_message = Empty,
            db.system.name = "redis",
            db.namespace = "0",
            db.operation.name = command,
            db.query.text = format!("{command} {key}"),
            db.query.summary = command,
            server.address = cache,
            server.port = port,
            cache.hit = Empty,
            error.type = Empty,
        );
        let mut headers = HeaderMap::new();
        tracewell_sdk::inject(&span, &mut headers);
        let body = json!({"command": command, "key": key});
        let result =
            self.plain_call(Method::POST, cache, "/command", headers, Some(body)).instrument(span.clone()).await;
        match result {
            Ok(answer) => {
                let hit = answer.get("hit").and_then(Value::as_bool).unwrap_or(true);
                if is_read(command) {
                    span.record("cache.hit", hit);
                }
                Ok(hit)
            }
            Err(error) => {
                span.record("error.type", error.status.as_str());
                span.record("otel.status_code", "error");
                span.record("otel.status_message", error.message.as_str());
                Err(error)
            }
        }
    }
}

fn is_read(command: &str) -> bool {
    matches!(command, "GET" | "MGET" | "HGETALL")
}

/// The cache's own server.
pub(crate) fn router(service: &Service) -> Router {
    Router::new().route("/command", post(run)).with_state(service.clone())
}

async fn run(State(service): State<Service>, headers: HeaderMap, Json(body): Json<Value>) -> Answer {
    let command = body.get("command").and_then(Value::as_str).unwrap_or_default();
    let span = tracing::info_span!(
        parent: None,
        "command",
        otel.name = command,
        otel.kind = "server",
        db.system.name = "redis",
        db.operation.name = command,
    );
    span.set_remote(&tracewell_sdk::extract(&headers));
    service.think(COMMAND_MEDIAN_MS).instrument(span).await;
    let hit = !is_read(command) || service.spec.name != "pricing-cache" || service.world.random.chance(HIT_CHANCE);
    Ok(Json(json!({"hit": hit})))
}
