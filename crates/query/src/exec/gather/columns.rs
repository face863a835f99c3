//! Values of one column for some rows of a chunk.

use std::collections::HashMap;
use std::sync::Arc;

use foldhash::fast::RandomState;
use tracewell_analysis::{Builder, Origin, Text};
use tracewell_model::Resource;
use tracewell_store::table::{Chunk, Field, NO_CODE, SourceError, StrTable};
use tracewell_wire::otlp::json;

use crate::error::Halt;
use crate::exec::columns::{Columns, Slot};

/// Rows of one chunk, and where they stand among those that are wanted.
pub(super) struct Run<'r> {
    /// Number of the chunk.
    pub chunk: u32,
    /// First row of the chunk.
    pub base: u32,
    /// Place of the first of `rows` among all that are wanted.
    pub first: usize,
    /// The rows, ascending.
    pub rows: &'r [u32],
}

impl Run<'_> {
    /// Ascending rows by chunk.
    pub fn of(rows: &[u32], chunk_rows: u32) -> impl Iterator<Item = Run<'_>> {
        let chunk_rows = chunk_rows.max(1);
        let mut first = 0;
        rows.chunk_by(move |left, right| left / chunk_rows == right / chunk_rows).map(move |rows| {
            let chunk = rows.first().map_or(0, |row| row / chunk_rows);
            let run = Run { chunk, base: chunk * chunk_rows, first, rows };
            first += rows.len();
            run
        })
    }

    /// Every row with its place among all.
    fn places(&self) -> impl Iterator<Item = (usize, usize)> + '_ {
        self.rows.iter().enumerate().map(|(place, row)| (self.first + place, (*row - self.base) as usize))
    }
}

/// Calls `put` with the place and bits of every row that has a number.
pub(super) fn each_number(
    columns: &mut Columns<'_>,
    slot: Slot,
    run: &Run<'_>,
    mut put: impl FnMut(usize, u64),
) -> Result<(), Halt> {
    let chunk = columns.chunk(slot, run.chunk)?;
    if let Some(Chunk::Num { values, present }) = chunk.as_deref() {
        for (place, row) in run.places() {
            if let Some(bits) = values.get(row)
                && present.as_ref().is_none_or(|present| present.get(row))
            {
                put(place, *bits);
            }
        }
    }
    Ok(())
}

/// Calls `put` with the place, dictionary and code of every row that has a text.
pub(super) fn each_code(
    columns: &mut Columns<'_>,
    slot: Slot,
    run: &Run<'_>,
    mut put: impl FnMut(usize, &Arc<StrTable>, u32) -> Result<(), Halt>,
) -> Result<(), Halt> {
    let chunk = columns.chunk(slot, run.chunk)?;
    if let Some(Chunk::Str { codes, dict }) = chunk.as_deref() {
        for (place, row) in run.places() {
            match codes.get(row) {
                None | Some(&NO_CODE) => {}
                Some(code) => put(place, dict, *code)?,
            }
        }
    }
    Ok(())
}

/// What was made of each text of the dictionary in use, once.
pub(super) struct Memo<T> {
    slot: Slot,
    dict: Option<Arc<StrTable>>,
    made: Vec<Option<T>>,
}

impl<T: Copy> Memo<T> {
    pub fn new(slot: Slot) -> Self {
        Self { slot, dict: None, made: Vec::new() }
    }

    /// Calls `put` with the place of every row that has a text and what `make` makes of it.
    pub fn each(
        &mut self,
        columns: &mut Columns<'_>,
        run: &Run<'_>,
        mut make: impl FnMut(&str) -> Result<T, Halt>,
        mut put: impl FnMut(usize, T),
    ) -> Result<(), Halt> {
        let (held, made) = (&mut self.dict, &mut self.made);
        each_code(columns, self.slot, run, |place, dict, code| {
            if held.as_ref().is_none_or(|held| !Arc::ptr_eq(held, dict)) {
                made.clear();
                made.resize(dict.len(), None);
                *held = Some(Arc::clone(dict));
            }
            let Some(known) = made.get_mut(code as usize) else { return Ok(()) };
            let value = match *known {
                Some(value) => value,
                None => *known.insert(make(dict.get(code))?),
            };
            put(place, value);
            Ok(())
        })
    }
}

impl Memo<Text> {
    /// The number of each row's text.
    pub fn texts(
        &mut self,
        columns: &mut Columns<'_>,
        run: &Run<'_>,
        builder: &mut Builder,
        put: impl FnMut(usize, Text),
    ) -> Result<(), Halt> {
        self.each(columns, run, |text| Ok(builder.texts().number(text)), put)
    }
}

/// The resources of all sources of a task, each taken up once.
#[derive(Default)]
pub(super) struct Origins(HashMap<String, Origin, RandomState>);

impl Origins {
    /// The resource that a column of resources holds as JSON.
    pub fn of(&mut self, text: &str, file: &str, builder: &mut Builder) -> Result<Origin, Halt> {
        if let Some(origin) = self.0.get(text) {
            return Ok(*origin);
        }
        let resource = json::resource_from_json(text).map_err(|error| damaged(file, &Field::Resource, &error))?;
        let origin = builder.origin(&resource);
        self.0.insert(text.to_owned(), origin);
        Ok(origin)
    }

    /// The resource of rows without one.
    pub fn none(&mut self, builder: &mut Builder) -> Origin {
        *self.0.entry(String::new()).or_insert_with(|| builder.origin(&Resource::default()))
    }
}

/// A column that cannot be understood.
pub(super) fn damaged(file: &str, field: &Field, error: &tracewell_wire::DecodeError) -> Halt {
    Halt::Source(SourceError::Damaged { file: file.to_owned(), reason: format!("column {field}: {error}") })
}
