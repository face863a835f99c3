//! From the receivers to the store.

use tracewell_ingest::{Signal, Sink, SinkError, SinkFuture, Submission};
use tracewell_store::{AppendError, Store, table};

/// Writes what the receivers accepted into the store.
pub(crate) struct StoreSink(pub(crate) Store);

impl Sink for StoreSink {
    fn submit(&self, submission: Submission) -> SinkFuture<'_> {
        Box::pin(async move {
            let signal = match submission.signal {
                Signal::Traces => table::Signal::Traces,
                Signal::Logs => table::Signal::Logs,
            };
            self.0.append(submission.tenant, signal, submission.payload).await.map_err(|error| match error {
                AppendError::Overloaded { retry_after } => SinkError::Overloaded { retry_after },
                AppendError::Unavailable { reason, retry_after } => SinkError::Unavailable { reason, retry_after },
            })
        })
    }
}
