//! A body that keeps its span open until it is over.

use std::any::Any;
use std::fmt;
use std::panic::resume_unwind;
use std::pin::Pin;
use std::task::{Context, Poll};

use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

use super::watch::{End, Open, Watch};
use super::{fault, panics};

pin_project! {
    /// A body whose span ends with its last frame.
    pub struct TracedBody<B, W: Watch> {
        #[pin]
        inner: B,
        open: Option<Open<W>>,
    }
}

impl<B: Body, W: Watch> TracedBody<B, W> {
    pub(crate) fn new(inner: B, mut open: Open<W>) -> Self {
        // A body that nobody begins to read, such as that of an answer to HEAD, is simply dropped.
        open.set_idle(true);
        if inner.is_end_stream() {
            open.over(End::Complete);
        }
        Self { inner, open: Some(open) }
    }
}

impl<B, W> Body for TracedBody<B, W>
where
    B: Body,
    B::Error: fmt::Display + Any,
    W: Watch,
{
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let mut this = self.project();
        let Some(open) = this.open else { return this.inner.poll_frame(context) };
        open.set_idle(false);
        let entered = open.span().enter();
        let outcome = panics::watch(|| this.inner.as_mut().poll_frame(context));
        drop(entered);
        let polled = match outcome.result {
            Ok(polled) => polled,
            Err(payload) => {
                if let Some(panicked) = &outcome.panicked {
                    open.over(End::Panicked(panicked));
                }
                resume_unwind(payload);
            }
        };
        match &polled {
            Poll::Pending => {}
            Poll::Ready(None) => open.over(End::Complete),
            Poll::Ready(Some(Err(error))) => open.over(End::Failed(fault::kind(error), fault::words(error))),
            Poll::Ready(Some(Ok(frame))) => {
                if let Some(data) = frame.data_ref() {
                    open.data(data);
                } else if let Some(trailers) = frame.trailers_ref() {
                    open.trailers(trailers);
                }
                // hyper does not ask again once it knows that this was the last frame.
                if this.inner.is_end_stream() {
                    open.over(End::Complete);
                }
            }
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

impl<B: Default, W: Watch> Default for TracedBody<B, W> {
    fn default() -> Self {
        Self { inner: B::default(), open: None }
    }
}
