//! What every holder of rows, in memory or on disk, looks like to a reader.
//!
//! A [`Source`] is an immutable set of rows: a block of the head as it was at some moment, or a
//! segment file. Its rows are cut into chunks of equal size ([`Source::chunk_rows`]); a column is read
//! chunk by chunk, always aligned to rows, so that predicates are simple loops over slices.
//!
//! ```text
//! Source ── traces: TraceBlock, TraceBlock, …      who is in here, when, which rows
//!        ├─ chunk(field, n) → Chunk                values of one column, one per row
//!        └─ postings(term)  → TraceSet             which traces can hold a value
//! ```

mod chunk;
mod field;
mod rollup;
mod source;
mod strings;

pub use chunk::{Bitmap, Chunk, NO_CODE};
pub use field::{AttrType, Field};
pub use rollup::{DurationCounts, HopCount};
pub use source::{OperationCount, Rows, Signal, Source, SourceError, TermPredicate, TraceBlock, TraceEntry, TraceSet};
pub use strings::{StrTable, StrTableBuilder};
