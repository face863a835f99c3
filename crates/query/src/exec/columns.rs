//! Chunks of one source, kept at hand while a query works on them.

use std::sync::Arc;

use tracewell_store::table::{Bitmap, Chunk, Field, NO_CODE, Source, StrTable};

use super::Meter;
use crate::error::Halt;

/// Number of a column within a [`Columns`].
pub(crate) type Slot = usize;

/// The columns of one source that a query reads; of each, the two chunks read last.
pub(crate) struct Columns<'a> {
    source: &'a dyn Source,
    meter: &'a Meter<'a>,
    slots: Vec<Column>,
}

struct Column {
    field: Field,
    recent: [Option<(u32, Option<Arc<Chunk>>)>; 2],
}

impl<'a> Columns<'a> {
    pub fn new(source: &'a dyn Source, meter: &'a Meter<'a>) -> Self {
        Self { source, meter, slots: Vec::new() }
    }

    pub fn source(&self) -> &'a dyn Source {
        self.source
    }

    /// The number of a column.
    pub fn slot(&mut self, field: &Field) -> Slot {
        match self.slots.iter().position(|column| column.field == *field) {
            Some(slot) => slot,
            None => {
                self.slots.push(Column { field: field.clone(), recent: [None, None] });
                self.slots.len() - 1
            }
        }
    }

    /// Chunk `index` of a column; `None` where no row has a value. Checks the budget before it reads.
    pub fn chunk(&mut self, slot: Slot, index: u32) -> Result<Option<Arc<Chunk>>, Halt> {
        let column = &mut self.slots[slot];
        if let Some((_, chunk)) = column.recent.iter().flatten().find(|(found, _)| *found == index) {
            return Ok(chunk.clone());
        }
        self.meter.check()?;
        let chunk = self.source.chunk(&column.field, index)?;
        if let Some(chunk) = &chunk {
            self.meter.add_chunk(chunk);
        }
        column.recent.swap(0, 1);
        column.recent[0] = Some((index, chunk.clone()));
        Ok(chunk)
    }
}

/// The rows of `rows` for which `keep` is true, asked only for those.
#[inline]
pub(crate) fn retain(rows: &Bitmap, mut keep: impl FnMut(usize) -> bool) -> Bitmap {
    let words = rows
        .words()
        .iter()
        .enumerate()
        .map(|(index, word)| {
            let base = index * 64;
            match *word {
                0 => 0,
                u64::MAX => (0..64).fold(0, |kept, bit| kept | u64::from(keep(base + bit)) << bit),
                mut rest => {
                    let mut kept = 0;
                    while rest != 0 {
                        let bit = rest.trailing_zeros() as usize;
                        kept |= u64::from(keep(base + bit)) << bit;
                        rest &= rest - 1;
                    }
                    kept
                }
            }
        })
        .collect();
    Bitmap::from_words(words, rows.len())
}

/// Takes `other` out of `rows`.
pub(crate) fn without(rows: &Bitmap, other: &Bitmap) -> Bitmap {
    let mut rest = other.clone();
    rest.not();
    rest.and(rows);
    rest
}

/// The rows of `rows` that have a value in the chunk.
pub(crate) fn present(rows: &Bitmap, chunk: Option<&Chunk>) -> Bitmap {
    match chunk {
        None => Bitmap::filled(rows.len(), false),
        Some(Chunk::Num { present: None, .. }) => rows.clone(),
        Some(Chunk::Num { present: Some(present), .. }) => {
            let mut both = rows.clone();
            both.and(present);
            both
        }
        Some(Chunk::Str { codes, .. }) => retain(rows, |row| codes[row] != NO_CODE),
    }
}

/// The rows of `rows` that have a number in the chunk for which `keep` is true.
#[inline]
pub(crate) fn retain_numbers(rows: &Bitmap, chunk: Option<&Chunk>, keep: impl Fn(u64) -> bool) -> Bitmap {
    match chunk {
        Some(Chunk::Num { values, present }) => {
            let mut kept = retain(rows, |row| keep(values[row]));
            if let Some(present) = present {
                kept.and(present);
            }
            kept
        }
        _ => Bitmap::filled(rows.len(), false),
    }
}

/// What one test said of the texts of some dictionaries, each asked for once and only when a row has it.
#[derive(Default)]
pub(crate) struct Memo {
    dicts: Vec<(Arc<StrTable>, Vec<u8>)>,
}

/// Set in a memo's byte once the text was tested; the other bits are the caller's.
const TESTED: u8 = 0x80;

impl Memo {
    /// Dictionaries that are remembered at the same time.
    const DICTS_MAX: usize = 4;

    fn of(&mut self, dict: &Arc<StrTable>) -> &mut Vec<u8> {
        if let Some(index) = self.dicts.iter().position(|(known, _)| Arc::ptr_eq(known, dict)) {
            return &mut self.dicts[index].1;
        }
        if self.dicts.len() == Self::DICTS_MAX {
            self.dicts.remove(0);
        }
        self.dicts.push((Arc::clone(dict), vec![0; dict.len()]));
        let last = self.dicts.len() - 1;
        &mut self.dicts[last].1
    }

    /// The rows of `rows` that have a text for which `test` gives any bit of `wanted` (below 0x80).
    pub fn retain(&mut self, rows: &Bitmap, chunk: Option<&Chunk>, wanted: u8, test: impl Fn(&str) -> u8) -> Bitmap {
        let Some(Chunk::Str { codes, dict }) = chunk else { return Bitmap::filled(rows.len(), false) };
        let known = self.of(dict);
        retain(rows, |row| {
            let code = codes[row];
            match known.get_mut(code as usize) {
                Some(state) => {
                    if *state == 0 {
                        *state = TESTED | test(dict.get(code));
                    }
                    *state & wanted != 0
                }
                None => false,
            }
        })
    }
}
