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

/// How a place's times changed.
#[derive(Debug, Clone, Copy, Default)]
pub struct Shift {
    /// How many times there are before …
    pub before: usize,
    /// … and now.
    pub now: usize,
    /// What of it is sure, 0 if nothing: the lower end of the interval, without what all places share.
    pub sure: f64,
}

struct Moments {
    count: f64,
    mean: f64,
    squares: f64,
}

/// The shift of every place. Places with fewer than two times on either side have none.
pub fn shifts(places: &Places, before: &Times, now: &Times, floor_ns: f64) -> Vec<Shift> {
    let moments: Vec<(Moments, Moments)> =
        (0..places.len()).map(|place| (of(before.of(place), floor_ns), of(now.of(place), floor_ns))).collect();
    let compared = |(before, now): &&(Moments, Moments)| before.count >= 2.0 && now.count >= 2.0;
    let mut spreads: Vec<f64> = moments
        .iter()
        .filter(compared)
        .map(|(before, now)| (before.squares + now.squares) / (before.count + now.count - 2.0))
        .collect();
    let usual = quantile(&mut spreads, 0.75).max(1e-4);
    let error = |before: &Moments, now: &Moments| {
        let pooled = |moments: &Moments| (PRIOR * usual + moments.squares) / (PRIOR + moments.count - 1.0);
        pooled(before) / before.count + pooled(now) / now.count
    };
    let mut bulk: Vec<f64> = moments
        .iter()
        .filter(compared)
        .filter(|(before, now)| before.count >= 5.0 && now.count >= 5.0)
        .map(|(before, now)| now.mean - before.mean)
        .collect();
    let (centre, drift) = if bulk.len() < BULK_PLACES_MIN {
        (0.0, 0.2)
    } else {
        let centre = quantile(&mut bulk, 0.5);
        bulk.iter_mut().for_each(|shift| *shift = (*shift - centre).abs());
        (centre.clamp(-1.0, 1.0), (1.4826 * quantile(&mut bulk, 0.5)).clamp(0.1, 1.0))
    };
    moments
        .iter()
        .map(|pair| {
            let (before, now) = pair;
            let shift = now.mean - before.mean;
            let sure = if compared(&pair) {
                (shift - centre - SURE * (error(before, now) + drift * drift).sqrt()).max(0.0)
            } else {
                0.0
            };
            Shift { before: before.count as usize, now: now.count as usize, sure }
        })
        .collect()
}

fn of(times: &[f32], floor_ns: f64) -> Moments {
    let logs = || times.iter().map(|time| (f64::from(*time) + floor_ns).log2());
    let count = times.len() as f64;
    let mean = if times.is_empty() { 0.0 } else { logs().sum::<f64>() / count };
    Moments { count, mean, squares: logs().map(|log| (log - mean) * (log - mean)).sum() }
}

/// A quantile of some values, which are reordered; 0 of none.
pub fn quantile(values: &mut [f64], part: f64) -> f64 {
    if values.is_empty() {
        return 0.0;
    }
    let at = ((values.len() - 1) as f64 * part).round() as usize;
    *values.select_nth_unstable_by(at, f64::total_cmp).1
}
