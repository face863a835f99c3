//! Tasks of one service among several in a process.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use tracing::{Dispatch, dispatcher};

/// Runs `future`, and drops it, under a subscriber.
///
/// This is `tracing::instrument::WithSubscriber` but for the drop. The registry of `tracing-subscriber`
/// closes the parent of a span through whichever subscriber is current at that moment: a future that is
/// cancelled elsewhere, by the runtime for example, would close a span of another service.
pub fn under<F: Future>(dispatch: &Dispatch, future: F) -> Under<F> {
    Under { dispatch: dispatch.clone(), future: Some(Box::pin(future)) }
}

/// The future that [`under`] makes.
#[must_use = "futures do nothing unless polled"]
pub struct Under<F> {
    dispatch: Dispatch,
    future: Option<Pin<Box<F>>>,
}

impl<F: Future> Future for Under<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let this = &mut *self;
        let _current = dispatcher::set_default(&this.dispatch);
        let Some(future) = &mut this.future else {
            // Asked again after it was ready, which the contract of futures leaves open.
            return Poll::Pending;
        };
        let polled = future.as_mut().poll(context);
        if polled.is_ready() {
            this.future = None;
        }
        polled
    }
}

impl<F> Drop for Under<F> {
    fn drop(&mut self) {
        let _current = dispatcher::set_default(&self.dispatch);
        self.future = None;
    }
}
