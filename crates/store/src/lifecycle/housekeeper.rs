//! What has to be looked at now and then: heads that are old, memory that is short, files that nobody needs.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::StoreError;
use super::core::Core;
use super::view::{Held, Key, OpenHead};
use crate::catalog::{Change, remove_set};
use crate::retention::expired;

const TICK: Duration = Duration::from_millis(100);
/// Ticks between looks at the log and the rate.
const SLOW_TICKS: u64 = 10;
/// Ticks between looks at the retention.
const RETENTION_TICKS: u64 = 100;

/// The thread's body.
pub(crate) fn run(core: &Arc<Core>) {
    let mut rate = Rate { rows: core.rows_appended.load(Ordering::Relaxed), since: Instant::now() };
    for tick in 1u64.. {
        if core.stop.wait(TICK) {
            return;
        }
        let looked = catch_unwind(AssertUnwindSafe(|| {
            freeze_due(core);
            core.collect_damage();
            delete_retired(core);
            if tick.is_multiple_of(SLOW_TICKS) {
                rate.sample(core);
                core.trim_log();
            }
            if tick.is_multiple_of(RETENTION_TICKS) { expire(core) } else { Ok(()) }
        }));
        if let Err(error) = looked.unwrap_or_else(|panic| Err(StoreError::panicked("housekeeping", panic))) {
            tracing::error!("{error}");
            core.journal.lock().housekeeping_error = Some(error.to_string());
        }
    }
}

struct Rate {
    rows: u64,
    since: Instant,
}

impl Rate {
    /// Rows a second, smoothed over a few seconds.
    fn sample(&mut self, core: &Core) {
        let rows = core.rows_appended.load(Ordering::Relaxed);
        let elapsed_ms = (self.since.elapsed().as_millis() as u64).max(1);
        let now = (rows - self.rows) * 1_000 / elapsed_ms;
        let before = core.rows_per_second.load(Ordering::Relaxed);
        core.rows_per_second.store((3 * before + now) / 4, Ordering::Relaxed);
        *self = Rate { rows, since: Instant::now() };
    }
}

/// Freezes heads that are old; the largest where memory is short; the oldest where the log is long; all where the
/// disk is full.
fn freeze_due(core: &Core) {
    let now_ms = core.now_ms();
    let age_max_ms = core.config.head_age_max.as_millis() as u64;
    let free_to_seal: Vec<(Key, Arc<OpenHead>)> = {
        let view = core.view.read();
        let tables = view.tables().filter(|(_, table)| table.sealing.is_none());
        tables.filter_map(|(key, table)| Some((key, table.filling.clone()?))).collect()
    };
    if free_to_seal.is_empty() {
        return;
    }
    let pressed = core.budget.take_pressed();
    let log = core.wal.get().map(|wal| wal.status()).unwrap_or_default();
    let long_log = log.bytes > core.config.wal_bytes_max;
    // Segments are a tenth of the log that they replace: sealing makes room on a full disk.
    let refusing = log.refusal.is_some();
    let largest = pressed.then(|| free_to_seal.iter().max_by_key(|(_, open)| open.bytes())).flatten();
    let oldest = long_log.then(|| free_to_seal.iter().min_by_key(|(_, open)| open.first_frame)).flatten();
    let old = |open: &OpenHead| open.opened_ms.saturating_add(age_max_ms) <= now_ms;
    let old = free_to_seal.iter().filter(|(_, open)| refusing || old(open));
    for (key, _) in old.chain(largest).chain(oldest) {
        core.freeze(key.clone());
    }
}

/// Deletes the files of segments that are no longer visible and that no reader holds.
pub(crate) fn delete_retired(core: &Core) {
    let mut retired = core.retired.lock();
    let unread = |held: &Arc<Held>| Arc::strong_count(held) == 1 && Arc::strong_count(&held.segment) == 1;
    let (gone, kept): (Vec<_>, Vec<_>) = retired.drain(..).partition(unread);
    retired.extend(kept);
    if gone.is_empty() {
        return;
    }
    core.delete_files(&gone.iter().map(|held| held.row.id).collect::<Vec<_>>());
    // Set files last, durably so: as long as a segment's files exist, so does what tells that it was replaced.
    if let Err(error) = std::fs::File::open(&core.segments_dir).and_then(|dir| dir.sync_all()) {
        tracing::warn!("cannot sync {}: {error}", core.segments_dir.display());
        return;
    }
    let live: std::collections::HashSet<u64> =
        core.view.read().rows().iter().chain(retired.iter().map(|held| &held.row)).map(|row| row.set_id).collect();
    for held in gone.iter().filter(|held| !live.contains(&held.row.set_id)) {
        if let Err(error) = remove_set(&core.segments_dir, held.row.set_id) {
            tracing::warn!("cannot delete the set file of segment {:016x}: {error}", held.row.id);
        }
    }
}

/// Takes what has had its time out of the catalog and out of sight.
pub(crate) fn expire(core: &Core) -> Result<(), StoreError> {
    // While a merge runs, its inputs must stay; the next look comes soon.
    let Some(_no_merge) = core.compaction.try_lock() else { return Ok(()) };
    let rows = core.view.read().rows();
    let ids = expired(&rows, core.now_ms(), &core.config);
    if ids.is_empty() {
        return Ok(());
    }
    core.catalog.lock().apply(&Change { delete: ids.clone(), ..Change::default() })?;

    let (mut gone, mut unreadable) = (Vec::new(), Vec::new());
    {
        let mut view = core.view.write();
        let keys: Vec<Key> = view.tables().map(|(key, _)| key).collect();
        for key in keys {
            let table = view.table_mut(&key);
            gone.extend(table.segments.extract_if(.., |held| ids.contains(&held.row.id)));
            unreadable.extend(table.quarantined.extract_if(.., |row| ids.contains(&row.id)));
        }
    }
    let mut journal = core.journal.lock();
    journal.expired_segments += ids.len() as u64;
    journal.expired_rows += gone.iter().map(|held| held.row.rows).sum::<u64>();
    drop(journal);
    core.discard(&unreadable.iter().map(|row| row.id).collect::<Vec<_>>());
    core.retired.lock().extend(gone);
    Ok(())
}
