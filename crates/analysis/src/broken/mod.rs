//! Broken traces: between which services they break, how often, and why.
//!
//! It is: a view of each hop over a set of traces, whole ones and pieces. It is not: a repair; nothing is put together.
//!
//! ```text
//! trace 1   a ── b ── c        intact: who stands above and below whom is learned from these
//! trace 2   a ── b             a call without an answer that should have one     (gap)
//! trace 3   a ── b    · ─ c    a span whose parent nobody recorded               (orphan)
//! trace 4   a ── b
//! trace 5            c         a trace that begins in the middle, and fits a gap (fragment)
//! ```
//!
//! **Input.** Traces of a time window; the more, the surer. Clocks should agree to within a few milliseconds
//! ([`crate::traces`] as corrected); nothing but ids, service, kind and times is needed. What helps if it is there:
//! addresses ([`crate::Span::peer`]), instances, `tracestate`, links.
//!
//! **Algorithm.** 1. One pass learns, for each place that calls leave from (service, operation, peer; where no peer is
//! named, also the operation above and the how many-th call), who answers, and for each operation who calls it
//! (`survey`); where services record no calls, their work stands for these (`unrecorded`, `doubt`). 2. A call without error and without answer is a gap if its place has answers, if others that name the same
//! peer have, or if the peer or operation is that of a known service; a call much faster than any that was answered never
//! left the process (`gaps`). Databases and addresses outside never answer and are left alone. 3. Orphans are laid into
//! the gap of their trace that they lie within, by who usually calls them (`orphans`). 4. Traces that begin with a server
//! span are laid into gaps of other traces; pairs that chance makes are counted with shifted times and subtracted
//! (`fragments`: the jitter method, Amarasingham et al. 2012). 5. A hop is broken when the lower end of the interval of
//! its share (Wilson 1927, four standard errors) is above what is tolerated. 6. Its cause follows from tests in order of
//! what they prove (`cause`): a threshold in the trace ids or in `ot=th` (consistent sampling: OpenTelemetry, "TraceState:
//! Probability Sampling") for *sampled*, orphans, a change point (Hinkley 1970), bursts (Wald and Wolfowitz 1940), one
//! instance for *dropped by exporter*, fragments for *header stripped*, a name of which nothing was seen for *not
//! instrumented*, the newest seconds only for *late*.
//!
//! **Output.** One [`BrokenHop`] for each pair of services, those that share a cause and a side together, the most calls
//! lost first, with interval, cause, confidence, reasons, examples and a sentence. The same input gives the same answer.
//!
//! **Edge cases.** Losses only at the newest end are *late*, or nothing at all if they concern most services: the window
//! ends there. Losses only at its beginning are cut off by the window and not reported. Less than three traces concerned
//! are never enough. A single service that never reports and has neither address nor anything below it cannot be seen.
//!
//! **Complexity.** O(n log n) in spans; the pass over the spans is most of it.

mod cause;
mod doubt;
mod evidence;
mod fitting;
mod fragments;
mod gaps;
mod hops;
mod orphans;
mod report;
mod stats;
mod survey;
mod unrecorded;

use serde::Serialize;

use crate::traces::Traces;

/// What is looked for.
#[derive(Debug, Clone, PartialEq)]
pub struct Options {
    /// How much later than others a span may come and still be called late, nanoseconds. At most a quarter of the window
    /// counts.
    pub late_ns: u64,
    /// Calls that must be lost before a hop is looked at.
    pub lost_calls_min: usize,
    /// Traces that must be concerned.
    pub traces_min: usize,
    /// Share of lost calls that is nobody's business.
    pub tolerated_share: f64,
    /// Examples for each hop.
    pub examples_max: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self { late_ns: 10_000_000_000, lost_calls_min: 5, traces_min: 3, tolerated_share: 0.01, examples_max: 5 }
    }
}

/// Why a hop is broken, most likely.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// The callee decides by itself which traces it records, and those below follow it.
    Sampled,
    /// Spans were made and did not arrive.
    DroppedByExporter,
    /// The context does not arrive: the callee begins traces of its own.
    HeaderStripped,
    /// The callee makes no spans, or none of its spans ever arrive.
    NotInstrumented,
    /// What is missing is the newest, and may still come.
    Late,
    /// None of these stands out.
    Unknown,
}

/// Where a share lies, from 0 to 1.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Interval {
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

/// A call that was lost.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Example {
    /// Its trace.
    pub trace_id: String,
    /// The span that calls; what hangs in the air below it where the call itself is missing.
    pub span_id: String,
    /// The trace that belongs into the gap, most likely.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fragment_trace_id: Option<String>,
}

/// A pair of services between which traces break.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct BrokenHop {
    /// The service that calls; absent where it is outside or not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub caller: Option<String>,
    /// The service that is called, or the name by which its callers call it; absent where there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub callee: Option<String>,
    /// What most of the lost calls are called.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub operation: Option<String>,
    /// The only instance, of the caller or the callee, that loses calls.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instance: Option<String>,
    /// Where the context is stripped, other callees of the same caller; else other callers of the same callee: broken for
    /// the same cause.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub also: Vec<String>,
    /// Share of calls that are lost, 0 to 1.
    pub lost_share: f64,
    /// Calls that are lost.
    pub lost_calls: usize,
    /// Calls in all, without those that failed.
    pub calls: usize,
    /// Interval of `lost_share` at 95 %.
    pub interval: Interval,
    /// When it began, nanoseconds since the Unix epoch, if it did within the window.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since_unix_nano: Option<u64>,
    /// Why.
    pub cause: Cause,
    /// How sure the cause is, 0 to 1.
    pub confidence: f64,
    /// What speaks for it.
    pub reasons: Vec<String>,
    /// Some of the lost calls, the earliest first.
    pub examples: Vec<Example>,
    /// All of it in one sentence.
    pub sentence: String,
}

/// The hops that are broken, the worst first.
pub fn find(traces: &Traces, options: &Options) -> Vec<BrokenHop> {
    let survey = survey::Survey::of(traces);
    let gaps = gaps::find(traces, &survey);
    let missing = orphans::find(traces, &survey, &gaps);
    let hops = hops::gather(traces, &survey, &gaps, &missing, options.lost_calls_min.max(1));
    report::write(traces, &survey, hops, options)
}
