//! By how much the times of a place have grown, and how sure that is.
//!
//! Times are compared as logarithms, so that a shift is a factor: `mean log2(time + floor)` now less the same before. How
//! sure a shift is follows from its spread, moderated towards the spread that places of these traces usually have, because
//! many places have few times (Smyth, *Linear models and empirical Bayes methods*, Stat. Appl. Genet. Mol. Biol. 3, 2004).
//! How much places shift without any fault, because an hour differs from the next, is read off the bulk of the places
//! (Efron, *Large-scale simultaneous hypothesis testing: the choice of a null hypothesis*, JASA 99, 2004): a fault moves
//! few of them. What counts is the lower end of the interval, in bits: 3 means "at least eight times as long".

use super::times::{Places, Times};

/// Prior weight of the usual spread, in observations.
const PRIOR: f64 = 4.0;

/// Quantile of the normal distribution for the lower end of a one-sided interval.
const SURE: f64 = 1.645;

/// Places needed before the bulk says how much places shift without a fault.
const BULK_PLACES_MIN: usize = 8;

/// Times on both sides that a place of the bulk has.
const BULK_TIMES_MIN: f64 = 5.0;

/// How a place's times changed.
#[derive(Debug, Clone, Copy, Default)]
pub struct Shift {
    /// How many times there are before …
    pub before: usize,
    /// … and now.
    pub now: usize,
    /// What of the factor, as its binary logarithm, is sure; 0 if nothing. Without what all places share.
    pub sure: f64,
}

/// Count, mean and sum of squared deviations of logarithms.
#[derive(Debug, Clone, Copy, Default)]
pub struct Moments {
    count: f64,
    mean: f64,
    squares: f64,
}

impl Moments {
    fn of(times: &[f32], floor_ns: f32) -> Self {
        let mut moments = Self::default();
        for time in times {
            // Welford's update.
            let log = f64::from((*time + floor_ns).log2());
            moments.count += 1.0;
            let off = log - moments.mean;
            moments.mean += off / moments.count;
            moments.squares += off * (log - moments.mean);
        }
        moments
    }

    /// Both together (Chan, Golub, LeVeque 1979).
    fn with(self, other: Self) -> Self {
        let count = self.count + other.count;
        if count == 0.0 {
            return self;
        }
        let off = other.mean - self.mean;
        Self {
            count,
            mean: self.mean + off * other.count / count,
            squares: self.squares + other.squares + off * off * self.count * other.count / count,
        }
    }
}

/// Moments of every place, by part: those of a part and all later ones.
pub fn moments(places: &Places, times: &Times, parts: usize, floor_ns: f64) -> Vec<Vec<Moments>> {
    let mut since: Vec<Vec<Moments>> = vec![Vec::with_capacity(places.len()); parts];
    for place in 0..places.len() {
        let mut later = Moments::default();
        for (part, moments) in since.iter_mut().enumerate().rev() {
            later = Moments::of(times.within(place, part), floor_ns as f32).with(later);
            moments.push(later);
        }
    }
    since
}

/// The shift of every place. Places with fewer than two times on either side have none.
pub fn shifts(before: &[Moments], now: &[Moments]) -> Vec<Shift> {
    let pairs = || before.iter().zip(now);
    let compared = |(before, now): &(&Moments, &Moments)| before.count >= 2.0 && now.count >= 2.0;
    let mut spreads: Vec<f64> = pairs()
        .filter(compared)
        .map(|(before, now)| (before.squares + now.squares) / (before.count + now.count - 2.0))
        .collect();
    let usual = quantile(&mut spreads, 0.75).max(1e-4);
    let error = |moments: &Moments| (PRIOR * usual + moments.squares) / (PRIOR + moments.count - 1.0) / moments.count;
    let (centre, drift) = bulk(pairs().filter(compared));
    let shift = |(before, now): (&Moments, &Moments)| {
        let shift = now.mean - before.mean - centre;
        let uncertain = (error(before) + error(now) + drift * drift).sqrt();
        let sure = if compared(&(before, now)) { (shift - SURE * uncertain).max(0.0) } else { 0.0 };
        Shift { before: before.count as usize, now: now.count as usize, sure }
    };
    pairs().map(shift).collect()
}

/// Middle and spread of what places shift by when nothing is wrong with them.
fn bulk<'a>(pairs: impl Iterator<Item = (&'a Moments, &'a Moments)>) -> (f64, f64) {
    let many = pairs.filter(|(before, now)| before.count >= BULK_TIMES_MIN && now.count >= BULK_TIMES_MIN);
    let mut shifts: Vec<f64> = many.map(|(before, now)| now.mean - before.mean).collect();
    if shifts.len() < BULK_PLACES_MIN {
        return (0.0, 0.2);
    }
    let centre = quantile(&mut shifts, 0.5);
    shifts.iter_mut().for_each(|shift| *shift = (*shift - centre).abs());
    // 1.4826 times the median deviation is the standard deviation of a normal distribution.
    (centre.clamp(-1.0, 1.0), (1.4826 * quantile(&mut shifts, 0.5)).clamp(0.1, 1.0))
}

/// A quantile of some values, which are reordered; 0 of none.
pub fn quantile(values: &mut [f64], part: f64) -> f64 {
    if values.is_empty() {
        return 0.0;
    }
    let at = ((values.len() - 1) as f64 * part).round() as usize;
    *values.select_nth_unstable_by(at, f64::total_cmp).1
}
