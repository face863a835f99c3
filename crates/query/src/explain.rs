//! Explanations of what was gathered: the analysis' document, with how much it rests on.

use serde::Serialize;
use tracewell_analysis::explain::{self, Both, Explanation};

use crate::{Gathered, OneTrace, TwoSets};

/// An explanation, as `docs/explain.md` describes it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Explained {
    /// What the analyses say.
    #[serde(flatten)]
    pub explanation: Explanation,
    /// The traces that were asked about.
    pub gathered: Counted,
    /// What they were compared with; none where there was nothing to compare with.
    pub against: Option<Counted>,
    /// What the reader should know: damaged files, an exhausted budget, doubts about a query.
    pub warnings: Vec<String>,
}

/// How many traces were looked at, and of how many.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Counted {
    /// Traces that match.
    pub matched: u64,
    /// False where the budget ended before all were counted: there are at least as many.
    pub matched_exactly: bool,
    /// Traces that were looked at.
    pub traces: usize,
    /// Their spans.
    pub spans: usize,
    /// True where these are a uniform sample of those that match.
    pub sampled: bool,
}

impl From<&Gathered> for Counted {
    fn from(gathered: &Gathered) -> Self {
        Self {
            matched: gathered.matched.map_or(0, |matched| matched.value),
            matched_exactly: gathered.matched.is_some_and(|matched| matched.exact),
            traces: gathered.traces.traces().len(),
            spans: gathered.traces.spans().len(),
            sampled: gathered.sampled,
        }
    }
}

/// Explains a trace by comparison with its like. `None` for a trace without spans.
pub fn explain_trace(one: &OneTrace) -> Option<Explained> {
    let explanation = explain::trace(&one.trace.traces, 0, Some(&one.like.traces))?;
    let warnings = warnings(&one.trace, Some(&one.like));
    Some(Explained { explanation, gathered: (&one.trace).into(), against: Some((&one.like).into()), warnings })
}

/// Explains a set of traces by comparison with the other. Where there is none, or none of its traces is stored, the slow
/// of the set are compared with its rest.
pub fn explain_set(two: &TwoSets) -> Explained {
    let mut warnings = warnings(&two.of, two.against.as_ref());
    let against = two.against.as_ref().filter(|against| !against.traces.traces().is_empty());
    if against.is_none() && two.against.is_some() {
        warnings.push("no trace to compare with was found; slow traces are compared with the others".to_owned());
    }
    Explained {
        explanation: explain::set_by(&AtOnce, &two.of.traces, against.map(|against| &against.traces)),
        gathered: (&two.of).into(),
        against: against.map(Counted::from),
        warnings,
    }
}

/// The warnings of both, each once.
pub fn warnings(of: &Gathered, against: Option<&Gathered>) -> Vec<String> {
    let mut said: Vec<String> = Vec::new();
    for warning in of.warnings.iter().chain(against.into_iter().flat_map(|against| &against.warnings)) {
        if !said.contains(warning) {
            said.push(warning.clone());
        }
    }
    said
}

/// Two things at the same time, the second on a thread of its own.
struct AtOnce;

impl Both for AtOnce {
    fn both<A: Send, B: Send>(&self, a: impl FnOnce() -> A + Send, b: impl FnOnce() -> B + Send) -> (A, B) {
        std::thread::scope(|scope| {
            let other = scope.spawn(b);
            let first = a();
            // What panicked there panics here: a request that fails is told as an internal error.
            let second = other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            (first, second)
        })
    }
}
