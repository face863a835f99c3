//! A subscriber that does nothing but record: the fastest way from `tracing` to OTLP.

use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Record};
use tracing::subscriber::Interest;
use tracing::{Event, Id, Metadata, Subscriber};
use tracing_core::span::Current;

use crate::current;
use crate::recorder::Recorder;
use crate::slab::{self, SlotId};

/// A `tracing` subscriber that records one service's spans and events, without a registry.
///
/// It does what [`TraceLayer`](crate::TraceLayer) over [`tracing_subscriber::Registry`] does, in less than half the
/// time, because a span lives in one place only. Layers that look at events alone can be put on top
/// of it, `EnvFilter` for example; those that look spans up (`fmt`) need the registry, and so the layer.
///
/// Two things differ, both for the better. A span ends when its last handle is dropped, whether spans
/// below it are still open or not: the registry keeps a parent open until its children have ended. And an id
/// that this subscriber does not know is ignored rather than a panic.
pub struct TraceSubscriber {
    pub(crate) recorder: Recorder,
    max_level: LevelFilter,
}

impl TraceSubscriber {
    pub(crate) fn new(recorder: Recorder) -> Self {
        Self { recorder, max_level: LevelFilter::TRACE }
    }

    /// Leaves out what is more detailed than that.
    #[must_use]
    pub fn with_max_level(self, max_level: impl Into<LevelFilter>) -> Self {
        Self { max_level: max_level.into(), ..self }
    }

    fn current(&self) -> Option<SlotId> {
        current::current(self.recorder.number())
    }
}

impl Subscriber for TraceSubscriber {
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        if *metadata.level() <= self.max_level { Interest::always() } else { Interest::never() }
    }

    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= self.max_level
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(self.max_level)
    }

    fn new_span(&self, attributes: &Attributes<'_>) -> Id {
        let parent = match attributes.parent() {
            Some(parent) => Some(SlotId::of(parent)),
            None if attributes.is_contextual() => self.current(),
            None => None,
        };
        self.recorder.create(attributes, parent).to_id()
    }

    fn record(&self, id: &Id, values: &Record<'_>) {
        self.recorder.record(SlotId::of(id), values);
    }

    fn record_follows_from(&self, id: &Id, follows: &Id) {
        self.recorder.link(SlotId::of(id), SlotId::of(follows));
    }

    fn event(&self, event: &Event<'_>) {
        let span = match event.parent() {
            Some(parent) => Some(SlotId::of(parent)),
            None if event.is_contextual() => self.current(),
            None => None,
        };
        self.recorder.event(event, span);
    }

    fn enter(&self, id: &Id) {
        current::enter(SlotId::of(id), self.recorder.number());
    }

    fn exit(&self, id: &Id) {
        current::exit(SlotId::of(id));
    }

    fn clone_span(&self, id: &Id) -> Id {
        slab::retain(SlotId::of(id));
        id.clone()
    }

    fn try_close(&self, id: Id) -> bool {
        self.recorder.close(SlotId::of(&id))
    }

    fn current_span(&self) -> Current {
        let current = self.current().and_then(|id| {
            let metadata = slab::with(id, |open| open.metadata).flatten()?;
            Some(Current::new(id.to_id(), metadata))
        });
        current.unwrap_or_else(Current::none)
    }
}
