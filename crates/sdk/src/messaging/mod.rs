//! Spans for messages, and the context that travels in their headers (OpenTelemetry semantic conventions
//! 1.44, "Messaging spans"), for any broker.
//!
//! It is: a span around sending, receiving, processing and settling ([`Destination`], [`Operation`],
//! [`Active`]), links from the one who consumes to the ones who produced, and carriers for the headers of
//! three clients: `kafka` (rdkafka), `nats` (async-nats), `amqp` (lapin), by features of these names. Lists
//! and maps of pairs are carriers as they are, see [`propagate`](crate::propagate). It is not a client, and
//! sends nothing.
//!
//! ```text
//! producer                           broker                        consumer
//! send ──inject──▶ headers ═════════════════════════▶ headers ──▶ process  (child of send, and a link)
//! create, create, … ──inject──▶ headers ══════▶ receive (links to each), then process for each
//!  └ send (a batch, with links)
//! ```
//!
//! ```
//! use tracewell_sdk::messaging::Destination;
//!
//! let orders = Destination::new("kafka", "orders").server("broker.example", 9092);
//!
//! // The producer; `headers` goes with the message.
//! let mut headers: Vec<(String, String)> = Vec::new();
//! let send = orders.send().start();
//! send.inject(&mut headers);
//! send.succeeded(); // or `send.failed("TIMED_OUT", &error)`
//!
//! // The consumer, message by message.
//! let process = orders.process(&headers).start();
//! process.span().in_scope(|| { /* handle it */ });
//! process.succeeded();
//!
//! // The consumer, many at a time: the call that waits, then each message.
//! let mut receive = orders.receive().start();
//! let batch = vec![headers.clone(), headers]; // what the client gave
//! receive.received_all(batch.iter());
//! receive.succeeded();
//! for message in &batch {
//!     orders.process(message).start().succeeded();
//! }
//! ```
//!
//! | operation | kind | parent | links | `messaging.operation.name` |
//! |---|---|---|---|---|
//! | [`create`](Destination::create) | producer | current span | | `create` |
//! | [`send`](Destination::send) | producer; client where messages bring contexts of their own | current span | to those | `send`; `publish` for RabbitMQ, NATS, MQTT and Redis |
//! | [`receive`](Destination::receive) | client | current span | to each message's context | `receive`; `poll` for Kafka |
//! | [`process`](Destination::process) | consumer | current span; where there is none, the message's | to the message's context | `process` |
//! | [`settle`](Destination::settle) | client | current span | | as given: `ack`, `commit`, … |
//!
//! The name of a span is `{operation} {destination}`: the template of the destination where it has one, its
//! name unless it is temporary or anonymous. `process` becomes a child of the message's context only outside
//! any other span, as the convention recommends; [`Operation::below_message`] asks for it always (the
//! current span is then linked). A consumer belongs to the producer's trace in this case, and its sampling
//! decision is the producer's. Links are bounded by the limit of the configuration; what is beyond is counted.

mod span;

#[cfg(feature = "amqp")]
pub mod amqp;
#[cfg(feature = "kafka")]
pub mod kafka;
#[cfg(feature = "nats")]
pub mod nats;

pub use span::{Active, Operation};

use std::borrow::Cow;

use crate::propagate::Extract;
use span::Kind;

/// A queue, topic, subject or exchange, and the broker that has it.
#[derive(Debug, Clone)]
pub struct Destination {
    system: Cow<'static, str>,
    name: Cow<'static, str>,
    template: Option<Cow<'static, str>>,
    temporary: bool,
    anonymous: bool,
    server: Option<(String, u16)>,
    consumer_group: Option<String>,
    subscription: Option<String>,
    client_id: Option<String>,
}

impl Destination {
    /// A destination by its name in a system by its name in the convention: `kafka`, `rabbitmq`, `nats`,
    /// `activemq`, `aws_sqs`, `gcp_pubsub`, … (`messaging.system`, `messaging.destination.name`).
    pub fn new(system: impl Into<Cow<'static, str>>, name: impl Into<Cow<'static, str>>) -> Self {
        Self {
            system: system.into(),
            name: name.into(),
            template: None,
            temporary: false,
            anonymous: false,
            server: None,
            consumer_group: None,
            subscription: None,
            client_id: None,
        }
    }

    /// What a producer of RabbitMQ sends to: `{exchange}:{routing key}`, without what is empty, and
    /// `amq.default` where both are.
    pub fn rabbitmq(exchange: &str, routing_key: &str) -> Self {
        Self::rabbitmq_parts(&[exchange, routing_key])
    }

    /// What a consumer of RabbitMQ reads from: `{exchange}:{routing key}:{queue}`, without what is empty and
    /// without a routing key that is the queue's name.
    pub fn rabbitmq_queue(exchange: &str, routing_key: &str, queue: &str) -> Self {
        Self::rabbitmq_parts(&[exchange, if routing_key == queue { "" } else { routing_key }, queue])
    }

    fn rabbitmq_parts(parts: &[&str]) -> Self {
        let parts: Vec<&str> = parts.iter().copied().filter(|part| !part.is_empty()).collect();
        let name = if parts.is_empty() { "amq.default".to_owned() } else { parts.join(":") };
        Self::new("rabbitmq", name)
    }

    /// The pattern that the name was made from, of which there are few: `orders.{region}`. Names the spans.
    #[must_use]
    pub fn template(mut self, template: impl Into<Cow<'static, str>>) -> Self {
        self.template = Some(template.into());
        self
    }

    /// The destination goes away with its users, such as a queue for answers; its name names no span.
    #[must_use]
    pub fn temporary(mut self) -> Self {
        self.temporary = true;
        self
    }

    /// The name was made up by the broker or is none; it names no span.
    #[must_use]
    pub fn anonymous(mut self) -> Self {
        self.anonymous = true;
        self
    }

    /// The broker's host and port (`server.address`, `server.port`).
    #[must_use]
    pub fn server(mut self, address: impl Into<String>, port: u16) -> Self {
        self.server = Some((address.into(), port));
        self
    }

    /// The group that shares the messages (`messaging.consumer.group.name`).
    #[must_use]
    pub fn consumer_group(mut self, group: impl Into<String>) -> Self {
        self.consumer_group = Some(group.into());
        self
    }

    /// The subscription within a topic (`messaging.destination.subscription.name`).
    #[must_use]
    pub fn subscription(mut self, subscription: impl Into<String>) -> Self {
        self.subscription = Some(subscription.into());
        self
    }

    /// This client, as the broker knows it (`messaging.client.id`).
    #[must_use]
    pub fn client_id(mut self, id: impl Into<String>) -> Self {
        self.client_id = Some(id.into());
        self
    }

    /// Makes one message of a batch that is sent later: its context goes into the message.
    pub fn create(&self) -> Operation<'_> {
        Operation::new(self, Kind::Create, "create")
    }

    /// Hands one message, or several, to the broker. One message gets this span's context.
    pub fn send(&self) -> Operation<'_> {
        let publishes = matches!(&*self.system, "rabbitmq" | "nats" | "mqtt" | "redis" | "gcp_pubsub" | "aws.sns");
        Operation::new(self, Kind::Send, if publishes { "publish" } else { "send" })
    }

    /// Asks the broker for messages; which ones came is said afterwards, see [`Active::received`].
    pub fn receive(&self) -> Operation<'_> {
        Operation::new(self, Kind::Receive, if self.system == "kafka" { "poll" } else { "receive" })
    }

    /// Handles one message.
    pub fn process(&self, message: &dyn Extract) -> Operation<'_> {
        Operation::new(self, Kind::Process, "process").message(message)
    }

    /// Handles several messages as one: a link to each.
    pub fn process_batch<'m>(&self, messages: impl IntoIterator<Item = &'m dyn Extract>) -> Operation<'_> {
        let mut operation = Operation::new(self, Kind::Process, "process").batch();
        for message in messages {
            operation = operation.message(message);
        }
        operation
    }

    /// Tells the broker what became of messages, by its own word for it: `ack`, `nack`, `reject`, `commit`.
    pub fn settle(&self, word: &'static str) -> Operation<'_> {
        Operation::new(self, Kind::Settle, word)
    }
}
