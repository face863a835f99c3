//! The reader's view of a set of rows.

use std::sync::Arc;

use roaring::RoaringBitmap;
use tracewell_model::TraceId;

use super::{AttrType, Chunk, DurationCounts, Field, HopCount};

/// What kind of rows a source holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Signal {
    /// Spans.
    Traces,
    /// Log records.
    Logs,
}

/// Why rows could not be read. The message names the file.
#[derive(Debug, Clone, thiserror::Error)]
pub enum SourceError {
    /// The file cannot be read.
    #[error("cannot read {file}: {reason}")]
    Io {
        /// Path of the file.
        file: String,
        /// The operating system's words.
        reason: String,
    },
    /// The file was read and is not what was written.
    #[error("{file} is damaged: {reason}")]
    Damaged {
        /// Path of the file.
        file: String,
        /// What does not fit.
        reason: String,
    },
}

/// The part of one trace that lies in one source. Times are nanoseconds since the epoch.
#[derive(Debug, Clone, PartialEq)]
pub struct TraceEntry {
    /// The trace.
    pub trace_id: TraceId,
    /// Earliest start of its spans here.
    pub start: u64,
    /// Latest end of its spans here.
    pub end: u64,
    /// Spans here.
    pub spans: u32,
    /// Spans here whose status is an error.
    pub errors: u32,
    /// Service and name of the root span, if the root (a span without parent) is here.
    pub root: Option<(Arc<str>, Arc<str>)>,
}

/// The rows of one trace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rows {
    /// All rows from the first up to but not including the last.
    Range(u32, u32),
    /// Exactly these, ascending.
    List(Vec<u32>),
}

impl Rows {
    /// The rows, ascending.
    pub fn iter(&self) -> Box<dyn Iterator<Item = u32> + '_> {
        match self {
            Rows::Range(first, end) => Box::new(*first..*end),
            Rows::List(rows) => Box::new(rows.iter().copied()),
        }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        match self {
            Rows::Range(first, end) => (end - first) as usize,
            Rows::List(rows) => rows.len(),
        }
    }

    /// True when there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A run of consecutive trace ordinals.
#[derive(Debug, Clone, Default)]
pub struct TraceBlock {
    /// Ordinal of the first trace in the block.
    pub first_ordinal: u32,
    /// The traces.
    pub entries: Vec<TraceEntry>,
    /// The rows of each, index for index.
    pub rows: Vec<Rows>,
}

impl Default for Rows {
    fn default() -> Self {
        Rows::Range(0, 0)
    }
}

/// Traces (by ordinal) that can hold what a predicate asks for.
#[derive(Debug, Clone, PartialEq)]
pub enum TraceSet {
    /// The index cannot narrow: any trace can.
    All,
    /// Only these can. With `exact`, every one of them holds a span with that term.
    Some {
        /// Ordinals.
        traces: RoaringBitmap,
        /// True when there are no false candidates.
        exact: bool,
    },
}

/// What an index look-up asks of one field's values.
pub enum TermPredicate<'a> {
    /// The text equals this.
    Text(&'a str),
    /// The text satisfies this (a regular expression, say), tried once for every distinct value.
    TextWhere(&'a (dyn Fn(&str) -> bool + Sync)),
    /// The number's bits satisfy this, tried once for every distinct value.
    BitsWhere(&'a (dyn Fn(u64) -> bool + Sync)),
    /// There is a value.
    Exists,
    /// For [`Field::Remainder`]: there is an attribute with this key. Sources that do not know answer
    /// [`TraceSet::All`].
    Key(&'a str),
}

/// Spans of one operation that started in one minute.
#[derive(Debug, Clone, PartialEq)]
pub struct OperationCount {
    /// Minutes since the epoch.
    pub minute: u64,
    /// Service name.
    pub service: Arc<str>,
    /// Span name.
    pub name: Arc<str>,
    /// OTLP span kind.
    pub kind: i32,
    /// OTLP status code.
    pub status: i32,
    /// How many spans.
    pub spans: u64,
    /// Sum of their durations in nanoseconds.
    pub duration_ns: u64,
}

/// An immutable set of rows. Cheap to share, safe to read from many threads.
pub trait Source: Send + Sync {
    /// Spans or log records.
    fn signal(&self) -> Signal;

    /// A name for messages: the file, or the head's block.
    fn name(&self) -> String;

    /// How many rows there are.
    fn rows(&self) -> u32;

    /// Rows in each chunk but the last.
    fn chunk_rows(&self) -> u32;

    /// Earliest start and latest end of any row, in nanoseconds since the epoch, both inclusive.
    fn time_range(&self) -> (u64, u64);

    /// Traces in here; their ordinals are `0..trace_count`.
    fn trace_count(&self) -> u32;

    /// True when ordinals ascend with the traces' start and each trace's rows are contiguous and ascend with
    /// the ordinal (segments); false for blocks of the head.
    fn ordered(&self) -> bool;

    /// How many trace blocks there are.
    fn trace_blocks(&self) -> u32;

    /// Trace block `index`, below [`Source::trace_blocks`].
    fn trace_block(&self, index: u32) -> Result<Arc<TraceBlock>, SourceError>;

    /// The block that holds an ordinal below [`Source::trace_count`].
    fn block_of_ordinal(&self, ordinal: u32) -> u32;

    /// The ordinal of the trace that a row below [`Source::rows`] belongs to.
    fn ordinal_of_row(&self, row: u32) -> Result<u32, SourceError>;

    /// The trace's ordinal, if it has rows here.
    fn find_trace(&self, trace_id: &TraceId) -> Result<Option<u32>, SourceError>;

    /// Every column that has a value in some row. [`Field::Service`] is always among them for spans.
    fn fields(&self) -> Vec<Field>;

    /// Attribute columns present: key, type, and how many rows have a value.
    fn attributes(&self) -> Vec<(Arc<str>, AttrType, u64)>;

    /// True when some rows keep attributes in [`Field::Remainder`], so that a key may occur there too.
    fn has_remainder(&self) -> bool;

    /// Chunk `index` of a column; `None` when no row of the chunk has a value.
    fn chunk(&self, field: &Field, index: u32) -> Result<Option<Arc<Chunk>>, SourceError>;

    /// Traces with a row whose `field` satisfies the predicate. Never misses one; see [`TraceSet`]. Predicates over
    /// an attribute know nothing of [`Field::Remainder`]: a caller that asks for a key looks there as well when
    /// [`Source::has_remainder`] says so.
    fn postings(&self, field: &Field, predicate: &TermPredicate<'_>) -> Result<TraceSet, SourceError>;

    /// Calls `visit` with each distinct value (as text; numbers in decimal, truth values as `true` and `false`) of a field and the number of traces that hold it, as far as
    /// the index knows them, until `visit` returns false. Returns false when the index has no list of this
    /// field's values (too many of them), in which case nothing was visited.
    fn distinct(&self, field: &Field, visit: &mut dyn FnMut(&str, u64) -> bool) -> Result<bool, SourceError>;

    /// Calls `visit` with the counts of every operation and minute in `minutes` (exact: every row is counted once).
    fn operations(
        &self,
        minutes: std::ops::RangeInclusive<u64>,
        visit: &mut dyn FnMut(&OperationCount),
    ) -> Result<(), SourceError>;

    /// Calls `visit` with the distributions of durations, by operation and ten minutes, of every ten minutes that touch
    /// `minutes`; of one service if one is named.
    fn durations(
        &self,
        minutes: std::ops::RangeInclusive<u64>,
        service: Option<&str>,
        visit: &mut dyn FnMut(&DurationCounts),
    ) -> Result<(), SourceError>;

    /// Calls `visit` with the calls between services that began in `minutes`; of those from or to one service if one is
    /// named. An edge and minute may be visited more than once: what is visited is to be added up. Calls are split
    /// within this source only; see [`HopCount`].
    fn hops(
        &self,
        minutes: std::ops::RangeInclusive<u64>,
        service: Option<&str>,
        visit: &mut dyn FnMut(&HopCount),
    ) -> Result<(), SourceError>;
}
