//! The layer: what is recorded of spans that live in the registry of `tracing-subscriber`.

use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context as LayerContext;
use tracing_subscriber::registry::{LookupSpan, SpanRef};

use crate::recorder::Recorder;
use crate::slab::SlotId;

/// A `tracing_subscriber` layer that records one service's spans and events.
///
/// Fields become attributes of the same name and type, except for these:
///
/// | field | meaning |
/// |---|---|
/// | `otel.name` | the span's name, where it is not known at compile time |
/// | `otel.kind` | `internal` (default), `server`, `client`, `producer`, `consumer` |
/// | `otel.status_code`, `otel.status_message` | `ok` or `error`, and the words for an error |
/// | `error = true` | status error |
/// | `error = …` (an error or text) | status error with that message, and an `exception` event |
/// | `event.name` (on events) | the event's name |
///
/// Events inside a span become log records with its ids, where logs are exported; an event with
/// `event.name` and one that carries an error is an event of the span. Where logs are not exported,
/// every event is an event of its span. An event of level `ERROR` sets the status of its span unless it
/// has one.
///
/// The layer finds spans through [`tracing_subscriber::Registry`]: [`SpanExt`](crate::SpanExt) works with
/// any stack of layers over that registry.
pub struct TraceLayer {
    pub(crate) recorder: Recorder,
}

/// In the extensions of a span of the registry: where its record is.
pub(crate) struct Recorded(pub(crate) SlotId);

fn recorded<'a, S: LookupSpan<'a>>(span: &SpanRef<'a, S>) -> Option<SlotId> {
    span.extensions().get::<Recorded>().map(|recorded| recorded.0)
}

impl<S> Layer<S> for TraceLayer
where
    S: Subscriber + for<'lookup> LookupSpan<'lookup>,
{
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: LayerContext<'_, S>) {
        let Some(span) = context.span(id) else { return };
        let parent = match attributes.parent() {
            Some(parent) => context.span(parent),
            None if attributes.is_contextual() => context.lookup_current(),
            None => None,
        };
        let parent = parent.as_ref().and_then(recorded);
        let created = self.recorder.create(attributes, parent);
        span.extensions_mut().replace(Recorded(created));
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: LayerContext<'_, S>) {
        if let Some(span) = context.span(id).as_ref().and_then(recorded) {
            self.recorder.record(span, values);
        }
    }

    fn on_follows_from(&self, id: &Id, follows: &Id, context: LayerContext<'_, S>) {
        let of = |id| context.span(id).as_ref().and_then(recorded);
        if let (Some(span), Some(cause)) = (of(id), of(follows)) {
            self.recorder.link(span, cause);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: LayerContext<'_, S>) {
        self.recorder.event(event, context.event_span(event).as_ref().and_then(recorded));
    }

    fn on_close(&self, id: Id, context: LayerContext<'_, S>) {
        // The id stays in the extensions, which the registry clears: it names nothing any more.
        if let Some(id) = context.span(&id).as_ref().and_then(recorded) {
            self.recorder.close(id);
        }
    }
}
