//! What became of the lines, in words.

use std::time::Duration;

use tracewell_ingest::tail::LineSnapshot;

use crate::table::{counted, size};

/// The summary.
pub fn draw(counts: &LineSnapshot, took: Duration) -> String {
    let seconds = took.as_secs_f64();
    let mut out = format!(
        "{} ({}) in {seconds:.1} s, {:.0} lines/s: stored {} and {}\n",
        counted(counts.lines as usize, "line"),
        size(counts.bytes),
        counts.lines as f64 / seconds.max(0.001),
        counted(counts.spans as usize, "span"),
        counted(counts.log_records as usize, "log record"),
    );
    let mut row = |count: u64, what: &str| {
        if count > 0 {
            out.push_str(&format!("  {count:>10} {what}\n"));
        }
    };
    row(counts.span_lines - counts.inferred_lines, "with a trace context and a duration: spans");
    row(counts.inferred_lines, "with a request id and a duration: spans of a trace made from it (tracewell.inferred)");
    row(counts.joined_lines, "with a trace context and no duration: log records of the trace");
    row(counts.unjoined_lines, "with no id: log records by themselves");
    row(counts.blank_lines, "empty");
    for (reason, count) in &counts.unreadable {
        row(*count, &format!("could not be read ({reason}): log records with the line as text"));
    }
    row(counts.retries, "requests had to be sent again");
    for example in &counts.examples {
        out.push_str(&format!("  {} line {} ({}): {}\n", example.file, example.line, example.reason, example.text));
    }
    out
}
