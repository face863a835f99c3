//! A proxy with an exporter of its own, backends made of bytes or of hyper, and a place where spans arrive.

use std::convert::Infallible;
use std::future::Future;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tracewell_model::{Span, Value};
use tracewell_proxy::{Backend, Config, Routes, Running};
use tracewell_sdk::{Pipeline, Resource};
use tracing::Level;

/// Longest wait for anything; generous, because machines that build are slow.
pub const PATIENCE: Duration = Duration::from_secs(30);

pub const ANY: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// A proxy, and the spans that it sent.
pub struct Bench {
    pub proxy: Option<Running>,
    pub pipeline: Pipeline,
    spans: Arc<Mutex<Vec<Span>>>,
}

impl Bench {
    /// In front of `backend`, with an outbound listener too.
    pub async fn new(backend: SocketAddr) -> Self {
        Self::with(backend, |_| {}).await
    }

    pub async fn with(backend: SocketAddr, set: impl FnOnce(&mut Config)) -> Self {
        let to: Backend = format!("http://{backend}").parse().unwrap();
        let mut config = Config {
            inbound: Some(ANY),
            outbound: Some(ANY),
            routes: Routes::new(Vec::new(), Some(to)),
            connect_time: PATIENCE,
            ..Config::default()
        };
        set(&mut config);
        let (receiver, spans) = receive_spans();
        let mut sdk = tracewell_sdk::Config::to_endpoint(&format!("http://{receiver}"));
        sdk.traces.delay = Duration::from_millis(20);
        sdk.traces.queue_records_max = 100_000;
        sdk.logs.url = None;
        sdk.propagators = config.propagators.clone();
        let pipeline = Pipeline::start_with(sdk, |_| {}).unwrap();
        let dispatch = pipeline.tracer(&Resource::new("shop")).dispatch(Level::INFO);
        let proxy = tracewell_proxy::start(config, dispatch).await.unwrap();
        Self { proxy: Some(proxy), pipeline, spans }
    }

    pub fn running(&self) -> &Running {
        self.proxy.as_ref().unwrap()
    }

    pub fn inbound(&self) -> SocketAddr {
        self.running().addresses().inbound.unwrap()
    }

    pub fn outbound(&self) -> SocketAddr {
        self.running().addresses().outbound.unwrap()
    }

    /// Everything that arrived, once it is that many spans, in the order of their start.
    pub async fn spans(&self, count: usize) -> Vec<Span> {
        let begun = Instant::now();
        loop {
            self.pipeline.flush(Duration::from_millis(200));
            let mut spans = self.spans.lock().unwrap().clone();
            if spans.len() >= count {
                spans.sort_by_key(|span| (span.start_unix_nano, span.kind));
                return spans;
            }
            assert!(begun.elapsed() < PATIENCE, "{} of {count} spans: {spans:#?}", spans.len());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

/// `kind` as OTLP counts.
pub const SERVER: i32 = 2;
pub const CLIENT: i32 = 3;

pub fn of_kind(spans: &[Span], kind: i32) -> &Span {
    spans.iter().find(|span| span.kind == kind).unwrap_or_else(|| panic!("no span of kind {kind} in {spans:#?}"))
}

pub fn text(span: &Span, key: &str) -> String {
    match span.attribute(key) {
        Some(Value::Str(text)) => text.clone(),
        Some(Value::Int(number)) => number.to_string(),
        Some(Value::Bool(truth)) => truth.to_string(),
        Some(Value::Array(values)) => format!("{values:?}"),
        other => format!("{other:?}"),
    }
}

fn receive_spans() -> (SocketAddr, Arc<Mutex<Vec<Span>>>) {
    let listener = std::net::TcpListener::bind(ANY).unwrap();
    let (address, spans) = (listener.local_addr().unwrap(), Arc::<Mutex<Vec<Span>>>::default());
    let kept = Arc::clone(&spans);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let kept = Arc::clone(&kept);
            std::thread::spawn(move || take_exports(stream, &kept));
        }
    });
    (address, spans)
}

fn take_exports(stream: std::net::TcpStream, kept: &Mutex<Vec<Span>>) -> Option<()> {
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    let mut writer = stream;
    loop {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if reader.read_line(&mut head).ok()? == 0 {
                return None;
            }
        }
        let head = head.to_ascii_lowercase();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "))?.parse().ok()?;
        let mut body = vec![0; length];
        reader.read_exact(&mut body).ok()?;
        let records = tracewell_wire::otlp::decode_traces(&body).expect("valid OTLP");
        kept.lock().unwrap().extend(records.into_iter().map(|record| record.span));
        writer.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").ok()?;
    }
}

/// A backend that handles each connection by itself; the number counts connections.
pub async fn backend<F, R>(handle: F) -> SocketAddr
where
    F: Fn(TcpStream, usize) -> R + Send + Sync + 'static,
    R: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind(ANY).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        for number in 0.. {
            let Ok((stream, _)) = listener.accept().await else { return };
            tokio::spawn(handle(stream, number));
        }
    });
    address
}

/// A backend on hyper, HTTP/1.1 and HTTP/2, with a function for requests.
pub async fn app<F, R>(answer: F) -> SocketAddr
where
    F: Fn(Request<Incoming>) -> R + Clone + Send + Sync + 'static,
    R: Future<Output = Response<Full<Bytes>>> + Send + 'static,
{
    backend(move |stream, _| {
        let answer = answer.clone();
        async move {
            let service = service_fn(move |request| {
                let answer = answer(request);
                async move { Ok::<_, Infallible>(answer.await) }
            });
            let _ = auto::Builder::new(TokioExecutor::new())
                .serve_connection_with_upgrades(TokioIo::new(stream), service)
                .await;
        }
    })
    .await
}

/// A backend that answers with the head and the body that it got, a line for each header.
pub async fn echo() -> SocketAddr {
    app(|request| async move {
        let mut told = format!("{} {} {:?}\n", request.method(), request.uri(), request.version());
        for (name, value) in request.headers() {
            told.push_str(&format!("{name}: {}\n", String::from_utf8_lossy(value.as_bytes())));
        }
        let body = request.into_body().collect().await.map(|body| body.to_bytes()).unwrap_or_default();
        told.push_str(&format!("\n{}", String::from_utf8_lossy(&body)));
        Response::new(Full::new(told.into()))
    })
    .await
}

/// Reads from `stream` until `end` or the end of it.
pub async fn read_until(stream: &mut TcpStream, end: &[u8]) -> Vec<u8> {
    let mut got = Vec::new();
    while !got.ends_with(end) {
        match timeout(PATIENCE, stream.read_u8()).await.expect("bytes in time") {
            Ok(byte) => got.push(byte),
            Err(_) => break,
        }
    }
    got
}

/// Sends bytes on a connection of their own and reads until the other side closes.
pub async fn exchange(to: SocketAddr, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(to).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    let mut got = Vec::new();
    let _ = timeout(PATIENCE, stream.read_to_end(&mut got)).await.expect("the connection is closed in time");
    String::from_utf8_lossy(&got).into_owned()
}

/// `GET path` with header lines on a connection of its own.
pub async fn get(to: SocketAddr, path: &str, lines: &str) -> String {
    exchange(to, format!("GET {path} HTTP/1.1\r\nhost: shop\r\nconnection: close\r\n{lines}\r\n").as_bytes()).await
}

/// The value of a header in what [`echo`] told.
pub fn echoed(answer: &str, name: &str) -> Option<String> {
    let body = answer.split_once("\r\n\r\n")?.1;
    body.lines().find_map(|line| line.strip_prefix(&format!("{name}: "))).map(str::to_owned)
}
