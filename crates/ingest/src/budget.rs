//! One bound on the bytes of all requests that are being read, checked or stored at a moment.
//!
//! Every listener draws on the same budget, so that memory stays flat however many clients push at once. What does not
//! fit is refused at once: a client that retries is cheaper than a server that swaps.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Charged for each request besides its bytes, so that a flood of tiny requests is bounded as well.
const REQUEST_OVERHEAD_BYTES: u64 = 4096;

/// Bytes in flight, shared by all listeners.
#[derive(Debug)]
pub(crate) struct Budget {
    used_bytes: AtomicU64,
    max_bytes: u64,
}

impl Budget {
    pub(crate) fn new(max_bytes: u64) -> Arc<Self> {
        Arc::new(Self { used_bytes: AtomicU64::new(0), max_bytes })
    }

    /// Bytes charged at the moment.
    pub(crate) fn used_bytes(&self) -> u64 {
        self.used_bytes.load(Ordering::Relaxed)
    }

    /// Most that may be charged.
    pub(crate) fn max_bytes(&self) -> u64 {
        self.max_bytes
    }

    /// Opens a reservation for a request that announces `announced_bytes` (0 where it does not say). The announcement is
    /// compared with what is free but not charged: a client that announces much and sends nothing holds nothing.
    pub(crate) fn open(self: &Arc<Self>, announced_bytes: u64) -> Option<Reservation> {
        let mut reservation = Reservation { budget: Arc::clone(self), bytes: 0 };
        let taken = reservation.grow(REQUEST_OVERHEAD_BYTES) && reservation.fits(announced_bytes);
        taken.then_some(reservation)
    }
}

/// A request's share of the budget; given back on drop.
#[derive(Debug)]
pub(crate) struct Reservation {
    budget: Arc<Budget>,
    bytes: u64,
}

impl Reservation {
    /// Whether the budget has `more_bytes` at the moment.
    pub(crate) fn fits(&self, more_bytes: u64) -> bool {
        more_bytes <= self.budget.max_bytes.saturating_sub(self.budget.used_bytes())
    }

    /// Charges `more_bytes`; false (and nothing charged) where the budget does not have them.
    #[must_use]
    pub(crate) fn grow(&mut self, more_bytes: u64) -> bool {
        let max_bytes = self.budget.max_bytes;
        let charged = self.budget.used_bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used_bytes| {
            used_bytes.checked_add(more_bytes).filter(|sum| *sum <= max_bytes)
        });
        if charged.is_ok() {
            self.bytes += more_bytes;
        }
        charged.is_ok()
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.budget.used_bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_is_refused_and_what_is_dropped_is_given_back() {
        let budget = Budget::new(100_000);
        let mut first = budget.open(0).unwrap();
        assert!(first.grow(90_000));
        assert!(!first.grow(90_000), "past the bound");
        assert_eq!(budget.used_bytes(), 90_000 + REQUEST_OVERHEAD_BYTES);
        assert!(budget.open(50_000).is_none(), "the announcement alone is too much");
        let second = budget.open(1_000).unwrap();
        assert_eq!(budget.used_bytes(), 90_000 + 2 * REQUEST_OVERHEAD_BYTES, "an announcement is not charged");
        drop((first, second));
        assert_eq!(budget.used_bytes(), 0);
    }
}
