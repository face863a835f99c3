//! How much larger the values of one group are than those of another.
//!
//! The measure is Vargha and Delaney's A (*A Critique and Improvement of the CL Common Language Effect Size Statistics*,
//! 2000): the probability that a value of the first group is larger than one of the second, ties counted half. It makes no
//! assumption about the shape of the values. Their words for it: from 0.56 on the difference is small, from 0.64 medium, from
//! 0.71 large.

/// From here on a difference is called small; below, negligible.
pub const SMALL: f64 = 0.56;
/// From here on a difference is called large.
pub const LARGE: f64 = 0.71;

/// Values in order, to compare many pairs of groups of them in O(n) each.
#[derive(Debug, Clone)]
pub struct Ordered<'a> {
    values: &'a [f64],
    order: Vec<u32>,
}

/// The outcome of a comparison.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Effect {
    /// The probability that a value of the first group is larger than one of the second.
    pub superiority: f64,
    /// By how many standard deviations this differs from chance (Mann–Whitney, normal approximation).
    pub deviations: f64,
}

/// The group of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Group {
    /// The first of the two that are compared.
    First,
    /// The second of the two.
    Second,
    /// Neither.
    Neither,
}

impl<'a> Ordered<'a> {
    /// Sorts the values: O(n log n).
    pub fn new(values: &'a [f64]) -> Self {
        let mut order: Vec<u32> = (0..values.len() as u32).collect();
        order.sort_unstable_by(|a, b| values[*a as usize].total_cmp(&values[*b as usize]));
        Self { values, order }
    }

    /// The numbers of values that are equal, smallest values first.
    pub fn ties(&self) -> impl DoubleEndedIterator<Item = &[u32]> {
        self.order.chunk_by(|a, b| self.values[*a as usize] == self.values[*b as usize])
    }

    /// Compares two groups of the values. `None` where either is empty.
    pub fn compare(&self, group: impl Fn(usize) -> Group) -> Option<Effect> {
        let (mut first, mut second, mut wins) = (0.0f64, 0.0f64, 0.0f64);
        for tied in self.ties() {
            let (mut first_here, mut second_here) = (0.0, 0.0);
            for value in tied {
                match group(*value as usize) {
                    Group::First => first_here += 1.0,
                    Group::Second => second_here += 1.0,
                    Group::Neither => {}
                }
            }
            wins += first_here * (second + second_here / 2.0);
            first += first_here;
            second += second_here;
        }
        if first == 0.0 || second == 0.0 {
            return None;
        }
        let superiority = wins / (first * second);
        let deviations = (superiority - 0.5) * (12.0 * first * second / (first + second + 1.0)).sqrt();
        Some(Effect { superiority, deviations })
    }
}

/// The median; `None` of nothing. Values that are not finite are left out.
pub fn median(values: impl IntoIterator<Item = f64>) -> Option<f64> {
    let mut values: Vec<f64> = values.into_iter().filter(|value| value.is_finite()).collect();
    let middle = values.len() / 2;
    (!values.is_empty()).then(|| *values.select_nth_unstable_by(middle, f64::total_cmp).1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_the_pairs_in_which_the_first_is_larger() {
        let of = |values: &[f64], first: usize| {
            let group = |number| if number < first { Group::First } else { Group::Second };
            Ordered::new(values).compare(group).map(|effect| effect.superiority)
        };
        assert_eq!(of(&[5.0, 6.0, 1.0, 2.0], 2), Some(1.0));
        assert_eq!(of(&[1.0, 2.0, 5.0, 6.0], 2), Some(0.0));
        assert_eq!(of(&[1.0, 3.0, 1.0, 2.0], 2), Some((0.5 + 0.0 + 1.0 + 1.0) / 4.0));
        assert_eq!(of(&[1.0], 1), None);
    }
}
