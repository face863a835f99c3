//! What `tracing` has no words for: remote parents, links, attributes with keys known only at run time.

use std::borrow::Cow;

use tracewell_propagate::{Context, Extract, Inject, Problem, Propagated};
use tracing::{Dispatch, Span, dispatcher};
use tracing_subscriber::Registry;
use tracing_subscriber::registry::LookupSpan;

use crate::Value;
use crate::diagnostics;
use crate::layer::{Recorded, TraceLayer};
use crate::proto;
use crate::recorder::{Recorder, propagated, set_attribute};
use crate::slab::{self, SlotId};
use crate::span::{Open, Recording};
use crate::subscriber::TraceSubscriber;

/// Field number of the attributes of a link.
const LINK_ATTRIBUTES: u32 = 4;

/// More for [`tracing::Span`]. Every method does nothing where the span is disabled, or where its
/// subscriber is neither a [`TraceSubscriber`] nor a [`TraceLayer`] over [`tracing_subscriber::Registry`].
pub trait SpanExt {
    /// Makes the span a child of a span in another process. To be called before the span has children
    /// and before its own context is asked for: those who saw its former identity keep it.
    fn set_parent(&self, parent: &Context);

    /// As [`SpanExt::set_parent`], with the baggage that came along.
    fn set_remote(&self, remote: &Propagated);

    /// The span's identity, to be sent to another process.
    fn context(&self) -> Option<Context>;

    /// The span's identity with the baggage of its request.
    fn propagated(&self) -> Propagated;

    /// Points to a span that this one has to do with but is not a child of, such as the producer of a message.
    fn add_link(&self, to: &Context, attributes: &[(&str, Value)]);

    /// Sets an attribute.
    fn set_attribute(&self, key: &str, value: impl Into<Value>);

    /// Renames the span.
    fn set_name(&self, name: impl Into<Cow<'static, str>>);

    /// Ends the span now and hands it over, where the work is over before the last handle is dropped:
    /// connection tasks and the like hold handles for as long as they live. What is set or happens later
    /// is not recorded; spans below may still begin.
    fn end(&self);
}

impl SpanExt for Span {
    fn set_parent(&self, parent: &Context) {
        self.set_remote(&Propagated { context: Some(parent.clone()), ..Propagated::default() });
    }

    fn set_remote(&self, remote: &Propagated) {
        with_open(self, |recorder, open| recorder.adopt(open, remote));
    }

    fn context(&self) -> Option<Context> {
        with_open(self, |recorder, open| {
            recorder.settle(open);
            open.context.clone()
        })
    }

    fn propagated(&self) -> Propagated {
        let found = with_open(self, |recorder, open| {
            recorder.settle(open);
            propagated(open)
        });
        found.unwrap_or_default()
    }

    fn add_link(&self, to: &Context, attributes: &[(&str, Value)]) {
        let mut encoded = Vec::new();
        for (key, value) in attributes {
            proto::key_value(&mut encoded, LINK_ATTRIBUTES, key, value.as_ref());
        }
        with_recording(self, |recorder, recording| recording.add_link(&recorder.config().limits, to, &encoded));
    }

    fn set_attribute(&self, key: &str, value: impl Into<Value>) {
        let value = value.into();
        with_recording(self, |recorder, recording| set_attribute(recording, key, value.as_ref(), recorder.config()));
    }

    fn set_name(&self, name: impl Into<Cow<'static, str>>) {
        let name = name.into();
        with_recording(self, |_, recording| recording.name = name);
    }

    fn end(&self) {
        with_open(self, |recorder, open| recorder.finish(open));
    }
}

/// The recorder behind a subscriber, if there is one of this crate.
pub(crate) fn recorder(dispatch: &Dispatch) -> Option<&Recorder> {
    match dispatch.downcast_ref::<TraceSubscriber>() {
        Some(subscriber) => Some(&subscriber.recorder),
        None => dispatch.downcast_ref::<TraceLayer>().map(|layer| &layer.recorder),
    }
}

/// Looks at an open span, or changes it; it is locked meanwhile.
pub(crate) fn with_open<T>(span: &Span, act: impl FnOnce(&Recorder, &mut Open) -> T) -> Option<T> {
    span.with_subscriber(|(id, dispatch): (&tracing::Id, &Dispatch)| {
        let (recorder, slot) = match dispatch.downcast_ref::<TraceSubscriber>() {
            Some(subscriber) => (&subscriber.recorder, SlotId::of(id)),
            None => {
                let layer = dispatch.downcast_ref::<TraceLayer>()?;
                let registered = dispatch.downcast_ref::<Registry>()?.span(id)?;
                let slot = registered.extensions().get::<Recorded>()?.0;
                (&layer.recorder, slot)
            }
        };
        slab::with(slot, |open| act(recorder, open))
    })
    .flatten()
}

fn with_recording(span: &Span, act: impl FnOnce(&Recorder, &mut Recording)) {
    with_open(span, |recorder, open| {
        if let Some(recording) = open.recording() {
            act(recorder, recording);
        }
    });
}

/// The identity of the current span.
pub fn current_context() -> Option<Context> {
    Span::current().context()
}

/// What the headers of an incoming request carry, in the formats of the current subscriber's configuration.
/// Headers that cannot be used are counted ([`diagnostics`]).
pub fn extract(carrier: &dyn Extract) -> Propagated {
    dispatcher::get_default(|dispatch| {
        let count = &mut |problem: Problem| diagnostics::count(problem.header, problem.reason);
        let found = recorder(dispatch).map(|recorder| recorder.config().propagators.extract_reporting(carrier, count));
        found.unwrap_or_default()
    })
}

/// Writes the identity of `span` and its baggage to the headers of an outgoing request.
pub fn inject(span: &Span, carrier: &mut dyn Inject) {
    let propagated = span.propagated();
    span.with_subscriber(|(_, dispatch)| {
        if let Some(recorder) = recorder(dispatch) {
            recorder.config().propagators.inject(&propagated, carrier);
        }
    });
}
