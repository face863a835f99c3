//! The index file of a segment: who is in it, which traces hold a value, how much of what there is by minute.
//!
//! Everything in it follows from the segment's Parquet file; it can be thrown away and made again.
//!
//! ```text
//! traces    ordinal → entry and rows, id → ordinal        (table, look-up, filter)
//! postings  field, value → ordinals                       (FST, roaring; or filters over chunks)
//! rollup    minute, operation → spans, durations; edges
//! format    sections with checksums, directory at the end
//! ```

mod filter;
mod format;
mod postings;
mod read;
mod rollup;
mod traces;

use std::path::Path;

use format::{Kind, SectionWriter};
use postings::{FieldPostings, Mode};
pub use read::{Found, Index};
pub use rollup::{DurationCounts, EdgeCount, EdgeTotals, Observation, Rollup};
use serde::{Deserialize, Serialize};
use traces::TraceTableWriter;

use crate::segment::{Column, Values, WriteError, columns_described};
use crate::table::{Field, TraceEntry};

/// What the index file says of itself.
#[derive(Debug, Serialize, Deserialize)]
struct Meta {
    traces: u32,
    rows: u32,
    lookup_bits: u32,
    /// First row of each block of traces.
    first_rows: Vec<u32>,
    /// Names of the columns, as in the Parquet file.
    columns: Vec<String>,
    /// The Parquet file's list of attribute columns.
    attributes: String,
    /// For each column how it can be looked up, and how many rows have a value.
    fields: Vec<(Mode, u64)>,
}

/// An index file being written, in step with the segment's rows.
pub struct IndexWriter {
    file: SectionWriter,
    traces: TraceTableWriter,
    columns: Vec<Column>,
    postings: Vec<FieldPostings>,
    rows: u32,
    /// Counts of spans and calls; filled by whoever knows the rows.
    pub rollup: Rollup,
}

/// Whether values of a field are worth looking up.
fn has_terms(field: Option<&Field>) -> bool {
    match field {
        None => false,
        Some(
            Field::SpanId
            | Field::Start
            | Field::Duration
            | Field::ParentDistance
            | Field::ParentSpanId
            | Field::Flags
            | Field::Events
            | Field::Links
            | Field::LogTime
            | Field::ObservedTime
            | Field::Body
            | Field::BodyValue,
        ) => false,
        Some(_) => true,
    }
}

impl IndexWriter {
    /// Creates the file, which must not exist.
    pub fn create(path: &Path, columns: &[Column]) -> Result<Self, WriteError> {
        Ok(Self {
            file: SectionWriter::create(path)?,
            traces: TraceTableWriter::default(),
            columns: columns.to_vec(),
            postings: columns.iter().map(|column| FieldPostings::new(has_terms(column.field.as_ref()))).collect(),
            rows: 0,
            rollup: Rollup::default(),
        })
    }

    /// How many traces there are so far, which is the next one's ordinal.
    pub fn traces(&self) -> u32 {
        self.traces.len()
    }

    /// Appends the next trace.
    pub fn trace(&mut self, entry: TraceEntry, rows: u32) -> Result<(), WriteError> {
        self.rows += rows;
        self.traces.push(&mut self.file, entry, rows)
    }

    /// Takes one column of row group `group`; `ordinals` has each row's trace.
    pub fn column(&mut self, group: u32, column: &Column, values: &Values, ordinals: &[u32]) {
        let Some(at) = self.columns.iter().position(|known| known == column) else { return };
        match values {
            Values::TraceIds { .. } => {}
            // Whole lists of attributes are never asked for; their keys are.
            Values::Text { codes, dict } if column.field == Some(Field::Remainder) => {
                self.postings[at].keys(codes, dict, ordinals);
            }
            Values::Text { codes, dict } => self.postings[at].text(group, codes, dict, ordinals),
            Values::Num { values, present } => self.postings[at].num(values, present.as_ref(), ordinals),
        }
    }

    /// Writes what remains and makes the file durable. Returns its size in bytes.
    pub fn finish(mut self) -> Result<u64, WriteError> {
        let lookup_bits = self.traces.finish(&mut self.file)?;
        let fields = self.postings.iter().map(|postings| (postings.mode(), postings.rows())).collect();
        for (number, postings) in self.postings.into_iter().enumerate() {
            postings.finish(&mut self.file, number as u32)?;
        }
        self.file.put((Kind::Operations, 0, 0), &self.rollup.operations_section())?;
        self.file.put((Kind::Durations, 0, 0), &self.rollup.durations_section())?;
        self.file.put((Kind::Edges, 0, 0), &self.rollup.edges_section())?;
        let meta = Meta {
            traces: self.traces.len(),
            rows: self.rows,
            lookup_bits,
            first_rows: self.traces.first_rows,
            columns: self.columns.iter().map(|column| column.name.clone()).collect(),
            attributes: columns_described(&self.columns),
            fields,
        };
        let meta = serde_json::to_vec(&meta).map_err(|error| WriteError::Encode { reason: error.to_string() })?;
        self.file.put((Kind::Meta, 0, 0), &meta)?;
        self.file.finish()
    }
}
