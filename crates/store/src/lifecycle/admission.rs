//! Memory that requests and heads may take together, and waiting for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::Notify;

/// What a request takes beside its payload.
const REQUEST_BYTES: u64 = 1024;

/// The bound and what counts against it.
pub(crate) struct Budget {
    bytes_max: u64,
    /// Requests on their way into a head.
    in_flight: AtomicU64,
    /// Heads, filling and being sealed.
    heads: AtomicU64,
    /// Somebody waits: the largest head should be sealed.
    pressed: AtomicBool,
    freed: Notify,
}

/// Memory taken by a request; given back when dropped.
pub(crate) struct Reservation {
    budget: Arc<Budget>,
    bytes: u64,
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.budget.in_flight.fetch_sub(self.bytes, Ordering::AcqRel);
        self.budget.freed.notify_waiters();
    }
}

impl Budget {
    pub(crate) fn new(bytes_max: u64) -> Self {
        Self {
            bytes_max,
            in_flight: AtomicU64::new(0),
            heads: AtomicU64::new(0),
            pressed: AtomicBool::new(false),
            freed: Notify::new(),
        }
    }

    /// Takes memory for a request, waiting up to `wait_max` for it; `None` when there was none.
    pub(crate) async fn admit(self: &Arc<Self>, payload_bytes: usize, wait_max: Duration) -> Option<Reservation> {
        let bytes = payload_bytes as u64 + REQUEST_BYTES;
        if let Some(reservation) = self.try_take(bytes) {
            return Some(reservation);
        }
        let wait = async {
            loop {
                let mut freed = std::pin::pin!(self.freed.notified());
                // Before looking, so that nothing freed in between is missed.
                freed.as_mut().enable();
                if let Some(reservation) = self.try_take(bytes) {
                    return reservation;
                }
                self.pressed.store(true, Ordering::Release);
                freed.await;
            }
        };
        tokio::time::timeout(wait_max, wait).await.ok()
    }

    fn try_take(self: &Arc<Self>, bytes: u64) -> Option<Reservation> {
        self.in_flight
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |in_flight| {
                let heads = self.heads.load(Ordering::Acquire);
                // A single request larger than the bound goes through when it is alone.
                let fits = in_flight + heads + bytes <= self.bytes_max || in_flight + heads == 0;
                fits.then_some(in_flight + bytes)
            })
            .ok()?;
        Some(Reservation { budget: self.clone(), bytes })
    }

    /// A head has grown.
    pub(crate) fn grown(&self, bytes: u64) {
        self.heads.fetch_add(bytes, Ordering::AcqRel);
    }

    /// A head is gone.
    pub(crate) fn freed(&self, bytes: u64) {
        self.heads.fetch_sub(bytes, Ordering::AcqRel);
        self.freed.notify_waiters();
    }

    /// True once after somebody had to wait.
    pub(crate) fn take_pressed(&self) -> bool {
        self.pressed.swap(false, Ordering::AcqRel)
    }

    /// True when the heads alone take all there is.
    pub(crate) fn heads_full(&self) -> bool {
        self.heads.load(Ordering::Acquire) >= self.bytes_max
    }

    /// Bytes of heads, of requests on their way, and the bound.
    pub(crate) fn figures(&self) -> (u64, u64, u64) {
        (self.heads.load(Ordering::Relaxed), self.in_flight.load(Ordering::Relaxed), self.bytes_max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn requests_wait_for_memory_and_give_up() {
        let budget = Arc::new(Budget::new(10_000));
        let moment = Duration::from_millis(20);
        let first = budget.admit(6_000, moment).await;
        assert!(first.is_some());
        assert!(budget.admit(6_000, moment).await.is_none());
        assert!(budget.take_pressed() && !budget.take_pressed());
        budget.grown(3_000);
        drop(first);
        assert!(budget.admit(6_000, moment).await.is_none(), "the head takes the rest");

        let waiting = tokio::spawn({
            let budget = budget.clone();
            async move { budget.admit(6_000, Duration::from_secs(60)).await.is_some() }
        });
        tokio::task::yield_now().await;
        budget.freed(3_000);
        assert!(waiting.await.unwrap());
        assert_eq!(budget.figures(), (0, 0, 10_000));
    }

    #[tokio::test]
    async fn a_request_larger_than_everything_goes_through_alone() {
        let budget = Arc::new(Budget::new(10_000));
        let large = budget.admit(1_000_000, Duration::ZERO).await;
        assert!(large.is_some());
        assert!(budget.admit(1, Duration::ZERO).await.is_none());
    }
}
