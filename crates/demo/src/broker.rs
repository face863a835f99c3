//! The message broker: a bounded log for each topic. Like real brokers it is not instrumented; the context
//! travels in the headers of the message.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::extract::State;
use axum::routing::{get, post};
use axum::{Json, Router};
use http::{HeaderMap, Method};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tracewell_sdk::SpanExt;
use tracing::Instrument;
use tracing::field::Empty;

use crate::service::{Answer, CallError, Service};

/// Messages that wait for a consumer; older ones are lost.
const BACKLOG_MAX: usize = 1_000;

/// The longest that a consumer's request waits for a message.
const POLL_MAX: Duration = Duration::from_secs(5);

const TOPIC: &str = "order-events";
const GROUP: &str = "notifications";

/// A message with its headers.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Message {
    offset: u64,
    headers: BTreeMap<String, String>,
    body: Value,
}

struct Log {
    backlog: Mutex<Backlog>,
    arrived: Notify,
    stop: CancellationToken,
}

#[derive(Default)]
struct Backlog {
    messages: VecDeque<Message>,
    next_offset: u64,
}

/// The broker's own server.
pub(crate) fn router(stop: CancellationToken) -> Router {
    let log = Log { backlog: Mutex::default(), arrived: Notify::new(), stop };
    Router::new().route("/produce", post(produce)).route("/consume", get(consume)).with_state(Arc::new(log))
}

async fn produce(State(log): State<Arc<Log>>, Json(mut message): Json<Message>) -> Json<Value> {
    let mut backlog = log.backlog.lock().unwrap_or_else(PoisonError::into_inner);
    message.offset = backlog.next_offset;
    backlog.next_offset += 1;
    let offset = message.offset;
    if backlog.messages.len() == BACKLOG_MAX {
        backlog.messages.pop_front();
    }
    backlog.messages.push_back(message);
    log.arrived.notify_one();
    Json(json!({"offset": offset}))
}

async fn consume(State(log): State<Arc<Log>>) -> Json<Value> {
    let next = || log.backlog.lock().unwrap_or_else(PoisonError::into_inner).messages.pop_front();
    let message = match next() {
        Some(message) => Some(message),
        None => {
            // Nothing within the time is an empty answer; the consumer asks again.
            tokio::select! {
                () = log.arrived.notified() => {}
                () = tokio::time::sleep(POLL_MAX) => {}
                () = log.stop.cancelled() => {}
            }
            next()
        }
    };
    Json(json!({"message": message}))
}

impl Service {
    /// Sends a message within a producer span.
    pub(crate) async fn publish(&self, body: Value) -> Result<(), CallError> {
        let span = tracing::info_span!(
            "send",
            otel.name = format!("send {TOPIC}"),
            otel.kind = "producer",
            otel.status_code = Empty,
            messaging.system = "kafka",
            messaging.operation.name = "send",
            messaging.operation.type = "send",
            messaging.destination.name = TOPIC,
            messaging.kafka.offset = Empty,
            server.address = "message-broker",
            error.type = Empty,
        );
        let mut message = Message { body, ..Message::default() };
        tracewell_sdk::inject(&span, &mut message.headers);
        let body = serde_json::to_value(&message).unwrap_or_default();
        let result = self
            .plain_call(Method::POST, "message-broker", "/produce", HeaderMap::new(), Some(body))
            .instrument(span.clone())
            .await;
        match result {
            Ok(answer) => {
                if let Some(offset) = answer.get("offset").and_then(Value::as_i64) {
                    span.record("messaging.kafka.offset", offset);
                }
                Ok(())
            }
            Err(error) => {
                span.record("error.type", error.status.as_str());
                span.record("otel.status_code", "error");
                Err(error)
            }
        }
    }

    /// Receives messages until the shop closes. Each is handled in a trace of its own, linked to the span
    /// that sent it: the order does not wait for its mail.
    pub(crate) async fn consume(self) {
        while !self.world.stop.is_cancelled() {
            let polled = tokio::select! {
                () = self.world.stop.cancelled() => return,
                polled = self.plain_call(Method::GET, "message-broker", "/consume", HeaderMap::new(), None) => polled,
            };
            let Ok(answer) = polled else {
                self.pause(Duration::from_millis(200)).await;
                continue;
            };
            let message = answer.get("message").cloned().unwrap_or_default();
            if let Ok(message) = serde_json::from_value::<Message>(message) {
                self.handle(message).await;
            }
        }
    }

    async fn handle(&self, message: Message) {
        let order = message.body.get("order").and_then(Value::as_str);
        let span = tracing::info_span!(
            parent: None,
            "process",
            otel.name = format!("process {TOPIC}"),
            otel.kind = "consumer",
            messaging.system = "kafka",
            messaging.operation.name = "process",
            messaging.operation.type = "process",
            messaging.destination.name = TOPIC,
            messaging.consumer.group.name = GROUP,
            messaging.kafka.offset = message.offset,
            app.order.id = order,
        );
        if let Some(producer) = tracewell_sdk::extract(&message.headers).context {
            span.add_link(&producer, &[("messaging.destination.name", TOPIC.into())]);
        }
        async {
            self.think(3.0).instrument(tracing::info_span!("render mail", mail.template = "order-confirmation")).await;
            self.think(45.0)
                .instrument(tracing::info_span!(
                    "deliver mail",
                    otel.kind = "client",
                    server.address = "smtp.acme-mail.example",
                    server.port = 587
                ))
                .await;
            tracing::info!("confirmation sent");
        }
        .instrument(span)
        .await;
    }
}

/// What the notification service answers itself.
pub(crate) async fn status() -> Answer {
    Ok(Json(json!({"status": "consuming", "topic": TOPIC})))
}
