//! What is slow, where nothing says why: operations whose durations form levels that go with the selection.
//!
//! For each root operation a [`Table`] is made of its traces, with the summed durations of each operation as columns, and
//! [`explain`](table::explain)ed. Its patterns do not know which traces are selected, so that they can be tested like any
//! other statement; each column counts as [`PATTERNS_MAX`] tests.

use super::bits::Bits;
use super::{Compared, Held, Shares};
use crate::outliers::facts::{Calls, What};
use crate::outliers::table::{self, Column, Condition, PATTERNS_MAX, Table};

/// Fewer traces of a root operation have no levels.
const TRACES_MIN: usize = 50;
/// An operation has to be in this share of its traces.
const SHARE_MIN: f64 = 0.02;
/// An operation whose durations differ by less than this share of the median latency cannot make a request slow.
const SPREAD_MIN: f64 = 0.05;
/// Operations that are looked at for one root operation, at most: those that stand out most.
const COLUMNS_MAX: usize = 24;

/// An operation and the sum of its durations at each place of a stratum.
struct Durations {
    operation: u32,
    column: Column,
    /// Distance from the median to the 99th percentile, in distances from the first to the third quartile.
    contrast: f64,
}

impl Compared<'_> {
    pub(super) fn levels(&self) -> Vec<Held> {
        let mut found = Vec::new();
        let by_stratum = self.operations_by_stratum();
        for (places, operations) in self.strata.iter().zip(by_stratum) {
            let (from, to) = (places.selected.start, places.rest.end);
            if to - from < TRACES_MIN {
                continue;
            }
            let latencies_ms: Vec<f64> = (from..to).map(|place| self.duration_ns(place) / 1e6).collect();
            let durations = self.durations(from, &latencies_ms, &operations);
            let chances = (durations.len() * PATTERNS_MAX).max(1) as f64;
            let columns = durations.iter().map(|durations| durations.column.clone()).collect();
            let explained = table::explain(&Table { latencies_ms, columns });
            for pattern in explained.patterns {
                let whats = pattern.conditions.iter().filter_map(|condition| self.takes(condition, &durations));
                found.extend(self.judge(whats.collect(), chances));
            }
        }
        found
    }

    /// The operations that occur in each stratum, deepest first, but for its root.
    fn operations_by_stratum(&self) -> Vec<Vec<u32>> {
        let mut operations = vec![Vec::new(); self.strata.len()];
        let mut counts = vec![0usize; self.strata.len()];
        // Operations are numbered in the order of a walk from the root, so that the last is likely the deepest.
        for (number, operation) in self.facts.operations.iter().enumerate().rev() {
            let number = number as u32;
            counts.fill(0);
            for calls in &operation.calls {
                counts[self.stratum_of[calls.trace as usize] as usize] += 1;
            }
            for ((places, count), operations) in self.strata.iter().zip(&counts).zip(&mut operations) {
                let traces = places.selected.len() + places.rest.len();
                let root =
                    self.members.get(places.selected.start).map(|member| self.facts.members[*member as usize].root);
                if *count as f64 >= SHARE_MIN * traces as f64 && *count > 0 && root != Some(number) {
                    operations.push(number);
                }
            }
        }
        operations
    }

    /// The columns of a stratum whose first place is `from`.
    fn durations(&self, from: usize, latencies_ms: &[f64], operations: &[u32]) -> Vec<Durations> {
        let typical_ms = crate::outliers::effect::median(latencies_ms.iter().copied()).unwrap_or(0.0);
        let of = |operation: &u32| {
            let mut values_ms = vec![f64::NAN; latencies_ms.len()];
            for calls in &self.facts.operations[*operation as usize].calls {
                let place = (self.places[calls.trace as usize] as usize).wrapping_sub(from);
                if let Some(value) = values_ms.get_mut(place) {
                    *value = calls.sum_ns as f64 / 1e6;
                }
            }
            let mut seen: Vec<f64> = values_ms.iter().copied().filter(|value| value.is_finite()).collect();
            let last = seen.len().checked_sub(1)?;
            let high = *seen.select_nth_unstable_by(last * 99 / 100, f64::total_cmp).1;
            let middle = *seen.select_nth_unstable_by(last / 2, f64::total_cmp).1;
            let third = *seen.select_nth_unstable_by(last * 3 / 4, f64::total_cmp).1;
            let first = *seen.select_nth_unstable_by(last / 4, f64::total_cmp).1;
            let column = Column { name: operation.to_string(), values_ms };
            let contrast = (high - middle) / (third - first).max(1e-6);
            (high - middle >= SPREAD_MIN * typical_ms).then_some(Durations { operation: *operation, column, contrast })
        };
        let mut durations: Vec<(usize, Durations)> = operations.iter().filter_map(of).enumerate().collect();
        durations.sort_by(|(_, a), (_, b)| b.contrast.total_cmp(&a.contrast));
        durations.truncate(COLUMNS_MAX);
        durations.sort_by_key(|(place, _)| *place);
        durations.into_iter().map(|(_, durations)| durations).collect()
    }

    /// A condition of a table as a statement about traces, its bounds made short.
    fn takes(&self, condition: &Condition, durations: &[Durations]) -> Option<What> {
        let of = durations.iter().find(|durations| durations.column.name == condition.column)?;
        let bound = |ms: Option<f64>| ms.map(|ms| short(ms, &of.column.values_ms));
        Some(What::Takes { operation: of.operation, from_ns: bound(condition.from_ms), to_ns: bound(condition.to_ms) })
    }

    /// Tests a pattern over all strata, as a filter would find it.
    fn judge(&self, whats: Vec<What>, chances: f64) -> Option<Held> {
        let parts = whats.iter().map(|what| self.bits_of(what));
        let bits = parts.reduce(|all, part| all.and(&part))?;
        let strata = self.strata_of_bits(&bits, false);
        let (outcome, shares) = (self.factorials.test(&strata), Shares::of(&strata));
        let ln_p = (outcome.ln_p + chances.ln()).min(0.0);
        if !outcome.more || ln_p > self.options.q_max.ln() || !shares.is_large() {
            return None;
        }
        let what = whats.into_iter().rev().reduce(|rest, what| What::Pair(Box::new(what), Box::new(rest)))?;
        Some(Held { whats: vec![what], bits, ln_p, q_value: ln_p.exp(), shares, is_root: false })
    }

    fn bits_of(&self, what: &What) -> Bits {
        let mut bits = Bits::new(self.members.len());
        if let What::Takes { operation, from_ns, to_ns } = what {
            let holds = |calls: &Calls| {
                from_ns.is_none_or(|from| calls.sum_ns >= from) && to_ns.is_none_or(|to| calls.sum_ns < to)
            };
            let calls = self.facts.operations[*operation as usize].calls.iter();
            calls
                .filter(|calls| holds(calls))
                .for_each(|calls| bits.insert(self.places[calls.trace as usize] as usize));
        }
        bits
    }
}

/// A bound in nanoseconds with as few digits as part the values in the same way.
fn short(bound_ms: f64, values_ms: &[f64]) -> u64 {
    let bound_ns = bound_ms * 1e6;
    let below = |ns: f64| values_ms.iter().filter(|value| **value * 1e6 < ns).count();
    let exact = below(bound_ns);
    let magnitude = bound_ns.abs().max(1.0).log10().floor();
    let rounded = (1..=6).map(|digits| {
        let unit = 10f64.powf(magnitude - f64::from(digits) + 1.0).max(1.0);
        (bound_ns / unit).round() * unit
    });
    rounded.into_iter().find(|rounded| below(*rounded) == exact).unwrap_or(bound_ns).max(0.0).round() as u64
}
