//! Where the time of requests goes, over many traces, and what changed between two sets of them.
//!
//! It is: the critical path's time of every operation, hop, service and statement, per request; the merged flame graph; and
//! the change of all that between two sets (two times, two versions, slow and normal) in parts that add up. It is not: a
//! cause. What takes longer because something else broke is listed with what it takes longer; [`crate::patterns`] and the
//! ranking of causes look further.
//!
//! ```text
//! before ──▶ critical paths ──▶ time and calls per key and kind of request ──┐        change of the mean request
//!            (critical_path)        (tally)                                  ├─▶ diff  = mix + Σ keys (calls × per call)
//! now    ──▶ critical paths ──▶ …                                          ──┘
//! ```
//!
//! **Input**: traces, each counted with its weight; of each the path of its main root. **Output**: [`Blame`], [`BlameDiff`].
//!
//! **Keys.** Every nanosecond of a path belongs to one *place*: the operation whose own time it is (with the wait for
//! somebody who sent no spans), or the hop that it passes in, on the way there or back. Places therefore sum to the duration
//! of the root. Services (all their operations), hops (both ways, and the wait for whoever sent none) and statements (all
//! that happens below the topmost span with a statement, in the database too) are further views of the same time.
//!
//! **Algorithm.** Means over traces, zeros included, with 95 % intervals of Student's distribution; sampled traces count as
//! many times as they stand for, with Kish's effective sample size (Kish, *Survey Sampling*, 1965). A change is taken apart
//! twice, both times by the mean of before and now (Shapley's value of two factors, so that nothing is left over and the
//! order does not matter): into a change of the mix of requests and a change within each kind of request (Kitagawa,
//! "Components of a Difference Between Two Rates", JASA 1955), and that into calls × time per call. Intervals of the parts
//! are those of the delta method.
//!
//! **Edge cases.** A trace without spans counts for nothing. What is new or gone changes by its calls; a kind of request
//! that is new or gone, by the mix. With one trace there are no intervals. At most [`LISTED_MAX`] keys of a view are given
//! one by one, the rest as a sum.
//!
//! **Complexity**: O(n log n) in spans for the paths, linear beyond them, and a sort of each key's times.

mod diff;
mod figures;
mod flame;
mod keys;
mod tally;
mod words;

use serde::Serialize;

use crate::Traces;

pub use diff::{BlameDiff, Change, Changes, RootChange, Set, Side, Standing};
pub use figures::Interval;
pub use flame::{FlameDiffNode, FlameNode};

use figures::Weights;
use tally::{Tally, View};

/// Keys of a view that are given one by one.
pub const LISTED_MAX: usize = 200;

/// Which way of a hop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// From the caller to the callee.
    Request,
    /// From the callee back.
    Response,
}

/// What time belongs to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(untagged)]
pub enum Subject {
    /// A hop from one service to another, or one way of it.
    Edge {
        /// Who calls.
        caller: String,
        /// Who is called.
        callee: String,
        /// Which way; absent where both are meant, and the wait for a callee that sent no spans.
        #[serde(skip_serializing_if = "Option::is_none")]
        direction: Option<Direction>,
    },
    /// A statement that a service runs.
    Statement {
        /// The service that runs it.
        service: String,
        /// Its text.
        statement: String,
    },
    /// An operation of a service.
    Operation {
        /// The service.
        service: String,
        /// The operation.
        operation: String,
    },
    /// A service.
    Service {
        /// Its name.
        service: String,
    },
}

/// Time of a key, per trace.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Share {
    /// What it is the time of.
    #[serde(flatten)]
    pub subject: Subject,
    /// Mean time on the critical path, nanoseconds per trace.
    pub mean_ns: f64,
    /// Its 95 % interval; absent with fewer than two traces.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interval: Option<Interval>,
    /// Share of the requests' time.
    pub share: f64,
    /// Spans of it on the critical path, per trace; of a service the requests that it handled there.
    pub calls: f64,
    /// Mean time of one of them, nanoseconds.
    pub per_call_ns: f64,
    /// Traces with some time of it.
    pub traces: usize,
    /// The time that half of the traces stay below, nanoseconds …
    pub p50_ns: u64,
    /// … 95 in a hundred …
    pub p95_ns: u64,
    /// … and 99.
    pub p99_ns: u64,
}

/// One view of the time: its keys, those with the most time first.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct Shares {
    /// The keys, at most [`LISTED_MAX`].
    pub listed: Vec<Share>,
    /// Keys that are not listed …
    pub other: usize,
    /// … and their mean time together, nanoseconds per trace.
    pub other_ns: f64,
}

/// Where the time of a set of traces goes.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Blame {
    /// How long requests take.
    pub requests: Set,
    /// Operations and ways of hops: these sum to the mean request.
    pub places: Shares,
    /// Services.
    pub services: Shares,
    /// Hops, both ways together.
    pub edges: Shares,
    /// Statements.
    pub statements: Shares,
    /// The merged flame graph: call paths in preorder, the largest of siblings first.
    pub flame: Vec<FlameNode>,
}

/// Where the time of the traces goes.
pub fn of(traces: &Traces) -> Blame {
    let tally = Tally::of(&[traces]);
    let weights = Weights::of(&tally, 0);
    let shares = |view| figures::shares(&tally, view, &weights);
    Blame {
        requests: figures::set(&tally, 0, &weights),
        places: shares(View::Places),
        services: shares(View::Services),
        edges: shares(View::Edges),
        statements: shares(View::Statements),
        flame: flame::merged(&tally, weights.sum),
    }
}

/// What changed from `before` to `now`, in parts that sum to the change of the mean request.
pub fn diff(before: &Traces, now: &Traces) -> BlameDiff {
    diff::of(&Tally::of(&[before, now]))
}
