//! What is told of a change.

use serde::Serialize;

use super::locate::Location;
use super::rank::Sample;

/// When something counts as changed.
#[derive(Debug, Clone, PartialEq)]
pub struct Options {
    /// Calls on each side at least; with fewer there is no verdict.
    pub min_samples: u64,
    /// False discovery rate at most.
    pub q_max: f64,
    /// Normal quantile of the confidence of intervals: 1.96 for 95 %.
    pub z: f64,
    /// A shift below this is not told, in nanoseconds …
    pub min_shift_ns: i64,
    /// … nor one below this share of what the whole call took before.
    pub min_relative: f64,
    /// Where a few calls only are hit: by how much their share must have grown.
    pub min_tail_share: f64,
}

impl Default for Options {
    fn default() -> Self {
        Self { min_samples: 5, q_max: 0.05, z: 1.96, min_shift_ns: 500_000, min_relative: 0.1, min_tail_share: 0.02 }
    }
}

/// A part of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// From the caller's start to the callee's.
    Request,
    /// From the callee's end to the caller's.
    Response,
    /// Both together, free of clock offsets.
    Network,
    /// The callee's duration.
    Server,
    /// Of it, what the callee did not spend on calls of its own.
    Own,
    /// Waiting for a connection, or in a broker's queue.
    Queue,
    /// The whole, where the callee is not to be seen.
    Call,
}

/// What a test came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It takes longer, by enough to matter.
    Grew,
    /// It takes less.
    Fell,
    /// A clock moved: request and response changed by as much in opposite directions.
    Clock,
    /// It changed, by too little to matter.
    Small,
    /// Nothing tells the windows apart.
    Steady,
    /// Too few calls to say.
    NotEnough,
}

/// Quantiles of a part in nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
pub struct Quantiles {
    /// How many calls.
    pub count: u64,
    /// Mean.
    pub mean_ns: i64,
    /// Median.
    pub p50_ns: i64,
    /// 90th percentile.
    pub p90_ns: i64,
    /// 99th percentile.
    pub p99_ns: i64,
}

impl From<&Sample> for Quantiles {
    fn from(sample: &Sample) -> Self {
        let at = |q: f64| sample.quantile(q).unwrap_or(0);
        Self {
            count: sample.count(),
            mean_ns: sample.mean().round() as i64,
            p50_ns: at(0.5),
            p90_ns: at(0.9),
            p99_ns: at(0.99),
        }
    }
}

/// The calls slower than nearly all of those before.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Tail {
    /// Slower than this, in nanoseconds: the 95th percentile before and the least shift that matters.
    pub threshold_ns: i64,
    /// Share of the calls before.
    pub share_before: f64,
    /// Share of the calls now.
    pub share_now: f64,
}

/// The outcome of the test of one part.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Change {
    /// What it came to.
    pub verdict: Verdict,
    /// Median of all differences, in nanoseconds.
    pub shift_ns: i64,
    /// Lower end of its 95 % interval.
    pub shift_low_ns: i64,
    /// Upper end.
    pub shift_high_ns: i64,
    /// By how much the mean grew, in nanoseconds.
    pub mean_shift_ns: i64,
    /// Chance of such a difference were there none.
    pub p: f64,
    /// The same over all tests: the false discovery rate at which it counts.
    pub q: f64,
    /// Chance that a call now takes longer than one before.
    pub superiority: f64,
    /// Before …
    pub before: Quantiles,
    /// … and now.
    pub now: Quantiles,
    /// Where only some calls are hit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tail: Option<Tail>,
    /// True when the edge had too few calls before, and those of its neighbours stand in.
    pub borrowed: bool,
}

/// A part of an edge that changed.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct HopChange {
    /// The calling service; absent for requests from outside.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub caller: String,
    /// The called service.
    pub callee: String,
    /// The operation, where edges are told apart by it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub operation: Option<String>,
    /// True for messages.
    pub is_async: bool,
    /// Which part.
    pub part: Part,
    /// By how much.
    #[serde(flatten)]
    pub change: Change,
    /// Calls before.
    pub calls_before: u64,
    /// Calls now.
    pub calls_now: u64,
    /// Failed calls before.
    pub errors_before: u64,
    /// Failed calls now.
    pub errors_now: u64,
    /// What it adds to all calls now together, in nanoseconds.
    pub added_ns: i64,
}

/// One window against another.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct HopChanges {
    /// What changed by enough to matter, and clocks that moved; what adds most time first.
    pub changes: Vec<HopChange>,
    /// What explains it; what adds most time first.
    pub locations: Vec<Location>,
    /// Edges of which at least one part was tested.
    pub tested: u64,
    /// Edges with too few calls on either side to say anything.
    pub not_enough: u64,
    /// Changes that are real but too small to matter.
    pub small: u64,
}
