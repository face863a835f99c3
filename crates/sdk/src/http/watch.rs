//! A request from its first to its last moment, for both sides of both protocols.

use bytes::Buf;
use http::HeaderMap;
use http::response::Parts;
use tracing::Span;

use super::panics::Panicked;
use crate::edit::{self, Editor};

/// How the work came to its end.
pub enum End<'a> {
    /// As it should.
    Complete,
    /// With an error of a kind for `error.type`, where one is known, and its words.
    Failed(Option<&'static str>, String),
    /// Whoever waited for it has gone away.
    Abandoned,
    /// The application's code panicked.
    Panicked(&'a Panicked),
}

/// What one side of one protocol notes of a request, and records when it is over.
pub trait Watch: Unpin {
    /// The head of the answer is there.
    fn head(&mut self, span: &Span, head: &mut Parts);

    /// So many bytes of the body went by; `chunk` is the first piece of them.
    fn data(&mut self, span: &Span, chunk: &[u8], bytes: usize);

    /// The trailers went by.
    fn trailers(&mut self, span: &Span, trailers: &HeaderMap);

    /// True when a body that is dropped now was complete, or was never going to be sent.
    fn may_stop(&self) -> bool;

    /// Records what has been noted.
    fn end(&mut self, edit: &mut Editor<'_>, end: End<'_>);
}

/// A span that ends with the work that it stands for, whichever way that ends. Dropped before it was told
/// how, it takes the work for abandoned.
pub struct Open<W: Watch> {
    span: Span,
    pub(crate) watch: W,
    /// True while dropping it is nothing unusual.
    idle: bool,
    over: bool,
}

impl<W: Watch> Open<W> {
    pub(crate) fn new(span: Span, watch: W) -> Self {
        Self { span, watch, idle: false, over: false }
    }

    pub(crate) fn span(&self) -> &Span {
        &self.span
    }

    pub(crate) fn set_idle(&mut self, idle: bool) {
        self.idle = idle;
    }

    pub(crate) fn head(&mut self, head: &mut Parts) {
        self.watch.head(&self.span, head);
    }

    pub(crate) fn data(&mut self, data: &impl Buf) {
        self.watch.data(&self.span, data.chunk(), data.remaining());
    }

    pub(crate) fn trailers(&mut self, trailers: &HeaderMap) {
        self.watch.trailers(&self.span, trailers);
    }

    /// Records the end and hands the span over; only the first time counts.
    pub(crate) fn over(&mut self, end: End<'_>) {
        if !std::mem::replace(&mut self.over, true) {
            let watch = &mut self.watch;
            edit::finish(&self.span, |edit| watch.end(edit, end));
        }
    }

    /// A panic that somebody further down caught: an event, but not the end.
    pub(crate) fn note(&self, panicked: &Panicked) {
        edit::edit(&self.span, |edit| panicked.record(edit));
    }
}

impl<W: Watch> Drop for Open<W> {
    fn drop(&mut self) {
        let stopped = self.idle || self.watch.may_stop();
        self.over(if stopped { End::Complete } else { End::Abandoned });
    }
}
