//! Talking to a server: plain HTTP/1.1 for the APIs, HTTP/2 for a gRPC call.

use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode, Uri, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;

/// How long connecting may take.
const CONNECT_TIME_MAX: Duration = Duration::from_secs(3);

/// How long an answer may take; longer than any query that the server lets run by default.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(120);

/// Largest answer that is read.
const ANSWER_BYTES_MAX: usize = 1 << 30;

/// A server by its address.
#[derive(Debug, Clone)]
pub struct Client {
    base: Uri,
    tenant: Option<String>,
}

/// An answer, complete.
#[derive(Debug)]
pub struct Answer {
    /// HTTP status.
    pub status: StatusCode,
    /// Headers.
    pub headers: HeaderMap,
    /// Body.
    pub body: Bytes,
    /// Trailers, which gRPC uses.
    pub trailers: HeaderMap,
}

impl Client {
    /// A client for `http://host:port`; the scheme may be left out.
    pub fn new(server: &str, tenant: Option<String>) -> Result<Self> {
        let address = if server.contains("://") { server.to_owned() } else { format!("http://{server}") };
        let base: Uri = address.trim_end_matches('/').parse().with_context(|| format!("`{server}` is not a URL"))?;
        match base.scheme_str() {
            Some("http") => {}
            Some("https") => {
                bail!("https is not spoken here; forward the port (ssh -L 3200:localhost:3200) and use http")
            }
            _ => bail!("`{server}` is not a URL; write for example http://127.0.0.1:3200"),
        }
        base.host().ok_or_else(|| anyhow!("`{server}` names no host; write for example http://127.0.0.1:3200"))?;
        Ok(Self { base, tenant })
    }

    /// The address, as a browser takes it.
    pub fn url(&self) -> String {
        self.base.to_string().trim_end_matches('/').to_owned()
    }

    async fn connect(&self) -> Result<TcpStream> {
        let host = self.base.host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
        let port = self.base.port_u16().unwrap_or(80);
        let connecting = TcpStream::connect((host, port));
        match tokio::time::timeout(CONNECT_TIME_MAX, connecting).await {
            Ok(Ok(stream)) => Ok(stream),
            Ok(Err(error)) => Err(anyhow!(error).context(format!("cannot connect to {}", self.url()))),
            Err(_) => bail!("{} does not answer (no connection within {} s)", self.url(), CONNECT_TIME_MAX.as_secs()),
        }
    }

    /// One request over HTTP/1.1.
    pub async fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: Vec<u8>) -> Result<Answer> {
        let stream = self.connect().await?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        let driver = tokio::spawn(connection);
        let authority = self.base.authority().map(|authority| authority.as_str()).unwrap_or_default();
        let mut request = Request::builder().method(method).uri(path).header(header::HOST, authority);
        if let Some(tenant) = &self.tenant {
            request = request.header("x-scope-orgid", tenant);
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::new(Bytes::from(body)))?;
        let answer = tokio::time::timeout(ANSWER_TIME_MAX, async {
            let response = sender.send_request(request).await?;
            read(response).await
        });
        let answer = answer.await.map_err(|_| anyhow!("no answer within {} s", ANSWER_TIME_MAX.as_secs()))?;
        drop(sender);
        driver.abort();
        answer.with_context(|| format!("the request to {}{path} failed", self.url()))
    }

    /// A document of the native API; its errors as they were meant for people.
    pub async fn get_json(&self, path: &str) -> Result<serde_json::Value> {
        self.json(self.send("GET", path, &[("accept", "application/json")], Vec::new()).await?)
    }

    /// Sends a document to the native API; answers and errors as [`Client::get_json`].
    pub async fn post_json(&self, path: &str, body: &serde_json::Value) -> Result<serde_json::Value> {
        let headers = [("accept", "application/json"), ("content-type", "application/json")];
        self.json(self.send("POST", path, &headers, body.to_string().into_bytes()).await?)
    }

    fn json(&self, answer: Answer) -> Result<serde_json::Value> {
        let json: Option<serde_json::Value> = serde_json::from_slice(&answer.body).ok();
        match json {
            Some(json) if answer.status.is_success() => Ok(json),
            Some(json) if json["error"]["message"].is_string() => Err(ServerError::new(&json["error"]).into()),
            _ => bail!("{} answered {} and not as Tracewell does; is it another program?", self.url(), answer.status),
        }
    }

    /// One unary gRPC call; returns the message.
    pub async fn grpc(&self, method: &str, message: &[u8]) -> Result<Bytes> {
        let stream = self.connect().await?;
        let (mut sender, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
        let driver = tokio::spawn(connection);
        let mut body = Vec::with_capacity(5 + message.len());
        body.push(0);
        body.extend_from_slice(&(message.len() as u32).to_be_bytes());
        body.extend_from_slice(message);
        let request = Request::post(format!("{}{method}", self.url()))
            .header(header::CONTENT_TYPE, "application/grpc")
            .header(header::TE, "trailers")
            .body(Full::new(Bytes::from(body)))?;
        let answer = tokio::time::timeout(Duration::from_secs(10), async {
            let response = sender.send_request(request).await?;
            read(response).await
        });
        let answer = answer.await.map_err(|_| anyhow!("no answer within 10 s"))?;
        driver.abort();
        let answer = answer?;
        // A call that fails at once has its status among the headers.
        let text = |name| answer.trailers.get(name).or(answer.headers.get(name)).and_then(|value| value.to_str().ok());
        match text("grpc-status") {
            Some("0") => Ok(answer.body.slice(5.min(answer.body.len())..)),
            Some(code) => bail!("gRPC status {code}: {}", text("grpc-message").unwrap_or("no message")),
            None => bail!("no gRPC status in the answer; is it another program?"),
        }
    }
}

async fn read(response: http::Response<hyper::body::Incoming>) -> Result<Answer> {
    let (parts, body) = response.into_parts();
    let collected = Limited::new(body, ANSWER_BYTES_MAX).collect().await.map_err(|error| anyhow!(error))?;
    let trailers = collected.trailers().cloned().unwrap_or_default();
    Ok(Answer { status: parts.status, headers: parts.headers, body: collected.to_bytes(), trailers })
}

/// What the server said is wrong with a request.
#[derive(Debug)]
pub struct ServerError {
    /// What.
    pub message: String,
    /// Where in the query, in bytes.
    pub position: Option<usize>,
    /// How much of it.
    pub length: usize,
    /// What to do.
    pub hint: Option<String>,
}

impl ServerError {
    fn new(error: &serde_json::Value) -> Self {
        let text = |name: &str| error[name].as_str().map(str::to_owned);
        let number = |name: &str| error[name].as_u64().map(|number| number as usize);
        Self {
            message: text("message").unwrap_or_default(),
            position: number("position"),
            length: number("length").unwrap_or(0),
            hint: text("hint"),
        }
    }
}

impl std::fmt::Display for ServerError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for ServerError {}
