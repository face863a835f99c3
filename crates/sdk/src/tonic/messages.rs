//! Messages of a call as events of its span, where the application asks for it.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes};
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use tracing::Span;

use crate::edit;
use crate::proto::ValueRef;

/// Bytes before each message: whether it is compressed, and its length.
const PREFIX_BYTES: usize = 5;

/// Which way a message goes, as `rpc.message.type` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Direction {
    Sent,
    Received,
}

/// Finds the messages in the pieces of one body. Nothing is kept but counts.
#[derive(Debug)]
pub(super) struct Messages {
    direction: Direction,
    events_max: u32,
    seen: u32,
    prefix: [u8; PREFIX_BYTES],
    prefix_len: usize,
    /// Bytes until the message is over.
    rest: usize,
}

impl Messages {
    /// Records the first `events_max` messages.
    pub(super) fn new(direction: Direction, events_max: u32) -> Self {
        Self { direction, events_max, seen: 0, prefix: [0; PREFIX_BYTES], prefix_len: 0, rest: 0 }
    }

    /// Looks through the next `bytes` bytes, of which `chunk` is the first piece.
    pub(super) fn feed(&mut self, span: &Span, chunk: &[u8], bytes: usize) {
        if chunk.len() < bytes {
            // A body in scattered pieces: where the messages begin is not known any more.
            self.events_max = 0;
        }
        let mut input = chunk;
        while self.seen < self.events_max && !input.is_empty() {
            let skipped = self.rest.min(input.len());
            self.rest -= skipped;
            input = input.get(skipped..).unwrap_or_default();
            while let (Some((byte, after)), Some(slot)) = (input.split_first(), self.prefix.get_mut(self.prefix_len)) {
                if self.rest > 0 {
                    break;
                }
                *slot = *byte;
                self.prefix_len += 1;
                input = after;
            }
            if self.prefix_len == PREFIX_BYTES {
                let [_, length @ ..] = self.prefix;
                self.prefix_len = 0;
                self.rest = u32::from_be_bytes(length) as usize;
                self.seen += 1;
                self.record(span);
            }
        }
    }

    fn record(&self, span: &Span) {
        let direction = match self.direction {
            Direction::Sent => "SENT",
            Direction::Received => "RECEIVED",
        };
        let attributes = [
            ("rpc.message.type", ValueRef::Str(direction)),
            ("rpc.message.id", ValueRef::Int(i64::from(self.seen))),
            ("rpc.message.compressed_size", ValueRef::Int(self.rest as i64)),
        ];
        edit::edit(span, |edit| edit.event("rpc.message", &attributes));
    }
}

pin_project! {
    /// A request's body whose messages are recorded.
    pub(super) struct Watched<B> {
        #[pin]
        inner: B,
        span: Span,
        messages: Messages,
    }
}

impl<B> Watched<B> {
    pub(super) fn new(inner: B, span: Span, messages: Messages) -> Self {
        Self { inner, span, messages }
    }
}

impl<B: Body<Data = Bytes>> Body for Watched<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let this = self.project();
        let polled = this.inner.poll_frame(context);
        if let Poll::Ready(Some(Ok(frame))) = &polled
            && let Some(data) = frame.data_ref()
        {
            this.messages.feed(this.span, data.chunk(), data.remaining());
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_counted_however_the_bytes_are_cut() {
        let message = |length: u32| [&[0][..], &length.to_be_bytes(), &vec![7; length as usize]].concat();
        let stream = [message(3), message(0), message(300), message(1)].concat();
        for size in [1, 2, 4, 5, 6, 7, 100, stream.len()] {
            let mut messages = Messages::new(Direction::Sent, 10);
            stream.chunks(size).for_each(|chunk| messages.feed(&Span::none(), chunk, chunk.len()));
            assert_eq!((messages.seen, messages.rest, messages.prefix_len), (4, 0, 0), "pieces of {size}");
        }
        let mut few = Messages::new(Direction::Sent, 2);
        few.feed(&Span::none(), &stream, stream.len());
        assert_eq!(few.seen, 2, "bounded");
        let mut scattered = Messages::new(Direction::Sent, 2);
        scattered.feed(&Span::none(), &stream[..4], stream.len());
        assert_eq!(scattered.seen, 0);
    }
}
