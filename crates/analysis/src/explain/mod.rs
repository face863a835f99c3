//! Everything that is to be said of one trace, or of a set of traces, in one document.
//!
//! It is: the order in which the other modules are asked, and the document that holds their answers (`docs/explain.md`).
//! It is not: an analysis; the verdict, too, is put together in [`crate::verdict`].
//!
//! ```text
//! traces, baseline ─▶ clocks corrected ─▶ each module ─▶ verdict ─▶ Explanation (serde: the document)
//! ```

mod both;
mod hop;
mod path;

use std::borrow::Cow;

use serde::Serialize;

use crate::blame::{Blame, BlameDiff};
use crate::broken::BrokenHop;
use crate::hops::Location;
use crate::outliers::Finding;
use crate::patterns::Pattern;
use crate::rank::Suspect;
use crate::skew::{ClockOffset, Clocks};
use crate::verdict::{self, Verdict};
use crate::{Trace, Traces, blame, broken, hops, outliers, patterns, rank, skew};

pub use both::{Both, InTurn};
pub use hop::{HopOfTrace, Hops};
pub use path::PathStep;

/// Version of the document: raised when a field changes its meaning or goes away, not when one is added.
pub const VERSION: u32 = 1;

/// Traces of each side whose attributes are compared, at most.
const COMPARED_MAX: usize = 2_500;

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
    /// Who may be to blame, most likely first. Of a set the score is in bits ([`rank`]); of one trace it is the share (0 to
    /// 1) of what it took longer than its like, or, with nothing to compare with, of its duration.
    pub ranking: Vec<Suspect>,
    /// The path to the answer. Of a set: that of the trace that took longest.
    pub critical_path: Vec<PathStep>,
    /// The path to the end of the last asynchronous work, where that ended after the answer.
    pub completion_path: Vec<PathStep>,
    /// What changed between services; of one trace each of its calls, split into its parts.
    pub hops: Hops,
    /// The places that explain what changed between services.
    pub locations: Vec<Location>,
    /// Where the time goes. Of a set in comparison: of the traces in question.
    pub blame: Blame,
    /// What changed of that, in parts that sum to the change of the mean request; of one trace nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub diff: Option<BlameDiff>,
    /// How far clocks are off.
    pub clock_offsets: Vec<ClockOffset>,
    /// What slow requests have in common that others have not.
    pub outliers: Vec<Finding>,
    /// Where traces break.
    pub broken: Vec<BrokenHop>,
    /// Ways of calling that cost time or hide failures.
    pub patterns: Vec<Pattern>,
}

/// Explains the trace with the number `of`. Its like is looked for in `baseline`, and among the other `traces`.
/// `None` if there is no such trace, or it has no spans.
pub fn trace(traces: &Traces, of: usize, baseline: Option<&Traces>) -> Option<Explanation> {
    let mut all = baseline.cloned().unwrap_or_default();
    let of = all.traces().len() + traces.traces().get(of).map(|_| of)?;
    all.append(traces.clone());
    let origin_ns = earliest_ns(&all, all.traces().get(of)?);
    let clocks = skew::estimate(&all, &skew::Options::default());
    skew::correct_in_place(&mut all, &clocks);
    let subject = *all.traces().get(of)?;
    let (critical_path, completion_path) = path::paths(&all, &subject, origin_ns)?;
    let calls = hops::of_trace(&all, &subject).into_iter().map(|hop| HopOfTrace::new(&all, hop)).collect();
    let patterns = patterns::in_trace(&all, of);
    let broken = broken::find(&all, &broken::Options::default());
    let told = verdict::of_trace(&all, of, &patterns, &broken)?;
    let services: Vec<&str> = all.spans_of(&subject).iter().map(|span| all.text(span.service)).collect();
    let is_here = |clock: &&ClockOffset| clock.services.iter().any(|service| services.contains(&service.as_str()));
    Some(Explanation {
        version: VERSION,
        scope: Scope {
            trace: Some(subject.id.to_string()),
            traces: 1,
            spans: subject.spans().len(),
            against_traces: all.traces().len() - 1,
        },
        verdict: told.verdict,
        also: told.also,
        ranking: told.ranking,
        critical_path,
        completion_path,
        hops: Hops::Calls(calls),
        locations: Vec::new(),
        blame: blame::of(&all.subset(|number| number == of)),
        diff: None,
        clock_offsets: clocks.offsets().iter().filter(is_here).cloned().collect(),
        outliers: Vec::new(),
        broken,
        patterns,
    })
}

/// Explains a set of traces, compared with another; without another, the slow ones among them compared with the rest
/// ([`outliers::slow`]).
pub fn set(now: &Traces, against: Option<&Traces>) -> Explanation {
    set_by(&InTurn, now, against)
}

/// [`set`], with somebody else to say how independent parts of it are run.
pub fn set_by(by: &impl Both, now: &Traces, against: Option<&Traces>) -> Explanation {
    match against {
        Some(before) => {
            let ((now, clocks), (before, clocks_before)) = by.both(|| corrected(now), || corrected(before));
            compared(by, &now, &before, &now, &clocks, Some(&clocks_before))
        }
        None => {
            let (now, clocks) = corrected(now);
            let slow = outliers::slow(&now).selected;
            let is_slow = |number: usize| slow.get(number).copied().unwrap_or(false);
            let (slow, rest) = by.both(|| now.subset(is_slow), || now.subset(|number| !is_slow(number)));
            compared(by, &slow, &rest, &now, &clocks, None)
        }
    }
}

/// The traces as they would be if all clocks agreed.
fn corrected(traces: &Traces) -> (Traces, Clocks) {
    let clocks = skew::estimate(traces, &skew::Options::default());
    (skew::correct(traces, &clocks), clocks)
}

/// Compares two sets. `all` is what was asked about; without clocks of a time before, `before` is a part of it.
fn compared(
    by: &impl Both,
    now: &Traces,
    before: &Traces,
    all: &Traces,
    clocks: &Clocks,
    clocks_before: Option<&Clocks>,
) -> Explanation {
    let is_alone = clocks_before.is_none();
    let options = if is_alone {
        outliers::Options { by_root: true, ..outliers::Options::default() }
    } else {
        let (selected_name, rest_name) = ("present".to_owned(), "those before".to_owned());
        outliers::Options { selected_name, rest_name, ..outliers::Options::default() }
    };
    // Two halves that take about as long as each other.
    let ((hops, diff, (blame, ranking)), (habits, habits_before, outliers)) = by.both(
        || (hops::changes(before, now), blame::diff(before, now), (blame::of(now), rank::rank(before, now))),
        || {
            let (habits, habits_before) =
                if is_alone { (Habits::of(all), Habits::default()) } else { Habits::beside(all, before) };
            (habits, habits_before, outliers::find(&some(now), &some(before), &options))
        },
    );
    let found = verdict::Found {
        now,
        before,
        all,
        hops: &hops,
        patterns: &habits.patterns,
        census: &habits.census,
        census_before: &habits_before.census,
        broken: &habits.broken,
        broken_before: &habits_before.broken,
        clocks,
        clocks_before,
        diff: &diff,
    };
    let (verdict, also) = verdict::of_set(&found);
    Explanation {
        version: VERSION,
        scope: Scope {
            trace: None,
            traces: all.traces().len(),
            spans: all.spans().len(),
            against_traces: if is_alone { 0 } else { before.traces().len() },
        },
        verdict,
        also,
        ranking,
        critical_path: longest(now)
            .and_then(|trace| path::paths(now, trace, earliest_ns(now, trace)))
            .unwrap_or_default()
            .0,
        completion_path: Vec::new(),
        hops: Hops::Changes(hops.changes),
        locations: hops.locations,
        blame,
        diff: Some(diff),
        clock_offsets: clocks.offsets().to_vec(),
        outliers,
        broken: habits.broken,
        patterns: habits.patterns,
    }
}

/// Ways of calling, and hops that lose calls.
#[derive(Default)]
struct Habits {
    patterns: Vec<Pattern>,
    census: patterns::Census,
    broken: Vec<BrokenHop>,
}

impl Habits {
    fn of(traces: &Traces) -> Self {
        let (patterns, census) = patterns::find_and_count(traces);
        Self { patterns, census, broken: broken::find(traces, &broken::Options::default()) }
    }

    /// Those of a set, and of another what they are compared with.
    fn beside(traces: &Traces, other: &Traces) -> (Self, Self) {
        let (patterns, census, there) = patterns::find_beside(traces, other);
        let broken = |traces| broken::find(traces, &broken::Options::default());
        let habits = Self { patterns, census, broken: broken(traces) };
        (habits, Self { patterns: Vec::new(), census: there, broken: broken(other) })
    }
}

/// At most [`COMPARED_MAX`] of the traces, evenly from all of them: every attribute of every span is looked at, and more
/// traces than this hardly make a finding surer.
fn some(traces: &Traces) -> Cow<'_, Traces> {
    let count = traces.traces().len();
    if count <= COMPARED_MAX {
        return Cow::Borrowed(traces);
    }
    // Those at which the rounded count of kept ones goes up.
    Cow::Owned(traces.subset(|number| number * COMPARED_MAX / count != (number + 1) * COMPARED_MAX / count))
}

/// The trace whose root took longest.
fn longest(traces: &Traces) -> Option<&Trace> {
    let duration_ns = |trace: &&Trace| traces.main_root(trace).map(|root| traces.spans()[root].duration_ns());
    traces.traces().iter().max_by_key(duration_ns)
}

/// Earliest start among the spans of a trace, nanoseconds since the epoch.
fn earliest_ns(traces: &Traces, trace: &Trace) -> u64 {
    traces.spans_of(trace).iter().map(|span| span.start_ns).min().unwrap_or(0)
}
