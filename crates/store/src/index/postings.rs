//! Postings: which traces hold a value of a field.
//!
//! A field whose values repeat across traces gets a dictionary (an FST) with the traces of each value. A field with
//! nearly as many values as traces would make that larger than the data: it gets, for each chunk of rows, a filter
//! that knows which values are not there. Numbers with too many distinct values get neither.

use std::collections::HashMap;

use roaring::RoaringBitmap;
use tracewell_wire::otlp::json;

use super::filter;
use super::format::{Kind, SectionWriter};
use crate::segment::varint::{Input, put};
use crate::segment::{CHUNK_ROWS, WriteError};
use crate::table::{Bitmap, NO_CODE, StrTable};

/// Distinct values in a row group from which a field may be too varied for a dictionary.
const VARIED: usize = 1_024;
/// Traces that a value must be in on average for a dictionary to be worth it, in a row group with many values.
const TRACES_PER_VALUE: usize = 4;
/// Distinct values of one field in a dictionary at most.
const TERMS: usize = 1 << 20;
/// Distinct numbers of one field in a dictionary at most.
const NUMBERS: usize = 4_096;
/// Length of a value in a dictionary at most, in bytes: longer ones are statements and documents.
const TERM_BYTES: usize = 4_096;
/// Size of a section of postings, more or less.
const SECTION_BYTES: usize = 64 << 10;
/// From how many traces on a list is kept as a roaring bitmap.
const BITMAP_TRACES: u32 = 128;
/// Marks a dictionary entry that is the ordinal of its only trace.
const SINGLE: u64 = 1 << 63;

/// The hash by which a value is looked up in filters. Part of the format.
pub fn hash(value: &[u8]) -> u64 {
    twox_hash::XxHash3_64::oneshot(value)
}

/// How a field can be looked up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Dictionary and postings of every value.
    Terms,
    /// Filters over chunks, postings only of rows that have any value.
    Filters,
    /// Postings only of rows that have any value.
    Exists,
}

/// Ascending ordinals, as differences.
#[derive(Debug, Default)]
struct List {
    next: u32,
    count: u32,
    bytes: Vec<u8>,
}

impl List {
    /// Adds an ordinal that is not below the last one; the last one itself is there already: a trace may reach from
    /// one row group into the next.
    fn push(&mut self, ordinal: u32) {
        if self.count > 0 && ordinal + 1 == self.next {
            return;
        }
        put(&mut self.bytes, u64::from(ordinal - self.next));
        self.next = ordinal + 1;
        self.count += 1;
    }

    fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        let mut input = Input::new(&self.bytes);
        let mut next = 0u32;
        std::iter::from_fn(move || {
            let ordinal = next + input.number32()?;
            next = ordinal + 1;
            Some(ordinal)
        })
    }

    fn put(&self, out: &mut Vec<u8>) {
        put(out, u64::from(self.count));
        if self.count < BITMAP_TRACES {
            out.extend_from_slice(&self.bytes);
            return;
        }
        let mut bitmap = RoaringBitmap::new();
        bitmap.extend(self.iter());
        bitmap.optimize();
        put(out, bitmap.serialized_size() as u64);
        // Writing into a vector does not fail.
        let _ = bitmap.serialize_into(out);
    }
}

/// Reads what `List::put` wrote.
pub fn read_list(input: &mut Input<'_>) -> Option<RoaringBitmap> {
    let count = input.number32()?;
    if count >= BITMAP_TRACES {
        let length = usize::try_from(input.number()?).ok()?;
        return RoaringBitmap::deserialize_from(input.take(length)?).ok();
    }
    let mut next = 0u32;
    let mut bitmap = RoaringBitmap::new();
    for _ in 0..count {
        let ordinal = next.checked_add(input.number32()?)?;
        bitmap.insert(ordinal);
        next = ordinal.checked_add(1)?;
    }
    Some(bitmap)
}

/// Collects the postings of one field, row group by row group.
#[derive(Debug)]
pub struct FieldPostings {
    mode: Mode,
    terms: HashMap<Box<[u8]>, u32>,
    lists: Vec<List>,
    exists: List,
    filters: Vec<(u32, Vec<u8>)>,
    rows: u64,
}

impl FieldPostings {
    /// No postings yet. With `values` false, only which traces have any value is kept.
    pub fn new(values: bool) -> Self {
        Self {
            mode: if values { Mode::Terms } else { Mode::Exists },
            terms: HashMap::new(),
            lists: Vec::new(),
            exists: List::default(),
            filters: Vec::new(),
            rows: 0,
        }
    }

    /// How the field can be looked up, as things stand.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// Rows that have a value.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    fn note_rows(&mut self, ordinals: impl Iterator<Item = u32>) {
        for ordinal in ordinals {
            self.rows += 1;
            self.exists.push(ordinal);
        }
    }

    /// Takes the values of a row group: a code for each row, and the row's trace.
    pub fn text(&mut self, group: u32, codes: &[u32], dict: &StrTable, ordinals: &[u32]) {
        let held = || codes.iter().zip(ordinals).filter(|(code, _)| **code != NO_CODE);
        self.note_rows(held().map(|(_, ordinal)| *ordinal));
        if self.mode == Mode::Exists {
            return;
        }
        let mut last = vec![u32::MAX; dict.len()];
        let mut pairs: Vec<(u32, u32)> = Vec::new();
        for (code, ordinal) in held() {
            if std::mem::replace(&mut last[*code as usize], *ordinal) != *ordinal {
                pairs.push((*code, *ordinal));
            }
        }
        let long = (0..dict.len() as u32).any(|code| dict.bytes(code).len() > TERM_BYTES);
        let varied = dict.len() >= VARIED && pairs.len() < TRACES_PER_VALUE * dict.len();
        if varied || long || self.terms.len() + dict.len() > TERMS {
            self.mode = Mode::Filters;
            self.terms = HashMap::new();
            self.lists = Vec::new();
        }
        if self.mode == Mode::Filters {
            return self.filter_chunks(group, codes, dict);
        }
        let lists: Vec<u32> =
            (0..dict.len() as u32).map(|code| list_of(&mut self.terms, &mut self.lists, dict.bytes(code))).collect();
        for (code, ordinal) in pairs {
            self.lists[lists[code as usize] as usize].push(ordinal);
        }
    }

    /// Takes lists of attributes (OTLP JSON): their keys are the terms.
    pub fn keys(&mut self, codes: &[u32], dict: &StrTable, ordinals: &[u32]) {
        let held = || codes.iter().zip(ordinals).filter(|(code, _)| **code != NO_CODE);
        self.note_rows(held().map(|(_, ordinal)| *ordinal));
        let mut lists_of_code: Vec<Vec<u32>> = Vec::with_capacity(dict.len());
        for code in 0..dict.len() as u32 {
            let attributes = json::attributes_from_json(dict.get(code));
            if self.mode == Mode::Exists || attributes.is_err() || self.lists.len() > TERMS {
                self.mode = Mode::Exists;
                self.terms = HashMap::new();
                self.lists = Vec::new();
                return;
            }
            let keys = attributes.unwrap_or_default();
            lists_of_code.push(
                keys.iter()
                    .map(|attribute| list_of(&mut self.terms, &mut self.lists, attribute.key.as_bytes()))
                    .collect(),
            );
        }
        for (code, ordinal) in held() {
            for list in &lists_of_code[*code as usize] {
                self.lists[*list as usize].push(*ordinal);
            }
        }
    }

    fn filter_chunks(&mut self, group: u32, codes: &[u32], dict: &StrTable) {
        let mut section = Vec::new();
        for chunk in codes.chunks(CHUNK_ROWS as usize) {
            let mut hashes: Vec<u64> =
                chunk.iter().filter(|code| **code != NO_CODE).map(|code| hash(dict.bytes(*code))).collect();
            hashes.sort_unstable();
            hashes.dedup();
            let filter = filter::build(&hashes).unwrap_or_default();
            put(&mut section, filter.len() as u64);
            section.extend_from_slice(&filter);
        }
        self.filters.push((group, section));
    }

    /// Takes the numbers of a row group, and each row's trace.
    pub fn num(&mut self, values: &[u64], present: Option<&Bitmap>, ordinals: &[u32]) {
        let is_held = |row: usize| present.is_none_or(|present| present.get(row));
        self.note_rows((0..values.len()).filter(|row| is_held(*row)).map(|row| ordinals[row]));
        if self.mode == Mode::Exists {
            return;
        }
        for row in (0..values.len()).filter(|row| is_held(*row)) {
            let list = list_of(&mut self.terms, &mut self.lists, &values[row].to_be_bytes());
            self.lists[list as usize].push(ordinals[row]);
            if self.lists.len() > NUMBERS {
                self.mode = Mode::Exists;
                self.terms = HashMap::new();
                self.lists = Vec::new();
                return;
            }
        }
    }

    /// Writes the sections of the field with number `field`. Postings section 0 begins with the traces that have
    /// any value.
    pub fn finish(self, file: &mut SectionWriter, field: u32) -> Result<(), WriteError> {
        let mut section = Vec::new();
        let mut number = 0u32;
        self.exists.put(&mut section);
        let mut terms: Vec<(Box<[u8]>, u32)> = self.terms.into_iter().collect();
        terms.sort_unstable();
        let encode = |error: fst::Error| WriteError::Encode { reason: format!("dictionary: {error}") };
        let mut map = fst::MapBuilder::memory();
        for (term, list) in &terms {
            let list = &self.lists[*list as usize];
            let value = match (list.count, list.iter().next()) {
                (1, Some(ordinal)) => SINGLE | u64::from(ordinal),
                _ => {
                    if section.len() >= SECTION_BYTES {
                        file.put((Kind::Postings, field, number), &section)?;
                        section.clear();
                        number += 1;
                    }
                    let place = u64::from(number) << 32 | section.len() as u64;
                    list.put(&mut section);
                    place
                }
            };
            map.insert(term, value).map_err(encode)?;
        }
        file.put((Kind::Postings, field, number), &section)?;
        if !terms.is_empty() {
            file.put((Kind::Terms, field, 0), &map.into_inner().map_err(encode)?)?;
        }
        for (group, section) in &self.filters {
            file.put((Kind::ChunkFilters, field, *group), section)?;
        }
        Ok(())
    }
}

fn list_of(terms: &mut HashMap<Box<[u8]>, u32>, lists: &mut Vec<List>, value: &[u8]) -> u32 {
    if let Some(list) = terms.get(value) {
        return *list;
    }
    let list = lists.len() as u32;
    lists.push(List::default());
    terms.insert(value.into(), list);
    list
}

/// What a dictionary entry points to.
pub enum Pointer {
    /// The only trace.
    Single(u32),
    /// Postings section and offset.
    At(u32, usize),
}

impl Pointer {
    /// From the entry's value.
    pub fn new(value: u64) -> Self {
        if value & SINGLE != 0 {
            Pointer::Single(value as u32)
        } else {
            Pointer::At((value >> 32) as u32, value as u32 as usize)
        }
    }
}

/// Which chunks of a row group can hold a value, by the group's filters.
pub fn chunks_with(section: &[u8], value_hash: u64) -> Option<Vec<u32>> {
    let mut input = Input::new(section);
    let mut chunks = Vec::new();
    let mut chunk = 0;
    while !input.rest().is_empty() {
        let length = usize::try_from(input.number()?).ok()?;
        let filter = input.take(length)?;
        if !filter.is_empty() && filter::contains(filter, value_hash) {
            chunks.push(chunk);
        }
        chunk += 1;
    }
    Some(chunks)
}
