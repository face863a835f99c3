//! Which service is to blame: one ranking from times, paths and logs, against fault-free traces.
//!
//! It is: a comparison of two sets of traces that names the services, operations and edges whose own behaviour changed,
//! with the change that callers inherit from callees taken out. It is not: a detector of incidents (it is told what is
//! normal), nor an explanation of one trace.
//!
//! ```text
//! normal ─┐  ┌─ times:  own time of each service, way of each call ──▶ shift, sure bits ─┐
//!         ├──┤                                                                           ├─▶ by service ─▶ suspects
//! now ────┘  └─ paths:  steps of each span (children, records, end) ─▶ surprise, sure bits ┘
//! ```

mod evidence;
mod flows;
mod names;
mod shifts;
mod surprises;
mod suspects;
mod times;

use std::collections::BTreeMap;

use serde::Serialize;

pub use evidence::Evidence;

use crate::traces::{Text, Traces};
use flows::Steps;
use names::{Names, View};
use surprises::Surprises;
use suspects::{Case, Changes};
use times::{Places, Times};

/// Score from which a suspect is worth a look: what changes between two fault-free times stays below.
pub const SCORE_MIN: f64 = 2.0;

/// Into how many parts the time of `now` is cut at most, to find when a fault began: before some part, or before all.
const PARTS_MAX: usize = 4;

/// Traces of `now` for each such part.
const PART_TRACES_MIN: usize = 15;

/// Sentences for each suspect.
const EVIDENCE_MAX: usize = 5;

/// Part of the median duration of requests below which a change of time is of no concern.
const FLOOR: f64 = 0.01;

/// What kind of change speaks most against a suspect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// The service itself takes longer.
    Latency,
    /// The way to or from it takes longer.
    Network,
    /// Calls or work come or stay away.
    Structure,
    /// Log records come or stay away.
    Logs,
    /// It fails more often.
    Errors,
}

/// Who calls whom.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
pub struct Edge {
    /// The service that calls.
    pub caller: String,
    /// The service that is called.
    pub callee: String,
}

/// A service that may be to blame, at most once in a ranking.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Suspect {
    /// The service.
    pub service: String,
    /// The operation of it that changed most, where one can be named.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub operation: Option<String>,
    /// The edge that changed most, where the way is slow.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub edge: Option<Edge>,
    /// What kind of change speaks most against it.
    pub kind: Kind,
    /// How much speaks against it, bits; below [`SCORE_MIN`] nothing to speak of.
    pub score: f64,
    /// What speaks against it, the strongest first.
    pub evidence: Vec<Evidence>,
    /// What the score is made of.
    #[serde(skip)]
    pub parts: [f64; 4],
}

/// Ranks the services of `now` by how much of what changed since `normal` is their own doing, most first.
pub fn rank(normal: &Traces, now: &Traces) -> Vec<Suspect> {
    let mut names = Names::default();
    let parts = (now.traces().len() / PART_TRACES_MIN).clamp(1, PARTS_MAX);
    let (before, after) = (names.view(normal, 1), names.view(now, parts));
    let mut places = Places::default();
    let (times_before, times_now) = (Times::collect(&before, &mut places), Times::collect(&after, &mut places));
    let floor_ns = floor_ns(&before);
    let moments_before = shifts::moments(&places, &times_before, 1, floor_ns);
    let moments_now = shifts::moments(&places, &times_now, parts, floor_ns);

    let mut steps = Steps::default();
    let records = !normal.logs().is_empty() && !now.logs().is_empty();
    steps.note_writers(&before);
    steps.note_writers(&after);
    let (flows_before, flows_now) = (steps.collect(&before, &names, records), steps.collect(&after, &names, records));
    let counted = Surprises::count(&names, &steps, &flows_before, &flows_now, &after);

    let mut found: BTreeMap<Text, Suspect> = BTreeMap::new();
    for (part, moments_now) in moments_now.iter().enumerate() {
        let shifts = shifts::shifts(&moments_before[0], moments_now);
        let surprises = counted.since(part);
        let changes = Changes { names: &names, places: &places, shifts: &shifts, steps: &steps, surprises: &surprises };
        for (service, case) in suspects::cases(&changes) {
            if found.get(&service).is_none_or(|known| known.score < case.score()) {
                found.insert(service, suspect(&changes, service, &case, &times_before, (&times_now, part)));
            }
        }
    }
    let mut suspects: Vec<Suspect> = found.into_values().collect();
    suspects.sort_by(|a, b| b.score.total_cmp(&a.score).then_with(|| a.service.cmp(&b.service)));
    suspects
}

fn suspect(changes: &Changes, service: Text, case: &Case, before: &Times, now: (&Times, usize)) -> Suspect {
    let clues = case.clues.iter().filter(|clue| clue.bits > 0.0).take(EVIDENCE_MAX);
    let evidence: Vec<Evidence> =
        clues.map(|clue| evidence::evidence(changes, before, now, clue.what, clue.bits)).collect();
    let first = evidence.first();
    Suspect {
        service: changes.names.text(service).to_owned(),
        operation: first.and_then(|first| first.operation.clone()),
        edge: first.and_then(|first| first.edge.clone()),
        kind: first.map_or(Kind::Latency, |first| first.kind),
        score: case.score(),
        parts: case.parts,
        evidence,
    }
}

/// A change of time that nobody would notice, nanoseconds.
fn floor_ns(view: &View) -> f64 {
    let traces = view.traces;
    let mut durations: Vec<f64> = traces
        .traces()
        .iter()
        .filter_map(|trace| traces.main_root(trace))
        .map(|root| traces.spans()[root].duration_ns() as f64)
        .collect();
    (FLOOR * shifts::quantile(&mut durations, 0.5)).max(1_000.0)
}
