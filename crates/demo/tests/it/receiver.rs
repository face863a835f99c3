//! An OTLP/HTTP receiver that keeps everything.

use std::io::Read;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::State;
use axum::routing::post;
use flate2::read::GzDecoder;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tracewell_model::{LogEntry, SpanRecord};
use tracewell_wire::otlp;

#[derive(Default)]
struct Kept {
    spans: Vec<SpanRecord>,
    logs: Vec<LogEntry>,
    broken: usize,
}

type Shared = Arc<Mutex<Kept>>;

pub struct Receiver {
    address: SocketAddr,
    kept: Shared,
}

impl Receiver {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a loopback socket");
        let address = listener.local_addr().expect("its address");
        let kept = Shared::default();
        let router =
            Router::new().route("/v1/traces", post(traces)).route("/v1/logs", post(logs)).with_state(Arc::clone(&kept));
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { address, kept }
    }

    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn broken(&self) -> usize {
        self.kept.lock().expect("unpoisoned").broken
    }

    /// Forgets what was received so far.
    pub fn forget(&self) {
        let mut kept = self.kept.lock().expect("unpoisoned");
        kept.spans.clear();
        kept.logs.clear();
    }

    /// Looks again and again until `find` finds something; `None` after `patience`.
    pub async fn wait<T>(
        &self,
        patience: Duration,
        find: impl Fn(&[SpanRecord], &[LogEntry]) -> Option<T>,
    ) -> Option<T> {
        let end = Instant::now() + patience;
        while Instant::now() < end {
            let found = {
                let kept = self.kept.lock().expect("unpoisoned");
                find(&kept.spans, &kept.logs)
            };
            if found.is_some() {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        None
    }
}

fn inflate(body: &[u8]) -> Vec<u8> {
    let mut plain = Vec::new();
    GzDecoder::new(body).read_to_end(&mut plain).expect("gzip");
    plain
}

async fn traces(State(kept): State<Shared>, body: axum::body::Bytes) {
    let decoded = otlp::decode_traces(&inflate(&body));
    let mut kept = kept.lock().expect("unpoisoned");
    match decoded {
        Ok(spans) => kept.spans.extend(spans),
        Err(_) => kept.broken += 1,
    }
}

async fn logs(State(kept): State<Shared>, body: axum::body::Bytes) {
    let decoded = otlp::decode_logs(&inflate(&body));
    let mut kept = kept.lock().expect("unpoisoned");
    match decoded {
        Ok(logs) => kept.logs.extend(logs),
        Err(_) => kept.broken += 1,
    }
}

/// Sends JSON and returns the raw answer.
pub async fn send_json(address: SocketAddr, path: &str, body: &str) -> String {
    let mut stream = TcpStream::connect(address).await.expect("the control port listens");
    let request = format!(
        "POST {path} HTTP/1.1\r\nHost: demo\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).await.expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("answered");
    answer
}
