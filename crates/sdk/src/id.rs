//! Random ids: one small generator per thread, seeded by the operating system.

use std::cell::Cell;
use std::hash::{BuildHasher, RandomState};

use tracewell_propagate::{SpanId, TraceId};

/// xoshiro256++ (Blackman and Vigna, 2018): fast, and more than random enough for ids.
#[derive(Clone, Copy)]
struct Xoshiro([u64; 4]);

impl Xoshiro {
    fn seeded() -> Self {
        let mut seed = [0u8; 32];
        if getrandom::fill(&mut seed).is_err() {
            // Without the system's source the standard library's hash keys still differ by process and call.
            for (index, word) in seed.chunks_exact_mut(8).enumerate() {
                word.copy_from_slice(&RandomState::new().hash_one(index).to_le_bytes());
            }
        }
        let mut state = [0u64; 4];
        for (word, bytes) in state.iter_mut().zip(seed.chunks_exact(8)) {
            *word = u64::from_le_bytes(bytes.try_into().unwrap_or_default());
        }
        // All zero is the one state that the generator never leaves.
        state[0] |= 1;
        Self(state)
    }

    fn next(&mut self) -> u64 {
        let [s0, s1, s2, s3] = &mut self.0;
        let result = s0.wrapping_add(*s3).rotate_left(23).wrapping_add(*s0);
        let shifted = *s1 << 17;
        *s2 ^= *s0;
        *s3 ^= *s1;
        *s1 ^= *s2;
        *s0 ^= *s3;
        *s2 ^= shifted;
        *s3 = s3.rotate_left(45);
        result
    }
}

/// Mixes a time into the generator of this thread. A process that was forked has its parent's generators: the
/// moments of their spans lead them apart.
pub(crate) fn stir(nanoseconds: u64) {
    let _ = GENERATOR.try_with(|cell| {
        let mut generator = cell.get();
        // The golden ratio spreads the few bits that differ.
        generator.0[0] ^= nanoseconds.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        // All zero is the one state that the generator never leaves.
        generator.0[3] |= u64::from(generator.0 == [0; 4]);
        cell.set(generator);
    });
}

thread_local! {
    static GENERATOR: Cell<Xoshiro> = Cell::new(Xoshiro::seeded());
}

/// 64 random bits.
pub(crate) fn random() -> u64 {
    // While the thread ends its generator may be gone already.
    GENERATOR
        .try_with(|cell| {
            let mut generator = cell.get();
            let number = generator.next();
            cell.set(generator);
            number
        })
        .unwrap_or_else(|_| Xoshiro::seeded().next())
}

/// A trace id whose 16 bytes are all random.
pub(crate) fn trace_id() -> TraceId {
    let number = u128::from(random()) << 64 | u128::from(random().max(1));
    TraceId(number.to_be_bytes())
}

/// A span id.
pub(crate) fn span_id() -> SpanId {
    SpanId::from_u64(random().max(1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn generators_of_the_same_state_part_with_the_time() {
        let state = GENERATOR.get();
        let ids = |moment| {
            GENERATOR.set(state);
            stir(moment);
            (span_id(), trace_id())
        };
        let (parent, child) = (ids(1), ids(2));
        assert!(parent.0 != child.0 && parent.1 != child.1);
        GENERATOR.set(Xoshiro::seeded());
    }

    #[test]
    fn ids_differ_within_and_between_threads() {
        let ids = || (0..1000).map(|_| span_id()).collect::<Vec<_>>();
        let mut all = ids();
        for other in (0..4).map(|_| std::thread::spawn(ids)).collect::<Vec<_>>() {
            all.extend(other.join().unwrap());
        }
        assert_eq!(all.iter().collect::<HashSet<_>>().len(), 5000);
        assert!(!trace_id().is_zero());
    }
}
