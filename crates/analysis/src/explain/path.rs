//! The critical path as the document tells it.

use serde::Serialize;

use crate::critical_path::{self, Segment, SegmentKind};
use crate::{Trace, Traces};

/// A piece of a path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PathStep {
    /// Id of the span that it belongs to.
    pub span: String,
    /// Its service.
    pub service: String,
    /// Its operation.
    pub operation: String,
    /// When the piece begins, nanoseconds since the Unix epoch.
    pub start: u64,
    /// The same after the earliest start of the trace's spans as they were sent, in nanoseconds; `start` has clocks corrected.
    pub offset: i64,
    /// How long it takes, in nanoseconds.
    pub duration: u64,
    /// What the time was spent on.
    pub kind: SegmentKind,
}

/// The path to the answer and the path to completion of a trace; `None` for one without spans.
pub(super) fn paths(traces: &Traces, trace: &Trace, origin_ns: u64) -> Option<(Vec<PathStep>, Vec<PathStep>)> {
    let root = traces.main_root(trace)?;
    let path = critical_path::of(traces, root);
    let step = |segment: &Segment| {
        let span = &traces.spans()[segment.span];
        PathStep {
            span: span.id.to_string(),
            service: traces.text(span.service).to_owned(),
            operation: traces.text(span.operation).to_owned(),
            start: segment.start_ns,
            offset: segment.start_ns.wrapping_sub(origin_ns) as i64,
            duration: segment.duration_ns(),
            kind: segment.kind,
        }
    };
    let completion = path.completion.as_ref().map(|completion| completion.segments.iter().map(step).collect());
    Some((path.segments.iter().map(step).collect(), completion.unwrap_or_default()))
}
