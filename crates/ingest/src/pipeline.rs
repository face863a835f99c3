//! What every protocol does with a whole message: check it, hand it to the sink, count.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use tokio::time::{Instant, timeout_at};
use tracewell_wire::otlp::{self, Checked};

use crate::body::{Payload, deadline_exceeded, overloaded};
use crate::budget::Budget;
use crate::config::IngestConfig;
use crate::refusal::{Reason, Refusal};
use crate::sink::{Signal, Sink, SinkError, Submission};
use crate::stats::{ItemFault, Receiver, Stats};

/// Checking takes about a millisecond per MiB, reading JSON several; longer work leaves the threads that serve sockets.
fn inline_bytes_max(format: Format) -> usize {
    match format {
        Format::Protobuf => 1 << 20,
        Format::Json => 128 << 10,
    }
}

/// What all requests share.
pub(crate) struct Shared {
    pub(crate) config: IngestConfig,
    pub(crate) sink: Arc<dyn Sink>,
    pub(crate) stats: Arc<Stats>,
    pub(crate) budget: Arc<Budget>,
    closing: AtomicBool,
}

impl Shared {
    pub(crate) fn new(config: IngestConfig, sink: Arc<dyn Sink>, stats: Arc<Stats>, budget: Arc<Budget>) -> Self {
        Self { config, sink, stats, budget, closing: AtomicBool::new(false) }
    }

    /// From here on health checks say that the server leaves.
    pub(crate) fn close(&self) {
        self.closing.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_closing(&self) -> bool {
        self.closing.load(Ordering::Relaxed)
    }
}

/// A message that arrived whole.
pub(crate) struct Arrival {
    pub(crate) receiver: Receiver,
    pub(crate) signal: Signal,
    pub(crate) format: Format,
    pub(crate) tenant: Arc<str>,
    pub(crate) payload: Payload,
    /// When the client stops waiting.
    pub(crate) deadline: Option<Instant>,
}

/// How a message is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    Protobuf,
    Json,
}

/// A message that was taken, in whole or in part.
#[derive(Debug, Default)]
pub(crate) struct Taken {
    /// Spans that were left out.
    pub(crate) rejected: u64,
    /// Why, for the client.
    pub(crate) reason: Option<String>,
}

/// Takes a message: `Ok` once the sink has it.
pub(crate) async fn take(shared: &Arc<Shared>, arrival: Arrival) -> Result<Taken, Refusal> {
    let Arrival { receiver, signal, format, tenant, payload, deadline } = arrival;
    let Payload { bytes, mut reservation } = payload;
    let cell = shared.stats.cell(receiver, Some(signal));
    cell.decoded(bytes.len());

    let received_bytes = bytes.len();
    let (message, checked) = if received_bytes <= inline_bytes_max(format) {
        check(signal, format, bytes)?
    } else {
        let work = tokio::task::spawn_blocking(move || check(signal, format, bytes));
        work.await.map_err(|_| internal("checking the request failed"))??
    };
    if message.len() > received_bytes && !reservation.grow((message.len() - received_bytes) as u64) {
        return Err(overloaded(shared.config.limits.retry_after()));
    }
    if checked.items > 0 {
        let submission = Submission { tenant, signal, payload: message, items: checked.items };
        // A task of its own: a client that leaves must not undo half of a write, and the bytes stay charged until the
        // sink is done with them.
        let (sink, stats) = (Arc::clone(&shared.sink), Arc::clone(&shared.stats));
        let write = tokio::spawn(async move {
            let _held = reservation;
            let items = submission.items;
            let result = sink.submit(submission).await;
            if result.is_ok() {
                stats.cell(receiver, Some(signal)).accepted(items);
            }
            result
        });
        let written = match deadline {
            Some(deadline) => timeout_at(deadline, write).await.map_err(|_| deadline_exceeded())?,
            None => write.await,
        };
        written.map_err(|_| internal("storing the request failed"))?.map_err(refused_by_sink)?;
    }
    cell.rejected(ItemFault::TraceId, checked.without_trace_id);
    cell.rejected(ItemFault::SpanId, checked.without_span_id);
    Ok(Taken { rejected: checked.rejected, reason: checked.reason })
}

/// The message as protobuf, and what is in it.
fn check(signal: Signal, format: Format, bytes: Vec<u8>) -> Result<(Bytes, Checked), Refusal> {
    let fail = |error: tracewell_wire::DecodeError| Refusal::new(Reason::DecodeError, error.to_string());
    let bytes = match (format, signal) {
        (Format::Protobuf, _) => bytes,
        (Format::Json, Signal::Traces) => otlp::json::traces_to_protobuf(&bytes).map_err(fail)?,
        (Format::Json, Signal::Logs) => otlp::json::logs_to_protobuf(&bytes).map_err(fail)?,
    };
    let mut checked = match signal {
        Signal::Traces => otlp::check_traces(&bytes),
        Signal::Logs => otlp::check_logs(&bytes),
    }
    .map_err(fail)?;
    let bytes = checked.normalized.take().unwrap_or(bytes);
    Ok((Bytes::from(bytes), checked))
}

fn refused_by_sink(error: SinkError) -> Refusal {
    let message = error.to_string();
    match error {
        SinkError::Overloaded { retry_after } => Refusal::retry(Reason::Overloaded, message, retry_after),
        SinkError::Unavailable { retry_after, .. } => Refusal::retry(Reason::Unavailable, message, retry_after),
    }
}

fn internal(what: &'static str) -> Refusal {
    Refusal::new(Reason::Internal, what)
}
