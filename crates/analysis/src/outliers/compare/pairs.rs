//! Two things that matter only together.
//!
//! A pair is a finding when each of the two matters where the other is (an intersection–union test: the larger of the two
//! p-values counts), and the two together tell more than either alone. The two were picked from all statements, so every pair
//! of statements counts as tested: Bonferroni over all of them.

use super::super::facts::What;
use super::significance::{Outcome, Stratum};
use super::{Compared, Held, Shares};

/// Statements that are tried in pairs, at most: the most telling.
pub(super) const TELLING_MAX: usize = 64;
/// Pairs that are told, at most.
const PAIRS_MAX: usize = 20;
/// By how much more a pair has to tell than either alone.
const GAIN_MIN: f64 = 1.1;

impl Compared<'_> {
    /// The pairs among the most telling statements that hold; `tested` statements could have held.
    pub(super) fn pairs(&self, telling: &[Held], tested: usize) -> Vec<Held> {
        let chances = ((tested * tested.saturating_sub(1) / 2).max(1) as f64).ln();
        let mut pairs = Vec::new();
        for (number, one) in telling.iter().enumerate() {
            for other in &telling[number + 1..] {
                pairs.extend(self.pair(one, other, chances));
            }
        }
        pairs.sort_by(|a, b| a.ln_p.total_cmp(&b.ln_p));
        pairs.truncate(PAIRS_MAX);
        pairs
    }

    fn pair(&self, one: &Held, other: &Held, chances: f64) -> Option<Held> {
        let bits = one.bits.and(&other.bits);
        let count = bits.len();
        // Where one implies the other there is no pair; where they hardly meet, nothing to learn.
        if count < 3 || count == one.bits.len() || count == other.bits.len() {
            return None;
        }
        let strata = self.strata_of_bits(&bits, false);
        let shares = Shares::of(&strata);
        if !shares.is_large() {
            return None;
        }
        let joint = self.factorials.test(&strata);
        if !joint.more || joint.ln_p > GAIN_MIN * one.ln_p.min(other.ln_p) {
            return None;
        }
        let matters =
            |strata: Vec<Stratum>| Some(self.factorials.test(&strata)).filter(|outcome: &Outcome| outcome.more);
        let where_other = matters(self.strata_among(&one.bits, &other.bits, false))?;
        let where_one = matters(self.strata_among(&other.bits, &one.bits, false))?;
        let ln_q = where_one.ln_p.max(where_other.ln_p) + chances;
        if ln_q > self.options.q_max.ln() {
            return None;
        }
        let (first, second) = (one.whats.first()?.clone(), other.whats.first()?.clone());
        Some(Held {
            whats: vec![What::Pair(Box::new(first), Box::new(second))],
            bits,
            ln_p: joint.ln_p,
            q_value: ln_q.exp(),
            shares,
            is_root: false,
        })
    }
}
