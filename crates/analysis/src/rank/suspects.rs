//! From changes of places and paths to services: who explains most of what changed.
//!
//! A slower way between two services may be either's doing. It is shared between them by how far each one's *other* ways
//! slowed down too: a callee whose other callers see nothing is not to blame, a caller most of whose other calls are slow
//! is. Where there are no other ways to ask, the callee is the likelier one: what a server does before its span begins
//! (accept, queue, schedule) looks like the network. A path that ends early right after a call is shared in the same way.

use std::collections::{BTreeMap, HashMap};

use tracewell_model::SpanKind;

use super::flows::{Event, Steps};
use super::names::Names;
use super::shifts::Shift;
use super::surprises::Surprise;
use super::times::{Place, Places};
use crate::traces::Text;

/// How far "no other callers to ask" speaks for the callee's being slow …
const CALLEE_PRIOR: f64 = 0.5;

/// … and "no other callees to ask" for the caller's.
const CALLER_PRIOR: f64 = 0.2;

/// Share of a callee without other callers in a path that ends after the call: its own steps did not change.
const CALLEE_PATH_PRIOR: f64 = 0.35;

/// Bits from which a way counts as slower when others are asked.
const SLOWER_BITS_MIN: f64 = 0.5;

/// What counts of an operation that takes longer, if visits of its service as a whole do so less.
const ONE_OPERATION: f64 = 0.5;

/// What counts of a service's second path and all further ones.
const FURTHER: f64 = 0.25;

/// A change that speaks against a service.
#[derive(Debug, Clone)]
pub struct Clue {
    /// Bits, after sharing.
    pub bits: f64,
    /// What changed.
    pub what: What,
}

/// What changed.
#[derive(Debug, Clone, Copy)]
pub enum What {
    /// The time of a place, by its number.
    Time(usize),
    /// The steps of a state, by its number among the surprises.
    Path(usize),
}

/// Kinds of clues.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// Its own time.
    Own,
    /// Ways in and out.
    Way,
    /// Paths.
    Path,
}

/// A service, with what speaks against it.
#[derive(Debug, Clone, Default)]
pub struct Case {
    /// All clues, the strongest first.
    pub clues: Vec<Clue>,
    /// Own time, ways in, ways out, paths: bits of each.
    pub parts: [f64; 4],
}

impl Case {
    /// Bits in all.
    pub fn score(&self) -> f64 {
        self.parts.iter().sum()
    }

    /// What most of it comes from.
    pub fn main(&self) -> Family {
        let [own, way_in, way_out, path] = self.parts;
        let way = way_in + way_out;
        if path > own && path > way {
            Family::Path
        } else if way > own {
            Family::Way
        } else {
            Family::Own
        }
    }
}

/// An edge between two services.
#[derive(Debug, Clone, Default)]
struct Edge {
    /// Sum of calls now, and of bits times calls.
    calls: f64,
    weighed: f64,
    /// The strongest place.
    best: Option<(f64, usize)>,
    /// The same of what the callee takes itself, with the way.
    reply_calls: f64,
    reply_weighed: f64,
    reply_best: Option<(f64, usize)>,
}

impl Edge {
    fn bits(&self) -> f64 {
        if self.calls > 0.0 { self.weighed / self.calls } else { 0.0 }
    }

    fn reply_bits(&self) -> f64 {
        if self.reply_calls > 0.0 { self.reply_weighed / self.reply_calls } else { 0.0 }
    }
}

/// Everything known about changes.
pub struct Changes<'a> {
    pub names: &'a Names,
    pub places: &'a Places,
    pub shifts: &'a [Shift],
    pub steps: &'a Steps,
    pub surprises: &'a [Surprise],
}

impl Changes<'_> {
    /// The kind of a clue.
    pub fn family(&self, what: What) -> Family {
        match what {
            What::Path(_) => Family::Path,
            What::Time(place) => match self.places.get(place) {
                Place::Visit { .. } | Place::Own { .. } => Family::Own,
                Place::Hop { .. } | Place::Reply { .. } => Family::Way,
            },
        }
    }
}

/// The case against each service that anything speaks against.
pub fn cases(changes: &Changes) -> BTreeMap<Text, Case> {
    let mut cases: BTreeMap<Text, Case> = BTreeMap::new();
    own_times(changes, &mut cases);
    ways(changes, &mut cases);
    paths(changes, &mut cases);
    cases.retain(|_, case| case.score() > 0.0);
    for case in cases.values_mut() {
        case.clues.sort_by(|a, b| b.bits.total_cmp(&a.bits));
    }
    cases
}

fn own_times(changes: &Changes, cases: &mut BTreeMap<Text, Case>) {
    for (place, shift) in changes.shifts.iter().enumerate().filter(|(_, shift)| shift.sure > 0.0) {
        match changes.places.get(place) {
            Place::Visit { operation } => {
                let case = cases.entry(changes.names.operation(operation).service).or_default();
                case.parts[0] = case.parts[0].max(shift.sure);
                case.clues.push(Clue { bits: shift.sure, what: What::Time(place) });
            }
            Place::Own { operation } => {
                let operation = changes.names.operation(operation);
                let case = cases.entry(operation.service).or_default();
                // A database's time is in the visit; a rare statement by itself says little of the service.
                if !is_outgoing(operation.kind) {
                    case.parts[0] = case.parts[0].max(ONE_OPERATION * shift.sure);
                }
                case.clues.push(Clue { bits: shift.sure, what: What::Time(place) });
            }
            Place::Hop { .. } | Place::Reply { .. } => {}
        }
    }
}

fn is_outgoing(kind: u8) -> bool {
    kind == SpanKind::Client as u8 || kind == SpanKind::Producer as u8
}

fn ways(changes: &Changes, cases: &mut BTreeMap<Text, Case>) {
    let mut edges: BTreeMap<(Text, Text), Edge> = BTreeMap::new();
    for (place, shift) in changes.shifts.iter().enumerate() {
        let (Place::Hop { caller, callee } | Place::Reply { caller, callee }) = changes.places.get(place) else {
            continue;
        };
        if shift.before < 2 || shift.now < 2 {
            continue;
        }
        let key = (changes.names.operation(caller).service, changes.names.operation(callee).service);
        let edge = edges.entry(key).or_default();
        if matches!(changes.places.get(place), Place::Reply { .. }) {
            edge.reply_calls += shift.now as f64;
            edge.reply_weighed += shift.now as f64 * shift.sure;
            if edge.reply_best.is_none_or(|(bits, _)| shift.sure > bits) {
                edge.reply_best = Some((shift.sure, place));
            }
            continue;
        }
        edge.calls += shift.now as f64;
        edge.weighed += shift.now as f64 * shift.sure;
        if edge.best.is_none_or(|(bits, _)| shift.sure > bits) {
            edge.best = Some((shift.sure, place));
        }
    }
    let mut shares: Vec<((Text, Text), f64)> = Vec::new();
    for ((caller, callee), _) in edges.iter().filter(|(_, edge)| edge.bits() > 0.0 || edge.reply_bits() > 0.0) {
        let others = |wanted: &dyn Fn(&(Text, Text)) -> bool| {
            let (mut slower, mut all) = (0.0, 0.0);
            for (_, other) in edges.iter().filter(|(key, _)| *key != &(*caller, *callee) && wanted(key)) {
                all += 1.0;
                if other.bits() >= SLOWER_BITS_MIN {
                    slower += 1.0;
                }
            }
            (all > 0.0).then(|| slower / all)
        };
        let of_caller: f64 = others(&|key| key.0 == *caller).unwrap_or(CALLER_PRIOR);
        let of_callee: f64 = others(&|key| key.1 == *callee).unwrap_or(CALLEE_PRIOR);
        let (of_caller, of_callee) = ((of_caller + 0.02).powi(2), (of_callee + 0.05).powi(2));
        let callee_share = of_callee / (of_caller + of_callee);
        shares.push(((*caller, *callee), callee_share));
    }
    // The mean over a service's ways, so that ways that did not slow down count against it.
    let mut ends: HashMap<(Text, usize), f64> = HashMap::new();
    for (caller, callee) in edges.keys() {
        *ends.entry((*caller, 2)).or_default() += 1.0;
        *ends.entry((*callee, 1)).or_default() += 1.0;
    }
    let mut replies: BTreeMap<Text, f64> = BTreeMap::new();
    for ((caller, callee), share) in shares {
        let Some(edge) = edges.get(&(caller, callee)) else { continue };
        let ways = |service, part| ends.get(&(service, part)).copied().unwrap_or(1.0);
        for (service, part, bits) in [(caller, 2, edge.bits() * (1.0 - share)), (callee, 1, edge.bits() * share)] {
            let case = cases.entry(service).or_default();
            case.parts[part] += bits / ways(service, part);
            if let Some((_, place)) = edge.best.filter(|_| bits > 0.0) {
                case.clues.push(Clue { bits, what: What::Time(place) });
            }
        }
        let reply = edge.reply_bits() * share;
        *replies.entry(callee).or_default() += reply / ways(callee, 1);
        if let Some((_, place)) = edge.reply_best.filter(|_| reply > edge.bits() * share) {
            cases.entry(callee).or_default().clues.push(Clue { bits: reply, what: What::Time(place) });
        }
    }
    for (callee, reply) in replies {
        let case = cases.entry(callee).or_default();
        // What own time and the ways in do not show apart.
        case.parts[1] += (reply - case.parts[0] - case.parts[1]).max(0.0);
    }
}

fn paths(changes: &Changes, cases: &mut BTreeMap<Text, Case>) {
    let service_of = |operation: u32| changes.names.operation(operation).service;
    // Who else goes on differently after calling an operation.
    let mut after: BTreeMap<u32, Vec<(Text, f64)>> = BTreeMap::new();
    for surprise in changes.surprises {
        if let Event::Call { callee: Some(callee), .. } = changes.steps.event(surprise.from) {
            after.entry(callee).or_default().push((service_of(surprise.operation), surprise.bits));
        }
    }
    let mut callers: HashMap<u32, Vec<Text>> = HashMap::new();
    for place in 0..changes.places.len() {
        if let Place::Hop { caller, callee } = changes.places.get(place) {
            let callers = callers.entry(callee).or_default();
            let service = service_of(caller);
            if !callers.contains(&service) {
                callers.push(service);
            }
        }
    }
    let mut found: BTreeMap<Text, Vec<f64>> = BTreeMap::new();
    for (number, surprise) in changes.surprises.iter().enumerate().filter(|(_, surprise)| surprise.bits > 0.0) {
        let service = service_of(surprise.operation);
        let mut shares = vec![(service, 1.0)];
        match changes.steps.event(surprise.from) {
            Event::Call { callee: Some(callee), .. } => {
                let there = service_of(callee);
                let others =
                    callers.get(&callee).map_or(0, |callers| callers.iter().filter(|at| **at != service).count());
                let changed = after.get(&callee).map_or(0, |list| {
                    let mut seen: Vec<Text> =
                        list.iter().filter(|(at, bits)| *at != service && *bits > 0.5).map(|at| at.0).collect();
                    seen.sort_unstable();
                    seen.dedup();
                    seen.len()
                });
                let share = if others == 0 { CALLEE_PATH_PRIOR } else { changed.min(others) as f64 / others as f64 };
                shares = vec![(service, 1.0 - share), (there, share)];
            }
            // A call that no longer arrives.
            Event::Start if matches!(changes.steps.event(surprise.lost.0), Event::Arrived) => {
                if let Some(there) = called(changes, surprise.operation) {
                    shares = vec![(service, 0.2), (there, 0.8)];
                }
            }
            _ => {}
        }
        for (service, share) in shares.into_iter().filter(|(_, share)| *share > 0.0) {
            let bits = surprise.bits * share;
            found.entry(service).or_default().push(bits);
            cases.entry(service).or_default().clues.push(Clue { bits, what: What::Path(number) });
        }
    }
    for (service, mut bits) in found {
        bits.sort_by(|a, b| b.total_cmp(a));
        let further: f64 = bits.iter().skip(1).take(3).sum::<f64>() / 3.0;
        cases.entry(service).or_default().parts[3] = bits.first().copied().unwrap_or(0.0) + FURTHER * further;
    }
}

/// The service that an operation calls most often, going by the times before.
fn called(changes: &Changes, operation: u32) -> Option<Text> {
    let callees = (0..changes.places.len()).filter_map(|place| match changes.places.get(place) {
        Place::Hop { caller, callee } if caller == operation => Some((changes.shifts[place], callee)),
        _ => None,
    });
    let lost = callees.max_by_key(|(shift, callee)| (shift.before.saturating_sub(shift.now), *callee));
    lost.map(|(_, callee)| changes.names.operation(callee).service)
}
