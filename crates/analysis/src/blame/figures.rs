//! Means over traces with their intervals, and percentiles.

use serde::Serialize;

use super::tally::{Entry, Tally, View};
use super::{LISTED_MAX, Set, Share, Shares, Subject};

/// A 95 % interval, nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Interval {
    /// Its lower end.
    pub low_ns: f64,
    /// Its upper end.
    pub high_ns: f64,
}

impl Interval {
    /// Around an estimate with a variance that as many traces say something about; none for fewer than two.
    pub(super) fn around(estimate: f64, variance: f64, traces: f64) -> Option<Self> {
        if traces < 2.0 {
            return None;
        }
        let half = student(traces - 1.0) * variance.max(0.0).sqrt();
        Some(Self { low_ns: estimate - half, high_ns: estimate + half })
    }

    /// True where zero lies outside.
    pub fn excludes_zero(&self) -> bool {
        self.low_ns > 0.0 || self.high_ns < 0.0
    }
}

/// The 97.5th percentile of Student's distribution (Cornish and Fisher's expansion; exact below three degrees).
fn student(degrees: f64) -> f64 {
    const Z: f64 = 1.959_964;
    if degrees < 3.0 {
        let (one, two, three) = (12.706, 4.303, 3.182);
        return if degrees < 2.0 {
            one + (two - one) * (degrees - 1.0).max(0.0)
        } else {
            two + (three - two) * (degrees - 2.0)
        };
    }
    let (z3, z5, z7) = (Z.powi(3), Z.powi(5), Z.powi(7));
    Z + (z3 + Z) / (4.0 * degrees)
        + (5.0 * z5 + 16.0 * z3 + 3.0 * Z) / (96.0 * degrees.powi(2))
        + (3.0 * z7 + 19.0 * z5 + 17.0 * z3 - 15.0 * Z) / (384.0 * degrees.powi(3))
}

/// How much traces weigh together.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Weights {
    pub(super) traces: usize,
    pub(super) sum: f64,
    pub(super) squares: f64,
}

impl Weights {
    /// Of one set.
    pub(super) fn of(tally: &Tally, set: usize) -> Self {
        let mut weights = Self::default();
        tally.requests.iter().filter(|request| request.set == set).for_each(|request| weights.add(request.weight));
        weights
    }

    pub(super) fn add(&mut self, weight: f64) {
        self.traces += 1;
        self.sum += weight;
        self.squares += weight * weight;
    }

    /// As many equally weighted traces would say as much (Kish).
    pub(super) fn effective(&self) -> f64 {
        if self.squares > 0.0 { self.sum * self.sum / self.squares } else { 0.0 }
    }

    /// What a weighted sum is per trace.
    pub(super) fn mean(&self, sum: f64) -> f64 {
        if self.sum > 0.0 { sum / self.sum } else { 0.0 }
    }

    /// Covariance of two means, from the means and the weighted sum of products.
    pub(super) fn covariance(&self, products: f64, (a, b): (f64, f64)) -> f64 {
        let effective = self.effective();
        if effective < 2.0 { 0.0 } else { (self.mean(products) - a * b) / (effective - 1.0) }
    }
}

/// How long the requests of a set take.
pub(super) fn set(tally: &Tally, set: usize, weights: &Weights) -> Set {
    let requests: Vec<_> = tally.requests.iter().filter(|request| request.set == set).collect();
    let mut times: Vec<(u64, f64)> = requests.iter().map(|request| (request.duration_ns, request.weight)).collect();
    let sum = |of: &dyn Fn(f64) -> f64| times.iter().map(|(time, weight)| weight * of(*time as f64)).sum::<f64>();
    let mean_ns = weights.mean(sum(&|time| time));
    let variance = weights.covariance(sum(&|time| time * time), (mean_ns, mean_ns));
    let [p50_ns, p95_ns, p99_ns] = percentiles(&mut times, weights.sum);
    Set {
        traces: weights.traces,
        weight: weights.sum,
        mean_ns,
        interval: Interval::around(mean_ns, variance, weights.effective()),
        p50_ns,
        p95_ns,
        p99_ns,
    }
}

/// The 50th, 95th and 99th percentile of times with weights; what lacks of the weight of all is zero.
fn percentiles(times: &mut [(u64, f64)], all: f64) -> [u64; 3] {
    times.sort_unstable_by_key(|(time, _)| *time);
    let weight: f64 = times.iter().map(|(_, weight)| weight).sum();
    let zeros = (all - weight).max(0.0);
    let mut upto = zeros;
    let mut times = times.iter();
    let mut reached = 0;
    [0.5, 0.95, 0.99].map(|share| {
        // Sums of weights are not exact.
        while upto < all * share * (1.0 - 1e-12) {
            let Some((time, weight)) = times.next() else { break };
            (reached, upto) = (*time, upto + weight);
        }
        reached
    })
}

/// The keys of a view with their time.
pub(super) fn shares(tally: &Tally, view: View, weights: &Weights) -> Shares {
    let all_ns: f64 = tally.requests.iter().map(|request| request.weight * request.duration_ns as f64).sum();
    let (entries, first) = tally.by_key(view);
    let of = |key: usize| &entries[first[key]..first[key + 1]];
    let weight = |entry: &Entry| tally.requests[entry.request as usize].weight;
    let mut order: Vec<(f64, usize)> = (0..tally.len(view))
        .filter(|key| !of(*key).is_empty())
        .map(|key| (of(key).iter().map(|entry| weight(entry) * entry.time_ns as f64).sum(), key))
        .collect();
    let mut listed: Vec<Share> = Vec::new();
    order.sort_by(|a, b| b.0.total_cmp(&a.0).then_with(|| a.1.cmp(&b.1)));
    for (sum, key) in order.iter().take(LISTED_MAX) {
        let mean_ns = weights.mean(*sum);
        let squares = of(*key).iter().map(|entry| weight(entry) * (entry.time_ns as f64).powi(2)).sum();
        let variance = weights.covariance(squares, (mean_ns, mean_ns));
        let calls: f64 = of(*key).iter().map(|entry| weight(entry) * f64::from(entry.calls)).sum();
        let mut times: Vec<(u64, f64)> = of(*key).iter().map(|entry| (entry.time_ns, weight(entry))).collect();
        let [p50_ns, p95_ns, p99_ns] = percentiles(&mut times, weights.sum);
        listed.push(Share {
            subject: subject(tally, view, *key as u32),
            mean_ns,
            interval: Interval::around(mean_ns, variance, weights.effective()),
            share: if all_ns > 0.0 { sum / all_ns } else { 0.0 },
            calls: weights.mean(calls),
            per_call_ns: if calls > 0.0 { sum / calls } else { 0.0 },
            traces: of(*key).len(),
            p50_ns,
            p95_ns,
            p99_ns,
        });
    }
    // Numbers follow the order of traces; names do not.
    listed.sort_by(|a, b| b.mean_ns.total_cmp(&a.mean_ns).then_with(|| a.subject.cmp(&b.subject)));
    let other_ns = weights.mean(order.iter().skip(LISTED_MAX).map(|(sum, _)| sum).sum());
    Shares { listed, other: order.len().saturating_sub(LISTED_MAX), other_ns }
}

/// The key with a number, by name.
pub(super) fn subject(tally: &Tally, view: View, key: u32) -> Subject {
    match view {
        View::Places => tally.keys.place_subject(key),
        View::Services => tally.keys.service_subject(key),
        View::Edges => tally.keys.edge_subject(key),
        View::Statements => tally.keys.statement_subject(key),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_count_what_is_not_there_as_zero() {
        let of = |times: &[(u64, f64)], all| percentiles(&mut times.to_vec(), all);
        assert_eq!(of(&[], 0.0), [0, 0, 0]);
        assert_eq!(of(&[(7, 1.0)], 1.0), [7, 7, 7]);
        assert_eq!(of(&[(7, 1.0), (9, 1.0)], 4.0), [0, 9, 9]);
        let hundred: Vec<(u64, f64)> = (1..=100).map(|time| (time, 0.1)).collect();
        assert_eq!(of(&hundred, 10.0), [50, 95, 99]);
        assert_eq!(of(&[(5, 1.0), (9, 98.0)], 99.0), [9, 9, 9]);
    }

    #[test]
    fn quantiles_are_those_of_tables() {
        for (degrees, quantile) in
            [(1.0, 12.706), (2.0, 4.303), (5.0, 2.571), (10.0, 2.228), (30.0, 2.042), (1e6, 1.960)]
        {
            assert!((student(degrees) - quantile).abs() < 0.01, "{degrees}: {}", student(degrees));
        }
    }
}
