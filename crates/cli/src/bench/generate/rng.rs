//! A small deterministic random generator: xoshiro256++ (Blackman and Vigna, 2019), seeded by SplitMix64.
//!
//! Written here because the corpus must be the same for a seed in every version, which libraries do not promise.

/// The generator's state.
#[derive(Clone)]
pub struct Rng {
    state: [u64; 4],
}

impl Rng {
    /// The generator for a seed.
    pub fn new(seed: u64) -> Self {
        let mut mixed = seed;
        let state = std::array::from_fn(|_| {
            mixed = mixed.wrapping_add(0x9E37_79B9_7F4A_7C15);
            let mut word = mixed;
            word = (word ^ (word >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            word = (word ^ (word >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
            word ^ (word >> 31)
        });
        Self { state }
    }

    /// 64 random bits.
    #[inline]
    pub fn bits(&mut self) -> u64 {
        let [a, b, c, d] = &mut self.state;
        let result = a.wrapping_add(*d).rotate_left(23).wrapping_add(*a);
        let shifted = *b << 17;
        *c ^= *a;
        *d ^= *b;
        *b ^= *c;
        *a ^= *d;
        *c ^= shifted;
        *d = d.rotate_left(45);
        result
    }

    /// A number below `limit`, which must not be 0. The bias of the multiplication is below 2⁻³² for the limits here.
    #[inline]
    pub fn below(&mut self, limit: u64) -> u64 {
        ((u128::from(self.bits()) * u128::from(limit)) >> 64) as u64
    }

    /// An index into a slice of `len`, which must not be 0.
    #[inline]
    pub fn index(&mut self, len: usize) -> usize {
        self.below(len as u64) as usize
    }

    /// A number from 0 up to but not including 1.
    #[inline]
    pub fn unit(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// True with the given probability.
    #[inline]
    pub fn chance(&mut self, probability: f64) -> bool {
        self.unit() < probability
    }

    /// A number below `limit` where small ones are frequent: half of all draws fall into the first eighth.
    #[inline]
    pub fn skewed(&mut self, limit: u64) -> u64 {
        let unit = self.unit();
        (unit * unit * unit * limit as f64) as u64
    }

    /// A log-normal number with the given median and the standard deviation of its logarithm.
    pub fn log_normal(&mut self, median: f64, sigma: f64) -> f64 {
        // Box and Muller; 1 − unit is never 0.
        let radius = (-2.0 * (1.0 - self.unit()).ln()).sqrt();
        let normal = radius * (std::f64::consts::TAU * self.unit()).cos();
        median * (sigma * normal).exp()
    }

    /// A number between `low` and `high` whose logarithm is uniform.
    pub fn log_uniform(&mut self, low: f64, high: f64) -> f64 {
        low * (high / low).powf(self.unit())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sequence_for_a_seed_never_changes() {
        let mut rng = Rng::new(1);
        let first: Vec<u64> = (0..3).map(|_| rng.bits()).collect();
        assert_eq!(first, [0xCFC5_D07F_6F03_C29B, 0xBF42_4132_963F_E08D, 0x19A3_7D57_57AA_F520]);
    }

    #[test]
    fn distributions_have_the_shape_they_promise() {
        let mut rng = Rng::new(7);
        let mut draws: Vec<f64> = (0..20_001).map(|_| rng.log_normal(5.0, 1.0)).collect();
        draws.sort_by(f64::total_cmp);
        assert!((4.7..5.3).contains(&draws[10_000]), "median {}", draws[10_000]);
        assert!((0..10_000).all(|_| rng.below(3) < 3 && rng.skewed(10) < 10));
        let low = (0..10_000).filter(|_| rng.skewed(800) < 100).count();
        assert!((4_800..5_200).contains(&low), "{low}");
        assert!((0..1000).all(|_| (200.0..2000.0).contains(&rng.log_uniform(200.0, 2000.0))));
    }
}
