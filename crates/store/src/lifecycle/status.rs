//! What there is to know about a store while it runs.

use std::sync::atomic::Ordering;

use serde::Serialize;

use super::core::Core;
use super::open::OpenReport;
use crate::table::Signal;
use crate::wal::WalStatus;

/// A store at one moment. Sizes are in bytes, times in milliseconds.
#[derive(Debug, Clone, Serialize)]
pub struct StoreStatus {
    /// The data folder.
    pub data_dir: String,
    /// Why nothing is taken, while that is so.
    pub unavailable: Option<String>,
    /// Spans and log records taken since the start.
    pub rows_appended: u64,
    /// Lately.
    pub rows_per_second: u64,
    /// Rows that could not be stored because their ids are invalid, and requests that could not be decoded.
    pub rows_skipped: u64,
    /// The write-ahead log.
    pub wal: WalStatus,
    /// Every tenant and signal.
    pub tables: Vec<TableStatus>,
    /// Memory of heads and requests.
    pub memory: MemoryStatus,
    /// From heads to segments.
    pub sealing: SealingStatus,
    /// From segments to fewer.
    pub compaction: CompactionStatus,
    /// Deletion of what is old.
    pub retention: RetentionStatus,
    /// Requests that were sent twice.
    pub requests: RequestStatus,
    /// Files that do not read as they were written.
    pub damaged: Vec<DamagedFile>,
    /// What housekeeping could not do, last.
    pub housekeeping_error: Option<String>,
    /// Free bytes on the disk of the data folder, if the system tells.
    pub disk_free_bytes: Option<u64>,
    /// Size of that disk.
    pub disk_total_bytes: Option<u64>,
    /// What was found at the start.
    pub opened: OpenReport,
}

/// Rows of one tenant and signal.
#[derive(Debug, Clone, Serialize)]
pub struct TableStatus {
    /// Tenant.
    pub tenant: String,
    /// Spans or log records.
    pub signal: Signal,
    /// Rows in heads.
    pub head_rows: u64,
    /// Memory of heads.
    pub head_bytes: u64,
    /// True while a head is being sealed.
    pub sealing: bool,
    /// Segments.
    pub segments: u64,
    /// Rows in segments.
    pub segment_rows: u64,
    /// Size of the Parquet files.
    pub data_bytes: u64,
    /// Size of the index files.
    pub index_bytes: u64,
    /// Segments that cannot be opened.
    pub quarantined: u64,
}

/// Memory.
#[derive(Debug, Clone, Serialize)]
pub struct MemoryStatus {
    /// Heads.
    pub head_bytes: u64,
    /// Requests on their way into heads.
    pub in_flight_bytes: u64,
    /// The bound on both together.
    pub bytes_max: u64,
    /// Decoded pieces of segments.
    pub cache_bytes: u64,
    /// Requests turned away because the bound was reached.
    pub overloaded_requests: u64,
}

/// Sealing.
#[derive(Debug, Clone, Serialize)]
pub struct SealingStatus {
    /// Heads that wait.
    pub waiting: u64,
    /// Heads sealed since the start.
    pub heads: u64,
    /// Their rows.
    pub rows: u64,
    /// Why the last attempt failed, if it did.
    pub last_error: Option<String>,
}

/// Compaction.
#[derive(Debug, Clone, Serialize)]
pub struct CompactionStatus {
    /// True while a merge is under way.
    pub running: bool,
    /// Merges since the start.
    pub merges: u64,
    /// Rows that went into them.
    pub rows: u64,
    /// Segments that are replaced and still being read.
    pub waiting_for_readers: u64,
    /// Why the last merge failed, if it did.
    pub last_error: Option<String>,
}

/// Retention.
#[derive(Debug, Clone, Serialize)]
pub struct RetentionStatus {
    /// Segments are deleted at this age.
    pub age_ms: Option<u64>,
    /// The oldest segments are deleted past this size.
    pub bytes: Option<u64>,
    /// Segments deleted since the start.
    pub expired_segments: u64,
    /// Their rows.
    pub expired_rows: u64,
}

/// Requests that were sent twice.
#[derive(Debug, Clone, Serialize)]
pub struct RequestStatus {
    /// Requests that are remembered.
    pub remembered: u64,
    /// Requests that were acknowledged without being stored again, since the start.
    pub duplicates: u64,
    /// Requests that are in the log and could not be decoded.
    pub unreadable: u64,
}

/// A file that does not read as it was written.
#[derive(Debug, Clone, Serialize)]
pub struct DamagedFile {
    /// Its path.
    pub file: String,
    /// What is wrong.
    pub reason: String,
}

pub(crate) fn status(core: &Core, opened: &OpenReport) -> StoreStatus {
    let wal = core.wal.get().map(|wal| wal.status()).unwrap_or_default();
    let space = core.environment.fs.space(&core.config.data_dir).ok();
    let (head_bytes, in_flight_bytes, bytes_max) = core.budget.figures();
    let mut tables: Vec<TableStatus> = {
        let view = core.view.read();
        let status = |(key, table): (super::view::Key, &super::view::Table)| {
            let rows = || table.segments.iter().map(|held| &held.row);
            TableStatus {
                tenant: key.tenant.to_string(),
                signal: key.signal,
                head_rows: table.heads().map(|open| open.head.rows()).sum(),
                head_bytes: table.heads().map(|open| open.bytes()).sum(),
                sealing: table.sealing.is_some(),
                segments: table.segments.len() as u64,
                segment_rows: rows().map(|row| row.rows).sum(),
                data_bytes: rows().map(|row| row.data_bytes).sum(),
                index_bytes: rows().map(|row| row.index_bytes).sum(),
                quarantined: table.quarantined.len() as u64,
            }
        };
        view.tables().map(status).filter(|table| table.head_rows + table.segments + table.quarantined > 0).collect()
    };
    tables.sort_by(|a, b| (&a.tenant, a.signal).cmp(&(&b.tenant, b.signal)));
    let waiting_for_readers = core.retired.lock().len() as u64;
    let remembered = core.window.lock().len() as u64;
    let journal = core.journal.lock();
    let closing = core.closing.load(Ordering::Acquire).then(|| "the store is closing".to_owned());
    StoreStatus {
        data_dir: core.config.data_dir.display().to_string(),
        unavailable: wal.refusal.clone().or(closing),
        rows_appended: core.rows_appended.load(Ordering::Relaxed),
        rows_per_second: core.rows_per_second.load(Ordering::Relaxed),
        rows_skipped: journal.skipped_rows,
        wal,
        tables,
        memory: MemoryStatus {
            head_bytes,
            in_flight_bytes,
            bytes_max,
            cache_bytes: core.cache.size_bytes(),
            overloaded_requests: core.overloaded_requests.load(Ordering::Relaxed),
        },
        sealing: SealingStatus {
            waiting: core.seals.len() as u64,
            heads: journal.sealed_heads,
            rows: journal.sealed_rows,
            last_error: journal.seal_error.clone(),
        },
        compaction: CompactionStatus {
            running: journal.compacting,
            merges: journal.compactions,
            rows: journal.compacted_rows,
            waiting_for_readers,
            last_error: journal.compaction_error.clone(),
        },
        retention: RetentionStatus {
            age_ms: core.config.retention_age.map(|age| age.as_millis() as u64),
            bytes: core.config.retention_bytes,
            expired_segments: journal.expired_segments,
            expired_rows: journal.expired_rows,
        },
        requests: RequestStatus {
            remembered,
            duplicates: core.duplicate_requests.load(Ordering::Relaxed),
            unreadable: journal.unreadable_requests,
        },
        damaged: journal
            .damaged
            .iter()
            .map(|(file, reason)| DamagedFile { file: file.clone(), reason: reason.clone() })
            .collect(),
        housekeeping_error: journal.housekeeping_error.clone(),
        disk_free_bytes: space.map(|space| space.free),
        disk_total_bytes: space.map(|space| space.total),
        opened: opened.clone(),
    }
}
