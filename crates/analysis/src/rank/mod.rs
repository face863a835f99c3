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
//!
//! **Input**: traces of a fault-free time and of now; kinds of spans help, but a child of another service is a call without
//! them. **Algorithm**: times are split into own time and ways (module `times`) and compared as logarithms with moderated
//! spread and an empirical null (`shifts`: Smyth 2004, Efron 2004); steps of spans make Markov chains (`flows`) that are
//! compared by their likelihood ratio, from the leaves up, so that a symptom stays with the deepest span that shows it
//! (`surprises`); both are bits, shared between the ends of a call and added up by service (`suspects`). As a fault may
//! begin within `now`, this is done for the whole of it and since each of up to four parts of its time; the best score counts.
//! **Output**: suspects, each service at most once, most suspicious first, ties by name; see [`SCORE_MIN`] for when to say
//! that nothing stands out. **Edge cases**: what only one side has (an operation, a state of a path) is no evidence;
//! spans without times and orphans are used for what they have; where one side has no log records at all, records are left
//! out; without any traces on either side there are no suspects. **Cost**: linear in spans and records, but for sorting the
//! records of a trace; for each part of time one more pass over the spans since then; memory of some 60 bytes for each span.
//!
//! What it cannot see is listed in docs/analysis/root-cause.md.

mod evidence;
mod flows;
mod instances;
mod names;
mod shifts;
mod surprises;
mod suspects;
mod times;

use std::collections::BTreeMap;

use serde::Serialize;

pub use crate::edge::Edge;

pub use evidence::Evidence;

use crate::traces::{LogSource, Text, Traces};
use flows::Steps;
use instances::Spread;
use names::{Names, View};
use surprises::Surprises;
use suspects::{Case, Changes, Clue};
use times::{Places, Times};

/// Score, in bits, from which a suspect is worth a look: what differs between halves of one fault-free time stays below.
pub const SCORE_MIN: f64 = 1.25;

/// Into how many parts the time of `now` is cut at most, to find when a fault began: before some part, or before all.
const PARTS_MAX: usize = 4;

/// Traces of `now` for each such part.
const PART_TRACES_MIN: usize = 15;

/// Bits by which a place has slowed down for sure, if what comes after is to be put down to it.
const SLOWED_BITS_MIN: f64 = 1.0;

/// Suspects whose instances are compared.
const INSTANCES_OF_MAX: usize = 3;

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
    /// The instance that the change is limited to, or the only one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instance: Option<String>,
    /// What kind of change speaks most against it.
    pub kind: Kind,
    /// How much speaks against it, bits; below [`SCORE_MIN`] nothing to speak of.
    pub score: f64,
    /// What speaks against it: first what most of the score comes from, then the strongest first.
    pub evidence: Vec<Evidence>,
    /// What the score is made of.
    #[serde(skip)]
    pub parts: [f64; 4],
}

/// Ranks the services of `now` by how much of what changed since `normal` is their own doing, most first.
///
/// A first entry below [`SCORE_MIN`], or none, means that nothing stands out, or that there are too few traces to tell.
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
    // One side may have been exported without its log records; events come with their spans.
    let has_records = |traces: &Traces| traces.logs().iter().any(|log| log.source == LogSource::Record);
    let records = has_records(normal) && has_records(now);
    steps.note_writers(&before, records);
    steps.note_writers(&after, records);
    let (flows_before, flows_now) = (steps.collect(&before, &names, records), steps.collect(&after, &names, records));
    let counted = Surprises::count(&names, &steps, &flows_before, &flows_now, &after);

    let mut found: BTreeMap<Text, (Suspect, Option<Spread>)> = BTreeMap::new();
    for (part, moments_now) in moments_now.iter().enumerate() {
        let shifts = shifts::shifts(&moments_before[0], moments_now);
        let usual = slowed(&shifts, &places, &times_before);
        let is_slow = |span: usize| {
            let (place, time) = times_now.spans[span];
            usual.get(place as usize).is_some_and(|usual| time > *usual)
        };
        let surprises = counted.since(part, (!usual.is_empty()).then_some(&is_slow));
        let changes = Changes { names: &names, places: &places, shifts: &shifts, steps: &steps, surprises: &surprises };
        for (service, case) in suspects::cases(&changes) {
            if found.get(&service).is_none_or(|(known, _)| known.score < case.score()) {
                let suspect = suspect(&changes, service, &case, &times_before, (&times_now, part));
                let main = case.clues.iter().find(|clue| changes.family(clue.what) == case.main());
                let clue = main.map(|clue| Spread::of(&changes, &times_before, clue.what));
                found.insert(service, (suspect, clue));
            }
        }
    }
    let mut suspects: Vec<(Suspect, Option<Spread>)> = found.into_values().collect();
    suspects.sort_by(|(a, _), (b, _)| b.score.total_cmp(&a.score).then_with(|| a.service.cmp(&b.service)));
    for (suspect, spread) in suspects.iter_mut().take(INSTANCES_OF_MAX) {
        suspect.instance = spread.as_ref().and_then(|spread| spread.instance(&after, &times_now, &flows_now));
    }
    suspects.into_iter().map(|(suspect, _)| suspect).collect()
}

/// Of each place, the time from which a span of it is slow: infinite unless the place has slowed down. Empty if none has.
fn slowed(shifts: &[shifts::Shift], places: &Places, before: &Times) -> Vec<f32> {
    let slow = |place: usize| shifts[place].sure >= SLOWED_BITS_MIN;
    if !(0..places.len()).any(slow) {
        return Vec::new();
    }
    let usual = |place| if slow(place) { before.quantile(place, 0, 0.99) } else { f32::INFINITY };
    (0..places.len()).map(usual).collect()
}

fn suspect(changes: &Changes, service: Text, case: &Case, before: &Times, now: (&Times, usize)) -> Suspect {
    let mut clues: Vec<&Clue> = case.clues.iter().filter(|clue| clue.bits > 0.0).collect();
    // What most of the score comes from is said first.
    let main = case.main();
    clues.sort_by_key(|clue| changes.family(clue.what) != main);
    let evidence: Vec<Evidence> = clues
        .iter()
        .take(EVIDENCE_MAX)
        .map(|clue| evidence::evidence(changes, before, now, clue.what, clue.bits))
        .collect();
    let first = evidence.first();
    Suspect {
        service: changes.names.text(service).to_owned(),
        operation: first.and_then(|first| first.operation.clone()),
        edge: first.and_then(|first| first.edge.clone()),
        instance: None,
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
