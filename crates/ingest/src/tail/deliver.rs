//! A batch to the sink, again until it has it.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tracewell_wire::accesslog::Encoded;

use super::stats::LineStats;
use crate::sink::{Signal, Sink, SinkError, Submission};

/// The longest wait between two attempts.
const WAIT_MAX: Duration = Duration::from_secs(5);

/// A batch that was not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Undelivered {
    /// Asked to stop while waiting.
    #[error("stopped before everything was stored")]
    Stopped,
    /// The sink has refused for too long.
    #[error("not stored within {within:?}: {reason}")]
    GivenUp {
        /// The time that was given.
        within: Duration,
        /// What the sink said last.
        reason: String,
    },
}

/// Hands a batch to the sink, spans first; what the sink cannot take now is repeated, for `give_up` or for ever, until
/// `stop` says so.
///
/// # Errors
/// When it was stopped or has given up; parts of the batch may be stored.
pub async fn deliver(
    sink: &dyn Sink,
    tenant: &Arc<str>,
    encoded: Encoded,
    stats: &LineStats,
    give_up: Option<Duration>,
    stop: &mut watch::Receiver<bool>,
) -> Result<(), Undelivered> {
    let parts = [(Signal::Traces, encoded.traces, encoded.spans), (Signal::Logs, encoded.logs, encoded.log_records)];
    for (signal, payload, items) in parts {
        if payload.is_empty() {
            continue;
        }
        let submission = Submission { tenant: Arc::clone(tenant), signal, payload: payload.into(), items };
        let started = tokio::time::Instant::now();
        let mut wait = Duration::from_millis(100);
        loop {
            let error = tokio::select! {
                taken = sink.submit(submission.clone()) => match taken {
                    Ok(()) => break,
                    Err(error) => error,
                },
                _ = stop.wait_for(|stop| *stop) => return Err(Undelivered::Stopped),
            };
            stats.retried();
            if let Some(within) = give_up.filter(|within| started.elapsed() >= *within) {
                return Err(Undelivered::GivenUp { within, reason: error.to_string() });
            }
            let (SinkError::Overloaded { retry_after } | SinkError::Unavailable { retry_after, .. }) = error;
            tokio::select! {
                () = tokio::time::sleep(wait.max(retry_after).min(WAIT_MAX)) => {}
                _ = stop.wait_for(|stop| *stop) => return Err(Undelivered::Stopped),
            }
            wait = (wait * 2).min(WAIT_MAX);
        }
        match signal {
            Signal::Traces => stats.stored(items, 0),
            Signal::Logs => stats.stored(0, items),
        }
    }
    Ok(())
}
