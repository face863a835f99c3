//! What the threads of a store share.

use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use parking_lot::{Condvar, Mutex, RwLock};

use super::admission::Budget;
use super::inserter::{Command, Ticket};
use super::requests::RequestWindow;
use super::sealer::SealQueue;
use super::view::{Held, Key, View};
use super::{AppendError, StoreError};
use crate::cache::Cache;
use crate::catalog::Catalog;
use crate::config::StoreConfig;
use crate::segment::SegmentMeta;
use crate::table::SourceError;
use crate::wal::{DiskFs, Fs, Wal};

/// Damaged files that the status names.
const DAMAGED_MAX: usize = 1_000;

/// What a store takes from outside, so that tests can hand in their own.
#[derive(Clone)]
pub struct Environment {
    /// Files of the log.
    pub fs: Arc<dyn Fs>,
    /// Milliseconds since the Unix epoch.
    pub now_ms: Arc<dyn Fn() -> u64 + Send + Sync>,
}

impl Default for Environment {
    fn default() -> Self {
        let now_ms = || {
            let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
            since.map_or(0, |since| since.as_millis() as u64)
        };
        Self { fs: Arc::new(DiskFs), now_ms: Arc::new(now_ms) }
    }
}

/// Figures and findings for the status.
#[derive(Debug, Default)]
pub(crate) struct Journal {
    pub seal_error: Option<String>,
    pub compaction_error: Option<String>,
    pub housekeeping_error: Option<String>,
    /// File → what is wrong with it.
    pub damaged: BTreeMap<String, String>,
    pub sealed_heads: u64,
    pub sealed_rows: u64,
    pub compactions: u64,
    pub compacted_rows: u64,
    pub compacting: bool,
    pub expired_segments: u64,
    pub expired_rows: u64,
    pub unreadable_requests: u64,
    pub skipped_rows: u64,
}

/// A flag that threads can wait for.
#[derive(Default)]
pub(crate) struct Stop {
    stopped: Mutex<bool>,
    changed: Condvar,
}

impl Stop {
    pub(crate) fn set(&self) {
        *self.stopped.lock() = true;
        self.changed.notify_all();
    }

    /// Waits until stopped, or for `timeout`; true when stopped.
    pub(crate) fn wait(&self, timeout: Duration) -> bool {
        let mut stopped = self.stopped.lock();
        if !*stopped {
            self.changed.wait_for(&mut stopped, timeout);
        }
        *stopped
    }
}

/// Everything shared.
pub(crate) struct Core {
    pub config: StoreConfig,
    pub environment: Environment,
    pub segments_dir: PathBuf,
    pub wal_dir: PathBuf,
    pub cache: Arc<Cache>,
    pub view: RwLock<View>,
    pub catalog: Mutex<Catalog>,
    pub window: Mutex<RequestWindow>,
    pub budget: Arc<Budget>,
    pub journal: Mutex<Journal>,
    /// Set once the log is open.
    pub wal: OnceLock<Wal<Ticket>>,
    /// Set once the inserter runs.
    pub commands: OnceLock<SyncSender<Command>>,
    pub seals: SealQueue,
    /// Segments that are no longer visible and not yet deleted.
    pub retired: Mutex<VecDeque<Arc<Held>>>,
    pub next_segment: AtomicU64,
    /// Every frame up to this one is in a head or in a segment.
    pub inserted: AtomicU64,
    pub rows_appended: AtomicU64,
    pub rows_per_second: AtomicU64,
    pub duplicate_requests: AtomicU64,
    pub overloaded_requests: AtomicU64,
    /// Nothing more is taken.
    pub closing: AtomicBool,
    /// Background work ends at its next step.
    pub cancelled: AtomicBool,
    pub stop: Stop,
    /// One compaction at a time.
    pub compaction: Mutex<()>,
    /// Notified whenever a head has been sealed or could not be.
    pub progress: (Mutex<u64>, Condvar),
}

impl Core {
    pub(crate) fn now_ms(&self) -> u64 {
        (self.environment.now_ms)()
    }

    pub(crate) fn next_segment(&self) -> u64 {
        self.next_segment.fetch_add(1, Ordering::Relaxed)
    }

    /// Asks the inserter for something; nothing happens where it no longer runs.
    pub(crate) fn command(&self, command: Command) {
        if let Some(commands) = self.commands.get() {
            commands.send(command).ok();
        }
    }

    pub(crate) fn freeze(&self, key: Key) {
        self.command(Command::Freeze(key));
    }

    /// Every frame below this is in a segment.
    pub(crate) fn needed_frame(&self) -> u64 {
        // In this order: a frame inserted meanwhile is in a head that is seen.
        let inserted = self.inserted.load(Ordering::Acquire);
        self.view.read().oldest_frame().unwrap_or(u64::MAX).min(inserted + 1)
    }

    /// Gives up the log files that are no longer needed.
    pub(crate) fn trim_log(&self) {
        let Some(wal) = self.wal.get() else { return };
        let needed = self.needed_frame();
        wal.rotate_behind(needed);
        if let Err(error) = wal.trim(needed) {
            let error = format!("cannot delete a log file in {}: {error}", self.wal_dir.display());
            tracing::warn!("{error}");
            self.journal.lock().housekeeping_error = Some(error);
        }
    }

    pub(crate) fn note_progress(&self) {
        *self.progress.0.lock() += 1;
        self.progress.1.notify_all();
    }

    /// Fails when `bytes` more would eat into the reserve.
    pub(crate) fn check_room(&self, bytes: u64) -> Result<(), StoreError> {
        let Ok(space) = self.environment.fs.space(&self.segments_dir) else { return Ok(()) };
        let needed = self.config.free_bytes_min.min(space.total / 10) + bytes;
        if space.free >= needed {
            return Ok(());
        }
        let dir = self.config.data_dir.display().to_string();
        Err(StoreError::NoRoom { dir, needed_mib: needed >> 20, free_mib: space.free >> 20 })
    }

    /// Deletes the files of segments that nothing refers to.
    pub(crate) fn delete_files(&self, ids: &[u64]) {
        for id in ids {
            for name in [crate::segment::data_file(*id), crate::segment::index_file(*id)] {
                let path = self.segments_dir.join(name);
                match std::fs::remove_file(&path) {
                    Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                        let error = format!("cannot delete {}: {error}", path.display());
                        tracing::warn!("{error}");
                        self.journal.lock().housekeeping_error = Some(error);
                    }
                    _ => {}
                }
            }
        }
    }

    /// Takes back segments that were written and not committed.
    pub(crate) fn discard(&self, ids: &[u64]) {
        for id in ids {
            if let Err(error) = crate::catalog::remove_set(&self.segments_dir, *id) {
                tracing::warn!("cannot delete the set file of segment {id:016x}: {error}");
            }
        }
        self.delete_files(ids);
    }

    /// Takes up what readers found damaged since the last look.
    pub(crate) fn collect_damage(&self) {
        let found: Vec<SourceError> = {
            let view = self.view.read();
            let segments = view.tables().flat_map(|(_, table)| &table.segments);
            let unnoted = segments.filter(|held| !held.damaged.load(Ordering::Relaxed));
            unnoted.filter_map(|held| held.segment.damage().cloned()).collect()
        };
        for error in found {
            let (SourceError::Damaged { file, .. } | SourceError::Io { file, .. }) = &error;
            self.note_damage(file, &error.to_string());
        }
    }

    /// Remembers that a file does not read as it was written; its segment is served as far as it can be, and
    /// never merged.
    pub(crate) fn note_damage(&self, file: &str, reason: &str) {
        tracing::error!("{reason}");
        let stem = std::path::Path::new(file).file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
        if let Ok(id) = u64::from_str_radix(stem, 16) {
            let view = self.view.read();
            let mut segments = view.tables().flat_map(|(_, table)| &table.segments);
            if let Some(held) = segments.find(|held| held.row.id == id) {
                held.damaged.store(true, Ordering::Relaxed);
            }
        }
        let mut journal = self.journal.lock();
        if journal.damaged.len() < DAMAGED_MAX {
            journal.damaged.insert(file.to_owned(), reason.to_owned());
        }
    }

    pub(crate) fn unavailable(&self, reason: impl Into<String>) -> AppendError {
        AppendError::Unavailable { reason: reason.into(), retry_after: Duration::from_secs(5) }
    }
}

/// A segment's row in the catalog as its own file describes it.
pub(crate) fn row_of(meta: &SegmentMeta, level: u8, created_ms: u64, set_id: u64) -> crate::catalog::SegmentRow {
    crate::catalog::SegmentRow {
        id: meta.id,
        tenant: meta.tenant.clone(),
        signal: meta.signal,
        level,
        rows: meta.rows,
        traces: meta.traces,
        min_start: meta.min_start,
        max_end: meta.max_end,
        partition_start: meta.partition_start,
        data_bytes: meta.data_bytes,
        index_bytes: meta.index_bytes,
        data_footer_crc: meta.data_footer_crc,
        wal_from: meta.wal_from,
        wal_to: meta.wal_to,
        created_ms,
        set_id,
    }
}

/// The inverse of [`row_of`], for opening.
pub(crate) fn meta_of(row: &crate::catalog::SegmentRow) -> SegmentMeta {
    SegmentMeta {
        id: row.id,
        signal: row.signal,
        tenant: row.tenant.clone(),
        rows: row.rows,
        traces: row.traces,
        min_start: row.min_start,
        max_end: row.max_end,
        partition_start: row.partition_start,
        data_bytes: row.data_bytes,
        index_bytes: row.index_bytes,
        data_footer_crc: row.data_footer_crc,
        wal_from: row.wal_from,
        wal_to: row.wal_to,
        replaces: Vec::new(),
    }
}
