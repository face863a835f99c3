//! A loopback OTLP receiver, and what was recorded while some work ran.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tracewell_model::{Span, SpanId, Value};
use tracewell_sdk::{Config, Pipeline, Resource};
use tracing::instrument::WithSubscriber;
use tracing::{Dispatch, Level};

/// Longest wait for anything.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// The address in an environment variable of `tests/services/run`.
pub fn address(variable: &str, server: &str) -> Option<String> {
    let address = std::env::var(variable).ok().filter(|address| !address.is_empty());
    if address.is_none() {
        println!("skipped: {variable} is not set, there is no {server}; tests/services/run starts one");
    }
    address
}

/// Spans in the order of their end.
pub struct Spans(Vec<Span>);

impl Spans {
    pub fn all(&self) -> &[Span] {
        &self.0
    }

    /// Every span of this name.
    pub fn named(&self, name: &str) -> Vec<&Span> {
        self.0.iter().filter(|span| span.name == name).collect()
    }

    /// The only span of this name.
    pub fn one(&self, name: &str) -> &Span {
        match &*self.named(name) {
            [span] => span,
            found => panic!("{} spans {name:?} among {:?}", found.len(), self.names()),
        }
    }

    pub fn names(&self) -> Vec<&str> {
        self.0.iter().map(|span| span.name.as_str()).collect()
    }

    pub fn by_id(&self, id: SpanId) -> &Span {
        self.0.iter().find(|span| span.span_id == id).unwrap_or_else(|| panic!("no span {id:?}"))
    }
}

/// The parent of a span that has one.
pub fn parent(span: &Span) -> SpanId {
    span.parent_span_id.unwrap_or_else(|| panic!("{} has no parent", span.name))
}

pub fn text<'a>(span: &'a Span, key: &str) -> Option<&'a str> {
    span.attribute(key).and_then(Value::as_str)
}

pub fn number(span: &Span, key: &str) -> Option<i64> {
    match span.attribute(key) {
        Some(Value::Int(number)) => Some(*number),
        _ => None,
    }
}

/// Asserts several text attributes at once.
pub fn expect(span: &Span, attributes: &[(&str, &str)]) {
    for (key, value) in attributes {
        assert_eq!(text(span, key), Some(*value), "{key} of {}", span.name);
    }
}

/// Runs `work` on a runtime of its own under one service, and returns what arrived at the receiver.
pub fn recorded<T>(work: impl Future<Output = T>) -> (T, Spans) {
    let (pipeline, dispatch, bodies) = service();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let result = runtime.block_on(async {
        let work = work.with_subscriber(dispatch.clone());
        tokio::time::timeout(PATIENCE, work).await.expect("the work comes to an end")
    });
    drop(runtime);
    drop(dispatch);
    assert!(pipeline.flush(PATIENCE), "flushed in time");
    let bodies = bodies.lock().unwrap();
    let decode = |body: &Vec<u8>| tracewell_wire::otlp::decode_traces(body).expect("valid OTLP");
    (result, Spans(bodies.iter().flat_map(decode).map(|record| record.span).collect()))
}

type Bodies = Arc<Mutex<Vec<Vec<u8>>>>;

fn service() -> (Pipeline, Dispatch, Bodies) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut config = Config::to_endpoint(&format!("http://{}", listener.local_addr().unwrap()));
    config.logs.url = None;
    config.traces.delay = Duration::from_millis(20);
    let bodies = Bodies::default();
    let kept = Arc::clone(&bodies);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let kept = Arc::clone(&kept);
            std::thread::spawn(move || serve(&stream, &kept));
        }
    });
    let pipeline = Pipeline::start_with(config, |_| {}).unwrap();
    let dispatch = pipeline.tracer(&Resource::new("services")).dispatch(Level::INFO);
    (pipeline, dispatch, bodies)
}

fn serve(stream: &TcpStream, kept: &Bodies) -> Option<()> {
    let (mut reader, mut writer) = (BufReader::new(stream), stream);
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
        if head.contains("post /v1/traces") {
            kept.lock().unwrap().push(body);
        }
        writer.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").ok()?;
    }
}
