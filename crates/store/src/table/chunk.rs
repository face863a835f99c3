//! Values of one column for a run of rows.

use std::sync::Arc;

use super::StrTable;

/// The code of a row without a value.
pub const NO_CODE: u32 = u32::MAX;

/// One column's values, exactly one slot for every row of the chunk.
#[derive(Debug, Clone)]
pub enum Chunk {
    /// Text: `codes[row]` is a number in `dict`, or [`NO_CODE`] where the row has no value. Distinct codes may
    /// stand for equal texts (where the column is not dictionary-coded on disk), equal codes never for
    /// distinct ones. Chunks of one source may share a `dict` by `Arc`: what was computed for one is good
    /// for all that share it.
    Str {
        /// Number of the row's text in `dict`.
        codes: Vec<u32>,
        /// The texts.
        dict: Arc<StrTable>,
    },
    /// Numbers as 64 bits, to be read as the field's documentation says. Slots of rows without a value hold 0.
    Num {
        /// The bits.
        values: Vec<u64>,
        /// Which rows have a value; `None` where all have.
        present: Option<Bitmap>,
    },
}

impl Chunk {
    /// Rows in the chunk.
    pub fn len(&self) -> usize {
        match self {
            Chunk::Str { codes, .. } => codes.len(),
            Chunk::Num { values, .. } => values.len(),
        }
    }

    /// True when the chunk has no rows.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The text at `row`, if the row has one.
    pub fn text(&self, row: usize) -> Option<&str> {
        match self {
            Chunk::Str { codes, dict } => match codes.get(row) {
                Some(&code) if code != NO_CODE => Some(dict.get(code)),
                _ => None,
            },
            Chunk::Num { .. } => None,
        }
    }

    /// The bits at `row`, if the row has a number.
    pub fn bits(&self, row: usize) -> Option<u64> {
        match self {
            Chunk::Num { values, present } => {
                let value = *values.get(row)?;
                present.as_ref().is_none_or(|present| present.get(row)).then_some(value)
            }
            Chunk::Str { .. } => None,
        }
    }
}

/// A set of row numbers below a fixed length, one bit each.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Bitmap {
    words: Vec<u64>,
    len: usize,
}

impl Bitmap {
    /// No row of `len`, or every one.
    pub fn filled(len: usize, value: bool) -> Self {
        let mut bitmap = Self { words: vec![if value { u64::MAX } else { 0 }; len.div_ceil(64)], len };
        bitmap.trim();
        bitmap
    }

    fn trim(&mut self) {
        if !self.len.is_multiple_of(64)
            && let Some(last) = self.words.last_mut()
        {
            *last &= (1u64 << (self.len % 64)) - 1;
        }
    }

    /// Rows that could be set.
    pub fn len(&self) -> usize {
        self.len
    }

    /// True when no row could be set.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Is `row` set? False past the end.
    #[inline]
    pub fn get(&self, row: usize) -> bool {
        self.words.get(row / 64).is_some_and(|word| word >> (row % 64) & 1 == 1)
    }

    /// Sets `row`, which must be below the length.
    #[inline]
    pub fn set(&mut self, row: usize) {
        debug_assert!(row < self.len);
        self.words[row / 64] |= 1 << (row % 64);
    }

    /// Clears `row`, which must be below the length.
    #[inline]
    pub fn clear(&mut self, row: usize) {
        debug_assert!(row < self.len);
        self.words[row / 64] &= !(1 << (row % 64));
    }

    /// How many rows are set.
    pub fn count(&self) -> usize {
        // Most bitmaps are of one trace's rows in a chunk: nearly all words are zero.
        self.words.iter().filter(|word| **word != 0).map(|word| word.count_ones() as usize).sum()
    }

    /// True when any row is set.
    pub fn any(&self) -> bool {
        self.words.iter().any(|word| *word != 0)
    }

    /// Keeps the rows that are also in `other`, which must have the same length.
    pub fn and(&mut self, other: &Bitmap) {
        debug_assert_eq!(self.len, other.len);
        self.words.iter_mut().zip(&other.words).for_each(|(own, other)| *own &= other);
    }

    /// Adds the rows of `other`, which must have the same length.
    pub fn or(&mut self, other: &Bitmap) {
        debug_assert_eq!(self.len, other.len);
        self.words.iter_mut().zip(&other.words).for_each(|(own, other)| *own |= other);
    }

    /// Keeps exactly the rows that were not set.
    pub fn not(&mut self) {
        self.words.iter_mut().for_each(|word| *word = !*word);
        self.trim();
    }

    /// The rows that are set, ascending.
    pub fn iter(&self) -> impl Iterator<Item = usize> + '_ {
        self.words.iter().enumerate().flat_map(|(index, word)| {
            let mut rest = *word;
            std::iter::from_fn(move || {
                (rest != 0).then(|| {
                    let bit = rest.trailing_zeros() as usize;
                    rest &= rest - 1;
                    index * 64 + bit
                })
            })
        })
    }

    /// The words, least significant bit first; bits past the length are zero.
    pub fn words(&self) -> &[u64] {
        &self.words
    }

    /// A bitmap of `len` rows from words; bits past the length are ignored, missing words are zero.
    pub fn from_words(mut words: Vec<u64>, len: usize) -> Self {
        words.resize(len.div_ceil(64), 0);
        let mut bitmap = Self { words, len };
        bitmap.trim();
        bitmap
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bitmap_counts_and_iterates_what_was_set() {
        for len in [0, 1, 63, 64, 65, 200] {
            let mut bitmap = Bitmap::filled(len, false);
            let rows: Vec<usize> = (0..len).filter(|row| row % 3 == 0).collect();
            rows.iter().for_each(|row| bitmap.set(*row));
            assert_eq!(bitmap.iter().collect::<Vec<_>>(), rows);
            assert_eq!(bitmap.count(), rows.len());
            bitmap.not();
            assert_eq!(bitmap.count(), len - rows.len());
            assert_eq!(Bitmap::filled(len, true).count(), len);
        }
    }
}
