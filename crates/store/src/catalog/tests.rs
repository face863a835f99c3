use std::collections::BTreeSet;

use super::*;
use crate::table::Signal;

fn row(id: u64, set_id: u64) -> SegmentRow {
    SegmentRow {
        id,
        tenant: "acme".into(),
        signal: Signal::Traces,
        level: 0,
        rows: 1000 + id,
        traces: 10,
        min_start: u64::MAX - 5,
        max_end: u64::MAX,
        partition_start: 3_600_000_000_000,
        data_bytes: 40_000,
        index_bytes: 5_000,
        data_footer_crc: 0xDEAD_BEEF,
        wal_from: 10 * set_id,
        wal_to: 10 * set_id + 9,
        created_ms: 1_700_000_000_000,
        set_id,
    }
}

fn sealed(frame: u64) -> SealedRow {
    SealedRow { tenant: "acme".into(), signal: Signal::Traces, frame }
}

fn hashes(frame: u64, received_ms: u64) -> RequestHashes {
    RequestHashes { frame, received_ms, hashes: vec![u128::from(frame), u128::MAX - u128::from(received_ms)] }
}

fn filled(path: &Path) -> Contents {
    let (mut catalog, contents) = Catalog::open(path).unwrap();
    assert_eq!(contents, Contents { next_segment: 1, ..Contents::default() });
    for id in 1..=40 {
        let change = Change {
            insert: vec![row(id, id)],
            sealed: vec![sealed(10 * id + 9)],
            requests: Some(hashes(id, id)),
            forget_before_ms: Some(3),
            ..Change::default()
        };
        catalog.apply(&change).unwrap();
    }
    catalog.apply(&Change { insert: vec![row(41, 41)], delete: (1..=38).collect(), ..Change::default() }).unwrap();
    drop(catalog);
    Catalog::open(path).unwrap().1
}

#[test]
fn what_was_applied_is_there_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let contents = filled(&dir.path().join("catalog.sqlite"));
    assert_eq!(contents.segments, [row(39, 39), row(40, 40), row(41, 41)]);
    assert_eq!(contents.sealed, [sealed(409)]);
    assert_eq!(contents.requests.len(), 38);
    assert_eq!(contents.next_segment, 42);
}

#[test]
fn a_change_may_be_applied_twice() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("catalog.sqlite");
    let (mut catalog, _) = Catalog::open(&path).unwrap();
    catalog.apply(&Change { insert: vec![row(1, 1), row(2, 1)], ..Change::default() }).unwrap();
    let change = Change {
        insert: vec![row(3, 3)],
        delete: vec![1, 2],
        sealed: vec![sealed(5)],
        requests: Some(hashes(5, 5)),
        ..Change::default()
    };
    catalog.apply(&change).unwrap();
    catalog.apply(&change).unwrap();
    let contents = Catalog::open(&path).unwrap().1;
    assert_eq!((contents.segments, contents.sealed), (vec![row(3, 3)], vec![sealed(5)]));
}

#[test]
fn a_commit_that_cannot_be_stored_changes_nothing_and_can_be_repeated() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("catalog.sqlite");
    let (mut catalog, _) = Catalog::open(&path).unwrap();
    catalog.apply(&Change { insert: vec![row(1, 1)], ..Change::default() }).unwrap();
    // A table that refuses stands for every error inside the transaction.
    let other = Connection::open(&path).unwrap();
    let trigger = "CREATE TRIGGER no BEFORE INSERT ON requests BEGIN SELECT RAISE(ABORT, 'no'); END";
    other.execute_batch(trigger).unwrap();
    let change = Change { insert: vec![row(2, 2)], delete: vec![1], requests: Some(hashes(1, 1)), ..Change::default() };
    let error = catalog.apply(&change).unwrap_err();
    assert!(matches!(error, CatalogError::Unusable { unchanged: true, .. }), "{error}");
    assert_eq!(Catalog::open(&path).unwrap().1.segments, [row(1, 1)]);
    other.execute_batch("DROP TRIGGER no").unwrap();
    catalog.apply(&change).unwrap();
    assert_eq!(Catalog::open(&path).unwrap().1.segments, [row(2, 2)]);
}

#[test]
fn a_flipped_bit_is_noticed_or_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("catalog.sqlite");
    let contents = filled(&path);
    let bytes = std::fs::read(&path).unwrap();
    let (mut noticed, mut harmless) = (0, 0);
    for at in (0..bytes.len()).step_by(41) {
        let mut flipped = bytes.clone();
        flipped[at] ^= 1 << (at % 8);
        std::fs::write(&path, &flipped).unwrap();
        match Catalog::open(&path) {
            Ok((_, read)) => {
                assert_eq!(read, contents, "byte {at}");
                harmless += 1;
            }
            Err(_) => noticed += 1,
        }
    }
    assert!(noticed > 50 && harmless > 50, "{noticed} noticed, {harmless} harmless");
}

#[test]
fn lost_rows_and_changed_values_are_damage() {
    let cases = [
        "DELETE FROM segments WHERE id = 40",
        "UPDATE segments SET row_count = row_count + 1 WHERE id = 39",
        "UPDATE sealed SET frame = 1",
        "DELETE FROM sealed",
        "UPDATE requests SET received_ms = 77 WHERE frame = 20",
        "UPDATE meta SET value = 3 WHERE name = 'next_segment'",
        "DELETE FROM meta",
        "DROP TABLE segments",
    ];
    for sql in cases {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("catalog.sqlite");
        filled(&path);
        Connection::open(&path).unwrap().execute_batch(sql).unwrap();
        let error = Catalog::open(&path).map(|(_, contents)| contents).unwrap_err();
        assert!(matches!(error, CatalogError::Damaged { .. }), "{sql}: {error}");
    }
}

#[test]
fn other_files_and_later_versions_are_told_apart() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("catalog.sqlite");
    std::fs::write(&path, "this is a letter, not a database".repeat(100)).unwrap();
    let error = Catalog::open(&path).map(|_| ()).unwrap_err();
    assert!(matches!(error, CatalogError::Damaged { .. }), "{error}");
    let aside = set_aside(&path, 123).unwrap();
    assert!(aside.to_string_lossy().ends_with("catalog.sqlite.damaged-123"));

    filled(&path);
    schema::put_meta(&Connection::open(&path).unwrap(), "version", 7).unwrap();
    let error = Catalog::open(&path).map(|_| ()).unwrap_err();
    assert!(matches!(error, CatalogError::Version { version: 7, .. }), "{error}");
}

#[test]
fn a_set_file_is_read_back_or_called_damaged() {
    let dir = tempfile::tempdir().unwrap();
    let set = SegmentSet { segments: vec![row(7, 7), row(8, 7)], replaces: vec![1, 2], sealed: Some(79) };
    write_set(dir.path(), &set).unwrap();
    assert_eq!(read_sets(dir.path()).unwrap().sets, [set]);
    let path = dir.path().join("0000000000000007.set");
    let bytes = std::fs::read(&path).unwrap();
    for at in 0..bytes.len() {
        let mut flipped = bytes.clone();
        flipped[at] ^= 0x20;
        std::fs::write(&path, flipped).unwrap();
        let found = read_sets(dir.path()).unwrap();
        // The case of a checksum's digits says nothing.
        assert!(found.damaged == [7] || (7..15).contains(&at), "byte {at}");
    }
    remove_set(dir.path(), 7).unwrap();
    remove_set(dir.path(), 7).unwrap();
    assert!(read_sets(dir.path()).unwrap().sets.is_empty());
}

/// One situation at start-up.
struct Case {
    name: &'static str,
    /// Ids in the catalog (each its own set), and its sealed frame; `None` where it is lost.
    catalog: Option<(&'static [u64], u64)>,
    sets: Vec<SegmentSet>,
    files: &'static [u64],
    wal_first: Option<u64>,
    live: &'static [u64],
    adopted: &'static [u64],
    missing: &'static [u64],
    orphans: &'static [u64],
    sealed: Option<u64>,
}

fn from_head(id: u64) -> SegmentSet {
    SegmentSet { segments: vec![row(id, id)], replaces: vec![], sealed: Some(10 * id + 9) }
}

fn compacted(id: u64, replaces: &[u64]) -> SegmentSet {
    let row = SegmentRow { level: 1, wal_from: 10 * replaces[0], wal_to: 39, ..row(id, id) };
    SegmentSet { segments: vec![row], replaces: replaces.to_vec(), sealed: None }
}

#[test]
fn every_row_exists_once_wherever_the_process_ended() {
    let all = || vec![from_head(1), from_head(2), from_head(3)];
    let with = |set: SegmentSet| [all(), vec![set]].concat();
    let cases = [
        Case {
            name: "nothing happened",
            catalog: Some((&[1, 2, 3], 39)),
            sets: all(),
            files: &[1, 2, 3],
            wal_first: Some(40),
            live: &[1, 2, 3],
            adopted: &[],
            missing: &[],
            orphans: &[],
            sealed: None,
        },
        Case {
            name: "ended before the catalog knew of segment 3: the log still has its rows",
            catalog: Some((&[1, 2], 29)),
            sets: all(),
            files: &[1, 2, 3],
            wal_first: Some(25),
            live: &[1, 2],
            adopted: &[],
            missing: &[],
            orphans: &[3],
            sealed: None,
        },
        Case {
            name: "the catalog is older than the log: segment 3 holds what nothing else holds",
            catalog: Some((&[1, 2], 29)),
            sets: all(),
            files: &[1, 2, 3],
            wal_first: Some(40),
            live: &[1, 2, 3],
            adopted: &[3],
            missing: &[],
            orphans: &[],
            sealed: Some(39),
        },
        Case {
            name: "ended before the compaction was committed",
            catalog: Some((&[1, 2, 3], 39)),
            sets: with(compacted(4, &[1, 2])),
            files: &[1, 2, 3, 4],
            wal_first: None,
            live: &[1, 2, 3],
            adopted: &[],
            missing: &[],
            orphans: &[4],
            sealed: None,
        },
        Case {
            name: "ended after the compaction was committed, before its inputs were deleted",
            catalog: Some((&[3, 4], 39)),
            sets: with(compacted(4, &[1, 2])),
            files: &[1, 2, 3, 4],
            wal_first: None,
            live: &[3, 4],
            adopted: &[],
            missing: &[],
            orphans: &[1, 2],
            sealed: None,
        },
        Case {
            name: "the catalog is older than a compaction whose inputs are gone",
            catalog: Some((&[1, 2, 3], 39)),
            sets: with(compacted(4, &[1, 2])),
            files: &[3, 4],
            wal_first: None,
            live: &[3, 4],
            adopted: &[4],
            missing: &[],
            orphans: &[],
            sealed: None,
        },
        Case {
            name: "a segment's files were deleted by hand",
            catalog: Some((&[1, 2, 3], 39)),
            sets: all(),
            files: &[1, 3],
            wal_first: None,
            live: &[1, 3],
            adopted: &[],
            missing: &[2],
            orphans: &[],
            sealed: None,
        },
        Case {
            name: "the catalog is lost while the inputs of a compaction wait for their deletion",
            catalog: None,
            sets: with(compacted(4, &[1, 2])),
            files: &[1, 2, 3, 4],
            wal_first: None,
            live: &[3, 4],
            adopted: &[3, 4],
            missing: &[],
            orphans: &[1, 2],
            sealed: Some(39),
        },
        Case {
            name: "the catalog is lost while a head was being sealed",
            catalog: None,
            sets: vec![from_head(1), from_head(2)],
            files: &[1, 2, 3],
            wal_first: Some(25),
            live: &[1, 2],
            adopted: &[1, 2],
            missing: &[],
            orphans: &[3],
            sealed: Some(29),
        },
    ];
    for case in cases {
        let contents = case.catalog.map(|(ids, frame)| {
            let known = |id: &u64| case.sets.iter().flat_map(|set| &set.segments).find(|row| row.id == *id).cloned();
            Contents {
                segments: ids.iter().filter_map(known).collect(),
                sealed: vec![sealed(frame)],
                next_segment: 4,
                ..Contents::default()
            }
        });
        let sets = SetFiles { sets: case.sets, damaged: vec![] };
        let files: BTreeSet<u64> = case.files.iter().copied().collect();
        let verdict = reconcile(&Reality {
            catalog: contents.as_ref(),
            sets: &sets,
            files: &files,
            halves: &BTreeSet::new(),
            wal_first: case.wal_first,
            describe: &|_| None,
        });
        let ids = |rows: &[SegmentRow]| rows.iter().map(|row| row.id).collect::<Vec<_>>();
        assert_eq!(ids(&verdict.live), case.live, "live: {}", case.name);
        assert_eq!(ids(&verdict.adopted), case.adopted, "adopted: {}", case.name);
        assert_eq!(ids(&verdict.missing), case.missing, "missing: {}", case.name);
        assert_eq!(verdict.orphans, case.orphans, "orphans: {}", case.name);
        assert_eq!(verdict.sealed.first().map(|row| row.frame), case.sealed, "sealed: {}", case.name);
        assert_eq!(verdict.next_segment, 1 + case.files.iter().copied().max().unwrap().max(3), "{}", case.name);
    }
}

#[test]
fn without_catalog_and_set_file_a_segment_speaks_for_itself() {
    // 4 says that it replaces 1; 6 was being sealed, its frames are in the log; 7 is not finished.
    let sets = SetFiles { sets: vec![from_head(1)], damaged: vec![4] };
    let files: BTreeSet<u64> = [1, 4, 6, 7].into();
    let describe = |id: u64| match id {
        4 => Some((SegmentRow { wal_from: 40, wal_to: 77, ..row(4, 4) }, vec![1])),
        6 => Some((SegmentRow { wal_from: 100, wal_to: 120, ..row(6, 6) }, vec![])),
        _ => None,
    };
    let halves = BTreeSet::from([5]);
    let reality = Reality {
        catalog: None,
        sets: &sets,
        files: &files,
        halves: &halves,
        wal_first: Some(90),
        describe: &describe,
    };
    let verdict = reconcile(&reality);
    assert_eq!(verdict.live.iter().map(|row| row.id).collect::<Vec<_>>(), [4]);
    assert_eq!(verdict.orphans, [1, 5, 6, 7]);
    assert_eq!(verdict.sealed, [sealed(77)]);
    assert_eq!(verdict.empty_sets, [1]);
}
