//! The head: rows in memory, in columns, visible to queries as soon as they are appended.
//!
//! It is: a list of [`block`]s of at most 65,536 rows, of which only the last one grows. It is not durable (the
//! write-ahead log is), and it never shrinks: when it is large or old enough, its blocks are merged into segments
//! and the head is dropped whole.
//!
//! ```text
//! request ── insert ──▶ Block (columns, dictionaries, trace index) ──▶ BlockSource ──▶ queries, merge
//! ```

mod block;
mod column;
mod dict;
mod insert;
mod source;
mod traces;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use block::Block;
use insert::Blocks;
use parking_lot::lock_api::ArcRwLockWriteGuard;
use parking_lot::{Mutex, RawRwLock, RwLock};
use source::BlockSource;

use crate::table::{Signal, Source};

/// Rows written before readers get their turn.
const ROWS_PER_LOCK: u32 = 1_024;

/// What one request added to the head.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Appended {
    /// Rows that are now visible.
    pub rows: u64,
    /// Spans left out because their ids are invalid, or messages that did not decode.
    pub skipped: u64,
}

impl Appended {
    fn broken(mut self) -> Self {
        self.skipped += 1;
        self
    }
}

type SharedBlock = Arc<RwLock<Block>>;

/// Rows of one tenant and signal that are not yet in a segment.
pub struct Head {
    signal: Signal,
    blocks: Mutex<Blocklist>,
    writer: Mutex<()>,
    rows: AtomicU64,
    /// Size of all blocks but the last.
    full_bytes: AtomicU64,
}

struct Blocklist {
    full: Vec<Arc<BlockSource>>,
    filling: SharedBlock,
}

impl Head {
    /// An empty head.
    pub fn new(signal: Signal) -> Self {
        let filling = Arc::new(RwLock::new(Block::new(signal)));
        Self {
            signal,
            blocks: Mutex::new(Blocklist { full: Vec::new(), filling }),
            writer: Mutex::new(()),
            rows: AtomicU64::new(0),
            full_bytes: AtomicU64::new(0),
        }
    }

    /// Appends the rows of a checked OTLP export request of this head's signal. One writer at a time; readers wait
    /// only while a few rows are written.
    pub fn append(&self, payload: &[u8]) -> Appended {
        let _one_writer = self.writer.lock();
        let mut writer = Writer { head: self, block: self.blocks.lock().filling.write_arc(), left: ROWS_PER_LOCK };
        let appended = match self.signal {
            Signal::Traces => insert::traces(payload, &mut writer),
            Signal::Logs => insert::logs(payload, &mut writer),
        };
        self.rows.fetch_add(appended.rows, Ordering::Release);
        appended
    }

    /// Every row appended so far, as sources that do not change.
    pub fn sources(&self) -> Vec<Arc<dyn Source>> {
        let blocks = self.blocks.lock();
        let filling = BlockSource::new(Arc::clone(&blocks.filling), blocks.full.len()).map(Arc::new);
        blocks.full.iter().cloned().chain(filling).map(|source| source as Arc<dyn Source>).collect()
    }

    /// How many rows there are.
    pub fn rows(&self) -> u64 {
        self.rows.load(Ordering::Acquire)
    }

    /// Memory in use, in bytes.
    pub fn size_bytes(&self) -> u64 {
        let filling = Arc::clone(&self.blocks.lock().filling);
        let filling_bytes = filling.read().size_bytes();
        self.full_bytes.load(Ordering::Relaxed) + filling_bytes as u64
    }

    /// Puts an empty block behind the last one.
    fn next_block(&self, full_bytes: usize) -> SharedBlock {
        let next = Arc::new(RwLock::new(Block::new(self.signal)));
        let mut blocks = self.blocks.lock();
        let number = blocks.full.len();
        let full = std::mem::replace(&mut blocks.filling, Arc::clone(&next));
        blocks.full.extend(BlockSource::new(full, number).map(Arc::new));
        self.full_bytes.fetch_add(full_bytes as u64, Ordering::Relaxed);
        next
    }
}

/// Holds the filling block for a few rows at a time.
struct Writer<'a> {
    head: &'a Head,
    block: ArcRwLockWriteGuard<RawRwLock, Block>,
    left: u32,
}

impl Blocks for Writer<'_> {
    fn next(&mut self) -> (&mut Block, bool) {
        if self.left == 0 {
            self.left = ROWS_PER_LOCK;
            ArcRwLockWriteGuard::bump(&mut self.block);
        }
        self.left -= 1;
        let full = self.block.is_full();
        if full {
            let bytes = self.block.size_bytes();
            // The list of blocks reads the full block's extent, so this writer lets go of it first.
            let placeholder = Arc::new(RwLock::new(Block::new(self.head.signal)));
            drop(std::mem::replace(&mut self.block, placeholder.write_arc()));
            self.block = self.head.next_block(bytes).write_arc();
        }
        (&mut self.block, full)
    }
}

#[cfg(test)]
mod tests;
