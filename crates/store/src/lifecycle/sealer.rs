//! From a frozen head to segments.
//!
//! ```text
//! head ─▶ segment files ─▶ opened and checked ─▶ set file ─▶ catalog ─▶ visible instead of the head ─▶ log trimmed
//! ```
//!
//! Whatever fails, the head stays visible and its frames stay in the log; it is tried again.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use super::StoreError;
use super::core::{Core, row_of};
use super::view::{Held, Key, OpenHead};
use crate::catalog::{Change, RequestHashes, SealedRow, SegmentSet, write_set};
use crate::merge;
use crate::segment::{Segment, WriteError};

/// Time partitions that one head is cut into at most.
const PARTITIONS_MAX: usize = 8;
const RETRY_FIRST: Duration = Duration::from_secs(1);
const RETRY_MAX: Duration = Duration::from_secs(60);

/// A head to seal.
pub(crate) struct SealJob {
    key: Key,
    open: Arc<OpenHead>,
    /// What was written already, when only the commit is missing.
    prepared: Option<Prepared>,
    attempts: u32,
    not_before: Instant,
}

struct Prepared {
    change: Change,
    segments: Vec<Arc<Held>>,
}

impl SealJob {
    pub(crate) fn new(key: Key, open: Arc<OpenHead>) -> Self {
        Self { key, open, prepared: None, attempts: 0, not_before: Instant::now() }
    }
}

/// Heads that wait to be sealed; bounded by one for each tenant and signal.
#[derive(Default)]
pub(crate) struct SealQueue {
    jobs: Mutex<VecDeque<SealJob>>,
    changed: Condvar,
}

impl SealQueue {
    pub(crate) fn push(&self, job: SealJob) {
        self.jobs.lock().push_back(job);
        self.changed.notify_all();
    }

    pub(crate) fn len(&self) -> usize {
        self.jobs.lock().len()
    }

    /// Makes every job ready at once.
    pub(crate) fn hurry(&self) {
        self.jobs.lock().iter_mut().for_each(|job| job.not_before = Instant::now());
        self.changed.notify_all();
    }

    pub(crate) fn wake(&self) {
        self.changed.notify_all();
    }

    fn next(&self, cancelled: &AtomicBool) -> Option<SealJob> {
        let mut jobs = self.jobs.lock();
        loop {
            if cancelled.load(Ordering::Acquire) {
                return None;
            }
            let now = Instant::now();
            if let Some(ready) = jobs.iter().position(|job| job.not_before <= now) {
                return jobs.remove(ready);
            }
            let wait = jobs.iter().map(|job| job.not_before - now).min().unwrap_or(RETRY_MAX);
            self.changed.wait_for(&mut jobs, wait);
        }
    }
}

/// The thread's body.
pub(crate) fn run(core: &Arc<Core>) {
    while let Some(mut job) = core.seals.next(&core.cancelled) {
        let sealed = catch_unwind(AssertUnwindSafe(|| seal(core, &mut job)))
            .unwrap_or_else(|panic| Err(StoreError::panicked("sealing", panic)));
        match sealed {
            Ok(()) => {
                core.trim_log();
                let filling = core.view.read().table(&job.key.tenant, job.key.signal).and_then(|t| t.filling.clone());
                let full = filling.is_some_and(|open| {
                    open.head.rows() >= core.config.head_rows_max || open.bytes() >= core.config.head_bytes_max
                });
                if full {
                    core.freeze(job.key);
                }
            }
            Err(StoreError::Write(WriteError::Cancelled) | StoreError::Closing) => {}
            Err(error) => {
                let error = format!("a head of tenant {} could not be stored in a segment: {error}", job.key.tenant);
                tracing::error!("{error}");
                core.journal.lock().seal_error = Some(error);
                job.not_before = Instant::now() + (RETRY_FIRST * 2u32.pow(job.attempts.min(6))).min(RETRY_MAX);
                job.attempts += 1;
                core.seals.push(job);
            }
        }
        core.note_progress();
    }
}

fn seal(core: &Core, job: &mut SealJob) -> Result<(), StoreError> {
    let prepared = match job.prepared.take() {
        Some(prepared) => prepared,
        None => prepare(core, &job.key, &job.open)?,
    };
    if let Err(error) = core.catalog.lock().apply(&prepared.change) {
        // The segments stay: the catalog may have them after all.
        job.prepared = Some(prepared);
        return Err(error.into());
    }

    let (rows, bytes) = (job.open.head.rows(), job.open.bytes());
    {
        let mut view = core.view.write();
        let table = view.table_mut(&job.key);
        table.sealing = None;
        table.segments.extend(prepared.segments);
    }
    core.budget.freed(bytes);
    let mut journal = core.journal.lock();
    journal.sealed_heads += 1;
    journal.sealed_rows += rows;
    journal.seal_error = None;
    Ok(())
}

/// Writes the head's segments and checks that they can be read.
fn prepare(core: &Core, key: &Key, open: &OpenHead) -> Result<Prepared, StoreError> {
    let last_frame = open.last_frame.load(Ordering::Acquire);
    let now_ms = core.now_ms();
    let metas = merge::write(
        &open.head.sources(),
        &mut merge::Target {
            dir: &core.segments_dir,
            next_id: &mut || core.next_segment(),
            tenant: &key.tenant,
            partition_ns: core.config.partition.as_nanos() as u64,
            max_partitions: PARTITIONS_MAX,
            max_rows: core.config.segment_rows_max,
            wal_range: (open.first_frame, last_frame),
            replaces: Vec::new(),
            zstd_level: core.config.zstd_level.0,
            cancelled: &core.cancelled,
        },
    )?;
    let ids: Vec<u64> = metas.iter().map(|meta| meta.id).collect();
    let finish = || -> Result<Prepared, StoreError> {
        let set_id = ids.first().copied().unwrap_or_default();
        let mut segments = Vec::with_capacity(metas.len());
        for meta in &metas {
            let segment = Segment::open(&core.segments_dir, meta, &core.cache)?;
            let row = row_of(meta, 0, now_ms, set_id);
            segments.push(Arc::new(Held { row, segment, damaged: AtomicBool::new(false) }));
        }
        let rows: Vec<_> = segments.iter().map(|held| held.row.clone()).collect();
        let set = SegmentSet { segments: rows.clone(), replaces: Vec::new(), sealed: Some(last_frame) };
        write_set(&core.segments_dir, &set)
            .map_err(|error| StoreError::io("write a set file in", &core.segments_dir, error))?;
        let window_ms = core.config.request_window.as_millis() as u64;
        let hashes = open.requests.lock().clone();
        let requests = (window_ms > 0 && !hashes.is_empty()).then(|| RequestHashes {
            frame: last_frame,
            received_ms: open.received_ms.load(Ordering::Relaxed),
            hashes,
        });
        let sealed = SealedRow { tenant: key.tenant.clone(), signal: key.signal, frame: last_frame };
        let change = Change {
            insert: rows,
            delete: Vec::new(),
            sealed: vec![sealed],
            requests,
            forget_before_ms: Some(now_ms.saturating_sub(window_ms)),
        };
        Ok(Prepared { change, segments })
    };
    let prepared = finish();
    if prepared.is_err() {
        core.discard(&ids);
    }
    prepared
}
