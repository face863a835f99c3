//! Randomness for think times and choices: seeded, so that a run can be repeated.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

/// Longest think time: the tail of a log-normal distribution has no end of its own.
const THINK_MS_MAX: f64 = 30_000.0;

/// SplitMix64 (Steele, Lea and Flood, 2014) behind a lock: a few thousand numbers a second are drawn.
pub(crate) struct Random(Mutex<u64>);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(Mutex::new(seed))
    }

    fn next(&self) -> u64 {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = *state;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    /// From 0 up to but not including 1.
    pub(crate) fn unit(&self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// True with this probability.
    pub(crate) fn chance(&self, probability: f64) -> bool {
        self.unit() < probability
    }

    /// From 0 up to but not including `end`; 0 where `end` is 0.
    pub(crate) fn below(&self, end: u64) -> u64 {
        self.next() % end.max(1)
    }

    /// A latency with this median: log-normal, as measured latencies are.
    pub(crate) fn log_normal(&self, median_ms: f64, sigma: f64) -> Duration {
        // Box-Muller; 1 - u is never 0.
        let normal = (-2.0 * (1.0 - self.unit()).ln()).sqrt() * (std::f64::consts::TAU * self.unit()).cos();
        Duration::from_secs_f64((median_ms * (sigma * normal).exp()).min(THINK_MS_MAX) / 1e3)
    }

    /// The time to the next of events that come `per_second` times on average (Poisson).
    pub(crate) fn gap(&self, per_second: f64) -> Duration {
        Duration::from_secs_f64((-(1.0 - self.unit()).ln() / per_second).min(60.0))
    }

    /// `digits` hexadecimal digits.
    pub(crate) fn hex(&self, digits: usize) -> String {
        format!("{:016x}", self.next()).chars().take(digits.min(16)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn latencies_have_their_median_and_a_tail() {
        let random = Random::new(1);
        let mut samples: Vec<_> = (0..10_001).map(|_| random.log_normal(10.0, 0.5).as_secs_f64() * 1e3).collect();
        samples.sort_by(f64::total_cmp);
        assert!((9.5..10.5).contains(&samples[5_000]), "median {}", samples[5_000]);
        assert!((28.0..38.0).contains(&samples[9_900]), "p99 {}", samples[9_900]);
        assert_eq!(Random::new(7).hex(12), Random::new(7).hex(12));
    }
}
