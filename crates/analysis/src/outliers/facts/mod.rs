//! What each trace shows: the raw material of a comparison.
//!
//! ```text
//! Traces ─▶ [`collect`] one walk over spans ─▶ Facts: operations, edges, columns of attributes, log sites, each with the
//!                                              traces that show it, as ascending numbers
//!                                        ─▶ [`candidates`]: statements about a trace, true or false, to be tested
//! ```
//!
//! A walk costs O(1) per attribute: texts are translated by table, the columns of an operation are guessed by position, and
//! a value that repeats is found at once. Lists of traces are ascending, since traces are walked one after the other.

mod candidates;
mod collect;
mod column;
mod shown;

use crate::traces::{LogSource, Text, Texts};
use tracewell_model::TraceId;

pub(super) use candidates::Candidate;
pub(super) use collect::Known;
pub(super) use column::Value;
pub(super) use shown::Shown;

use column::Column;

/// In place of the number of an operation: there is none.
pub(super) const NONE: u32 = u32::MAX;

/// A trace in the comparison.
#[derive(Debug, Clone, Copy)]
pub(super) struct Member {
    pub(super) id: TraceId,
    /// Duration of its main root.
    pub(super) duration_ns: u64,
    pub(super) start_ns: u64,
    /// Operation of its main root, or [`NONE`].
    pub(super) root: u32,
    /// True on the side that is to be explained.
    pub(super) selected: bool,
}

/// The spans of an operation, or the calls along an edge, in one trace.
#[derive(Debug, Clone, Copy)]
pub(super) struct Calls {
    pub(super) trace: u32,
    pub(super) count: u32,
    /// Their durations, summed.
    pub(super) sum_ns: u64,
}

/// An operation of a service.
#[derive(Debug, Default)]
pub(super) struct Operation {
    pub(super) service: Text,
    pub(super) name: Text,
    columns: Vec<u32>,
    /// Its spans in each trace that has any.
    pub(super) calls: Vec<Calls>,
    failed: Shown,
}

/// Calls between two services.
#[derive(Debug, Default)]
pub(super) struct Edge {
    pub(super) caller: Text,
    pub(super) callee: Text,
    calls: Vec<Calls>,
}

/// A place in a program that writes log records.
#[derive(Debug)]
pub(super) struct Site {
    pub(super) service: Text,
    pub(super) site: Text,
    pub(super) source: LogSource,
    shown: Shown,
}

/// A resource, as one service.
#[derive(Debug)]
struct Origin {
    service: Text,
    attributes: Vec<(Text, Value)>,
    shown: Shown,
}

/// What each trace shows.
#[derive(Debug, Default)]
pub(super) struct Facts {
    pub(super) texts: Texts,
    pub(super) members: Vec<Member>,
    pub(super) operations: Vec<Operation>,
    pub(super) edges: Vec<Edge>,
    pub(super) sites: Vec<Site>,
    columns: Vec<Column>,
    origins: Vec<Origin>,
}

/// A statement about a trace.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum What {
    /// Its main root is this operation.
    Root(u32),
    /// A span of a service has this attribute of the resource.
    Resource { service: Text, key: Text, value: Value },
    /// A span of a service, or of one of its operations, has an attribute that passes a test. The empty key stands for the
    /// status message.
    Attribute { service: Text, operation: Option<Text>, key: Text, test: Test },
    /// A span of this operation failed.
    Failed(u32),
    /// It has (or has not) a span of this operation.
    Operation(u32, bool),
    /// It has (or has not) a call along this edge.
    Edge(u32, bool),
    /// The number of spans of this operation passes a test.
    Calls(u32, Test),
    /// The number of calls along this edge passes a test.
    EdgeCalls(u32, Test),
    /// It has a record of this log site.
    Site(u32),
    /// The spans of this operation take at least (or less than) so many nanoseconds together.
    Takes { operation: u32, from_ns: Option<u64>, to_ns: Option<u64> },
    /// Both.
    Pair(Box<What>, Box<What>),
}

/// A test of a value.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Test {
    /// It is this.
    Is(Value),
    /// It is this or larger.
    AtLeast(Value),
    /// It is smaller.
    Below(Value),
}

impl What {
    /// The rank of an edge.
    pub(super) const EDGE_RANK: u8 = 7;

    /// What is told first of several statements that are true of the same traces: the reason rather than its trace.
    pub(super) fn rank(&self) -> u8 {
        match self {
            What::Root(_) => 0,
            What::Resource { .. } => 1,
            What::Attribute { .. } => 2,
            What::Failed(_) => 3,
            What::Site(_) => 4,
            What::Calls(..) => 5,
            What::EdgeCalls(..) => 6,
            What::Edge(..) => Self::EDGE_RANK,
            What::Operation(..) => 8,
            What::Takes { .. } => 9,
            What::Pair(..) => 10,
        }
    }
}
