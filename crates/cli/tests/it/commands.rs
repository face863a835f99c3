//! The other commands.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use tracewell_testkit::server::request;

use crate::{BINARY, TRACE, checkout, start};

pub fn run(arguments: &[&str]) -> Output {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut command = Command::new(BINARY);
    command.args(arguments).current_dir(folder.path()).env("COLUMNS", "100").output().expect("the binary runs")
}

pub fn stdout(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn the_default_configuration_is_written_and_what_is_in_effect_is_explained() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("tracewell.toml");
    let default = stdout(&run(&["config", "default"]));
    std::fs::write(&file, default.replace("listen = \"127.0.0.1:3200\"", "listen = \"127.0.0.1:4000\"")).unwrap();
    let output = Command::new(BINARY)
        .args(["serve", "--print-config", "--log", "debug"])
        .env("TRACEWELL_RETENTION_AGE", "14d")
        .current_dir(folder.path())
        .output()
        .unwrap();
    let text = stdout(&output);
    let line =
        |start: &str| text.lines().find(|line| line.starts_with(start)).unwrap_or_else(|| panic!("{start}: {text}"));
    assert!(line("listen = \"127.0.0.1:4000\"").contains("tracewell.toml:"));
    assert!(line("age = \"14d\"").ends_with("environment TRACEWELL_RETENTION_AGE"));
    assert!(line("level = \"debug\"").ends_with("flag --log"));
}

#[test]
fn queries_print_a_table_and_traces_a_waterfall() {
    let server = start();
    server.post_otlp(&checkout());
    let url = format!("http://{}", server.http);
    let table = stdout(&run(&["query", "{ resource.service.name = \"orders\" }", "--server", &url]));
    assert!(table.contains(TRACE) && table.contains("gateway: GET /checkout"), "{table}");
    assert!(table.contains("1 of 1 trace,"), "{table}");
    let json = stdout(&run(&["query", "--json", "--server", &url]));
    assert_eq!(serde_json::from_str::<serde_json::Value>(&json).unwrap()["total"], 1);
    let waterfall = stdout(&run(&["query", "trace", TRACE, "--server", &url]));
    assert!(waterfall.contains("└─ orders: POST /orders"), "{waterfall}");

    let wrong = run(&["query", "{ nmae = 1 }", "--server", &url]);
    let error = String::from_utf8_lossy(&wrong.stderr);
    assert!(!wrong.status.success() && error.contains("^^^^"), "{error}");
    let nobody = run(&["query", "--server", "http://127.0.0.1:1"]);
    let error = String::from_utf8_lossy(&nobody.stderr);
    assert!(error.contains("cannot connect to http://127.0.0.1:1") && error.contains("tracewell serve"), "{error}");
}

#[test]
fn a_file_is_drawn_in_the_terminal() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("trace.json");
    std::fs::write(&file, checkout().to_string()).unwrap();
    let drawn = stdout(&run(&["view", "--print", &file.display().to_string()]));
    for part in [TRACE, "gateway: GET /checkout", "└─ orders-db: INSERT orders", "4 spans", "█"] {
        assert!(drawn.contains(part), "{part:?} is missing in\n{drawn}");
    }
    std::fs::write(&file, "{\"hello\": 1}").unwrap();
    let wrong = run(&["view", "--print", &file.display().to_string()]);
    let error = String::from_utf8_lossy(&wrong.stderr);
    assert!(!wrong.status.success() && error.contains("trace.json"), "{error}");
}

#[test]
fn the_doctor_follows_a_span_through() {
    let server = start();
    let output = run(&["doctor", "--server", &format!("http://{}", server.http)]);
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}");
    for part in ["✓ span over OTLP/gRPC", "✓ span over OTLP/HTTP", "everything that was checked is well"] {
        assert!(text.contains(part), "{part:?} is missing in\n{text}");
    }
}

#[test]
fn the_doctor_shows_what_services_reported_and_what_to_do() {
    let server = start();
    let otlp = server.otlp_http.expect("OTLP/HTTP listens");
    let pipeline = tracewell_sdk::Pipeline::start(tracewell_sdk::Config::to_endpoint(&format!("http://{otlp}")));
    let pipeline = pipeline.expect("a thread");
    let _tracer = pipeline.tracer(&tracewell_sdk::Resource::new("cart"));
    (0..3).for_each(|_| tracewell_sdk::diagnostics::count("traceparent", "version is ff"));
    assert!(pipeline.flush(Duration::from_secs(20)));
    let output = run(&["doctor", "--no-span", "--server", &format!("http://{}", server.http)]);
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "somebody else's headers are no fault of this server: {text}");
    for part in ["! instrumentation of cart", "traceparent: version is ff, 3 times", "→ traceparent: a caller of this"]
    {
        assert!(text.contains(part), "{part:?} is missing in\n{text}");
    }
}

#[test]
fn the_doctor_says_what_is_wrong_where_nothing_runs() {
    let output = run(&[
        "doctor",
        "--http-listen",
        "127.0.0.1:1",
        "--otlp-grpc-listen",
        "127.0.0.1:0",
        "--otlp-http-listen",
        "off",
    ]);
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{text}");
    for part in ["✗ server", "→ start one with `tracewell serve`", "✓ data folder", "✓ free disk"] {
        assert!(text.contains(part), "{part:?} is missing in\n{text}");
    }
}

#[test]
fn help_version_and_completions_are_there() {
    assert!(stdout(&run(&["--help"])).contains("tracewell demo"));
    assert!(stdout(&run(&["serve", "--help"])).contains("--otlp-grpc-listen"));
    assert!(stdout(&run(&["--version"])).contains("target:"));
    assert!(stdout(&run(&["completions", "bash"])).contains("_tracewell"));
}

/// A command that serves until it is ended; killed when it is dropped.
pub struct Serving {
    child: Child,
    pub address: SocketAddr,
}

impl Serving {
    /// Starts it and waits for the first address that it prints.
    pub fn start(arguments: &[&str]) -> Self {
        let mut command = Command::new(BINARY);
        let mut child = command.args(arguments).stdout(Stdio::piped()).spawn().expect("the binary runs");
        let lines = BufReader::new(child.stdout.take().expect("standard output is piped")).lines();
        let address = lines.map_while(Result::ok).find_map(|line| {
            let (_, rest) = line.split_once("http://")?;
            rest.split(['/', ' ']).next()?.parse().ok()
        });
        let address = address.expect("an address is printed");
        Self { child, address }
    }

    fn json(&self, path: &str) -> serde_json::Value {
        request(self.address, "GET", path, &[], &[]).json()
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_file_is_opened_in_a_server_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("trace.json");
    std::fs::write(&file, checkout().to_string()).unwrap();
    let view = Serving::start(&["view", &file.display().to_string()]);
    assert_eq!(view.json("/api/v1/search")["traces"][0]["spanCount"], 4);
    assert_eq!(request(view.address, "GET", &format!("/trace/{TRACE}"), &[], &[]).status, 200);
}

#[test]
fn the_demo_fills_a_server_with_traces_of_many_services() {
    let demo = Serving::start(&["demo", "--http-listen", "127.0.0.1:0", "--rate", "20", "--slow-database"]);
    let patience = Instant::now() + Duration::from_secs(60);
    loop {
        let services = demo.json("/api/v1/services");
        let count = services["services"].as_array().map_or(0, Vec::len);
        let found = demo.json("/api/v1/search?q=%7B%20name%20%3D%20%22wait%20for%20lock%22%20%7D&limit=1");
        if count >= 40 && found["total"].as_u64() > Some(0) {
            break;
        }
        assert!(Instant::now() < patience, "{count} services, {found}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn faults_of_the_demo_are_switched_by_command_and_by_the_page_but_not_by_other_pages() {
    let demo = Serving::start(&["demo", "--http-listen", "127.0.0.1:0", "--rate", "0"]);
    let url = format!("http://{}", demo.address);
    let fault = |arguments: &[&str]| stdout(&run(&[&["demo", "fault"], arguments, &["--server", &url]].concat()));
    let on = || {
        assert_eq!(demo.json("/api/v1/status")["demo"], true);
        let state = demo.json("/api/v1/demo");
        let faults = state["faults"].as_array().unwrap().clone();
        let names = faults.iter().filter(|fault| fault["on"] == true).map(|fault| fault["name"].as_str().unwrap());
        names.map(str::to_owned).collect::<Vec<_>>()
    };
    assert!(fault(&["list"]).contains("slow-database        off"));
    assert!(fault(&["slow-database=orders-db", "on"]).starts_with("slow-database: on (orders-db)\n"));
    assert!(fault(&["slow-database"]).contains("wait for lock"));
    assert_eq!(on(), ["slow-database"]);
    assert!(fault(&["slow-database", "off"]).starts_with("slow-database: off\n"));
    let unknown = run(&["demo", "fault", "fire", "on", "--server", &url]);
    assert!(!unknown.status.success() && String::from_utf8_lossy(&unknown.stderr).contains("there is no fault `fire`"));

    let path = "/api/v1/demo/faults/slow-database";
    for (origin, body, status) in [
        (Some(url.as_str()), r#"{"on":true}"#, 200),
        (None, r#"{"on":false}"#, 200),
        (None, r#"{"on":"yes"}"#, 400),
        (None, r#"{"on":true,"setting":"mail-db"}"#, 400),
        (Some("http://evil.example.com"), r#"{"on":true}"#, 403),
        (Some("null"), r#"{"on":true}"#, 403),
    ] {
        let headers: Vec<(&str, &str)> = origin.map(|origin| ("origin", origin)).into_iter().collect();
        let answer = request(demo.address, "POST", path, &headers, body.as_bytes());
        assert_eq!(answer.status, status, "{origin:?} {body}: {}", String::from_utf8_lossy(&answer.body));
    }
    assert!(on().is_empty());
    for fault in demo.json("/api/v1/demo")["faults"].as_array().unwrap() {
        let query = fault["query"].as_str().unwrap();
        let found = run(&["query", query, "--json", "--server", &url]);
        assert!(found.status.success(), "{query}: {}", String::from_utf8_lossy(&found.stderr));
    }
    let server = start();
    assert_eq!(request(server.http, "GET", "/api/v1/demo", &[], &[]).status, 404);
}
