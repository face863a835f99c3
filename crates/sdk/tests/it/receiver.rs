//! A blocking OTLP/HTTP receiver with a script: one answer for each request, then 200 for ever.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tracewell_model::{LogEntry, SpanRecord};
use tracewell_sdk::{Config, Pipeline, Resource};
use tracewell_wire::otlp;
use tracing::{Dispatch, Level};

/// What to do with a request.
#[derive(Clone)]
pub enum Step {
    /// Answer with a status, more header lines and a body.
    Answer(u16, &'static str, Vec<u8>),
    /// Close the connection without an answer.
    Hang,
    /// Keep the connection open and never answer.
    Silence,
}

/// A request as received, its body inflated.
#[derive(Clone)]
pub struct Request {
    pub head: String,
    pub body: Vec<u8>,
    pub at: Instant,
}

#[derive(Default)]
struct Kept {
    script: Vec<Step>,
    requests: Vec<Request>,
}

#[derive(Clone)]
pub struct Receiver {
    pub address: SocketAddr,
    kept: Arc<Mutex<Kept>>,
    connections: Arc<AtomicUsize>,
}

impl Receiver {
    pub fn start(script: Vec<Step>) -> Self {
        Self::start_at("127.0.0.1:0", script)
    }

    /// As [`Receiver::start`], at an address of this machine.
    pub fn start_at(address: &str, mut script: Vec<Step>) -> Self {
        script.reverse();
        let listener = TcpListener::bind(address).expect("a loopback socket");
        let receiver = Self {
            address: listener.local_addr().expect("its address"),
            kept: Arc::new(Mutex::new(Kept { script, requests: Vec::new() })),
            connections: Arc::default(),
        };
        let accepting = receiver.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                accepting.connections.fetch_add(1, Ordering::SeqCst);
                let serving = accepting.clone();
                std::thread::spawn(move || serving.serve(stream));
            }
        });
        receiver
    }

    /// Everything exported here, in small time steps.
    pub fn config(&self) -> Config {
        let mut config = Config::to_endpoint(&format!("http://{}", self.address));
        config.traces.delay = Duration::from_millis(20);
        config.logs.delay = Duration::from_millis(20);
        config
    }

    /// As [`Receiver::config`], with events in spans.
    pub fn traces_only(&self) -> Config {
        let mut config = self.config();
        config.logs.url = None;
        config
    }

    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    pub fn requests(&self) -> Vec<Request> {
        self.kept.lock().expect("unpoisoned").requests.clone()
    }

    pub fn spans(&self) -> Vec<SpanRecord> {
        self.decoded("/v1/traces", |body| otlp::decode_traces(body).expect("valid OTLP"))
    }

    /// The application's log records; what the SDK itself reports depends on other tests of the process.
    pub fn logs(&self) -> Vec<LogEntry> {
        self.all_logs().into_iter().filter(|entry| entry.scope.name != "tracewell.sdk").collect()
    }

    pub fn all_logs(&self) -> Vec<LogEntry> {
        self.decoded("/v1/logs", |body| otlp::decode_logs(body).expect("valid OTLP"))
    }

    fn decoded<T>(&self, path: &str, decode: impl Fn(&[u8]) -> Vec<T>) -> Vec<T> {
        self.requests().iter().filter(|request| request.head.contains(path)).flat_map(|r| decode(&r.body)).collect()
    }

    fn serve(&self, stream: TcpStream) -> Option<()> {
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
            let length =
                head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap_or("0").parse().ok()?;
            let mut body = vec![0; length];
            reader.read_exact(&mut body).ok()?;
            if head.contains("content-encoding: gzip") {
                let mut plain = Vec::new();
                flate2::read::GzDecoder::new(body.as_slice()).read_to_end(&mut plain).ok()?;
                body = plain;
            }
            let step = {
                let mut kept = self.kept.lock().expect("unpoisoned");
                kept.requests.push(Request { head, body, at: Instant::now() });
                kept.script.pop().unwrap_or(Step::Answer(200, "", Vec::new()))
            };
            match step {
                Step::Answer(status, headers, body) => {
                    let length = body.len();
                    write!(writer, "HTTP/1.1 {status} Scripted\r\nContent-Length: {length}\r\n{headers}\r\n").ok()?;
                    writer.write_all(&body).ok()?;
                }
                Step::Hang => return None,
                Step::Silence => std::thread::sleep(Duration::from_secs(3600)),
            }
        }
    }
}

/// Runs `work` under one service and returns what arrived, once everything has.
pub fn recorded(config: Config, receiver: &Receiver, work: impl FnOnce()) -> Vec<SpanRecord> {
    let (pipeline, dispatch) = service(config);
    tracing::dispatcher::with_default(&dispatch, work);
    drop(dispatch);
    assert!(pipeline.flush(Duration::from_secs(10)), "flushed in time");
    receiver.spans()
}

/// A pipeline that tells nobody about its problems, and the subscriber of one service.
pub fn service(config: Config) -> (Pipeline, Dispatch) {
    let pipeline = Pipeline::start_with(config, |_| {}).expect("a thread");
    let dispatch = pipeline.tracer(&Resource::new("test")).dispatch(Level::TRACE);
    (pipeline, dispatch)
}
