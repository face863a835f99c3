//! Sets of traces as bits.

use std::ops::Range;

/// A set of numbers below a bound.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(in crate::outliers) struct Bits(Vec<u64>);

impl Bits {
    /// The empty set of numbers below a bound.
    pub(super) fn new(bound: usize) -> Self {
        Self(vec![0; bound.div_ceil(64)])
    }

    pub(super) fn insert(&mut self, number: usize) {
        if let Some(word) = self.0.get_mut(number / 64) {
            *word |= 1 << (number % 64);
        }
    }

    pub(super) fn contains(&self, number: usize) -> bool {
        self.0.get(number / 64).is_some_and(|word| word >> (number % 64) & 1 == 1)
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.0.iter().map(|word| word.count_ones() as usize).sum()
    }

    /// How many there are in a range.
    pub(super) fn count(&self, range: &Range<usize>) -> usize {
        let (first, last) = (range.start / 64, range.end / 64);
        let below = |at: usize| (1u64 << (at % 64)) - 1;
        let word = |at: usize| self.0.get(at).copied().unwrap_or(0);
        if first == last {
            return (word(first) & below(range.end) & !below(range.start)).count_ones() as usize;
        }
        let whole: usize = self.0[first + 1..last].iter().map(|word| word.count_ones() as usize).sum();
        let ends = (word(first) & !below(range.start)).count_ones() + (word(last) & below(range.end)).count_ones();
        whole + ends as usize
    }

    /// Those that are in both.
    pub(super) fn and(&self, other: &Self) -> Self {
        Self(self.0.iter().zip(&other.0).map(|(a, b)| a & b).collect())
    }

    /// Those that are in this one alone.
    pub(super) fn without(&self, other: &Self) -> Self {
        Self(self.0.iter().zip(&other.0).map(|(a, b)| a & !b).collect())
    }

    /// How many are in both, and in either.
    pub(super) fn overlap(&self, other: &Self) -> (usize, usize) {
        let pairs = self.0.iter().zip(&other.0);
        pairs.fold((0, 0), |(both, either), (a, b)| {
            (both + (a & b).count_ones() as usize, either + (a | b).count_ones() as usize)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_within_ranges() {
        let mut bits = Bits::new(200);
        (0..200).step_by(3).for_each(|number| bits.insert(number));
        for (from, to) in [(0, 0), (0, 200), (1, 64), (63, 65), (64, 128), (5, 6), (127, 200), (200, 200)] {
            let expected = (from..to).filter(|number| number % 3 == 0).count();
            assert_eq!(bits.count(&(from..to)), expected, "{from}..{to}");
        }
        assert_eq!(bits.len(), 67);
    }
}
