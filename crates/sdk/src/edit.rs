//! Writing to an open span from this crate's own middleware: all at once, without the way through fields.
//!
//! A `record` of `tracing` costs a look-up in every layer. Middleware knows all its attributes at two
//! moments, the beginning and the end; each is one look-up here.

use std::borrow::Cow;

use tracewell_propagate::{FLAG_SAMPLED, Propagated};
use tracing::Span;

use crate::config::Config;
use crate::ext::with_open;
use crate::proto::{self, ValueRef};
use crate::recorder::{Recorder, set_attribute};
use crate::span::{ATTRIBUTES, Open, Recording, SpanKind, StatusCode};

/// Field number of the attributes of a span's event.
const EVENT_ATTRIBUTES: u32 = 3;

/// An open span that is recorded.
pub struct Editor<'a> {
    recording: &'a mut Recording,
    config: &'a Config,
}

impl Editor<'_> {
    /// Names the span.
    pub(crate) fn name(&mut self, name: impl Into<Cow<'static, str>>) {
        self.recording.name = name.into();
    }

    pub(crate) fn kind(&mut self, kind: SpanKind) {
        self.recording.kind = kind;
    }

    /// Adds an attribute that the span does not have yet.
    pub(crate) fn add(&mut self, key: &str, value: ValueRef<'_>) {
        let (part, limits) = (&mut self.recording.attributes, &self.config.limits);
        let value = match value {
            ValueRef::Str(text) => ValueRef::Str(cut(text, limits.value_bytes_max)),
            other => other,
        };
        let before = part.encoded.len();
        proto::key_value(&mut part.encoded, ATTRIBUTES, key, value);
        if part.count >= limits.attributes_max || part.encoded.len() > limits.part_bytes_max {
            part.encoded.truncate(before);
            part.dropped += 1;
        } else {
            part.count += 1;
        }
    }

    pub(crate) fn text(&mut self, key: &str, value: &str) {
        self.add(key, ValueRef::Str(value));
    }

    pub(crate) fn int(&mut self, key: &str, value: impl TryInto<i64>) {
        self.add(key, ValueRef::Int(value.try_into().unwrap_or(i64::MAX)));
    }

    /// Sets an attribute that the application may have set as well.
    pub(crate) fn set(&mut self, key: &str, value: ValueRef<'_>) {
        set_attribute(self.recording, key, value, self.config);
    }

    /// The work failed in this way.
    pub(crate) fn fail(&mut self, error_type: &str, message: Option<&str>) {
        self.set("error.type", ValueRef::Str(error_type));
        self.recording.set_status(StatusCode::Error, message);
    }

    /// Adds an event.
    pub(crate) fn event(&mut self, name: &str, attributes: &[(&str, ValueRef<'_>)]) {
        let limits = &self.config.limits;
        let mut encoded = Vec::with_capacity(64);
        for (key, value) in attributes {
            let value = match value {
                ValueRef::Str(text) => ValueRef::Str(cut(text, limits.value_bytes_max)),
                other => *other,
            };
            proto::key_value(&mut encoded, EVENT_ATTRIBUTES, key, value);
        }
        self.recording.add_event(limits, name, [&encoded, &[]], 0);
    }
}

fn cut(text: &str, bytes_max: usize) -> &str {
    text.get(..text.floor_char_boundary(bytes_max)).unwrap_or(text)
}

/// Calls `fill` where the span is recorded. The span is locked meanwhile: `fill` must not run code of the
/// application.
pub(crate) fn edit(span: &Span, fill: impl FnOnce(&mut Editor<'_>)) {
    with_open(span, |recorder, open| with_editor(recorder, open, fill));
}

/// Gives a new span its remote parent, then calls `fill` where it is recorded.
pub(crate) fn begin(span: &Span, remote: &Propagated, fill: impl FnOnce(&mut Editor<'_>)) {
    with_open(span, |recorder, open| {
        recorder.adopt(open, remote);
        with_editor(recorder, open, fill);
    });
}

/// Calls `fill` where the span is recorded, and ends it.
pub(crate) fn finish(span: &Span, fill: impl FnOnce(&mut Editor<'_>)) {
    with_open(span, |recorder, open| {
        with_editor(recorder, open, fill);
        recorder.finish(open);
    });
}

/// Takes a new span and everything below it out of the record; the trace is carried on as not sampled.
pub(crate) fn silence(span: &Span, remote: &Propagated) {
    with_open(span, |recorder, open| {
        recorder.adopt(open, remote);
        open.decided = true;
        open.context.flags &= !FLAG_SAMPLED;
        open.discard();
    });
}

fn with_editor(recorder: &Recorder, open: &mut Open, fill: impl FnOnce(&mut Editor<'_>)) {
    if let Some(recording) = open.recording() {
        fill(&mut Editor { recording, config: recorder.config() });
    }
}
