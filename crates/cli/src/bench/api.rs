//! Questions to the native HTTP API: one kept-alive connection, one question at a time.

use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;

/// Longest wait for an answer.
const ANSWER_MAX: Duration = Duration::from_secs(60);

/// A connection to a server's API.
pub struct Api {
    address: String,
    sender: http1::SendRequest<Empty<Bytes>>,
}

/// An answer.
pub struct Answer {
    /// From the first byte sent to the last byte read.
    pub took: Duration,
    /// The body.
    pub body: Bytes,
}

impl Api {
    /// Connects to `host:port`.
    pub async fn connect(address: &str) -> anyhow::Result<Self> {
        Ok(Self { address: address.to_owned(), sender: Self::open(address).await? })
    }

    async fn open(address: &str) -> anyhow::Result<http1::SendRequest<Empty<Bytes>>> {
        let stream = TcpStream::connect(address).await.with_context(|| format!("cannot connect to {address}"))?;
        stream.set_nodelay(true)?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        // Ends, with or without an error, when the sender is dropped; what matters shows in the answers.
        tokio::spawn(async move { connection.await.ok() });
        Ok(sender)
    }

    /// Asks for a path and reads the whole answer, which must be a success.
    pub async fn get(&mut self, path: &str) -> anyhow::Result<Answer> {
        // Servers close connections that were idle for a while, as during a load.
        if self.sender.is_closed() {
            self.sender = Self::open(&self.address).await?;
        }
        let request = http::Request::get(path).header("host", &self.address).body(Empty::new())?;
        let started = Instant::now();
        let answer = async {
            self.sender.ready().await?;
            let response = self.sender.send_request(request).await?;
            let status = response.status();
            let body = response.into_body().collect().await?.to_bytes();
            Ok::<_, hyper::Error>((status, body))
        };
        let (status, body) = tokio::time::timeout(ANSWER_MAX, answer)
            .await
            .with_context(|| format!("no answer to GET {path} within {} s", ANSWER_MAX.as_secs()))?
            .with_context(|| format!("GET {path} failed"))?;
        let took = started.elapsed();
        if !status.is_success() {
            let text = String::from_utf8_lossy(&body);
            bail!("GET {path} answered {status}: {}", text.chars().take(500).collect::<String>());
        }
        Ok(Answer { took, body })
    }

    /// As [`Api::get`], for an answer in JSON.
    pub async fn json(&mut self, path: &str) -> anyhow::Result<Value> {
        let answer = self.get(path).await?;
        serde_json::from_slice(&answer.body).with_context(|| format!("the answer to GET {path} is not JSON"))
    }

    /// Spans stored altogether, as the listing of services counts them.
    pub async fn spans_stored(&mut self) -> anyhow::Result<u64> {
        let listing = self.json("/api/v1/services?start=0&end=now%2B1h").await?;
        let services = listing["services"].as_array().context("the listing has no services")?;
        services.iter().map(|service| service["spans"].as_u64().context("a service has no count of spans")).sum()
    }
}

/// A value for the query part of a URL.
pub fn encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len() * 3);
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_survive_a_url() {
        assert_eq!(encode("{ .a = \"x\" }"), "%7B%20.a%20%3D%20%22x%22%20%7D");
    }
}
