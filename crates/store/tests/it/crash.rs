use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::channel;
use std::time::Duration;

use tracewell_store::{Store, StoreConfig};

use crate::support::*;

/// Spans of a request; request `n` holds those from `10 n`.
const SPANS: u64 = 10;
/// Tasks that append side by side.
const WRITERS: u64 = 4;
/// The folder, the next number and the numbers to send again, handed to the writer.
const JOB: &str = "TRACEWELL_CRASH_JOB";

/// A few kills run with the tests; `TRACEWELL_KILLS=200` makes it many.
fn kills() -> u64 {
    std::env::var("TRACEWELL_KILLS").ok().and_then(|kills| kills.parse().ok()).unwrap_or(20)
}

/// Tiny heads, files and segments, so that sealing, merging and trimming go on all the time.
fn restless(dir: &std::path::Path) -> StoreConfig {
    StoreConfig {
        head_rows_max: 400,
        head_age_max: Duration::from_millis(300),
        wal_file_bytes: 16 << 10,
        compaction_fan_in: 4,
        segment_rows_max: 8_000,
        free_bytes_min: 0,
        ..StoreConfig::new(dir)
    }
}

/// The process that is killed: this test binary, started again. Appends numbered requests and prints each number
/// once it is acknowledged.
#[test]
#[ignore = "started by the test below"]
fn writer() {
    let Ok(job) = std::env::var(JOB) else { return };
    let mut lines = job.lines();
    let store = open(&restless(lines.next().unwrap().as_ref()));
    let next = Arc::new(AtomicU64::new(lines.next().unwrap().parse().unwrap()));
    let again: Vec<u64> = lines.map(|number| number.parse().unwrap()).collect();
    let again = Arc::new(std::sync::Mutex::new(again));
    let write = move |store: Store| {
        let (next, again) = (next.clone(), again.clone());
        async move {
            loop {
                let number = again.lock().unwrap().pop();
                let number = number.unwrap_or_else(|| next.fetch_add(1, Ordering::Relaxed));
                append(&store, SPANS * number..SPANS * (number + 1)).await.unwrap();
                let mut out = std::io::stdout().lock();
                writeln!(out, "\nacknowledged {number}").and_then(|()| out.flush()).unwrap();
            }
        }
    };
    let merger = store.clone();
    std::thread::spawn(move || {
        while merger.compact_now().is_ok() {
            std::thread::sleep(Duration::from_millis(20));
        }
    });
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let writers: Vec<_> = (0..WRITERS).map(|_| runtime.spawn(write(store.clone()))).collect();
    runtime.block_on(async {
        for writer in writers {
            let _: Result<(), _> = writer.await;
        }
    });
}

fn start_writer(dir: &std::path::Path, next: u64, again: &[u64]) -> Child {
    let again: Vec<String> = again.iter().map(u64::to_string).collect();
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "crash::writer", "--ignored", "--nocapture"])
        .env(JOB, format!("{}\n{next}\n{}", dir.display(), again.join("\n")))
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

#[test]
fn killed_at_random_moments_every_acknowledged_span_is_there_once() {
    let dir = tempfile::tempdir().unwrap();
    let config = quiet(dir.path());
    let mut acknowledged: BTreeSet<u64> = BTreeSet::new();
    let mut next = 0;
    let mut random = 0x9E37_79B9_7F4A_7C15u64 ^ u64::from(std::process::id());
    let (mut orphans, mut replayed, mut resent) = (0, 0, 0);
    for kill in 0..kills() {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        // As a client would: what was not acknowledged is sent again, byte for byte.
        let again: Vec<u64> = (0..next).filter(|number| !acknowledged.contains(number)).collect();
        resent += again.len();
        let mut child = start_writer(dir.path(), next, &again);
        let (sender, receiver) = channel();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        let reader = std::thread::spawn(move || {
            let mut numbers = Vec::new();
            let mut line = String::new();
            while output.read_line(&mut line).unwrap() > 0 && line.ends_with('\n') {
                if let Some(number) = line.trim_end().strip_prefix("acknowledged ") {
                    numbers.push(number.parse::<u64>().unwrap());
                    sender.send(()).ok();
                }
                line.clear();
            }
            numbers
        });
        // Some are killed while they start, most while they work.
        if kill % 5 > 0 {
            receiver.recv_timeout(Duration::from_secs(60)).expect("the writer acknowledges something");
        }
        std::thread::sleep(Duration::from_micros((random >> 33) % 400_000));
        child.kill().unwrap();
        child.wait().unwrap();
        let printed = reader.join().unwrap();
        next = printed.iter().map(|number| number + 1).fold(next, u64::max);
        acknowledged.extend(printed);

        let (store, report) = Store::open(config.clone()).unwrap();
        assert_eq!((report.quarantined, report.wal.damaged_bytes), (0, 0), "kill {kill}: {report:?}");
        orphans += report.orphans;
        replayed += report.replayed_frames;
        let found: BTreeSet<u64> = stored(&store).into_iter().collect();
        for number in &acknowledged {
            for span in SPANS * number..SPANS * (number + 1) {
                assert!(found.contains(&span), "kill {kill}: span {span} was acknowledged and is lost");
            }
        }
        // Requests that were under way are there whole or not at all.
        assert_eq!(found.len() as u64 % SPANS, 0, "kill {kill}");
        next = found.iter().map(|span| span / SPANS + 1).fold(next, u64::max);
    }
    println!(
        "{} kills: {} requests acknowledged, {resent} sent again, {replayed} frames replayed, {orphans} orphans removed",
        kills(),
        acknowledged.len(),
    );
    assert!(acknowledged.len() > 100);
}
