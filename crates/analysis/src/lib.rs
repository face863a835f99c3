//! What a trace, or many of them, say: where the time went, and who is to blame.
//!
//! It is: pure functions from spans to answers, each with its input, algorithm, source, edge cases and cost written down
//! in its module. It is not: a store, a query language or a screen; it touches neither disk, network nor clock.
//!
//! ```text
//! SpanRecords, columns of a store ──▶ traces: columns, numbered texts, every trace in preorder
//!                                        │
//!                                      skew: clocks estimated, times corrected
//!              ┌─────────────────────────┼──────────────────────────┐
//!       critical_path              hops, patterns             blame, outliers, rank
//!  what a duration hangs on    between services, habits      what differs, who is to blame      broken: what is missing
//!              └─────────────────────────┼──────────────────────────┘
//!                                     verdict ──▶ explain: one document
//! ```

pub mod blame;
pub mod broken;
mod codes;
pub mod critical_path;
mod edge;
pub mod explain;
pub mod hops;
pub mod logs;
pub mod outliers;
pub mod patterns;
pub mod rank;
pub mod skew;
pub mod traces;
pub mod verdict;

pub use edge::Edge;
pub use traces::{
    Attribute, Builder, Link, Log, LogSource, NO_SPAN, Origin, Scalar, Span, Status, Text, Texts, Trace, Traces,
};
