//! Messages: producers, consumers one by one and in batches, and the broker between them.
//!
//! ```text
//! checkout ─send order-events─▶ broker ┬─▶ group notifications: one message at a time, a trace for each
//!                                      └─▶ group analytics: batches, one span with a link to each producer
//! inventory ─send stock-events─▶ broker ─▶ group search-index: one at a time
//! ```
//!
//! A consumer's span is no child of the producer's: the order does not wait for its mail. A link leads there.

mod broker;

use std::time::Duration;

use http::{HeaderMap, Method};
use serde_json::{Value, json};
use tracewell_sdk::SpanExt;
use tracing::field::Empty;
use tracing::{Instrument, Span};

use crate::database::{INSERT_SALE, REFRESH_AVAILABILITY};
use crate::service::{CallError, Service};

use broker::Message;
pub(crate) use broker::router;

const BROKER: &str = "message-broker";

/// What the shop tells itself about orders, and about what is in stock again.
pub(crate) const ORDER_EVENTS: &str = "order-events";
pub(crate) const STOCK_EVENTS: &str = "stock-events";

/// Who consumes what, and how many messages at once.
struct Subscription {
    service: &'static str,
    topic: &'static str,
    group: &'static str,
    batch_max: usize,
    /// How long to gather a batch.
    linger: Duration,
}

const SUBSCRIPTIONS: &[Subscription] = &[
    Subscription {
        service: "notifications",
        topic: ORDER_EVENTS,
        group: "notifications",
        batch_max: 1,
        linger: Duration::ZERO,
    },
    Subscription {
        service: "analytics",
        topic: ORDER_EVENTS,
        group: "analytics",
        batch_max: 20,
        linger: Duration::from_secs(4),
    },
    Subscription {
        service: "search",
        topic: STOCK_EVENTS,
        group: "search-index",
        batch_max: 1,
        linger: Duration::ZERO,
    },
];

impl Service {
    /// Sends a message within a producer span.
    pub(crate) async fn publish(&self, topic: &'static str, body: Value) -> Result<(), CallError> {
        let span = tracing::info_span!(
            "send",
            otel.name = format!("send {topic}"),
            otel.kind = "producer",
            otel.status_code = Empty,
            messaging.system = "kafka",
            messaging.operation.name = "send",
            messaging.operation.type = "send",
            messaging.destination.name = topic,
            messaging.kafka.offset = Empty,
            server.address = BROKER,
            error.type = Empty,
        );
        let mut message = Message { topic: topic.to_owned(), body, ..Message::default() };
        tracewell_sdk::inject(&span, &mut message.headers);
        let body = serde_json::to_value(&message).unwrap_or_default();
        let sent = self.plain_call(Method::POST, BROKER, "/produce", HeaderMap::new(), Some(body));
        match sent.instrument(span.clone()).await {
            Ok(answer) => {
                if let Some(offset) = answer["offset"].as_i64() {
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

    /// Receives the messages that this service has subscribed to until the shop closes; returns at once where it has
    /// not subscribed to any.
    pub(crate) async fn consume(self) {
        let Some(subscription) = SUBSCRIPTIONS.iter().find(|subscription| subscription.service == self.spec.name)
        else {
            return;
        };
        let Subscription { topic, group, batch_max, .. } = *subscription;
        let path = format!("/consume?topic={topic}&group={group}&most={batch_max}");
        while !self.world.stop.is_cancelled() {
            self.pause(subscription.linger).await;
            let polled = tokio::select! {
                () = self.world.stop.cancelled() => return,
                polled = self.plain_call(Method::GET, BROKER, &path, HeaderMap::new(), None) => polled,
            };
            let Ok(mut answer) = polled else {
                self.pause(Duration::from_millis(200)).await;
                continue;
            };
            let messages: Vec<Message> = serde_json::from_value(answer["messages"].take()).unwrap_or_default();
            if !messages.is_empty() {
                self.process(subscription, &messages).await;
            }
        }
    }

    /// Handles messages in a trace of their own, linked to the spans that sent them.
    async fn process(&self, subscription: &Subscription, messages: &[Message]) {
        let span = process_span(subscription, messages);
        for message in messages {
            if let Some(producer) = tracewell_sdk::extract(&message.headers).context {
                span.add_link(&producer, &[("messaging.kafka.offset", (message.offset as i64).into())]);
            }
        }
        let handled = async {
            match self.spec.name {
                "notifications" => self.send_mail().await,
                "analytics" => self.count_sales(messages).await,
                _ => self.refresh_index(messages).await,
            }
        };
        if let Err(error) = handled.instrument(span.clone()).await {
            span.record("otel.status_code", "error");
            span.record("error.type", error.status.as_str());
        }
    }

    async fn send_mail(&self) -> Result<(), CallError> {
        self.think(3.0).instrument(tracing::info_span!("render mail", mail.template = "order-confirmation")).await;
        let delivery = tracing::info_span!(
            "deliver mail",
            otel.kind = "client",
            server.address = "smtp.acme-mail.example",
            server.port = 587
        );
        self.think(45.0).instrument(delivery).await;
        tracing::info!("confirmation sent");
        Ok(())
    }

    async fn count_sales(&self, messages: &[Message]) -> Result<(), CallError> {
        for message in messages {
            self.query_own(&INSERT_SALE, vec![json!(message.body["product"].as_u64().unwrap_or(1))]).await?;
        }
        tracing::info!(messages = messages.len(), "sales counted");
        Ok(())
    }

    async fn refresh_index(&self, messages: &[Message]) -> Result<(), CallError> {
        for message in messages {
            self.query_own(&REFRESH_AVAILABILITY, vec![json!(message.body["product"].as_u64().unwrap_or(1))]).await?;
        }
        Ok(())
    }
}

fn process_span(subscription: &Subscription, messages: &[Message]) -> Span {
    let single = messages.first().filter(|_| subscription.batch_max == 1);
    let span = tracing::info_span!(
        parent: None,
        "process",
        otel.name = format!("process {}", subscription.topic),
        otel.kind = "consumer",
        otel.status_code = Empty,
        messaging.system = "kafka",
        messaging.operation.name = "process",
        messaging.operation.type = "process",
        messaging.destination.name = subscription.topic,
        messaging.consumer.group.name = subscription.group,
        messaging.kafka.offset = single.map(|message| message.offset),
        messaging.batch.message_count = Empty,
        app.order.id = single.and_then(|message| message.body["order"].as_str()),
        error.type = Empty,
    );
    if subscription.batch_max > 1 {
        span.record("messaging.batch.message_count", messages.len());
    }
    span
}
