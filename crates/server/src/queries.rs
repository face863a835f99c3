//! Running queries: on threads of their own, a few at a time, each within its budget, and only for as long as somebody
//! waits for the answer.
//!
//! ```text
//! handler ── permit (bounded wait) ──▶ blocking thread: work(&Budget)
//!    │                                      ▲ looks at the flag
//!    └─ dropped when the client goes ───────┘ sets the flag
//! ```

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use axum::http::StatusCode;
use tokio::sync::Semaphore;
use tracewell_query::Budget;

use crate::config::QueryLimits;
use crate::http::error::ApiError;

/// Upper bounds of the latency histogram, in milliseconds.
pub(crate) const LATENCY_BOUNDS_MS: [u64; 10] = [1, 2, 5, 10, 50, 100, 500, 1_000, 5_000, 30_000];

/// Counters since the start.
#[derive(Debug, Default)]
pub(crate) struct QueryStats {
    pub(crate) running: AtomicUsize,
    pub(crate) waiting: AtomicUsize,
    pub(crate) finished: AtomicU64,
    pub(crate) failed: AtomicU64,
    pub(crate) cancelled: AtomicU64,
    pub(crate) refused: AtomicU64,
    pub(crate) time_us: AtomicU64,
    /// Queries by latency: one slot for each bound and one for the rest.
    pub(crate) latency: [AtomicU64; LATENCY_BOUNDS_MS.len() + 1],
}

/// Runs queries.
#[derive(Debug, Clone)]
pub(crate) struct Queries {
    permits: Arc<Semaphore>,
    limits: QueryLimits,
    pub(crate) stats: Arc<QueryStats>,
}

/// Subtracts what was added when it is dropped, however that comes about.
struct Counted<'a>(&'a AtomicUsize);

impl<'a> Counted<'a> {
    fn new(counter: &'a AtomicUsize) -> Self {
        counter.fetch_add(1, Ordering::Relaxed);
        Self(counter)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Tells the query that nobody waits for it any more, unless it has ended.
struct CancelOnDrop {
    cancel: Arc<AtomicBool>,
    stats: Arc<QueryStats>,
    ended: bool,
}

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        if !self.ended {
            self.cancel.store(true, Ordering::Relaxed);
            self.stats.cancelled.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Queries {
    pub(crate) fn new(limits: QueryLimits) -> Self {
        Self { permits: Arc::new(Semaphore::new(limits.concurrency_max)), limits, stats: Arc::default() }
    }

    /// Runs `work` within a budget. Dropping the returned future cancels it.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Budget) -> Result<T, ApiError> + Send + 'static,
    ) -> Result<T, ApiError> {
        let permit = self.permit().await?;
        let cancel = Arc::new(AtomicBool::new(false));
        let budget = self.budget(&cancel);
        let mut guard = CancelOnDrop { cancel, stats: Arc::clone(&self.stats), ended: false };
        let stats = Arc::clone(&self.stats);
        let start = Instant::now();
        let task = tokio::task::spawn_blocking(move || {
            // The permit belongs to the thread: a cancelled query counts until it has really stopped.
            let _permit = permit;
            let _running = Counted::new(&stats.running);
            work(&budget)
        });
        let result = task.await;
        guard.ended = true;
        self.finished(start.elapsed(), matches!(result, Ok(Ok(_))));
        result.unwrap_or_else(|error| Err(ApiError::internal(format!("the query broke off: {error}"))))
    }

    fn budget(&self, cancel: &Arc<AtomicBool>) -> Budget {
        Budget {
            deadline: Some(Instant::now() + self.limits.time_max),
            max_bytes: self.limits.scan_bytes_max,
            cancelled: Arc::clone(cancel),
            ..Budget::default()
        }
    }

    async fn permit(&self) -> Result<tokio::sync::OwnedSemaphorePermit, ApiError> {
        if let Ok(permit) = Arc::clone(&self.permits).try_acquire_owned() {
            return Ok(permit);
        }
        if self.stats.waiting.load(Ordering::Relaxed) >= self.limits.waiting_max {
            return Err(self.refuse());
        }
        let _waiting = Counted::new(&self.stats.waiting);
        let waiting = Arc::clone(&self.permits).acquire_owned();
        match tokio::time::timeout(self.limits.time_max, waiting).await {
            Ok(Ok(permit)) => Ok(permit),
            _ => Err(self.refuse()),
        }
    }

    fn refuse(&self) -> ApiError {
        self.stats.refused.fetch_add(1, Ordering::Relaxed);
        let message = format!(
            "{} queries are running and {} are waiting",
            self.limits.concurrency_max,
            self.stats.waiting.load(Ordering::Relaxed)
        );
        let mut error = ApiError::new(StatusCode::TOO_MANY_REQUESTS, "too_many_queries", message)
            .with_hint("try again; query.concurrency_max in the configuration allows more at one time");
        error.retry_after_s = Some(1);
        error
    }

    fn finished(&self, took: Duration, ok: bool) {
        let counter = if ok { &self.stats.finished } else { &self.stats.failed };
        counter.fetch_add(1, Ordering::Relaxed);
        self.stats.time_us.fetch_add(took.as_micros() as u64, Ordering::Relaxed);
        let ms = took.as_millis() as u64;
        let slot = LATENCY_BOUNDS_MS.iter().position(|bound| ms < *bound).unwrap_or(LATENCY_BOUNDS_MS.len());
        self.stats.latency[slot].fetch_add(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queries(concurrency_max: usize, waiting_max: usize) -> Queries {
        let limits =
            QueryLimits { time_max: Duration::from_secs(5), scan_bytes_max: 1 << 20, concurrency_max, waiting_max };
        Queries::new(limits)
    }

    #[tokio::test]
    async fn a_query_is_cancelled_when_nobody_waits_for_it() {
        let queries = queries(1, 0);
        let (started, waits) = tokio::sync::oneshot::channel();
        let (ended, seen) = tokio::sync::oneshot::channel();
        let running = queries.clone();
        let client = tokio::spawn(async move {
            running
                .run(move |budget| {
                    started.send(()).unwrap();
                    while !budget.cancelled.load(Ordering::Relaxed) {
                        std::thread::yield_now();
                    }
                    ended.send(()).unwrap();
                    Ok(())
                })
                .await
        });
        waits.await.unwrap();
        client.abort();
        seen.await.unwrap();
        assert_eq!(queries.stats.cancelled.load(Ordering::Relaxed), 1);
    }

    #[tokio::test]
    async fn more_queries_than_may_wait_are_refused() {
        let queries = queries(1, 0);
        let (release, held) = std::sync::mpsc::channel::<()>();
        let (started, waits) = tokio::sync::oneshot::channel();
        let first = tokio::spawn({
            let queries = queries.clone();
            async move {
                queries
                    .run(move |_| {
                        started.send(()).unwrap();
                        held.recv().ok();
                        Ok(1)
                    })
                    .await
            }
        });
        waits.await.unwrap();
        let refused = queries.run(|_| Ok(2)).await.unwrap_err();
        assert_eq!((refused.status, refused.code), (StatusCode::TOO_MANY_REQUESTS, "too_many_queries"));
        release.send(()).unwrap();
        assert_eq!(first.await.unwrap(), Ok(1));
        assert_eq!(queries.run(|_| Ok(3)).await, Ok(3));
    }

    #[tokio::test]
    async fn a_query_that_panics_is_an_error_and_frees_its_place() {
        let queries = queries(1, 0);
        let broken = queries.run(|_| -> Result<(), ApiError> { panic!("on purpose") }).await.unwrap_err();
        assert_eq!(broken.status, StatusCode::INTERNAL_SERVER_ERROR);
        assert_eq!(queries.run(|_| Ok(1)).await, Ok(1));
    }
}
