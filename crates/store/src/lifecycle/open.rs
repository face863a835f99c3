//! Opening a store: what exists, what must be replayed, what is left over.

use std::collections::{BTreeSet, HashMap};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex, RwLock};
use serde::Serialize;

use super::StoreError;
use super::admission::Budget;
use super::core::{Core, Environment, Journal, Stop, meta_of, row_of};
use super::inserter::insert;
use super::requests::{RequestWindow, request_hash};
use super::sealer::SealQueue;
use super::view::{Held, Key, OpenHead, View};
use crate::cache::Cache;
use crate::catalog::{
    Catalog, CatalogError, Change, Contents, Reality, SegmentRow, SetFiles, Verdict, read_sets, reconcile, remove_set,
    set_aside,
};
use crate::config::StoreConfig;
use crate::segment::{Segment, data_file, read_meta};
use crate::table::{Signal, SourceError};
use crate::wal::{Replay, ReplayReport, format::parse_file_name, replay};

/// Name of the catalog in the data folder.
const CATALOG: &str = "catalog.sqlite";

/// What was found when a store was opened.
#[derive(Debug, Clone, Default, Serialize)]
pub struct OpenReport {
    /// The log.
    pub wal: ReplayReport,
    /// Frames replayed into heads.
    pub replayed_frames: u64,
    /// Rows of them.
    pub replayed_rows: u64,
    /// Frames whose request was stored before.
    pub duplicate_frames: u64,
    /// Segments opened.
    pub segments: u64,
    /// Rows in them.
    pub segment_rows: u64,
    /// Segments that cannot be opened.
    pub quarantined: u64,
    /// Segments that belonged to nothing and were deleted.
    pub orphans: u64,
    /// Segments that the catalog did not have and that hold what nothing else holds.
    pub adopted: u64,
    /// Why the catalog was rebuilt, if it was.
    pub catalog_rebuilt: Option<String>,
    /// How long opening took, in milliseconds.
    pub elapsed_ms: u64,
}

/// How far each tenant's log is stored in segments.
pub(crate) type Sealed = HashMap<(Arc<str>, Signal), u64>;

/// The files and the catalog, brought into agreement.
pub(crate) struct Ground {
    catalog: Catalog,
    verdict: Verdict,
    sealed: Sealed,
    contents: Contents,
}

fn sync_dir(dir: &Path) -> Result<(), StoreError> {
    let synced = std::fs::File::open(dir).and_then(|dir| dir.sync_all());
    synced.map_err(|error| StoreError::io("sync", dir, error))
}

/// Creates a folder and those above it, durably: what is stored in it must not vanish with its name.
fn create_dir(dir: &Path) -> Result<(), StoreError> {
    let missing: Vec<&Path> = dir.ancestors().take_while(|dir| !dir.exists()).collect();
    std::fs::create_dir_all(dir).map_err(|error| StoreError::io("create", dir, error))?;
    for parent in missing.iter().filter_map(|dir| dir.parent()) {
        sync_dir(if parent.as_os_str().is_empty() { Path::new(".") } else { parent })?;
    }
    Ok(())
}

/// Creates the folders.
pub(crate) fn create_dirs(config: &StoreConfig) -> Result<(), StoreError> {
    for dir in [config.data_dir.clone(), config.data_dir.join("wal"), config.data_dir.join("segments")] {
        create_dir(&dir)?;
    }
    Ok(())
}

/// Ids of segments with a data file, and of those with an index file only. Removes files of unfinished writes.
fn list_segments(dir: &Path) -> std::io::Result<(BTreeSet<u64>, BTreeSet<u64>)> {
    let (mut data, mut index) = (BTreeSet::new(), BTreeSet::new());
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        let Some(stem) = path.file_stem().and_then(|stem| stem.to_str()) else { continue };
        let Ok(id) = u64::from_str_radix(stem, 16) else { continue };
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("parquet") => data.insert(id),
            Some("idx") => index.insert(id),
            _ => continue,
        };
    }
    let halves = index.difference(&data).copied().collect();
    Ok((data, halves))
}

/// Opens the catalog, or rebuilds it from the set files where it is damaged or missing.
pub(crate) fn survey(
    config: &StoreConfig,
    environment: &Environment,
    report: &mut OpenReport,
) -> Result<Ground, StoreError> {
    let segments_dir = config.data_dir.join("segments");
    let wal_dir = config.data_dir.join("wal");
    let path = config.data_dir.join(CATALOG);
    let failed = |error| StoreError::io("read", &segments_dir, error);
    let (files, halves) = list_segments(&segments_dir).map_err(failed)?;
    let sets = read_sets(&segments_dir).map_err(failed)?;
    for id in &sets.damaged {
        tracing::warn!("the set file of segment {id:016x} is damaged");
    }
    let logs = environment.fs.list(&wal_dir).map_err(|error| StoreError::io("read", &wal_dir, error))?;
    let wal_first = logs.iter().filter_map(|entry| parse_file_name(&entry.name)).min();

    let opened = open_catalog(&path, environment, &sets, &files)?;
    let describe = |id: u64| {
        let path = segments_dir.join(data_file(id));
        let created_ms = std::fs::metadata(&path)
            .and_then(|metadata| metadata.modified())
            .ok()
            .and_then(|time| time.duration_since(std::time::UNIX_EPOCH).ok())
            .map_or(0, |since| since.as_millis() as u64);
        let meta = read_meta(&path).ok()?;
        Some((row_of(&meta, u8::from(!meta.replaces.is_empty()), created_ms, id), meta.replaces))
    };
    let catalog = opened.as_ref().ok().map(|(_, contents)| contents);
    let verdict =
        reconcile(&Reality { catalog, sets: &sets, files: &files, halves: &halves, wal_first, describe: &describe });

    let change = Change {
        insert: verdict.adopted.clone(),
        delete: verdict.dropped.clone(),
        sealed: verdict.sealed.clone(),
        ..Change::default()
    };
    let (catalog, contents) = match opened {
        Ok((mut catalog, contents)) => {
            if change != Change::default() {
                tracing::warn!(
                    "the catalog was older than the segment files: {} segments were taken in",
                    verdict.adopted.len()
                );
                catalog.apply(&change)?;
            }
            (catalog, contents)
        }
        Err(reason) => {
            // A catalog that is only half rebuilt must never be taken for a whole one: made under another name.
            let building = config.data_dir.join("catalog.sqlite.building");
            let remove = std::fs::remove_file(&building);
            if let Err(error) = remove.or_else(|error| match error.kind() {
                std::io::ErrorKind::NotFound => Ok(()),
                _ => Err(error),
            }) {
                return Err(StoreError::io("delete", &building, error));
            }
            let (mut catalog, _) = Catalog::open(&building)?;
            catalog.apply(&change)?;
            drop(catalog);
            std::fs::rename(&building, &path).map_err(|error| StoreError::io("rename", &building, error))?;
            sync_dir(&config.data_dir)?;
            if let Some(reason) = reason {
                let rows = verdict.live.iter().map(|row| row.rows).sum::<u64>();
                tracing::error!(
                    "{reason}; rebuilt from {} segments with {rows} rows, nothing is lost",
                    verdict.live.len()
                );
                report.catalog_rebuilt = Some(reason);
            }
            let (catalog, contents) = Catalog::open(&path)?;
            (catalog, contents)
        }
    };
    report.adopted = if report.catalog_rebuilt.is_some() { 0 } else { verdict.adopted.len() as u64 };
    let mut sealed = Sealed::new();
    for row in contents.sealed.iter().chain(&verdict.sealed) {
        let frame = sealed.entry((row.tenant.clone(), row.signal)).or_default();
        *frame = row.frame.max(*frame);
    }
    remove_orphans(&segments_dir, &verdict, report);
    Ok(Ground { catalog, verdict, sealed, contents })
}

type Opened = Result<(Catalog, Contents), Option<String>>;

/// `Err` where the catalog must be made anew; with the reason where one should have been there.
fn open_catalog(
    path: &Path,
    environment: &Environment,
    sets: &SetFiles,
    files: &BTreeSet<u64>,
) -> Result<Opened, StoreError> {
    let bytes = std::fs::metadata(path).map(|metadata| metadata.len()).unwrap_or_default();
    if bytes == 0 {
        let expected = !sets.sets.is_empty() || !sets.damaged.is_empty() || !files.is_empty();
        return Ok(Err(expected.then(|| format!("the catalog {} is missing", path.display()))));
    }
    match Catalog::open(path) {
        Ok(opened) => Ok(Ok(opened)),
        Err(error @ CatalogError::Damaged { .. }) => {
            let aside =
                set_aside(path, (environment.now_ms)()).map_err(|error| StoreError::io("move aside", path, error))?;
            Ok(Err(Some(format!("{error}; it was moved to {}", aside.display()))))
        }
        Err(error) => Err(error.into()),
    }
}

fn remove_orphans(dir: &Path, verdict: &Verdict, report: &mut OpenReport) {
    // A rebuilt catalog knows less than one that was never lost: its orphans are kept under another name.
    let keep = report.catalog_rebuilt.is_some();
    for id in &verdict.empty_sets {
        if let Err(error) = remove_set(dir, *id) {
            tracing::warn!("cannot delete the set file of segment {id:016x}: {error}");
        }
    }
    for id in &verdict.orphans {
        for name in [data_file(*id), crate::segment::index_file(*id)] {
            let path = dir.join(&name);
            let removed = if keep {
                std::fs::rename(&path, dir.join(format!("{name}.orphan")))
            } else {
                std::fs::remove_file(&path)
            };
            match removed {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    tracing::warn!("cannot delete {}: {error}", path.display());
                }
                _ => {}
            }
        }
    }
    report.orphans = verdict.orphans.len() as u64;
    if report.orphans > 0 {
        tracing::info!("{} segments that were never finished or already replaced were removed", report.orphans);
    }
}

/// What all threads will share, with every segment open.
pub(crate) fn assemble(
    config: StoreConfig,
    environment: Environment,
    ground: Ground,
    report: &mut OpenReport,
) -> (Arc<Core>, Sealed) {
    let segments_dir = config.data_dir.join("segments");
    let cache = Cache::new(config.cache_bytes);
    let Ground { catalog, verdict, sealed, contents } = ground;
    let mut view = View::default();
    let mut journal = Journal::default();
    for (row, opened) in open_segments(&segments_dir, verdict.live, &cache) {
        let key = Key { tenant: row.tenant.as_str().into(), signal: row.signal };
        match opened {
            Ok(segment) => {
                report.segments += 1;
                report.segment_rows += row.rows;
                let held = Held { row, segment, damaged: AtomicBool::new(false) };
                view.table_mut(&key).segments.push(Arc::new(held));
            }
            Err(error) => {
                report.quarantined += 1;
                tracing::error!("{} rows cannot be served: {error}", row.rows);
                let file = segments_dir.join(data_file(row.id)).display().to_string();
                journal.damaged.insert(file, error.to_string());
                view.table_mut(&key).quarantined.push(row);
            }
        }
    }
    for row in verdict.missing {
        let file = segments_dir.join(data_file(row.id)).display().to_string();
        tracing::error!("{} rows cannot be served: {file} is missing", row.rows);
        journal.damaged.insert(file, "the file is missing".into());
        report.quarantined += 1;
        let key = Key { tenant: row.tenant.as_str().into(), signal: row.signal };
        view.table_mut(&key).quarantined.push(row);
    }
    let mut window = RequestWindow::new(config.request_window, config.request_window_max);
    for requests in &contents.requests {
        requests.hashes.iter().for_each(|hash| window.stored(*hash, requests.received_ms));
    }
    let core = Core {
        budget: Arc::new(Budget::new(config.memory_bytes_max)),
        wal_dir: config.data_dir.join("wal"),
        segments_dir,
        cache,
        view: RwLock::new(view),
        catalog: Mutex::new(catalog),
        window: Mutex::new(window),
        journal: Mutex::new(journal),
        wal: OnceLock::new(),
        commands: OnceLock::new(),
        seals: SealQueue::default(),
        retired: Mutex::default(),
        next_segment: AtomicU64::new(verdict.next_segment),
        inserted: AtomicU64::new(0),
        rows_appended: AtomicU64::new(0),
        rows_per_second: AtomicU64::new(0),
        duplicate_requests: AtomicU64::new(0),
        overloaded_requests: AtomicU64::new(0),
        closing: AtomicBool::new(false),
        cancelled: AtomicBool::new(false),
        stop: Stop::default(),
        compaction: Mutex::new(()),
        progress: (Mutex::new(0), Condvar::new()),
        config,
        environment,
    };
    (Arc::new(core), sealed)
}

type OpenedSegment = (SegmentRow, Result<Arc<Segment>, SourceError>);

/// Opens segments on every core: a start is quick even with thousands.
fn open_segments(dir: &Path, rows: Vec<SegmentRow>, cache: &Arc<Cache>) -> Vec<OpenedSegment> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let share = rows.len().div_ceil(threads).max(1);
    std::thread::scope(|scope| {
        let workers: Vec<_> = rows
            .chunks(share)
            .map(|rows| {
                scope.spawn(move || {
                    rows.iter().map(|row| (row.clone(), Segment::open(dir, &meta_of(row), cache))).collect::<Vec<_>>()
                })
            })
            .collect();
        let joined = workers.into_iter().zip(rows.chunks(share)).flat_map(|(worker, rows)| {
            worker.join().unwrap_or_else(|_| {
                let damaged = |row: &SegmentRow| SourceError::Damaged {
                    file: dir.join(data_file(row.id)).display().to_string(),
                    reason: "reading it, or one opened with it, ended in a panic".into(),
                };
                rows.iter().map(|row| (row.clone(), Err(damaged(row)))).collect()
            })
        });
        joined.collect()
    })
}

/// Replays the log into heads. Sealing must be running, so that memory stays bounded.
pub(crate) fn replay_log(core: &Core, sealed: &Sealed, report: &mut OpenReport) -> Result<Replay, StoreError> {
    let mut tenants: HashMap<String, Arc<str>> = HashMap::new();
    let outcome = replay(core.environment.fs.as_ref(), &core.wal_dir, &mut |frame| {
        let tenant = match tenants.get(frame.tenant) {
            Some(tenant) => tenant.clone(),
            None => tenants.entry(frame.tenant.to_owned()).or_insert_with(|| frame.tenant.into()).clone(),
        };
        let key = Key { tenant, signal: frame.signal };
        if sealed.get(&(key.tenant.clone(), key.signal)).is_some_and(|sealed| frame.number <= *sealed) {
            core.inserted.store(frame.number, Ordering::Release);
            return;
        }
        let hash = request_hash(frame.tenant, frame.signal, frame.payload);
        if core.window.lock().is_stored(hash, frame.received_ms) {
            // A request that was refused and sent again, or was never acknowledged.
            report.duplicate_frames += 1;
            skip(core, &key, frame.number);
            return;
        }
        report.replayed_frames += 1;
        insert(core, &key, frame.number, frame.received_ms, hash, frame.payload);
        wait_for_memory(core);
    });
    let outcome = outcome.map_err(|error| StoreError::io("read the log in", &core.wal_dir, error))?;
    report.replayed_rows = core.rows_appended.swap(0, Ordering::Relaxed);
    report.wal = outcome.report.clone();
    Ok(outcome)
}

/// Counts a frame as stored, so that it is not looked at again once its log file is all that is left of it.
fn skip(core: &Core, key: &Key, number: u64) {
    let mut view = core.view.write();
    let table = view.table_mut(key);
    let open = table.filling.get_or_insert_with(|| Arc::new(OpenHead::new(key.signal, number, core.now_ms())));
    open.last_frame.store(number, Ordering::Release);
    core.inserted.store(number, Ordering::Release);
}

/// Waits while the heads take all memory, as long as sealing makes progress.
fn wait_for_memory(core: &Core) {
    let started = Instant::now();
    while core.budget.heads_full() && started.elapsed() < Duration::from_secs(60) {
        if core.journal.lock().seal_error.is_some() {
            return;
        }
        if core.seals.len() == 0 && core.view.read().tables().all(|(_, table)| table.sealing.is_none()) {
            let largest = {
                let view = core.view.read();
                let filling = view.tables().filter_map(|(key, table)| Some((key, table.filling.clone()?)));
                filling.max_by_key(|(_, open)| open.bytes()).map(|(key, _)| key)
            };
            let Some(key) = largest else { return };
            super::inserter::freeze(core, &key);
        }
        let mut progress = core.progress.0.lock();
        core.progress.1.wait_for(&mut progress, Duration::from_millis(20));
    }
}
