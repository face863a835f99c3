//! Which traces a block holds.

use std::hash::{BuildHasher, Hasher};

use foldhash::fast::RandomState;
use hashbrown::HashTable;
use tracewell_model::TraceId;

/// What a block knows of one of its traces. Times are nanoseconds since the epoch.
#[derive(Debug, Clone)]
pub struct TraceStats {
    pub start: u64,
    pub end: u64,
    pub spans: u32,
    pub errors: u32,
    /// Start, service code and name code of the earliest span without a parent.
    pub root: Option<(u64, u32, u32)>,
}

/// Traces in order of their first row, and the trace of every row.
#[derive(Debug, Default)]
pub struct TraceIndex {
    pub ids: Vec<TraceId>,
    pub of_row: Vec<u32>,
    pub stats: Vec<TraceStats>,
    ordinals: HashTable<u32>,
    hasher: RandomState,
}

impl TraceIndex {
    fn hash(hasher: &RandomState, id: &TraceId) -> u64 {
        let mut state = hasher.build_hasher();
        state.write(&id.0);
        state.finish()
    }

    /// The ordinal of a trace, if it has rows.
    pub fn find(&self, id: &TraceId) -> Option<u32> {
        self.ordinals.find(Self::hash(&self.hasher, id), |ordinal| self.ids[*ordinal as usize] == *id).copied()
    }

    /// Notes the next row and returns what is known of its trace.
    #[inline]
    pub fn add_row(&mut self, id: TraceId, start: u64, end: u64, error: bool) -> &mut TraceStats {
        let hash = Self::hash(&self.hasher, &id);
        let ids = &self.ids;
        let ordinal = match self.ordinals.find(hash, |ordinal| ids[*ordinal as usize] == id) {
            Some(ordinal) => *ordinal,
            None => {
                let ordinal = self.ids.len() as u32;
                self.ids.push(id);
                self.stats.push(TraceStats { start, end, spans: 0, errors: 0, root: None });
                let (ids, hasher) = (&self.ids, &self.hasher);
                self.ordinals.insert_unique(hash, ordinal, |ordinal| Self::hash(hasher, &ids[*ordinal as usize]));
                ordinal
            }
        };
        self.of_row.push(ordinal);
        let stats = &mut self.stats[ordinal as usize];
        stats.start = stats.start.min(start);
        stats.end = stats.end.max(end);
        stats.spans += 1;
        stats.errors += u32::from(error);
        stats
    }

    /// Memory in use, in bytes.
    pub fn size_bytes(&self) -> usize {
        self.ids.capacity() * 16
            + self.of_row.capacity() * 4
            + self.stats.capacity() * size_of::<TraceStats>()
            + self.ordinals.capacity() * 5
    }
}
