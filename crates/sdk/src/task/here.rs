//! The context of one place, to be used at another.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::Pin;
use std::task::{Context, Poll};

use tracewell_propagate::Propagated;
use tracing::dispatcher::{self, DefaultGuard};
use tracing::{Dispatch, Span};

use super::Name;
use crate::SpanExt;
use crate::access::{self, Exception};

/// The current span's identity and baggage, and the subscriber.
pub struct Here {
    dispatch: Dispatch,
    from: Propagated,
    /// Current while the work runs: stands for the span that was current, or is the work's own.
    span: Span,
    own: bool,
}

impl Here {
    /// The context of this place. What is done in it belongs to the current span but does not hold it open.
    pub fn capture() -> Self {
        Self::new(None)
    }

    /// As [`Here::capture`], with a span for the work: it begins now and ends with the work.
    pub fn named(name: impl Into<Name>) -> Self {
        Self::new(Some(name.into()))
    }

    fn new(name: Option<Name>) -> Self {
        let from = Span::current().propagated();
        let known = from.context.as_ref().is_some_and(|context| context.is_valid());
        let own = name.is_some();
        let span = match name {
            Some(name) => {
                let span = tracing::info_span!(target: "tracewell_sdk::task", parent: None, "task");
                access::adopt_local(&span, &from);
                span.set_name(name);
                span
            }
            // Without a trace there is nothing to carry.
            None if known => {
                let span = tracing::info_span!(target: "tracewell_sdk::task", parent: None, "context");
                access::stand_in(&span, &from);
                span
            }
            None => Span::none(),
        };
        Self { dispatch: dispatcher::get_default(Dispatch::clone), from, span, own }
    }

    /// Runs `work` in this context; a panic in it is recorded and goes on.
    pub fn run<T>(&self, work: impl FnOnce() -> T) -> T {
        let _subscriber = self.subscribe();
        let done = catch_unwind(AssertUnwindSafe(|| self.span.in_scope(work)));
        done.unwrap_or_else(|payload| {
            self.failed(payload.as_ref());
            resume_unwind(payload)
        })
    }

    /// The future or stream `work`, polled and dropped in this context.
    pub fn carry<W>(self, work: W) -> Carried<W> {
        Carried { work: Some(Box::pin(work)), here: self }
    }

    /// Makes the subscriber current where it is not. Where it is the global one nothing is set, because a
    /// subscriber set for one thread makes looking up the current one slower for all.
    fn subscribe(&self) -> Option<DefaultGuard> {
        (!access::is_current(&self.dispatch)).then(|| dispatcher::set_default(&self.dispatch))
    }

    fn failed(&self, payload: &(dyn std::any::Any + Send)) {
        let text = payload.downcast_ref::<&str>().copied();
        let message = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str)).unwrap_or("panicked");
        if self.own {
            // The hook has added the event, with the place, where the panic happened.
            access::mark_failed(&self.span, "panic", message);
        } else if self.from.context.is_some() {
            let span = tracing::info_span!(target: "tracewell_sdk::task", parent: None, "task");
            access::adopt_local(&span, &self.from);
            access::record_exception(&span, &Exception { kind: "panic", message, stacktrace: "" });
        }
    }
}

/// What [`Here::carry`] makes.
#[must_use = "futures and streams do nothing unless polled"]
pub struct Carried<W> {
    work: Option<Pin<Box<W>>>,
    here: Here,
}

impl<W> Carried<W> {
    /// Polls within the context; `done` says whether that was the end.
    fn poll_with<T>(&mut self, poll: impl FnOnce(Pin<&mut W>) -> Poll<T>, done: impl FnOnce(&T) -> bool) -> Poll<T> {
        // Asked again after the end, which the contract of futures leaves open.
        let Some(work) = &mut self.work else { return Poll::Pending };
        let polled = self.here.run(|| poll(work.as_mut()));
        if let Poll::Ready(value) = &polled
            && done(value)
        {
            self.drop_work();
        }
        polled
    }

    /// What the work holds is dropped in its context, and its span ends there.
    fn drop_work(&mut self) {
        if let Some(work) = self.work.take() {
            let _subscriber = self.here.subscribe();
            self.here.span.in_scope(|| drop(work));
            self.here.span = Span::none();
        }
    }
}

// The work is pinned in its box, wherever this is moved.
impl<W> Unpin for Carried<W> {}

impl<F: Future> Future for Carried<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        self.poll_with(|future| future.poll(context), |_| true)
    }
}

#[cfg(feature = "tokio")]
impl<S: futures_core::Stream> futures_core::Stream for Carried<S> {
    type Item = S::Item;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<S::Item>> {
        if self.work.is_none() {
            return Poll::Ready(None);
        }
        self.poll_with(|stream| stream.poll_next(context), Option::is_none)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.work.as_ref().map_or((0, Some(0)), |stream| stream.size_hint())
    }
}

impl<W> Drop for Carried<W> {
    fn drop(&mut self) {
        self.drop_work();
    }
}
