//! A span while it is open, and its encoding when it ends (OTLP 1.11, `trace.proto`).

use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use tracewell_propagate::{Baggage, Context, SpanId};

use crate::config::Limits;
use crate::proto;

/// OTLP `Span.SpanKind`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(u8)]
pub enum SpanKind {
    /// Work inside a service.
    #[default]
    Internal = 1,
    /// Handles a request from a remote caller.
    Server = 2,
    /// Calls a remote service.
    Client = 3,
    /// Hands a message to a broker.
    Producer = 4,
    /// Receives a message from a broker.
    Consumer = 5,
}

impl SpanKind {
    /// The kind that a value of the field `otel.kind` stands for, in any case.
    pub(crate) fn from_name(name: &str) -> Option<Self> {
        [
            ("internal", Self::Internal),
            ("server", Self::Server),
            ("client", Self::Client),
            ("producer", Self::Producer),
            ("consumer", Self::Consumer),
        ]
        .into_iter()
        .find_map(|(known, kind)| known.eq_ignore_ascii_case(name).then_some(kind))
    }
}

/// How a span's work ended (OTLP `Status`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
#[repr(u8)]
pub enum StatusCode {
    /// Not given.
    #[default]
    Unset = 0,
    /// Explicitly successful.
    Ok = 1,
    /// Failed.
    Error = 2,
}

/// Nanoseconds since the Unix epoch.
pub(crate) fn now_unix_nano() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

/// Field numbers of the parts of a span.
pub(crate) const ATTRIBUTES: u32 = 9;
const EVENTS: u32 = 11;
const LINKS: u32 = 13;

/// Bits 8 and 9 of the flags: it is known whether the parent is remote, and it is (`SpanFlags`).
const FLAG_HAS_IS_REMOTE: u32 = 0x100;
const FLAG_IS_REMOTE: u32 = 0x200;

/// Repeated fields of a span, encoded as they come, with what did not fit.
#[derive(Default)]
pub(crate) struct Part {
    pub(crate) encoded: Vec<u8>,
    pub(crate) count: u32,
    pub(crate) dropped: u32,
}

impl Part {
    /// Adds one encoded field, or counts it as dropped.
    pub(crate) fn add(&mut self, field: &[u8], count_max: u32, limits: &Limits) {
        if self.count >= count_max || self.encoded.len() + field.len() > limits.part_bytes_max {
            self.dropped += 1;
        } else {
            self.encoded.extend_from_slice(field);
            self.count += 1;
        }
    }

    /// Adds an encoded `KeyValue`, replacing one of the same key: OTLP wants keys to be unique.
    pub(crate) fn set(&mut self, key: &str, field: &[u8], limits: &Limits) {
        let mut rest = self.encoded.as_slice();
        let mut at = 0;
        while let Some(known) = proto::next_field(&mut rest) {
            let end = at + known.whole.len();
            let known_key = proto::next_field(&mut { known.content }).map(|field| field.content);
            if known_key == Some(key.as_bytes()) {
                self.encoded.drain(at..end);
                self.count -= 1;
                break;
            }
            at = end;
        }
        self.add(field, limits.attributes_max, limits);
    }
}

/// What is kept of a span that is recorded.
pub(crate) struct Recording {
    pub(crate) name: Cow<'static, str>,
    pub(crate) kind: SpanKind,
    pub(crate) status: StatusCode,
    pub(crate) status_message: String,
    pub(crate) start_unix_nano: u64,
    pub(crate) started: Instant,
    pub(crate) attributes: Part,
    pub(crate) events: Part,
    pub(crate) links: Part,
}

impl Recording {
    pub(crate) fn new(name: &'static str, start_unix_nano: u64) -> Self {
        Self {
            name: Cow::Borrowed(name),
            kind: SpanKind::default(),
            status: StatusCode::default(),
            status_message: String::new(),
            start_unix_nano,
            started: Instant::now(),
            attributes: Part::default(),
            events: Part::default(),
            links: Part::default(),
        }
    }

    /// The present by the clock that runs evenly, so that no span ends before it began.
    pub(crate) fn now_unix_nano(&self) -> u64 {
        self.start_unix_nano.saturating_add(u64::try_from(self.started.elapsed().as_nanos()).unwrap_or(u64::MAX))
    }

    /// Sets the status by the specification's order: `Ok` is final, `Error` beats unset.
    pub(crate) fn set_status(&mut self, code: StatusCode, message: Option<&str>) {
        if self.status == StatusCode::Ok {
            return;
        }
        self.status = code;
        if code == StatusCode::Ok {
            self.status_message.clear();
        } else if let Some(message) = message {
            message.clone_into(&mut self.status_message);
        }
    }

    pub(crate) fn add_event(&mut self, limits: &Limits, name: &str, attributes: &[u8], dropped: u32) {
        let mut event = Vec::with_capacity(attributes.len() + name.len() + 24);
        proto::message(&mut event, EVENTS, |buffer| {
            proto::fixed64(buffer, 1, self.now_unix_nano());
            proto::bytes(buffer, 2, name.as_bytes());
            buffer.extend_from_slice(attributes);
            if dropped > 0 {
                proto::uint(buffer, 4, u64::from(dropped));
            }
        });
        self.events.add(&event, limits.events_max, limits);
    }

    pub(crate) fn add_link(&mut self, limits: &Limits, to: &Context, attributes: &[u8]) {
        let mut link = Vec::with_capacity(64);
        proto::message(&mut link, LINKS, |buffer| {
            proto::bytes(buffer, 1, &to.trace_id.0);
            proto::bytes(buffer, 2, &to.span_id.0);
            if !to.trace_state.is_empty() {
                proto::bytes(buffer, 3, to.trace_state.as_str().as_bytes());
            }
            buffer.extend_from_slice(attributes);
            proto::fixed32(buffer, 6, u32::from(to.flags));
        });
        self.links.add(&link, limits.links_max, limits);
    }
}

/// A span's identity, and its record where it is recorded. Lives in the registry's extensions.
pub(crate) struct SpanData {
    pub(crate) context: Context,
    pub(crate) parent: Option<SpanId>,
    pub(crate) parent_is_remote: bool,
    pub(crate) baggage: Option<Arc<Baggage>>,
    /// False while a root may still be given a remote parent, which decides about sampling.
    pub(crate) decided: bool,
    pub(crate) recording: Option<Box<Recording>>,
}

impl SpanData {
    /// Appends the span as an OTLP message; nothing where it is not recorded.
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        let Some(recording) = &self.recording else { return };
        proto::bytes(out, 1, &self.context.trace_id.0);
        proto::bytes(out, 2, &self.context.span_id.0);
        if !self.context.trace_state.is_empty() {
            proto::bytes(out, 3, self.context.trace_state.as_str().as_bytes());
        }
        if let Some(parent) = self.parent {
            proto::bytes(out, 4, &parent.0);
        }
        proto::bytes(out, 5, recording.name.as_bytes());
        proto::uint(out, 6, recording.kind as u64);
        proto::fixed64(out, 7, recording.start_unix_nano);
        proto::fixed64(out, 8, recording.now_unix_nano());
        let parts = [(&recording.attributes, 10), (&recording.events, 12), (&recording.links, 14)];
        for (part, dropped_field) in parts {
            out.extend_from_slice(&part.encoded);
            if part.dropped > 0 {
                proto::uint(out, dropped_field, u64::from(part.dropped));
            }
        }
        if recording.status != StatusCode::Unset {
            proto::message(out, 15, |out| {
                if !recording.status_message.is_empty() {
                    proto::bytes(out, 2, recording.status_message.as_bytes());
                }
                proto::uint(out, 3, recording.status as u64);
            });
        }
        let remote = if self.parent_is_remote { FLAG_IS_REMOTE } else { 0 };
        proto::fixed32(out, 16, u32::from(self.context.flags) | FLAG_HAS_IS_REMOTE | remote);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repeated_key_replaces_the_first() {
        let limits = Limits { attributes_max: 2, ..Limits::default() };
        let field = |key: &str, number| {
            let mut buffer = Vec::new();
            proto::key_value(&mut buffer, ATTRIBUTES, key, proto::ValueRef::Int(number));
            buffer
        };
        let mut part = Part::default();
        part.set("a", &field("a", 1), &limits);
        part.set("b", &field("b", 2), &limits);
        part.set("a", &field("a", 3), &limits);
        part.set("c", &field("c", 4), &limits);
        assert_eq!((part.count, part.dropped), (2, 1));
        assert_eq!(part.encoded, [field("b", 2), field("a", 3)].concat());
    }

    #[test]
    fn ok_is_final() {
        let mut recording = Recording::new("x", 1);
        recording.set_status(StatusCode::Error, Some("broken"));
        assert_eq!((recording.status, recording.status_message.as_str()), (StatusCode::Error, "broken"));
        recording.set_status(StatusCode::Ok, None);
        recording.set_status(StatusCode::Error, Some("late"));
        assert_eq!((recording.status, recording.status_message.as_str()), (StatusCode::Ok, ""));
    }
}
