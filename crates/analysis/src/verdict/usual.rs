//! What is usual: how long requests like one take, in all and at a place, though some of them suffer from the same or
//! from another trouble.

/// Fewer others than this are no yardstick.
pub const LIKE_MIN: usize = 5;

/// Durations of the whole are of two kinds if the slow kind takes this many times as long …
const WHOLE_FACTOR: f64 = 1.4;

/// … and those at a place, which vary more by themselves, if it takes this many times as long.
const PLACE_FACTOR: f64 = 3.0;

/// Differences below this share of the trace in question are nobody's concern: a place that takes a tenth of a
/// millisecond or one, of a second, takes the same.
const FLOOR_SHARE: f64 = 0.02;

/// What others took, in nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Usual {
    /// The median of the fast kind; of all where there is only one.
    pub median_ns: f64,
    /// Longer than 95 in 100 of the fast kind.
    pub slow_ns: f64,
    /// The longest of the fast kind.
    pub most_ns: u64,
    /// How many are of the fast kind.
    pub count: usize,
    /// Share of the slow kind; 0 where there is only one.
    pub as_slow: f64,
}

impl Usual {
    /// Of durations of the whole.
    pub fn of_wholes(durations: &[u64]) -> Self {
        Self::new(durations, 0, WHOLE_FACTOR)
    }

    /// Of times spent at a place, compared with a trace that took `total_ns`.
    pub fn at_a_place(spent: &[u64], total_ns: u64) -> Self {
        Self::new(spent, (total_ns as f64 * FLOOR_SHARE) as u64, PLACE_FACTOR)
    }

    fn new(values: &[u64], floor: u64, factor: f64) -> Self {
        let mut values = values.to_vec();
        values.sort_unstable();
        let fast = &values[..fast_kind(&values, floor, factor).unwrap_or(values.len())];
        let at = |q: f64| match fast.len() {
            0 => 0.0,
            count => fast[((count as f64 * q).ceil() as usize).clamp(1, count) - 1] as f64,
        };
        Self {
            median_ns: at(0.5),
            slow_ns: at(0.95),
            most_ns: fast.last().copied().unwrap_or(0),
            count: fast.len(),
            as_slow: (values.len() - fast.len()) as f64 / values.len().max(1) as f64,
        }
    }

    /// Whether there are enough of them to compare with.
    pub fn is_known(&self) -> bool {
        self.count >= LIKE_MIN
    }
}

/// How many of the sorted durations are of the fast kind, where there are two.
///
/// The split is that with the largest variance between the two (Otsu, "A threshold selection method from gray-level
/// histograms", 1979), of logarithms. It counts if the slow kind takes `factor` times as long, the two lie further apart
/// than twice their spreads, and there are enough of the fast kind to tell what is usual. What lies below `floor` counts
/// as `floor`.
fn fast_kind(durations: &[u64], floor: u64, factor: f64) -> Option<usize> {
    let logs: Vec<f64> = durations.iter().map(|ns| ((*ns).max(floor) as f64 + 1.0).ln()).collect();
    let count = logs.len();
    let (sum, squares) = logs.iter().fold((0.0, 0.0), |(sum, squares), log| (sum + log, squares + log * log));
    let moments = |n: f64, sum: f64, squares: f64| (sum / n, (squares / n - (sum / n).powi(2)).max(0.0).sqrt());
    let (mut below, mut below_squares) = (0.0, 0.0);
    let mut best: Option<(f64, usize)> = None;
    for at in 1..count {
        below += logs[at - 1];
        below_squares += logs[at - 1] * logs[at - 1];
        let (fast, slow) = (at as f64, (count - at) as f64);
        let between = fast * slow * (below / fast - (sum - below) / slow).powi(2);
        let enough = at >= LIKE_MIN && at * 10 >= count;
        let ((fast_mean, fast_spread), (slow_mean, slow_spread)) =
            (moments(fast, below, below_squares), moments(slow, sum - below, squares - below_squares));
        let apart = slow_mean - fast_mean > factor.ln() && slow_mean - fast_mean > 2.0 * (fast_spread + slow_spread);
        if enough && apart && best.is_none_or(|(most, _)| between > most) {
            best = Some((between, at));
        }
    }
    best.map(|(_, at)| at)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    fn ms(median: u64, spread: u64, count: u64) -> Vec<u64> {
        (0..count).map(|number| (median - spread + 2 * spread * number / count) * MS).collect()
    }

    #[test]
    fn of_two_kinds_the_fast_one_is_usual() {
        let cases = [
            // Durations, milliseconds; median and share of the slow kind.
            (ms(60, 10, 50), 60, 0),
            ([ms(60, 10, 50), ms(600, 20, 50)].concat(), 60, 50),
            ([ms(60, 10, 10), ms(600, 20, 90)].concat(), 60, 90),
            // Too few of the fast kind.
            ([ms(60, 10, 4), ms(600, 20, 96)].concat(), 599, 0),
            // A tail is no kind.
            ((1..100).map(|number| (60 + number) * MS).collect(), 110, 0),
            (Vec::new(), 0, 0),
        ];
        for (durations, median_ms, slow) in cases {
            let usual = Usual::of_wholes(&durations);
            assert!((usual.median_ns / MS as f64 - f64::from(median_ms)).abs() <= 2.0, "{usual:?}, {median_ms} ms");
            assert_eq!((usual.as_slow * 100.0).round() as i32, slow, "{usual:?}");
        }
    }

    #[test]
    fn a_place_that_hardly_counts_has_one_kind() {
        // On the critical path or not, and seldom for long.
        let spent = [vec![0; 60], ms(2, 1, 30), ms(350, 20, 60)].concat();
        let usual = Usual::at_a_place(&spent, 600 * MS);
        assert_eq!((usual.count, usual.most_ns < 4 * MS), (90, true), "{usual:?}");
        let usual = Usual::at_a_place(&spent[..90], 600 * MS);
        assert_eq!((usual.count, usual.as_slow), (90, 0.0), "{usual:?}");
    }
}
