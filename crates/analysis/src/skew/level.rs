//! The offsets of all clocks together: weighted least squares within the bounds that causality sets.
//!
//! Placement settles one clock after the other. Where edges close a cycle, or several edges lead to a clock, they share
//! what is left: minimise Σ wₑ·(xⱼ − xᵢ − mₑ)² over the corrections x of the clocks, with lowₑ ≤ xⱼ − xᵢ ≤ highₑ, by
//! projected Gauss–Seidel. mₑ is the point of the interval next to what was settled that keeps the usual distance from
//! its bounds, wₑ the inverse square of the interval's half width. The first clock of a component stays.

use super::bounds::Interval;
use super::place::nearest;

/// One edge between two clocks: how far the second may still be moved against the first.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tie {
    pub first: usize,
    pub second: usize,
    pub allowed: Interval,
}

/// Sweeps; each one halves the error at least in a chain of clocks, and chains of clocks that are all wrong are short.
const SWEEPS: usize = 16;

/// The corrections of `clocks` clocks, of which those in `fixed` stay.
pub(super) fn solve(clocks: usize, fixed: &[bool], ties: &[Tie], typical: f64) -> Vec<f64> {
    let mut corrections = vec![0.0; clocks];
    let mut at: Vec<Vec<usize>> = vec![Vec::new(); clocks];
    for (number, tie) in ties.iter().enumerate() {
        at[tie.first].push(number);
        at[tie.second].push(number);
    }
    for _ in 0..SWEEPS {
        let mut moved: f64 = 0.0;
        for clock in (0..clocks).filter(|clock| !fixed[*clock]) {
            let (mut weights, mut sum, mut bounds) = (0.0, 0.0, Interval::ALL);
            for tie in at[clock].iter().map(|tie| &ties[*tie]) {
                // The interval that this tie leaves for the clock, where the other one is now.
                let allowed = match tie.second == clock {
                    true => shifted(tie.allowed, corrections[tie.first]),
                    false => {
                        let mirrored = Interval { low: -tie.allowed.high, high: -tie.allowed.low };
                        shifted(mirrored, corrections[tie.second])
                    }
                };
                bounds = bounds.and(allowed);
                let half = (allowed.width() / 2.0).max(1_000.0);
                if half.is_finite() {
                    let now = corrections[clock];
                    let target = now + inner(shifted(allowed, -now), typical);
                    weights += 1.0 / (half * half);
                    sum += target / (half * half);
                }
            }
            if weights == 0.0 {
                continue;
            }
            let mut best = sum / weights;
            if bounds.low <= bounds.high {
                best = best.clamp(bounds.low, bounds.high);
            }
            moved = moved.max((best - corrections[clock]).abs());
            corrections[clock] = best;
        }
        if moved < 10.0 {
            break;
        }
    }
    corrections
}

fn shifted(interval: Interval, by: f64) -> Interval {
    Interval { low: interval.low + by, high: interval.high + by }
}

/// The point next to zero that keeps the usual distance from the bounds.
fn inner(allowed: Interval, typical: f64) -> f64 {
    let inset = (allowed.width() / 2.0).min(typical);
    nearest(Interval { low: allowed.low + inset, high: allowed.high - inset }, 0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tie(first: usize, second: usize, low: f64, high: f64) -> Tie {
        Tie { first, second, allowed: Interval { low, high } }
    }

    #[test]
    fn a_cycle_shares_what_does_not_fit_and_stays_within_its_bounds() {
        let ties = [tie(0, 1, 9_000.0, 21_000.0), tie(1, 2, -4_000.0, 4_000.0), tie(0, 2, 20_000.0, 30_000.0)];
        let corrections = solve(3, &[true, false, false], &ties, f64::INFINITY);
        for tie in ties {
            let between = corrections[tie.second] - corrections[tie.first];
            assert!((tie.allowed.low..=tie.allowed.high).contains(&between), "{corrections:?}");
        }
        assert!(corrections[0] == 0.0 && corrections[1] > 15_000.0, "{corrections:?}");
    }

    #[test]
    fn a_wide_interval_does_not_pull() {
        let ties = [tie(0, 1, -500_000.0, 400_000_000.0), tie(1, 0, -600_000.0, 500_000.0)];
        assert_eq!(solve(2, &[true, false], &ties, 500_000.0)[1].round(), 0.0);
    }
}
