//! A span while it is open, and its encoding when it ends (OTLP 1.11, `trace.proto`).

use std::borrow::Cow;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use tracewell_propagate::{Baggage, Context, Decision, SpanId};
use tracing::Metadata;

use crate::clock;
use crate::config::Limits;
use crate::proto;
use crate::slab;

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

/// Largest buffer that a slot keeps for its next span.
const KEPT_BYTES_MAX: usize = 4 << 10;

/// Repeated fields of a span, encoded as they come, with what did not fit.
#[derive(Default)]
pub(crate) struct Part {
    pub(crate) encoded: Vec<u8>,
    pub(crate) count: u32,
    pub(crate) dropped: u32,
}

impl Part {
    fn clear(&mut self) {
        if self.encoded.capacity() > KEPT_BYTES_MAX {
            self.encoded = Vec::new();
        }
        self.encoded.clear();
        (self.count, self.dropped) = (0, 0);
    }

    fn len(&self) -> usize {
        // What was dropped is one byte of tag and a number.
        self.encoded.len() + if self.dropped > 0 { 1 + proto::varint_len(u64::from(self.dropped)) } else { 0 }
    }

    fn encode(&self, out: &mut Vec<u8>, dropped_field: u32) {
        out.extend_from_slice(&self.encoded);
        if self.dropped > 0 {
            proto::uint(out, dropped_field, u64::from(self.dropped));
        }
    }

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
    pub(crate) fn set(&mut self, key: &[u8], field: &[u8], limits: &Limits) {
        let mut rest = self.encoded.as_slice();
        let mut at = 0;
        while let Some(known) = proto::next_field(&mut rest) {
            let end = at + known.whole.len();
            let known_key = proto::next_field(&mut { known.content }).map(|field| field.content);
            if known_key == Some(key) {
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
#[derive(Default)]
pub(crate) struct Recording {
    pub(crate) name: Cow<'static, str>,
    pub(crate) kind: SpanKind,
    pub(crate) status: StatusCode,
    pub(crate) status_message: String,
    /// Nanoseconds since the Unix epoch.
    pub(crate) start_unix_nano: u64,
    /// The same moment by [`clock::monotonic_ns`].
    pub(crate) started_ns: u64,
    pub(crate) attributes: Part,
    pub(crate) events: Part,
    pub(crate) links: Part,
}

impl Recording {
    /// Begins a recording; what the slot's former span left has been cleared.
    pub(crate) fn begin(&mut self, name: &'static str, started_ns: u64, start_unix_nano: u64) {
        self.name = Cow::Borrowed(name);
        self.kind = SpanKind::default();
        (self.started_ns, self.start_unix_nano) = (started_ns, start_unix_nano);
    }

    /// Forgets everything but the buffers.
    fn clear(&mut self) {
        self.name = Cow::Borrowed("");
        self.status = StatusCode::Unset;
        self.status_message.clear();
        self.attributes.clear();
        if !self.events.encoded.is_empty() || self.events.dropped > 0 {
            self.events.clear();
        }
        if !self.links.encoded.is_empty() || self.links.dropped > 0 {
            self.links.clear();
        }
    }

    /// The present by the clock that runs evenly, so that no span ends before it began.
    pub(crate) fn now_unix_nano(&self) -> u64 {
        self.start_unix_nano.saturating_add(clock::monotonic_ns().saturating_sub(self.started_ns))
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

    /// Bytes of the status message without its tag and length; `None` where the status is not sent.
    fn status_len(&self) -> Option<usize> {
        if self.status == StatusCode::Unset {
            return None;
        }
        let message = self.status_message.len();
        Some(2 + if message == 0 { 0 } else { 1 + proto::varint_len(message as u64) + message })
    }

    pub(crate) fn add_event(&mut self, limits: &Limits, name: &str, attributes: [&[u8]; 2], dropped: u32) {
        self.add_event_at(limits, name, self.now_unix_nano(), attributes, dropped);
    }

    pub(crate) fn add_event_at(
        &mut self,
        limits: &Limits,
        name: &str,
        unix_nano: u64,
        attributes: [&[u8]; 2],
        dropped: u32,
    ) {
        let mut event = Vec::with_capacity(attributes[0].len() + attributes[1].len() + name.len() + 24);
        proto::message(&mut event, EVENTS, |buffer| {
            proto::fixed64(buffer, 1, unix_nano);
            proto::bytes(buffer, 2, name.as_bytes());
            attributes.iter().for_each(|part| buffer.extend_from_slice(part));
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

/// An open span: its identity, and its record where it is recorded. Lives in a slot of [`slab`].
pub(crate) struct Open {
    /// Tells the spans of one slot apart.
    pub(crate) generation: u32,
    /// Handles that keep it open.
    pub(crate) handles: u32,
    pub(crate) metadata: Option<&'static Metadata<'static>>,
    pub(crate) context: Context,
    pub(crate) parent: Option<SpanId>,
    pub(crate) parent_is_remote: bool,
    /// False while a root may still be given a remote parent, which decides about sampling.
    pub(crate) decided: bool,
    /// What is passed on beyond the sampled flag: that the caller wants everything recorded.
    pub(crate) decision: Decision,
    /// Not recorded although a remote parent might yet ask for it.
    pub(crate) skipped: bool,
    /// Whether `recording` is kept and handed over in the end.
    pub(crate) recorded: bool,
    pub(crate) baggage: Option<Arc<Baggage>>,
    pub(crate) recording: Recording,
}

impl Open {
    pub(crate) fn new() -> Self {
        Self {
            generation: slab::FIRST_GENERATION,
            handles: 0,
            metadata: None,
            context: Context::default(),
            parent: None,
            parent_is_remote: false,
            decided: true,
            decision: Decision::AsFlagged,
            skipped: false,
            recorded: false,
            baggage: None,
            recording: Recording::default(),
        }
    }

    /// Ends the recording, if there is one, and forgets it.
    pub(crate) fn discard(&mut self) {
        if self.recorded {
            self.recorded = false;
            self.recording.clear();
        }
    }

    /// Makes the slot ready for another span.
    pub(crate) fn clear(&mut self) {
        self.discard();
        self.skipped = false;
        self.metadata = None;
        self.baggage = None;
        if !self.context.trace_state.is_empty() {
            self.context.trace_state = Default::default();
        }
    }

    /// The recording, where the span is recorded.
    pub(crate) fn recording(&mut self) -> Option<&mut Recording> {
        self.recorded.then_some(&mut self.recording)
    }

    /// Bytes that [`Open::encode`] appends.
    pub(crate) fn encoded_len(&self) -> usize {
        let recording = &self.recording;
        let state = self.context.trace_state.as_str().len();
        let text = |len: usize| 1 + proto::varint_len(len as u64) + len;
        18 + 10
            + if state == 0 { 0 } else { text(state) }
            + if self.parent.is_some() { 10 } else { 0 }
            + text(recording.name.len())
            + 2
            + 9
            + 9
            + recording.attributes.len()
            + recording.events.len()
            + recording.links.len()
            + recording.status_len().map_or(0, text)
            + 6
    }

    /// Appends the span as an OTLP message that ends now.
    pub(crate) fn encode(&self, out: &mut Vec<u8>, end_unix_nano: u64) {
        let recording = &self.recording;
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
        proto::fixed64(out, 8, end_unix_nano);
        recording.attributes.encode(out, 10);
        recording.events.encode(out, 12);
        recording.links.encode(out, 14);
        if recording.status_len().is_some() {
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
        part.set(b"a", &field("a", 1), &limits);
        part.set(b"b", &field("b", 2), &limits);
        part.set(b"a", &field("a", 3), &limits);
        part.set(b"c", &field("c", 4), &limits);
        assert_eq!((part.count, part.dropped), (2, 1));
        assert_eq!(part.encoded, [field("b", 2), field("a", 3)].concat());
    }

    #[test]
    fn ok_is_final() {
        let mut recording = Recording::default();
        recording.set_status(StatusCode::Error, Some("broken"));
        assert_eq!((recording.status, recording.status_message.as_str()), (StatusCode::Error, "broken"));
        recording.set_status(StatusCode::Ok, None);
        recording.set_status(StatusCode::Error, Some("late"));
        assert_eq!((recording.status, recording.status_message.as_str()), (StatusCode::Ok, ""));
    }

    #[test]
    fn the_length_is_known_before_the_span_is_written() {
        let limits = Limits { attributes_max: 1, events_max: 1, ..Limits::default() };
        let mut open = Open::new();
        let check = |open: &Open| {
            let mut out = Vec::new();
            open.encode(&mut out, 7);
            assert_eq!(out.len(), open.encoded_len());
        };
        check(&open);
        open.parent = Some(SpanId::from_u64(1));
        open.context.trace_state = "a=b".parse().unwrap();
        open.recording.begin("name", 1, 2);
        check(&open);
        open.recording.name = "n".repeat(200).into();
        open.recording.set_status(StatusCode::Error, Some(&"m".repeat(500)));
        (0..300).for_each(|_| open.recording.add_event(&limits, "e", [&[], &[]], 0));
        (0..2).for_each(|_| open.recording.attributes.add(b"\x4a\x00", 1, &limits));
        check(&open);
        open.recorded = true;
        open.clear();
        open.parent = None;
        assert_eq!(open.encoded_len(), Open::new().encoded_len(), "nothing is left for the next span");
    }
}
