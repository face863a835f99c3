//! What instrumentation refused, ignored or dropped: counted here, told to the server.
//!
//! ```text
//! extract, middleware, queue ──count(kind, reason)──▶ table of the process
//!                                                        │ every 10 s, what is new
//!                                       exporter thread ─┴▶ log records "tracewell.sdk.problem"
//! ```
//!
//! An application must never notice that a caller sends rubbish, nor be told by an error: but somebody has
//! to see it. `tracewell doctor` shows what the services of the last hour reported.
//!
//! Counting is a walk over a short table without a lock, fit for the path of a request. The table is
//! bounded: kinds and reasons are words of the program, and should there be too many all the same, the rest
//! is counted as [`OTHER`].

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::proto::{self, ValueRef};
use crate::span::now_unix_nano;

/// Pairs of kind and reason that are told apart.
const PAIRS_MAX: usize = 64;

/// Kind and reason of what came after the table was full.
pub const OTHER: &str = "other";

/// The name of the log record's event.
const EVENT_NAME: &str = "tracewell.sdk.problem";

/// Text by which the server's search finds these records.
const BODY_PREFIX: &str = "instrumentation problem";

/// How often one thing went wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProblemCount {
    /// What it happened to: a header such as `traceparent`, or `spans`.
    pub kind: &'static str,
    /// Why, in a few words.
    pub reason: &'static str,
    /// How many times.
    pub count: u64,
}

struct Slot {
    pair: OnceLock<(&'static str, &'static str)>,
    counted: AtomicU64,
    reported: AtomicU64,
}

impl Slot {
    const fn new() -> Self {
        Self { pair: OnceLock::new(), counted: AtomicU64::new(0), reported: AtomicU64::new(0) }
    }
}

/// Slots are taken from the front and never given back.
struct Table {
    slots: [Slot; PAIRS_MAX],
    rest: Slot,
}

static TABLE: Table = Table::new();

impl Table {
    const fn new() -> Self {
        Self { slots: [const { Slot::new() }; PAIRS_MAX], rest: Slot::new() }
    }

    fn slot(&self, kind: &'static str, reason: &'static str) -> &Slot {
        let pair = (kind, reason);
        // Whoever loses the race for a free slot looks whether the winner counts the same.
        self.slots.iter().find(|slot| *slot.pair.get_or_init(|| pair) == pair).unwrap_or(&self.rest)
    }

    fn add(&self, kind: &'static str, reason: &'static str, count: u64) {
        self.slot(kind, reason).counted.fetch_add(count, Ordering::Relaxed);
    }

    fn each(&self) -> impl Iterator<Item = ((&'static str, &'static str), &Slot)> {
        let known = self.slots.iter().map_while(|slot| Some((*slot.pair.get()?, slot)));
        known.chain(std::iter::once(((OTHER, OTHER), &self.rest)))
    }

    fn snapshot(&self) -> Vec<ProblemCount> {
        let counts = self.each().map(|((kind, reason), slot)| ProblemCount {
            kind,
            reason,
            count: slot.counted.load(Ordering::Relaxed),
        });
        counts.filter(|problem| problem.count > 0).collect()
    }

    /// What was counted since the last call.
    fn take(&self) -> Vec<ProblemCount> {
        let mut new = Vec::new();
        for ((kind, reason), slot) in self.each() {
            let counted = slot.counted.load(Ordering::Relaxed);
            let count = counted.saturating_sub(slot.reported.fetch_max(counted, Ordering::Relaxed));
            if count > 0 {
                new.push(ProblemCount { kind, reason, count });
            }
        }
        new
    }
}

/// Counts one problem, for the whole process. `kind` says what it happened to (a header's name, `spans`),
/// `reason` why, both in words that are the same every time.
///
/// ```
/// tracewell_sdk::diagnostics::count("traceparent", "version is ff");
/// assert_eq!(tracewell_sdk::diagnostics::snapshot()[0].count, 1);
/// ```
pub fn count(kind: &'static str, reason: &'static str) {
    TABLE.add(kind, reason, 1);
}

/// Counts several at once.
pub(crate) fn add(kind: &'static str, reason: &'static str, count: u64) {
    if count > 0 {
        TABLE.add(kind, reason, count);
    }
}

/// Everything counted since the process started, in the order in which it first happened.
pub fn snapshot() -> Vec<ProblemCount> {
    TABLE.snapshot()
}

/// What has not been reported yet; it counts as reported from now on.
pub(crate) fn take() -> Vec<ProblemCount> {
    TABLE.take()
}

/// Counts again what could not be sent.
pub(crate) fn give_back(problems: &[ProblemCount]) {
    for problem in problems {
        TABLE.slot(problem.kind, problem.reason).reported.fetch_sub(problem.count, Ordering::Relaxed);
    }
}

/// A whole `ExportLogsServiceRequest` with one record for each problem. `resource` is the encoded field.
pub(crate) fn encode(resource: &[u8], problems: &[ProblemCount]) -> Vec<u8> {
    let now = now_unix_nano();
    let mut request = Vec::new();
    proto::message(&mut request, 1, |request| {
        request.extend_from_slice(resource);
        proto::message(request, 2, |scope_logs| {
            proto::message(scope_logs, 1, |scope| {
                proto::bytes(scope, 1, b"tracewell.sdk");
                proto::bytes(scope, 2, env!("CARGO_PKG_VERSION").as_bytes());
            });
            for problem in problems {
                proto::message(scope_logs, 2, |record| encode_record(record, problem, now));
            }
        });
    });
    request
}

fn encode_record(record: &mut Vec<u8>, problem: &ProblemCount, now: u64) {
    let ProblemCount { kind, reason, count } = *problem;
    let times = if count == 1 { "once".to_owned() } else { format!("{count} times") };
    proto::fixed64(record, 1, now);
    proto::uint(record, 2, 13);
    proto::bytes(record, 3, b"WARN");
    proto::any_value(record, 5, ValueRef::Str(&format!("{BODY_PREFIX}: {kind}: {reason}, {times}")));
    proto::key_value(record, 6, "tracewell.problem.kind", ValueRef::Str(kind));
    proto::key_value(record, 6, "tracewell.problem.reason", ValueRef::Str(reason));
    proto::key_value(record, 6, "tracewell.problem.count", ValueRef::Int(i64::try_from(count).unwrap_or(i64::MAX)));
    proto::fixed64(record, 11, now);
    proto::bytes(record, 12, EVENT_NAME.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_pair_is_counted_once_whoever_comes_first() {
        let table = Table::new();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..1_000 {
                        table.add("traceparent", "version is ff", 1);
                        table.add("baggage", "too long", 2);
                    }
                });
            }
        });
        let mut counts: Vec<_> = table.snapshot().iter().map(|problem| (problem.kind, problem.count)).collect();
        counts.sort();
        assert_eq!(counts, [("baggage", 8_000), ("traceparent", 4_000)]);
    }

    #[test]
    fn what_does_not_fit_is_counted_as_other() {
        let table = Table::new();
        for number in 0..PAIRS_MAX + 10 {
            table.add("kind", Box::leak(number.to_string().into_boxed_str()), 1);
        }
        let counts = table.snapshot();
        assert_eq!(counts.len(), PAIRS_MAX + 1);
        assert_eq!(counts.last(), Some(&ProblemCount { kind: OTHER, reason: OTHER, count: 10 }));
    }

    #[test]
    fn a_problem_is_reported_once() {
        let table = Table::new();
        table.add("spans", "queue full", 3);
        assert_eq!(table.take(), [ProblemCount { kind: "spans", reason: "queue full", count: 3 }]);
        assert_eq!(table.take(), []);
        table.add("spans", "queue full", 1);
        assert_eq!(table.take()[0].count, 1);
        assert_eq!(table.snapshot()[0].count, 4);
    }
}
