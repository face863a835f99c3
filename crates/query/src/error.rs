//! Why a question has no answer.

use tracewell_store::table::SourceError;

use crate::traceql;

/// Why a question has no answer.
#[derive(Debug, Clone, thiserror::Error)]
pub enum QueryError {
    /// The query is not TraceQL or makes no sense.
    #[error(transparent)]
    Query(#[from] traceql::Error),
    /// The cursor is not one that a search has given out.
    #[error("the cursor {0:?} is not one that a search has given out; start again without a cursor")]
    Cursor(String),
    /// A regular expression for texts is not valid.
    #[error("{0}")]
    Regex(String),
    /// Nobody waits for the answer any more.
    #[error("the query was cancelled")]
    Cancelled,
}

/// Why work on one source ends early.
#[derive(Debug, Clone)]
pub(crate) enum Halt {
    /// The whole query stops.
    Stop(crate::exec::Stop),
    /// This source cannot be read any further.
    Source(SourceError),
}

impl From<SourceError> for Halt {
    fn from(error: SourceError) -> Self {
        Halt::Source(error)
    }
}

impl From<crate::exec::Stop> for Halt {
    fn from(stop: crate::exec::Stop) -> Self {
        Halt::Stop(stop)
    }
}
