//! Repetition of what fails, and repetition of the repetition.
//!
//! A chain is a call and its repetitions: the same call again after it had failed, until it succeeds or the caller gives
//! up. Chains below an attempt of another chain multiply: three attempts of three attempts are nine. Where a caller makes
//! the same call again after it succeeded, it goes through a list of things; only numbered attempts
//! (`http.request.resend_count`) are repetitions then.

use std::collections::HashMap;

use foldhash::fast::RandomState;

use super::Kind;
use super::collect::{Collector, Hit, HitPart, Place, SPANS_MAX};
use super::loops::work;
use super::names::Names;
use super::unit::{CallKey, Change, Unit, Units};
use crate::traces::{Scalar, Text, Traces};

/// Attempts for one request that are not yet a storm (*Site Reliability Engineering*, ch. 21: three, then let it fail).
const ATTEMPTS_MAX: usize = 3;

/// Levels of callers that are looked at.
const LEVELS_MAX: usize = 64;

/// Spans that an attempt may lie above a chain.
const SPANS_UP_MAX: usize = 1_000;

/// The spans of calls that repeat another, in order.
#[derive(Debug, Default)]
pub(super) struct Repeated(Vec<usize>);

impl Repeated {
    pub(super) fn contains(&self, span: usize) -> bool {
        self.0.binary_search(&span).is_ok()
    }
}

/// A call and its repetitions.
struct Chain {
    entry: usize,
    key: CallKey,
    /// Places in the unit's calls, in order of time.
    attempts: Vec<usize>,
    /// How many attempts there were, those without a span of their own among them.
    count: usize,
    /// The chain that one of whose attempts this one is below.
    above: Option<usize>,
}

/// Finds storms, and says which calls are repetitions.
pub(super) fn find(traces: &Traces, units: &Units, to: &mut Collector, names: &mut Names) -> Repeated {
    let resends = ["http.request.resend_count", "http.resend_count"].map(|key| traces.texts().find(key));
    if !units.calls().iter().any(|call| call.failed) && resends.iter().all(Option::is_none) {
        return Repeated::default();
    }
    let mut chains: Vec<Chain> = Vec::new();
    for unit in units.iter() {
        chains_of(traces, unit, resends, &mut chains);
    }
    if chains.is_empty() {
        return Repeated::default();
    }
    let mut repeated = Repeated::default();
    let mut chain_of: HashMap<usize, usize, RandomState> = HashMap::default();
    for (number, chain) in chains.iter().enumerate() {
        let Some(unit) = units.unit(chain.entry) else { continue };
        for (attempt, place) in chain.attempts.iter().enumerate() {
            chain_of.insert(unit.calls[*place].span, number);
            if attempt > 0 {
                repeated.0.push(unit.calls[*place].span);
            }
        }
    }
    repeated.0.sort_unstable();
    for chain in &mut chains {
        chain.above = above(traces, chain.entry, &chain_of);
    }
    storms(traces, units, &chains, to, names);
    repeated
}

fn chains_of(traces: &Traces, unit: Unit<'_>, resends: [Option<Text>; 2], chains: &mut Vec<Chain>) {
    let numbered = |place: usize| resend_count(traces, unit.calls[place].span, resends);
    if resends.iter().all(Option::is_none) && !unit.calls.iter().any(|call| call.failed) {
        return;
    }
    let mut order: Vec<usize> = (0..unit.calls.len()).collect();
    order.sort_by_key(|place| (unit.calls[*place].key, *place));
    for group in order.chunk_by(|a, b| unit.calls[*a].key == unit.calls[*b].key) {
        let first = chains.len();
        let mut is_numbered = false;
        for run in group.chunk_by(|a, b| {
            let (before, next) = (&unit.calls[*a], &unit.calls[*b]);
            before.failed && next.start_ns >= before.start_ns.saturating_add(before.duration_ns() / 2)
        }) {
            let counts: Vec<usize> = run.iter().map(|place| numbered(*place)).collect();
            is_numbered |= counts.iter().any(|count| *count > 0);
            let count = run.len().max(counts.into_iter().max().unwrap_or(0).saturating_add(1));
            if count > 1 {
                chains.push(Chain {
                    entry: unit.entry,
                    key: unit.calls[run[0]].key,
                    attempts: run.to_vec(),
                    count,
                    above: None,
                });
            }
        }
        let in_chain = chains[first..].iter().map(|chain| chain.attempts.len()).max().unwrap_or(0);
        if !is_numbered && in_chain < group.len() {
            chains.truncate(first);
        }
    }
}

/// How many attempts went before, as the span says.
fn resend_count(traces: &Traces, span: usize, keys: [Option<Text>; 2]) -> usize {
    let count = keys.iter().flatten().find_map(|key| {
        let attribute = traces.attributes(span).iter().find(|attribute| attribute.key == *key)?;
        match attribute.value {
            Scalar::Int(count) => usize::try_from(count).ok(),
            _ => None,
        }
    });
    count.unwrap_or(0).min(10_000)
}

/// The chain that a span is below.
fn above(traces: &Traces, span: usize, chain_of: &HashMap<usize, usize, RandomState>) -> Option<usize> {
    // Where the caller sent no span the callee's own one is the attempt.
    let mut at = Some(span);
    for _ in 0..SPANS_UP_MAX {
        let span = at?;
        if let Some(chain) = chain_of.get(&span) {
            return Some(*chain);
        }
        at = traces.parent(span);
    }
    None
}

fn storms(traces: &Traces, units: &Units, chains: &[Chain], to: &mut Collector, names: &mut Names) {
    let mut has_below = vec![false; chains.len()];
    for chain in chains {
        if let Some(above) = chain.above {
            has_below[above] = true;
        }
    }
    // The innermost chains, put together by the outermost chain that they are below.
    let mut leaves: Vec<(usize, CallKey, usize)> = Vec::new();
    for (number, chain) in chains.iter().enumerate().filter(|(number, _)| !has_below[*number]) {
        leaves.push((path(chains, number)[0], chain.key, number));
    }
    leaves.sort_unstable();
    for group in leaves.chunk_by(|a, b| (a.0, a.1) == (b.0, b.1)) {
        if let Some(hit) = storm(traces, units, chains, group[0].0, group, names) {
            to.hit(traces, units, hit);
        }
    }
}

/// From the outermost chain down to this one.
fn path(chains: &[Chain], number: usize) -> Vec<usize> {
    let mut path = vec![number];
    while let Some(above) = chains[path[path.len() - 1]].above.filter(|_| path.len() < LEVELS_MAX) {
        path.push(above);
    }
    path.reverse();
    path
}

fn storm(
    traces: &Traces,
    units: &Units,
    chains: &[Chain],
    outermost: usize,
    leaves: &[(usize, CallKey, usize)],
    names: &mut Names,
) -> Option<Hit> {
    let unit_of = |number: usize| units.unit(chains[number].entry);
    let (_, key, leaf) = leaves[0];
    let unit = unit_of(leaf)?;
    let outer = unit_of(outermost)?;
    let (service, within) = work(traces, unit, names);
    let place = Place {
        kind: Kind::RetryStorm,
        service,
        operation: key.operation,
        caller: service,
        callee: key.callee,
        statement: key.statement,
        within,
    };
    let mut levels: Vec<HitPart> = Vec::new();
    for number in leaves.iter().flat_map(|leaf| path(chains, leaf.2)) {
        let chain = &chains[number];
        let Some(unit) = unit_of(number) else { continue };
        let duration_ns = chain.attempts.iter().map(|place| unit.calls[*place].duration_ns()).sum();
        let (caller, callee) = (traces.spans()[chain.entry].service, chain.key.callee);
        let known = levels
            .iter_mut()
            .find(|part| (part.caller, part.callee, part.operation) == (caller, callee, chain.key.operation));
        match known {
            Some(part) => part.calls_max = part.calls_max.max(chain.count),
            None => levels.push(HitPart {
                caller,
                callee,
                operation: chain.key.operation,
                calls: chain.count,
                calls_max: chain.count,
                duration_ns,
            }),
        }
    }
    // All calls of that kind below the outermost chain, those that were not repeated among them.
    let attempts_below = |span: usize| traces.spans()[span].descendants as usize + span;
    let spans: Vec<usize> = if leaf == outermost {
        chains[leaf].attempts.iter().map(|place| unit.calls[*place].span).collect()
    } else {
        let tops = chains[outermost].attempts.iter().map(|place| outer.calls[*place].span);
        let below = tops.flat_map(|top| {
            let calls = units.calls_below(top, attempts_below(top));
            calls.iter().filter(|call| call.key == key).map(|call| call.span)
        });
        below.collect()
    };
    let extra =
        leaves.iter().map(|leaf| chains[leaf.2].count - chains[leaf.2].attempts.len().min(chains[leaf.2].count));
    let count = spans.len() + extra.sum::<usize>();
    let mut hit = Hit::new(place, outer.entry);
    hit.grave = levels.len() > 1 || count > ATTEMPTS_MAX;
    hit.win_ns = repeating_ns(traces, units, chains, outermost);
    hit.count = count;
    hit.spans = spans.into_iter().take(SPANS_MAX).collect();
    hit.parts = levels;
    Some(hit)
}

/// What the request would gain if only first attempts were made, from the outermost chain down.
fn repeating_ns(traces: &Traces, units: &Units, chains: &[Chain], outermost: usize) -> u64 {
    let (mut saved, mut number) = (0_u64, Some(outermost));
    for _ in 0..LEVELS_MAX {
        let Some(chain) = number.map(|number| &chains[number]) else { break };
        let Some(unit) = units.unit(chain.entry) else { break };
        saved = saved.saturating_add(units.saved_ns(traces, unit, |place, _| {
            if chain.attempts[1..].binary_search(&place).is_ok() { Change::Vanish } else { Change::Keep }
        }));
        // The chain below the first attempt goes on costing.
        let first = unit.calls[chain.attempts[0]].span;
        let last = first + traces.spans()[first].descendants as usize;
        let below = chains.partition_point(|chain| chain.entry < first);
        number = (below..chains.len()).find(|below| chains[*below].entry > last || chains[*below].above == number);
        number = number.filter(|below| chains[*below].entry <= last);
    }
    saved.min(units.room_ns(traces, chains[outermost].entry))
}
