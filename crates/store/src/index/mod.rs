//! The index file of a segment: who is in it, which traces hold a value, how much of what there is by minute.
//!
//! Everything in it follows from the segment's Parquet file; it can be thrown away and made again.
//!
//! ```text
//! traces    ordinal → entry and rows, id → ordinal        (table, look-up, filter)
//! postings  field, value → ordinals                       (FST, roaring; or filters over chunks)
//! rollup    minute, operation → spans, durations
//! hops      minute, edge → calls, request, server, own, response, queue
//! format    sections with checksums, directory at the end
//! ```

mod filter;
mod format;
mod hops;
mod postings;
mod read;
mod rollup;
mod traces;

use std::path::Path;

use format::{Kind, SectionWriter};
pub use hops::{HopSpan, Hops};
use postings::{FieldPostings, Mode};
pub use read::{Calls, Found, Index};
pub use rollup::{DURATION_MINUTES, Observation, Rollup};
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
        self.file.put((Kind::Hops, 0, 0), &self.rollup.hops.section())?;
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::Cache;

    /// An index as version 1 was: another magic, and edges where hops are.
    fn version_1(path: &Path, magic: &[u8; 8]) {
        let mut file = SectionWriter::create(path).expect("created");
        let mut rollup = Rollup::default();
        let (cart, stock) = (rollup.code("cart"), rollup.code("stock"));
        file.put((Kind::Operations, 0, 0), &rollup.operations_section()).expect("operations");
        file.put((Kind::Edges, 0, 0), &[1, 3, cart as u8, stock as u8, 2, 1, 18, 10]).expect("edges");
        let meta = Meta {
            traces: 0,
            rows: 0,
            lookup_bits: 0,
            first_rows: Vec::new(),
            columns: Vec::new(),
            attributes: columns_described(&[]),
            fields: Vec::new(),
        };
        file.put((Kind::Meta, 0, 0), &serde_json::to_vec(&meta).expect("meta")).expect("written");
        file.finish().expect("finished");
        let mut bytes = std::fs::read(path).expect("read");
        let end = bytes.len() - 8;
        bytes[..8].copy_from_slice(magic);
        bytes[end..].copy_from_slice(magic);
        std::fs::write(path, bytes).expect("written");
    }

    #[test]
    fn version_1_is_read_and_a_later_one_is_not() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("old.idx");
        version_1(&path, b"TWIDX001");
        let index = Index::open(1, &path).expect("an index");
        let mut told = Vec::new();
        let calls = index.calls(&Cache::new(1 << 20)).expect("calls");
        let decoded = calls.read(0..=9, Some("stock"), &mut |count| {
            told.push((count.minute, count.caller.to_string(), count.calls, count.errors, count.server.is_empty()));
        });
        assert_eq!((decoded, told), (Some(()), vec![(3, "cart".to_owned(), 2, 1, true)]));
        assert_eq!(calls.read(4..=9, None, &mut |_| panic!("no call is there")), Some(()));

        let later = folder.path().join("later.idx");
        version_1(&later, b"TWIDX003");
        assert!(Index::open(2, &later).is_err());
    }
}
