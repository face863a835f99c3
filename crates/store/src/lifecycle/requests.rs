//! Which requests were stored lately, so that one that is sent again is not stored again.
//!
//! A client whose connection broke cannot know whether its request was stored, and sends it once more. Requests are
//! known by a 128-bit hash of tenant, signal and payload. The memory is a ring of time slots, dropped whole.

use std::collections::{HashMap, HashSet, VecDeque};

use foldhash::fast::RandomState;
use tokio::sync::watch;
use twox_hash::{XxHash3_64, XxHash3_128};

use super::AppendError;
use crate::table::Signal;
use crate::wal::format::signal_code;

/// How a request ended; `None` while it is under way.
pub(crate) type Outcome = Option<Result<(), AppendError>>;

/// Time slots in the window.
const SLOTS: u64 = 12;

/// The hash by which a request is known.
pub(crate) fn request_hash(tenant: &str, signal: Signal, payload: &[u8]) -> u128 {
    let seed = XxHash3_64::oneshot_with_seed(u64::from(signal_code(signal)), tenant.as_bytes());
    XxHash3_128::oneshot_with_seed(seed, payload)
}

/// What is known of a request that comes in.
pub(crate) enum Entry {
    /// Never seen: it is under way from now on and must end in [`RequestWindow::stored`] or
    /// [`RequestWindow::failed`].
    New,
    /// The same one is under way.
    UnderWay(watch::Receiver<Outcome>),
    /// The same one is stored.
    Stored,
}

struct Slot {
    start_ms: u64,
    hashes: HashSet<u128, RandomState>,
}

/// The memory.
pub(crate) struct RequestWindow {
    window_ms: u64,
    count_max: usize,
    count: usize,
    under_way: HashMap<u128, watch::Receiver<Outcome>, RandomState>,
    /// Oldest first.
    slots: VecDeque<Slot>,
}

impl RequestWindow {
    pub(crate) fn new(window: std::time::Duration, count_max: usize) -> Self {
        Self {
            window_ms: window.as_millis() as u64,
            count_max,
            count: 0,
            under_way: HashMap::default(),
            slots: VecDeque::new(),
        }
    }

    /// Looks a request up and, if it is new, remembers that it is under way; its end will show in `outcome`.
    pub(crate) fn enter(&mut self, hash: u128, now_ms: u64, outcome: &watch::Sender<Outcome>) -> Entry {
        if self.window_ms == 0 {
            return Entry::New;
        }
        if self.is_stored(hash, now_ms) {
            return Entry::Stored;
        }
        if let Some(first) = self.under_way.get(&hash) {
            return Entry::UnderWay(first.clone());
        }
        self.under_way.insert(hash, outcome.subscribe());
        Entry::New
    }

    /// True when the request was stored within the window.
    pub(crate) fn is_stored(&mut self, hash: u128, now_ms: u64) -> bool {
        self.forget(now_ms);
        self.slots.iter().any(|slot| slot.hashes.contains(&hash))
    }

    /// The request is stored.
    pub(crate) fn stored(&mut self, hash: u128, received_ms: u64) {
        self.under_way.remove(&hash);
        if self.window_ms == 0 {
            return;
        }
        let start_ms = received_ms - received_ms % (self.window_ms / SLOTS).max(1);
        let index = match self.slots.binary_search_by_key(&start_ms, |slot| slot.start_ms) {
            Ok(index) => index,
            Err(index) => {
                self.slots.insert(index, Slot { start_ms, hashes: HashSet::default() });
                index
            }
        };
        if self.slots.get_mut(index).is_some_and(|slot| slot.hashes.insert(hash)) {
            self.count += 1;
        }
        while self.count > self.count_max && self.slots.len() > 1 {
            self.drop_oldest();
        }
    }

    /// The request is not stored.
    pub(crate) fn failed(&mut self, hash: u128) {
        self.under_way.remove(&hash);
    }

    /// Requests that are remembered.
    pub(crate) fn len(&self) -> usize {
        self.count
    }

    fn forget(&mut self, now_ms: u64) {
        let oldest = now_ms.saturating_sub(self.window_ms + self.window_ms / SLOTS);
        while self.slots.front().is_some_and(|slot| slot.start_ms < oldest) {
            self.drop_oldest();
        }
    }

    fn drop_oldest(&mut self) {
        self.count -= self.slots.pop_front().map_or(0, |slot| slot.hashes.len());
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn enter(window: &mut RequestWindow, hash: u128, now_ms: u64) -> &'static str {
        match window.enter(hash, now_ms, &watch::Sender::new(None)) {
            Entry::New => "new",
            Entry::UnderWay(_) => "under way",
            Entry::Stored => "stored",
        }
    }

    #[test]
    fn a_request_is_remembered_for_the_window() {
        let mut window = RequestWindow::new(Duration::from_secs(12), 100);
        assert_eq!(enter(&mut window, 1, 0), "new");
        assert_eq!(enter(&mut window, 1, 0), "under way");
        window.stored(1, 500);
        assert_eq!(enter(&mut window, 1, 12_000), "stored");
        assert_eq!(enter(&mut window, 1, 14_000), "new");
    }

    #[test]
    fn a_failed_request_may_be_tried_again() {
        let mut window = RequestWindow::new(Duration::from_secs(12), 100);
        assert_eq!(enter(&mut window, 1, 0), "new");
        window.failed(1);
        assert_eq!(enter(&mut window, 1, 0), "new");
    }

    #[test]
    fn the_memory_is_bounded() {
        let mut window = RequestWindow::new(Duration::from_secs(12), 100);
        for request in 0..1_000 {
            window.stored(request, request as u64 * 10);
        }
        assert!(window.len() <= 200, "{}", window.len());
        assert_eq!(enter(&mut window, 999, 9_990), "stored");
    }

    #[test]
    fn without_a_window_everything_is_new() {
        let mut window = RequestWindow::new(Duration::ZERO, 100);
        window.stored(1, 0);
        assert_eq!((enter(&mut window, 1, 0), enter(&mut window, 1, 0)), ("new", "new"));
    }

    #[test]
    fn tenants_and_signals_have_requests_of_their_own() {
        let hashes: HashSet<u128> = [("a", Signal::Traces), ("b", Signal::Traces), ("a", Signal::Logs)]
            .into_iter()
            .map(|(tenant, signal)| request_hash(tenant, signal, b"payload"))
            .collect();
        assert_eq!(hashes.len(), 3);
    }
}
