//! Listeners that take spans and logs from applications.

mod sink;

pub use sink::{Signal, Sink, SinkError, SinkFuture, Submission};
