//! Merging segments in the background, one merge at a time, at low priority.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::StoreError;
use super::core::{Core, row_of};
use super::plan::{Mood, Plan, plan};
use super::view::{Held, Key};
use crate::cache::Cache;
use crate::catalog::{CatalogError, Change, SegmentSet, write_set};
use crate::merge;
use crate::segment::{Segment, WriteError};
use crate::table::{Source, SourceError};

const PAUSE: Duration = Duration::from_secs(1);
const PAUSE_AFTER_ERROR: Duration = Duration::from_secs(30);
/// Added to the thread's nice value, so that ingest and queries go first.
const NICE: i32 = 10;
const COMMIT_ATTEMPTS: u32 = 5;
/// Decoded pieces of the segments being merged that are kept at a time.
const MERGE_CACHE_BYTES: u64 = 24 << 20;

/// The thread's body.
pub(crate) fn run(core: &Arc<Core>) {
    // Of the thread, not the process: that is what Linux does, and elsewhere it matters little.
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::process::setpriority_process(None, NICE) {
        tracing::debug!("compaction runs at the usual priority: {error}");
    }
    let mut pause = PAUSE;
    while !core.stop.wait(pause) {
        let busy =
            core.rows_per_second.load(Ordering::Relaxed) > core.config.busy_rows_per_second || core.seals.len() > 0;
        let merged = catch_unwind(AssertUnwindSafe(|| compact_once(core, if busy { Mood::Busy } else { Mood::Calm })))
            .unwrap_or_else(|panic| Err(StoreError::panicked("merging segments", panic)));
        pause = match merged {
            Ok(true) => Duration::ZERO,
            Ok(false) => PAUSE,
            Err(_) => PAUSE_AFTER_ERROR,
        };
        note(core, merged.err());
    }
}

fn note(core: &Core, error: Option<StoreError>) {
    let mut journal = core.journal.lock();
    journal.compacting = false;
    match error {
        None => journal.compaction_error = None,
        Some(StoreError::Write(WriteError::Cancelled) | StoreError::Closing) => {}
        Some(error) => {
            tracing::error!("segments could not be merged: {error}");
            journal.compaction_error = Some(error.to_string());
        }
    }
}

/// Merges until nothing is left to merge.
pub(crate) fn compact_all(core: &Core) -> Result<(), StoreError> {
    while compact_once(core, Mood::Forced).inspect_err(|error| tracing::error!("{error}"))? {}
    core.journal.lock().compacting = false;
    Ok(())
}

/// Carries out the next merge; false when none is worth it.
fn compact_once(core: &Core, mood: Mood) -> Result<bool, StoreError> {
    let _one_at_a_time = core.compaction.lock();
    let Some((key, plan, inputs)) = choose(core, mood) else { return Ok(false) };
    core.journal.lock().compacting = true;
    let rows: u64 = inputs.iter().map(|held| held.row.rows).sum();
    if let Err(error) = merge_inputs(core, &key, &plan, &inputs) {
        // A damaged input must not hold up the others for ever.
        if let StoreError::Write(WriteError::Source(SourceError::Damaged { file, .. } | SourceError::Io { file, .. })) =
            &error
        {
            core.note_damage(file, &error.to_string());
        }
        return Err(error);
    }
    let mut journal = core.journal.lock();
    journal.compactions += 1;
    journal.compacted_rows += rows;
    Ok(true)
}

fn choose(core: &Core, mood: Mood) -> Option<(Key, Plan, Vec<Arc<Held>>)> {
    let now_ms = core.now_ms();
    let view = core.view.read();
    for (key, table) in view.tables() {
        let healthy: Vec<&Arc<Held>> =
            table.segments.iter().filter(|held| !held.damaged.load(Ordering::Relaxed)).collect();
        let rows: Vec<_> = healthy.iter().map(|held| &held.row).collect();
        if let Some(plan) = plan(&rows, now_ms, mood, &core.config) {
            let inputs = healthy.into_iter().filter(|held| plan.ids.contains(&held.row.id)).cloned().collect();
            return Some((key, plan, inputs));
        }
    }
    None
}

fn merge_inputs(core: &Core, key: &Key, plan: &Plan, inputs: &[Arc<Held>]) -> Result<(), StoreError> {
    core.check_room(inputs.iter().map(|held| held.row.size_bytes()).sum())?;
    // Opened anew, over a cache of their own: a merge reads everything once, which must not push out what queries use.
    let cache = Cache::new(MERGE_CACHE_BYTES);
    let sources = inputs
        .iter()
        .map(|held| Ok(Segment::open(&core.segments_dir, held.segment.meta(), &cache)? as Arc<dyn Source>))
        .collect::<Result<Vec<_>, SourceError>>()?;
    // What waits to be deleted was replaced by inputs of this merge at the latest, and must not come back to life
    // when the catalog is lost before it is deleted.
    let waiting = core.retired.lock().iter().map(|held| held.row.id).collect::<Vec<_>>();
    let replaces: Vec<u64> = plan.ids.iter().copied().chain(waiting).collect();
    let range = |from: fn(&Held) -> u64| inputs.iter().map(move |held| from(held));
    let wal_from = range(|held| held.row.wal_from).min().unwrap_or_default();
    let wal_to = range(|held| held.row.wal_to).max().unwrap_or_default();
    let created_ms = range(|held| held.row.created_ms).max().unwrap_or_default();

    let metas = merge::write(
        &sources,
        &mut merge::Target {
            dir: &core.segments_dir,
            next_id: &mut || core.next_segment(),
            tenant: &key.tenant,
            partition_ns: plan.partition_ns,
            // What was in one partition stays in it, wherever joining a trace's pieces puts its start.
            max_partitions: 1,
            max_rows: core.config.segment_rows_max,
            wal_range: (wal_from, wal_to),
            replaces: replaces.clone(),
            zstd_level: core.config.zstd_level.1,
            cancelled: &core.cancelled,
        },
    )?;
    let ids: Vec<u64> = metas.iter().map(|meta| meta.id).collect();
    let prepare = || -> Result<Vec<Arc<Held>>, StoreError> {
        let set_id = ids.first().copied().unwrap_or_default();
        let mut outputs = Vec::with_capacity(metas.len());
        for meta in &metas {
            let segment = Segment::open(&core.segments_dir, meta, &core.cache)?;
            let mut row = row_of(meta, plan.level, created_ms, set_id);
            row.partition_start = plan.partition_start;
            outputs.push(Arc::new(Held { row, segment, damaged: AtomicBool::new(false) }));
        }
        let segments = outputs.iter().map(|held| held.row.clone()).collect();
        write_set(&core.segments_dir, &SegmentSet { segments, replaces: replaces.clone(), sealed: None })
            .map_err(|error| StoreError::io("write a set file in", &core.segments_dir, error))?;
        Ok(outputs)
    };
    let outputs = prepare().inspect_err(|_| core.discard(&ids))?;
    commit(core, key, plan, outputs)
}

fn commit(core: &Core, key: &Key, plan: &Plan, outputs: Vec<Arc<Held>>) -> Result<(), StoreError> {
    let change = Change {
        insert: outputs.iter().map(|held| held.row.clone()).collect(),
        delete: plan.ids.clone(),
        ..Change::default()
    };
    let mut attempts = 0;
    loop {
        let applied = core.catalog.lock().apply(&change);
        attempts += 1;
        match applied {
            Ok(()) => break,
            Err(error @ CatalogError::Unusable { unchanged: true, .. }) if attempts >= COMMIT_ATTEMPTS => {
                core.discard(&outputs.iter().map(|held| held.row.id).collect::<Vec<_>>());
                return Err(error.into());
            }
            Err(error) => {
                tracing::warn!("{error}; trying again");
                if core.stop.wait(PAUSE) {
                    // The files stay; the next start finds out whether the catalog has them.
                    return Err(StoreError::Closing);
                }
            }
        }
    }
    let mut view = core.view.write();
    let table = view.table_mut(key);
    let (gone, mut stay): (Vec<_>, Vec<_>) = table.segments.drain(..).partition(|held| plan.ids.contains(&held.row.id));
    stay.extend(outputs);
    table.segments = stay;
    drop(view);
    core.retired.lock().extend(gone);
    Ok(())
}
