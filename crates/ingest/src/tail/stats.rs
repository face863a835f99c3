//! What became of the lines, counted.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::Serialize;
use tracewell_wire::accesslog::{Outcome, Reason};

/// Examples that are kept of lines that could not be read.
const EXAMPLES_MAX: usize = 5;

/// Longest example, in bytes.
const EXAMPLE_BYTES_MAX: usize = 200;

/// Counters of lines, shared by who reads them and who shows them.
#[derive(Debug, Default)]
pub struct LineStats {
    lines: AtomicU64,
    bytes: AtomicU64,
    spans: AtomicU64,
    log_records: AtomicU64,
    span_lines: AtomicU64,
    inferred_lines: AtomicU64,
    joined_lines: AtomicU64,
    unjoined_lines: AtomicU64,
    blank_lines: AtomicU64,
    unreadable: [AtomicU64; Reason::ALL.len()],
    retries: AtomicU64,
    examples: Mutex<Vec<Example>>,
}

/// A line that could not be read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Example {
    /// The log.
    pub file: String,
    /// Bytes before the line.
    pub offset: u64,
    /// Number of the line since reading began, from 1.
    pub line: u64,
    /// Why.
    pub reason: &'static str,
    /// Its beginning.
    pub text: String,
}

/// The counters at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LineSnapshot {
    /// Lines read.
    pub lines: u64,
    /// Bytes read.
    pub bytes: u64,
    /// Spans stored.
    pub spans: u64,
    /// Log records stored.
    pub log_records: u64,
    /// Lines that became spans.
    pub span_lines: u64,
    /// Of these, lines whose trace was made from a request id.
    pub inferred_lines: u64,
    /// Lines that became log records of a trace.
    pub joined_lines: u64,
    /// Lines that belong to no trace.
    pub unjoined_lines: u64,
    /// Lines of nothing.
    pub blank_lines: u64,
    /// Lines that could not be read, by reason; zeros are not listed.
    pub unreadable: BTreeMap<&'static str, u64>,
    /// Requests that had to be repeated.
    pub retries: u64,
    /// The first lines that could not be read.
    pub examples: Vec<Example>,
}

impl LineStats {
    /// Counts a line.
    pub fn count(&self, outcome: &Outcome, file: &str, offset: u64, line: &[u8], length: u64) {
        let number = 1 + self.lines.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(length, Ordering::Relaxed);
        match outcome {
            Outcome::Spans { inferred, .. } => {
                add(&self.span_lines, 1);
                add(&self.inferred_lines, u64::from(*inferred));
            }
            Outcome::Log { joined: true, .. } => add(&self.joined_lines, 1),
            Outcome::Log { joined: false, .. } => add(&self.unjoined_lines, 1),
            Outcome::Blank => add(&self.blank_lines, 1),
            Outcome::Unreadable { reason, .. } => {
                add(&self.unreadable[*reason as usize], 1);
                let mut examples = self.examples();
                if examples.len() < EXAMPLES_MAX {
                    let text = String::from_utf8_lossy(&line[..line.len().min(EXAMPLE_BYTES_MAX)]).into_owned();
                    examples.push(Example {
                        file: file.to_owned(),
                        offset,
                        line: number,
                        reason: reason.as_str(),
                        text,
                    });
                }
            }
        }
    }

    /// Counts what was stored.
    pub fn stored(&self, spans: u64, log_records: u64) {
        add(&self.spans, spans);
        add(&self.log_records, log_records);
    }

    /// Counts a request that has to be repeated.
    pub fn retried(&self) {
        add(&self.retries, 1);
    }

    /// The counters now.
    pub fn snapshot(&self) -> LineSnapshot {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let unreadable =
            Reason::ALL.iter().zip(&self.unreadable).map(|(reason, counter)| (reason.as_str(), load(counter)));
        LineSnapshot {
            lines: load(&self.lines),
            bytes: load(&self.bytes),
            spans: load(&self.spans),
            log_records: load(&self.log_records),
            span_lines: load(&self.span_lines),
            inferred_lines: load(&self.inferred_lines),
            joined_lines: load(&self.joined_lines),
            unjoined_lines: load(&self.unjoined_lines),
            blank_lines: load(&self.blank_lines),
            unreadable: unreadable.filter(|(_, count)| *count > 0).collect(),
            retries: load(&self.retries),
            examples: self.examples().clone(),
        }
    }

    fn examples(&self) -> MutexGuard<'_, Vec<Example>> {
        self.examples.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn add(counter: &AtomicU64, by: u64) {
    counter.fetch_add(by, Ordering::Relaxed);
}
