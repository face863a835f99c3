//! The body of a request on its way to the backend: counted, held back until the backend wants it, and kept for a
//! while so that it can be sent a second time.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use parking_lot::Mutex;
use tokio::sync::oneshot;
use tokio::time::Sleep;

/// How long the backend may take to ask for a body that the client holds back (`Expect: 100-continue`). Backends that
/// do not know the expectation say nothing, so the client is then told to go on (RFC 9110 §10.1.1).
const EXPECT_TIME: Duration = Duration::from_secs(1);

/// What the body of a request came to; shared by the body and whoever reports on it.
#[derive(Debug, Default)]
pub(crate) struct Sent {
    bytes: AtomicU64,
    broken: AtomicBool,
    answered: AtomicBool,
    waiting: Mutex<Option<Waker>>,
}

impl Sent {
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// The answer is complete: nobody needs the rest of the body.
    pub(crate) fn stop(&self) {
        self.answered.store(true, Ordering::Release);
        if let Some(waker) = self.waiting.lock().take() {
            waker.wake();
        }
    }

    /// The client failed while it sent.
    pub(crate) fn is_broken(&self) -> bool {
        self.broken.load(Ordering::Relaxed)
    }
}

/// The body of one request, from which several attempts may read one after the other.
pub(crate) struct Upload {
    state: Arc<Mutex<State>>,
    pub(crate) sent: Arc<Sent>,
}

struct State {
    from: Incoming,
    /// Frames that were read already, while everything was kept.
    kept: Vec<Kept>,
    kept_bytes: usize,
    kept_bytes_max: usize,
    /// False once something was not kept: then nobody can begin anew.
    complete: bool,
    ended: bool,
    /// The attempt that may read.
    attempt: u32,
    gate: Option<Gate>,
}

enum Kept {
    Data(Bytes),
    Trailers(HeaderMap),
}

impl Kept {
    fn frame(&self) -> Frame<Bytes> {
        match self {
            Kept::Data(data) => Frame::data(data.clone()),
            Kept::Trailers(trailers) => Frame::trailers(trailers.clone()),
        }
    }
}

struct Gate {
    asked: Option<oneshot::Receiver<()>>,
    patience: Pin<Box<Sleep>>,
}

impl Gate {
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        match &mut self.asked {
            Some(asked) => match Pin::new(asked).poll(context) {
                Poll::Ready(Ok(())) => Poll::Ready(()),
                Poll::Ready(Err(_)) => {
                    // The backend has answered otherwise: the body stays with the client.
                    self.asked = None;
                    Poll::Pending
                }
                Poll::Pending => self.patience.as_mut().poll(context),
            },
            None => Poll::Pending,
        }
    }
}

impl Upload {
    /// `None` for a request without body. Up to `kept_bytes_max` are kept for a second attempt.
    pub(crate) fn new(from: Incoming, kept_bytes_max: usize) -> Option<Self> {
        if from.is_end_stream() {
            return None;
        }
        let state = State {
            from,
            kept: Vec::new(),
            kept_bytes: 0,
            kept_bytes_max,
            complete: true,
            ended: false,
            attempt: 0,
            gate: None,
        };
        Some(Self { state: Arc::new(Mutex::new(state)), sent: Arc::default() })
    }

    /// Holds the body back until what is returned is used, or a second is over.
    pub(crate) fn hold(&self) -> oneshot::Sender<()> {
        let (ask, asked) = oneshot::channel();
        self.state.lock().gate = Some(Gate { asked: Some(asked), patience: Box::pin(tokio::time::sleep(EXPECT_TIME)) });
        ask
    }

    /// A reader from the first byte, which cuts off all earlier ones; `None` when that is gone.
    pub(crate) fn reader(&self) -> Option<RequestBody> {
        let mut state = self.state.lock();
        if !state.complete {
            return None;
        }
        state.attempt += 1;
        let hint = if state.attempt == 1 { state.from.size_hint() } else { SizeHint::default() };
        let reader = Reader {
            state: Arc::clone(&self.state),
            sent: Arc::clone(&self.sent),
            attempt: state.attempt,
            next: 0,
            hint,
        };
        self.sent.bytes.store(0, Ordering::Relaxed);
        Some(RequestBody(Some(reader)))
    }

    /// Whether everything read so far is still there.
    pub(crate) fn is_whole(&self) -> bool {
        self.state.lock().complete
    }

    /// Keeps nothing from now on: there will be no further attempt.
    pub(crate) fn last_attempt(&self) {
        self.state.lock().kept_bytes_max = 0;
    }
}

/// What is sent to a backend.
pub(crate) struct RequestBody(Option<Reader>);

impl RequestBody {
    pub(crate) fn empty() -> Self {
        Self(None)
    }
}

struct Reader {
    state: Arc<Mutex<State>>,
    sent: Arc<Sent>,
    attempt: u32,
    next: usize,
    hint: SizeHint,
}

impl Reader {
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let mut guard = self.state.lock();
        let state = &mut *guard;
        if state.attempt != self.attempt {
            return Poll::Ready(None);
        }
        *self.sent.waiting.lock() = Some(context.waker().clone());
        if self.sent.answered.load(Ordering::Acquire) {
            return Poll::Ready(None);
        }
        if let Some(gate) = &mut state.gate {
            ready!(gate.poll(context));
            state.gate = None;
        }
        if let Some(kept) = state.kept.get(self.next) {
            self.next += 1;
            let frame = kept.frame();
            self.sent.bytes.fetch_add(frame.data_ref().map_or(0, |data| data.len() as u64), Ordering::Relaxed);
            return Poll::Ready(Some(Ok(frame)));
        }
        if state.ended {
            return Poll::Ready(None);
        }
        let frame = match ready!(Pin::new(&mut state.from).poll_frame(context)) {
            Some(Ok(frame)) => frame,
            Some(Err(error)) => {
                self.sent.broken.store(true, Ordering::Relaxed);
                return Poll::Ready(Some(Err(error)));
            }
            None => {
                state.ended = true;
                return Poll::Ready(None);
            }
        };
        let bytes = frame.data_ref().map_or(0, Bytes::len);
        self.sent.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        state.kept_bytes += bytes;
        if state.complete && state.kept_bytes <= state.kept_bytes_max {
            let kept = match (frame.data_ref(), frame.trailers_ref()) {
                (Some(data), _) => Kept::Data(data.clone()),
                (None, Some(trailers)) => Kept::Trailers(trailers.clone()),
                (None, None) => return Poll::Ready(Some(Ok(frame))),
            };
            state.kept.push(kept);
            self.next = state.kept.len();
        } else if state.complete {
            state.complete = false;
            state.kept = Vec::new();
            self.next = 0;
        }
        Poll::Ready(Some(Ok(frame)))
    }

    fn is_end_stream(&self) -> bool {
        let state = self.state.lock();
        state.attempt != self.attempt
            || (self.next >= state.kept.len() && (state.ended || (state.gate.is_none() && state.from.is_end_stream())))
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        match &mut self.0 {
            Some(reader) => reader.poll(context),
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.0.as_ref().is_none_or(Reader::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.0.as_ref().map_or_else(|| SizeHint::with_exact(0), |reader| reader.hint)
    }
}
