//! The verdict: one sentence with figures that says what happened and who is to blame, and what it rests on.
//!
//! It is: a choice among what the other modules found, put in words. It is not: an analysis of its own, except that it
//! compares one trace with its like.
//!
//! ```text
//! one trace, its like ─▶ critical path, excess over the usual ─┐
//! patterns, errors, hops, clocks, broken hops ─────────────────┼─▶ candidates, by what they cost ─▶ first: the verdict
//! set against set ─────▶ blame, hop changes, outliers, ranking ┘                                  └▶ others: `also`
//! ```

mod alone;
mod failures;
mod one;
mod profile;
mod set;
mod telemetry;
mod usual;
mod ways;
mod words;
mod work;

use serde::Serialize;

pub use crate::edge::Edge;

use crate::Traces;
use crate::broken::BrokenHop;
use crate::patterns::Pattern;
use crate::rank::Suspect;

pub(crate) use set::Found;
pub use words::{count, duration, grouped, list, ordinal, share, times};

/// What kind of thing was found. The names are part of the explanation's format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// An operation takes long by itself.
    SlowOperation,
    /// An operation waits for a lock.
    LockWait,
    /// The time goes between two services.
    Network,
    /// The time goes before a request is sent, or a message is taken: in a queue.
    Queue,
    /// Requests fail, and this is where it begins.
    Error,
    /// Failing calls are repeated, on one level or several.
    RetryStorm,
    /// One call for each of many things, where one for all would do.
    NPlusOne,
    /// Calls that do not need each other wait for each other.
    SerialCalls,
    /// Very many calls over one edge.
    ChattyEdge,
    /// A caller gives up before its callee can answer.
    TimeoutInversion,
    /// A service calls itself, through others.
    Recursion,
    /// A failure below does not show above.
    SwallowedError,
    /// A new version is worse than the one before.
    Regression,
    /// What is done differs: calls that are missing or new, records written differently.
    BehaviorChange,
    /// A service does not pass the context on.
    LostContext,
    /// A service in the middle records a part only.
    MidSampling,
    /// Spans of a service were recorded and did not arrive.
    DroppedSpans,
    /// A service sends no spans.
    NotInstrumented,
    /// A service's clock is wrong.
    ClockSkew,
    /// Nothing stands out.
    Nothing,
    /// There is too little to say.
    NotEnough,
}

/// How sure a verdict is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Confidence {
    /// It may be so.
    Low,
    /// It is likely so.
    Medium,
    /// The figures leave hardly a doubt.
    High,
}

/// Which way of a hop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// From the caller to the callee.
    Request,
    /// From the callee to the caller.
    Response,
    /// Both, or it cannot be told.
    Both,
}

/// An attribute that tells the bad from the good.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NamedAttribute {
    /// Its key with its scope, as TraceQL writes it: `resource.service.version`.
    pub key: String,
    /// Its value as text.
    pub value: String,
}

/// What a verdict rests on: a sentence, and where to look.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct Evidence {
    /// A sentence with figures.
    pub text: String,
    /// TraceQL that finds the traces in question.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub filter: Option<String>,
    /// A trace that shows it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trace: Option<String>,
    /// The spans that show it, in that trace.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub spans: Vec<String>,
}

/// What happened, and who is to blame.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Verdict {
    /// What kind of thing it is.
    pub kind: Kind,
    /// In one sentence.
    pub sentence: String,
    /// How sure that is.
    pub confidence: Confidence,
    /// The service to blame.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// The hop to blame.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub edge: Option<Edge>,
    /// Which way of the hop.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub direction: Option<Direction>,
    /// The operation to blame: a span's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub operation: Option<String>,
    /// The statement to blame.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub statement: Option<String>,
    /// The attribute that tells the bad from the good.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attribute: Option<NamedAttribute>,
    /// How deep the service stands: services on the way from the root to it, both counted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub depth: Option<u32>,
    /// What it costs each request concerned, in nanoseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cost_ns: Option<f64>,
    /// Share of the requests that it concerns, 0 to 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub share: Option<f64>,
    /// What it rests on.
    pub evidence: Vec<Evidence>,
}

impl Verdict {
    /// A verdict of this kind that says nothing yet but this.
    pub fn new(kind: Kind, confidence: Confidence, sentence: impl Into<String>) -> Self {
        Self {
            kind,
            sentence: sentence.into(),
            confidence,
            service: None,
            edge: None,
            direction: None,
            operation: None,
            statement: None,
            attribute: None,
            depth: None,
            cost_ns: None,
            share: None,
            evidence: Vec::new(),
        }
    }
}

/// What is told of one trace.
pub(crate) struct Told {
    /// The verdict.
    pub verdict: Verdict,
    /// What else was found, by weight.
    pub also: Vec<Verdict>,
    /// Who took how much of what the trace took longer than its like.
    pub ranking: Vec<Suspect>,
}

/// The verdict on the trace with the number `of`, compared with its like among the others, and what else was found.
/// `patterns` are those
/// of the trace, `broken` the hops of all. `None` for a trace without spans.
pub(crate) fn of_trace(traces: &Traces, of: usize, patterns: &[Pattern], broken: &[BrokenHop]) -> Option<Told> {
    let subject = one::Subject::new(traces, of)?;
    let mut found: Vec<Weighed> = patterns.iter().filter_map(|pattern| subject.pattern(pattern)).collect();
    found.extend(broken.iter().filter_map(|hop| subject.broken(hop)));
    found.extend([subject.failed(), subject.slow(), subject.long_way(), Some(subject.calm())].into_iter().flatten());
    let (verdict, also) = first_and_others(found);
    Some(Told { verdict, also, ranking: subject.ranking() })
}

/// What weighs less is not told beside the verdict; the lists of the explanation have it all the same.
const ALSO_MIN: f64 = 0.03;

/// What a verdict weighs, and the verdict: the heavier, the earlier it is told.
type Weighed = (f64, Verdict);

/// The verdict on a set of traces, and what else was found, by weight.
pub(crate) fn of_set(found: &Found<'_>) -> (Verdict, Vec<Verdict>) {
    let (now, before) = (found.now.traces().len(), found.before.traces().len());
    let mut candidates = found.candidates();
    if found.is_alone() {
        candidates.extend(alone::found(found.all));
        return first_and_others(candidates);
    }
    candidates.push(match () {
        () if now < set::TRACES_MIN || before < set::TRACES_MIN => {
            let (now, before) = (words::count(now as u64, "trace"), words::count(before as u64, "other"));
            let sentence = format!("Too little to say what changed: {now} to look at, and {before} to compare with.");
            (0.05, Verdict::new(Kind::NotEnough, Confidence::Low, sentence))
        }
        () => {
            let sentence = format!(
                "Nothing stands out: {} took {} on average, {} took {} before.",
                words::count(now as u64, "request"),
                words::duration(set::mean_ns(found.now)),
                words::grouped(before as u64),
                words::duration(set::mean_ns(found.before)),
            );
            (0.5, Verdict::new(Kind::Nothing, Confidence::Medium, sentence))
        }
    });
    first_and_others(candidates)
}

/// TraceQL that finds spans of a service, with an operation, under a condition.
fn filter(service: &str, operation: Option<&str>, condition: Option<&str>) -> String {
    let mut filter = format!("{{ resource.service.name = {service:?}");
    if let Some(operation) = operation {
        filter.push_str(&format!(" && name = {operation:?}"));
    }
    if let Some(condition) = condition {
        filter.push_str(&format!(" && {condition}"));
    }
    filter.push_str(" }");
    filter
}

/// The weightiest, and the others without those that say nothing.
fn first_and_others(mut found: Vec<Weighed>) -> (Verdict, Vec<Verdict>) {
    found.sort_by(|a, b| b.0.total_cmp(&a.0));
    let mut found = found.into_iter();
    let first = found.next().map(|(_, verdict)| verdict);
    let first = first.unwrap_or_else(|| Verdict::new(Kind::NotEnough, Confidence::Low, "There are no traces."));
    let others = found
        .filter(|(weight, verdict)| *weight >= ALSO_MIN && !matches!(verdict.kind, Kind::Nothing | Kind::NotEnough))
        .map(|(_, verdict)| verdict)
        .collect();
    (first, others)
}
