//! The layer: turns the spans and events of `tracing` into OTLP records.

use std::cell::Cell;
use std::sync::Arc;
use std::thread::LocalKey;

use tracewell_propagate::{Baggage, Context, FLAG_RANDOM, FLAG_SAMPLED, Propagated};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context as LayerContext;
use tracing_subscriber::registry::{LookupSpan, SpanRef};

use crate::config::{Config, Signal};
use crate::id;
use crate::log;
use crate::proto::ValueRef;
use crate::queue::{Shared, Source};
use crate::span::{ATTRIBUTES, Recording, SpanData, StatusCode};
use crate::visit::{Fields, Place, Visitor};

/// Field number of the attributes of a span's event.
const EVENT_ATTRIBUTES: u32 = 3;

thread_local! {
    /// A finished span is encoded here before it goes into the queue, so that no allocation is needed.
    static SCRATCH: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
    /// The attributes of a span that has ended here, for the next one that begins.
    static SPARE: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// Largest buffer that a thread keeps.
const SCRATCH_BYTES_MAX: usize = 64 << 10;

/// The thread's buffer, empty; a new one while the thread ends.
fn take(buffer: &'static LocalKey<Cell<Vec<u8>>>) -> Vec<u8> {
    let mut taken = buffer.try_with(Cell::take).unwrap_or_default();
    taken.clear();
    taken
}

/// Keeps a buffer for the next [`take`]. While the thread ends there is nobody left to take it.
fn give(buffer: &'static LocalKey<Cell<Vec<u8>>>, bytes: Vec<u8>) {
    if bytes.capacity() <= SCRATCH_BYTES_MAX {
        let _ = buffer.try_with(|cell| cell.set(bytes));
    }
}

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
    shared: Arc<Shared>,
    source: Arc<Source>,
}

impl TraceLayer {
    pub(crate) fn new(shared: Arc<Shared>, source: Arc<Source>) -> Self {
        Self { shared, source }
    }

    pub(crate) fn config(&self) -> &Config {
        &self.shared.config
    }

    /// Makes `data` a child of `parent`, or of nobody.
    pub(crate) fn adopt(&self, data: &mut SpanData, parent: &Propagated) {
        data.baggage = (!parent.baggage.is_empty()).then(|| Arc::new(parent.baggage.clone()));
        let Some(context) = parent.context.as_ref().filter(|context| context.is_valid()) else { return };
        data.context.trace_id = context.trace_id;
        data.context.trace_state = context.trace_state.clone();
        data.context.flags = context.flags & FLAG_RANDOM;
        data.parent = Some(context.span_id);
        data.parent_is_remote = true;
        self.decide(data, parent.sampled());
    }

    /// Takes the sampling decision for a root that nobody claimed.
    pub(crate) fn settle(&self, data: &mut SpanData) {
        if !data.decided {
            data.context.trace_state = self.source.sampler().root_state();
            self.decide(data, None);
            if data.recording.is_none() {
                data.context.trace_state = Default::default();
            }
        }
    }

    fn decide(&self, data: &mut SpanData, parent_sampled: Option<bool>) {
        data.decided = true;
        if self.source.sampler().samples(data.context.trace_id, parent_sampled) {
            data.context.flags |= FLAG_SAMPLED;
        } else {
            data.context.flags &= !FLAG_SAMPLED;
            data.recording = None;
        }
    }

    /// The identity of a new span below `parent`.
    fn begin<'a, S>(&self, metadata: &'static Metadata<'static>, parent: Option<SpanRef<'a, S>>) -> SpanData
    where
        S: LookupSpan<'a>,
    {
        let record = || Some(Box::new(Recording::new(metadata.name(), self.source.now_unix_nano())));
        let span_id = id::span_id();
        if let Some(parent) = parent
            && let Some(above) = parent.extensions_mut().get_mut::<SpanData>()
        {
            self.settle(above);
            return SpanData {
                context: Context { span_id, ..above.context.clone() },
                parent: Some(above.context.span_id),
                parent_is_remote: false,
                baggage: above.baggage.clone(),
                decided: true,
                recording: if above.context.is_sampled() { record() } else { None },
            };
        }
        // A remote parent may still claim this root and decide about it; until then it is recorded.
        let never = self.source.sampler().never_samples();
        SpanData {
            context: Context { trace_id: id::trace_id(), span_id, flags: FLAG_RANDOM, ..Context::default() },
            parent: None,
            parent_is_remote: false,
            baggage: None,
            decided: never,
            recording: if never { None } else { record() },
        }
    }

    fn code_attributes(&self, visitor: &mut Visitor<'_>, metadata: &Metadata<'_>) {
        if !self.config().code_attributes {
            return;
        }
        if let Some(file) = metadata.file() {
            visitor.attribute("code.file.path", ValueRef::Str(file));
        }
        if let Some(line) = metadata.line() {
            visitor.attribute("code.line.number", ValueRef::Int(i64::from(line)));
        }
    }

    /// Hands over a span that has ended; only the first time has an effect.
    pub(crate) fn finish(&self, data: &mut SpanData) {
        self.settle(data);
        let mut scratch = take(&SCRATCH);
        data.encode(&mut scratch);
        if !scratch.is_empty() {
            self.shared.push(&self.source, Signal::Traces, &scratch);
        }
        give(&SCRATCH, scratch);
        if let Some(mut recording) = data.recording.take() {
            give(&SPARE, std::mem::take(&mut recording.attributes.encoded));
        }
    }

    fn span_event(&self, recording: &mut Recording, metadata: &Metadata<'_>, fields: &Fields) {
        let limits = &self.config().limits;
        let mut visitor = Visitor::new(Place::Event, EVENT_ATTRIBUTES, limits);
        visitor.attribute("level", ValueRef::Str(metadata.level().as_str()));
        visitor.attribute("target", ValueRef::Str(metadata.target()));
        let name = if let Some(exception) = &fields.exception {
            visitor.attribute("exception.message", ValueRef::Str(&exception.message));
            if !exception.causes.is_empty() {
                visitor.attribute("exception.stacktrace", ValueRef::Str(&exception.causes));
            }
            if let Some(message) = &fields.message {
                visitor.attribute("message", ValueRef::Str(message));
            }
            "exception"
        } else if let Some(name) = &fields.event_name {
            if let Some(message) = &fields.message {
                visitor.attribute("message", ValueRef::Str(message));
            }
            name
        } else {
            fields.message.as_deref().unwrap_or_else(|| metadata.name())
        };
        visitor.fields.attributes.extend_from_slice(&fields.attributes);
        recording.add_event(limits, name, &visitor.fields.attributes, fields.dropped + visitor.fields.dropped);
    }
}

/// Applies what the fields of a span said.
fn apply(recording: &mut Recording, fields: Fields, config: &Config) {
    if let Some(name) = fields.name {
        recording.name = name.into();
    }
    if let Some(kind) = fields.kind {
        recording.kind = kind;
    }
    if let Some(exception) = &fields.exception {
        let mut visitor = Visitor::new(Place::Event, EVENT_ATTRIBUTES, &config.limits);
        visitor.attribute("exception.message", ValueRef::Str(&exception.message));
        if !exception.causes.is_empty() {
            visitor.attribute("exception.stacktrace", ValueRef::Str(&exception.causes));
        }
        recording.add_event(&config.limits, "exception", &visitor.fields.attributes, 0);
        recording.set_status(StatusCode::Error, Some(&exception.message));
    }
    if fields.failed {
        recording.set_status(StatusCode::Error, None);
    }
    if let Some(status) = fields.status {
        recording.set_status(status, fields.status_message.as_deref());
    } else if let Some(message) = &fields.status_message {
        // The words may be recorded before or after the code.
        recording.set_status(recording.status, Some(message));
    }
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
        let mut data = self.begin(attributes.metadata(), parent);
        if let Some(recording) = &mut data.recording {
            let mut visitor = Visitor::new(Place::Span, ATTRIBUTES, &self.config().limits);
            visitor.fields.attributes = take(&SPARE);
            // Fields are formatted by the application's code: no lock is held here.
            attributes.record(&mut visitor);
            self.code_attributes(&mut visitor, attributes.metadata());
            let mut fields = visitor.fields;
            recording.attributes.encoded = std::mem::take(&mut fields.attributes);
            recording.attributes.count = fields.count;
            recording.attributes.dropped = fields.dropped;
            apply(recording, fields, self.config());
        }
        span.extensions_mut().replace(data);
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: LayerContext<'_, S>) {
        let Some(span) = context.span(id) else { return };
        let mut visitor = Visitor::new(Place::Span, ATTRIBUTES, &self.config().limits);
        values.record(&mut visitor);
        let fields = visitor.fields;
        let mut extensions = span.extensions_mut();
        let Some(recording) = extensions.get_mut::<SpanData>().and_then(|data| data.recording.as_mut()) else { return };
        merge(recording, &fields.attributes, self.config());
        recording.attributes.dropped += fields.dropped;
        apply(recording, fields, self.config());
    }

    fn on_follows_from(&self, id: &Id, follows: &Id, context: LayerContext<'_, S>) {
        let (Some(span), Some(cause)) = (context.span(id), context.span(follows)) else { return };
        let Some(link) = cause.extensions().get::<SpanData>().map(|data| data.context.clone()) else { return };
        if let Some(data) = span.extensions_mut().get_mut::<SpanData>()
            && let Some(recording) = &mut data.recording
        {
            recording.add_link(&self.config().limits, &link, &[]);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: LayerContext<'_, S>) {
        let span = context.event_span(event);
        let logs = self.config().logs.url.is_some();
        let metadata = event.metadata();
        let recorded = span
            .as_ref()
            .is_some_and(|span| span.extensions().get::<SpanData>().is_some_and(|data| data.recording.is_some()));
        if !logs && !recorded {
            return;
        }
        let mut visitor = Visitor::new(Place::Event, EVENT_ATTRIBUTES, &self.config().limits);
        event.record(&mut visitor);
        self.code_attributes(&mut visitor, metadata);
        let fields = visitor.fields;
        let annotates = recorded && (!logs || fields.event_name.is_some() || fields.exception.is_some());
        let mut identity = None;
        if let Some(span) = &span
            && let Some(data) = span.extensions_mut().get_mut::<SpanData>()
        {
            self.settle(data);
            if let Some(recording) = &mut data.recording {
                if annotates {
                    self.span_event(recording, metadata, &fields);
                }
                if *metadata.level() == Level::ERROR && recording.status == StatusCode::Unset {
                    let message = fields.exception.as_ref().map(|exception| &exception.message);
                    recording.set_status(StatusCode::Error, message.or(fields.message.as_ref()).map(String::as_str));
                }
            }
            identity = Some(data.context.clone());
        }
        if logs && !(annotates && fields.event_name.is_some()) {
            let mut record = Vec::with_capacity(fields.attributes.len() * 2 + 128);
            let now = self.source.now_unix_nano();
            log::encode(&mut record, metadata, &fields, identity.as_ref(), now);
            self.shared.push(&self.source, Signal::Logs, &record);
        }
    }

    fn on_close(&self, id: Id, context: LayerContext<'_, S>) {
        let Some(span) = context.span(&id) else { return };
        let data = span.extensions_mut().remove::<SpanData>();
        if let Some(mut data) = data {
            self.finish(&mut data);
        }
    }
}

/// Adds encoded attributes one by one, so that a key recorded again replaces the earlier value.
fn merge(recording: &mut Recording, encoded: &[u8], config: &Config) {
    let mut rest = encoded;
    while let Some(field) = crate::proto::next_field(&mut rest) {
        let key = crate::proto::next_field(&mut { field.content }).map(|key| String::from_utf8_lossy(key.content));
        if let Some(key) = key {
            recording.attributes.set(&key, field.whole, &config.limits);
        }
    }
}

/// Sets one attribute of an open span.
pub(crate) fn set_attribute(recording: &mut Recording, key: &str, value: ValueRef<'_>, config: &Config) {
    let mut visitor = Visitor::new(Place::Span, ATTRIBUTES, &config.limits);
    visitor.attribute(key, value);
    merge(recording, &visitor.fields.attributes, config);
}

/// What a request started now would carry.
pub(crate) fn propagated(data: &SpanData) -> Propagated {
    Propagated {
        context: Some(data.context.clone()),
        baggage: data.baggage.as_deref().cloned().unwrap_or_else(Baggage::default),
        ..Propagated::default()
    }
}
