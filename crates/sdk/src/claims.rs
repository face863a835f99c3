//! Which places in the program make roots that are then given a remote parent.
//!
//! A root that the sampler would not record may still be claimed by a caller who did: middleware makes the
//! span first and gives it its parent afterwards. Until then its fields must be kept, because nobody hands them
//! over a second time. That is dear for the many roots that are never claimed. So each callsite is
//! watched: one that made [`ENOUGH`] roots without a claim is believed not to have any. Should a claim come
//! after all, that span lacks the fields it began with, which are counted as dropped, and the
//! callsite is never trusted again.

use std::sync::atomic::{AtomicU32, Ordering};

use tracing::Metadata;

/// Roots without a claim after which none is expected.
const ENOUGH: u32 = 64;

/// This callsite has had a claim.
const CLAIMED: u32 = 1 << 31;

/// Entries of the table. Callsites that share one are watched as one: a claim counts for all of them.
const ENTRIES: usize = 1 << 10;

static TABLE: [AtomicU32; ENTRIES] = [const { AtomicU32::new(0) }; ENTRIES];

fn entry(callsite: &'static Metadata<'static>) -> &'static AtomicU32 {
    let address = std::ptr::from_ref(callsite).addr() as u64;
    // Fibonacci hashing: the upper bits of the product are well mixed.
    &TABLE[(address.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 54) as usize % ENTRIES]
}

/// Whether a root of this callsite may get a remote parent yet.
pub(crate) fn expected(callsite: &'static Metadata<'static>) -> bool {
    let known = entry(callsite).load(Ordering::Relaxed);
    known < ENOUGH || known & CLAIMED != 0
}

/// A span of this callsite was given a remote parent, or told that it has none.
pub(crate) fn came(callsite: &'static Metadata<'static>) {
    let entry = entry(callsite);
    if entry.load(Ordering::Relaxed) & CLAIMED == 0 {
        entry.fetch_or(CLAIMED, Ordering::Relaxed);
    }
}

/// A root of this callsite had to decide for itself.
pub(crate) fn missed(callsite: &'static Metadata<'static>) {
    let entry = entry(callsite);
    if entry.load(Ordering::Relaxed) < ENOUGH {
        entry.fetch_add(1, Ordering::Relaxed);
    }
}
