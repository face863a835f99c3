//! Tracewell's data model: what a span, a log record and a trace *are*, independent of any wire
//! format, storage or screen.
//!
//! It is: plain data types with the names and units of the OpenTelemetry specification, the
//! assembly of spans into a tree, and what every reader measures alike: calls between services ([`call`]) and
//! distributions ([`sketch`]). It is not: a codec (see `tracewell-wire`), a store
//! (`tracewell-store`), or an analysis. This crate performs no I/O and has no dependencies.
//!
//! ```text
//! Resource ──┐
//! Scope ─────┼─ SpanRecord ──▶ Trace ──▶ TraceTree (preorder, depth, orphans)
//! Span ──────┘       LogRecord (joined by trace id)
//! ```

pub mod call;
mod id;
mod log;
pub mod sketch;
mod span;
mod tree;
mod value;

pub use id::{ParseIdError, SpanId, TraceId};
pub use log::{LogEntry, LogRecord};
pub use sketch::Sketch;
pub use span::{
    EntityRef, Event, Link, Resource, SERVICE_NAME, Scope, Span, SpanKind, SpanRecord, Status, StatusCode,
    UNKNOWN_SERVICE,
};
pub use tree::{Assembler, Node, Placed, TraceTree};
pub use value::{KeyValue, Value};
