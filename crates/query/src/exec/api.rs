//! What is asked and what is answered.

use tracewell_model::{SpanId, TraceId, Value};

use super::{Cursor, Stats};
use crate::traceql::Query;

/// A search for traces. Times are nanoseconds since the epoch.
#[derive(Debug, Clone)]
pub struct SearchRequest {
    /// The checked query.
    pub query: Query,
    /// Spans count when they end at or after this …
    pub start: u64,
    /// … and start before this.
    pub end: u64,
    /// Most traces on the page.
    pub limit: usize,
    /// Where the page before ended.
    pub cursor: Option<Cursor>,
    /// Whether all matching traces are counted.
    pub total: TotalMode,
    /// Most matched spans told of each trace.
    pub max_spans_per_trace: usize,
}

impl SearchRequest {
    /// The newest twenty traces of all time, counted exactly, with three spans each.
    pub fn new(query: Query) -> Self {
        let (start, end) = (0, u64::MAX);
        Self { query, start, end, limit: 20, cursor: None, total: TotalMode::Exact, max_spans_per_trace: 3 }
    }
}

/// Whether all matching traces are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TotalMode {
    /// Yes.
    #[default]
    Exact,
    /// No; the search ends when the page is full.
    None,
}

/// How many traces match in all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Total {
    /// How many.
    pub value: u64,
    /// False when the budget ended before everything was counted: there are at least as many.
    pub exact: bool,
}

/// A page of traces, the newest first.
#[derive(Debug, Clone, Default)]
pub struct SearchResponse {
    /// The traces.
    pub traces: Vec<TraceSummary>,
    /// Where the next page begins; `None` on the last page.
    pub next_cursor: Option<Cursor>,
    /// How many there are in all, if that was asked.
    pub total: Option<Total>,
    /// What it cost.
    pub stats: Stats,
    /// What the reader of the answer should know: damaged files, an exhausted budget, doubts about the query.
    pub warnings: Vec<String>,
}

/// What is told of a trace. All figures are of the whole trace, not only of its matched spans.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct TraceSummary {
    /// The trace.
    pub trace_id: TraceId,
    /// Service and name of the root span (the earliest span without parent); `None` where it is missing.
    pub root: Option<(String, String)>,
    /// Earliest start, nanoseconds since the epoch.
    pub start_unix_nano: u64,
    /// Latest end minus earliest start, in nanoseconds.
    pub duration_ns: u64,
    /// Spans, each counted once however often it was received.
    pub span_count: u64,
    /// Spans whose status is an error.
    pub error_count: u64,
    /// Services, most spans first, then by name.
    pub services: Vec<ServiceCount>,
    /// Spans that matched.
    pub matched_spans: u64,
    /// The earliest of them.
    pub spans: Vec<SpanSummary>,
}

/// A service's share of a trace.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ServiceCount {
    /// Service name.
    pub name: String,
    /// Its spans.
    pub spans: u64,
    /// Those whose status is an error.
    pub errors: u64,
}

/// What is told of a matched span.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct SpanSummary {
    /// The span.
    pub span_id: SpanId,
    /// Its name.
    pub name: String,
    /// Its service.
    pub service: String,
    /// Its start, nanoseconds since the epoch.
    pub start_unix_nano: u64,
    /// Its duration in nanoseconds; negative where the end lies before the start.
    pub duration_ns: i64,
    /// OTLP status code.
    pub status: i32,
    /// OTLP span kind.
    pub kind: i32,
    /// Attributes that the query names, by key, in the query's order.
    pub attributes: Vec<(String, Value)>,
}

/// An answer that may be incomplete, and why.
#[derive(Debug, Clone, Default)]
pub struct Listing<T> {
    /// The answer.
    pub items: Vec<T>,
    /// False when there are more, or when something could not be read.
    pub complete: bool,
    /// What could not be read.
    pub warnings: Vec<String>,
}

/// A service in a range of time.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ServiceSummary {
    /// Service name.
    pub name: String,
    /// Spans that started in the range.
    pub spans: u64,
    /// Those whose status is an error.
    pub errors: u64,
    /// Distinct pairs of span name and kind.
    pub operations: u64,
}

/// An operation in a range of time.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct OperationSummary {
    /// Service name.
    pub service: String,
    /// Span name.
    pub name: String,
    /// OTLP span kind.
    pub kind: i32,
    /// Spans that started in the range.
    pub spans: u64,
    /// Those whose status is an error.
    pub errors: u64,
    /// Mean duration of those spans.
    pub mean_duration_ns: f64,
}

/// Where an attribute belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AttributeScope {
    /// To the span.
    Span,
    /// To the resource.
    Resource,
    /// To the instrumentation scope.
    Instrumentation,
}

/// An attribute key that occurs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttributeKey {
    /// Where it belongs.
    pub scope: AttributeScope,
    /// The key.
    pub key: String,
    /// Types of its values, as OTLP names them: `string`, `int`, `double`, `bool`, `array`, `kvlist`, `bytes`.
    pub types: Vec<&'static str>,
    /// Spans that have it.
    pub spans: u64,
}

/// A value that occurs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttributeValue {
    /// The value as text.
    pub value: String,
    /// Its type, as in [`AttributeKey::types`].
    pub kind: &'static str,
    /// Traces that hold it; a trace that lies in several sources counts in each.
    pub traces: u64,
}

/// Values of an attribute, most traces first.
pub type AttributeValues = Listing<AttributeValue>;
