//! Where a page of results ended.

use std::fmt;
use std::str::FromStr;

use tracewell_model::TraceId;

use crate::QueryError;

/// The last trace of a page. The next page begins with the first trace behind it in the order of results: later starts
/// first, smaller ids first among equals. What arrives in the meantime does not move it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cursor {
    /// Earliest start of the trace, nanoseconds since the epoch.
    pub start: u64,
    /// Its id.
    pub trace_id: TraceId,
}

impl Cursor {
    /// Does a trace stand behind this place?
    pub(crate) fn is_before(&self, start: u64, trace_id: &TraceId) -> bool {
        start < self.start || (start == self.start && *trace_id > self.trace_id)
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}-{}", self.start, self.trace_id)
    }
}

impl FromStr for Cursor {
    type Err = QueryError;
    fn from_str(text: &str) -> Result<Self, QueryError> {
        let parsed = text.split_once('-').filter(|(start, _)| start.len() == 16).and_then(|(start, trace_id)| {
            Some(Cursor { start: u64::from_str_radix(start, 16).ok()?, trace_id: trace_id.parse().ok()? })
        });
        parsed.ok_or_else(|| QueryError::Cursor(text.chars().take(80).collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_reads_back_and_anything_else_is_refused() {
        let cursor = Cursor { start: 1_795_343_881_398_540_597, trace_id: TraceId([7; 16]) };
        assert_eq!(cursor.to_string().parse::<Cursor>().unwrap(), cursor);
        for bad in ["", "x", "0-1", "00000000000000zz-07070707070707070707070707070707", &"é".repeat(100)] {
            assert!(bad.parse::<Cursor>().is_err(), "{bad}");
        }
    }
}
