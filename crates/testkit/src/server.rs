//! The real binary under test: started on free ports with a folder of its own, asked over HTTP, ended with a signal.
//!
//! ```text
//! use tracewell_testkit::server::{Server, otlp_trace};
//! let server = Server::builder(env!("CARGO_BIN_EXE_tracewell_in_your_crate")).start();
//! server.post_otlp(&otlp_trace("4bf92f3577b34da6a3ce929d0e0e4736", &[("00f067aa0ba902b7", "", "gateway", "GET /")]));
//! let page = server.search("{ resource.service.name = \"gateway\" }");
//! assert_eq!(page["traces"][0]["spanCount"], 1);
//! ```

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use serde_json::Value;

/// How long a server may take to get ready; generous, because machines that build are slow.
const READY_TIME_MAX: Duration = Duration::from_secs(60);

/// How long an answer may take.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(60);

/// How a server is to be started.
#[derive(Debug)]
pub struct ServerBuilder {
    binary: PathBuf,
    data_dir: Option<PathBuf>,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
}

impl ServerBuilder {
    /// Keeps its data in this folder, which outlives it; a temporary one of its own without this.
    pub fn data_dir(mut self, folder: &Path) -> Self {
        self.data_dir = Some(folder.to_owned());
        self
    }

    /// Adds an argument to `serve`.
    pub fn arg(mut self, argument: &str) -> Self {
        self.arguments.push(argument.to_owned());
        self
    }

    /// Sets an environment variable.
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Starts it and waits for its ready line.
    ///
    /// # Panics
    /// If it does not get ready; the message holds what it wrote to standard error.
    pub fn start(self) -> Server {
        let own = self.data_dir.is_none().then(|| tempfile::tempdir().expect("a temporary folder"));
        let folder = self.data_dir.clone().or(own.as_ref().map(|own| own.path().to_owned())).unwrap_or_default();
        let mut command = Command::new(&self.binary);
        command.arg("serve").arg("--data-dir").arg(&folder);
        for flag in ["--http-listen", "--otlp-grpc-listen", "--otlp-http-listen"] {
            if !self.arguments.iter().any(|argument| argument.starts_with(flag)) {
                command.args([flag, "127.0.0.1:0"]);
            }
        }
        command.args(&self.arguments).envs(self.environment.iter().map(|(name, value)| (name, value)));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child =
            command.spawn().unwrap_or_else(|error| panic!("cannot start {}: {error}", self.binary.display()));
        let log = Log::collect(child.stderr.take().expect("standard error is piped"));
        let stdout = child.stdout.take().expect("standard output is piped");
        let Some((ready, stdout)) = first_line(stdout) else {
            let _ = child.kill();
            let _ = child.wait();
            panic!("the server did not get ready; its log:\n{}", log.text());
        };
        let address = |name: &str| {
            let mut words = ready.split_whitespace().skip_while(|word| *word != name).skip(1);
            words.next().and_then(|word| word.trim_start_matches("http://").parse::<SocketAddr>().ok())
        };
        Server {
            http: address("ui").unwrap_or_else(|| panic!("no address in the ready line {ready:?}")),
            otlp_grpc: address("otlp-grpc"),
            otlp_http: address("otlp-http"),
            ready,
            child,
            log,
            _stdout: stdout,
            _folder: own,
        }
    }
}

/// Reads the first line within [`READY_TIME_MAX`]; gives the stream back, so that the server can go on writing.
fn first_line(stdout: ChildStdout) -> Option<(String, BufReader<ChildStdout>)> {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        let mut reader = BufReader::new(stdout);
        let mut line = String::new();
        if reader.read_line(&mut line).is_ok_and(|bytes| bytes > 0) {
            let _ = sender.send((line.trim_end().to_owned(), reader));
        }
    });
    receiver.recv_timeout(READY_TIME_MAX).ok()
}

/// What a process writes to standard error.
#[derive(Debug, Clone)]
struct Log(std::sync::Arc<std::sync::Mutex<String>>);

impl Log {
    fn collect(mut stderr: impl Read + Send + 'static) -> Self {
        let log = Self(std::sync::Arc::default());
        let shared = log.clone();
        std::thread::spawn(move || {
            let mut buffer = [0u8; 4096];
            while let Ok(read @ 1..) = stderr.read(&mut buffer) {
                shared.0.lock().unwrap_or_else(|e| e.into_inner()).push_str(&String::from_utf8_lossy(&buffer[..read]));
            }
        });
        log
    }

    fn text(&self) -> String {
        self.0.lock().unwrap_or_else(|e| e.into_inner()).clone()
    }
}

/// A running server; killed when it is dropped.
#[derive(Debug)]
pub struct Server {
    /// User interface and APIs.
    pub http: SocketAddr,
    /// OTLP over gRPC.
    pub otlp_grpc: Option<SocketAddr>,
    /// OTLP over HTTP.
    pub otlp_http: Option<SocketAddr>,
    /// The ready line.
    pub ready: String,
    child: Child,
    log: Log,
    _stdout: BufReader<ChildStdout>,
    _folder: Option<tempfile::TempDir>,
}

impl Server {
    /// A server from this binary: `env!("CARGO_BIN_EXE_tracewell")` in the tests of the command.
    pub fn builder(binary: impl Into<PathBuf>) -> ServerBuilder {
        ServerBuilder { binary: binary.into(), data_dir: None, arguments: Vec::new(), environment: Vec::new() }
    }

    /// A server with everything at its default, in a temporary folder.
    pub fn start(binary: impl Into<PathBuf>) -> Self {
        Self::builder(binary).start()
    }

    /// Sends an OTLP JSON export request and returns its acknowledgement.
    ///
    /// # Panics
    /// If it is not acknowledged.
    pub fn post_otlp(&self, request: &Value) -> Value {
        let answer = self.post(
            self.otlp_http.expect("OTLP/HTTP listens"),
            "/v1/traces",
            "application/json",
            request.to_string().as_bytes(),
        );
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.json()
    }

    /// Sends OTLP JSON log records.
    ///
    /// # Panics
    /// If they are not acknowledged.
    pub fn post_otlp_logs(&self, request: &Value) -> Value {
        let answer = self.post(
            self.otlp_http.expect("OTLP/HTTP listens"),
            "/v1/logs",
            "application/json",
            request.to_string().as_bytes(),
        );
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.json()
    }

    /// Searches all of time with a TraceQL query.
    ///
    /// # Panics
    /// If the query is refused.
    pub fn search(&self, query: &str) -> Value {
        let answer = self.get(&format!("/api/v1/search?q={}", percent(query)));
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.json()
    }

    /// `GET path` of the API.
    pub fn get(&self, path: &str) -> Answer {
        self.get_with(path, &[])
    }

    /// `GET path` of the API with headers.
    pub fn get_with(&self, path: &str, headers: &[(&str, &str)]) -> Answer {
        request(self.http, "GET", path, headers, &[])
    }

    /// `POST path` to any of the server's ports.
    pub fn post(&self, address: SocketAddr, path: &str, content_type: &str, body: &[u8]) -> Answer {
        request(address, "POST", path, &[("content-type", content_type)], body)
    }

    /// The process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it wrote to standard error so far.
    pub fn log(&self) -> String {
        self.log.text()
    }

    /// Asks it to end (SIGTERM), waits for it, and returns how it ended and how long that took.
    ///
    /// # Panics
    /// If it has not ended after `limit`.
    pub fn stop(mut self, limit: Duration) -> (ExitStatus, Duration) {
        let start = Instant::now();
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("the server is there");
        loop {
            if let Some(status) = self.child.try_wait().expect("the server is our child") {
                return (status, start.elapsed());
            }
            assert!(
                start.elapsed() <= limit,
                "the server has not ended after {limit:?}; its log:\n{}",
                self.log.text()
            );
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Ends it as a crash does (SIGKILL).
    pub fn kill(mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An answer over HTTP.
#[derive(Debug, Clone)]
pub struct Answer {
    /// Status code.
    pub status: u16,
    /// Headers, names in lower case.
    pub headers: Vec<(String, String)>,
    /// Body as it came, compressed if it is.
    pub body: Vec<u8>,
}

impl Answer {
    /// A header's value.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(own, _)| own == name).map(|(_, value)| value.as_str())
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    ///
    /// # Panics
    /// If it is not JSON.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("not JSON ({error}): {}", self.text()))
    }
}

/// One request on a connection of its own.
///
/// # Panics
/// If there is no answer.
pub fn request(address: SocketAddr, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
    let mut stream = TcpStream::connect(address).unwrap_or_else(|error| panic!("cannot connect to {address}: {error}"));
    stream.set_read_timeout(Some(ANSWER_TIME_MAX)).expect("a timeout can be set");
    let mut head = format!("{method} {path} HTTP/1.1\r\nconnection: close\r\ncontent-length: {}\r\n", body.len());
    if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("host")) {
        head.push_str(&format!("host: {address}\r\n"));
    }
    headers.iter().for_each(|(name, value)| head.push_str(&format!("{name}: {value}\r\n")));
    head.push_str("\r\n");
    stream.write_all(head.as_bytes()).expect("the request can be sent");
    // A server may answer and close before it has read all of a body that it refuses.
    let _ = stream.write_all(body);
    let mut answer = Vec::new();
    let read = stream.read_to_end(&mut answer);
    parse(&answer).unwrap_or_else(|| panic!("no HTTP answer to {method} {path}: {read:?} {answer:?}"))
}

fn parse(answer: &[u8]) -> Option<Answer> {
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n")?;
    let head = std::str::from_utf8(&answer[..end]).ok()?;
    let mut lines = head.split("\r\n");
    let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
    let headers: Vec<(String, String)> = lines
        .filter_map(|line| {
            line.split_once(':').map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        })
        .collect();
    let body = &answer[end + 4..];
    let chunked = headers.iter().any(|(name, value)| name == "transfer-encoding" && value == "chunked");
    Some(Answer { status, headers, body: if chunked { unchunk(body)? } else { body.to_vec() } })
}

fn unchunk(mut body: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    loop {
        let end = body.windows(2).position(|window| window == b"\r\n")?;
        let length =
            usize::from_str_radix(std::str::from_utf8(&body[..end]).ok()?.split(';').next()?.trim(), 16).ok()?;
        if length == 0 {
            return Some(out);
        }
        out.extend_from_slice(body.get(end + 2..end + 2 + length)?);
        body = body.get(end + 4 + length..)?;
    }
}

/// Escapes a text for the query of a URL.
pub fn percent(text: &str) -> String {
    text.bytes()
        .map(|byte| if byte.is_ascii_alphanumeric() { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}

/// An OTLP JSON request with spans of one trace, each `(span id, parent span id, service, name)`, a millisecond apart and
/// nested in time, the first starting a minute ago.
pub fn otlp_trace(trace_id: &str, spans: &[(&str, &str, &str, &str)]) -> Value {
    let now =
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_nanos() as u64);
    otlp_trace_at(trace_id, now - 60_000_000_000, spans)
}

/// As [`otlp_trace`], the first span starting at `start_ns`.
pub fn otlp_trace_at(trace_id: &str, start_ns: u64, spans: &[(&str, &str, &str, &str)]) -> Value {
    let count = spans.len() as u64;
    let resource_spans = spans.iter().enumerate().map(|(index, (id, parent, service, name))| {
        let start = start_ns + index as u64 * 1_000_000;
        let end = start_ns + (2 * count - index as u64) * 1_000_000;
        serde_json::json!({
            "resource": {"attributes": [{"key": "service.name", "value": {"stringValue": service}}]},
            "scopeSpans": [{
                "scope": {"name": "testkit", "version": "1"},
                "spans": [{
                    "traceId": trace_id, "spanId": id, "parentSpanId": parent, "name": name,
                    "kind": if parent.is_empty() { 2 } else { 3 },
                    "startTimeUnixNano": start.to_string(), "endTimeUnixNano": end.to_string(),
                    "attributes": [{"key": "test.index", "value": {"intValue": index.to_string()}}],
                }],
            }],
        })
    });
    serde_json::json!({ "resourceSpans": resource_spans.collect::<Vec<_>>() })
}
