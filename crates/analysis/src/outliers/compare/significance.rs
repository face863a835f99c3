//! Is it chance? Fisher's exact test in strata, and the control of false discoveries.
//!
//! **Input:** for each stratum (traces of one root operation) how many traces there are, how many are selected, how many show
//! something, and how many are both. **Algorithm:** given these margins, the number that are both is hypergeometric if
//! selection and showing have nothing to do with each other; over strata, a sum of such numbers (the exact conditional test of
//! Mantel and Haenszel, 1959; Fisher's for one stratum). Its distribution is computed by convolution while its variance is
//! at most [`VARIANCE_EXACT`]; beyond, by the normal approximation with continuity correction, corrected for skewness (Cornish
//! and Fisher 1938). Two-sided: twice the smaller
//! tail. False discoveries: Benjamini and Hochberg (1995) over those hypotheses that could be significant at all (Gilbert,
//! *A modified false discovery rate multiple-comparisons procedure for discrete data*, 2005, after Tarone 1990). All in
//! logarithms: with ten thousand traces, p-values of 10⁻⁵⁰⁰ are common, and are what ranks.
//! **Complexity:** O(σ²·strata) for a test, O(m log m) for m tests.

/// Up to this variance the distribution is computed exactly.
const VARIANCE_EXACT: f64 = 25.0;
/// The correction for skewness is an expansion that holds near the mean: this share of the distance, at most.
const CORRECTION_MAX: f64 = 0.25;
/// Closer to the mean than this many standard deviations nothing is significant, and the approximation will do.
const NEAR: f64 = 1.5;
/// How far from the mean it is computed, in standard deviations, and at least in steps.
const REACH: f64 = 12.0;

/// The two by two table of one stratum.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stratum {
    /// Traces.
    pub(super) total: usize,
    /// Those that are selected.
    pub(super) selected: usize,
    /// Those that show it.
    pub(super) shown: usize,
    /// Those that are and do.
    pub(super) both: usize,
}

/// ln n! for n up to a bound, by table.
#[derive(Debug)]
pub(super) struct Factorials(Vec<f64>);

/// The outcome of a test.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Outcome {
    /// ln of the two-sided p-value, at most 0.
    pub(super) ln_p: f64,
    /// True when the selected show it more often than chance would have it.
    pub(super) more: bool,
}

impl Stratum {
    fn is_informative(&self) -> bool {
        self.selected > 0 && self.selected < self.total && self.shown > 0 && self.shown < self.total
    }

    /// The least and the most that can be both.
    fn bounds(&self) -> (usize, usize) {
        ((self.selected + self.shown).saturating_sub(self.total), self.selected.min(self.shown))
    }

    fn mean(&self) -> f64 {
        self.selected as f64 * self.shown as f64 / self.total as f64
    }

    /// The third cumulant.
    fn skewness(&self) -> f64 {
        let total = self.total as f64;
        let balance = |part: usize| 1.0 - 2.0 * part as f64 / total;
        self.variance() * balance(self.selected) * balance(self.shown) * total / (total - 2.0).max(1.0)
    }

    fn variance(&self) -> f64 {
        let total = self.total as f64;
        let others = (total - self.selected as f64) * (total - self.shown as f64);
        self.mean() * others / (total * (total - 1.0).max(1.0))
    }
}

impl Factorials {
    pub(super) fn new(bound: usize) -> Self {
        let mut table = vec![0.0; bound + 1];
        for number in 1..=bound {
            table[number] = table[number - 1] + (number as f64).ln();
        }
        Self(table)
    }

    fn ln_choose(&self, of: usize, chosen: usize) -> f64 {
        self.0[of] - self.0[chosen] - self.0[of - chosen]
    }

    /// ln of the probability that exactly so many are both.
    fn ln_probability(&self, stratum: &Stratum, both: usize) -> f64 {
        self.ln_choose(stratum.shown, both) + self.ln_choose(stratum.total - stratum.shown, stratum.selected - both)
            - self.ln_choose(stratum.total, stratum.selected)
    }

    /// Tests whether selection and showing have to do with each other.
    pub(super) fn test(&self, strata: &[Stratum]) -> Outcome {
        let strata: Vec<Stratum> = strata.iter().filter(|stratum| stratum.is_informative()).copied().collect();
        let mean: f64 = strata.iter().map(Stratum::mean).sum();
        let variance: f64 = strata.iter().map(Stratum::variance).sum();
        let both: usize = strata.iter().map(|stratum| stratum.both).sum();
        let more = both as f64 > mean;
        if strata.is_empty() || variance <= 0.0 {
            return Outcome { ln_p: 0.0, more };
        }
        let deviations = ((both as f64 - mean).abs() - 0.5).max(0.0) / variance.sqrt();
        let ln_tail = match &strata[..] {
            _ if deviations < NEAR => ln_normal_tail(deviations),
            [only] => self.ln_tail_of_one(only, more),
            _ if variance <= VARIANCE_EXACT && deviations < REACH - 1.0 => self.ln_tail_of_sum(&strata, both, more),
            _ => {
                let skewness: f64 = strata.iter().map(Stratum::skewness).sum::<f64>() / variance.powf(1.5);
                let towards = if more { skewness } else { -skewness };
                let correction = towards / 6.0 * (deviations * deviations - 1.0);
                ln_normal_tail(deviations - correction.clamp(-CORRECTION_MAX * deviations, CORRECTION_MAX * deviations))
            }
        };
        Outcome { ln_p: (ln_tail + std::f64::consts::LN_2).min(0.0), more }
    }

    /// ln of the smallest p-value that these margins allow.
    pub(super) fn ln_p_min(&self, strata: &[Stratum]) -> f64 {
        let at = |pick: fn((usize, usize)) -> usize| -> f64 {
            let informative = strata.iter().filter(|stratum| stratum.is_informative());
            informative.map(|stratum| self.ln_probability(stratum, pick(stratum.bounds()))).sum()
        };
        (at(|(least, _)| least).min(at(|(_, most)| most)) + std::f64::consts::LN_2).min(0.0)
    }

    fn ln_tail_of_one(&self, stratum: &Stratum, more: bool) -> f64 {
        let (least, most) = stratum.bounds();
        let first = self.ln_probability(stratum, stratum.both);
        // Probabilities fall away from the mean: stop when what is left cannot matter.
        let sum = |numbers: &mut dyn Iterator<Item = usize>| {
            let mut sum = 0.0;
            for number in numbers {
                let term = (self.ln_probability(stratum, number) - first).exp();
                sum += term;
                if term < 1e-12 * sum {
                    break;
                }
            }
            sum
        };
        let sum = if more { sum(&mut (stratum.both..=most)) } else { sum(&mut (least..=stratum.both).rev()) };
        first + f64::ln(sum)
    }

    fn ln_tail_of_sum(&self, strata: &[Stratum], both: usize, more: bool) -> f64 {
        let mut offset = 0;
        let mut distribution = vec![1.0];
        for stratum in strata {
            let (least, most) = stratum.bounds();
            let reach = REACH * stratum.variance().sqrt() + REACH;
            let from = least.max((stratum.mean() - reach).max(0.0) as usize);
            let to = most.min((stratum.mean() + reach).ceil() as usize);
            let part: Vec<f64> = (from..=to).map(|both| self.ln_probability(stratum, both).exp()).collect();
            distribution = convolve(&distribution, &part);
            offset += from;
        }
        let place = both.saturating_sub(offset).min(distribution.len());
        let tail: f64 = match more {
            true => distribution[place..].iter().rev().sum(),
            false => distribution[..=place.min(distribution.len() - 1)].iter().sum(),
        };
        tail.max(f64::MIN_POSITIVE).ln()
    }
}

fn convolve(a: &[f64], b: &[f64]) -> Vec<f64> {
    let mut sum = vec![0.0; a.len() + b.len() - 1];
    for (place, a) in a.iter().enumerate() {
        b.iter().zip(&mut sum[place..]).for_each(|(b, sum)| *sum += a * b);
    }
    sum
}

/// ln of the probability that a normal number lies at least so many standard deviations above its mean. Continued fraction
/// of the Mills ratio (Abramowitz and Stegun 26.2.14), series of the error function below 2 (26.2.10).
fn ln_normal_tail(deviations: f64) -> f64 {
    let x = deviations;
    let ln_density = -x * x / 2.0 - (std::f64::consts::TAU).sqrt().ln();
    if x < 2.0 {
        let (mut term, mut sum) = (x, x);
        for step in 1..60 {
            let step = f64::from(step);
            term *= x * x / (2.0 * step + 1.0);
            sum += term;
        }
        return (0.5 - sum * ln_density.exp()).max(f64::MIN_POSITIVE).ln();
    }
    let fraction = (1..=60).rev().fold(x, |fraction, step| x + f64::from(step) / fraction);
    ln_density - fraction.ln()
}

/// The false discovery rate at which each hypothesis would be kept: Benjamini and Hochberg's q, `None` for hypotheses that
/// could not have been significant. Each is ln p and the least ln p possible.
pub(super) fn false_discovery(hypotheses: &[(f64, f64)], level: f64) -> Vec<Option<f64>> {
    let mut possible: Vec<f64> = hypotheses.iter().map(|(_, least)| *least).collect();
    possible.sort_unstable_by(f64::total_cmp);
    // The smallest number of hypotheses such that no more could be significant at the level divided by it.
    let testable = (1..=possible.len().max(1)).find(|count| {
        let bound = level.ln() - (*count as f64).ln();
        possible.partition_point(|least| *least <= bound) <= *count
    });
    let bound = level.ln() - (testable.unwrap_or(possible.len()).max(1) as f64).ln();
    let mut order: Vec<usize> = (0..hypotheses.len()).filter(|number| hypotheses[*number].1 <= bound).collect();
    order.sort_unstable_by(|a, b| hypotheses[*a].0.total_cmp(&hypotheses[*b].0).then(a.cmp(b)));
    let mut q_values = vec![None; hypotheses.len()];
    let (count, mut least) = (order.len() as f64, 0.0f64);
    for (rank, number) in order.iter().enumerate().rev() {
        least = least.min(hypotheses[*number].0 + (count / (rank + 1) as f64).ln());
        q_values[*number] = Some(least.exp());
    }
    q_values
}

#[cfg(test)]
mod tests {
    use super::*;

    fn p(strata: &[(usize, usize, usize, usize)]) -> f64 {
        let stratum = |(total, selected, shown, both): &(usize, usize, usize, usize)| Stratum {
            total: *total,
            selected: *selected,
            shown: *shown,
            both: *both,
        };
        let strata: Vec<Stratum> = strata.iter().map(stratum).collect();
        Factorials::new(10_000).test(&strata).ln_p.exp()
    }

    /// The lady tasting tea (Fisher, *The Design of Experiments*, 1935): all right by chance once in seventy.
    #[test]
    fn agrees_with_known_values() {
        let near = |found: f64, expected: f64| assert!((found / expected - 1.0).abs() < 1e-3, "{found} {expected}");
        near(p(&[(8, 4, 4, 4)]), 2.0 / 70.0);
        near(p(&[(8, 4, 4, 0)]), 2.0 / 70.0);
        // Two strata, all right in both: the product.
        near(p(&[(8, 4, 4, 4), (8, 4, 4, 4)]), 2.0 / 4900.0);
        assert_eq!(p(&[(8, 4, 8, 4)]), 1.0);
        near(ln_normal_tail(1.959_964).exp(), 0.025);
        near(ln_normal_tail(0.0).exp(), 0.5);
        near(ln_normal_tail(6.0).exp(), 9.866e-10);
    }

    /// One stratum split into equal halves that both say the same says much the same.
    #[test]
    fn approximation_and_exact_values_meet() {
        let exact = p(&[(4000, 400, 900, 160)]).ln();
        let summed = p(&[(2000, 200, 450, 80), (2000, 200, 450, 80)]).ln();
        assert!((exact / summed - 1.0).abs() < 0.06, "{exact} {summed}");
        let normal = p(&[(8000, 3000, 4000, 1700), (8000, 3000, 4000, 1700)]).ln();
        let exact = p(&[(16000 / 2, 3000, 4000, 1700)]).ln() * 2.0;
        assert!((normal / exact - 1.0).abs() < 0.1, "{normal} {exact}");
        // Skewed: few are selected, and few show it.
        let exact = p(&[(5000, 250, 500, 50)]).ln();
        let summed = p(&[(2500, 125, 250, 25), (2500, 125, 250, 25)]).ln();
        assert!((exact / summed - 1.0).abs() < 0.05, "{exact} {summed}");
    }

    #[test]
    fn q_values_follow_benjamini_and_hochberg() {
        let of = |p: &[f64]| {
            let hypotheses: Vec<(f64, f64)> = p.iter().map(|p| (p.ln(), f64::NEG_INFINITY)).collect();
            false_discovery(&hypotheses, 0.05).into_iter().map(Option::unwrap).collect::<Vec<f64>>()
        };
        let q = of(&[0.01, 0.04, 0.03, 0.5]);
        let expected = [0.04, 0.16 / 3.0, 0.16 / 3.0, 0.5];
        assert!(q.iter().zip(expected).all(|(q, expected)| (q - expected).abs() < 1e-9), "{q:?}");
        // Two hypotheses that could not be significant do not count.
        let possible = [(0.03f64.ln(), -20.0), (0.9f64.ln(), -0.1), (1f64.ln(), -0.1)];
        assert_eq!(false_discovery(&possible, 0.05)[1], None);
        assert!(false_discovery(&possible, 0.05)[0].is_some_and(|q| (q - 0.03).abs() < 1e-9));
    }
}
