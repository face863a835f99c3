//! What a query may cost, and what it has cost so far.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use tracewell_store::table::Chunk;

/// Limits of one query. They are checked between chunks, so they are exceeded by one chunk at most.
#[derive(Debug, Clone)]
pub struct Budget {
    /// When the query must end; what was found until then is the answer.
    pub deadline: Option<Instant>,
    /// Bytes of column values that may be looked at.
    pub max_bytes: u64,
    /// Set from outside when nobody waits for the answer any more.
    pub cancelled: Arc<AtomicBool>,
    /// Threads that may work at the same time; at least one is used.
    pub threads: usize,
}

impl Default for Budget {
    /// No deadline, no limit of bytes, as many threads as there are cores.
    fn default() -> Self {
        Self {
            deadline: None,
            max_bytes: u64::MAX,
            cancelled: Arc::default(),
            threads: std::thread::available_parallelism().map_or(1, usize::from),
        }
    }
}

/// What a query has cost.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stats {
    /// Rows that were tested.
    pub inspected_spans: u64,
    /// Bytes of column values that were looked at.
    pub inspected_bytes: u64,
    /// Sources that were asked.
    pub sources: u64,
}

/// Why a query stops before its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stop {
    Cancelled,
    Deadline,
    Bytes,
}

impl Stop {
    /// The reason as a warning.
    pub fn warning(self) -> String {
        match self {
            Stop::Cancelled => "the query was cancelled".into(),
            Stop::Deadline => "the query ran out of time; narrow the time range or the conditions".into(),
            Stop::Bytes => "the query ran out of its budget of bytes; narrow the time range or the conditions".into(),
        }
    }
}

/// Counts what a query costs and says when to stop. Shared by all threads of the query.
#[derive(Debug)]
pub(crate) struct Meter<'a> {
    budget: &'a Budget,
    bytes: AtomicU64,
    spans: AtomicU64,
    sources: AtomicU64,
    lifted: AtomicBool,
}

impl<'a> Meter<'a> {
    pub fn new(budget: &'a Budget) -> Self {
        Self {
            budget,
            bytes: AtomicU64::new(0),
            spans: AtomicU64::new(0),
            sources: AtomicU64::new(0),
            lifted: AtomicBool::new(false),
        }
    }

    pub fn threads(&self) -> usize {
        self.budget.threads.max(1)
    }

    pub fn add_chunk(&self, chunk: &Chunk) {
        let bytes = match chunk {
            Chunk::Str { codes, .. } => 4 * codes.len(),
            Chunk::Num { values, .. } => 8 * values.len(),
        };
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub fn add_spans(&self, spans: usize) {
        self.spans.fetch_add(spans as u64, Ordering::Relaxed);
    }

    pub fn add_source(&self) {
        self.sources.fetch_add(1, Ordering::Relaxed);
    }

    /// From now on nothing stops but a cancellation.
    pub fn lift(&self) {
        self.lifted.store(true, Ordering::Relaxed);
    }

    /// Fails when the query must stop.
    pub fn check(&self) -> Result<(), Stop> {
        if self.budget.cancelled.load(Ordering::Relaxed) {
            return Err(Stop::Cancelled);
        }
        if self.lifted.load(Ordering::Relaxed) {
            return Ok(());
        }
        if self.budget.deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            return Err(Stop::Deadline);
        }
        if self.bytes.load(Ordering::Relaxed) > self.budget.max_bytes {
            return Err(Stop::Bytes);
        }
        Ok(())
    }

    pub fn stats(&self) -> Stats {
        Stats {
            inspected_spans: self.spans.load(Ordering::Relaxed),
            inspected_bytes: self.bytes.load(Ordering::Relaxed),
            sources: self.sources.load(Ordering::Relaxed),
        }
    }
}
