//! Everything that is to be said of one trace, or of a set of traces, in one document.
//!
//! It is: the order in which the other modules are asked, and the document that holds their answers (`docs/explain.md`).
//! It is not: an analysis; the verdict, too, is put together in [`crate::verdict`].
//!
//! ```text
//! traces, baseline ─▶ clocks corrected ─▶ each module ─▶ verdict ─▶ Explanation (serde: the document)
//! ```

mod path;

use serde::Serialize;

use crate::verdict::{self, Verdict};
use crate::{Trace, Traces, hops, patterns};

pub use path::PathStep;

/// Version of the document: raised when a field changes its meaning or goes away, not when one is added.
pub const VERSION: u32 = 1;

/// What was looked at.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Scope {
    /// The trace, where it was one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trace: Option<String>,
    /// Traces that were asked about.
    pub traces: usize,
    /// Their spans.
    pub spans: usize,
    /// Traces that they were compared with.
    pub against_traces: usize,
}

/// The document.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Explanation {
    /// [`VERSION`].
    pub version: u32,
    /// What was looked at.
    pub scope: Scope,
    /// What happened, and who is to blame.
    pub verdict: Verdict,
    /// What else was found, by weight.
    pub also: Vec<Verdict>,
    /// The path to the answer. Of a set: that of the trace that took longest.
    pub critical_path: Vec<PathStep>,
    /// The path to the end of the last asynchronous work, where that ended after the answer.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub completion_path: Vec<PathStep>,
}

/// Explains the trace with the number `of`. Its like is looked for in `baseline`, and among the other `traces`.
/// `None` if there is no such trace, or it has no spans.
pub fn trace(traces: &Traces, of: usize, baseline: Option<&Traces>) -> Option<Explanation> {
    let subject = *traces.traces().get(of)?;
    let mut all = baseline.cloned().unwrap_or_default();
    let of = all.traces().len() + of;
    all.append(traces.clone());
    let paths = path::paths(&all, all.traces().get(of)?)?;
    let (verdict, also) = verdict::of_trace(&all, of)?;
    Some(Explanation {
        version: VERSION,
        scope: Scope {
            trace: Some(subject.id.to_string()),
            traces: 1,
            spans: subject.spans().len(),
            against_traces: all.traces().len() - 1,
        },
        verdict,
        also,
        critical_path: paths.0,
        completion_path: paths.1,
    })
}

/// Earliest start among the spans of a trace, nanoseconds since the epoch.
fn earliest_ns(traces: &Traces, trace: &Trace) -> u64 {
    traces.spans_of(trace).iter().map(|span| span.start_ns).min().unwrap_or(0)
}

/// Explains a set of traces, compared with another.
pub fn set(now: &Traces, against: Option<&Traces>) -> Explanation {
    let none = Traces::default();
    let before = against.unwrap_or(&none);
    let hops = hops::changes(before, now);
    let (patterns, patterns_before) = (patterns::find(now), patterns::find(before));
    let found = verdict::Found { now, before, hops: &hops, patterns: &patterns, patterns_before: &patterns_before };
    let (verdict, also) = verdict::of_set(&found);
    Explanation {
        version: VERSION,
        scope: Scope {
            trace: None,
            traces: now.traces().len(),
            spans: now.spans().len(),
            against_traces: before.traces().len(),
        },
        verdict,
        also,
        critical_path: Vec::new(),
        completion_path: Vec::new(),
    }
}
