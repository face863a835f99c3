//! OTLP/gRPC over hyper's HTTP/2: one unary call is a POST whose body is a length-prefixed message and whose
//! outcome stands in the trailers (gRPC over HTTP2, protocol specification).

use std::time::Duration;

use anyhow::Context;
use bytes::{BufMut, Bytes, BytesMut};
use http::{HeaderMap, Request};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;

use super::Outcome;
use super::response::partial_success;

const PATH: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";
/// Flow-control windows: far above a request, so that the client never waits for the server to open one.
const WINDOW_BYTES: u32 = 8 << 20;
/// gRPC status codes that ask for another try (OTLP 1.11, "Failures").
const RETRYABLE: &[&str] = &["1", "4", "8", "10", "11", "14", "15"];

/// A connection that carries many calls at the same time.
#[derive(Clone)]
pub struct Client {
    uri: String,
    sender: http2::SendRequest<Full<Bytes>>,
}

impl Client {
    /// Connects to `host:port`.
    pub async fn connect(address: &str) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(address).await.with_context(|| format!("cannot connect to {address}"))?;
        stream.set_nodelay(true)?;
        let (sender, connection) = http2::Builder::new(TokioExecutor::new())
            .initial_stream_window_size(WINDOW_BYTES)
            .initial_connection_window_size(WINDOW_BYTES)
            .max_send_buf_size(WINDOW_BYTES as usize)
            .handshake(TokioIo::new(stream))
            .await?;
        // Ends when the last sender is dropped; errors show in the calls.
        tokio::spawn(async move { connection.await.ok() });
        Ok(Self { uri: format!("http://{address}{PATH}"), sender })
    }

    /// One call of `TraceService/Export`.
    pub async fn export(&mut self, message: Bytes) -> anyhow::Result<Outcome> {
        let mut framed = BytesMut::with_capacity(5 + message.len());
        framed.put_u8(0); // not compressed
        framed.put_u32(u32::try_from(message.len())?);
        framed.extend_from_slice(&message);
        let request = Request::post(&self.uri)
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .body(Full::new(framed.freeze()))?;
        self.sender.ready().await?;
        let response = self.sender.send_request(request).await.context("the call failed")?;
        let (parts, body) = response.into_parts();
        anyhow::ensure!(parts.status == 200, "HTTP status {} in answer to a gRPC call", parts.status);
        let body = body.collect().await.context("the answer broke off")?;
        // An answer without a message carries its status in the headers.
        let trailers = body.trailers().cloned().unwrap_or(parts.headers);
        let bytes = body.to_bytes();
        Ok(outcome(&trailers, bytes.get(5..).unwrap_or_default()))
    }
}

fn outcome(trailers: &HeaderMap, message: &[u8]) -> Outcome {
    let text = |name: &str| trailers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    match text("grpc-status") {
        "0" => partial_success(message),
        code if RETRYABLE.contains(&code) => Outcome::Busy { after: retry_pushback(text("grpc-retry-pushback-ms")) },
        code => Outcome::Refused { reason: format!("grpc-status {code}: {}", text("grpc-message")) },
    }
}

fn retry_pushback(milliseconds: &str) -> Option<Duration> {
    milliseconds.parse().ok().map(Duration::from_millis)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_status_decides_what_becomes_of_a_call() {
        let accepted = Outcome::Accepted { rejected: 0, message: String::new() };
        let busy = Outcome::Busy { after: None };
        let refused = Outcome::Refused { reason: "grpc-status 3: bad".into() };
        for (status, expected) in [("0", accepted), ("14", busy), ("3", refused)] {
            let mut trailers = HeaderMap::new();
            trailers.insert("grpc-status", status.parse().unwrap());
            trailers.insert("grpc-message", "bad".parse().unwrap());
            assert_eq!(outcome(&trailers, b""), expected);
        }
    }
}
