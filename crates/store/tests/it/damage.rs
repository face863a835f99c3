use std::path::Path;

use tracewell_store::{OpenReport, Store, StoreConfig};

use crate::support::*;

/// A store with spans 0–99 in one segment, 100–199 in another, 200–299 in the log only.
async fn filled(dir: &Path) -> StoreConfig {
    let config = quiet(dir);
    let store = open(&config);
    for part in 0..2 {
        append(&store, part * 100..part * 100 + 100).await.unwrap();
        store.seal_now().unwrap();
    }
    for number in 200..300 {
        append(&store, [number]).await.unwrap();
    }
    drop(store);
    config
}

fn reopen(config: &StoreConfig) -> (Store, OpenReport) {
    Store::open(config.clone()).unwrap()
}

fn count(found: &[u64], part: u64) -> usize {
    found.iter().filter(|number| **number / 100 == part).count()
}

#[tokio::test]
async fn a_lost_or_damaged_catalog_is_rebuilt_from_the_segments() {
    type Change = fn(&Path);
    let changes: [(&str, Change, &str); 5] = [
        ("deleted", |path| std::fs::remove_file(path).unwrap(), "missing"),
        ("truncated to nothing", |path| tamper(path, |bytes| bytes.clear()), "missing"),
        ("truncated", |path| tamper(path, |bytes| bytes.truncate(5_000)), "damaged"),
        ("overwritten", |path| tamper(path, |bytes| bytes[..200].fill(0xAA)), "damaged"),
        ("changed", |path| tamper(path, |bytes| replace(bytes, b"default", b"defeult")), "damaged"),
    ];
    for (name, change, reason) in changes {
        let dir = tempfile::tempdir().unwrap();
        let config = filled(dir.path()).await;
        change(&dir.path().join("catalog.sqlite"));
        let (store, report) = reopen(&config);
        let rebuilt = report.catalog_rebuilt.clone().unwrap_or_default();
        assert!(rebuilt.contains(reason), "{name}: {report:?}");
        assert_eq!(stored(&store), (0..300).collect::<Vec<_>>(), "{name}");
        assert_eq!(report.replayed_rows, 100, "{name}: nothing in segments is replayed");
        drop(store);
        let (store, report) = reopen(&config);
        assert_eq!(report.catalog_rebuilt, None, "{name}");
        assert_eq!(stored(&store), (0..300).collect::<Vec<_>>(), "{name}");
    }
}

fn replace(bytes: &mut [u8], from: &[u8], to: &[u8]) {
    let places: Vec<usize> =
        bytes.windows(from.len()).enumerate().filter(|(_, w)| *w == from).map(|(at, _)| at).collect();
    assert!(!places.is_empty());
    places.into_iter().for_each(|at| bytes[at..at + to.len()].copy_from_slice(to));
}

#[tokio::test]
async fn a_rebuilt_catalog_does_not_revive_what_compaction_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let config = filled(dir.path()).await;
    let (store, _) = reopen(&config);
    store.seal_now().unwrap();
    // The reader keeps the inputs of the merge on disk.
    let reader = store.sources(TENANT, tracewell_store::table::Signal::Traces, None);
    store.compact_now().unwrap();
    drop(store);
    drop(reader);
    std::fs::remove_file(dir.path().join("catalog.sqlite")).unwrap();
    let (store, report) = reopen(&config);
    assert!(report.catalog_rebuilt.is_some());
    assert_eq!(stored(&store), (0..300).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_segment_that_cannot_be_opened_is_named_and_the_rest_is_served() {
    type Change = fn(&mut Vec<u8>);
    let changes: [(&str, Change); 4] = [
        ("empty", |bytes| bytes.clear()),
        ("truncated by half", |bytes| bytes.truncate(bytes.len() / 2)),
        ("truncated by a byte", |bytes| bytes.truncate(bytes.len() - 1)),
        ("flipped in the footer", |bytes| {
            let at = bytes.len() - 20;
            bytes[at] ^= 1;
        }),
    ];
    for (name, change) in changes {
        let dir = tempfile::tempdir().unwrap();
        let config = filled(dir.path()).await;
        let victim = &files(dir.path(), "segments", ".parquet")[0];
        tamper(victim, change);
        let (store, report) = reopen(&config);
        assert_eq!(report.quarantined, 1, "{name}");
        assert_eq!(stored(&store), (100..300).collect::<Vec<_>>(), "{name}");
        let damaged = store.status().damaged;
        assert_eq!(damaged.len(), 1, "{name}");
        assert!(damaged[0].file.ends_with(".parquet"), "{name}: {damaged:?}");
        // It is neither deleted nor merged; the others go on.
        append(&store, 300..400).await.unwrap();
        store.seal_now().unwrap();
        store.compact_now().unwrap();
        assert!(victim.exists(), "{name}");
        assert_eq!(stored(&store), (100..400).collect::<Vec<_>>(), "{name}");
    }
}

#[tokio::test]
async fn a_flipped_bit_anywhere_in_a_segment_is_an_error_or_harmless_never_a_wrong_value() {
    use tracewell_store::table::{Field, Signal};
    let dir = tempfile::tempdir().unwrap();
    let config = filled(dir.path()).await;
    for victim in [&files(dir.path(), "segments", ".parquet")[0], &files(dir.path(), "segments", ".idx")[0]] {
        let bytes = std::fs::read(victim).unwrap();
        let (mut errors, mut quarantined) = (0, 0);
        for at in (0..bytes.len()).step_by(bytes.len() / 150 + 1) {
            let mut flipped = bytes.clone();
            flipped[at] ^= 1 << (at % 8);
            std::fs::write(victim, flipped).unwrap();
            let (store, report) = reopen(&config);
            quarantined += report.quarantined;
            let before = errors;
            for source in store.sources(TENANT, Signal::Traces, None).iter().filter(|source| source.ordered()) {
                for chunk in 0..source.rows().div_ceil(source.chunk_rows()) {
                    match source.chunk(&Field::SpanId, chunk) {
                        Ok(ids) => {
                            let ids = ids.unwrap();
                            let numbers: Vec<u64> = (0..ids.len()).map(|row| ids.bits(row).unwrap() - 1).collect();
                            let first = numbers[0] / 100 * 100;
                            assert_eq!(numbers, (first..first + 100).collect::<Vec<_>>(), "{victim:?} byte {at}");
                        }
                        Err(error) => {
                            assert!(error.to_string().contains("damaged"), "{error}");
                            errors += 1;
                        }
                    }
                }
                for block in 0..source.trace_blocks() {
                    match source.trace_block(block) {
                        Ok(block) => assert!(block.entries.iter().all(|entry| entry.spans <= 7 && entry.spans > 0)),
                        Err(_) => errors += 1,
                    }
                }
            }
            if errors > before {
                let name = victim.to_string_lossy().into_owned();
                assert!(store.status().damaged.iter().any(|damaged| name.ends_with(&damaged.file)), "{name}");
            }
        }
        std::fs::write(victim, &bytes).unwrap();
        // An index is made again from the data as soon as it is noticed.
        let expected = victim.to_string_lossy().ends_with(".parquet");
        assert_eq!(errors + quarantined > 0, expected, "{victim:?}: {errors} errors, {quarantined} quarantined");
    }
    assert_eq!(stored(&reopen(&config).0).len(), 300);
}

#[tokio::test]
async fn a_segment_whose_files_are_gone_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let config = filled(dir.path()).await;
    std::fs::remove_file(&files(dir.path(), "segments", ".parquet")[1]).unwrap();
    let (store, report) = reopen(&config);
    assert_eq!(report.quarantined, 1);
    assert_eq!(count(&stored(&store), 1), 0);
    assert_eq!(stored(&store).len(), 200);
    assert!(store.status().damaged[0].reason.contains("missing"));
}

#[tokio::test]
async fn a_damaged_log_costs_the_frames_that_cannot_be_read_and_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let config = filled(dir.path()).await;
    let log = files(dir.path(), "wal", ".log").pop().unwrap();
    tamper(&log, |bytes| {
        // In the last quarter, where the small requests are that no segment has yet.
        let at = bytes.len() / 8 * 7;
        bytes[at] ^= 0x10;
    });
    let (store, report) = reopen(&config);
    assert_eq!((count(&stored(&store), 0), count(&stored(&store), 1)), (100, 100));
    assert_eq!(count(&stored(&store), 2), 99);
    assert_eq!(report.wal.missing_frames, 1);
    assert!(report.wal.findings[0].contains("is damaged"), "{:?}", report.wal.findings);
    // Once its frames are in segments the damaged file is kept aside.
    store.seal_now().unwrap();
    store.close();
    assert_eq!(files(dir.path(), "wal", ".damaged").len(), 1);
    assert_eq!(stored(&reopen(&config).0).len(), 299);
}

#[tokio::test]
async fn a_torn_end_of_the_log_is_cut_off() {
    let dir = tempfile::tempdir().unwrap();
    let config = filled(dir.path()).await;
    let log = files(dir.path(), "wal", ".log").pop().unwrap();
    tamper(&log, |bytes| bytes.extend_from_slice(&[7; 1234]));
    let (store, report) = reopen(&config);
    assert_eq!(report.wal.torn_bytes, 1234);
    assert_eq!(stored(&store).len(), 300);
}

#[tokio::test]
async fn what_an_interrupted_sealing_left_is_removed() {
    let dir = tempfile::tempdir().unwrap();
    let config = filled(dir.path()).await;
    let segments = dir.path().join("segments");
    for (from, to) in
        [("0000000000000001.parquet", "00000000000000aa.parquet"), ("0000000000000001.idx", "00000000000000aa.idx")]
    {
        std::fs::copy(segments.join(from), segments.join(to)).unwrap();
    }
    std::fs::write(segments.join("00000000000000ab.idx"), b"half").unwrap();
    let (store, report) = reopen(&config);
    assert_eq!(report.orphans, 2);
    assert_eq!(stored(&store).len(), 300);
    assert_eq!(files(dir.path(), "segments", ".parquet").len(), 2);
    append(&store, 300..310).await.unwrap();
    store.seal_now().unwrap();
    let newest = files(dir.path(), "segments", ".parquet").pop().unwrap();
    assert!(newest.ends_with("00000000000000ac.parquet"), "{newest:?}");
}
