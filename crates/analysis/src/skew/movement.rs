//! Whether an offset changes: drift, steps, and when.
//!
//! Time is cut into windows of equally many pairs. In each, the quickest request gives an upper and the quickest answer a
//! lower bound (minimum filter, as in NTP's clock filter and Paxson's de-noising). The width that quick windows have is
//! the least that the way there and back takes; it is taken off, so that a window without congestion pins the offset and
//! one with congestion leaves it room:
//!
//! ```text
//!  up  ─┬──────┬─────╮ request congested     what is left to explain by the clock:
//!       │      │     ╰────┬─────             [·] [·] [ · · · · ] [·]   a constant does: nothing moved
//!  down ┴──────┴──────────┴─────
//!
//!  up  ─┬──────┬          ┬─────
//!       │      │  ╭───────┘                  [·] [·]
//!  down ┴──────┴──╯───────┴─────                     [·] [·]          no constant does: a step
//! ```
//!
//! Then the fewest straight pieces are sought that pass through the intervals (stabbing, O'Rourke 1981), by dynamic
//! programming over the windows with a penalty for each piece and each slope. A change of the delay in one direction
//! moves one side only, and so never looks like a clock; one that looks like a clock has to move both by as much.

use super::bounds::Sample;
use super::course::{Course, Piece};

/// Below this many pairs nothing is said about movement.
pub(super) const PAIRS_MIN: usize = 16;
/// Most windows; the work grows with their square.
const WINDOWS_MAX: usize = 48;
/// Fewest windows in a piece that lasts …
const PIECE_WINDOWS_MIN: usize = 2;
/// … and in one with a slope of its own.
const SLOPE_WINDOWS_MIN: usize = 4;
/// What another piece has to explain, in variances.
const PIECE_PENALTY: f64 = 20.0;
/// What a slope has to explain, in variances.
const SLOPE_PENALTY: f64 = 16.0;
/// A window does not count for more than this many variances: one wild window is no movement.
const WINDOW_COST_MAX: f64 = 25.0;
/// Rounds of fitting a line to intervals.
const ROUNDS: usize = 6;
/// Movement below this is not spoken of.
const RANGE_MIN_NS: f64 = 50_000.0;

/// The offset of a stretch of time.
#[derive(Debug, Clone, Copy)]
struct Window {
    time: f64,
    begin: f64,
    end: f64,
    low: f64,
    high: f64,
}

#[derive(Debug, Clone, Copy)]
struct Line {
    /// Mean time of what it was fitted to, weighted.
    centre: f64,
    value: f64,
    slope: f64,
    cost: f64,
    /// Σ weight, and Σ weight·(time − centre)².
    weight: f64,
    spread: f64,
}

impl Line {
    fn at(&self, time: f64) -> f64 {
        self.value + self.slope * (time - self.centre)
    }
}

/// Finds how an offset moves, up to a constant; `None` if it stays, as far as can be told. `samples` must be in order of
/// time; movement below `tolerance` is not spoken of.
pub(super) fn find(samples: &[Sample], tolerance: f64) -> Option<Course> {
    if samples.len() < PAIRS_MIN {
        return None;
    }
    let (windows, way) = windows(samples)?;
    let noise = noise(&windows);
    let constant = fit(&windows, noise, false);
    let mut cuts = segment(&windows, noise);
    if cuts.len() == 1 && fit(&windows, noise, true).cost + SLOPE_PENALTY >= constant.cost {
        return None;
    }
    let mut lines = lines(&windows, &cuts, noise);
    drop_needless(&windows, &mut cuts, &mut lines, (noise, way / 4.0));
    let course = course(&windows, &cuts, &lines, samples, noise)?;
    let (mut least, mut most) = (f64::INFINITY, f64::NEG_INFINITY);
    for window in &windows {
        let offset = course.at(window.time);
        (least, most) = (least.min(offset), most.max(offset));
    }
    let is_certain = course.jumps().any(|jump| jump.by.abs() > 2.0 * jump.by_error)
        || course.pieces().iter().any(|piece| piece.slope.abs() > 2.0 * piece.slope_error);
    (is_certain && most - least > RANGE_MIN_NS.max(3.0 * noise).max(way / 8.0).max(tolerance)).then_some(course)
}

/// The windows, and how long the quick calls are on their way, there and back.
fn windows(samples: &[Sample]) -> Option<(Vec<Window>, f64)> {
    let count = (samples.len() / 16).clamp(samples.len().min(32) / 4, WINDOWS_MAX);
    let mut windows = Vec::with_capacity(count);
    let (mut ups, mut downs) = (Vec::new(), Vec::new());
    for window in 0..count {
        let these = &samples[window * samples.len() / count..(window + 1) * samples.len() / count];
        ups.clear();
        downs.clear();
        ups.extend(these.iter().map(|sample| sample.up).filter(|up| up.is_finite()));
        downs.extend(these.iter().map(|sample| -sample.down).filter(|down| down.is_finite()));
        // The lowest, but for one pair that is wrong.
        let lowest = |values: &mut [f64]| {
            let rank = if values.len() < 8 { 0 } else { (values.len() / 16).max(1) };
            (rank < values.len()).then(|| *values.select_nth_unstable_by(rank, f64::total_cmp).1)
        };
        let (Some(high), Some(low)) = (lowest(&mut ups), lowest(&mut downs).map(|low| -low)) else { continue };
        let time = these.iter().map(|sample| sample.time).sum::<f64>() / these.len() as f64;
        windows.push(Window { time, begin: these[0].time, end: these[these.len() - 1].time, low, high });
    }
    if windows.len() < 2 * PIECE_WINDOWS_MIN {
        return None;
    }
    let mut widths: Vec<f64> = windows.iter().map(|window| window.high - window.low).collect();
    let rank = widths.len() / 5;
    let least = *widths.select_nth_unstable_by(rank, f64::total_cmp).1;
    for window in &mut windows {
        let (low, high) = (window.low + least / 2.0, window.high - least / 2.0);
        (window.low, window.high) = (low.min(high), low.max(high));
    }
    Some((windows, least.max(0.0)))
}

impl Window {
    fn middle(&self) -> f64 {
        (self.low + self.high) / 2.0
    }

    fn half(&self) -> f64 {
        (self.high - self.low) / 2.0
    }
}

/// Standard deviation of what a quiet window says, from neighbours: a few steps do not count.
fn noise(windows: &[Window]) -> f64 {
    let median = |values: &mut Vec<f64>| {
        let rank = values.len() / 2;
        *values.select_nth_unstable_by(rank, f64::total_cmp).1
    };
    let mut steps: Vec<f64> = windows.windows(2).map(|pair| (pair[1].middle() - pair[0].middle()).abs()).collect();
    // Median of |difference| of two normal values is 0.954 standard deviations.
    (median(&mut steps) * 1.05).max(1_000.0)
}

/// Fits a line, or a constant, to intervals: least squares to the nearest point of each interval, so that a wide interval
/// only speaks up when the line leaves it.
fn fit(windows: &[Window], noise: f64, sloped: bool) -> Line {
    let variance = noise * noise;
    let mut line = Line { centre: 0.0, value: 0.0, slope: 0.0, cost: 0.0, weight: 0.0, spread: 0.0 };
    for round in 0..ROUNDS {
        let (mut weights, mut times, mut values) = (0.0, 0.0, 0.0);
        let points = windows.iter().map(|window| {
            if round == 0 {
                return (window.time, window.middle(), 1.0 / (variance + window.half() * window.half()));
            }
            let at = line.at(window.time);
            let target = at.clamp(window.low, window.high);
            let distance = (at - target).abs() / noise;
            let trust = if distance <= 5.0 { 1.0 } else { (5.0 / distance).powi(2) };
            // A window that the line passes through anyway holds it as firmly as it is narrow.
            let firmness = if distance > 0.0 { variance } else { variance + window.half() * window.half() };
            (window.time, target, trust / firmness)
        });
        let points: Vec<(f64, f64, f64)> = points.collect();
        for (time, value, weight) in &points {
            weights += weight;
            times += weight * time;
            values += weight * value;
        }
        let (centre, mean) = (times / weights, values / weights);
        let (mut spread, mut product) = (0.0, 0.0);
        for (time, value, weight) in &points {
            spread += weight * (time - centre) * (time - centre);
            product += weight * (time - centre) * (value - mean);
        }
        let slope = if sloped && spread > 0.0 { product / spread } else { 0.0 };
        line = Line { centre, value: mean, slope, cost: 0.0, weight: weights, spread };
    }
    let cost = windows.iter().map(|window| {
        let at = line.at(window.time);
        let distance = (at - at.clamp(window.low, window.high)) / noise;
        (distance * distance).min(WINDOW_COST_MAX)
    });
    line.cost = cost.sum();
    line
}

/// The best of a constant and a line.
fn best(windows: &[Window], noise: f64) -> (Line, f64) {
    let constant = fit(windows, noise, false);
    // A line cannot win more than there is to win.
    if windows.len() < SLOPE_WINDOWS_MIN || constant.cost <= SLOPE_PENALTY {
        return (constant, constant.cost);
    }
    let line = fit(windows, noise, true);
    if line.cost + SLOPE_PENALTY < constant.cost {
        return (line, line.cost + SLOPE_PENALTY);
    }
    (constant, constant.cost)
}

/// Cuts the windows into the pieces that explain them best: where each piece begins.
fn segment(windows: &[Window], noise: f64) -> Vec<usize> {
    let (_, whole) = best(windows, noise);
    // One piece that is as good as the noise is not cut: two windows elsewhere would cost more.
    if whole <= PIECE_PENALTY + windows.len() as f64 / 2.0 {
        return vec![0];
    }
    let count = windows.len();
    let mut costs = vec![f64::INFINITY; count + 1];
    let mut begins = vec![0; count + 1];
    costs[0] = -PIECE_PENALTY;
    for end in PIECE_WINDOWS_MIN..=count {
        for begin in 0..=end - PIECE_WINDOWS_MIN {
            // A piece that cannot win is not fitted.
            if costs[begin] + PIECE_PENALTY >= costs[end] {
                continue;
            }
            let cost = costs[begin] + PIECE_PENALTY + best(&windows[begin..end], noise).1;
            if cost < costs[end] {
                (costs[end], begins[end]) = (cost, begin);
            }
        }
    }
    let mut cuts = Vec::new();
    let mut end = count;
    while end > 0 {
        end = begins[end];
        cuts.push(end);
    }
    cuts.reverse();
    cuts
}

fn ranges(cuts: &[usize], count: usize) -> impl Iterator<Item = std::ops::Range<usize>> + '_ {
    cuts.iter().enumerate().map(move |(place, begin)| *begin..cuts.get(place + 1).copied().unwrap_or(count))
}

/// A line for each piece: with one slope for all where that explains them as well, as a clock that is set now and then
/// keeps its rate.
fn lines(windows: &[Window], cuts: &[usize], noise: f64) -> Vec<Line> {
    let own: Vec<(Line, f64)> = ranges(cuts, windows.len()).map(|range| best(&windows[range], noise)).collect();
    let own_cost: f64 = own.iter().map(|(_, cost)| cost).sum();
    let own: Vec<Line> = own.into_iter().map(|(line, _)| line).collect();
    if cuts.len() == 1 {
        return own;
    }
    let mut slope = 0.0;
    let mut shared = Vec::new();
    for _ in 0..3 {
        let tilted: Vec<Window> = windows.iter().map(|window| window.tilted(slope)).collect();
        let sloped: Vec<Line> = ranges(cuts, windows.len()).map(|range| fit(&tilted[range], noise, true)).collect();
        let spread: f64 = sloped.iter().map(|line| line.spread).sum();
        slope += sloped.iter().map(|line| line.slope * line.spread).sum::<f64>() / spread.max(f64::MIN_POSITIVE);
        let tilted: Vec<Window> = windows.iter().map(|window| window.tilted(slope)).collect();
        shared = ranges(cuts, windows.len()).map(|range| fit(&tilted[range], noise, false)).collect();
    }
    let shared_cost: f64 = shared.iter().map(|line| line.cost).sum::<f64>() + SLOPE_PENALTY;
    if shared_cost >= own_cost {
        return own;
    }
    let spread: f64 = shared.iter().map(|line| line.spread).sum();
    let untilted =
        shared.into_iter().map(|line| Line { value: line.value + slope * line.centre, slope, spread, ..line });
    untilted.collect()
}

impl Window {
    /// The window as a clock sees it that runs faster by `slope`.
    fn tilted(&self, slope: f64) -> Window {
        Window { low: self.low - slope * self.time, high: self.high - slope * self.time, ..*self }
    }
}

/// Takes out cuts between pieces that go on as before, or nearly: a path that changes shifts offsets by a fraction of its
/// length.
fn drop_needless(windows: &[Window], cuts: &mut Vec<usize>, lines: &mut Vec<Line>, (noise, least): (f64, f64)) {
    let mut place = 1;
    while place < cuts.len() {
        let end = cuts.get(place + 1).copied().unwrap_or(windows.len());
        let (merged, merged_cost) = best(&windows[cuts[place - 1]..end], noise);
        let cost = |line: &Line| line.cost + if line.slope == 0.0 { 0.0 } else { SLOPE_PENALTY };
        let (time, before, after) = (windows[cuts[place]].begin, &lines[place - 1], &lines[place]);
        let jump = after.at(time) - before.at(time);
        let is_small = jump.abs() < least && before.slope == after.slope;
        if is_small || merged_cost < cost(&lines[place - 1]) + cost(&lines[place]) + PIECE_PENALTY {
            cuts.remove(place);
            lines.remove(place);
            lines[place - 1] = merged;
        } else {
            place += 1;
        }
    }
}

/// From windows to times: where exactly each piece begins, and how well all of it is known.
fn course(windows: &[Window], cuts: &[usize], lines: &[Line], samples: &[Sample], noise: f64) -> Option<Course> {
    let cost: f64 = lines.iter().map(|line| line.cost).sum();
    let excess = (cost / windows.len().max(1) as f64).max(1.0).sqrt();
    let pieces = cuts.iter().zip(lines).enumerate().map(|(place, (cut, line))| {
        let at = |time: f64| line.at(time);
        let (from, from_error) = match place.checked_sub(1).map(|before| &lines[before]) {
            None => (windows[0].begin, 0.0),
            Some(before) => {
                let (earliest, latest) = (windows[cut - 1].begin, windows[(cut + 1).min(windows.len() - 1)].end);
                change(samples, (earliest, latest), |time| before.at(time), at, noise)
            }
        };
        let slope_error =
            if line.slope == 0.0 { 0.0 } else { 2.0 * excess / line.spread.max(f64::MIN_POSITIVE).sqrt() };
        let level_error = 2.0 * excess / line.weight.max(f64::MIN_POSITIVE).sqrt();
        let offset_error = level_error.hypot(slope_error * (from - line.centre));
        Piece { from, from_error, offset: at(from), offset_error, slope: line.slope, slope_error }
    });
    Course::new(pieces.collect())
}

/// When an offset changes from one line to another: where the fewest pairs speak against it. Returns the middle of all
/// times that are as good, and half of how long that is.
fn change(
    samples: &[Sample],
    (earliest, latest): (f64, f64),
    before: impl Fn(f64) -> f64,
    after: impl Fn(f64) -> f64,
    tolerance: f64,
) -> (f64, f64) {
    let first = samples.partition_point(|sample| sample.time < earliest);
    let end = samples.partition_point(|sample| sample.time <= latest);
    let these = &samples[first..end.max(first)];
    let middle = ((earliest + latest) / 2.0, (latest - earliest) / 2.0);
    // The lines run through the middle of what causality allows: half of the quickest way there and back is free.
    let mut widths: Vec<f64> =
        these.iter().map(|sample| sample.up - sample.down).filter(|width| width.is_finite()).collect();
    if widths.is_empty() {
        return middle;
    }
    let rank = widths.len() / 10;
    let free = (*widths.select_nth_unstable_by(rank, f64::total_cmp).1 / 2.0 - tolerance).max(0.0);
    let outside = |sample: &Sample, value: f64| {
        (value - (sample.up - free)).max(sample.down + free - value).clamp(0.0, 20.0 * tolerance)
    };
    let mut misfit: f64 = these.iter().map(|sample| outside(sample, after(sample.time))).sum();
    let mut best = (misfit, earliest, these.first().map_or(latest, |sample| sample.time));
    for (place, sample) in these.iter().enumerate() {
        misfit += outside(sample, before(sample.time)) - outside(sample, after(sample.time));
        let until = these.get(place + 1).map_or(latest, |next| next.time);
        if misfit < best.0 - tolerance / 10.0 {
            best = (misfit, sample.time, until);
        } else if misfit <= best.0 + tolerance / 10.0 {
            best.2 = until;
        }
    }
    ((best.1 + best.2) / 2.0, (best.2 - best.1) / 2.0)
}
