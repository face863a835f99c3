//! The whole store over a log whose disk fails, fills up and forgets.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use tracewell_model::{Resource, Scope, Span, SpanId, SpanRecord, TraceId};
use tracewell_wire::otlp::encode_traces;

use super::{AppendError, Environment};
use crate::table::{Field, Signal};
use crate::wal::sim::{Fault, SimFs};
use crate::{Store, StoreConfig};

/// Spans of a request; request `n` has the ids from `10 n + 1`.
const SPANS: u64 = 10;

fn request(number: u64) -> Vec<u8> {
    let record = |id: u64| SpanRecord {
        resource: Arc::new(Resource::default()),
        scope: Arc::new(Scope::default()),
        span: Span {
            trace_id: TraceId((1 + u128::from(id / 4)).to_be_bytes()),
            // An id of zero is not valid.
            span_id: SpanId::from_u64(id + 1),
            name: "work".into(),
            start_unix_nano: 1_700_000_000_000_000_000 + id,
            end_unix_nano: 1_700_000_000_000_001_000 + id,
            ..Span::default()
        },
    };
    encode_traces(&(SPANS * number..SPANS * (number + 1)).map(record).collect::<Vec<_>>())
}

fn open(dir: &std::path::Path, fs: &SimFs) -> Store {
    let config = StoreConfig {
        head_age_max: Duration::from_secs(86_400),
        compaction_fan_in: usize::MAX,
        wal_file_bytes: 2_000,
        free_bytes_min: 0,
        ..StoreConfig::new(dir)
    };
    let environment = Environment { fs: Arc::new(fs.clone()), ..Environment::default() };
    Store::open_in(config, environment).unwrap().0
}

async fn append(store: &Store, number: u64) -> Result<(), AppendError> {
    store.append("default".into(), Signal::Traces, request(number).into()).await
}

/// Request number → how many of its spans are stored.
fn stored(store: &Store) -> BTreeMap<u64, u64> {
    let mut requests = BTreeMap::new();
    for source in store.sources("default", Signal::Traces, None) {
        for chunk in 0..source.rows().div_ceil(source.chunk_rows()) {
            let ids = source.chunk(&Field::SpanId, chunk).unwrap().unwrap();
            for row in 0..ids.len() {
                *requests.entry((ids.bits(row).unwrap() - 1) / SPANS).or_default() += 1;
            }
        }
    }
    requests
}

/// Twelve requests with a sealing in between; returns the numbers of those that were acknowledged.
async fn workload(store: &Store) -> Vec<u64> {
    let mut acknowledged = Vec::new();
    for number in 0..12 {
        if append(store, number).await.is_ok() {
            acknowledged.push(number);
        }
        if number == 5 {
            // With the log failing, sealing still works: it is how the rows get to safety.
            store.seal_now().unwrap();
        }
    }
    acknowledged
}

#[tokio::test]
async fn whatever_the_disk_of_the_log_does_acknowledged_requests_are_stored_once() {
    let steps = {
        let (dir, fs) = (tempfile::tempdir().unwrap(), SimFs::new(1));
        let store = open(dir.path(), &fs);
        assert_eq!(workload(&store).await.len(), 12);
        fs.operations()
    };
    assert!(steps > 20, "{steps}");
    for fault in [Fault::Full, Fault::Broken, Fault::Crash] {
        for step in (0..steps).filter(|step| (step + fault as u64).is_multiple_of(2)) {
            let case = format!("{fault:?} at operation {step}");
            let (dir, fs) = (tempfile::tempdir().unwrap(), SimFs::new(step + 7));
            fs.fail_at(step, fault);
            let store = open(dir.path(), &fs);
            let acknowledged = workload(&store).await;
            drop(store);
            fs.power_loss();

            let store = open(dir.path(), &fs);
            let found = stored(&store);
            for number in &acknowledged {
                assert_eq!(found.get(number), Some(&SPANS), "{case}: request {number}");
            }
            // The client sends again what was not acknowledged, and some of what was.
            for number in 0..12 {
                append(&store, number).await.unwrap();
            }
            let all: BTreeMap<u64, u64> = (0..12).map(|number| (number, SPANS)).collect();
            assert_eq!(stored(&store), all, "{case}");
            store.close();
            fs.power_loss();
            assert_eq!(stored(&open(dir.path(), &fs)), all, "{case}: after closing");
        }
    }
}

#[tokio::test]
async fn a_full_disk_turns_requests_away_until_there_is_room() {
    let (dir, fs) = (tempfile::tempdir().unwrap(), SimFs::new(1));
    let store = open(dir.path(), &fs);
    append(&store, 0).await.unwrap();
    fs.set_capacity(Some(1_500));
    let mut turned_away = 0;
    for number in 1..10 {
        match append(&store, number).await {
            Ok(()) => {}
            Err(AppendError::Unavailable { reason, .. }) => {
                assert!(reason.contains("full"), "{reason}");
                assert!(turned_away > 0 || store.status().unavailable.is_some_and(|reason| reason.contains("full")));
                turned_away += 1;
            }
            Err(error) => panic!("{error}"),
        }
    }
    assert!(turned_away > 0);
    let before = stored(&store);
    assert_eq!(before.len(), 10 - turned_away, "queries go on");
    fs.set_capacity(None);
    for number in 0..10 {
        append(&store, number).await.unwrap();
    }
    assert_eq!(store.status().unavailable, None);
    drop(store);
    fs.power_loss();
    assert_eq!(stored(&open(dir.path(), &fs)), (0..10).map(|number| (number, SPANS)).collect());
}

#[tokio::test]
async fn a_disk_filled_by_the_log_is_relieved_by_sealing() {
    let (dir, fs) = (tempfile::tempdir().unwrap(), SimFs::new(1));
    let store = open(dir.path(), &fs);
    fs.set_capacity(Some(3_000));
    let mut acknowledged = 0;
    for number in 0..30 {
        let deadline = std::time::Instant::now() + Duration::from_secs(60);
        while let Err(error) = append(&store, number).await {
            assert!(matches!(error, AppendError::Unavailable { .. }), "{error}");
            assert!(std::time::Instant::now() < deadline, "no room was made: {:?}", store.status());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        acknowledged += 1;
        assert_eq!(stored(&store).len(), acknowledged);
    }
    assert!(store.status().sealing.heads > 0);
    drop(store);
    fs.power_loss();
    assert_eq!(stored(&open(dir.path(), &fs)), (0..30).map(|number| (number, SPANS)).collect());
}

#[tokio::test]
async fn after_a_failed_fsync_nothing_is_acknowledged_until_the_next_start() {
    let (dir, fs) = (tempfile::tempdir().unwrap(), SimFs::new(1));
    let store = open(dir.path(), &fs);
    append(&store, 0).await.unwrap();
    fs.fail_at(fs.operations() + 1, Fault::Broken);
    for number in 1..4 {
        let error = append(&store, number).await.unwrap_err();
        assert!(matches!(&error, AppendError::Unavailable { reason, .. } if reason.contains("restart")), "{error}");
    }
    let status = store.status();
    assert!(status.wal.poisoned && status.unavailable.is_some());
    assert_eq!(stored(&store).len(), 1, "what is there can be queried");
    store.close();
    fs.power_loss();
    let store = open(dir.path(), &fs);
    assert_eq!(stored(&store).len(), 1);
    append(&store, 1).await.unwrap();
    assert_eq!(stored(&store).len(), 2);
}

/// Something that happens to a store.
#[derive(Debug, Clone)]
enum Step {
    /// A request of this number arrives, perhaps not for the first time.
    Append(u64),
    Seal,
    Compact,
    /// The process ends without a word.
    Kill,
    /// The machine loses power.
    PowerLoss,
    Close,
    /// The log's disk does this so many operations from now.
    Fail(Fault, u64),
    /// The catalog vanishes while the store is closed.
    LoseCatalog,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        10 => (0..30u64).prop_map(Step::Append),
        2 => Just(Step::Seal),
        1 => Just(Step::Compact),
        1 => Just(Step::Kill),
        1 => Just(Step::PowerLoss),
        1 => Just(Step::Close),
        1 => (prop_oneof![Just(Fault::Full), Just(Fault::Broken), Just(Fault::Short)], 0..6u64)
            .prop_map(|(fault, operations)| Step::Fail(fault, operations)),
        1 => Just(Step::LoseCatalog),
    ]
}

/// A few with every run, as many as `PROPTEST_CASES` says by hand.
fn cases() -> u32 {
    std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(24)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), ..ProptestConfig::default() })]

    /// In whatever order things happen, exactly what was acknowledged is stored, each request once.
    #[test]
    fn what_is_stored_is_what_was_acknowledged(steps in prop::collection::vec(step(), 1..40), seed in any::<u64>()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let (dir, fs) = (tempfile::tempdir().unwrap(), SimFs::new(seed));
        let mut store = open(dir.path(), &fs);
        let mut acknowledged = BTreeMap::new();
        // A lost catalog takes the memory of recent requests with it; those are not sent again here.
        let mut forgotten = std::collections::BTreeSet::new();
        for step in &steps {
            match step {
                Step::Append(number) if forgotten.contains(number) => {}
                Step::Append(number) => {
                    if runtime.block_on(append(&store, *number)).is_ok() {
                        acknowledged.insert(*number, SPANS);
                    }
                }
                Step::Seal => store.seal_now().unwrap(),
                Step::Compact => store.compact_now().unwrap(),
                Step::Fail(fault, operations) => fs.fail_at(fs.operations() + operations, *fault),
                Step::Close | Step::Kill | Step::PowerLoss | Step::LoseCatalog => {
                    if matches!(step, Step::Close) {
                        store.close();
                    }
                    drop(store);
                    match step {
                        Step::PowerLoss => fs.power_loss(),
                        _ => fs.kill(),
                    }
                    if matches!(step, Step::LoseCatalog) {
                        std::fs::remove_file(dir.path().join("catalog.sqlite")).unwrap();
                        forgotten.extend(acknowledged.keys().copied());
                    }
                    store = open(dir.path(), &fs);
                }
            }
            prop_assert_eq!(&stored(&store), &acknowledged, "after {:?}", step);
        }
    }
}
