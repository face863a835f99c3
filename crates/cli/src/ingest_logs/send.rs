//! Requests to a server over OTLP/HTTP, as a sink.

use std::time::Duration;

use tokio::sync::watch;
use tracewell_ingest::{Signal, Sink, SinkError, SinkFuture, Submission};

use crate::client::Client;

/// Sends each submission as one request.
pub struct HttpSink {
    client: Client,
    /// What the server said of a request that it will never take.
    refused: watch::Sender<Option<String>>,
}

impl HttpSink {
    /// A sink for this server.
    pub fn new(client: Client) -> Self {
        Self { client, refused: watch::Sender::new(None) }
    }

    /// Waits until the server has refused a request for good, and says why.
    pub async fn refused(&self) -> String {
        let mut refused = self.refused.subscribe();
        let reason = refused.wait_for(Option::is_some).await.ok().and_then(|reason| reason.clone());
        reason.unwrap_or_default()
    }

    async fn post(&self, submission: Submission) -> Result<(), SinkError> {
        let path = match submission.signal {
            Signal::Traces => "/v1/traces",
            Signal::Logs => "/v1/logs",
        };
        let unavailable = |reason: String, retry_after| SinkError::Unavailable { reason, retry_after };
        let headers = [("content-type", "application/x-protobuf")];
        let answer = self.client.send("POST", path, &headers, submission.payload.to_vec()).await;
        let answer = answer.map_err(|error| unavailable(format!("{error:#}"), Duration::ZERO))?;
        if answer.status.is_success() {
            return Ok(());
        }
        let seconds = answer.headers.get("retry-after").and_then(|value| value.to_str().ok()?.parse().ok());
        let retry_after = Duration::from_secs(seconds.unwrap_or(0));
        let reason = format!("{} answered {}", self.client.url(), answer.status);
        // What OTLP calls retryable; everything else stays as it is however often it is sent.
        if matches!(answer.status.as_u16(), 429 | 502 | 503 | 504) {
            return Err(unavailable(reason, retry_after));
        }
        let body: String =
            String::from_utf8_lossy(&answer.body).chars().filter(|c| !c.is_control()).take(300).collect();
        let reason = format!("{reason}: {body}");
        self.refused.send_replace(Some(reason.clone()));
        Err(unavailable(reason, Duration::from_secs(5)))
    }
}

impl Sink for HttpSink {
    fn submit(&self, submission: Submission) -> SinkFuture<'_> {
        Box::pin(self.post(submission))
    }
}
