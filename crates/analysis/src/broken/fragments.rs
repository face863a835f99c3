//! Pieces that begin traces of their own, laid into the calls that got no answer.
//!
//! A piece fits a call that it lies within and nearly fills. Pairs are made one to one, the tightest first, in one sweep
//! over both in order of start. How many pairs chance alone makes is seen by shifting all pieces in time and pairing
//! anew, turned round within the window: what is left is what belongs together. This is the jitter method of spike-train analysis (Amarasingham,
//! Harrison, Hatsopoulos, Geman, "Conditional modeling and the jitter method of spike resampling", 2012) with shifts
//! longer than a call. O(n log n) in calls and pieces.

use std::collections::BTreeMap;

/// A call without an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Hole {
    pub start_ns: u64,
    pub end_ns: u64,
    /// By how much it may be longer than what fits it; `None` where the caller does not wait.
    pub slack_ns: Option<u64>,
    /// The span, by its number.
    pub span: u32,
}

/// A trace that begins in the middle. Of one that took a message only the start counts: it ends where it starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stray {
    pub start_ns: u64,
    pub end_ns: u64,
    /// Numbers of its first span and of the one after its last: what it called itself is not what called it.
    pub spans: (u32, u32),
}

/// What was found to belong together.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Fit {
    /// Numbers of hole and stray.
    pub pairs: Vec<(usize, usize)>,
    /// Pairs beyond chance: how many of the strays belong into one of the holes.
    pub true_pairs: f64,
    /// True where times cannot tell, because so much is under way at once that anything fits anything.
    pub crowded: bool,
}

/// How late a message may be taken and still be laid to the one who sent it.
pub(super) const MESSAGE_LAG_NS: u64 = 10_000_000_000;

/// Chance beyond which times say nothing.
const CROWDED: f64 = 0.8;

/// Standard errors beyond chance.
const BEYOND_Z: f64 = 4.0;

/// Pairs holes and strays, both sorted by start, and compares with chance. A stray may stick out by `clocks_ns`.
pub(super) fn fit(holes: &[Hole], strays: &[Stray], clocks_ns: u64) -> Fit {
    if holes.is_empty() || strays.is_empty() {
        return Fit::default();
    }
    let pairs = pair(holes, strays, clocks_ns);
    let mut lengths: Vec<u64> = holes.iter().map(|hole| hole.end_ns - hole.start_ns).collect();
    let middle = lengths.len() / 2;
    let length = *lengths.select_nth_unstable(middle).1;
    let from = holes[0].start_ns.min(strays[0].start_ns);
    let until = holes[holes.len() - 1].start_ns.max(strays[strays.len() - 1].start_ns);
    let window = until - from;
    if window / 8 < length {
        return Fit { pairs, crowded: true, ..Fit::default() };
    }
    let step = (3 * length).max(50_000_000).min(window / 7);
    // Three earlier, three later.
    let shifts = [1, 2, 3].map(|times| times * step);
    let shifts = shifts.into_iter().chain(shifts.map(|shift| window - shift));
    let shifts: Vec<u64> = shifts.collect();
    let by_chance: usize =
        shifts.iter().map(|by| pair(holes, &turned(strays, from, window, *by), clocks_ns).len()).sum();
    let chance = by_chance as f64 / shifts.len() as f64;
    let (found, share) = (pairs.len() as f64, chance / strays.len() as f64);
    let beyond = found - chance > BEYOND_Z * (chance + 1.0).sqrt();
    let most = found.min(holes.len() as f64);
    let true_pairs = if beyond { ((found - share * strays.len() as f64) / (1.0 - share)).min(most) } else { 0.0 };
    Fit { pairs, true_pairs, crowded: share > CROWDED }
}

/// Strays at other times: later by so much, and what falls out of the window at its end begins it.
fn turned(strays: &[Stray], from_ns: u64, window_ns: u64, by_ns: u64) -> Vec<Stray> {
    let turn = |stray: &Stray| {
        let start_ns = from_ns + (stray.start_ns - from_ns + by_ns) % window_ns.max(1);
        Stray { start_ns, end_ns: start_ns + (stray.end_ns - stray.start_ns), ..*stray }
    };
    let mut turned: Vec<Stray> = strays.iter().map(turn).collect();
    turned.sort_by_key(|stray| stray.start_ns);
    turned
}

/// Numbers of holes and strays that fit, one to one.
pub(super) fn pair(holes: &[Hole], strays: &[Stray], clocks_ns: u64) -> Vec<(usize, usize)> {
    let mut open: BTreeMap<(u64, usize), ()> = BTreeMap::new();
    let (mut pairs, mut next) = (Vec::new(), 0);
    for (number, stray) in strays.iter().enumerate() {
        let (start, end) = (stray.start_ns, stray.end_ns);
        while let Some(hole) = holes.get(next).filter(|hole| hole.start_ns <= start.saturating_add(clocks_ns)) {
            open.insert((hole.end_ns, next), ());
            next += 1;
        }
        while open.first_key_value().is_some_and(|((until, _), ())| until.saturating_add(clocks_ns) < start) {
            open.pop_first();
        }
        let fits = |hole: &Hole| {
            let (outer, inner) = (hole.end_ns - hole.start_ns, stray.end_ns - stray.start_ns);
            let own = (stray.spans.0..stray.spans.1).contains(&hole.span);
            // Durations are known whatever the clocks show.
            !own && hole.slack_ns.map_or(outer >= inner, |slack| outer.saturating_sub(inner) <= slack)
        };
        let from = (end.saturating_sub(clocks_ns), 0);
        let found = open.range(from..).map(|(key, ())| *key).take(LOOKED_AT_MAX).find(|(_, hole)| fits(&holes[*hole]));
        if let Some(key) = found {
            open.remove(&key);
            pairs.push((key.1, number));
        }
    }
    pairs
}

/// Holes that are open at once and are tried for one stray.
const LOOKED_AT_MAX: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    fn every(step_ns: u64, count: u64, length_ns: u64) -> Vec<Hole> {
        let hole = |number: u64| {
            let start_ns = 1_000_000_000 + number * step_ns + number * number % 977 * 100_000;
            Hole { start_ns, end_ns: start_ns + length_ns, slack_ns: Some(5_000_000), span: 0 }
        };
        let mut holes: Vec<Hole> = (0..count).map(hole).collect();
        holes.sort_by_key(|hole| hole.start_ns);
        holes
    }

    fn within(holes: &[Hole]) -> Vec<Stray> {
        let stray =
            |hole: &Hole| Stray { start_ns: hole.start_ns + 500_000, end_ns: hole.end_ns - 700_000, spans: (1, 1) };
        holes.iter().map(stray).collect()
    }

    #[test]
    fn what_was_cut_is_put_back() {
        let holes = every(40_000_000, 200, 20_000_000);
        let fit = fit(&holes, &within(&holes), 1_000_000);
        assert!(fit.true_pairs > 190.0 && !fit.crowded, "{fit:?}");
    }

    #[test]
    fn what_merely_happens_at_the_same_time_is_not() {
        let holes = every(40_000_000, 200, 20_000_000);
        let strays: Vec<Stray> = every(38_700_000, 200, 12_000_000)
            .iter()
            .map(|hole| Stray { start_ns: hole.start_ns + 11_000_000, end_ns: hole.end_ns + 11_000_000, spans: (1, 1) })
            .collect();
        let fit = fit(&holes, &strays, 1_000_000);
        assert!(fit.true_pairs < 20.0, "{fit:?}");
        assert_eq!(super::fit(&[], &strays, 0), Fit::default());
    }
}
