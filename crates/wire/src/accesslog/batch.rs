//! Spans and log records on their way into requests.

use tracewell_model::{LogEntry, SpanRecord};

use super::convert::Outcome;
use crate::otlp::{encode_logs, encode_traces};

/// A batch is full at so many spans and log records…
const ITEMS_MAX: usize = 4_000;

/// …or at so many bytes of lines. Both follow from the lines alone, so that a log that is read again is cut into the same
/// requests, which the store recognises.
const LINE_BYTES_MAX: usize = 2 << 20;

/// What lines have become and what has not been sent.
#[derive(Debug, Default)]
pub struct Batch {
    spans: Vec<SpanRecord>,
    logs: Vec<LogEntry>,
    line_bytes: usize,
}

/// A batch as OTLP requests.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Encoded {
    /// `ExportTraceServiceRequest`; empty when there are no spans.
    pub traces: Vec<u8>,
    /// Spans in it.
    pub spans: u64,
    /// `ExportLogsServiceRequest`; empty when there are no log records.
    pub logs: Vec<u8>,
    /// Log records in it.
    pub log_records: u64,
}

impl Batch {
    /// Adds what a line of so many bytes became.
    pub fn push(&mut self, outcome: Outcome, line_bytes: usize) {
        self.line_bytes += line_bytes;
        match outcome {
            Outcome::Spans { spans, .. } => self.spans.extend(spans),
            Outcome::Log { entry, .. } | Outcome::Unreadable { entry, .. } => self.logs.extend(entry),
            Outcome::Blank => {}
        }
    }

    /// True when it is time to send.
    pub fn is_full(&self) -> bool {
        self.spans.len() + self.logs.len() >= ITEMS_MAX || self.line_bytes >= LINE_BYTES_MAX
    }

    /// True when there is nothing to send.
    pub fn is_empty(&self) -> bool {
        self.spans.is_empty() && self.logs.is_empty()
    }

    /// The requests; the batch is empty afterwards.
    pub fn take(&mut self) -> Encoded {
        let encoded = Encoded {
            traces: if self.spans.is_empty() { Vec::new() } else { encode_traces(&self.spans) },
            spans: self.spans.len() as u64,
            logs: if self.logs.is_empty() { Vec::new() } else { encode_logs(&self.logs) },
            log_records: self.logs.len() as u64,
        };
        self.spans.clear();
        self.logs.clear();
        self.line_bytes = 0;
        encoded
    }
}
