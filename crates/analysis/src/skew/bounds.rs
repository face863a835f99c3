//! What the pairs of one edge, or of several, allow an offset to be, and whether they rule out that there is none.

use super::course::Course;

/// A pair seen from one of its clocks: the offset lies in `down..=up`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sample {
    pub time: f64,
    pub up: f64,
    pub down: f64,
    /// Tells a few pairs' worth of evidence that an offset is above this.
    pub begun: f64,
    /// Tells a few pairs' worth of evidence that an offset is below this.
    pub begun_up: f64,
}

/// The samples of one edge with the tolerance that its clocks' resolutions ask for.
#[derive(Debug, Clone)]
pub(super) struct Samples {
    pub all: Vec<Sample>,
    pub up_tolerance: f64,
    pub down_tolerance: f64,
    /// The side that rests on "a server does not begin before it is asked"; the other rests on the client waiting.
    pub up_is_start: bool,
}

/// From how many pairs on their distribution says something.
pub(super) const PAIRS_ENOUGH: usize = 8;

/// The same for what rests on ends of spans alone: a child that outlives its parent is not by itself skew.
const ENDS_ENOUGH: usize = 32;

/// A disagreement below this is scheduling, not a clock.
const SLACK_NS: f64 = 100_000.0;

/// The same for a few pairs: runtimes often anchor their clock once to whole milliseconds.
const SLACK_FEW_NS: f64 = 1_000_000.0;

/// An interval that an offset may lie in.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Interval {
    pub low: f64,
    pub high: f64,
}

impl Interval {
    pub(super) const ALL: Interval = Interval { low: f64::NEG_INFINITY, high: f64::INFINITY };

    pub(super) fn and(self, other: Interval) -> Interval {
        Interval { low: self.low.max(other.low), high: self.high.min(other.high) }
    }

    pub(super) fn width(self) -> f64 {
        self.high - self.low
    }
}

impl Samples {
    /// The interval that all pairs allow but for one in two hundred (and one, from twenty on): a single span with a
    /// wrong time must not move a clock. Where these contradict each other (the clock was another one for a while), more
    /// are left out, up to a quarter on each side.
    pub(super) fn allowed(&self) -> Interval {
        let mut high: Vec<f64> = self.all.iter().map(|sample| sample.up).filter(|up| up.is_finite()).collect();
        let mut low: Vec<f64> = self.all.iter().map(|sample| -sample.down).filter(|down| down.is_finite()).collect();
        let mut interval = Interval::ALL;
        for one_in in [200, 20, 4] {
            interval = Interval {
                low: smallest(&mut low, one_in).map_or(f64::NEG_INFINITY, |low| -low),
                high: smallest(&mut high, one_in).unwrap_or(f64::INFINITY),
            };
            if interval.low <= interval.high {
                break;
            }
        }
        interval
    }

    /// How far the two clocks may differ for being coarse.
    pub(super) fn tolerance(&self) -> f64 {
        self.up_tolerance + self.down_tolerance
    }

    /// How many pairs break causality if the offset is that of a course.
    pub(super) fn violations(&self, course: &Course) -> usize {
        let breaks = |sample: &&Sample| {
            let offset = course.at(sample.time);
            sample.up < offset || sample.down > offset
        };
        self.all.iter().filter(breaks).count()
    }

    /// Whether the pairs rule out that the offset is zero.
    pub(super) fn rules_out_zero(&self) -> bool {
        let side = |value: fn(&Sample) -> f64| -> Vec<f64> {
            self.all.iter().map(value).filter(|value| value.is_finite()).collect()
        };
        let (ups, downs) = (side(|sample| sample.up), side(|sample| -sample.down));
        let (starts, starts_tolerance, ends, ends_tolerance) = match self.up_is_start {
            true => (ups, self.up_tolerance, downs, self.down_tolerance),
            false => (downs, self.down_tolerance, ups, self.up_tolerance),
        };
        if below_zero(starts, starts_tolerance, PAIRS_ENOUGH) || below_zero(ends, ends_tolerance, ENDS_ENOUGH) {
            return true;
        }
        let begun = match self.up_is_start {
            true => side(|sample| -sample.begun),
            false => side(|sample| sample.begun_up),
        };
        below_zero(begun, self.tolerance(), usize::MAX)
    }
}

/// The smallest value but for one in so many.
fn smallest(values: &mut [f64], one_in: usize) -> Option<f64> {
    let rank = if values.len() < 20 { 0 } else { (values.len() / one_in).max(1) };
    (rank < values.len()).then(|| *values.select_nth_unstable_by(rank, f64::total_cmp).1)
}

/// Whether delays that cannot be negative are, so that a clock must be wrong. Delays have a sharp lower edge (nothing is
/// faster than the wire) and a long upper tail. Where the values look like that, one in twenty below zero is enough.
/// Where they do not, something other than delays varies (coarse clocks, answers that are flushed late): then nearly all
/// of them have to be below zero. Fewer than `enough` have no shape to go by: all of them have to be, and by far.
fn below_zero(mut values: Vec<f64>, tolerance: f64, enough: usize) -> bool {
    if values.len() < enough {
        // Those that go without a shape rest on starts only, which no late answer explains.
        let is_start = enough != ENDS_ENOUGH;
        return is_start && !values.is_empty() && values.iter().all(|value| *value < -(tolerance + SLACK_FEW_NS));
    }
    if values.iter().all(|value| *value >= -tolerance) {
        return false;
    }
    values.sort_unstable_by(f64::total_cmp);
    let quantile = |share: f64| values[((values.len() - 1) as f64 * share) as usize];
    let (low, middle, high) = (quantile(0.05), quantile(0.5), quantile(0.95));
    let is_sharp = middle - low <= (high - middle) / 2.0;
    if is_sharp {
        return low < -tolerance && quantile(0.01) < -(tolerance + SLACK_NS);
    }
    quantile(0.9) < -(tolerance + SLACK_NS)
}
