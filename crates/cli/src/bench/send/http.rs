//! OTLP/HTTP with protobuf over hyper's HTTP/1.1.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::sync::Mutex;

use super::Outcome;
use super::response::partial_success;

/// Connections to one server; as many are opened as there are requests at the same time.
#[derive(Clone)]
pub struct Client {
    address: Arc<str>,
    idle: Arc<Mutex<Vec<http1::SendRequest<Full<Bytes>>>>>,
}

impl Client {
    /// Connects to `host:port`.
    pub async fn connect(address: &str) -> anyhow::Result<Self> {
        let client = Self { address: address.into(), idle: Arc::default() };
        let first = client.open().await?;
        client.idle.lock().await.push(first);
        Ok(client)
    }

    async fn open(&self) -> anyhow::Result<http1::SendRequest<Full<Bytes>>> {
        let address = &*self.address;
        let stream = TcpStream::connect(address).await.with_context(|| format!("cannot connect to {address}"))?;
        stream.set_nodelay(true)?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        // Ends when the sender is dropped; errors show in the requests.
        tokio::spawn(async move { connection.await.ok() });
        Ok(sender)
    }

    /// One `POST /v1/traces`.
    pub async fn export(&mut self, message: Bytes) -> anyhow::Result<Outcome> {
        let idle = self.idle.lock().await.pop();
        let mut sender = match idle {
            Some(sender) if !sender.is_closed() => sender,
            _ => self.open().await?,
        };
        let request = Request::post("/v1/traces")
            .header("host", &*self.address)
            .header("content-type", "application/x-protobuf")
            .body(Full::new(message))?;
        sender.ready().await?;
        let response = sender.send_request(request).await.context("the request failed")?;
        let (parts, body) = response.into_parts();
        let body = body.collect().await.context("the answer broke off")?.to_bytes();
        self.idle.lock().await.push(sender);
        Ok(match parts.status {
            StatusCode::OK => partial_success(&body),
            // The codes that OTLP 1.11 asks to retry.
            StatusCode::TOO_MANY_REQUESTS
            | StatusCode::BAD_GATEWAY
            | StatusCode::SERVICE_UNAVAILABLE
            | StatusCode::GATEWAY_TIMEOUT => {
                let after = parts.headers.get("retry-after").and_then(|value| value.to_str().ok()?.parse().ok());
                Outcome::Busy { after: after.map(Duration::from_secs) }
            }
            status => Outcome::Refused { reason: format!("{status}: {}", String::from_utf8_lossy(&body)) },
        })
    }
}
