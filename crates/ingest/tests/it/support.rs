//! A server on free ports with a sink in memory, and clients that send exactly the bytes they are told to.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::io::Write;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use flate2::Compression;
use http_body::Frame;
use http_body_util::BodyExt;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, oneshot};
use tokio::task::JoinHandle;
use tracewell_ingest::{
    Endpoint, IngestConfig, RefusedSnapshot, SignalSnapshot, Sink, SinkError, SinkFuture, Stats, Submission, bind,
};

/// Longer than anything here takes; a hanging test fails with a message instead.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Keeps what it gets, or refuses it, or waits until it is let go.
pub struct MemorySink {
    pub taken: Mutex<Vec<Submission>>,
    pub refuse: Mutex<Option<SinkError>>,
    /// Each submission takes one permit for as long as it runs; none left means that it waits.
    pub gate: Semaphore,
}

impl Default for MemorySink {
    fn default() -> Self {
        Self { taken: Mutex::default(), refuse: Mutex::default(), gate: Semaphore::new(1000) }
    }
}

impl Sink for MemorySink {
    fn submit(&self, submission: Submission) -> SinkFuture<'_> {
        Box::pin(async move {
            let _permit = self.gate.acquire().await.unwrap();
            if let Some(error) = self.refuse.lock().unwrap().clone() {
                return Err(error);
            }
            self.taken.lock().unwrap().push(submission);
            Ok(())
        })
    }
}

/// A running server.
pub struct Server {
    pub grpc: SocketAddr,
    pub http: SocketAddr,
    pub sink: Arc<MemorySink>,
    pub stats: Arc<Stats>,
    pub endpoint: Endpoint,
    stop: Option<oneshot::Sender<()>>,
    task: Option<JoinHandle<()>>,
}

/// A server with the default settings on free ports.
pub async fn setup() -> Server {
    setup_with(|_| {}).await
}

/// A server with changed settings on free ports.
pub async fn setup_with(change: impl FnOnce(&mut IngestConfig)) -> Server {
    let loopback = Some("127.0.0.1:0".parse().unwrap());
    let mut config = IngestConfig { grpc: loopback, http: loopback, ..IngestConfig::default() };
    change(&mut config);
    let sink = Arc::new(MemorySink::default());
    let listeners = bind(config, sink.clone()).await.unwrap();
    let (stop, stopped) = oneshot::channel();
    let (grpc, http) = (listeners.grpc_addr.unwrap(), listeners.http_addr.unwrap());
    let (stats, endpoint) = (listeners.stats.clone(), listeners.endpoint());
    let task = tokio::spawn(listeners.serve(async {
        let _ = stopped.await;
    }));
    Server { grpc, http, sink, stats, endpoint, stop: Some(stop), task: Some(task) }
}

impl Server {
    /// Asks the server to stop; it is stopped when the returned handle is ready.
    pub fn stop(&mut self) -> JoinHandle<()> {
        self.stop.take().unwrap().send(()).unwrap();
        self.task.take().unwrap()
    }

    /// Everything that the sink took.
    pub fn taken(&self) -> Vec<Submission> {
        self.sink.taken.lock().unwrap().clone()
    }

    /// Counters of `otlp_grpc` or `otlp_http` for `traces`, `logs` or `other`.
    pub fn counters(&self, receiver: &str, signal: &str) -> SignalSnapshot {
        let snapshot = self.stats.snapshot();
        let receiver = snapshot.receivers.into_iter().find(|r| r.name == receiver).unwrap();
        receiver.signals.into_iter().find(|s| s.signal == signal).unwrap()
    }

    /// Waits until something was refused for `reason` and says how often, with the last message.
    pub async fn refused(&self, receiver: &str, signal: &str, reason: &str) -> RefusedSnapshot {
        let find = || self.counters(receiver, signal).refused.get(reason).cloned();
        eventually(&format!("something is refused for {reason}"), || find().is_some()).await;
        find().unwrap()
    }
}

/// Waits until something is so; what never becomes so fails the test with its name.
pub async fn eventually(what: &str, is_so: impl Fn() -> bool) {
    let end = tokio::time::Instant::now() + PATIENCE;
    while !is_so() {
        assert!(tokio::time::Instant::now() < end, "it never came to this: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// A protobuf field that holds `content`.
pub fn field(number: u8, content: &[u8]) -> Vec<u8> {
    let mut out = vec![number << 3 | 2];
    let mut length = content.len();
    while length >= 0x80 {
        out.push(length as u8 | 0x80);
        length >>= 7;
    }
    out.push(length as u8);
    out.extend_from_slice(content);
    out
}

/// `ExportTraceServiceRequest` with spans of these span ids (zeros make an invalid one) and a name of that length.
pub fn traces_named(span_ids: &[[u8; 8]], name_bytes: usize) -> Vec<u8> {
    let spans: Vec<u8> = span_ids
        .iter()
        .flat_map(|id| {
            let name = vec![b'n'; name_bytes];
            field(2, &[field(1, &[7; 16]), field(2, id), field(5, &name)].concat())
        })
        .collect();
    field(1, &field(2, &spans))
}

/// `ExportTraceServiceRequest` with two valid spans.
pub fn two_spans() -> Vec<u8> {
    traces_named(&[[1; 8], [2; 8]], 10)
}

/// `ExportLogsServiceRequest` with one record.
pub fn one_log() -> Vec<u8> {
    field(1, &field(2, &field(2, &field(3, b"INFO"))))
}

pub const TWO_SPANS_JSON: &str = r#"{"resourceSpans":[{"scopeSpans":[{"spans":[
    {"traceId":"5B8EFFF798038103D269B633813FC60C","spanId":"eee19b7ec3c1b174","name":"a","kind":2,
     "startTimeUnixNano":"1","endTimeUnixNano":2},
    {"traceId":"5b8efff798038103d269b633813fc60c","spanId":"eee19b7ec3c1b175","name":"b"}]}]}]}"#;

pub fn gzip(data: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(data).unwrap();
    encoder.finish().unwrap()
}

pub fn zlib(data: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(data).unwrap();
    encoder.finish().unwrap()
}

pub fn zstd(data: &[u8]) -> Vec<u8> {
    zstd::bulk::compress(data, 1).unwrap()
}

/// An HTTP answer.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: u16,
    pub headers: http::HeaderMap,
    pub trailers: http::HeaderMap,
    pub body: Bytes,
}

impl Answer {
    /// The header or, where there is none, the trailer of that name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).or_else(|| self.trailers.get(name)).map(|value| value.to_str().unwrap())
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{e}: {:?}", self.body))
    }

    /// Status code and message of gRPC.
    pub fn grpc(&self) -> (u8, &str) {
        assert_eq!(self.status, 200, "{self:?}");
        (self.header("grpc-status").unwrap().parse().unwrap(), self.header("grpc-message").unwrap_or_default())
    }
}

/// A request line with headers and a body of known length, as HTTP/1.1 bytes.
pub fn request(line: &str, headers: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let mut text = format!("{line} HTTP/1.1\r\nhost: localhost\r\n");
    for (name, value) in headers {
        text += &format!("{name}: {value}\r\n");
    }
    if !headers.iter().any(|(name, _)| ["content-length", "transfer-encoding"].contains(name)) {
        text += &format!("content-length: {}\r\n", body.len());
    }
    [text.as_bytes(), b"\r\n", body].concat()
}

/// `POST path` with a body.
pub fn post(path: &str, headers: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    request(&format!("POST {path}"), headers, body)
}

/// Connects, sends, and reads one answer.
pub async fn exchange(addr: SocketAddr, bytes: &[u8]) -> Answer {
    let mut stream = TcpStream::connect(addr).await.unwrap();
    // A server that refuses early may stop reading; what counts is its answer.
    let _ = stream.write_all(bytes).await;
    read_answer(&mut stream).await
}

/// Reads one HTTP/1.1 answer.
pub async fn read_answer(stream: &mut TcpStream) -> Answer {
    tokio::time::timeout(PATIENCE, read_answer_unbounded(stream)).await.expect("no answer in time")
}

async fn read_answer_unbounded(stream: &mut TcpStream) -> Answer {
    let mut bytes = Vec::new();
    let head = loop {
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break end + 4;
        }
        let count = stream.read_buf(&mut bytes).await.unwrap();
        assert!(count > 0, "closed within the head: {:?}", String::from_utf8_lossy(&bytes));
    };
    let text = String::from_utf8(bytes[..head].to_vec()).unwrap();
    let mut lines = text.lines();
    let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
    if status == 100 {
        assert_eq!(bytes.len(), head, "the answer came together with 100 Continue");
        return Box::pin(read_answer_unbounded(stream)).await;
    }
    let mut headers = http::HeaderMap::new();
    for line in lines.filter(|line| !line.is_empty()) {
        let (name, value) = line.split_once(':').unwrap();
        headers.append(http::HeaderName::try_from(name).unwrap(), value.trim().parse().unwrap());
    }
    let length: usize = headers.get("content-length").map_or(0, |value| value.to_str().unwrap().parse().unwrap());
    while bytes.len() < head + length {
        let count = stream.read_buf(&mut bytes).await.unwrap();
        assert!(count > 0, "closed within the body");
    }
    let body = Bytes::from(bytes.split_off(head));
    Answer { status, headers, trailers: http::HeaderMap::new(), body }
}

/// A request body that is sent as these pieces, and then ended or left open.
#[derive(Debug, Default)]
pub struct Pieces {
    pub pieces: VecDeque<Bytes>,
    pub stays_open: bool,
}

impl From<Vec<u8>> for Pieces {
    fn from(body: Vec<u8>) -> Self {
        Self { pieces: VecDeque::from([Bytes::from(body)]), stays_open: false }
    }
}

impl http_body::Body for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match self.pieces.pop_front() {
            Some(piece) => Poll::Ready(Some(Ok(Frame::data(piece)))),
            None if self.stays_open => Poll::Pending,
            None => Poll::Ready(None),
        }
    }
}

/// A client's HTTP/2 connection.
pub type Http2 = hyper::client::conn::http2::SendRequest<Pieces>;

/// Opens an HTTP/2 connection without an upgrade.
pub async fn http2(addr: SocketAddr) -> Http2 {
    let stream = TcpStream::connect(addr).await.unwrap();
    let (sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    sender
}

/// Sends one request over HTTP/2.
pub async fn send(client: &mut Http2, path: &str, headers: &[(&str, &str)], body: impl Into<Pieces>) -> Answer {
    let mut request = http::Request::post(format!("http://localhost{path}"));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let sent = client.send_request(request.body(body.into()).unwrap());
    let response = tokio::time::timeout(PATIENCE, sent).await.expect("no answer in time").unwrap();
    let (parts, body) = response.into_parts();
    let body = body.collect().await.unwrap();
    let trailers = body.trailers().cloned().unwrap_or_default();
    Answer { status: parts.status.as_u16(), headers: parts.headers, trailers, body: body.to_bytes() }
}

pub const TRACES: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";
pub const LOGS: &str = "/opentelemetry.proto.collector.logs.v1.LogsService/Export";

/// A gRPC message with its flag and length.
pub fn frame(flag: u8, message: &[u8]) -> Vec<u8> {
    [&[flag], &(message.len() as u32).to_be_bytes()[..], message].concat()
}

/// Calls a gRPC method with these bytes as the body.
pub async fn call(addr: SocketAddr, path: &str, headers: &[(&str, &str)], body: impl Into<Pieces>) -> Answer {
    let headers = [&[("content-type", "application/grpc"), ("te", "trailers")], headers].concat();
    send(&mut http2(addr).await, path, &headers, body).await
}

/// Resident memory of this process in bytes.
pub fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or("0 kB");
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}
