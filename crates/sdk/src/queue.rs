//! What waits to be sent, and how much of it there may be.
//!
//! ```text
//! application threads ──push──▶ Source (one per service): open buffer per signal
//!                                   │ take_all
//!                               exporter thread ──▶ requests
//! ```
//!
//! A buffer holds finished records as they stand in a request: field 2 of `ScopeSpans` and of
//! `ScopeLogs` alike, so that the exporter only copies bytes.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError, RwLock};
use std::thread::Thread;
use std::time::{Duration, Instant};

use crate::Sampler;
use crate::config::{Config, Signal};
use crate::proto;
use crate::span::now_unix_nano;

/// Field number of a record in `ScopeSpans` and `ScopeLogs`.
const RECORD_FIELD: u32 = 2;

/// Locks even after a panic elsewhere: every state that these locks guard is valid at any moment.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What became of the records of one signal since the pipeline started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SignalStats {
    /// Accepted by the receiver.
    pub exported: u64,
    /// Dropped because the queue was full.
    pub dropped: u64,
    /// Given up after retries, or refused as a whole by the receiver.
    pub failed: u64,
    /// Refused one by one by the receiver (partial success).
    pub rejected: u64,
    /// Waiting or being sent.
    pub queued: u64,
    /// Attempts that were repeated.
    pub retries: u64,
}

/// Counters of one signal.
#[derive(Default)]
pub(crate) struct Counters {
    pub(crate) queued_records: AtomicUsize,
    pub(crate) queued_bytes: AtomicUsize,
    pub(crate) exported: AtomicU64,
    pub(crate) dropped: AtomicU64,
    pub(crate) failed: AtomicU64,
    pub(crate) rejected: AtomicU64,
    pub(crate) retries: AtomicU64,
}

impl Counters {
    pub(crate) fn stats(&self) -> SignalStats {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        SignalStats {
            exported: read(&self.exported),
            dropped: read(&self.dropped),
            failed: read(&self.failed),
            rejected: read(&self.rejected),
            queued: self.queued_records.load(Ordering::Relaxed) as u64,
            retries: read(&self.retries),
        }
    }
}

/// One service: its resource and what it has not yet handed over.
pub(crate) struct Source {
    /// The encoded `resource` field.
    pub(crate) resource: Vec<u8>,
    open: [Mutex<Vec<u8>>; 2],
    sampler: RwLock<Sampler>,
    /// Nanoseconds that are added to every time that is recorded.
    clock_offset: AtomicI64,
}

impl Source {
    pub(crate) fn new(resource: Vec<u8>, sampler: Sampler) -> Self {
        Self { resource, open: Default::default(), sampler: RwLock::new(sampler), clock_offset: AtomicI64::new(0) }
    }

    pub(crate) fn sampler(&self) -> Sampler {
        *self.sampler.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn set_sampler(&self, sampler: Sampler) {
        *self.sampler.write().unwrap_or_else(PoisonError::into_inner) = sampler;
    }

    pub(crate) fn set_clock_offset(&self, nanoseconds: i64) {
        self.clock_offset.store(nanoseconds, Ordering::Relaxed);
    }

    /// Nanoseconds since the Unix epoch by the clock of this service.
    pub(crate) fn now_unix_nano(&self) -> u64 {
        now_unix_nano().saturating_add_signed(self.clock_offset.load(Ordering::Relaxed))
    }

    pub(crate) fn take(&self, signal: Signal) -> Vec<u8> {
        std::mem::take(&mut *lock(&self.open[signal as usize]))
    }

    fn is_empty(&self) -> bool {
        self.open.iter().all(|open| lock(open).is_empty())
    }
}

/// Requests to the exporter thread.
#[derive(Default)]
struct Control {
    flushes_asked: u64,
    flushes_done: u64,
    /// When the thread has to be gone.
    deadline: Option<Instant>,
    stopped: bool,
}

/// What application threads and the exporter thread share.
pub(crate) struct Shared {
    pub(crate) config: Config,
    pub(crate) counters: [Counters; 2],
    sources: Mutex<Vec<Arc<Source>>>,
    control: Mutex<Control>,
    changed: Condvar,
    awake: AtomicBool,
    thread: OnceLock<Thread>,
}

impl Shared {
    pub(crate) fn new(config: Config) -> Self {
        Self {
            config,
            counters: Default::default(),
            sources: Mutex::default(),
            control: Mutex::default(),
            changed: Condvar::new(),
            awake: AtomicBool::new(false),
            thread: OnceLock::new(),
        }
    }

    /// Registers a source; the exporter drops it once nobody else holds it and it is empty.
    pub(crate) fn add_source(&self, resource: Vec<u8>) -> Arc<Source> {
        let source = Arc::new(Source::new(resource, self.config.sampler));
        lock(&self.sources).push(Arc::clone(&source));
        source
    }

    pub(crate) fn sources(&self) -> Vec<Arc<Source>> {
        let mut sources = lock(&self.sources);
        sources.retain(|source| Arc::strong_count(source) > 1 || !source.is_empty());
        sources.clone()
    }

    pub(crate) fn set_thread(&self, thread: Thread) {
        // Set once, before any record can exist.
        let _ = self.thread.set(thread);
    }

    /// Queues one encoded record, or drops and counts it where the queue is full. Never waits for I/O.
    pub(crate) fn push(&self, source: &Source, signal: Signal, record: &[u8]) {
        let (counters, to) = (&self.counters[signal as usize], self.config.destination(signal));
        if to.url.is_none() {
            return;
        }
        let records = counters.queued_records.fetch_add(1, Ordering::Relaxed) + 1;
        let bytes = counters.queued_bytes.fetch_add(record.len(), Ordering::Relaxed) + record.len();
        if records > to.queue_records_max || bytes > to.queue_bytes_max {
            counters.queued_records.fetch_sub(1, Ordering::Relaxed);
            counters.queued_bytes.fetch_sub(record.len(), Ordering::Relaxed);
            counters.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        }
        proto::bytes(&mut lock(&source.open[signal as usize]), RECORD_FIELD, record);
        if records >= to.batch_records_max || bytes >= to.queue_bytes_max / 2 {
            self.wake();
        }
    }

    /// Counts records of these bytes as no longer waiting.
    pub(crate) fn release(&self, signal: Signal, records: usize, bytes: usize) {
        let counters = &self.counters[signal as usize];
        counters.queued_records.fetch_sub(records, Ordering::Relaxed);
        counters.queued_bytes.fetch_sub(bytes, Ordering::Relaxed);
    }

    fn wake(&self) {
        if !self.awake.swap(true, Ordering::Release)
            && let Some(thread) = self.thread.get()
        {
            thread.unpark();
        }
    }

    /// Exporter: sleeps until something wants it or `until` has come. True when it was woken.
    pub(crate) fn sleep(&self, until: Instant) -> bool {
        loop {
            if self.awake.swap(false, Ordering::Acquire) {
                return true;
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            std::thread::park_timeout(left);
        }
    }

    /// Exporter: the number of flushes asked for so far.
    pub(crate) fn flushes_asked(&self) -> u64 {
        lock(&self.control).flushes_asked
    }

    /// Exporter: everything queued before the `number`th flush was asked for is dealt with.
    pub(crate) fn flushed(&self, number: u64) {
        lock(&self.control).flushes_done = number;
        self.changed.notify_all();
    }

    /// When the exporter has to be gone, once that is known.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        lock(&self.control).deadline
    }

    /// Exporter: it will not run again.
    pub(crate) fn stopped(&self) {
        lock(&self.control).stopped = true;
        self.changed.notify_all();
    }

    /// Waits until what is queued now has been sent or given up; false when `timeout` was too short.
    pub(crate) fn flush(&self, timeout: Duration) -> bool {
        let number = {
            let mut control = lock(&self.control);
            control.flushes_asked += 1;
            control.flushes_asked
        };
        self.wake();
        self.wait(timeout, |control| control.flushes_done >= number)
    }

    /// Asks the exporter to send what is queued and to end; false when it did not within `timeout`.
    pub(crate) fn shutdown(&self, timeout: Duration) -> bool {
        lock(&self.control).deadline.get_or_insert(Instant::now() + timeout);
        self.wake();
        // The margin lets an attempt that ends at the deadline be counted.
        self.wait(timeout + Duration::from_millis(100), |_| false)
    }

    fn wait(&self, timeout: Duration, done: impl Fn(&Control) -> bool) -> bool {
        let guard = lock(&self.control);
        let (control, _) = self
            .changed
            .wait_timeout_while(guard, timeout, |control| !control.stopped && !done(control))
            .unwrap_or_else(PoisonError::into_inner);
        control.stopped || done(&control)
    }
}
