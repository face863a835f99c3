//! A body that keeps its span open until it is over.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use tracing::Span;

use crate::SpanExt;

/// A span that ends with the work that it stands for, whichever way that ends: `done` is called with it,
/// or it is dropped, which means that whoever waited has gone away.
pub(super) struct Open {
    span: Option<Span>,
    /// False while dropping it is nothing unusual.
    expected: bool,
}

impl Open {
    pub(super) fn new(span: Span) -> Self {
        Self { span: Some(span), expected: true }
    }

    pub(super) fn span(&self) -> Span {
        self.span.clone().unwrap_or_else(Span::none)
    }

    fn done(&mut self) {
        if let Some(span) = self.span.take() {
            span.end();
        }
    }

    /// The work failed with an error of this kind.
    pub(super) fn failed(&mut self, kind: &str, error: &dyn fmt::Display) {
        if let Some(span) = self.span.take() {
            span.record("error.type", kind);
            span.record("otel.status_code", "error");
            span.record("otel.status_message", tracing::field::display(error));
            span.end();
        }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.failed("panic", &"the handler panicked");
        } else if self.expected {
            self.failed("cancelled", &"abandoned before it was complete");
        }
        self.done();
    }
}

pin_project! {
    /// A body whose span ends with its last frame.
    pub struct TracedBody<B> {
        #[pin]
        inner: B,
        open: Open,
    }
}

impl<B: Body> TracedBody<B> {
    pub(super) fn new(inner: B, mut open: Open) -> Self {
        // A body that nobody reads, such as that of an answer to HEAD, is simply dropped.
        open.expected = false;
        if inner.is_end_stream() {
            open.done();
        }
        Self { inner, open }
    }
}

impl<B> Body for TracedBody<B>
where
    B: Body,
    B::Error: fmt::Display,
{
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let mut this = self.project();
        let span = this.open.span();
        let _entered = span.enter();
        this.open.expected = true;
        let frame = ready!(this.inner.as_mut().poll_frame(context));
        match &frame {
            None => this.open.done(),
            Some(Err(error)) => this.open.failed("body_error", error),
            // hyper does not ask again once it knows that this was the last frame.
            Some(Ok(_)) if this.inner.is_end_stream() => this.open.done(),
            Some(Ok(_)) => {}
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

impl<B: Default> Default for TracedBody<B> {
    fn default() -> Self {
        Self { inner: B::default(), open: Open { span: None, expected: false } }
    }
}
