//! Decoded pieces of segment files, kept while memory allows.

use std::any::Any;
use std::sync::Arc;

use quick_cache::Weighter;
use quick_cache::sync::Cache as QuickCache;

/// What a cached piece is a piece of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Piece {
    /// A chunk of a column: column, chunk.
    Chunk(u32, u32),
    /// The dictionary of a column chunk: column, row group.
    Dictionary(u32, u32),
    /// A section of the index file, decompressed.
    Section(u32),
    /// A section of the index file, decoded.
    Decoded(u32),
}

type Key = (u64, Piece);

#[derive(Clone)]
struct Held {
    value: Arc<dyn Any + Send + Sync>,
    bytes: u32,
}

#[derive(Clone)]
struct ByBytes;

impl Weighter<Key, Held> for ByBytes {
    fn weight(&self, _key: &Key, held: &Held) -> u64 {
        u64::from(held.bytes) + 64
    }
}

/// A bounded cache shared by all segments of a store.
pub struct Cache {
    pieces: QuickCache<Key, Held, ByBytes>,
}

impl Cache {
    /// A cache of at most `bytes` bytes of decoded pieces.
    pub fn new(bytes: u64) -> Arc<Self> {
        Arc::new(Self { pieces: QuickCache::with_weighter((bytes / 16_384).max(64) as usize, bytes, ByBytes) })
    }

    /// Bytes held now.
    pub fn size_bytes(&self) -> u64 {
        self.pieces.weight()
    }

    /// Forgets everything.
    pub fn clear(&self) {
        self.pieces.clear();
    }

    /// The piece of a segment, made if it is not here. `make` also says how many bytes it takes.
    pub(crate) fn get<T: Send + Sync + 'static, E>(
        &self,
        segment: u64,
        piece: Piece,
        make: impl FnOnce() -> Result<(Arc<T>, usize), E>,
    ) -> Result<Arc<T>, E> {
        let key = (segment, piece);
        if let Some(held) = self.pieces.get(&key)
            && let Ok(value) = held.value.downcast::<T>()
        {
            return Ok(value);
        }
        let (value, bytes) = make()?;
        let held = Held {
            value: Arc::clone(&value) as Arc<dyn Any + Send + Sync>,
            bytes: bytes.min(u32::MAX as usize) as u32,
        };
        self.pieces.insert(key, held);
        Ok(value)
    }
}
