//! Libraries that use the `opentelemetry` API join the same trace (feature `opentelemetry`).
//!
//! ```text
//! tracing span ─▶ span of the API ─▶ tracing span      one trace, one exporter
//!        current: Span::current()    Context::current()
//! ```
//!
//! It is: a tracer provider and a propagator for the API's globals, which make spans of this crate. It is
//! not: `opentelemetry_sdk`, which is not needed; nor its metrics and logs. [`init`](crate::init) sets it up.
//!
//! Both worlds have a current span of their own, and either may be the inner one. A span of the API
//! remembers what was current in `tracing` when it began: while that is so still, the API's is the inner
//! one, otherwise something was entered since.
//!
//! An instrumentation scope becomes the attributes `otel.scope.name` and `otel.scope.version`, as for
//! formats without scopes (OpenTelemetry, "Transformation to non-OTLP formats").

mod convert;
mod propagator;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, OnceLock};
use std::time::SystemTime;

use opentelemetry::trace::{
    Event, SpanBuilder, SpanContext, Status, TraceContextExt, Tracer as ApiTracer, TracerProvider,
};
use opentelemetry::{Context, InstrumentationScope, KeyValue, global};
use tracewell_propagate::{Propagated, SpanId};
use tracing::Span;

use crate::access;
use crate::queue::lock;
use crate::{SpanExt, StatusCode};

use convert::{from_api, kind, nanos, to_api, value};

/// Whether looking at the API's context is worth anything.
static INSTALLED: AtomicBool = AtomicBool::new(false);

/// For each span of the API that is open, by its id: what was current in `tracing` when it began.
static OPEN: OnceLock<Mutex<HashMap<[u8; 8], Outer>>> = OnceLock::new();

/// The span of `tracing` in which a span of the API began.
type Outer = Option<SpanId>;

fn open() -> &'static Mutex<HashMap<[u8; 8], Outer>> {
    OPEN.get_or_init(Mutex::default)
}

/// Makes the API's global tracer provider and propagator those of this crate. Spans of the API are recorded
/// by whatever subscriber is current when they begin.
pub fn install() {
    global::set_tracer_provider(Provider);
    global::set_text_map_propagator(propagator::Propagator::default());
    INSTALLED.store(true, Ordering::Release);
}

/// A tracer provider whose spans are those of this crate.
#[derive(Debug, Clone, Copy, Default)]
pub struct Provider;

impl TracerProvider for Provider {
    type Tracer = Tracer;

    fn tracer_with_scope(&self, scope: InstrumentationScope) -> Tracer {
        Tracer { scope }
    }
}

/// A tracer of [`Provider`].
#[derive(Debug, Clone)]
pub struct Tracer {
    scope: InstrumentationScope,
}

impl ApiTracer for Tracer {
    type Span = ApiSpan;

    fn build_with_context(&self, builder: SpanBuilder, context: &Context) -> ApiSpan {
        let outer = Span::current();
        let parent = inner_of(context, &outer);
        let span = tracing::info_span!(target: "opentelemetry", parent: None, "span");
        match parent {
            Parent::Local(parent) => access::adopt_local(&span, &parent),
            Parent::Remote(parent) => span.set_remote(&parent),
            Parent::None => {}
        }
        span.set_name(builder.name);
        access::set_kind(&span, kind(builder.span_kind));
        if !self.scope.name().is_empty() {
            span.set_attribute("otel.scope.name", self.scope.name().to_owned());
        }
        if let Some(version) = self.scope.version() {
            span.set_attribute("otel.scope.version", version.to_owned());
        }
        if let Some(start) = builder.start_time {
            access::set_start(&span, nanos(start));
        }
        let identity = span.context().unwrap_or_default();
        lock(open()).insert(identity.span_id.0, outer.context().map(|context| context.span_id));
        let mut made = ApiSpan { recording: access::is_recording(&span), context: to_api(&identity, false), span };
        for attribute in builder.attributes.into_iter().flatten() {
            opentelemetry::trace::Span::set_attribute(&mut made, attribute);
        }
        for link in builder.links.into_iter().flatten() {
            opentelemetry::trace::Span::add_link(&mut made, link.span_context, link.attributes);
        }
        for Event { name, timestamp, attributes, .. } in builder.events.into_iter().flatten() {
            opentelemetry::trace::Span::add_event_with_timestamp(&mut made, name, timestamp, attributes);
        }
        made
    }
}

/// A span begun through the API.
#[derive(Debug)]
pub struct ApiSpan {
    span: Span,
    context: SpanContext,
    recording: bool,
}

impl opentelemetry::trace::Span for ApiSpan {
    fn add_event_with_timestamp<T>(&mut self, name: T, timestamp: SystemTime, attributes: Vec<KeyValue>)
    where
        T: Into<std::borrow::Cow<'static, str>>,
    {
        let attributes: Vec<_> = attributes.into_iter().map(|pair| (pair.key, value(pair.value))).collect();
        let attributes = attributes.iter().map(|(key, value)| (key.as_str(), value));
        access::add_event(&self.span, &name.into(), nanos(timestamp), attributes);
    }

    fn span_context(&self) -> &SpanContext {
        &self.context
    }

    fn is_recording(&self) -> bool {
        self.recording
    }

    fn set_attribute(&mut self, attribute: KeyValue) {
        self.span.set_attribute(attribute.key.as_str(), value(attribute.value));
    }

    fn set_status(&mut self, status: Status) {
        match status {
            Status::Unset => {}
            Status::Ok => access::set_status(&self.span, StatusCode::Ok, None),
            Status::Error { description } => access::set_status(&self.span, StatusCode::Error, Some(&description)),
        }
    }

    fn update_name<T>(&mut self, name: T)
    where
        T: Into<std::borrow::Cow<'static, str>>,
    {
        self.span.set_name(name);
    }

    fn add_link(&mut self, to: SpanContext, attributes: Vec<KeyValue>) {
        let attributes: Vec<_> = attributes.into_iter().map(|pair| (pair.key, value(pair.value))).collect();
        let attributes: Vec<_> = attributes.iter().map(|(key, value)| (key.as_str(), value.clone())).collect();
        self.span.add_link(&from_api(&to), &attributes);
    }

    fn end_with_timestamp(&mut self, timestamp: SystemTime) {
        if std::mem::take(&mut self.recording) {
            access::set_end(&self.span, nanos(timestamp));
        }
        self.span.end();
        lock(open()).remove(&self.context.span_id().to_bytes());
    }
}

impl Drop for ApiSpan {
    fn drop(&mut self) {
        // The span ends with its last handle, which is this one.
        lock(open()).remove(&self.context.span_id().to_bytes());
    }
}

/// The span below which something new begins.
enum Parent {
    None,
    Local(Propagated),
    Remote(Propagated),
}

/// Which is the inner one: the span of `context`, or the current one of `tracing`.
fn inner_of(context: &Context, current: &Span) -> Parent {
    let here = current.propagated();
    let known_here = here.context.as_ref().is_some_and(|context| context.is_valid());
    let span = context.span();
    let there = span.span_context();
    if !context.has_active_span() || !there.is_valid() {
        return if known_here { Parent::Local(here) } else { Parent::None };
    }
    let began_in = lock(open()).get(&there.span_id().to_bytes()).cloned();
    let implicit = Context::map_current(|now| now.span().span_context() == there);
    let entered_since = match &began_in {
        Some(outer) => *outer != here.context.as_ref().map(|context| context.span_id),
        // A context from elsewhere, and a span that has gone on with its trace.
        None => here.context.as_ref().is_some_and(|here| here.trace_id.0 == there.trace_id().to_bytes()),
    };
    if implicit && known_here && entered_since {
        return Parent::Local(here);
    }
    let parent = Propagated {
        context: Some(from_api(there)),
        baggage: propagator::baggage_of(context, here.baggage),
        ..Propagated::default()
    };
    if there.is_remote() { Parent::Remote(parent) } else { Parent::Local(parent) }
}

/// The identity of an event: that of the API's span where that is the inner one, else `current`.
pub(crate) fn identity_of_event(current: Option<tracewell_propagate::Context>) -> Option<tracewell_propagate::Context> {
    match parent_of_new(current.as_ref().map(|context| context.span_id)) {
        Some((inner, _)) => inner.context,
        None => current,
    }
}

/// Gives a new span of `tracing` the parent that the API's context names, where that is the inner one.
/// `current` is the span that would be the parent otherwise.
pub(crate) fn parent_of_new(current: Option<SpanId>) -> Option<(Propagated, bool)> {
    if !INSTALLED.load(Ordering::Acquire) {
        return None;
    }
    Context::map_current(|context| {
        let span = context.span();
        let there = span.span_context();
        if !context.has_active_span() || !there.is_valid() {
            return None;
        }
        match lock(open()).get(&there.span_id().to_bytes()) {
            Some(outer) if *outer != current => return None,
            None if current.is_some() => return None,
            _ => {}
        }
        let baggage = propagator::baggage_of(context, Default::default());
        let parent = Propagated { context: Some(from_api(there)), baggage, ..Propagated::default() };
        Some((parent, there.is_remote()))
    })
}
