use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tracewell_store::table::Signal;
use tracewell_store::{AppendError, Environment, Store, StoreConfig};

use crate::support::*;

fn range(numbers: std::ops::Range<u64>) -> Vec<u64> {
    numbers.collect()
}

#[tokio::test]
async fn what_is_acknowledged_is_visible_at_once_and_after_every_restart() {
    let dir = tempfile::tempdir().unwrap();
    let config = quiet(dir.path());
    let store = open(&config);
    append(&store, 0..100).await.unwrap();
    assert_eq!(stored(&store), range(0..100));

    // Ended without a word: everything comes back from the log.
    drop(store);
    let (store, report) = Store::open(config.clone()).unwrap();
    assert_eq!((report.replayed_frames, report.replayed_rows), (1, 100));
    assert_eq!(stored(&store), range(0..100));

    // Closed: everything comes back from a segment, and the log is empty.
    append(&store, 100..200).await.unwrap();
    store.close();
    assert_eq!(files(dir.path(), "wal", ".log"), Vec::<std::path::PathBuf>::new());
    let (store, report) = Store::open(config.clone()).unwrap();
    assert_eq!((report.replayed_frames, report.segments, report.segment_rows), (0, 1, 200));
    assert_eq!(stored(&store), range(0..200));

    // Sealed and then ended without a word: nothing is replayed twice.
    append(&store, 200..300).await.unwrap();
    store.seal_now().unwrap();
    append(&store, 300..400).await.unwrap();
    drop(store);
    let (store, report) = Store::open(config).unwrap();
    assert_eq!((report.replayed_rows, report.segments), (100, 2));
    assert_eq!(stored(&store), range(0..400));
}

#[tokio::test]
async fn tenants_and_signals_do_not_see_each_other() {
    let dir = tempfile::tempdir().unwrap();
    let config = quiet(dir.path());
    let store = open(&config);
    store.append("a".into(), Signal::Traces, request(0..10)).await.unwrap();
    store.append("b".into(), Signal::Traces, request(10..30)).await.unwrap();
    store.append("b".into(), Signal::Logs, log_request(0..5)).await.unwrap();
    let check = |store: &Store| {
        let count = |tenant, signal| ids(&store.sources(tenant, signal, None)).len();
        assert_eq!(count("a", Signal::Traces), 10);
        assert_eq!(count("a", Signal::Logs), 0);
        assert_eq!(count("b", Signal::Traces), 20);
        assert_eq!(count("b", Signal::Logs), 5);
        assert_eq!(count("c", Signal::Traces), 0);
        assert_eq!(store.tenants(), ["a".into(), "b".into()]);
    };
    check(&store);
    store.seal_now().unwrap();
    check(&store);
    drop(store);
    check(&open(&config));
}

#[tokio::test]
async fn a_request_that_is_sent_again_is_stored_once() {
    let dir = tempfile::tempdir().unwrap();
    let config = quiet(dir.path());
    let store = open(&config);
    let both = tokio::join!(append(&store, 0..10), append(&store, 0..10));
    assert_eq!(both, (Ok(()), Ok(())));
    append(&store, 0..10).await.unwrap();
    assert_eq!(stored(&store), range(0..10));
    assert_eq!(store.status().requests.duplicates, 2);

    drop(store);
    let store = open(&config);
    append(&store, 0..10).await.unwrap();
    assert_eq!(stored(&store), range(0..10), "known from the log");

    store.seal_now().unwrap();
    drop(store);
    let store = open(&config);
    append(&store, 0..10).await.unwrap();
    assert_eq!(stored(&store), range(0..10), "known from the catalog");

    store.append("other".into(), Signal::Traces, request(0..10)).await.unwrap();
    assert_eq!(ids(&store.sources("other", Signal::Traces, None)).len(), 10, "another tenant's request is another");
}

#[tokio::test]
async fn a_request_is_forgotten_after_the_window() {
    let dir = tempfile::tempdir().unwrap();
    let now_ms = Arc::new(AtomicU64::new(1_700_000_000_000));
    let clock = now_ms.clone();
    let environment = Environment { now_ms: Arc::new(move || clock.load(Ordering::Relaxed)), ..Environment::default() };
    let (store, _) = Store::open_in(quiet(dir.path()), environment).unwrap();
    append(&store, 0..10).await.unwrap();
    now_ms.fetch_add(2 * 3_600_000, Ordering::Relaxed);
    append(&store, 0..10).await.unwrap();
    assert_eq!(ids(&store.sources(TENANT, Signal::Traces, None))[&5], 2);
}

#[tokio::test]
async fn sources_are_chosen_by_the_time_of_their_rows_however_late_they_came() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&quiet(dir.path()));
    let hour = 3_600_000_000_000 / STEP_NS;
    append(&store, 0..10).await.unwrap();
    append(&store, 5 * hour..5 * hour + 10).await.unwrap();
    append(&store, 2 * hour..2 * hour + 10).await.unwrap();
    store.seal_now().unwrap();
    assert_eq!(store.status().tables[0].segments, 3, "one for each hour");
    let at = |number: u64| EPOCH_NS + number * STEP_NS;
    let found = |from, to| ids(&store.sources(TENANT, Signal::Traces, Some(at(from)..=at(to)))).len();
    assert_eq!(found(0, 1), 10);
    assert_eq!(found(2 * hour, 5 * hour), 20);
    assert_eq!(found(20, hour), 0);
}

#[tokio::test]
async fn compaction_merges_to_one_segment_and_deletes_what_it_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let config = quiet(dir.path());
    let store = open(&config);
    for part in 0..6 {
        append(&store, part * 100..part * 100 + 100).await.unwrap();
        store.seal_now().unwrap();
    }
    assert_eq!(files(dir.path(), "segments", ".parquet").len(), 6);
    // A reader keeps what it reads.
    let before = store.sources(TENANT, Signal::Traces, None);
    store.compact_now().unwrap();
    assert_eq!(ids(&before).len(), 600);
    assert_eq!(stored(&store), range(0..600));
    assert_eq!(store.status().tables[0].segments, 1);
    drop(before);
    let deadline = Instant::now() + Duration::from_secs(10);
    while files(dir.path(), "segments", "").len() > 3 && Instant::now() < deadline {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(files(dir.path(), "segments", "").len(), 3, "data, index and set file of the one that is left");
    drop(store);
    let (store, report) = Store::open(config).unwrap();
    assert_eq!((report.orphans, report.segments), (0, 1));
    assert_eq!(stored(&store), range(0..600));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn at_no_moment_is_a_row_missing_or_there_twice() {
    const REQUESTS: u64 = 600;
    const ROWS: u64 = 20;
    let dir = tempfile::tempdir().unwrap();
    let config = StoreConfig {
        head_rows_max: 300,
        compaction_fan_in: 3,
        segment_rows_max: 3_000,
        wal_file_bytes: 32 << 10,
        ..quiet(dir.path())
    };
    let store = open(&config);
    let acknowledged = Arc::new(AtomicU64::new(0));
    let done = Arc::new(AtomicBool::new(false));

    let writer = tokio::spawn({
        let (store, acknowledged) = (store.clone(), acknowledged.clone());
        async move {
            for number in 0..REQUESTS {
                append(&store, number * ROWS..(number + 1) * ROWS).await.unwrap();
                acknowledged.store(number + 1, Ordering::Release);
            }
        }
    });
    let merger = std::thread::spawn({
        let (store, done) = (store.clone(), done.clone());
        move || {
            while !done.load(Ordering::Relaxed) {
                store.compact_now().unwrap();
                std::thread::sleep(Duration::from_millis(1));
            }
        }
    });
    let reader = std::thread::spawn({
        let (store, done) = (store.clone(), done.clone());
        move || {
            let mut snapshots = 0;
            while !done.load(Ordering::Relaxed) {
                let least = acknowledged.load(Ordering::Acquire) * ROWS;
                let found = stored(&store);
                assert!(found.len() as u64 >= least, "{} of {least}", found.len());
                assert_eq!(found, range(0..found.len() as u64), "a gap");
                snapshots += 1;
            }
            snapshots
        }
    });
    writer.await.unwrap();
    done.store(true, Ordering::Relaxed);
    merger.join().unwrap();
    assert!(reader.join().unwrap() > 3);
    let status = store.status();
    assert!(status.sealing.heads > 10 && status.compaction.merges > 3, "{status:?}");
    drop(store);
    assert_eq!(stored(&open(&config)), range(0..REQUESTS * ROWS));
}

#[tokio::test]
async fn old_segments_are_deleted_by_age_of_arrival_and_by_size() {
    let dir = tempfile::tempdir().unwrap();
    let now_ms = Arc::new(AtomicU64::new(1_790_000_000_000));
    let clock = now_ms.clone();
    let environment = Environment { now_ms: Arc::new(move || clock.load(Ordering::Relaxed)), ..Environment::default() };
    let config = StoreConfig { retention_age: Some(Duration::from_secs(3600)), ..quiet(dir.path()) };
    let (store, _) = Store::open_in(config, environment).unwrap();
    // These spans are years old by their own time, and have only just arrived.
    append(&store, 0..10).await.unwrap();
    store.seal_now().unwrap();
    now_ms.fetch_add(1_800_000, Ordering::Relaxed);
    append(&store, 10..20).await.unwrap();
    store.seal_now().unwrap();
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(stored(&store), range(0..20));

    now_ms.fetch_add(1_900_000, Ordering::Relaxed);
    let deadline = Instant::now() + Duration::from_secs(30);
    while stored(&store).len() > 10 && Instant::now() < deadline {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let status = store.status();
    assert_eq!(stored(&store), range(10..20), "{status:?}");
    assert_eq!(status.retention.expired_rows, 10);
}

#[tokio::test]
async fn a_head_is_sealed_when_it_is_old() {
    let dir = tempfile::tempdir().unwrap();
    let config = StoreConfig { head_age_max: Duration::from_millis(200), ..quiet(dir.path()) };
    let store = open(&config);
    append(&store, 0..10).await.unwrap();
    let deadline = Instant::now() + Duration::from_secs(30);
    while store.status().sealing.heads == 0 && Instant::now() < deadline {
        assert_eq!(stored(&store), range(0..10));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(store.status().tables[0].segment_rows, 10);
}

#[tokio::test]
async fn past_the_memory_bound_requests_wait_and_are_turned_away_but_none_is_lost() {
    let dir = tempfile::tempdir().unwrap();
    let config =
        StoreConfig { memory_bytes_max: 600 << 10, append_wait_max: Duration::from_millis(50), ..quiet(dir.path()) };
    let store = open(&config);
    let mut acknowledged = Vec::new();
    for number in 0..60 {
        let numbers = number * 200..number * 200 + 200;
        match append(&store, numbers.clone()).await {
            Ok(()) => acknowledged.extend(numbers),
            Err(error) => assert!(matches!(error, AppendError::Overloaded { .. }), "{error}"),
        }
        let memory = store.status().memory;
        assert!(memory.head_bytes < 3 * memory.bytes_max, "{memory:?}");
    }
    assert!(store.status().sealing.heads > 0, "short memory makes heads be sealed");
    assert_eq!(stored(&store), acknowledged);
}

#[tokio::test]
async fn a_second_server_is_told_who_has_the_folder() {
    let dir = tempfile::tempdir().unwrap();
    let config = quiet(dir.path());
    let store = open(&config);
    let error = Store::open(config.clone()).map(|_| ()).unwrap_err();
    assert!(error.to_string().contains(&format!("in use by process {}", std::process::id())), "{error}");
    store.close();
    Store::open(config).unwrap();
}

#[tokio::test]
async fn after_closing_nothing_is_taken() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&quiet(dir.path()));
    append(&store, 0..10).await.unwrap();
    store.close();
    store.close();
    let error = append(&store, 10..20).await.unwrap_err();
    assert!(matches!(error, AppendError::Unavailable { .. }), "{error}");
    assert_eq!(stored(&store), range(0..10), "what is there can still be read");
}

#[tokio::test]
async fn garbage_that_got_through_harms_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let config = quiet(dir.path());
    let store = open(&config);
    store.append(TENANT.into(), Signal::Traces, b"\xff\xff\xff garbage".as_slice().into()).await.unwrap();
    append(&store, 0..10).await.unwrap();
    assert_eq!(stored(&store), range(0..10));
    drop(store);
    let store = open(&config);
    store.seal_now().unwrap();
    assert_eq!(stored(&store), range(0..10));
    assert!(store.append("".into(), Signal::Traces, request(0..1)).await.is_err());
    assert!(store.append("x".repeat(256).into(), Signal::Traces, request(0..1)).await.is_err());
}

#[tokio::test]
async fn the_status_tells_what_there_is() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&quiet(dir.path()));
    append(&store, 0..50).await.unwrap();
    store.seal_now().unwrap();
    append(&store, 50..60).await.unwrap();
    let status = store.status();
    assert_eq!(status.rows_appended, 60);
    assert_eq!((status.tables[0].head_rows, status.tables[0].segment_rows), (10, 50));
    assert!(status.tables[0].data_bytes > 0 && status.tables[0].index_bytes > 0);
    assert_eq!((status.wal.frames, status.wal.refusal.as_deref()), (2, None));
    assert_eq!(status.unavailable, None);
    assert!(serde_json::to_string(&status).unwrap().contains("\"sealing\""));
}
