//! What the catalog says against what lies on disk, when a store is opened.
//!
//! Between writing segment files and telling the catalog, and between telling it and deleting what was replaced, the
//! process may end. And the catalog may be lost. One pure function decides what each file is.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::{Contents, SealedRow, SegmentRow, SetFiles};
use crate::table::Signal;

/// What was found.
pub struct Reality<'a> {
    /// The catalog, `None` when it is lost and the set files must tell.
    pub catalog: Option<&'a Contents>,
    /// The set files.
    pub sets: &'a SetFiles,
    /// Ids of which the data file exists.
    pub files: &'a BTreeSet<u64>,
    /// Ids of which only the index file exists.
    pub halves: &'a BTreeSet<u64>,
    /// Number of the first frame that the log still holds.
    pub wal_first: Option<u64>,
    /// What a segment's own file says about it: the row, and what it replaces.
    pub describe: &'a dyn Fn(u64) -> Option<(SegmentRow, Vec<u64>)>,
}

/// What is to be done.
#[derive(Debug, Default, PartialEq)]
pub struct Verdict {
    /// Segments that exist.
    pub live: Vec<SegmentRow>,
    /// Those of them that the catalog does not have yet.
    pub adopted: Vec<SegmentRow>,
    /// Rows of the catalog to delete, because adopted segments replace them.
    pub dropped: Vec<u64>,
    /// Segments in the catalog without their files.
    pub missing: Vec<SegmentRow>,
    /// Progress of the logs that the catalog does not have yet.
    pub sealed: Vec<SealedRow>,
    /// Ids of files that belong to nothing.
    pub orphans: Vec<u64>,
    /// Set files none of whose segments exist.
    pub empty_sets: Vec<u64>,
    /// Above every id ever seen.
    pub next_segment: u64,
}

/// Decides what exists.
pub fn reconcile(reality: &Reality<'_>) -> Verdict {
    let mut verdict = match reality.catalog {
        Some(contents) => trust_catalog(reality, contents),
        None => rebuild(reality),
    };
    let live: BTreeSet<u64> = verdict.live.iter().chain(&verdict.missing).map(|row| row.id).collect();
    verdict.orphans = reality.files.union(reality.halves).copied().filter(|id| !live.contains(id)).collect();
    let live_sets: BTreeSet<u64> = verdict.live.iter().chain(&verdict.missing).map(|row| row.set_id).collect();
    let set_ids = reality.sets.sets.iter().filter_map(|set| set.segments.first()).map(|row| row.set_id);
    verdict.empty_sets =
        set_ids.chain(reality.sets.damaged.iter().copied()).filter(|id| !live_sets.contains(id)).collect();
    let seen = reality.files.union(reality.halves).copied().chain(live).chain(verdict.orphans.iter().copied());
    let given = reality.catalog.map_or(1, |contents| contents.next_segment);
    verdict.next_segment = seen.map(|id| id + 1).fold(given, u64::max);
    verdict
}

/// The catalog is whole. Files that it does not know were on their way in (then the log or the replaced segments
/// still hold the rows) or on their way out; only where the catalog turns out to be older than the files, because
/// neither is true, they are taken in.
fn trust_catalog(reality: &Reality<'_>, contents: &Contents) -> Verdict {
    let mut verdict = Verdict::default();
    let mut rows: BTreeMap<u64, SegmentRow> = contents.segments.iter().map(|row| (row.id, row.clone())).collect();
    let sealed: HashMap<(&str, Signal), u64> =
        contents.sealed.iter().map(|row| ((&*row.tenant, row.signal), row.frame)).collect();
    for set in &reality.sets.sets {
        let Some(first) = set.segments.first() else { continue };
        if set.segments.iter().any(|row| rows.contains_key(&row.id)) {
            continue;
        }
        if !set.segments.iter().all(|row| reality.files.contains(&row.id)) {
            continue;
        }
        let lost = match set.sealed {
            Some(frame) => {
                let known = sealed.get(&(&*first.tenant, first.signal)).copied().unwrap_or(0);
                let in_log = reality.wal_first.is_some_and(|wal_first| wal_first <= first.wal_from);
                known < frame && !in_log
            }
            None => set.replaces.iter().any(|id| rows.contains_key(id) && !reality.files.contains(id)),
        };
        if lost {
            for id in &set.replaces {
                if rows.remove(id).is_some() {
                    verdict.dropped.push(*id);
                }
            }
            for row in &set.segments {
                rows.insert(row.id, row.clone());
                verdict.adopted.push(row.clone());
            }
            if let Some(frame) = set.sealed {
                raise(&mut verdict.sealed, &first.tenant, first.signal, frame);
            }
        }
    }
    (verdict.live, verdict.missing) = rows.into_values().partition(|row| reality.files.contains(&row.id));
    verdict
}

/// The catalog is lost. What a set replaced does not exist, everything else that has its files does.
fn rebuild(reality: &Reality<'_>) -> Verdict {
    let mut verdict = Verdict::default();
    let mut replaced: BTreeSet<u64> = BTreeSet::new();
    let mut rows: BTreeMap<u64, SegmentRow> = BTreeMap::new();
    for set in &reality.sets.sets {
        replaced.extend(&set.replaces);
        for row in &set.segments {
            rows.insert(row.id, row.clone());
            raise(&mut verdict.sealed, &row.tenant, row.signal, row.wal_to);
        }
        if let (Some(frame), Some(first)) = (set.sealed, set.segments.first()) {
            raise(&mut verdict.sealed, &first.tenant, first.signal, frame);
        }
    }
    // A file without a whole set file was never finished, and the log has its rows; or its set file is damaged, and
    // what it says of itself is all that is left.
    for id in reality.files.iter().filter(|id| !rows.contains_key(id)).copied().collect::<Vec<_>>() {
        let Some((row, replaces)) = (reality.describe)(id) else { continue };
        if reality.wal_first.is_none_or(|wal_first| row.wal_from < wal_first) {
            replaced.extend(replaces);
            raise(&mut verdict.sealed, &row.tenant, row.signal, row.wal_to);
            rows.insert(id, row);
        }
    }
    rows.retain(|id, _| !replaced.contains(id) && reality.files.contains(id));
    verdict.live = rows.into_values().collect();
    verdict.adopted = verdict.live.clone();
    verdict
}

fn raise(sealed: &mut Vec<SealedRow>, tenant: &str, signal: Signal, frame: u64) {
    match sealed.iter_mut().find(|row| &*row.tenant == tenant && row.signal == signal) {
        Some(row) => row.frame = row.frame.max(frame),
        None => sealed.push(SealedRow { tenant: tenant.into(), signal, frame }),
    }
}
