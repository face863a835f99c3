//! Levels of a column of numbers: where values crowd, and the valleys between.
//!
//! **Input:** numbers in any order. **Algorithm:** a kernel density estimate with a Gaussian kernel (Silverman, *Density
//! Estimation*, 1986; bandwidth by his rule of thumb (3.31), at least the unit to which the values are rounded), computed on a
//! grid; its modes are joined, the least marked first, until every valley that is left (i) has enough values on both sides,
//! (ii) lies at most half as high as the lower of the two modes beside it, and (iii) is lower than it by more than four
//! standard deviations of the counts (Poisson) below the kernel. The same again with twice, four times, … the bandwidth
//! (scale space; Silverman, *Using kernel density estimates to investigate multimodality*, 1981), for crowds that are wider
//! than the main one: what parts modes that no finer valley parts is taken too. **Output:** the bottoms of these valleys. **Edge cases:**
//! values that are not finite are left out; fewer than two distinct values have no valley. **Complexity:** O(n log n) for the
//! sort, O(g) for the grid of at most [`GRID_MAX`] cells, O(v²) in the v valleys before joining, of which only the
//! [`VALLEYS_MAX`] deepest are looked at.

use std::ops::Range;

/// Cells of the grid on which the density is computed, at most.
const GRID_MAX: usize = 1 << 14;
/// Cells within one bandwidth.
const CELLS_PER_BANDWIDTH: f64 = 2.0;
/// Reach of the kernel in bandwidths.
const REACH: f64 = 4.0;
/// Multiples of the bandwidth at which valleys are looked for.
const SCALES: [f64; 7] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0];
/// Bandwidths in the range of the values, at least, on all but the finest scale.
const BANDWIDTHS_MIN: f64 = 16.0;
/// Valleys to begin with, at most: the deepest.
const VALLEYS_MAX: usize = 256;
/// Height of a valley as a share of the lower mode beside it, at most.
const HEIGHT_MAX: f64 = 0.5;
/// How far, in standard deviations, a valley must be below the lower mode beside it.
const SIGNIFICANCE: f64 = 4.0;

/// A valley between two crowds of values.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Valley {
    /// Its bottom.
    pub at: f64,
    /// How deep it is: 1 where nothing lies at its bottom, 0 where it is as high as the lower of the modes beside it.
    pub depth: f64,
}

/// The valleys that part values into levels of at least `values_min` values each, in order.
pub fn valleys(values: impl IntoIterator<Item = f64>, values_min: usize) -> Vec<Valley> {
    let mut sorted: Vec<f64> = values.into_iter().filter(|value| value.is_finite()).collect();
    sorted.sort_unstable_by(f64::total_cmp);
    if sorted.len() < 2 * values_min.max(1) {
        return Vec::new();
    }
    let bandwidth = bandwidth(&sorted);
    let mut accepted: Vec<Valley> = Vec::new();
    let range = sorted.last().copied().unwrap_or(0.0) - sorted.first().copied().unwrap_or(0.0);
    for scale in SCALES.into_iter().filter(|scale| *scale == 1.0 || bandwidth * scale * BANDWIDTHS_MIN <= range) {
        for (valley, modes) in at_scale(&sorted, bandwidth * scale, values_min) {
            let place = accepted.partition_point(|other| other.at < valley.at);
            let is_new = !accepted.iter().any(|other| modes.start < other.at && other.at < modes.end);
            // Its neighbours, found on a finer scale, must leave enough on both sides.
            let below = |value: f64| sorted.partition_point(|other| *other < value);
            let start = place.checked_sub(1).and_then(|before| accepted.get(before)).map_or(0, |other| below(other.at));
            let end = accepted.get(place).map_or(sorted.len(), |other| below(other.at));
            let at = below(valley.at);
            if is_new && at >= start + values_min && end >= at + values_min {
                accepted.insert(place, valley);
            }
        }
    }
    accepted
}

/// The valleys of the density with one bandwidth, each with the places of the modes beside it.
fn at_scale(sorted: &[f64], bandwidth: f64, values_min: usize) -> Vec<(Valley, Range<f64>)> {
    let Some(grid) = Grid::new(sorted, bandwidth) else { return Vec::new() };
    let density = grid.smooth();
    let mut cuts = grid.valleys(&density);
    let mut levels = grid.levels(&density, &cuts);
    loop {
        let judged = judge(&cuts, &levels, &density);
        let worst = judged.iter().enumerate().filter(|(_, cut)| !cut.stands(values_min as f64));
        let worst = worst.min_by(|(_, a), (_, b)| a.merit(values_min as f64).total_cmp(&b.merit(values_min as f64)));
        let Some((worst, _)) = worst else {
            let valley = |(place, (cut, judged)): (usize, (&usize, &Judged))| {
                let valley = Valley { at: grid.value(*cut), depth: 1.0 - judged.bottom / judged.peak };
                (valley, grid.value(levels[place].mode)..grid.value(levels[place + 1].mode))
            };
            return cuts.iter().zip(&judged).enumerate().map(valley).collect();
        };
        cuts.remove(worst);
        let joined = levels.remove(worst + 1);
        let level = &mut levels[worst];
        level.values += joined.values;
        if joined.peak > level.peak {
            (level.peak, level.mode) = (joined.peak, joined.mode);
        }
    }
}

/// What lies between two valleys.
struct Level {
    /// Cell of its highest mode …
    mode: usize,
    /// … and the height of that.
    peak: f64,
    /// How many values.
    values: f64,
}

/// Values counted into cells of equal width.
struct Grid {
    low: f64,
    step: f64,
    bandwidth: f64,
    counts: Vec<f64>,
}

impl Grid {
    /// `None` where all values are equal.
    fn new(sorted: &[f64], bandwidth: f64) -> Option<Self> {
        let (first, last) = (*sorted.first()?, *sorted.last()?);
        if !(bandwidth > 0.0 && (last - first).is_finite() && last > first) {
            return None;
        }
        let (low, high) = (first - 3.0 * bandwidth, last + 3.0 * bandwidth);
        let step = (bandwidth / CELLS_PER_BANDWIDTH).max((high - low) / GRID_MAX as f64);
        let cells = ((high - low) / step) as usize + 1;
        let mut counts = vec![0.0; cells];
        for value in sorted {
            counts[(((value - low) / step) as usize).min(cells - 1)] += 1.0;
        }
        Some(Self { low, step, bandwidth, counts })
    }

    /// The value in the middle of a cell.
    fn value(&self, cell: usize) -> f64 {
        self.low + (cell as f64 + 0.5) * self.step
    }

    /// The number of values below the kernel around each cell.
    fn smooth(&self) -> Vec<f64> {
        let reach = (REACH * self.bandwidth / self.step) as usize;
        let weight = |distance: usize| {
            let bandwidths = distance as f64 * self.step / self.bandwidth;
            (-0.5 * bandwidths * bandwidths).exp()
        };
        let weights: Vec<f64> = (0..=reach).map(weight).collect();
        let mut density = vec![0.0; self.counts.len()];
        for (cell, count) in self.counts.iter().enumerate().filter(|(_, count)| **count > 0.0) {
            let (from, to) = (cell.saturating_sub(reach), (cell + reach).min(density.len() - 1));
            for (other, sum) in density.iter_mut().enumerate().take(to + 1).skip(from) {
                *sum += count * weights[other.abs_diff(cell)];
            }
        }
        density
    }

    /// The lowest cell between each two neighbouring modes; in the middle where several are as low.
    fn valleys(&self, density: &[f64]) -> Vec<usize> {
        let is_mode = |cell: &usize| density[*cell] > density[cell - 1] && density[*cell] >= density[cell + 1];
        let modes: Vec<usize> = (1..density.len().saturating_sub(1)).filter(is_mode).collect();
        let lowest = |pair: &[usize]| {
            let between = &density[pair[0]..=pair[1]];
            let bottom = between.iter().copied().fold(f64::INFINITY, f64::min);
            let first = between.iter().position(|height| *height <= bottom).unwrap_or(0);
            let flat = between[first..].iter().take_while(|height| **height <= bottom).count();
            (pair[0] + first + flat / 2, bottom / density[pair[0]].min(density[pair[1]]))
        };
        let mut found: Vec<(usize, f64)> = modes.windows(2).map(lowest).collect();
        found.sort_by(|a, b| a.1.total_cmp(&b.1).then(a.0.cmp(&b.0)));
        found.truncate(VALLEYS_MAX);
        let mut cells: Vec<usize> = found.into_iter().map(|(cell, _)| cell).collect();
        cells.sort_unstable();
        cells
    }

    /// The levels between cuts: one more than there are cuts.
    fn levels(&self, density: &[f64], cuts: &[usize]) -> Vec<Level> {
        let ends = cuts.iter().copied().chain([density.len()]);
        let starts = std::iter::once(0).chain(cuts.iter().copied());
        let level = |(start, end): (usize, usize)| {
            let highest = |best: (usize, f64), (cell, height): (usize, f64)| {
                if height > best.1 { (cell, height) } else { best }
            };
            let (mode, peak) = (start..end).zip(density[start..end].iter().copied()).fold((start, 0.0), highest);
            Level { mode, peak, values: self.counts[start..end].iter().sum() }
        };
        starts.zip(ends).map(level).collect()
    }
}

/// A valley among those that are still there.
struct Judged {
    /// Height of its bottom: values below the kernel.
    bottom: f64,
    /// Height of the lower of the modes beside it.
    peak: f64,
    /// Values on its emptier side, up to the next valley.
    values: f64,
}

impl Judged {
    /// Counts below a Gaussian kernel have 1/√2 of the variance of plain counts.
    fn significance(&self) -> f64 {
        let variance = (self.peak + self.bottom) * std::f64::consts::FRAC_1_SQRT_2;
        (self.peak - self.bottom) / variance.max(1.0).sqrt()
    }

    fn stands(&self, values_min: f64) -> bool {
        self.values >= values_min && self.significance() >= SIGNIFICANCE && self.bottom <= HEIGHT_MAX * self.peak
    }

    /// What is taken out first: a side with too few values, then what is marked least.
    fn merit(&self, values_min: f64) -> f64 {
        if self.values < values_min { self.values - f64::from(u32::MAX) } else { self.significance() }
    }
}

fn judge(cuts: &[usize], levels: &[Level], density: &[f64]) -> Vec<Judged> {
    let pair = |(cut, sides): (&usize, &[Level])| Judged {
        bottom: density[*cut],
        peak: sides[0].peak.min(sides[1].peak),
        values: sides[0].values.min(sides[1].values),
    };
    cuts.iter().zip(levels.windows(2)).map(pair).collect()
}

/// Silverman's rule of thumb, but no less than the unit of the values: rounding makes gaps that mean nothing.
fn bandwidth(sorted: &[f64]) -> f64 {
    let count = sorted.len() as f64;
    let quantile = |share: f64| sorted[((count - 1.0) * share).round() as usize];
    let mean = sorted.iter().sum::<f64>() / count;
    let deviation = (sorted.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / count).sqrt();
    let quartiles = (quantile(0.75) - quantile(0.25)) / 1.34;
    let spread = if quartiles > 0.0 { quartiles.min(deviation) } else { deviation };
    (0.9 * spread * count.powf(-0.2)).max(unit(sorted))
}

/// The unit to which values seem to be rounded: the first quartile of the distances between neighbours. 0 for too few
/// different values to tell.
fn unit(sorted: &[f64]) -> f64 {
    let mut gaps: Vec<f64> = sorted.windows(2).map(|pair| pair[1] - pair[0]).filter(|gap| *gap > 0.0).collect();
    if gaps.len() < 3 {
        return 0.0;
    }
    let quartile = gaps.len() / 4;
    *gaps.select_nth_unstable_by(quartile, f64::total_cmp).1
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers around a centre, evenly spread over the quantiles of a bell.
    fn bell(centre: f64, spread: f64, count: usize) -> Vec<f64> {
        let sum_of_three = |number: usize| {
            let at = (number as f64 + 0.5) / count as f64;
            (at / (1.0 - at)).ln() * spread * 0.55
        };
        (0..count).map(|number| centre + sum_of_three(number)).collect()
    }

    fn at(values: &[Vec<f64>], values_min: usize) -> Vec<i64> {
        valleys(values.concat(), values_min).iter().map(|valley| valley.at.round() as i64).collect()
    }

    #[test]
    fn crowds_are_parted_where_they_are_apart() {
        assert_eq!(at(&[bell(100.0, 5.0, 1000)], 20), [] as [i64; 0], "one crowd");
        let two = at(&[bell(100.0, 5.0, 1000), bell(200.0, 5.0, 100)], 20);
        assert!(matches!(two[..], [120..=190]), "{two:?}");
        let three = at(&[bell(0.0, 1.0, 500), bell(20.0, 1.0, 500), bell(60.0, 2.0, 60)], 20);
        assert!(matches!(three[..], [5..=15, 25..=55]), "{three:?}");
    }

    #[test]
    fn rounding_and_stragglers_make_no_levels() {
        let rounded: Vec<f64> = bell(10.0, 2.0, 2000).into_iter().map(f64::round).collect();
        assert_eq!(at(&[rounded], 20), [] as [i64; 0]);
        assert_eq!(at(&[bell(10.0, 2.0, 2000), vec![500.0; 5]], 20), [] as [i64; 0]);
        assert_eq!(at(&[vec![7.0; 100]], 10), [] as [i64; 0]);
        assert_eq!(at(&[vec![f64::NAN, f64::INFINITY, 1.0]], 1), [] as [i64; 0]);
    }

    /// Few values, widely spread, beside many that lie close together.
    #[test]
    fn a_wide_crowd_beside_a_narrow_one_is_a_level() {
        let narrow_and_wide =
            at(&[bell(5.0, 0.3, 600), (0..60).map(|number| 60.0 + f64::from(number) / 4.0).collect()], 15);
        assert!(matches!(narrow_and_wide[..], [7..=58]), "{narrow_and_wide:?}");
    }

    #[test]
    fn two_values_are_two_levels() {
        let valley = at(&[vec![3.0; 300], vec![103.0; 100]], 20);
        assert!(matches!(valley[..], [4..=102]), "{valley:?}");
    }
}
