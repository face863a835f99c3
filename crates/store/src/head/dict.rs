//! Interning of texts: equal texts get equal codes.

use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;

use foldhash::fast::RandomState;
use hashbrown::HashTable;

use crate::table::StrTable;

/// After how many texts it is worth asking whether interning pays.
const SAMPLE: u32 = 4_096;

/// A growing table of texts and the way from a text to its code.
///
/// Where nearly every text is new (request ids), looking each one up costs a cache miss and finds nothing: such
/// a dictionary stops looking and just appends, which [`crate::table::Chunk`] permits.
#[derive(Debug, Default)]
pub struct Dict {
    table: Arc<StrTable>,
    codes: HashTable<u32>,
    hasher: RandomState,
    interned: u32,
    append_only: bool,
}

impl Dict {
    /// A dictionary that never looks a text up, for values that are long and rarely equal.
    pub fn append_only() -> Self {
        Self { append_only: true, ..Self::default() }
    }

    fn hash(hasher: &RandomState, bytes: &[u8]) -> u64 {
        let mut state = hasher.build_hasher();
        state.write(bytes);
        state.finish()
    }

    /// The code of a text, which is added if it is new. Invalid UTF-8 is replaced by U+FFFD.
    #[inline]
    pub fn intern(&mut self, bytes: &[u8]) -> u32 {
        if self.append_only {
            return self.push(bytes);
        }
        let hash = Self::hash(&self.hasher, bytes);
        let table = &self.table;
        if let Some(code) = self.codes.find(hash, |code| table.bytes(*code) == bytes) {
            self.interned = self.interned.saturating_add(1);
            return *code;
        }
        self.insert_new(hash, bytes)
    }

    #[cold]
    fn insert_new(&mut self, hash: u64, bytes: &[u8]) -> u32 {
        self.interned = self.interned.saturating_add(1);
        if std::str::from_utf8(bytes).is_err() {
            let repaired = String::from_utf8_lossy(bytes).into_owned();
            return self.intern(repaired.as_bytes());
        }
        let code = self.push(bytes);
        let (table, hasher) = (&self.table, &self.hasher);
        self.codes.insert_unique(hash, code, |code| Self::hash(hasher, table.bytes(*code)));
        if self.interned >= SAMPLE && self.table.len() as u64 * 10 > u64::from(self.interned) * 9 {
            self.append_only = true;
            self.codes = HashTable::new();
        }
        code
    }

    fn push(&mut self, bytes: &[u8]) -> u32 {
        // A reader may hold the table: it keeps its version, the dictionary goes on with a copy.
        Arc::make_mut(&mut self.table).push(&String::from_utf8_lossy(bytes))
    }

    /// The code of a text that is surely known or surely not; `None` also when this dictionary does not look up.
    pub fn find(&self, bytes: &[u8]) -> Option<u32> {
        self.codes.find(Self::hash(&self.hasher, bytes), |code| self.table.bytes(*code) == bytes).copied()
    }

    /// True when [`Dict::find`] knows every text.
    pub fn is_complete(&self) -> bool {
        !self.append_only
    }

    /// The texts by code.
    pub fn table(&self) -> &Arc<StrTable> {
        &self.table
    }

    /// Memory in use, in bytes.
    pub fn size_bytes(&self) -> usize {
        self.table.size_bytes() + 6 * self.codes.capacity()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_texts_share_a_code_until_nothing_is_ever_equal() {
        let mut dict = Dict::default();
        let get = dict.intern(b"GET");
        assert_eq!(dict.intern(b"POST"), get + 1);
        assert_eq!(dict.intern(b"GET"), get);
        assert_eq!(dict.find(b"GET"), Some(get));
        assert_eq!(dict.find(b"PUT"), None);

        for number in 0..2 * SAMPLE {
            dict.intern(number.to_string().as_bytes());
        }
        assert!(!dict.is_complete());
        let code = dict.intern(b"GET");
        assert_eq!(dict.table().get(code), "GET");
    }

    #[test]
    fn invalid_utf8_is_repaired_once() {
        let mut dict = Dict::default();
        let code = dict.intern(b"a\xffb");
        assert_eq!(dict.table().get(code), "a\u{fffd}b");
        assert_eq!(dict.intern(b"a\xffb"), code);
        assert_eq!(dict.table().len(), 1);
    }

    #[test]
    fn a_reader_keeps_its_version() {
        let mut dict = Dict::default();
        dict.intern(b"a");
        let before = Arc::clone(dict.table());
        dict.intern(b"b");
        assert_eq!((before.len(), dict.table().len()), (1, 2));
    }
}
