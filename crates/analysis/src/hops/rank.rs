//! Tests of one sample against another that assume nothing of their distributions.
//!
//! - [`test`]: Mann and Whitney (1947), with the correction for ties (Lehmann, *Nonparametrics*, 1975); exact, by
//!   counting all ways to deal the ranks out, where the samples are small and the approximation says that it matters.
//! - [`shift`]: the median of all differences (Hodges and Lehmann, 1963) with its interval (Moses; Hollander and Wolfe,
//!   *Nonparametric Statistical Methods*, §4.3), found by bisection over counts instead of writing the differences down.
//! - [`proportion`]: Fisher's exact test, one-sided, of shares.
//! - [`discoveries`]: q-values by Benjamini and Hochberg (1995).
//!
//! Samples are values with multiplicities, so that a sketch is one as well as a list. Costs: O(n) for tests on sorted samples, O(n · 64)
//! for shifts.

use tracewell_model::Sketch;

/// Size of the table of the exact test at most: items × chosen × sums.
const EXACT_STEPS: usize = 1_500_000;
/// The exact test is made where the approximation is below this.
const EXACT_BELOW: f64 = 0.3;

/// A sample: values in order, each once, and how often each.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sample {
    points: Vec<(i64, u64)>,
    count: u64,
}

impl From<Vec<i64>> for Sample {
    fn from(mut values: Vec<i64>) -> Self {
        values.sort_unstable();
        let mut points: Vec<(i64, u64)> = Vec::with_capacity(values.len());
        for value in values {
            match points.last_mut() {
                Some((last, count)) if *last == value => *count += 1,
                _ => points.push((value, 1)),
            }
        }
        let count = points.iter().map(|(_, count)| count).sum();
        Self { points, count }
    }
}

impl From<&Sketch> for Sample {
    fn from(sketch: &Sketch) -> Self {
        let points: Vec<(i64, u64)> = sketch.values().map(|(value, count)| (value.round() as i64, count)).collect();
        Self { points, count: sketch.count() }
    }
}

impl Sample {
    /// How many values there are.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// True when there is none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The values in order, each once, and how often each.
    pub fn points(&self) -> &[(i64, u64)] {
        &self.points
    }

    /// The value that a share `q` (0 to 1) does not exceed; `None` for an empty sample.
    pub fn quantile(&self, q: f64) -> Option<i64> {
        let rank = (q.clamp(0.0, 1.0) * self.count.saturating_sub(1) as f64).round() as u64;
        let mut below = 0;
        self.points
            .iter()
            .find(|(_, count)| {
                below += count;
                below > rank
            })
            .map(|(value, _)| *value)
    }

    /// The mean; 0 for an empty sample.
    pub fn mean(&self) -> f64 {
        let sum: f64 = self.points.iter().map(|(value, count)| *value as f64 * *count as f64).sum();
        sum / self.count.max(1) as f64
    }

    /// How many values are above one.
    pub fn above(&self, value: i64) -> u64 {
        let from = self.points.partition_point(|(own, _)| *own <= value);
        self.points[from..].iter().map(|(_, count)| count).sum()
    }

    /// Several samples in one of at most `most` values, each with a share of its own size: the quantiles stay.
    pub fn thinned(samples: &[&Self], most: u64) -> Self {
        let all: u64 = samples.iter().map(|sample| sample.count).sum();
        let mut values = Vec::new();
        for sample in samples {
            let share = if all <= most { sample.count } else { (sample.count * most).div_ceil(all) };
            let at = |number: u64| sample.quantile((number as f64 + 0.5) / share as f64);
            values.extend((0..share).filter_map(at));
        }
        Self::from(values)
    }

    /// Both together.
    pub fn merged(&self, other: &Self) -> Self {
        let mut points: Vec<(i64, u64)> = self.points.iter().chain(&other.points).copied().collect();
        points.sort_unstable();
        points.dedup_by(|next, kept| {
            let same = next.0 == kept.0;
            if same {
                kept.1 += next.1;
            }
            same
        });
        Self { points, count: self.count + other.count }
    }
}

/// What the rank test says.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RankTest {
    /// Chance of ranks that differ at least so much, were both samples of one distribution; two-sided.
    pub p: f64,
    /// Chance that a value of the second sample exceeds one of the first, ties counted half (Vargha and Delaney's A).
    pub superiority: f64,
}

/// Tests whether two samples are of one distribution. Empty samples are never told apart.
pub fn test(before: &Sample, now: &Sample) -> RankTest {
    let (n, m) = (before.count as f64, now.count as f64);
    if before.is_empty() || now.is_empty() {
        return RankTest { p: 1.0, superiority: 0.5 };
    }
    // Over the values in order: how many of each sample, and the mid-rank sum of the second.
    let mut groups: Vec<(u64, u64)> = Vec::with_capacity(before.points.len() + now.points.len());
    let (mut left, mut right) = (before.points.iter().peekable(), now.points.iter().peekable());
    loop {
        let value = match (left.peek(), right.peek()) {
            (Some((a, _)), Some((b, _))) => *a.min(b),
            (Some((a, _)), None) => *a,
            (None, Some((b, _))) => *b,
            (None, None) => break,
        };
        let of_left = left.next_if(|(own, _)| *own == value).map_or(0, |(_, count)| *count);
        let of_right = right.next_if(|(own, _)| *own == value).map_or(0, |(_, count)| *count);
        groups.push((of_left, of_right));
    }
    let (mut below, mut wins, mut ties) = (0.0, 0.0, 0.0);
    for (of_left, of_right) in &groups {
        let (of_left, of_right) = (*of_left as f64, *of_right as f64);
        wins += of_right * (below + of_left / 2.0);
        below += of_left;
        let tied = of_left + of_right;
        ties += tied * (tied * tied - 1.0);
    }
    let total = n + m;
    let superiority = wins / (n * m);
    let variance = n * m / 12.0 * ((total + 1.0) - ties / (total * (total - 1.0)).max(1.0));
    if variance <= 0.0 {
        return RankTest { p: 1.0, superiority };
    }
    let distance = ((wins - n * m / 2.0).abs() - 0.5).max(0.0);
    let mut p = two_sided(distance / variance.sqrt());
    if p < EXACT_BELOW
        && let Some(exact) = exact(&groups, before.count, now.count)
    {
        p = exact;
    }
    RankTest { p, superiority }
}

/// The exact two-sided chance, given the ties; `None` where counting would take too long.
fn exact(groups: &[(u64, u64)], n: u64, m: u64) -> Option<f64> {
    let total = usize::try_from(n.checked_add(m)?).ok()?;
    let (chosen, few_is_now) = if m <= n { (m as usize, true) } else { (n as usize, false) };
    // Doubled mid-ranks are whole numbers. Their sum over the smaller sample is at most:
    let most = chosen.checked_mul(2)?.checked_mul(total)?;
    if total.checked_mul(chosen)?.checked_mul(most)? > EXACT_STEPS {
        return None;
    }
    let mut ways = vec![vec![0.0f64; most + 1]; chosen + 1];
    ways[0][0] = 1.0;
    let (mut ranked, mut observed) = (0usize, 0usize);
    for (of_left, of_right) in groups {
        let tied = (of_left + of_right) as usize;
        let doubled = 2 * ranked + tied + 1;
        let own = if few_is_now { *of_right } else { *of_left } as usize;
        observed += own * doubled;
        for item in 0..tied {
            for taken in (1..=chosen.min(ranked + item + 1)).rev() {
                let (fewer, more) = ways.split_at_mut(taken);
                let (from, to) = (&fewer[taken - 1], &mut more[0]);
                for sum in doubled..=most {
                    to[sum] += from[sum - doubled];
                }
            }
        }
        ranked += tied;
    }
    let expected = chosen * (total + 1);
    let distance = observed.abs_diff(expected);
    let all: f64 = ways[chosen].iter().sum();
    let as_far: f64 = ways[chosen]
        .iter()
        .enumerate()
        .filter(|(sum, _)| sum.abs_diff(expected) >= distance)
        .map(|(_, ways)| ways)
        .sum();
    Some((as_far / all).clamp(0.0, 1.0))
}

/// A shift and the interval that holds it with the confidence asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shift {
    /// Median of the differences.
    pub estimate: i64,
    /// Lower end of the interval.
    pub low: i64,
    /// Upper end.
    pub high: i64,
}

/// By how much the second sample is shifted against the first; `None` where one is empty. `z` is the normal quantile
/// of the confidence (1.96 for 95 %).
pub fn shift(before: &Sample, now: &Sample, z: f64) -> Option<Shift> {
    let (n, m) = (before.count as f64, now.count as f64);
    let (from, to) = (
        now.points.first()?.0.checked_sub(before.points.last()?.0)?,
        now.points.last()?.0.checked_sub(before.points.first()?.0)?,
    );
    let pairs = n * m;
    let margin = z * (pairs * (n + m + 1.0) / 12.0).sqrt();
    let find = |rank: f64| nth_difference(before, now, rank.clamp(0.0, pairs - 1.0), from, to);
    Some(Shift {
        estimate: find(((pairs - 1.0) / 2.0).floor()),
        low: find((pairs / 2.0 - margin).floor()),
        high: find((pairs / 2.0 + margin).ceil() - 1.0),
    })
}

/// The smallest difference that more than `rank` differences do not exceed.
fn nth_difference(before: &Sample, now: &Sample, rank: f64, mut low: i64, mut high: i64) -> i64 {
    while low < high {
        let middle = low + ((high as i128 - low as i128) / 2) as i64;
        if differences_up_to(before, now, middle) > rank {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    low
}

/// How many differences `now − before` are at most `limit`.
fn differences_up_to(before: &Sample, now: &Sample, limit: i64) -> f64 {
    // For a value of `now`, every value of `before` from `now − limit` on gives such a difference; that bound ascends.
    let (mut at, mut passed, mut found) = (0, 0u64, 0.0);
    for (value, count) in &now.points {
        let bound = value.saturating_sub(limit);
        while let Some((_, more)) = before.points.get(at).filter(|(own, _)| *own < bound) {
            passed += more;
            at += 1;
        }
        found += *count as f64 * (before.count - passed) as f64;
    }
    found
}

/// The chance of at least `hits` of `tries`, when `hits_before` of `tries_before` tell what to expect: Fisher's exact
/// test, one-sided.
pub fn proportion(hits_before: u64, tries_before: u64, hits: u64, tries: u64) -> f64 {
    let (all, all_hits) = (tries_before + tries, hits_before + hits);
    if tries == 0 || tries_before == 0 || hits == 0 {
        return 1.0;
    }
    let choose = |n: u64, k: u64| ln_factorial(n) - ln_factorial(k) - ln_factorial(n - k);
    let whole = choose(all, tries);
    let most = tries.min(all_hits);
    let mut p = 0.0;
    for count in hits..=most {
        if all - all_hits < tries - count {
            continue;
        }
        let term = (choose(all_hits, count) + choose(all - all_hits, tries - count) - whole).exp();
        p += term;
        if term < p * 1e-12 {
            break;
        }
    }
    p.clamp(0.0, 1.0)
}

/// `ln n!`: Stirling's series from 16 on.
fn ln_factorial(n: u64) -> f64 {
    if n < 16 {
        return (2..=n).map(|factor| (factor as f64).ln()).sum();
    }
    let x = n as f64 + 1.0;
    (x - 0.5) * x.ln() - x + 0.5 * (2.0 * std::f64::consts::PI).ln() + 1.0 / (12.0 * x) - 1.0 / (360.0 * x * x * x)
}

/// The two-sided chance of a normal deviate as far out as `z` (Abramowitz and Stegun 7.1.26; far out the
/// asymptotic series, so that tiny chances stay in order).
pub fn two_sided(z: f64) -> f64 {
    let x = z.abs() / std::f64::consts::SQRT_2;
    if x > 3.0 {
        let square = x * x;
        let series = 1.0 - 0.5 / square + 0.75 / (square * square) - 1.875 / (square * square * square);
        return ((-square).exp() / (x * std::f64::consts::PI.sqrt()) * series).clamp(0.0, 1.0);
    }
    let t = 1.0 / (1.0 + 0.327_591_1 * x);
    let poly =
        t * (0.254_829_592 + t * (-0.284_496_736 + t * (1.421_413_741 + t * (-1.453_152_027 + t * 1.061_405_429))));
    (poly * (-x * x).exp()).clamp(0.0, 1.0)
}

/// For each chance of a family of tests its q-value: the least false discovery rate at which it is a discovery.
pub fn discoveries(chances: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..chances.len()).collect();
    order.sort_by(|a, b| chances[*a].total_cmp(&chances[*b]));
    let mut q = vec![1.0; chances.len()];
    let mut least = 1.0f64;
    for (rank, at) in order.iter().enumerate().rev() {
        least = least.min(chances[*at] * chances.len() as f64 / (rank + 1) as f64);
        q[*at] = least;
    }
    q
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(values: &[i64]) -> Sample {
        Sample::from(values.to_vec())
    }

    /// Against `scipy.stats.mannwhitneyu`: exact without ties, and by all permutations with them.
    #[test]
    fn small_samples_are_tested_exactly() {
        let five: Vec<i64> = (1..=5).collect();
        let above: Vec<i64> = (6..=10).collect();
        let told = test(&sample(&five), &sample(&above));
        assert!((told.p - 2.0 / 252.0).abs() < 1e-12, "{}", told.p);
        assert_eq!(told.superiority, 1.0);
        let told = test(&sample(&[1, 2, 3, 4, 7, 8]), &sample(&[5, 6, 9, 10, 11]));
        assert!((told.p - 0.051_948_051_948_051_95).abs() < 1e-9, "{}", told.p);
        let told = test(&sample(&[1, 1, 2, 2, 2, 3]), &sample(&[2, 3, 3, 4, 4, 4]));
        assert!((told.p - 0.028_138_528_138_528_14).abs() < 1e-9, "{}", told.p);
    }

    #[test]
    fn large_samples_are_approximated() {
        let before: Vec<i64> = (0..400).collect();
        let now: Vec<i64> = (40..440).collect();
        let told = test(&sample(&before), &sample(&now));
        assert!(told.p > 1e-8 && told.p < 1e-4, "{}", told.p);
        assert!((two_sided(1.959_964) - 0.05).abs() < 1e-5);
        assert!((two_sided(6.0) / 1.973_175_29e-9 - 1.0).abs() < 1e-3, "{}", two_sided(6.0));
        assert_eq!(test(&sample(&before), &sample(&before)).superiority, 0.5);
        assert_eq!(test(&sample(&[7; 90]), &sample(&[7; 80])).p, 1.0);
    }

    #[test]
    fn the_shift_is_the_median_of_all_differences() {
        let (before, now) = (sample(&[1, 4, 9, 20, 31]), sample(&[12, 15, 15, 40, 90, 93]));
        let mut differences: Vec<i64> = Vec::new();
        for a in [1i64, 4, 9, 20, 31] {
            differences.extend([12, 15, 15, 40, 90, 93].map(|b| b - a));
        }
        differences.sort_unstable();
        let found = shift(&before, &now, 1.96).expect("neither is empty");
        assert_eq!(found.estimate, differences[14]);
        assert!(differences.contains(&found.low) && differences.contains(&found.high));
        assert!(found.low < found.estimate && found.estimate < found.high);
        assert_eq!(shift(&Sample::default(), &now, 1.96), None);
    }

    /// Against `scipy.stats.fisher_exact`, alternative "greater".
    #[test]
    fn shares_are_tested_exactly() {
        assert!((proportion(5, 100, 15, 100) - 0.015_860_02).abs() < 1e-5, "{}", proportion(5, 100, 15, 100));
        assert_eq!(proportion(5, 100, 0, 100), 1.0);
        assert!((proportion(0, 10, 10, 10) - 1.0 / 184_756.0).abs() < 1e-9);
    }

    #[test]
    fn q_values_grow_with_the_chances() {
        let q = discoveries(&[0.01, 0.04, 0.03, 0.5]);
        let expected = [0.04, 0.16 / 3.0, 0.16 / 3.0, 0.5];
        assert!(q.iter().zip(expected).all(|(q, expected)| (q - expected).abs() < 1e-12), "{q:?}");
        assert!(discoveries(&[]).is_empty());
    }
}
