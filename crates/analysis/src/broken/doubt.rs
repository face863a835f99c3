//! Calls that nobody recorded and that have no answer: lost, or not made?
//!
//! Nothing hangs in the air below them, and no trace fits. They count as lost if they are divided from those with an answer
//! in a way that cannot come of what the work needs: by a threshold in the trace id, by a `tracestate`, or by a moment from
//! which on there is no answer any more, and nothing else of the callee. Those on the side of the answers were not made.

use std::collections::{BTreeMap, HashSet};

use foldhash::fast::RandomState;

use crate::traces::{Text, Traces};

use super::evidence::{self, SAMPLERS, Seen};
use super::hops::{Callee, Hop};
use super::stats;
use super::survey::Survey;

/// The chance by accident below which a threshold is believed: hundreds of hops are tried with four samplers each.
const CHANCE_MAX: f64 = 1e-7;

/// Share of calls without an answer from a moment on, and before it where the callee is not silent.
const SILENT: f64 = 0.97;
const NEVER: f64 = 0.03;

/// Leaves of the hops in doubt the calls that are lost beyond it, and those with an answer; and leaves out the hops where
/// there are none of the first kind. What goes wrong at a callee does so for all who call it: its hops are judged together.
pub(super) fn resolve(traces: &Traces, survey: &Survey, hops: &mut Vec<Hop>) {
    let mut of_callee: BTreeMap<Callee, Vec<Seen>> = BTreeMap::new();
    for hop in hops.iter().filter(|hop| hop.doubtful) {
        of_callee.entry(hop.callee).or_default().extend(&hop.calls);
    }
    let proofs: BTreeMap<Callee, Proof> = of_callee
        .into_iter()
        .filter_map(|(callee, mut calls)| {
            calls.sort_by_key(|call| (call.end_ns, call.span));
            Some((callee, proof(traces, survey, callee, &calls)?))
        })
        .collect();
    hops.retain_mut(|hop| {
        if !hop.doubtful {
            return true;
        }
        let Some(proof) = proofs.get(&hop.callee) else { return false };
        hop.calls.retain(|call| !call.lost || proof.lost(call));
        true
    });
}

/// What divides lost calls from those that were not made.
enum Proof {
    /// Their traces.
    Traces(HashSet<u32, RandomState>),
    /// Their end, nanoseconds since the epoch.
    Since(u64),
    /// Nothing: there is a sampler, and all of them may be its.
    All,
}

impl Proof {
    fn lost(&self, call: &Seen) -> bool {
        match self {
            Self::Traces(lost) => lost.contains(&call.trace),
            Self::Since(since_ns) => call.end_ns >= *since_ns,
            Self::All => true,
        }
    }
}

fn proof(traces: &Traces, survey: &Survey, callee: Callee, calls: &[Seen]) -> Option<Proof> {
    if let Some(lost) = below_threshold(traces, calls) {
        return Some(Proof::Traces(lost));
    }
    if let Some(since_ns) = silent_since(survey, callee, calls) {
        return Some(Proof::Since(since_ns));
    }
    let kept: Vec<&Seen> = calls.iter().filter(|call| !call.lost).collect();
    evidence::threshold_rises(traces, &kept).then_some(Proof::All)
}

/// The traces on the side of a threshold where there is no answer at all.
fn below_threshold(traces: &Traces, calls: &[Seen]) -> Option<HashSet<u32, RandomState>> {
    // A trace with any answer was kept.
    let mut lost: BTreeMap<u32, bool> = BTreeMap::new();
    for call in calls {
        *lost.entry(call.trace).or_insert(true) &= call.lost;
    }
    let calls: Vec<(u32, bool)> = lost.into_iter().collect();
    SAMPLERS.iter().find_map(|(_, randomness)| {
        let mut order = calls.clone();
        order.sort_by_key(|(trace, _)| (randomness(&traces.traces()[*trace as usize].id), *trace));
        let (run, chance) = stats::run(&order.iter().map(|(_, lost)| *lost).collect::<Vec<bool>>());
        let is_all = run.len() == order.len();
        (!is_all && chance < CHANCE_MAX.ln()).then(|| order[run].iter().map(|(trace, _)| *trace).collect())
    })
}

/// Since when there is no answer any more.
fn silent_since(survey: &Survey, callee: Callee, calls: &[Seen]) -> Option<u64> {
    let change = evidence::change(calls)?;
    let last_ns = match callee {
        Callee::Service(Text(service)) => survey.services.get(service as usize)?.last_ns,
        Callee::Unseen(_) | Callee::Unknown => return None,
    };
    let silent = change.before < NEVER || last_ns <= change.time_ns;
    (change.after > SILENT && change.before < change.after && silent).then_some(change.time_ns)
}
