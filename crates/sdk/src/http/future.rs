//! An answer to come, within its span.

use std::any::Any;
use std::fmt;
use std::future::Future;
use std::panic::resume_unwind;
use std::pin::Pin;
use std::task::{Context, Poll};

use http::Response;
use http_body::Body;
use pin_project_lite::pin_project;

use super::body::TracedBody;
use super::watch::{End, Open, Watch};
use super::{fault, panics};

pin_project! {
    /// The answer to come: polled and dropped within its span, which goes on into the body.
    pub struct Traced<F, W: Watch> {
        #[pin]
        inner: Option<F>,
        open: Option<Open<W>>,
    }

    impl<F, W: Watch> PinnedDrop for Traced<F, W> {
        fn drop(this: Pin<&mut Self>) {
            let mut this = this.project();
            if let Some(open) = this.open {
                // What is cancelled belongs to the span, and so do the spans that it closes.
                open.span().in_scope(|| this.inner.set(None));
            }
        }
    }
}

impl<F, W: Watch> Traced<F, W> {
    pub(crate) fn new(inner: F, open: Open<W>) -> Self {
        Self { inner: Some(inner), open: Some(open) }
    }
}

impl<F, W, R, E> Future for Traced<F, W>
where
    F: Future<Output = Result<Response<R>, E>>,
    W: Watch,
    R: Body,
    E: fmt::Display + Any,
{
    type Output = Result<Response<TracedBody<R, W>>, E>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let (Some(inner), Some(open)) = (this.inner.as_mut().as_pin_mut(), this.open.as_mut()) else {
            // Asked again after it was ready, which the contract of futures leaves open.
            return Poll::Pending;
        };
        let span = open.span();
        let entered = span.enter();
        let outcome = panics::watch(|| inner.poll(context));
        if !matches!(outcome.result, Ok(Poll::Pending)) {
            this.inner.set(None);
        }
        drop(entered);
        let panicked = outcome.panicked;
        let polled = match outcome.result {
            Ok(polled) => polled,
            Err(payload) => {
                if let Some(panicked) = &panicked {
                    open.over(End::Panicked(panicked));
                }
                resume_unwind(payload);
            }
        };
        if let Some(panicked) = &panicked {
            open.note(panicked);
        }
        let Poll::Ready(result) = polled else { return Poll::Pending };
        let Some(mut open) = this.open.take() else { return Poll::Pending };
        Poll::Ready(match result {
            Ok(response) => {
                let (mut head, body) = response.into_parts();
                open.head(&mut head);
                Ok(Response::from_parts(head, TracedBody::new(body, open)))
            }
            Err(error) => {
                open.over(End::Failed(fault::kind(&error), fault::words(&error)));
                Err(error)
            }
        })
    }
}
