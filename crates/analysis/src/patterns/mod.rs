//! Ways of calling that cost time or hide faults, whatever the code is: one call for each of many things, calls that wait
//! for each other without need, repetition on top of repetition, failures that nobody is told.
//!
//! It is: a look at what each service does for each request ([unit]s of work), with the time that another way of calling
//! would save. It is not: a comparison with other times or versions ([`crate::rank`](crate) and blame do that), nor a
//! proof: what a caller does with an answer is not in a trace.
//!
//! ```text
//! trace ──▶ units of work and their calls ──▶ detectors ──▶ hits of one trace ──▶ patterns of the set
//!             (unit, names)                    one file each    (collect)           with rates, savings, words
//! ```
//!
//! **Input**: traces. **Output**: [`Pattern`]s, the gravest first: where, how often, what it costs, examples, a sentence.
//!
//! **Algorithm.** A unit is a span that begins work of a service, with the calls below it that the service makes itself.
//! Thresholds are the field's where it has some, and the same for every system:
//!
//! | kind | what counts | source |
//! |---|---|---|
//! | `n-plus-one` | at least five calls of one operation (literals aside) in one unit, one after the other, not repeated for failure, more time in calls than between them | five as in Sentry's detector of N+1 queries |
//! | `serial-calls` | at least three different calls one after the other, none of which writes or guards what follows, nothing much between them | three as in Sentry's detector of consecutive requests; safe methods RFC 9110 §9.2.1 |
//! | `retry-storm` | more than three attempts for one request, or attempts on two levels, or one request in ten repeated | Beyer et al., *Site Reliability Engineering*, ch. 21 |
//! | `swallowed-error` | a call failed by the callee's fault, was not repeated with success, and the caller answered fine | – |
//! | `chatty-edge` | at least ten calls from one unit to one service, beyond the kinds above | ten as in Sentry's detector of N+1 API calls |
//! | `timeout-inversion` | a call failed while the callee went on working for it for longer than the caller waited | Nygard, *Release It!*, ch. 5 |
//! | `recursion` | a service is called again below itself, through others, while it waits | – |
//! | `lock-wait` | a span or an attribute that says so, at least a hundredth of the request | – |
//!
//! **Time to win** is never a sum of durations: the unit is replayed with the calls changed (each begins as long after what
//! had ended before it as it did), and the request gains only what the critical path through all levels above leaves
//! (Coz, Curtsinger and Berger, SOSP 2015, asks the same question; here the answer is read from the recorded order).
//!
//! **Edge cases.** Missing sides of a call, no kinds, several roots, messages: work that begins by a message has a time of
//! its own, and where nobody waits nothing is graver than minor. Grades follow the share of time or of calls, taken at the
//! lower end of Wilson's 95 % interval over traces, so that one unlucky request in hundreds is not an alarm.
//!
//! **Complexity**: O(n log n) in spans, twice for traces with serial calls.

mod census;
mod collect;
mod errors;
mod locks;
mod loops;
mod names;
mod recursion;
mod retries;
mod serial;
mod unit;
mod words;

use serde::Serialize;

pub use crate::edge::Edge;

use crate::traces::{Trace, Traces};
pub(crate) use census::Census;
use collect::Collector;
use names::Names;
use serial::Guards;
use unit::Units;
pub(crate) use words::time;

/// What is wrong with the way of calling. Names are as the demo's faults have them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// One call for each of many things, where one for all would do.
    NPlusOne,
    /// Calls that do not seem to need each other wait for each other.
    SerialCalls,
    /// Failing calls are repeated often, or on several levels.
    RetryStorm,
    /// A failure below does not show above.
    SwallowedError,
    /// Too many calls over one edge for one request.
    ChattyEdge,
    /// The caller gives up before the callee does.
    TimeoutInversion,
    /// A service calls itself through others.
    Recursion,
    /// Work waits for a lock.
    LockWait,
}

impl Kind {
    /// The name of the kind, such as `n-plus-one`.
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::NPlusOne => "n-plus-one",
            Kind::SerialCalls => "serial-calls",
            Kind::RetryStorm => "retry-storm",
            Kind::SwallowedError => "swallowed-error",
            Kind::ChattyEdge => "chatty-edge",
            Kind::TimeoutInversion => "timeout-inversion",
            Kind::Recursion => "recursion",
            Kind::LockWait => "lock-wait",
        }
    }
}

/// How much a pattern matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// Below a twentieth of the request's time, below one call in a hundred, or nobody waits.
    Minor,
    /// More than that.
    Moderate,
    /// A fifth of the request's time and ten milliseconds, or one call in ten.
    Major,
}

/// Where a pattern stands: the unit of work that it happens in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Within {
    /// The service.
    pub service: String,
    /// The operation of the service.
    pub operation: String,
}

/// One of the calls that make up a pattern: the serial calls, the levels of repetition, the hops of a cycle.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Part {
    /// Who calls.
    pub caller: String,
    /// Who is called, empty if that is not known.
    pub callee: String,
    /// What is asked for.
    pub operation: String,
    /// Traces with this part.
    pub traces: usize,
    /// Calls in such a trace, on average.
    pub calls_mean: f64,
    /// Calls in one unit of work, at most: attempts of one request, where the kind is `retry-storm`.
    pub calls_max: usize,
    /// Mean duration of one such call, nanoseconds.
    pub duration_ns: f64,
}

/// What would be won without the pattern, by replay on the critical path.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Win {
    /// Mean over the affected traces, nanoseconds.
    pub mean_ns: f64,
    /// The largest, nanoseconds.
    pub max_ns: u64,
    /// Share of the affected requests' time.
    pub share: f64,
    /// Mean over all traces that were asked about, nanoseconds: what the average request would gain.
    pub all_mean_ns: f64,
}

/// A trace to look at.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Example {
    /// Id of the trace.
    pub trace_id: String,
    /// Ids of the spans that show it, at most eight, in order of their start where that matters.
    pub span_ids: Vec<String>,
    /// How often it happens there.
    pub count: usize,
    /// What this request would gain, nanoseconds.
    pub win_ns: u64,
}

/// A pattern over the traces.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Pattern {
    /// What kind.
    pub kind: Kind,
    /// How much it matters.
    pub severity: Severity,
    /// The service to look at: who calls in vain or too often, whose calls fail unheard, who waits for a lock.
    pub service: String,
    /// The operation: what is called, or for serial calls and chatty edges what calls.
    pub operation: String,
    /// The hop, where it is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub edge: Option<Edge>,
    /// The statement, where there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub statement: Option<String>,
    /// In which work.
    pub within: Within,
    /// The calls that make it up; empty where the edge says all.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub parts: Vec<Part>,
    /// Traces that show it.
    pub traces: usize,
    /// Traces that could: those where the place occurs.
    pub of_traces: usize,
    /// Share of the traces that show it, weighted by what sampled traces stand for.
    pub share: f64,
    /// Calls, attempts, waits in an affected trace, on average …
    pub count_mean: f64,
    /// … and at most.
    pub count_max: usize,
    /// What would be won.
    pub win: Win,
    /// Time of callees whose answer nobody took, mean over affected traces, nanoseconds.
    #[serde(skip_serializing_if = "is_zero")]
    pub wasted_ns: f64,
    /// True where no one waits for the end of the work: jobs and messages.
    pub background: bool,
    /// At most three traces, those with the most to win first.
    pub examples: Vec<Example>,
    /// All of it in a sentence.
    pub sentence: String,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
fn is_zero(value: &f64) -> bool {
    *value == 0.0
}

/// The patterns of a set of traces, the gravest first.
pub fn find(traces: &Traces) -> Vec<Pattern> {
    let mut reading = Reading::of(traces, traces.traces().iter());
    reading.finish();
    reading.patterns()
}

/// The patterns of one trace, by its place in [`Traces::traces`]. What needs many traces to be told (how often, what is
/// always so) is judged by the one. Empty for a place where there is no trace.
pub fn in_trace(traces: &Traces, trace: usize) -> Vec<Pattern> {
    let mut reading = Reading::of(traces, traces.traces().get(trace).into_iter());
    reading.finish();
    reading.patterns()
}

/// The patterns of a set, and how often every place occurred.
pub(crate) fn find_and_count(traces: &Traces) -> (Vec<Pattern>, Census) {
    let mut reading = Reading::of(traces, traces.traces().iter());
    reading.finish();
    (reading.patterns(), reading.census())
}

/// The patterns of a set, how often every place occurred, and how often in another set. Each is read with what both
/// have taught, so that what is found in one and not in the other is a difference between the two.
pub(crate) fn find_beside(traces: &Traces, other: &Traces) -> (Vec<Pattern>, Census, Census) {
    let mut here = Reading::of(traces, traces.traces().iter());
    let mut there = Reading::of(other, other.traces().iter());
    here.learn_from(&there);
    there.learn_from(&here);
    here.finish();
    there.finish();
    (here.patterns(), here.census(), there.census())
}

/// A set of traces under way through the detectors.
struct Reading<'a> {
    traces: &'a Traces,
    names: Names,
    units: Units,
    collector: Collector,
    guards: Guards,
    /// Traces that may have serial calls: they are looked at once all guards are known.
    serial: Vec<&'a Trace>,
}

impl<'a> Reading<'a> {
    fn of(traces: &'a Traces, asked: impl Iterator<Item = &'a Trace>) -> Self {
        let mut names = Names::default();
        let mut units = Units::default();
        let mut collector = Collector::default();
        let mut guards = Guards::default();
        let mut serial = Vec::new();
        for trace in asked {
            units.read(traces, trace, &mut names);
            collector.begin(traces, trace, &units, &mut names);
            let repeated = retries::find(traces, &units, &mut collector, &mut names);
            loops::find(traces, &units, &repeated, &mut collector, &mut names);
            errors::find(traces, &units, &mut collector, &mut names);
            recursion::find(traces, &units, &mut collector, &mut names);
            locks::find(traces, trace, &units, &mut collector, &mut names);
            guards.learn(traces, &units, &mut names);
            if serial::occurs(&units) {
                serial.push(trace);
            }
            collector.end(traces);
        }
        Self { traces, names, units, collector, guards, serial }
    }

    fn learn_from(&mut self, other: &Reading<'_>) {
        self.guards.learn_from(&other.guards, (other.traces, &other.names), (self.traces, &self.names));
    }

    fn finish(&mut self) {
        for trace in std::mem::take(&mut self.serial) {
            self.units.read(self.traces, trace, &mut self.names);
            self.collector.resume(trace);
            serial::find(self.traces, &self.units, &self.guards, &mut self.collector, &mut self.names);
            self.collector.end(self.traces);
        }
    }

    fn patterns(&self) -> Vec<Pattern> {
        self.collector.patterns(self.traces, &self.names)
    }

    fn census(&self) -> Census {
        self.collector.census(self.traces, &self.names)
    }
}
