//! Access logs and application logs with ids, read into spans and log records.
//!
//! It is: formats of lines (by name, by the pattern of a proxy's own configuration, by looking at a few lines), and the
//! decision what a line becomes. It is not: a reader of files, and not a sender.
//!
//! ```text
//! line ─▶ Format::read ─▶ Access ─▶ Converter ─┬─ trace context and duration: server span, a client span per attempt
//!                                              ├─ request id and duration: the same, in a trace made from the id
//!                                              ├─ trace context alone: log record of that trace
//!                                              └─ neither, or unreadable: log record by itself
//! ```
//!
//! Everything that comes out follows from the line, its place in the file and the settings: the same file read twice gives
//! the same bytes, which the store keeps once.

mod batch;
mod convert;
mod field;
mod format;
mod ids;
mod names;
mod pattern;
mod span;
mod structured;
mod syntax;
pub mod time;

pub use batch::{Batch, Encoded};
pub use convert::{Converter, LINE_BYTES_MAX, Options, Outcome, Place, Reason};
pub use field::{Access, Field, Slot, Unit};
pub use format::{
    Format, FormatError, Mismatch, NGINX_TRACEWELL, NGINX_TRACEWELL_SPANS, PRESETS, Preset, SAMPLE_LINES_MAX,
};
pub use pattern::PatternError;
