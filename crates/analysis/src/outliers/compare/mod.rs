//! The comparison of selected traces with the rest.
//!
//! ```text
//! candidates ─▶ same traces? merged ─▶ [`significance`] in strata ─▶ q ≤ 5 %, large enough ─┐
//!                                                └─▶ [`pairs`] of the most telling ─────────┤
//!                                     durations ─▶ [`levels`]: what is slow, where nothing says why ─┤
//! findings, each with what it implies ◀── [`choose`]: the clearest first, then what it does not explain
//! ```

mod bits;
mod choose;
mod levels;
mod pairs;
mod render;
mod significance;

use std::collections::HashMap;
use std::ops::Range;

use foldhash::fast::RandomState;

use super::facts::{Candidate, Facts, What};
use super::{Finding, Options};
use bits::Bits;
use significance::{Factorials, Outcome, Stratum, false_discovery};

/// A difference between the shares is told from here on …
const DIFFERENCE_MIN: f64 = 0.1;
/// … or where the selected show it so many times as often …
const LIFT_MIN: f64 = 2.0;
/// … and this share of them does.
const SHARE_MIN: f64 = 0.05;
/// A finding that is shown by this share of the selected, and hardly by any others, says all.
const TOLD: f64 = 0.95;
/// Findings that are weighed against each other, at most: the clearest.
const KEPT_MAX: usize = 400;

/// The places of a stratum's traces: the selected, then the rest.
#[derive(Debug, Clone)]
struct Places {
    selected: Range<usize>,
    rest: Range<usize>,
}

/// Traces in order of their stratum, and in it the selected first.
pub(super) struct Compared<'a> {
    facts: &'a Facts,
    options: &'a Options,
    factorials: Factorials,
    strata: Vec<Places>,
    /// The place of each member.
    places: Vec<u32>,
    /// The member at each place.
    members: Vec<u32>,
    /// The stratum of each member.
    stratum_of: Vec<u32>,
    /// Twice the stratum of each member, and one more if it is selected.
    cells: Vec<u32>,
}

/// Statements that are true of the same traces.
#[derive(Debug, Clone)]
struct Hypothesis {
    whats: Vec<What>,
    shown: Vec<u32>,
    family: Option<u32>,
    is_root: bool,
}

/// A hypothesis that holds.
#[derive(Debug, Clone)]
struct Held {
    /// What is true of its traces; the first is told.
    whats: Vec<What>,
    bits: Bits,
    ln_p: f64,
    q_value: f64,
    shares: Shares,
    is_root: bool,
}

/// How often something is shown.
#[derive(Debug, Clone, Copy, Default)]
struct Shares {
    selected: f64,
    rest: f64,
    lift: f64,
}

impl Shares {
    /// Of comparable strata: the rest as if it had the selected ones' mix.
    fn of(strata: &[Stratum]) -> Self {
        let comparable = strata.iter().filter(|stratum| stratum.selected > 0 && stratum.selected < stratum.total);
        let (mut selected, mut both, mut rest, mut expected) = (0.0, 0.0, 0.0, 0.0);
        for stratum in comparable {
            let others = (stratum.total - stratum.selected) as f64;
            selected += stratum.selected as f64;
            both += stratum.both as f64;
            rest += others;
            expected += stratum.selected as f64 * (stratum.shown - stratum.both) as f64 / others;
        }
        if selected == 0.0 {
            return Self::default();
        }
        let (share, rest_share) = (both / selected, expected / selected);
        let smooth = |share: f64, count: f64| (share * count + 0.5) / (count + 1.0);
        Self { selected: share, rest: rest_share, lift: smooth(share, selected) / smooth(rest_share, rest) }
    }

    fn difference(&self) -> f64 {
        self.selected - self.rest
    }

    fn is_large(&self) -> bool {
        self.difference() >= DIFFERENCE_MIN || (self.lift >= LIFT_MIN && self.selected >= SHARE_MIN)
    }
}

impl<'a> Compared<'a> {
    pub(super) fn new(facts: &'a Facts, options: &'a Options) -> Self {
        let members = &facts.members;
        let mut order: Vec<u32> = (0..members.len() as u32).collect();
        order.sort_by_key(|member| {
            let member = &members[*member as usize];
            (member.root, !member.selected)
        });
        let (mut strata, mut places) = (Vec::new(), vec![0; order.len()]);
        let mut stratum_of = vec![0; order.len()];
        let mut at = 0;
        for stratum in order.chunk_by(|a, b| members[*a as usize].root == members[*b as usize].root) {
            let selected = stratum.iter().filter(|member| members[**member as usize].selected).count();
            for (place, member) in (at..).zip(stratum) {
                places[*member as usize] = place as u32;
                stratum_of[*member as usize] = strata.len() as u32;
            }
            strata.push(Places { selected: at..at + selected, rest: at + selected..at + stratum.len() });
            at += stratum.len();
        }
        let factorials = Factorials::new(members.len());
        let cells = stratum_of.iter().zip(members).map(|(stratum, member)| 2 * stratum + u32::from(member.selected));
        let cells = cells.collect();
        Self { facts, options, factorials, strata, places, members: order, stratum_of, cells }
    }

    pub(super) fn findings(&self) -> Vec<Finding> {
        let hypotheses = self.hypotheses(self.facts.candidates());
        let (held, telling, tested) = self.tested(hypotheses);
        let mut held = held;
        held.extend(self.pairs(&telling, tested));
        held.sort_by(|a, b| a.ln_p.total_cmp(&b.ln_p));
        held.truncate(KEPT_MAX);
        // Where something says nearly all of it, durations would only repeat it.
        let is_told = held.iter().any(|held| held.shares.selected >= TOLD && self.precision(held) >= TOLD);
        self.choose(held, if is_told { Vec::new() } else { self.levels() })
    }

    /// Puts statements together that are true of the same traces.
    fn hypotheses(&self, candidates: Vec<Candidate>) -> Vec<Hypothesis> {
        let mut hypotheses: Vec<Hypothesis> = Vec::with_capacity(candidates.len());
        let mut by_hash: HashMap<u64, Vec<u32>, RandomState> = HashMap::default();
        for Candidate { what, shown, family } in candidates {
            let is_root = matches!(what, What::Root(_));
            if is_root && self.options.by_root {
                continue;
            }
            let same_hash = by_hash.entry(hash(&shown)).or_default();
            let same = same_hash.iter().copied().find(|number| {
                let other = &hypotheses[*number as usize];
                other.is_root == is_root && other.shown == shown
            });
            match same {
                Some(number) => {
                    let same = &mut hypotheses[number as usize];
                    same.family = same.family.filter(|_| family.is_some());
                    same.whats.push(what);
                }
                None => {
                    same_hash.push(hypotheses.len() as u32);
                    hypotheses.push(Hypothesis { whats: vec![what], shown, family, is_root });
                }
            }
        }
        hypotheses
    }

    /// Tests hypotheses: those that hold, the most telling ones whether they hold or not, and how many could have held.
    fn tested(&self, hypotheses: Vec<Hypothesis>) -> (Vec<Held>, Vec<Held>, usize) {
        let mut family_sizes: HashMap<u32, f64, RandomState> = HashMap::default();
        for family in hypotheses.iter().filter_map(|hypothesis| hypothesis.family) {
            *family_sizes.entry(family).or_default() += 1.0;
        }
        let mut best: HashMap<u32, usize, RandomState> = HashMap::default();
        let mut outcomes: Vec<(Outcome, f64, Shares)> = Vec::with_capacity(hypotheses.len());
        for (number, hypothesis) in hypotheses.iter().enumerate() {
            let strata = self.strata_of(&hypothesis.shown, hypothesis.is_root);
            let mut outcome = self.factorials.test(&strata);
            let mut least = self.factorials.ln_p_min(&strata);
            if let Some(family) = hypothesis.family {
                let size = family_sizes.get(&family).copied().unwrap_or(1.0).ln();
                outcome.ln_p = (outcome.ln_p + size).min(0.0);
                least = (least + size).min(0.0);
                let champion = best.entry(family).or_insert(number);
                if *champion != number && outcomes[*champion].0.ln_p > outcome.ln_p {
                    *champion = number;
                }
            }
            outcomes.push((outcome, least, Shares::of(&strata)));
        }
        let stays = |number: &usize| hypotheses[*number].family.is_none_or(|family| best.get(&family) == Some(number));
        let numbers: Vec<usize> = (0..hypotheses.len()).filter(stays).collect();
        let p_values: Vec<(f64, f64)> =
            numbers.iter().map(|number| (outcomes[*number].0.ln_p, outcomes[*number].1)).collect();
        let q_values = false_discovery(&p_values, self.options.q_max);
        let tested = q_values.iter().flatten().count();
        let mut all: Vec<(usize, f64)> =
            numbers.into_iter().zip(q_values).filter_map(|(number, q_value)| Some((number, q_value?))).collect();
        all.sort_by(|a, b| outcomes[a.0].0.ln_p.total_cmp(&outcomes[b.0].0.ln_p));
        let (mut held, mut telling) = (Vec::new(), Vec::new());
        for (number, q_value) in all {
            let (outcome, _, shares) = outcomes[number];
            let holds = q_value <= self.options.q_max;
            if (!holds && telling.len() >= pairs::TELLING_MAX) || held.len() >= KEPT_MAX {
                break;
            }
            let Some(found) = self.held(&hypotheses[number], outcome, q_value, shares) else { continue };
            if outcome.more && telling.len() < pairs::TELLING_MAX && !found.is_root {
                telling.push(found.clone());
            }
            if holds && found.shares.is_large() {
                held.push(found);
            }
        }
        (held, telling, tested)
    }

    /// What a hypothesis says once its direction is known: seldom shown operations and edges are missing ones; anything else
    /// that is seldom shown says nothing.
    fn held(&self, hypothesis: &Hypothesis, outcome: Outcome, q_value: f64, shares: Shares) -> Option<Held> {
        let mut bits = Bits::new(self.members.len());
        hypothesis.shown.iter().for_each(|member| bits.insert(self.places[*member as usize] as usize));
        let (mut whats, mut shares) = (hypothesis.whats.clone(), shares);
        if !outcome.more {
            let absent = |what: What| match what {
                What::Operation(operation, true) => Some(What::Operation(operation, false)),
                What::Edge(edge, true) => Some(What::Edge(edge, false)),
                _ => None,
            };
            whats = whats.into_iter().filter_map(absent).collect();
            bits = self.everything().without(&bits);
            shares = Shares::of(&self.strata_of_bits(&bits, hypothesis.is_root));
        }
        // One operation says more than the edge that leads to it; of many, the edge is the sum.
        let operations = whats.iter().filter(|what| matches!(what, What::Operation(..))).count();
        whats.sort_by_key(|what| {
            let is_only = operations == 1 && matches!(what, What::Operation(..));
            let (rank, version, wide, number) = self.preference(what);
            (if is_only { rank.min(What::EDGE_RANK - 1) } else { rank }, version, wide, number)
        });
        (!whats.is_empty()).then_some(Held {
            whats,
            bits,
            ln_p: outcome.ln_p,
            q_value,
            shares,
            is_root: hypothesis.is_root,
        })
    }

    /// Reasons before their traces, a version before other attributes, what is short before what is long.
    fn preference(&self, what: &What) -> (u8, bool, bool, u32) {
        let (is_version, in_operation, number) = match what {
            What::Resource { key, .. } => (self.facts.texts.get(*key) == "service.version", false, key.0),
            What::Attribute { operation, key, .. } => (false, operation.is_some(), key.0),
            What::Root(number) | What::Failed(number) | What::Site(number) => (false, false, *number),
            What::Operation(number, _) | What::Edge(number, _) => (false, false, *number),
            What::Calls(number, _) | What::EdgeCalls(number, _) => (false, false, *number),
            What::Takes { operation, .. } => (false, false, *operation),
            What::Pair(..) => (false, false, 0),
        };
        (what.rank(), !is_version, in_operation, number)
    }

    /// Share of the traces that show something that are selected.
    fn precision(&self, held: &Held) -> f64 {
        let selected: usize = self.strata.iter().map(|places| held.bits.count(&places.selected)).sum();
        selected as f64 / held.bits.len().max(1) as f64
    }

    fn everything(&self) -> Bits {
        let mut bits = Bits::new(self.members.len());
        (0..self.members.len()).for_each(|place| bits.insert(place));
        bits
    }

    fn strata_of(&self, shown: &[u32], is_root: bool) -> Vec<Stratum> {
        let mut strata: Vec<Stratum> = self.margins();
        let mut counts = vec![0u32; 2 * strata.len()];
        for member in shown {
            counts[self.cells[*member as usize] as usize] += 1;
        }
        for (stratum, counts) in strata.iter_mut().zip(counts.chunks_exact(2)) {
            stratum.both = counts[1] as usize;
            stratum.shown = (counts[0] + counts[1]) as usize;
        }
        if is_root { vec![sum(&strata)] } else { strata }
    }

    fn margins(&self) -> Vec<Stratum> {
        let margin = |places: &Places| Stratum {
            total: places.selected.len() + places.rest.len(),
            selected: places.selected.len(),
            shown: 0,
            both: 0,
        };
        self.strata.iter().map(margin).collect()
    }

    fn strata_of_bits(&self, bits: &Bits, is_root: bool) -> Vec<Stratum> {
        let mut strata = self.margins();
        for (stratum, places) in strata.iter_mut().zip(&self.strata) {
            stratum.both = bits.count(&places.selected);
            stratum.shown = stratum.both + bits.count(&places.rest);
        }
        if is_root { vec![sum(&strata)] } else { strata }
    }

    /// The tables of `bits` among the places that are in `among`.
    fn strata_among(&self, bits: &Bits, among: &Bits, is_root: bool) -> Vec<Stratum> {
        let both = bits.and(among);
        let of = |places: &Places| {
            let (selected, rest) = (among.count(&places.selected), among.count(&places.rest));
            let shown = both.count(&places.selected);
            Stratum { total: selected + rest, selected, shown: shown + both.count(&places.rest), both: shown }
        };
        let strata: Vec<Stratum> = self.strata.iter().map(of).collect();
        if is_root { vec![sum(&strata)] } else { strata }
    }
}

fn sum(strata: &[Stratum]) -> Stratum {
    let add = |sum: Stratum, stratum: &Stratum| Stratum {
        total: sum.total + stratum.total,
        selected: sum.selected + stratum.selected,
        shown: sum.shown + stratum.shown,
        both: sum.both + stratum.both,
    };
    strata.iter().fold(Stratum { total: 0, selected: 0, shown: 0, both: 0 }, add)
}

/// A hash of a list, to find equal ones.
fn hash(numbers: &[u32]) -> u64 {
    let step = |hash: u64, number: &u32| (hash.rotate_left(5) ^ u64::from(*number)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    numbers.iter().fold(numbers.len() as u64, step)
}
