//! Which work a trace's duration consists of: the chain of spans that, at every moment, the caller was waiting for.
//!
//! It is: the path to the answer, the path to completion of what went on after it, how much room and weight each span has,
//! what would be if a span took longer or shorter, and where a failure began. It is not: an average over traces (see
//! [`totals`] for the sums), nor a correction of clocks, which comes first.
//!
//! ```text
//! root    ▐██────────────────────────██▌        segments, ordered and disjoint:
//! A         ▐███▌ ┊                  ┊          root 0–2, A 2–7, root 7–9, B 9–12, C 12–20, B 20–28, root 28–30
//! B               ▐███────────███████▌          (C's sibling D ran beside it and ended earlier: not on the path)
//! C                ┊  ▐██████▌
//! D                ┊  ▐███▌
//! E  (asynchronous)                    ▐███▌    on the second path only, "to completion"
//! ```
//!
//! **Input.** Traces and the number of a span, usually a root; times as they stand in [`Traces`]. What runs below the span
//! is looked at, up to and without what is asynchronous.
//!
//! **Algorithm.** The walk of CRISP (Zhang et al., "CRISP: Critical Path Analysis of Large-Scale Microservice
//! Architectures", USENIX ATC 2022): from the end of the span back to its start; among the children take the one with the
//! latest end that is not after the cursor, walk through it in the same way, move the cursor to its start; what no child
//! took is the span's own. Children are clipped to their parent. A sibling that overlaps the one after it by at most one
//! part in [`OVERLAP_PARTS`] of the parent counts as ended before it, as in CRISP: such overlaps are clocks and the time
//! it takes to note an end. It is then laid in front of it, earlier by the overlap, so that segments stay disjoint and the
//! sibling keeps its whole duration; room is taken from the parent's own time before it.
//!
//! **Asynchronous** is a child that nobody waits for: it begins when its parent had ended or later; it handles a message
//! (kind consumer, below a producer or in another service; any incoming kind below a producer); or it follows from its
//! parent by its own word (it links to its own parent: OpenTracing's `FOLLOWS_FROM`, messaging conventions).
//!
//! **Output.** [`CriticalPath`]: [`Segment`]s that are ordered, disjoint, without gaps, and sum to the span's duration to
//! the nanosecond. [`room::of`] gives slack and drag of each span, [`replay`] what-if, [`errors`] the way of a failure.
//!
//! **Edge cases.** A span without duration has no segments. Children wholly outside their parent take no part. Among
//! children that end at the same time the one that began first is taken. A sliding sibling for which the parent has too
//! little room is cut at its start; only then is its figure smaller than its duration.
//!
//! **Complexity.** O(n log n) in the spans below: each span on the path sorts its children by end. No recursion.

mod children;
mod completion;
pub mod errors;
pub mod replay;
pub mod room;
mod siblings;
mod totals;
mod walk;

use serde::Serialize;

use crate::Traces;

pub use completion::Completion;
pub use totals::{Total, totals};
pub use walk::Walker;

/// Siblings whose overlap is at most one part in this many of their parent's duration count as one after the other.
pub const OVERLAP_PARTS: u64 = 100;

/// What a span's time on the path was spent on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SegmentKind {
    /// Work of its own, as far as spans tell.
    #[serde(rename = "self")]
    SelfTime,
    /// On the way between a caller and the other side: own time of an outgoing span (client) whose other side is seen
    /// within it: what the call took beyond the callee's own account. Belongs to the hop between the two.
    Network,
    /// Waiting for somebody who sent no spans: own time of an outgoing span (client, producer) without another side within
    /// it, such as a database or a broker. On the path to completion also the time between the end of whatever caused
    /// asynchronous work and its start (a queue): it belongs to the span that was waited for.
    Wait,
}

/// A piece of the path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Segment {
    /// Number of the span that it belongs to.
    pub span: usize,
    /// Start, nanoseconds since the Unix epoch.
    pub start_ns: u64,
    /// End, nanoseconds since the Unix epoch, after the start.
    pub end_ns: u64,
    /// What the time was spent on.
    pub kind: SegmentKind,
}

impl Segment {
    /// Duration in nanoseconds.
    pub fn duration_ns(&self) -> u64 {
        self.end_ns - self.start_ns
    }
}

/// The path through the work below a span.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CriticalPath {
    /// Number of the span at the top.
    pub root: usize,
    /// The path to the answer: ordered, disjoint, without gaps, from the start to the end of the root.
    pub segments: Vec<Segment>,
    /// The path to the end of the last asynchronous work, where that ended after the root.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub completion: Option<Completion>,
}

/// The critical path through the work below a span, usually a root ([`Traces::main_root`]). A number that is not one of
/// a span gives an empty path.
pub fn of(traces: &Traces, root: usize) -> CriticalPath {
    let mut walker = Walker::new(traces);
    let segments = walker.walk(root).to_vec();
    let completion = completion::of(&mut walker, root);
    CriticalPath { root, segments, completion }
}
