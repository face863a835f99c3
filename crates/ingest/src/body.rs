//! Bodies: reading one within its bounds, putting its message together, and the body of an answer.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use tokio::time::{Instant, timeout_at};

use crate::budget::Reservation;
use crate::config::Limits;
use crate::inflate::{Encoding, InflateError, Inflater};
use crate::refusal::{Reason, Refusal};
use crate::stats::Cell;

/// Smallest and largest piece by which the buffer of a decompressed body grows. The largest also bounds how long one
/// step keeps its thread.
const GROWTH_BYTES: (usize, usize) = (4 << 10, 4 << 20);

/// Most that is allocated because a client announces it; beyond, the buffer grows with what arrives.
const TRUSTED_BYTES_MAX: usize = 256 << 10;

/// A request body, read piece by piece under its time limits.
pub(crate) struct BodyReader<'a, B> {
    body: &'a mut B,
    cell: &'a Cell,
    limits: &'a Limits,
    ends_at: Instant,
    client_deadline: Option<Instant>,
    received_bytes: u64,
}

impl<'a, B> BodyReader<'a, B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: std::fmt::Display,
{
    /// A reader that counts into `cell` and gives up at the client's own deadline, if it has one.
    pub(crate) fn new(body: &'a mut B, cell: &'a Cell, limits: &'a Limits, client_deadline: Option<Instant>) -> Self {
        let ends_at = Instant::now() + limits.body_timeout();
        Self { body, cell, limits, ends_at, client_deadline, received_bytes: 0 }
    }

    /// How long the client says that the body is; 0 where it does not say.
    pub(crate) fn announced_bytes(&self) -> u64 {
        self.body.size_hint().exact().unwrap_or(0)
    }

    /// The next piece; `None` at the end.
    pub(crate) async fn chunk(&mut self) -> Result<Option<Bytes>, Refusal> {
        loop {
            let own_end = self.ends_at.min(Instant::now() + self.limits.body_idle_timeout());
            let end = self.client_deadline.map_or(own_end, |deadline| deadline.min(own_end));
            let frame = match timeout_at(end, self.body.frame()).await {
                Ok(Some(Ok(frame))) => frame,
                Ok(Some(Err(error))) => {
                    let message = format!("the connection broke within the body: {error}");
                    return Err(Refusal::new(Reason::Aborted, message));
                }
                Ok(None) => return Ok(None),
                Err(_) if end < own_end => return Err(deadline_exceeded()),
                Err(_) => {
                    let message = format!(
                        "the body did not arrive in time ({} bytes so far); it may stand still for {} ms and take {} ms",
                        self.received_bytes, self.limits.body_idle_timeout_ms, self.limits.body_timeout_ms
                    );
                    return Err(Refusal::new(Reason::TimedOut, message));
                }
            };
            // Trailers say nothing that matters here.
            let Ok(data) = frame.into_data() else { continue };
            self.cell.received(data.len());
            self.received_bytes += data.len() as u64;
            if data.is_empty() {
                continue;
            }
            return Ok(Some(data));
        }
    }
}

pub(crate) fn deadline_exceeded() -> Refusal {
    Refusal::new(Reason::DeadlineExceeded, "the client's deadline passed before the request was stored")
}

/// Puts a message together in one buffer, decompressing as the pieces come.
///
/// Every byte that the buffer holds is charged to the budget before it is written.
pub(crate) struct Assembler {
    inflater: Option<Inflater>,
    message: Vec<u8>,
    message_bytes_max: usize,
    announced_bytes: usize,
    received_bytes: usize,
    retry_after: Duration,
    reservation: Reservation,
}

/// A whole message and its share of the budget.
#[derive(Debug)]
pub(crate) struct Payload {
    pub(crate) bytes: Vec<u8>,
    pub(crate) reservation: Reservation,
}

impl Assembler {
    /// An empty buffer for a message of `announced_bytes` (0 where the client does not say).
    pub(crate) fn new(
        encoding: Encoding,
        announced_bytes: u64,
        limits: &Limits,
        reservation: Reservation,
    ) -> Result<Self, Refusal> {
        let message_bytes_max = usize::try_from(limits.body_bytes_max).unwrap_or(usize::MAX - 1);
        if announced_bytes > message_bytes_max as u64 {
            return Err(too_large(message_bytes_max as u64));
        }
        let inflater = Inflater::new(encoding).map_err(not_decodable)?;
        Ok(Self {
            inflater,
            message: Vec::new(),
            message_bytes_max,
            announced_bytes: announced_bytes as usize,
            received_bytes: 0,
            retry_after: limits.retry_after(),
            reservation,
        })
    }

    /// Adds a piece as it came over the wire.
    pub(crate) async fn push(&mut self, mut chunk: &[u8]) -> Result<(), Refusal> {
        self.received_bytes += chunk.len();
        if self.received_bytes > self.message_bytes_max {
            return Err(too_large(self.message_bytes_max as u64));
        }
        let Some(mut inflater) = self.inflater.take() else {
            self.charge(chunk.len())?;
            self.make_room_for(chunk.len());
            self.message.extend_from_slice(chunk);
            return Ok(());
        };
        loop {
            if self.message.len() > self.message_bytes_max {
                return Err(too_large(self.message_bytes_max as u64));
            }
            if self.message.len() == self.message.capacity() {
                self.make_room(chunk.len())?;
            }
            let before = self.message.len();
            let consumed = inflater.step(chunk, &mut self.message).map_err(not_decodable)?;
            chunk = chunk.get(consumed..).unwrap_or_default();
            if chunk.is_empty() && self.message.len() < self.message.capacity() {
                break;
            }
            if self.message.len() - before >= GROWTH_BYTES.1 / 4 {
                // A body that expands a lot must not keep others from this thread.
                tokio::task::yield_now().await;
            }
        }
        self.inflater = Some(inflater);
        Ok(())
    }

    /// The message, when all of it was pushed.
    pub(crate) fn finish(self) -> Result<Payload, Refusal> {
        if let Some(inflater) = &self.inflater {
            inflater.finish().map_err(not_decodable)?;
        }
        if self.message.len() > self.message_bytes_max {
            return Err(too_large(self.message_bytes_max as u64));
        }
        Ok(Payload { bytes: self.message, reservation: self.reservation })
    }

    /// Grows the buffer of a message that is not compressed: to what was announced as far as that is believed, then by
    /// doubling, and never past the announcement without need.
    fn make_room_for(&mut self, more_bytes: usize) {
        let (held_bytes, capacity) = (self.message.len(), self.message.capacity());
        if held_bytes + more_bytes > capacity {
            let missing_bytes = self.announced_bytes.saturating_sub(held_bytes);
            let wanted_bytes = missing_bytes.min(capacity.max(TRUSTED_BYTES_MAX));
            self.message.reserve_exact(wanted_bytes.max(more_bytes));
        }
    }

    /// Grows the buffer of a decompressed message: by what it holds already, within bounds, and one byte past the limit so
    /// that "exactly the limit" and "more" differ.
    fn make_room(&mut self, input_bytes: usize) -> Result<(), Refusal> {
        let held_bytes = self.message.len();
        let wanted_bytes = held_bytes.max(input_bytes.saturating_mul(4)).clamp(GROWTH_BYTES.0, GROWTH_BYTES.1);
        let more_bytes = wanted_bytes.min(self.message_bytes_max + 1 - held_bytes);
        self.charge(more_bytes)?;
        self.message.reserve_exact(more_bytes);
        Ok(())
    }

    fn charge(&mut self, bytes: usize) -> Result<(), Refusal> {
        if self.reservation.grow(bytes as u64) { Ok(()) } else { Err(overloaded(self.retry_after)) }
    }
}

pub(crate) fn too_large(bytes_max: u64) -> Refusal {
    let message = format!("the body has more than {bytes_max} bytes (after decompression); send smaller batches");
    Refusal::new(Reason::TooLarge, message)
}

pub(crate) fn overloaded(retry_after: Duration) -> Refusal {
    Refusal::retry(Reason::Overloaded, "too many bytes are in flight; retry later", retry_after)
}

fn not_decodable(error: InflateError) -> Refusal {
    Refusal::new(Reason::DecodeError, error.to_string())
}

/// Body of an answer: at most one piece of data, then trailers where the protocol has them.
#[derive(Debug, Default)]
pub struct Reply {
    data: Bytes,
    trailers: Option<Box<HeaderMap>>,
}

impl Reply {
    /// A body of `data`.
    pub(crate) fn new(data: Bytes) -> Self {
        Self { data, trailers: None }
    }

    /// A body of `data` with `trailers` behind it.
    pub(crate) fn with_trailers(data: Bytes, trailers: HeaderMap) -> Self {
        Self { data, trailers: Some(Box::new(trailers)) }
    }
}

impl Body for Reply {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        if !self.data.is_empty() {
            return Poll::Ready(Some(Ok(Frame::data(std::mem::take(&mut self.data)))));
        }
        Poll::Ready(self.trailers.take().map(|trailers| Ok(Frame::trailers(*trailers))))
    }

    fn is_end_stream(&self) -> bool {
        self.data.is_empty() && self.trailers.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        match self.trailers {
            None => SizeHint::with_exact(self.data.len() as u64),
            Some(_) => SizeHint::default(),
        }
    }
}
