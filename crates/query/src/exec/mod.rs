//! Queries over sources: search, whole traces, logs, and listings.
//!
//! ```text
//! Program ─┬─ walk: newest candidates of a source ─ scan: filters over chunks
//!          ├─ search: merge of the walks, parts of a trace put together, page and cursor
//!          ├─ total: the same over every block, in parallel
//!          ├─ gather: whole traces as columns, for analyses
//!          └─ summary: what is told of a trace on the page
//! rows: columns back to spans and log records ─ assemble: a whole trace, for what needs its tree
//! ```

mod api;
mod assemble;
mod budget;
mod clocks;
mod columns;
mod cursor;
mod gather;
mod hops;
mod listing;
mod logs;
mod matches;
mod red;
mod row;
mod rows;
mod scan;
mod search;
mod sources;
mod summary;
mod total;
mod trace;
mod walk;

pub use api::{
    AttributeKey, AttributeScope, AttributeValue, AttributeValues, Listing, OperationSummary, SearchRequest,
    SearchResponse, ServiceCount, ServiceSummary, SpanSummary, Total, TotalMode, TraceSummary,
};
pub use budget::{Budget, Stats};
pub use clocks::corrections;
pub use cursor::Cursor;
pub use gather::{
    GatherRequest, Gathered, OneTrace, SetQuestion, TwoSets, Which, gather, gather_two, gather_with_like,
};
pub use hops::{HopEdge, HopRequest, hop_changes, hops};
pub use listing::{attribute_keys, attribute_values, operations, services};
pub use logs::{LogSearch, search_logs, trace_logs};
pub use red::{Red, RedOperation, RedStep, red};
pub use search::search;
pub use trace::{Trace, trace};

pub(crate) use budget::{Meter, Stop};
pub(crate) use sources::{Sources, TraceFacts};
