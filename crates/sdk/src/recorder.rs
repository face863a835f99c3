//! What becomes of the spans and events of one service: shared by the layer and the subscriber.
//!
//! ```text
//! create ──▶ slot of the slab ◀── record, link, event, SpanExt
//!                 │ close
//!                 └──encode──▶ queue of the service ──▶ exporter
//! ```
//!
//! Fields are formatted by the application's code, which may use tracing itself: no lock is held
//! meanwhile. Everything that needs the slot's lock is done before or after.

use std::borrow::Cow;
use std::cell::Cell;
use std::sync::Arc;
use std::thread::LocalKey;

use tracewell_propagate::{Baggage, Context, Decision, FLAG_RANDOM, FLAG_SAMPLED, Propagated, SpanId};
use tracing::span::{Attributes, Record};
use tracing::{Event, Level, Metadata};

use crate::access;
use crate::claims;
use crate::clock;
use crate::config::{Config, Signal};
use crate::id;
use crate::log;
use crate::proto::ValueRef;
use crate::queue::{Shared, Source};
use crate::sampler::Parent;
use crate::slab::{self, SlotId};
use crate::span::{ATTRIBUTES, Open, Recording, StatusCode};
use crate::visit::{Fields, Place, Visitor};

/// Field number of the attributes of a span's event.
pub(crate) const EVENT_ATTRIBUTES: u32 = 3;

thread_local! {
    /// Fields are encoded here before they go to a slot or a record, so that no allocation is needed.
    static SCRATCH: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
    /// A finished log record.
    static RECORD: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
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

/// What a new span takes over from its parent.
struct Above {
    context: Context,
    baggage: Option<Arc<Baggage>>,
    decision: Decision,
}

/// Who claims a new span as a child, other than the current span.
enum Claim<'a> {
    /// Another process: the one that started this one.
    Remote(Cow<'a, Propagated>),
    /// A span of this process that `tracing` does not know as the current one.
    #[cfg_attr(not(feature = "opentelemetry"), expect(dead_code, reason = "made by the bridge alone"))]
    Local(Propagated),
}

/// Records for one service.
#[derive(Clone)]
pub(crate) struct Recorder {
    shared: Arc<Shared>,
    source: Arc<Source>,
}

impl Recorder {
    pub(crate) fn new(shared: Arc<Shared>, source: Arc<Source>) -> Self {
        Self { shared, source }
    }

    pub(crate) fn config(&self) -> &Config {
        &self.shared.config
    }

    /// Tells the services of the process apart.
    pub(crate) fn number(&self) -> u32 {
        self.source.number
    }

    /// Makes a span a child of `remote`, or of nobody.
    pub(crate) fn adopt(&self, open: &mut Open, remote: &Propagated) {
        open.baggage = (!remote.baggage.is_empty()).then(|| Arc::new(remote.baggage.clone()));
        open.metadata.into_iter().for_each(claims::came);
        open.decision = if remote.decision == Decision::Debug { Decision::Debug } else { Decision::AsFlagged };
        let parent = remote.sampled().map(Parent::Remote);
        if let Some(context) = remote.context.as_ref().filter(|context| context.is_valid()) {
            if self.config().disabled {
                // Who does not take part hands on what it got.
                open.context = context.clone();
                open.decision = remote.decision;
                return;
            }
            open.context.trace_id = context.trace_id;
            open.context.trace_state = context.trace_state.clone();
            open.context.flags = context.flags & FLAG_RANDOM;
            open.parent = Some(context.span_id);
            open.parent_is_remote = true;
            // A caller that left the decision open is followed in its trace, and decided about as a root is.
            self.decide(open, parent.unwrap_or(Parent::None));
        } else if let Some(parent) = parent {
            // There is no trace yet, but an order to record the one that begins, or not to.
            self.decide(open, parent);
        }
        self.catch_up(open);
        if let (Some(id), Some(recording)) = (&remote.debug_id, open.recording()) {
            set_attribute(recording, "jaeger-debug-id", ValueRef::Str(id), self.config());
        }
    }

    /// Takes the sampling decision for a root that nobody claimed.
    pub(crate) fn settle(&self, open: &mut Open) {
        if !open.decided {
            open.metadata.into_iter().for_each(claims::missed);
            self.decide(open, Parent::None);
        }
    }

    /// Records a span whose fields were let go by, because nobody was expected to claim it, but somebody did.
    pub(crate) fn catch_up(&self, open: &mut Open) {
        let Some(metadata) = open.metadata.filter(|_| open.skipped && open.context.is_sampled()) else { return };
        claims::came(metadata);
        let started = clock::monotonic_ns();
        open.skipped = false;
        open.recorded = true;
        open.recording.begin(metadata.name(), started, self.source.unix_nano(started));
        open.recording.attributes.dropped = u32::try_from(metadata.fields().len()).unwrap_or(u32::MAX);
    }

    fn decide(&self, open: &mut Open, parent: Parent) {
        open.decided = true;
        let wanted = self.source.policy().decide(&mut open.context, parent, &open.recording.name);
        if wanted || open.decision == Decision::Debug && (open.recorded || open.skipped) {
            open.context.flags |= FLAG_SAMPLED;
        } else {
            open.context.flags &= !FLAG_SAMPLED;
            open.discard();
        }
    }

    /// Opens a span with one handle. [`SlotId::NOWHERE`] when too many are open.
    pub(crate) fn create(&self, attributes: &Attributes<'_>, parent: Option<SlotId>) -> SlotId {
        let above = parent.and_then(|parent| {
            slab::with(parent, |open| {
                self.settle(open);
                let above =
                    Above { context: open.context.clone(), baggage: open.baggage.clone(), decision: open.decision };
                (above, open.context.span_id)
            })
        });
        let claimed = attributes.is_contextual().then(|| self.claimed(above.as_ref().map(|(_, parent)| *parent)));
        let created = match (claimed.flatten(), above) {
            (Some(claim), _) => self.create_root(attributes, true).inspect(|id| {
                slab::with(*id, |open| match claim {
                    Claim::Remote(parent) => self.adopt(open, parent.as_ref()),
                    Claim::Local(parent) => access::join(open, &parent),
                });
            }),
            (None, Some((above, parent))) => self.create_child(attributes, above, parent),
            (None, None) => self.create_root(attributes, false),
        };
        created.unwrap_or_else(|| {
            crate::diagnostics::count("spans", "not recorded, because too many are open");
            SlotId::NOWHERE
        })
    }

    /// The parent of a new span, where that is not the current one.
    fn claimed(&self, current: Option<SpanId>) -> Option<Claim<'_>> {
        #[cfg(feature = "opentelemetry")]
        if let Some((parent, remote)) = crate::bridge::parent_of_new(current) {
            return Some(if remote { Claim::Remote(Cow::Owned(parent)) } else { Claim::Local(parent) });
        }
        let starter = &self.config().parent;
        (current.is_none() && starter.context.is_some()).then_some(Claim::Remote(Cow::Borrowed(starter)))
    }

    fn create_child(&self, attributes: &Attributes<'_>, above: Above, parent: SpanId) -> Option<SlotId> {
        let Above { mut context, baggage, decision } = above;
        let metadata = attributes.metadata();
        let sampled = match self.source.policy().asks_children() {
            false => context.is_sampled(),
            true => {
                let above = Parent::Local(context.is_sampled());
                let sampled = self.source.policy().decide(&mut context, above, metadata.name());
                let sampled = sampled || decision == Decision::Debug;
                context.flags = context.flags & !FLAG_SAMPLED | if sampled { FLAG_SAMPLED } else { 0 };
                sampled
            }
        };
        let fill = |open: &mut Open| {
            open.metadata = Some(metadata);
            open.handles = 1;
            context.span_id = id::span_id();
            open.context = context;
            open.parent = Some(parent);
            open.parent_is_remote = false;
            open.decided = true;
            open.decision = decision;
            open.baggage = baggage;
        };
        if !sampled {
            return slab::open(fill);
        }
        self.create_recorded(attributes, fill)
    }

    fn create_root(&self, attributes: &Attributes<'_>, claimed: bool) -> Option<SlotId> {
        let metadata = attributes.metadata();
        if self.config().disabled {
            return slab::open(|open| {
                open.metadata = Some(metadata);
                open.handles = 1;
                open.context = Context::default();
                open.parent = None;
                open.decided = true;
            });
        }
        let trace_id = id::trace_id();
        // A remote parent may still claim this root and decide about it; until then it is recorded.
        let never = self.source.policy().never_samples();
        let skipped = !never && !claimed && self.source.policy().rejects_root(trace_id) && !claims::expected(metadata);
        let fill = |open: &mut Open| {
            open.metadata = Some(metadata);
            open.handles = 1;
            open.context.trace_id = trace_id;
            open.context.span_id = id::span_id();
            open.context.flags = FLAG_RANDOM;
            open.parent = None;
            open.parent_is_remote = false;
            open.decided = never || skipped;
            open.skipped = skipped;
            open.decision = Decision::AsFlagged;
        };
        if never || skipped {
            return slab::open(fill);
        }
        self.create_recorded(attributes, fill)
    }

    fn create_recorded(&self, attributes: &Attributes<'_>, fill: impl FnOnce(&mut Open)) -> Option<SlotId> {
        let metadata = attributes.metadata();
        let started = clock::monotonic_ns();
        id::stir(started);
        let mut visitor = Visitor::new(Place::Span, ATTRIBUTES, &self.config().limits);
        visitor.fields.attributes = take(&SCRATCH);
        attributes.record(&mut visitor);
        self.code_attributes(&mut visitor, metadata);
        // Borrowed, not moved: it is large, and nearly always empty but for the attributes.
        let fields = &mut visitor.fields;
        let mut encoded = std::mem::take(&mut fields.attributes);
        let id = slab::open(|open| {
            fill(open);
            open.recorded = true;
            let recording = &mut open.recording;
            recording.begin(metadata.name(), started, self.source.unix_nano(started));
            // The slot's former buffer is the next one's scratch.
            std::mem::swap(&mut recording.attributes.encoded, &mut encoded);
            recording.attributes.count = fields.count;
            recording.attributes.dropped = fields.dropped;
            if fields.special {
                apply(recording, fields, self.config());
            }
        });
        give(&SCRATCH, encoded);
        id
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

    /// Takes fields that became known after the span began.
    pub(crate) fn record(&self, id: SlotId, values: &Record<'_>) {
        if slab::with(id, |open| open.recorded) != Some(true) {
            return;
        }
        let mut visitor = Visitor::new(Place::Span, ATTRIBUTES, &self.config().limits);
        visitor.fields.attributes = take(&SCRATCH);
        values.record(&mut visitor);
        let fields = &mut visitor.fields;
        let encoded = std::mem::take(&mut fields.attributes);
        slab::with(id, |open| {
            if let Some(recording) = open.recording() {
                merge(recording, &encoded, self.config());
                recording.attributes.dropped += fields.dropped;
                apply(recording, fields, self.config());
            }
        });
        give(&SCRATCH, encoded);
    }

    /// Links a span to its cause.
    pub(crate) fn link(&self, id: SlotId, cause: SlotId) {
        let Some(to) = slab::with(cause, |open| open.context.clone()) else { return };
        slab::with(id, |open| {
            if let Some(recording) = open.recording() {
                recording.add_link(&self.config().limits, &to, &[]);
            }
        });
    }

    /// Takes an event that happened in `span`, or in none.
    pub(crate) fn event(&self, event: &Event<'_>, span: Option<SlotId>) {
        let logs = self.config().logs.url.is_some();
        let recorded = span.and_then(|span| slab::with(span, |open| open.recorded)).unwrap_or_default();
        if !logs && !recorded {
            return;
        }
        let metadata = event.metadata();
        let mut visitor = Visitor::new(Place::Event, EVENT_ATTRIBUTES, &self.config().limits);
        visitor.fields.attributes = take(&SCRATCH);
        event.record(&mut visitor);
        self.code_attributes(&mut visitor, metadata);
        let fields = visitor.fields;
        let annotates = recorded && (!logs || fields.event_name.is_some() || fields.exception.is_some());
        let identity = span.and_then(|span| {
            slab::with(span, |open| {
                self.settle(open);
                if let Some(recording) = open.recording() {
                    if annotates {
                        self.span_event(recording, metadata, &fields);
                    }
                    if *metadata.level() == Level::ERROR && recording.status == StatusCode::Unset {
                        let message = fields.exception.as_ref().map(|exception| &exception.message);
                        let message = message.or(fields.message.as_ref()).map(String::as_str);
                        recording.set_status(StatusCode::Error, message);
                    }
                }
                open.context.clone()
            })
        });
        #[cfg(feature = "opentelemetry")]
        let identity = crate::bridge::identity_of_event(identity);
        if logs && !(annotates && fields.event_name.is_some()) {
            let mut record = take(&RECORD);
            let now = self.source.unix_nano(clock::monotonic_ns());
            log::encode(&mut record, metadata, &fields, identity.as_ref(), now);
            self.shared.push(&self.source, Signal::Logs, record.len(), |out| out.extend_from_slice(&record));
            give(&RECORD, record);
        }
        give(&SCRATCH, fields.attributes);
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
        let own = &visitor.fields;
        recording.add_event(limits, name, [&own.attributes, &fields.attributes], fields.dropped + own.dropped);
    }

    /// Hands over a span that has ended; only the first time has an effect.
    pub(crate) fn finish(&self, open: &mut Open) {
        self.settle(open);
        if !open.recorded {
            return;
        }
        let end = open.recording.now_unix_nano();
        let span: &Open = open;
        self.shared.push(&self.source, Signal::Traces, span.encoded_len(), |out| span.encode(out, end));
        open.discard();
    }

    /// One handle less; the span ends with the last. True in that case.
    pub(crate) fn close(&self, id: SlotId) -> bool {
        slab::release(id, |open| self.finish(open))
    }
}

/// Applies what the fields of a span said.
fn apply(recording: &mut Recording, fields: &mut Fields, config: &Config) {
    if let Some(name) = fields.name.take() {
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
        recording.add_event(&config.limits, "exception", [&visitor.fields.attributes, &[]], 0);
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

/// Adds encoded attributes one by one, so that a key recorded again replaces the earlier value.
fn merge(recording: &mut Recording, encoded: &[u8], config: &Config) {
    let mut rest = encoded;
    while let Some(field) = crate::proto::next_field(&mut rest) {
        if let Some(key) = crate::proto::next_field(&mut { field.content }) {
            recording.attributes.set(key.content, field.whole, &config.limits);
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
pub(crate) fn propagated(open: &Open) -> Propagated {
    Propagated {
        context: Some(open.context.clone()),
        baggage: open.baggage.as_deref().cloned().unwrap_or_else(Baggage::default),
        decision: open.decision,
        ..Propagated::default()
    }
}
