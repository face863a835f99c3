//! One growing column of a block.

use std::sync::Arc;

use super::dict::Dict;
use crate::table::{Bitmap, Chunk, NO_CODE};

/// Values of some rows of a block, ascending by row.
#[derive(Debug)]
pub struct Column {
    /// The rows that have a value; `None` while all rows up to the last one do.
    rows: Option<Vec<u16>>,
    values: Values,
}

#[derive(Debug)]
enum Values {
    Text { codes: Vec<u32>, dict: Dict },
    Num(Vec<u64>),
}

impl Column {
    /// An empty column of texts.
    pub fn text() -> Self {
        Self { rows: None, values: Values::Text { codes: Vec::new(), dict: Dict::default() } }
    }

    /// An empty column of texts that are long and rarely equal.
    pub fn long_text() -> Self {
        Self { rows: None, values: Values::Text { codes: Vec::new(), dict: Dict::append_only() } }
    }

    /// An empty column of numbers.
    pub fn num() -> Self {
        Self { rows: None, values: Values::Num(Vec::new()) }
    }

    /// How many rows have a value.
    pub fn len(&self) -> usize {
        match &self.values {
            Values::Text { codes, .. } => codes.len(),
            Values::Num(values) => values.len(),
        }
    }

    #[inline]
    fn add_row(&mut self, row: u16) {
        let held = self.len();
        match &mut self.rows {
            Some(rows) => rows.push(row),
            None if usize::from(row) == held => {}
            None => {
                // All rows up to here had a value; from here on it has to be said which have.
                let rows = (0..held as u16).chain([row]).collect();
                self.rows = Some(rows);
            }
        }
    }

    /// The last row that has a value.
    #[inline]
    pub fn last_row(&self) -> Option<u16> {
        match &self.rows {
            Some(rows) => rows.last().copied(),
            None => self.len().checked_sub(1).map(|last| last as u16),
        }
    }

    /// Appends a text for a row behind the last one.
    #[inline]
    pub fn push_text(&mut self, row: u16, bytes: &[u8]) {
        self.add_row(row);
        if let Values::Text { codes, dict } = &mut self.values {
            codes.push(dict.intern(bytes));
        }
    }

    /// Appends a text that is already in the dictionary.
    #[inline]
    pub fn push_code(&mut self, row: u16, code: u32) {
        self.add_row(row);
        if let Values::Text { codes, .. } = &mut self.values {
            codes.push(code);
        }
    }

    /// The code of a text in the dictionary, which takes it up if it is new.
    pub fn intern(&mut self, bytes: &[u8]) -> u32 {
        match &mut self.values {
            Values::Text { dict, .. } => dict.intern(bytes),
            Values::Num(_) => NO_CODE,
        }
    }

    /// Appends a number for a row behind the last one.
    #[inline]
    pub fn push_num(&mut self, row: u16, bits: u64) {
        self.add_row(row);
        if let Values::Num(values) = &mut self.values {
            values.push(bits);
        }
    }

    /// The code at a position of a dense column of texts.
    pub fn code_at(&self, row: usize) -> Option<u32> {
        match &self.values {
            Values::Text { codes, .. } => codes.get(row).copied(),
            Values::Num(_) => None,
        }
    }

    /// The dictionary of a column of texts.
    pub fn dict(&self) -> Option<&Dict> {
        match &self.values {
            Values::Text { dict, .. } => Some(dict),
            Values::Num(_) => None,
        }
    }

    /// Values of the first `rows` rows of the block, or `None` where none of them has one.
    pub fn chunk(&self, rows: usize) -> Option<Chunk> {
        let held = match &self.rows {
            Some(list) => list.partition_point(|row| usize::from(*row) < rows),
            None => self.len().min(rows),
        };
        if held == 0 {
            return None;
        }
        Some(match &self.values {
            Values::Text { codes, dict } => {
                let mut aligned = Vec::with_capacity(rows);
                match &self.rows {
                    Some(list) => {
                        aligned.resize(rows, NO_CODE);
                        for (row, code) in list[..held].iter().zip(codes) {
                            aligned[usize::from(*row)] = *code;
                        }
                    }
                    None => {
                        aligned.extend_from_slice(&codes[..held]);
                        aligned.resize(rows, NO_CODE);
                    }
                }
                Chunk::Str { codes: aligned, dict: Arc::clone(dict.table()) }
            }
            Values::Num(values) => {
                let mut aligned = Vec::with_capacity(rows);
                let mut present = None;
                match &self.rows {
                    Some(list) => {
                        aligned.resize(rows, 0);
                        let mut bitmap = Bitmap::filled(rows, false);
                        for (row, value) in list[..held].iter().zip(values) {
                            aligned[usize::from(*row)] = *value;
                            bitmap.set(usize::from(*row));
                        }
                        present = Some(bitmap);
                    }
                    None => {
                        aligned.extend_from_slice(&values[..held]);
                        if held < rows {
                            aligned.resize(rows, 0);
                            let mut bitmap = Bitmap::filled(rows, false);
                            (0..held).for_each(|row| bitmap.set(row));
                            present = Some(bitmap);
                        }
                    }
                }
                Chunk::Num { values: aligned, present }
            }
        })
    }

    /// Memory in use, in bytes.
    pub fn size_bytes(&self) -> usize {
        let rows = self.rows.as_ref().map_or(0, |rows| 2 * rows.capacity());
        rows + match &self.values {
            Values::Text { codes, dict } => 4 * codes.capacity() + dict.size_bytes(),
            Values::Num(values) => 8 * values.capacity(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_are_aligned_to_rows_whatever_rows_have_values() {
        let cases: [(&[u16], usize); 5] = [(&[0, 1, 2], 3), (&[0, 1], 4), (&[1, 3], 4), (&[], 2), (&[2, 3], 2)];
        for (rows, count) in cases {
            let (mut text, mut num) = (Column::text(), Column::num());
            for row in rows {
                text.push_text(*row, format!("v{row}").as_bytes());
                num.push_num(*row, u64::from(*row) + 10);
            }
            let (text, num) = (text.chunk(count), num.chunk(count));
            assert_eq!(text.is_some(), rows.iter().any(|row| usize::from(*row) < count));
            for row in 0..count {
                let held = rows.contains(&(row as u16));
                let expected = held.then(|| format!("v{row}"));
                assert_eq!(text.as_ref().and_then(|chunk| chunk.text(row)), expected.as_deref());
                assert_eq!(num.as_ref().and_then(|chunk| chunk.bits(row)), held.then_some(row as u64 + 10));
            }
        }
    }
}
