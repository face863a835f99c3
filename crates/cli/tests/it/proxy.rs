//! `tracewell proxy` as people run it: the real binary beside applications that know nothing of tracing.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use tracewell_testkit::server::{Answer, Server, request};

use crate::{BINARY, start};

/// A running proxy; killed when it is dropped.
struct Proxy {
    child: Child,
    ready: String,
    _stdout: BufReader<ChildStdout>,
}

impl Proxy {
    fn start(server: &Server, service: &str, arguments: &[&str]) -> Self {
        let otlp = format!("http://{}", server.otlp_http.expect("OTLP/HTTP listens"));
        let mut command = Command::new(BINARY);
        command.args(["proxy", "--service", service, "--otlp", &otlp]).args(arguments);
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().expect("the binary starts");
        let mut stdout = BufReader::new(child.stdout.take().expect("standard output is piped"));
        let mut ready = String::new();
        stdout.read_line(&mut ready).expect("a ready line");
        assert!(ready.starts_with("tracewell proxy is ready: "), "{ready:?}");
        Self { child, ready, _stdout: stdout }
    }

    fn address(&self, what: &str) -> SocketAddr {
        let mut words = self.ready.split_whitespace().skip_while(|word| *word != what).skip(1);
        let url = words.next().unwrap_or_else(|| panic!("no {what} in {:?}", self.ready));
        url.trim_start_matches("http://").parse().expect("an address")
    }

    /// Asks it to end and returns how long that took.
    fn stop(mut self) -> Duration {
        let begun = Instant::now();
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("it is there");
        let status = self.child.wait().expect("it is our child");
        assert!(status.success(), "{status}");
        begun.elapsed()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An application on plain sockets: for each request its head goes to `answer`, which returns the body.
fn application(answer: impl Fn(&str) -> String + Send + Sync + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("its address");
    let answer = std::sync::Arc::new(answer);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let answer = std::sync::Arc::clone(&answer);
            std::thread::spawn(move || serve(stream, &*answer));
        }
    });
    address
}

fn serve(stream: TcpStream, answer: &dyn Fn(&str) -> String) -> Option<()> {
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    let mut writer = stream;
    loop {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if reader.read_line(&mut head).ok()? == 0 {
                return None;
            }
        }
        let length =
            head.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok());
        reader.read_exact(&mut vec![0; length.unwrap_or(0)]).ok()?;
        let body = answer(&head);
        write!(writer, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()).ok()?;
    }
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines()
        .filter_map(|line| line.split_once(": "))
        .find(|(own, _)| own.eq_ignore_ascii_case(name))
        .map(|(_, v)| v)
}

/// Waits until a search finds as many traces as said.
fn found(server: &Server, query: &str, traces: u64) -> Value {
    let begun = Instant::now();
    loop {
        let page = server.search(query);
        if page["total"] == traces || begun.elapsed() > Duration::from_secs(30) {
            assert_eq!(page["total"], traces, "{query}: {page:#}");
            return page;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// client → proxy → checkout → proxy (outbound) → proxy → payments. Checkout forwards `x-request-id` and nothing else.
#[test]
fn services_that_know_nothing_of_tracing_give_one_trace() {
    let server = start();
    let payments = application(|head| format!("paid under {}", header(head, "traceparent").unwrap_or("nothing")));
    let behind = format!("http://{payments}");
    let second = Proxy::start(&server, "payments", &["--listen", "127.0.0.1:0", "--to", &behind]);
    let pays_at = second.address("inbound");

    let checkout = application(move |head| {
        let id = header(head, "x-request-id").expect("the proxy gives one").to_owned();
        let outbound: SocketAddr = header(head, "x-outbound").expect("told by the test").parse().expect("an address");
        let url = format!("http://{pays_at}/pay/17");
        request(outbound, "POST", &url, &[("x-request-id", &id)], b"").text()
    });
    let to = format!("http://{checkout}");
    let arguments = ["--listen", "127.0.0.1:0", "--to", &to, "--outbound", "127.0.0.1:0", "--admin", "127.0.0.1:0"];
    let first = Proxy::start(&server, "checkout", &arguments);
    let outbound = first.address("outbound").to_string();
    let answer: Answer = request(first.address("inbound"), "GET", "/orders/4711", &[("x-outbound", &outbound)], b"");
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert!(answer.text().starts_with("paid under 00-"), "{}", answer.text());

    let stats = request(first.address("admin"), "GET", "/stats", &[], b"").json();
    assert_eq!((&stats["requests"]["inbound"], &stats["requests"]["outbound"]), (&1.into(), &1.into()), "{stats:#}");
    assert_eq!(stats["inferred"]["x-request-id"], 1, "{stats:#}");
    assert_eq!(request(first.address("admin"), "GET", "/healthz", &[], b"").status, 200);
    for proxy in [first, second] {
        let took = proxy.stop();
        assert!(took < Duration::from_secs(10), "{took:?}");
    }

    let page = found(&server, "{ span.tracewell.inferred = true }", 1);
    let trace = &page["traces"][0];
    assert_eq!(trace["spanCount"], 5, "{page:#}");
    assert_eq!(server.search("{}")["total"], 1, "everything is one trace");
    let id = trace["traceId"].as_str().or(trace["traceID"].as_str()).expect("an id");
    assert!(answer.text().contains(id), "{} is in trace {id}", answer.text());
    for query in [
        "{ resource.service.name = \"checkout\" && kind = server } > { kind = client } > { span.tracewell.inferred.by = \"x-request-id\" } \
         > { resource.service.name = \"payments\" && kind = server } > { kind = client }",
        "{ name = \"POST /pay/{id}\" && span.http.response.status_code = 200 }",
    ] {
        assert_eq!(server.search(query)["total"], 1, "{query}");
    }
}

#[test]
fn a_dead_backend_and_a_dead_tracing_server_are_told_to_the_client_and_nobody_waits() {
    let server = start();
    let dead = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port");
    let to = format!("http://{dead}");
    let proxy = Proxy::start(&server, "shop", &["--listen", "127.0.0.1:0", "--to", &to]);
    server.kill();
    let begun = Instant::now();
    let answer = request(proxy.address("inbound"), "GET", "/", &[], b"");
    assert_eq!((answer.status, answer.header("x-tracewell-proxy-error")), (502, Some("connection_refused")));
    assert!(answer.text().contains(&to), "{}", answer.text());
    assert!(begun.elapsed() < Duration::from_secs(5));
    assert!(proxy.stop() < Duration::from_secs(15));
}

#[test]
fn what_makes_no_sense_is_refused_with_a_remedy() {
    for (arguments, expected) in [
        (&["proxy"][..], "--listen 127.0.0.1:8080 --to"),
        (&["proxy", "--listen", "127.0.0.1:0"], "--to"),
        (&["proxy", "--listen", "127.0.0.1:0", "--to", "localhost:9000"], "write for example http://127.0.0.1:9000"),
        (&["proxy", "--egress", "127.0.0.1:0"], "ADDRESS:PORT=URL"),
        (&["proxy", "--outbound", "127.0.0.1:0", "--propagators", "b9"], "b9"),
        (&["proxy", "--outbound", "127.0.0.1:0", "--sample", "2"], "from 0 to 1"),
        (&["proxy", "--outbound", "127.0.0.1:0", "--ca-file", "/nowhere.pem"], "/nowhere.pem"),
    ] {
        let output = Command::new(BINARY).args(arguments).output().expect("the binary runs");
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && error.contains(expected), "{arguments:?}: {error}");
    }
    let help = Command::new(BINARY).args(["proxy", "--help"]).output().expect("the binary runs");
    let help = String::from_utf8_lossy(&help.stdout);
    for word in ["http_proxy=", "--infer single", "h2c://", "/stats", "SIGTERM"] {
        assert!(help.contains(word), "{word} in {help}");
    }
}
