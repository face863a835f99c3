//! Caches: services of their own that keep keys for a while, and the callers' side of a command.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::extract::State;
use axum::routing::post;
use axum::{Json, Router};
use http::{HeaderMap, Method};
use serde_json::{Value, json};
use tracewell_sdk::SpanExt;
use tracewell_sdk::db::{Database, Failure};
use tracing::Instrument;

use crate::service::{Answer, CallError, Service};

/// Median time of a command.
const COMMAND_MEDIAN_MS: f64 = 0.4;

/// Keys that one cache keeps; when there are more, it forgets all that have run out, or else everything.
const KEYS_MAX: usize = 20_000;

/// How long a key is kept.
const KEPT: Duration = Duration::from_secs(120);

impl Service {
    /// Runs a command such as `GET session:u17` within a client span. True where the cache had the key; always true
    /// for writes.
    pub(crate) async fn cached(&self, cache: &'static str, command: &str, key: &str) -> Result<bool, CallError> {
        let port = crate::topology::spec(cache).map_or(0, |spec| spec.port);
        let redis = Database::new("redis").server(cache, port);
        let call =
            redis.command(command).text(format!("{command} {key}")).summary(format!("{command} {cache}")).start();
        let mut headers = HeaderMap::new();
        tracewell_sdk::inject(&call.span(), &mut headers);
        let body = json!({"command": command, "key": key});
        let answer = self.plain_call(Method::POST, cache, "/command", headers, Some(body));
        match answer.instrument(call.span()).await {
            Ok(answer) => {
                let hit = answer["hit"].as_bool().unwrap_or(true);
                if is_read(command) {
                    call.span().set_attribute("cache.hit", hit);
                }
                call.succeeded();
                Ok(hit)
            }
            Err(error) => {
                call.failed(Failure::of(&error.message).code(error.status.as_str()));
                Err(error)
            }
        }
    }
}

fn is_read(command: &str) -> bool {
    matches!(command, "GET" | "MGET" | "HGETALL")
}

/// What a cache knows.
#[derive(Default)]
struct Keys(Mutex<HashMap<String, Instant>>);

impl Keys {
    fn has(&self, key: &str, now: Instant) -> bool {
        let keys = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        keys.get(key).is_some_and(|until| *until > now)
    }

    fn keep(&self, key: &str, now: Instant) {
        let mut keys = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if keys.len() >= KEYS_MAX {
            keys.retain(|_, until| *until > now);
            if keys.len() >= KEYS_MAX {
                keys.clear();
            }
        }
        keys.insert(key.to_owned(), now + KEPT);
    }
}

/// The cache's own server.
pub(crate) fn router(service: &Service) -> Router {
    Router::new().route("/command", post(run)).with_state((service.clone(), Arc::<Keys>::default()))
}

async fn run(
    State((service, keys)): State<(Service, Arc<Keys>)>,
    headers: HeaderMap,
    Json(body): Json<Value>,
) -> Answer {
    let command = body["command"].as_str().unwrap_or_default();
    let key = body["key"].as_str().unwrap_or_default();
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
    let hit = match is_read(command) {
        true => keys.has(key, Instant::now()),
        false => {
            keys.keep(key, Instant::now());
            true
        }
    };
    Ok(Json(json!({"hit": hit})))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_kept_for_a_while_and_never_too_many() {
        let (keys, now) = (Keys::default(), Instant::now());
        keys.keep("a", now);
        assert!(keys.has("a", now) && !keys.has("b", now) && !keys.has("a", now + KEPT));
        for key in 0..3 * KEYS_MAX {
            keys.keep(&key.to_string(), now);
        }
        assert!(keys.0.lock().unwrap().len() <= KEYS_MAX);
    }
}
