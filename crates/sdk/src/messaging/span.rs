//! The span of one operation on messages.

use std::fmt::Display;

use tracing::Span;
use tracing::field::Empty;

use super::Destination;
use crate::propagate::{Context, Extract, Inject, Propagated};
use crate::{SpanExt, Value};

/// `messaging.operation.type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Create,
    Send,
    Receive,
    Process,
    Settle,
}

impl Kind {
    fn operation_type(self) -> &'static str {
        match self {
            Kind::Create => "create",
            Kind::Send => "send",
            Kind::Receive => "receive",
            Kind::Process => "process",
            Kind::Settle => "settle",
        }
    }
}

/// Messages whose contexts are remembered before the span begins. The span itself has a limit of its own.
const MESSAGES_MAX: usize = 1024;

/// An operation that is about to begin.
#[must_use = "nothing is recorded before `start`"]
pub struct Operation<'a> {
    destination: &'a Destination,
    kind: Kind,
    name: &'static str,
    messages: Vec<Propagated>,
    /// All messages, also those without a context.
    count: usize,
    batch: bool,
    below_message: bool,
    message_id: Option<String>,
    conversation_id: Option<String>,
    partition: Option<String>,
    body_bytes: Option<usize>,
}

impl<'a> Operation<'a> {
    pub(super) fn new(destination: &'a Destination, kind: Kind, name: &'static str) -> Self {
        Self {
            destination,
            kind,
            name,
            messages: Vec::new(),
            count: 0,
            batch: false,
            below_message: false,
            message_id: None,
            conversation_id: None,
            partition: None,
            body_bytes: None,
        }
    }

    /// The broker's own word for the operation (`messaging.operation.name`), such as `sendBatch`.
    pub fn named(mut self, name: &'static str) -> Self {
        self.name = name;
        self
    }

    /// The operation takes several messages, even if it is one this time (`messaging.batch.message_count`).
    pub fn batch(mut self) -> Self {
        self.batch = true;
        self
    }

    /// A message that the operation is about: the span links to the context in its headers. To be called
    /// for each message of a batch.
    pub fn message(mut self, headers: &dyn Extract) -> Self {
        self.count += 1;
        if self.messages.len() < MESSAGES_MAX {
            self.messages.push(crate::extract(headers));
        }
        self
    }

    /// Makes `process` of one message a child of the message's context even within another span, which is
    /// then linked.
    pub fn below_message(mut self) -> Self {
        self.below_message = true;
        self
    }

    /// The broker's number of the message (`messaging.message.id`).
    pub fn message_id(mut self, id: impl Display) -> Self {
        self.message_id = Some(id.to_string());
        self
    }

    /// The conversation that the message belongs to (`messaging.message.conversation_id`).
    pub fn conversation_id(mut self, id: impl Display) -> Self {
        self.conversation_id = Some(id.to_string());
        self
    }

    /// The partition (`messaging.destination.partition.id`).
    pub fn partition(mut self, partition: impl Display) -> Self {
        self.partition = Some(partition.to_string());
        self
    }

    /// Size of the message (`messaging.message.body.size`).
    pub fn body_bytes(mut self, bytes: usize) -> Self {
        self.body_bytes = Some(bytes);
        self
    }

    fn span_name(&self) -> String {
        let destination = self.destination;
        let nameless = destination.temporary || destination.anonymous || destination.name.is_empty();
        match destination.template.as_deref().or((!nameless).then_some(&*destination.name)) {
            Some(target) => format!("{} {target}", self.name),
            None => self.name.to_owned(),
        }
    }

    /// Opens the span.
    pub fn start(self) -> Active {
        let destination = self.destination;
        let current = Span::current();
        let single = match &*self.messages {
            [message] if self.kind == Kind::Process && !self.batch && message.context.is_some() => Some(message),
            _ => None,
        };
        let remote = single.filter(|_| current.is_none() || self.below_message);
        let kind = match self.kind {
            Kind::Create => "producer",
            Kind::Send if self.messages.is_empty() => "producer",
            Kind::Send | Kind::Receive | Kind::Settle => "client",
            Kind::Process => "consumer",
        };
        let parent = if remote.is_some() { None } else { current.id() };
        let name = self.span_name();
        let count = (self.batch || self.count > 1).then_some(self.count).filter(|_| self.kind != Kind::Receive);
        let span = tracing::info_span!(
            target: "tracewell_sdk::messaging",
            parent: parent,
            "message",
            otel.name = name.as_str(),
            otel.kind = kind,
            otel.status_code = Empty,
            otel.status_message = Empty,
            messaging.system = &*destination.system,
            messaging.operation.name = self.name,
            messaging.operation.type = self.kind.operation_type(),
            messaging.destination.name = Some(&*destination.name).filter(|name| !name.is_empty()),
            messaging.destination.template = destination.template.as_deref(),
            messaging.destination.temporary = destination.temporary.then_some(true),
            messaging.destination.anonymous = destination.anonymous.then_some(true),
            messaging.destination.partition.id = self.partition.as_deref(),
            messaging.destination.subscription.name = destination.subscription.as_deref(),
            messaging.consumer.group.name = destination.consumer_group.as_deref(),
            messaging.client.id = destination.client_id.as_deref(),
            messaging.message.id = self.message_id.as_deref(),
            messaging.message.conversation_id = self.conversation_id.as_deref(),
            messaging.message.body.size = self.body_bytes,
            messaging.batch.message_count = count,
            server.address = destination.server.as_ref().map(|(address, _)| address.as_str()),
            server.port = destination.server.as_ref().map(|(_, port)| *port),
            error.type = Empty,
        );
        if let Some(remote) = remote {
            span.set_remote(remote);
            if let Some(ambient) = current.context() {
                span.add_link(&ambient, &[]);
            }
        }
        for message in &self.messages {
            link(&span, message.context.as_ref(), &[]);
        }
        Active { span: Some(span), received: None, batch: self.batch }
    }
}

fn link(span: &Span, to: Option<&Context>, attributes: &[(&str, Value)]) {
    if let Some(context) = to.filter(|context| context.is_valid()) {
        span.add_link(context, attributes);
    }
}

/// An operation under way. Its span ends with [`Active::succeeded`], [`Active::failed`], or when it is
/// dropped, which counts as success unless the thread panics.
#[derive(Debug)]
pub struct Active {
    span: Option<Span>,
    /// Messages that `receive` has brought.
    received: Option<usize>,
    batch: bool,
}

impl Active {
    /// The span, for `in_scope`, for `instrument`, and for attributes of one's own.
    pub fn span(&self) -> Span {
        self.span.clone().unwrap_or_else(Span::none)
    }

    /// Writes the span's context to the headers of a message.
    pub fn inject(&self, headers: &mut dyn Inject) {
        if let Some(span) = &self.span {
            crate::inject(span, headers);
        }
    }

    /// A message has come: a link to the context in its headers.
    pub fn received(&mut self, headers: &dyn Extract) {
        self.received_with(headers, &[]);
    }

    /// As [`Active::received`], with attributes of the message on its link, such as `messaging.message.id`.
    pub fn received_with(&mut self, headers: &dyn Extract, attributes: &[(&str, Value)]) {
        self.received = Some(self.received.unwrap_or(0) + 1);
        if let Some(span) = &self.span {
            link(span, crate::extract(headers).context.as_ref(), attributes);
        }
    }

    /// A batch has come, possibly of no message at all.
    pub fn received_all<'m, E: Extract + 'm>(&mut self, messages: impl IntoIterator<Item = &'m E>) {
        self.batch = true;
        self.received = Some(self.received.unwrap_or(0));
        for message in messages {
            self.received(message);
        }
    }

    /// The broker's number of the message, known only now (`messaging.message.id`).
    pub fn message_id(&self, id: impl Display) {
        if let Some(span) = &self.span {
            span.record("messaging.message.id", id.to_string());
        }
    }

    /// The partition, known only now (`messaging.destination.partition.id`).
    pub fn partition(&self, partition: impl Display) {
        if let Some(span) = &self.span {
            span.record("messaging.destination.partition.id", partition.to_string());
        }
    }

    /// Ends the span.
    pub fn succeeded(mut self) {
        self.end();
    }

    /// Ends the span with an error of this kind (`error.type`), one of few: the broker's code, the name of
    /// the client's error.
    pub fn failed(mut self, kind: &str, error: &dyn Display) {
        self.fail(kind, error);
    }

    fn fail(&mut self, kind: &str, error: &dyn Display) {
        if let Some(span) = &self.span {
            span.record("error.type", kind);
            span.record("otel.status_code", "error");
            span.record("otel.status_message", tracing::field::display(error));
        }
        self.end();
    }

    fn end(&mut self) {
        let Some(span) = self.span.take() else { return };
        if let Some(received) = self.received.filter(|received| self.batch || *received > 1) {
            span.record("messaging.batch.message_count", received);
        }
        span.end();
    }
}

impl Drop for Active {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.fail("panic", &"the handler panicked");
        }
        self.end();
    }
}
