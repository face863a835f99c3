//! What waits to be sent, and how much of it there may be.
//!
//! ```text
//! application threads ──push──▶ Source (one per service): a few buffers per signal
//!                                   │ take
//!                               exporter thread ──▶ requests
//! ```
//!
//! A buffer holds finished records as they stand in a request: field 2 of `ScopeSpans` and of
//! `ScopeLogs` alike, so that the exporter only copies bytes.

use std::cell::Cell;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError, TryLockError};
use std::thread::Thread;
use std::time::{Duration, Instant};

use crate::clock;
use crate::config::{Config, Signal};
use crate::proto;
use crate::sampler::Policy;
use crate::{Resource, Sampler};

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

/// Parts of a source's queue: threads that record at the same time seldom meet in one.
const SHARDS: usize = 8;

/// Records that a shard may take before it looks at the limits of the whole queue again.
const CREDIT_MAX: usize = 64;

/// Largest buffer that is kept for the next records.
const SPARE_BYTES_MAX: usize = 256 << 10;

/// One part of what a source has not yet handed over.
///
/// The limits of the queue are kept in two numbers that all threads share. To touch them less often, a shard
/// counts some records as queued before they come (`credit`), and bytes a little after they came (`uncounted`).
#[repr(align(128))]
#[derive(Default)]
struct Shard(Mutex<Waiting>);

#[derive(Default)]
struct Waiting {
    records: Vec<u8>,
    credit: usize,
    uncounted: usize,
}

thread_local! {
    static SHARD: Cell<usize> = const { Cell::new(usize::MAX) };
}

/// The shard that this thread tries first.
fn own_shard() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let own = SHARD.try_with(|shard| {
        if shard.get() == usize::MAX {
            shard.set(NEXT.fetch_add(1, Ordering::Relaxed) % SHARDS);
        }
        shard.get()
    });
    own.unwrap_or_default()
}

/// One service: its resource, its settings and what it has not yet handed over.
pub(crate) struct Source {
    /// The encoded `resource` field.
    pub(crate) resource: Vec<u8>,
    /// Tells the services of the process apart.
    pub(crate) number: u32,
    waiting: [[Shard; SHARDS]; 2],
    /// Empty buffers that have been used.
    spare: Mutex<Vec<Vec<u8>>>,
    policy: Policy,
    /// Nanoseconds that are added to every time that is recorded.
    clock_offset: AtomicI64,
}

impl Source {
    pub(crate) fn new(resource: &Resource, sampler: &Sampler) -> Self {
        static NUMBERS: AtomicU32 = AtomicU32::new(0);
        Self {
            resource: resource.encode(),
            number: NUMBERS.fetch_add(1, Ordering::Relaxed),
            waiting: Default::default(),
            spare: Mutex::default(),
            policy: Policy::new(sampler, resource.service_name()),
            clock_offset: AtomicI64::new(0),
        }
    }

    /// Which of its spans are recorded.
    pub(crate) fn policy(&self) -> &Policy {
        &self.policy
    }

    pub(crate) fn set_clock_offset(&self, nanoseconds: i64) {
        self.clock_offset.store(nanoseconds, Ordering::Relaxed);
    }

    /// Nanoseconds since the Unix epoch, by the clock of this service, of a [`clock::monotonic_ns`].
    pub(crate) fn unix_nano(&self, monotonic_ns: u64) -> u64 {
        clock::unix_ns(monotonic_ns).saturating_add_signed(self.clock_offset.load(Ordering::Relaxed))
    }

    /// Everything that waits, a buffer of records for each shard that has some. What was counted beforehand and
    /// did not come is counted back.
    pub(crate) fn take(&self, signal: Signal, counters: &Counters) -> Vec<Vec<u8>> {
        let take = |shard: &Shard| {
            let mut waiting = lock(&shard.0);
            counters.queued_records.fetch_sub(std::mem::take(&mut waiting.credit), Ordering::Relaxed);
            counters.queued_bytes.fetch_add(std::mem::take(&mut waiting.uncounted), Ordering::Relaxed);
            match waiting.records.is_empty() {
                true => Vec::new(),
                false => std::mem::replace(&mut waiting.records, lock(&self.spare).pop().unwrap_or_default()),
            }
        };
        self.waiting[signal as usize].iter().map(take).filter(|records| !records.is_empty()).collect()
    }

    /// Keeps a buffer that [`Source::take`] gave for the records to come: memory that is known to the kernel is
    /// written to without a fault.
    pub(crate) fn give_back(&self, mut buffer: Vec<u8>) {
        let mut spare = lock(&self.spare);
        if spare.len() < SHARDS && buffer.capacity() <= SPARE_BYTES_MAX {
            buffer.clear();
            spare.push(buffer);
        }
    }

    /// Records counted as queued that have not come.
    fn credit(&self, signal: Signal) -> usize {
        self.waiting[signal as usize].iter().map(|shard| lock(&shard.0).credit).sum()
    }

    fn is_empty(&self) -> bool {
        self.waiting.iter().flatten().all(|shard| lock(&shard.0).records.is_empty())
    }

    /// A shard that nobody else is using: this thread's, or the next free one. `None` where all are held: in
    /// a process that was forked, by threads that do not exist in it.
    fn shard(&self, signal: Signal) -> Option<MutexGuard<'_, Waiting>> {
        let (shards, own) = (&self.waiting[signal as usize], own_shard());
        (0..2 * SHARDS).find_map(|step| match shards[(own + step) % SHARDS].0.try_lock() {
            Ok(waiting) => Some(waiting),
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        })
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
    /// The process in which the thread runs.
    process: u32,
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
            process: std::process::id(),
        }
    }

    /// Registers a source; the exporter drops it once nobody else holds it and it is empty.
    pub(crate) fn add_source(&self, resource: &Resource) -> Arc<Source> {
        let source = Arc::new(Source::new(resource, &self.config.sampler));
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

    /// Queues one record of `len` bytes that `write` appends, or drops and counts it where the queue is full.
    /// Never waits for anything.
    pub(crate) fn push(&self, source: &Source, signal: Signal, len: usize, write: impl FnOnce(&mut Vec<u8>)) {
        let (counters, to) = (&self.counters[signal as usize], self.config.destination(signal));
        if to.url.is_none() {
            return;
        }
        let Some(mut waiting) = source.shard(signal) else {
            counters.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        };
        let mut wake = false;
        if waiting.credit == 0 || waiting.uncounted + len > to.queue_bytes_max / 256 {
            let Some(full_batch) = self.admit(signal, &mut waiting, len) else {
                counters.dropped.fetch_add(1, Ordering::Relaxed);
                return;
            };
            wake = full_batch;
        } else {
            waiting.uncounted += len;
        }
        waiting.credit -= 1;
        let records = &mut waiting.records;
        records.reserve(len + 12);
        proto::tag(records, RECORD_FIELD, proto::BYTES);
        proto::varint(records, len as u64);
        let begin = records.len();
        write(records);
        debug_assert_eq!(records.len(), begin + len, "a record of another length would spoil the whole request");
        drop(waiting);
        if wake {
            self.wake();
        }
    }

    /// Gives a shard credit for at least one record of `len` bytes; `None` where the queue has no room for it,
    /// else whether the exporter has enough for a request.
    fn admit(&self, signal: Signal, waiting: &mut Waiting, len: usize) -> Option<bool> {
        let (counters, to) = (&self.counters[signal as usize], self.config.destination(signal));
        let more = len + std::mem::take(&mut waiting.uncounted);
        let bytes = counters.queued_bytes.fetch_add(more, Ordering::Relaxed) + more;
        let queued = counters.queued_records.load(Ordering::Relaxed);
        if waiting.credit == 0 {
            // The fuller the queue, the smaller the steps, so that the limit is exact.
            let left = to.queue_records_max.saturating_sub(queued);
            let credit = (left / (2 * SHARDS)).clamp(1, CREDIT_MAX);
            let queued = counters.queued_records.fetch_add(credit, Ordering::Relaxed) + credit;
            if queued > to.queue_records_max {
                counters.queued_records.fetch_sub(credit, Ordering::Relaxed);
                counters.queued_bytes.fetch_sub(len, Ordering::Relaxed);
                return None;
            }
            waiting.credit = credit;
        }
        if bytes > to.queue_bytes_max {
            counters.queued_bytes.fetch_sub(len, Ordering::Relaxed);
            return None;
        }
        Some(queued + 1 >= to.batch_records_max || bytes >= to.queue_bytes_max / 2)
    }

    /// What became of the records of one signal.
    pub(crate) fn stats(&self, signal: Signal) -> SignalStats {
        let expected: usize = lock(&self.sources).iter().map(|source| source.credit(signal)).sum();
        let stats = self.counters[signal as usize].stats();
        SignalStats { queued: stats.queued.saturating_sub(expected as u64), ..stats }
    }

    /// False in a process that was forked from the one with the exporter's thread.
    fn has_thread(&self) -> bool {
        self.process == std::process::id()
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
        if !self.has_thread() {
            return false;
        }
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
        if !self.has_thread() {
            return false;
        }
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
