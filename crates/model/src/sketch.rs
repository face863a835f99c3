//! Distributions in little space: DDSketch (Masson, Rim, Lee: "DDSketch", PVLDB 12, 2019), for signed whole numbers.
//!
//! Values fall into buckets whose bounds grow by a constant factor, so that every quantile comes back within
//! [`RELATIVE_ERROR`], whatever the distribution, and merging sketches loses nothing: the sketch of a union is the sum of
//! the sketches. Numbers below zero (times between two clocks can be) have buckets of their own.

/// Relative error of a quantile at most.
pub const RELATIVE_ERROR: f64 = 0.01;

/// `1 / ln γ` with `γ = (1 + e) / (1 − e)`.
const SCALE: f64 = 49.998_333_288_886_78;
/// `γ`.
const GAMMA: f64 = (1.0 + RELATIVE_ERROR) / (1.0 - RELATIVE_ERROR);

/// The bucket of a number at or above zero; bucket 0 is zero.
pub fn bucket(value: u64) -> u32 {
    if value == 0 {
        return 0;
    }
    1 + ((value as f64).ln() * SCALE).ceil() as u32
}

/// The number that stands for a bucket, within [`RELATIVE_ERROR`] of every number in it.
pub fn bucket_value(bucket: u32) -> f64 {
    match bucket {
        0 => 0.0,
        bucket => 2.0 * GAMMA.powi(bucket as i32 - 1) / (GAMMA + 1.0),
    }
}

/// A distribution of signed whole numbers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sketch {
    /// Bucket (negated for numbers below zero) and how many fell into it; ascending.
    buckets: Vec<(i16, u64)>,
    count: u64,
    sum: i64,
}

impl Sketch {
    /// From its parts, as [`Sketch::buckets`] and [`Sketch::sum`] gave them. Buckets need not be in order.
    pub fn from_parts(buckets: impl IntoIterator<Item = (i16, u64)>, sum: i64) -> Self {
        let mut sketch = Self { sum, ..Self::default() };
        sketch.buckets.extend(buckets);
        sketch.buckets.sort_unstable();
        sketch.buckets.dedup_by(|next, kept| {
            let same = next.0 == kept.0;
            if same {
                kept.1 = kept.1.saturating_add(next.1);
            }
            same
        });
        sketch.count = sketch.buckets.iter().fold(0, |count, (_, more)| count.saturating_add(*more));
        sketch
    }

    /// Takes a number.
    pub fn add(&mut self, value: i64) {
        let size = bucket(value.unsigned_abs()) as i16;
        let key = if value < 0 { -size } else { size };
        match self.buckets.binary_search_by_key(&key, |(bucket, _)| *bucket) {
            Ok(at) => self.buckets[at].1 += 1,
            Err(at) => self.buckets.insert(at, (key, 1)),
        }
        self.count += 1;
        self.sum = self.sum.saturating_add(value);
    }

    /// Takes everything that another sketch took.
    pub fn merge(&mut self, other: &Self) {
        if other.count == 0 {
            return;
        }
        if self.count == 0 {
            self.clone_from(other);
            return;
        }
        self.count = self.count.saturating_add(other.count);
        self.sum = self.sum.saturating_add(other.sum);
        // A sketch that has taken much has nearly every bucket already.
        let mut at = 0;
        let mut known = 0;
        for (bucket, more) in &other.buckets {
            at += self.buckets[at..].iter().take_while(|(own, _)| own < bucket).count();
            match self.buckets.get_mut(at).filter(|(own, _)| own == bucket) {
                Some((_, count)) => *count = count.saturating_add(*more),
                None => break,
            }
            known += 1;
        }
        if known == other.buckets.len() {
            return;
        }
        let other = &other.buckets[known..];
        let mut merged = Vec::with_capacity(self.buckets.len() + other.len());
        let (mut left, mut right) = (self.buckets.iter().peekable(), other.iter().peekable());
        while let (Some((a, _)), Some((b, _))) = (left.peek(), right.peek()) {
            let (from_left, from_right) = (a <= b, b <= a);
            let mut next = (*a.min(b), 0u64);
            if from_left {
                next.1 = next.1.saturating_add(left.next().map_or(0, |(_, count)| *count));
            }
            if from_right {
                next.1 = next.1.saturating_add(right.next().map_or(0, |(_, count)| *count));
            }
            merged.push(next);
        }
        merged.extend(left.chain(right));
        self.buckets = merged;
    }

    /// Takes back what another sketch took, all of which this one took as well: what is not here is ignored.
    pub fn remove(&mut self, other: &Self) {
        for (bucket, count) in &other.buckets {
            if let Ok(at) = self.buckets.binary_search_by_key(bucket, |(own, _)| *own) {
                let own = &mut self.buckets[at].1;
                let gone = (*own).min(*count);
                *own -= gone;
                self.count -= gone;
            }
        }
        self.buckets.retain(|(_, count)| *count > 0);
        self.sum = self.sum.saturating_sub(other.sum);
    }

    /// Forgets everything and keeps its memory.
    pub fn clear(&mut self) {
        self.buckets.clear();
        (self.count, self.sum) = (0, 0);
    }

    /// Takes numbers of one bucket, which must be above all that were taken, and what they add to the sum. With this a
    /// reader fills a sketch again and again; a bucket that is not above the last one is ignored.
    pub fn push(&mut self, bucket: i16, count: u64, sum: i64) {
        if self.buckets.last().is_none_or(|(last, _)| *last < bucket) {
            self.buckets.push((bucket, count));
            self.count = self.count.saturating_add(count);
        }
        self.sum = self.sum.saturating_add(sum);
    }

    /// Bucket (negated for numbers below zero) and how many fell into it; ascending.
    pub fn buckets(&self) -> &[(i16, u64)] {
        &self.buckets
    }

    /// The numbers that stand for what was taken, and how often each; ascending.
    pub fn values(&self) -> impl Iterator<Item = (f64, u64)> + '_ {
        self.buckets.iter().map(|(bucket, count)| {
            let value = bucket_value(u32::from(bucket.unsigned_abs()));
            (if *bucket < 0 { -value } else { value }, *count)
        })
    }

    /// How many numbers were taken.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// True when none was.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Their sum, exact unless it leaves 64 bits.
    pub fn sum(&self) -> i64 {
        self.sum
    }

    /// Their mean; `None` when there are none.
    pub fn mean(&self) -> Option<f64> {
        (self.count > 0).then(|| self.sum as f64 / self.count as f64)
    }

    /// The number that a share `q` (0 to 1) of them did not exceed, within [`RELATIVE_ERROR`]; `None` when there are none.
    pub fn quantile(&self, q: f64) -> Option<f64> {
        let rank = (q.clamp(0.0, 1.0) * self.count.saturating_sub(1) as f64).round() as u64;
        let mut below = 0u64;
        self.values()
            .find(|(_, count)| {
                below = below.saturating_add(*count);
                below > rank
            })
            .map(|(value, _)| value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scale_is_that_of_the_relative_error() {
        assert!((SCALE - GAMMA.ln().recip()).abs() < 1e-9, "{}", GAMMA.ln().recip());
    }

    #[test]
    fn values_come_back_within_one_percent() {
        for value in [1u64, 2, 3, 10, 999, 1_000_000, 3_600_000_000_000, u64::MAX / 2] {
            let back = bucket_value(bucket(value));
            assert!((back - value as f64).abs() <= 0.010_001 * value as f64, "{value} became {back}");
        }
        assert_eq!(bucket_value(bucket(0)), 0.0);
    }

    #[test]
    fn quantiles_of_signed_numbers() {
        let mut sketch = Sketch::default();
        (-500..=1_500).for_each(|value| sketch.add(value));
        for (q, expected) in [(0.0, -500.0), (0.25, 0.0), (0.5, 500.0), (0.75, 1_000.0), (1.0, 1_500.0)] {
            let found = sketch.quantile(q).unwrap_or(f64::NAN);
            assert!((found - expected).abs() <= 0.011 * f64::abs(expected), "{q}: {found}");
        }
        assert_eq!((sketch.count(), sketch.sum(), sketch.mean()), (2_001, 1_000_500, Some(500.0)));
        assert_eq!(Sketch::default().quantile(0.5), None);
    }

    #[test]
    fn the_sketch_of_a_union_is_the_sum_of_the_sketches() {
        let values: Vec<i64> = (0..400).map(|number| (number * 7_919) % 1_001 - 300).collect();
        let (mut whole, mut left, mut right) = (Sketch::default(), Sketch::default(), Sketch::default());
        for (number, value) in values.iter().enumerate() {
            whole.add(*value);
            if number % 3 == 0 { left.add(*value) } else { right.add(*value) }
        }
        left.merge(&right);
        assert_eq!(left, whole);
        let again = Sketch::from_parts(whole.buckets().iter().rev().copied(), whole.sum());
        assert_eq!(again, whole);
        let mut empty = Sketch::default();
        empty.merge(&whole);
        assert_eq!(empty, whole);
        // What was taken in can be taken out again.
        whole.remove(&right);
        left = Sketch::default();
        values.iter().step_by(3).for_each(|value| left.add(*value));
        assert_eq!(whole, left);
    }
}
