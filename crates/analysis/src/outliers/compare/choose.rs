//! Which findings are told, and which are only part of another.
//!
//! The clearest is told first. What differs hardly any more among traces that agree in it is implied by it: the difference of
//! the shares, taken among the traces that show it and among those that do not, is less than half of what it was, or could be
//! chance. What is left is told next; last of all durations, which say what is slow, not why.

use super::significance::Stratum;
use super::{Compared, Held, Shares};
use crate::outliers::Finding;

/// Two statements are one when the traces that show both are this share of those that show either.
const SAME: f64 = 0.98;
/// What is left of a difference that is implied, at most.
const LEFT_MAX: f64 = 0.5;
/// Above this probability a difference that is left could be chance.
const CHANCE: f64 = 0.01;
/// What a finding implies is told up to this many.
const IMPLIED_MAX: usize = 20;
/// Aliases that are told, at most.
const ALIASES_MAX: usize = 20;
/// By how much the weight of a finding falls with each rank of its kind: of two that are nearly as clear, the reason is told.
const RANK_WEIGHT: f64 = 0.02;

impl Compared<'_> {
    /// Chooses among what was found, and then among what is told `last`.
    pub(super) fn choose(&self, mut left: Vec<Held>, mut last: Vec<Held>) -> Vec<Finding> {
        let mut findings = Vec::new();
        while findings.len() < self.options.findings_max {
            let weight = |held: &Held| {
                let rank = held.whats.first().map_or(0, super::super::facts::What::rank);
                held.ln_p * (1.0 - RANK_WEIGHT * f64::from(rank))
            };
            if left.is_empty() {
                std::mem::swap(&mut left, &mut last);
            }
            let clearest = left.iter().enumerate().min_by(|(_, a), (_, b)| weight(a).total_cmp(&weight(b)));
            let Some((number, _)) = clearest else { break };
            let mut chosen = left.remove(number);
            let mut implied = Vec::new();
            for list in [&mut left, &mut last] {
                for held in std::mem::take(list) {
                    let (both, either) = held.bits.overlap(&chosen.bits);
                    if held.is_root == chosen.is_root && both as f64 >= SAME * either as f64 {
                        chosen.whats.extend(held.whats);
                    } else if self.is_implied(&held, &chosen) {
                        implied.push(held);
                    } else {
                        list.push(held);
                    }
                }
            }
            chosen.whats.truncate(ALIASES_MAX + 1);
            let mut finding = self.finding(&chosen);
            finding.implied = implied.iter().take(IMPLIED_MAX).map(|held| self.finding(held)).collect();
            findings.push(finding);
        }
        findings
    }

    /// True when nearly nothing is left of a finding among traces that agree in another.
    fn is_implied(&self, held: &Held, by: &Held) -> bool {
        let others = self.everything().without(&by.bits);
        let mut strata: Vec<Stratum> = self.strata_among(&held.bits, &by.bits, held.is_root);
        strata.extend(self.strata_among(&held.bits, &others, held.is_root));
        let outcome = self.factorials.test(&strata);
        let shares = Shares::of(&strata);
        !outcome.more || outcome.ln_p > CHANCE.ln() || shares.difference() < LEFT_MAX * held.shares.difference()
    }
}
