//! What the crate's own parts do with spans beyond [`SpanExt`](crate::SpanExt): give them a parent of this
//! process, let them stand for others, record a panic, set times.

use tracewell_propagate::{Context, Propagated};
use tracing::{Dispatch, Span, dispatcher};
use tracing_subscriber::Registry;
use tracing_subscriber::registry::{LookupSpan, SpanRef};

use crate::ext::{recorder, with_open};
use crate::layer::Recorded;
use crate::proto::{self, ValueRef};
use crate::recorder::{EVENT_ATTRIBUTES, set_attribute};
use crate::slab;
use crate::span::{Open, StatusCode};

/// Something that went wrong.
pub(crate) struct Exception<'a> {
    /// `exception.type` and `error.type`.
    pub(crate) kind: &'a str,
    pub(crate) message: &'a str,
    /// Empty where there is none.
    pub(crate) stacktrace: &'a str,
}

/// Adds an `exception` event to an open span (semantic conventions 1.44, "Exceptions"), and sets its status.
pub(crate) fn record_exception(span: &Span, exception: &Exception<'_>) {
    let mut attributes = Vec::new();
    let fields = [
        ("exception.type", exception.kind),
        ("exception.message", exception.message),
        ("exception.stacktrace", exception.stacktrace),
    ];
    for (key, value) in fields.into_iter().filter(|(_, value)| !value.is_empty()) {
        proto::key_value(&mut attributes, EVENT_ATTRIBUTES, key, ValueRef::Str(value));
    }
    with_open(span, |recorder, open| {
        if let Some(recording) = open.recording() {
            recording.add_event(&recorder.config().limits, "exception", [&attributes, &[]], 0);
        }
    });
    mark_failed(span, exception.kind, exception.message);
}

/// Sets `error.type` and, unless it is an error already, the status of an open span.
pub(crate) fn mark_failed(span: &Span, kind: &str, message: &str) {
    with_open(span, |recorder, open| {
        if let Some(recording) = open.recording() {
            if recording.status != StatusCode::Error {
                recording.set_status(StatusCode::Error, Some(message));
            }
            set_attribute(recording, "error.type", ValueRef::Str(kind), recorder.config());
        }
    });
}

/// Ends this span and all above it.
pub(crate) fn end_all(span: &Span) {
    with_open(span, |recorder, open| recorder.finish(open));
    span.with_subscriber(|(id, dispatch): (&tracing::Id, &Dispatch)| {
        let recorder = recorder(dispatch)?;
        let mut next = dispatch.downcast_ref::<Registry>()?.span(id)?.parent();
        while let Some(span) = next {
            let slot = span.extensions().get::<Recorded>().map(|recorded| recorded.0);
            if let Some(slot) = slot {
                slab::with(slot, |open| recorder.finish(open));
            }
            next = span.parent();
        }
        Some(())
    });
}

/// Makes an open span a child of a span of this process that it does not hold open.
pub(crate) fn join(open: &mut Open, parent: &Propagated) {
    let Some(context) = parent.context.as_ref().filter(|context| context.is_valid()) else { return };
    open.context = Context { span_id: open.context.span_id, ..context.clone() };
    open.parent = Some(context.span_id);
    open.parent_is_remote = false;
    open.baggage = (!parent.baggage.is_empty()).then(|| parent.baggage.clone().into());
    open.decided = true;
    open.decision = parent.decision;
    if !context.is_sampled() {
        open.discard();
    }
}

/// As [`join`], for a new span.
pub(crate) fn adopt_local(span: &Span, parent: &Propagated) {
    with_open(span, |recorder, open| {
        join(open, parent);
        recorder.catch_up(open);
    });
}

/// Lets a new span stand for another: what begins below it becomes a child of that one. It is not recorded.
pub(crate) fn stand_in(span: &Span, other: &Propagated) {
    with_open(span, |_, open| {
        join(open, other);
        open.context = other.context.clone().unwrap_or_default();
        open.discard();
    });
}

/// The identity of a span of the registry.
pub(crate) fn identity<'a, S: LookupSpan<'a>>(span: &SpanRef<'a, S>) -> Option<Context> {
    let slot = span.extensions().get::<Recorded>()?.0;
    slab::with(slot, |open| open.context.clone()).filter(Context::is_valid)
}

/// True when the subscriber records for the same service as the current one.
pub(crate) fn is_current(dispatch: &Dispatch) -> bool {
    let number = |dispatch: &Dispatch| recorder(dispatch).map(|recorder| recorder.number());
    dispatcher::get_default(number) == number(dispatch)
}

/// The headers that the current subscriber may write.
pub(crate) fn header_names() -> Vec<&'static str> {
    dispatcher::get_default(|dispatch| {
        recorder(dispatch).map(|recorder| recorder.config().propagators.fields().collect()).unwrap_or_default()
    })
}

#[cfg(feature = "opentelemetry")]
pub(crate) use for_bridge::*;

/// What the API of OpenTelemetry can do and `tracing` cannot.
#[cfg(feature = "opentelemetry")]
mod for_bridge {
    use tracewell_propagate::{Inject, Propagated};
    use tracing::{Span, dispatcher};

    use super::{EVENT_ATTRIBUTES, proto, recorder, with_open};
    use crate::span::{Recording, SpanKind, StatusCode};
    use crate::{Value, clock};

    fn with_recording(span: &Span, act: impl FnOnce(&mut Recording)) {
        with_open(span, |_, open| open.recording().map(act));
    }

    pub(crate) fn is_recording(span: &Span) -> bool {
        with_open(span, |_, open| open.recorded).unwrap_or(false)
    }

    pub(crate) fn set_kind(span: &Span, kind: SpanKind) {
        with_recording(span, |recording| recording.kind = kind);
    }

    pub(crate) fn set_status(span: &Span, status: StatusCode, message: Option<&str>) {
        with_recording(span, |recording| recording.set_status(status, message));
    }

    /// Lets a span have begun at another time.
    pub(crate) fn set_start(span: &Span, unix_nano: u64) {
        with_recording(span, |recording| {
            // The present, and with it the end, stays what it is.
            let earlier = recording.start_unix_nano.saturating_sub(unix_nano);
            recording.started_ns = recording.started_ns.saturating_sub(earlier);
            recording.start_unix_nano = unix_nano;
        });
    }

    /// Lets the present of a span that is about to end be another time.
    pub(crate) fn set_end(span: &Span, unix_nano: u64) {
        with_recording(span, |recording| {
            let duration = unix_nano.saturating_sub(recording.start_unix_nano);
            recording.started_ns = clock::monotonic_ns().saturating_sub(duration);
        });
    }

    pub(crate) fn add_event<'a>(
        span: &Span,
        name: &str,
        unix_nano: u64,
        attributes: impl Iterator<Item = (&'a str, &'a Value)>,
    ) {
        let mut encoded = Vec::new();
        for (key, value) in attributes {
            proto::key_value(&mut encoded, EVENT_ATTRIBUTES, key, value.as_ref());
        }
        with_open(span, |recorder, open| {
            if let Some(recording) = open.recording() {
                recording.add_event_at(&recorder.config().limits, name, unix_nano, [&encoded, &[]], 0);
            }
        });
    }

    /// Writes headers in the formats of the current subscriber.
    pub(crate) fn inject(from: &Propagated, carrier: &mut dyn Inject) {
        dispatcher::get_default(|dispatch| {
            if let Some(recorder) = recorder(dispatch) {
                recorder.config().propagators.inject(from, carrier);
            }
        });
    }
}
