//! The few statistics that tell loss from chance. Each names its source.

use std::ops::Range;

use super::Interval;

/// Standard errors that a finding must exceed: hundreds of hops are looked at, one in thirty thousand is let through.
pub(super) const STRICT_Z: f64 = 4.0;

/// The interval of a share, of `hits` among `total` (Wilson, "Probable inference, the law of succession, and
/// statistical inference", 1927): unlike the plain one it stays within 0 and 1 and holds for few events.
pub(super) fn wilson(hits: usize, total: usize, z: f64) -> Interval {
    if total == 0 {
        return Interval { low: 0.0, high: 1.0 };
    }
    let (n, share) = (total as f64, hits as f64 / total as f64);
    let (square, centre) = (z * z, share + z * z / (2.0 * n));
    let spread = z * (share * (1.0 - share) / n + square / (4.0 * n * n)).sqrt();
    let scale = 1.0 + square / n;
    Interval { low: ((centre - spread) / scale).max(0.0), high: ((centre + spread) / scale).min(1.0) }
}

/// The longer of the two runs of lost ones that a sequence begins and ends with, and the logarithm of the chance that so
/// many stand there by accident: a draw without replacement.
pub(super) fn run(sequence: &[bool]) -> (Range<usize>, f64) {
    let (all, lost) = (sequence.len(), sequence.iter().filter(|lost| **lost).count());
    let first = sequence.iter().take_while(|lost| **lost).count();
    let last = sequence.iter().rev().take_while(|lost| **lost).count();
    let run = if last >= first { all - last..all } else { 0..first };
    let chance = |drawn: usize| ((lost - drawn) as f64 / (all - drawn) as f64).ln();
    let chances = (0..run.len()).map(chance).sum();
    (run, chances)
}

/// How far apart two groups lie on a scale: the chance that one of the first is above one of the second, and how many
/// standard errors that is from one half (Mann and Whitney, 1947). `None` where a group is empty.
pub(super) fn ranks(values: &mut [(u64, bool)]) -> Option<(f64, f64)> {
    let first = values.iter().filter(|(_, first)| *first).count() as f64;
    let second = values.len() as f64 - first;
    if first == 0.0 || second == 0.0 {
        return None;
    }
    values.sort_unstable();
    let (mut sum, mut rank, mut tied) = (0.0, 0.0, 0.0);
    for group in values.chunk_by(|left, right| left.0 == right.0) {
        // Those that are as large share their ranks, and say less.
        let size = group.len() as f64;
        sum += (rank + (size + 1.0) / 2.0) * group.iter().filter(|(_, first)| *first).count() as f64;
        rank += size;
        tied += size * size * size - size;
    }
    let above = sum - first * (first + 1.0) / 2.0;
    let all = first + second;
    let error = (first * second / 12.0 * (all + 1.0 - tied / (all * (all - 1.0)))).sqrt();
    if error <= 0.0 {
        return Some((0.5, 0.0));
    }
    Some((above / (first * second), (above - first * second / 2.0) / error))
}

/// Standard errors by which a sequence changes more seldom than a random one (Wald and Wolfowitz, 1940): large where
/// losses come in bursts. Zero where too little is there to tell.
pub(super) fn bursts(sequence: &[bool]) -> f64 {
    let lost = sequence.iter().filter(|lost| **lost).count() as f64;
    let (n, kept) = (sequence.len() as f64, sequence.len() as f64 - lost);
    if lost < 8.0 || kept < 8.0 {
        return 0.0;
    }
    let runs = 1.0 + sequence.windows(2).filter(|pair| pair[0] != pair[1]).count() as f64;
    let expected = 1.0 + 2.0 * lost * kept / n;
    let variance = (expected - 1.0) * (expected - 2.0) / (n - 1.0);
    if variance <= 0.0 { 0.0 } else { (expected - runs) / variance.sqrt() }
}

/// Where in a sequence the share of losses changes most, and by how much: the first index after the change and twice
/// the logarithm of the likelihood ratio against "no change" (Hinkley and Hinkley, "Inference about the change-point
/// in a sequence of binomial variables", 1970).
pub(super) fn change(sequence: &[bool]) -> Option<(usize, f64)> {
    let total = sequence.iter().filter(|lost| **lost).count();
    let (mut best, mut before) = (None, 0);
    for (index, lost) in sequence.iter().enumerate() {
        if index > 0 {
            let whole = likelihood(total, sequence.len());
            let parts = likelihood(before, index) + likelihood(total - before, sequence.len() - index);
            if best.is_none_or(|(_, ratio)| 2.0 * (parts - whole) > ratio) {
                best = Some((index, 2.0 * (parts - whole)));
            }
        }
        before += usize::from(*lost);
    }
    best
}

/// Logarithm of the largest likelihood of `hits` among `total`.
fn likelihood(hits: usize, total: usize) -> f64 {
    let term = |part: usize| if part == 0 { 0.0 } else { part as f64 * (part as f64 / total as f64).ln() };
    term(hits) + term(total - hits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_have_an_interval_even_at_the_ends() {
        let all = wilson(50, 50, 1.96);
        assert!(all.low > 0.92 && all.high == 1.0, "{all:?}");
        let none = wilson(0, 50, 1.96);
        assert!(none.low == 0.0 && none.high < 0.08, "{none:?}");
        assert!(wilson(0, 0, 1.96).high == 1.0);
    }

    #[test]
    fn groups_apart_are_told_from_groups_mixed() {
        let mut apart: Vec<(u64, bool)> = (0..100).map(|value| (value, value >= 50)).collect();
        assert_eq!(ranks(&mut apart).map(|(share, _)| share), Some(1.0));
        let mut mixed: Vec<(u64, bool)> = (0..100).map(|value| (value, value % 2 == 0)).collect();
        assert!(ranks(&mut mixed).is_some_and(|(share, z)| (share - 0.5).abs() < 0.02 && z.abs() < 1.0));
        assert_eq!(ranks(&mut [(1, true)]), None);
        let mut same: Vec<(u64, bool)> = (0..100).map(|value| (7, value >= 50)).collect();
        assert_eq!(ranks(&mut same), Some((0.5, 0.0)), "ties say nothing");
    }

    #[test]
    fn bursts_and_changes_are_seen() {
        let burst: Vec<bool> = (0..200).map(|index| (80..120).contains(&index)).collect();
        assert!(bursts(&burst) > STRICT_Z);
        let even: Vec<bool> = (0..200).map(|index| index % 5 == 0).collect();
        assert!(bursts(&even) < STRICT_Z);
        let died: Vec<bool> = (0..200).map(|index| index >= 130).collect();
        assert!(change(&died).is_some_and(|(at, ratio)| at == 130 && ratio > 100.0));
        assert_eq!(change(&[]), None);
    }
}
