//! Where accepted requests go. The listeners know nothing of what lies behind this trait.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;

/// What a request carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Signal {
    /// Spans.
    Traces,
    /// Log records.
    Logs,
}

/// A request that was decoded far enough to know that it is well-formed.
#[derive(Debug, Clone)]
pub struct Submission {
    /// Tenant, already checked; `default` where the client named none.
    pub tenant: std::sync::Arc<str>,
    /// What the payload is.
    pub signal: Signal,
    /// OTLP `ExportTraceServiceRequest` or `ExportLogsServiceRequest` as protobuf, decompressed.
    pub payload: Bytes,
    /// Valid spans or log records in it.
    pub items: u64,
}

/// Why a submission was not taken. Nothing of it is stored.
#[derive(Debug, Clone, thiserror::Error)]
pub enum SinkError {
    /// Too much is waiting; the same request can succeed later.
    #[error("the server is busy; retry after {retry_after:?}")]
    Overloaded {
        /// When to try again.
        retry_after: Duration,
    },
    /// Storage cannot take anything now (disk full, failed fsync, shutting down).
    #[error("storage is not available: {reason}")]
    Unavailable {
        /// What is wrong and what to do, for the operator.
        reason: String,
        /// When to try again.
        retry_after: Duration,
    },
}

/// A future as trait objects return it.
pub type SinkFuture<'a> = Pin<Box<dyn Future<Output = Result<(), SinkError>> + Send + 'a>>;

/// Takes submissions; resolves when the payload is durable and visible to queries.
pub trait Sink: Send + Sync + 'static {
    /// Stores the submission. `Ok` is the permission to acknowledge it to the client.
    fn submit(&self, submission: Submission) -> SinkFuture<'_>;
}
