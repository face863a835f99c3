//! Where open spans live: one slot for each, in a table of the process.
//!
//! ```text
//! SlotId = generation, index ──▶ chunk (64, 128, 256, … slots) ──▶ Mutex<Open>
//! free indices: a few at each thread, the rest in one list
//! ```
//!
//! A slot is used again by a later span together with the buffers that it has grown, so that a span costs
//! no allocation. The generation tells an id of a span that has ended from that of its successor: such an
//! id finds nothing. The table belongs to the process rather than to a subscriber because threads then
//! need only one list of free slots, and because an id that is closed under the wrong subscriber must
//! not mean another one's span.

use std::cell::RefCell;
use std::num::NonZeroU64;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use crate::queue::lock;
use crate::span::Open;

/// Slots of the first chunk; each further one is twice as large.
const FIRST_CHUNK: u32 = 64;

/// Chunks: two million spans may be open at a time.
const CHUNKS: usize = 15;

/// Free slots that a thread keeps to itself.
const KEPT_MAX: usize = 64;

/// Slots that a thread takes from the list of all at once.
const TAKEN: usize = 16;

/// Names a slot and which of its spans.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SlotId(NonZeroU64);

impl SlotId {
    /// Of a span that found no slot: it names nothing.
    pub(crate) const NOWHERE: Self = Self(NonZeroU64::MAX);

    fn new(generation: u32, index: u32) -> Self {
        // An index is far below the largest number, so that the sum is never zero.
        Self(NonZeroU64::new(u64::from(generation) << 32 | u64::from(index + 1)).unwrap_or(NonZeroU64::MAX))
    }

    pub(crate) fn of(id: &tracing::Id) -> Self {
        Self(id.into_non_zero_u64())
    }

    pub(crate) fn to_id(self) -> tracing::Id {
        tracing::Id::from_non_zero_u64(self.0)
    }

    fn generation(self) -> u32 {
        (self.0.get() >> 32) as u32
    }

    fn index(self) -> u32 {
        (self.0.get() as u32).wrapping_sub(1)
    }
}

/// A slot on cache lines of its own: neighbours belong to other threads.
#[repr(align(128))]
struct Slot(Mutex<Open>);

struct Slab {
    chunks: [OnceLock<Box<[Slot]>>; CHUNKS],
    /// Slots handed out at least once.
    born: AtomicU32,
    free: Mutex<Vec<u32>>,
}

static SLAB: Slab =
    Slab { chunks: [const { OnceLock::new() }; CHUNKS], born: AtomicU32::new(0), free: Mutex::new(Vec::new()) };

/// Chunk and place in it.
fn place(index: u32) -> (usize, usize) {
    let chunk = (index / FIRST_CHUNK + 1).ilog2();
    (chunk as usize, (index - FIRST_CHUNK * ((1 << chunk) - 1)) as usize)
}

impl Slab {
    fn get(&self, index: u32) -> Option<&Slot> {
        let (chunk, at) = place(index);
        self.chunks.get(chunk)?.get()?.get(at)
    }

    /// Makes a slot that was never used; `None` when there are as many as there may be.
    fn bear(&self) -> Option<u32> {
        let slots_max = FIRST_CHUNK * ((1 << CHUNKS) - 1);
        let index =
            self.born.try_update(Ordering::Relaxed, Ordering::Relaxed, |born| (born < slots_max).then_some(born + 1));
        let index = index.ok()?;
        let (chunk, _) = place(index);
        self.chunks.get(chunk)?.get_or_init(|| {
            let slots = (FIRST_CHUNK as usize) << chunk;
            (0..slots).map(|_| Slot(Mutex::new(Open::new()))).collect()
        });
        Some(index)
    }
}

/// Free slots of one thread; given back when it ends.
struct Kept(Vec<u32>);

impl Drop for Kept {
    fn drop(&mut self) {
        lock(&SLAB.free).append(&mut self.0);
    }
}

thread_local! {
    static KEPT: RefCell<Kept> = const { RefCell::new(Kept(Vec::new())) };
}

fn take_free() -> Option<u32> {
    let kept = KEPT.try_with(|kept| {
        let kept = &mut kept.borrow_mut().0;
        if let Some(index) = kept.pop() {
            return Some(index);
        }
        let mut free = lock(&SLAB.free);
        let rest = free.len().saturating_sub(TAKEN);
        kept.extend(free.drain(rest..));
        kept.pop()
    });
    // While the thread ends, its list may be gone.
    kept.unwrap_or_else(|_| lock(&SLAB.free).pop()).or_else(|| SLAB.bear())
}

fn give_free(index: u32) {
    let given = KEPT.try_with(|kept| {
        let kept = &mut kept.borrow_mut().0;
        kept.push(index);
        if kept.len() > KEPT_MAX {
            lock(&SLAB.free).extend(kept.drain(KEPT_MAX / 2..));
        }
    });
    if given.is_err() {
        lock(&SLAB.free).push(index);
    }
}

/// Takes a slot for a new span and fills it; `None` when too many spans are open.
///
/// `fill` finds the slot as [`Open::clear`] left it.
pub(crate) fn open(fill: impl FnOnce(&mut Open)) -> Option<SlotId> {
    let index = take_free()?;
    let mut open = lock(&SLAB.get(index)?.0);
    fill(&mut open);
    Some(SlotId::new(open.generation, index))
}

fn locked(id: SlotId) -> Option<MutexGuard<'static, Open>> {
    let open = SLAB.get(id.index())?.0.lock().unwrap_or_else(PoisonError::into_inner);
    (open.generation == id.generation()).then_some(open)
}

/// Looks at an open span, or changes it. `None` where it has ended. `act` must not run code of the
/// application: the slot is locked.
pub(crate) fn with<T>(id: SlotId, act: impl FnOnce(&mut Open) -> T) -> Option<T> {
    locked(id).map(|mut open| act(&mut open))
}

/// One more handle to a span.
pub(crate) fn retain(id: SlotId) {
    with(id, |open| open.handles = open.handles.saturating_add(1));
}

/// One handle less. With the last, `last` is called and the slot is free; true in that case.
pub(crate) fn release(id: SlotId, last: impl FnOnce(&mut Open)) -> bool {
    let Some(mut open) = locked(id) else { return false };
    open.handles = open.handles.saturating_sub(1);
    if open.handles > 0 {
        return false;
    }
    last(&mut open);
    open.clear();
    open.generation = next_generation(open.generation);
    drop(open);
    give_free(id.index());
    true
}

/// Generations start high and stay odd-looking: an id of another kind of subscriber, which counts from one,
/// must not name a slot by chance.
fn next_generation(generation: u32) -> u32 {
    generation.wrapping_add(1) | FIRST_GENERATION
}

/// The top bit tells our ids from small numbers.
pub(crate) const FIRST_GENERATION: u32 = 1 << 31;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_index_has_a_place_of_its_own() {
        let mut expected = (0, 0);
        for index in 0..10_000 {
            assert_eq!(place(index), expected, "{index}");
            expected.1 += 1;
            if expected.1 == (FIRST_CHUNK as usize) << expected.0 {
                expected = (expected.0 + 1, 0);
            }
        }
        assert_eq!(place(FIRST_CHUNK * ((1 << CHUNKS) - 1) - 1).0, CHUNKS - 1);
    }

    #[test]
    fn an_id_ends_with_its_span() {
        let first = open(|open| open.handles = 2).unwrap();
        assert!(!release(first, |_| ()) && release(first, |_| ()));
        assert!(!release(first, |_| panic!("closed twice")));
        assert!(with(first, |_| ()).is_none());
        let second = open(|open| open.handles = 1).unwrap();
        assert_eq!(second.index(), first.index(), "the slot is used again");
        assert!(second != first && with(second, |_| ()).is_some());
        assert!(with(SlotId::NOWHERE, |_| ()).is_none());
        assert!(with(SlotId::of(&tracing::Id::from_u64(1)), |_| ()).is_none(), "an id of a registry");
        release(second, |_| ());
    }

    #[test]
    fn slots_travel_between_threads_and_none_is_used_twice() {
        let held: Vec<SlotId> = (0..4)
            .map(|_| {
                std::thread::spawn(|| (0..500).map(|_| open(|open| open.handles = 1).unwrap()).collect::<Vec<_>>())
            })
            .collect::<Vec<_>>()
            .into_iter()
            .flat_map(|thread| thread.join().unwrap())
            .collect();
        let mut indices: Vec<_> = held.iter().map(|id| id.index()).collect();
        indices.sort_unstable();
        indices.dedup();
        assert_eq!(indices.len(), 2_000);
        assert!(held.into_iter().all(|id| release(id, |_| ())));
    }
}
