//! `tracewell run`, with programs that only look like Python and Node: the real ones are in `tests/clients`.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::{BINARY, TRACE, checkout, start};

/// A folder with programs, in which a home and a cache are made up too.
struct Lab {
    folder: tempfile::TempDir,
}

impl Lab {
    fn new(programs: &[(&str, &str)]) -> Self {
        let lab = Self { folder: tempfile::tempdir().expect("a temporary folder") };
        std::fs::create_dir_all(lab.path("bin")).expect("a folder for programs");
        for (name, script) in programs {
            let file = lab.path("bin").join(name);
            std::fs::write(&file, format!("#!/bin/sh\n{script}\n")).expect("a program is written");
            std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).expect("it may be run");
        }
        lab
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn command(&self, server: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(BINARY);
        let path = format!("{}:/usr/bin:/bin", self.path("bin").display());
        command.args(["run", "--server", server]).args(arguments).current_dir(self.folder.path());
        command.env_clear().env("PATH", path).env("HOME", self.folder.path()).stdin(Stdio::null());
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    fn run(&self, server: &str, arguments: &[&str]) -> Output {
        self.command(server, arguments).output().expect("the binary runs")
    }
}

/// Answers the questions of a probe, and otherwise shows what it was given.
const PYTHON: &str = r#"
if [ "$1" = "-c" ]; then
    echo '{"executable":"/fake/python","version":[3,12,1],"pip":true,"ready":true,"packages":{"opentelemetry-distro":"0.66b1"}}'
    exit 0
fi
echo "out: $OTEL_SERVICE_NAME $OTEL_EXPORTER_OTLP_ENDPOINT $PYTHONPATH"
cat
echo "err: $*" >&2
exit 7
"#;

const NODE: &str = r#"
if [ "$1" = "-e" ]; then echo '{"version":"20.11.0","path":"/fake/node","own":null}'; exit 0; fi
echo "options: $NODE_OPTIONS"
"#;

/// An address at which nobody answers.
const NOBODY: &str = "http://127.0.0.1:1";

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn url(server: &tracewell_testkit::server::Server) -> String {
    format!("http://{}", server.http)
}

#[test]
fn a_program_keeps_its_streams_and_its_code_and_gets_the_environment() {
    let server = start();
    let lab = Lab::new(&[("python3", PYTHON)]);
    let output = lab.run(&url(&server), &["--", "python3", "shop.py", "--port", "1"]);
    assert_eq!(output.status.code(), Some(7));
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    let otlp = server.otlp_http.unwrap();
    assert!(out.starts_with(&format!("out: shop http://{otlp} ")), "{out}");
    let site = out.split_whitespace().last().unwrap();
    assert!(Path::new(site).join("sitecustomize.py").is_file(), "{out}");
    assert!(site.starts_with(&lab.path(".cache/tracewell/run").display().to_string()), "{out}");
    assert!(err.contains("err: shop.py --port 1"), "{err}");
    assert!(err.contains("tracewell run: Python 3.12.1 (/fake/python): uses opentelemetry-distro 0.66b1"), "{err}");
    assert!(err.contains("nothing arrived") && err.contains("no Python process loaded"), "{err}");

    let quiet = lab.run(&url(&server), &["--quiet", "--service", "named", "--", "python3", "shop.py"]);
    assert_eq!(text(&quiet.stderr), "err: shop.py\n");
    assert!(text(&quiet.stdout).starts_with("out: named "));
}

#[test]
fn nothing_is_installed_unless_asked_for_and_what_would_be_is_said() {
    let server = start();
    let lab = Lab::new(&[("node", NODE), ("npm", "echo \"$@\" > $HOME/npm.log")]);
    let output = lab.run(&url(&server), &["--", "node", "server.js"]);
    let err = text(&output.stderr);
    assert!(output.status.success() && err.contains("auto-instrumentations-node@0.78.0 from npm"), "{err}");
    assert!(err.contains("nothing was installed; --install puts it into"), "{err}");
    assert_eq!(text(&output.stdout), "options: \n");
    assert!(!lab.path("npm.log").exists());

    let output = lab.run(&url(&server), &["--install", "--", "node", "server.js"]);
    let out = text(&output.stdout);
    assert!(out.contains("--require ") && out.contains("register.cjs"), "{out} {}", text(&output.stderr));
    assert!(std::fs::read_to_string(lab.path("npm.log")).unwrap().contains("@opentelemetry/api@1.9.0"));
    let again = lab.command(&url(&server), &["--", "node", "s.js"]).env("NODE_OPTIONS", "--trace-gc").output().unwrap();
    assert!(text(&again.stdout).starts_with("options: --trace-gc --require "), "{}", text(&again.stdout));
}

#[test]
fn a_dry_run_prints_lines_for_a_shell_and_starts_nothing() {
    let server = start();
    let lab = Lab::new(&[("node", NODE)]);
    let mut command = lab.command(&url(&server), &["--dry-run", "--", "node", "it's.js"]);
    let output = command.env("OTEL_PROPAGATORS", "b3").output().unwrap();
    let out = text(&output.stdout);
    for line in [
        "# would install @opentelemetry/api@1.9.0",
        "npm install",
        "# OTEL_PROPAGATORS=b3 stays as it is",
        "export OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf",
        "node 'it'\\''s.js'",
    ] {
        assert!(out.lines().any(|found| found.starts_with(line)), "{line} in\n{out}");
    }
}

#[test]
fn without_a_server_the_program_runs_as_if_we_were_not_there() {
    let lab = Lab::new(&[("python3", PYTHON)]);
    let output = lab.run(NOBODY, &["--", "python3", "shop.py"]);
    assert_eq!(output.status.code(), Some(7));
    assert_eq!(text(&output.stdout), "out:   \n");
    let err = text(&output.stderr);
    assert!(err.contains("no server answers at http://127.0.0.1:1") && err.contains("--serve"), "{err}");

    let output = lab.run(NOBODY, &["--otlp", "http://10.1.2.3:4318", "--", "python3", "shop.py"]);
    assert!(text(&output.stdout).starts_with("out: shop http://10.1.2.3:4318 "), "{}", text(&output.stdout));
}

#[test]
fn codes_are_those_that_a_shell_gives() {
    let lab = Lab::new(&[("killed", "kill -9 $$")]);
    assert_eq!(lab.run(NOBODY, &["killed"]).status.code(), Some(137));
    let missing = lab.run(NOBODY, &["--quiet", "--", "no-such-program"]);
    assert_eq!(missing.status.code(), Some(127));
    assert!(text(&missing.stderr).contains("cannot start no-such-program"));
    std::fs::write(lab.path("plain"), "text").unwrap();
    assert_eq!(lab.run(NOBODY, &["./plain"]).status.code(), Some(126));
    assert_eq!(lab.run("ftp://x", &["true"]).status.code(), Some(0), "an address that is none does not stop a program");
}

#[test]
fn signals_are_handed_on() {
    let lab = Lab::new(&[("waits", "trap 'echo got TERM; exit 9' TERM; echo ready; while :; do sleep 0.05; done")]);
    let mut child = lab.command(NOBODY, &["waits"]).spawn().unwrap();
    let mut out = std::io::BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    std::io::BufRead::read_line(&mut out, &mut line).unwrap();
    assert_eq!(line, "ready\n");
    assert!(Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap().success());
    line.clear();
    std::io::BufRead::read_line(&mut out, &mut line).unwrap();
    assert_eq!(line, "got TERM\n");
    assert_eq!(child.wait().unwrap().code(), Some(9));
}

#[test]
fn what_arrived_is_reported() {
    let server = start();
    let script = "echo \"$OTEL_RESOURCE_ATTRIBUTES\" > attributes; while [ ! -e go-on ]; do sleep 0.05; done";
    let lab = Lab::new(&[("program", script)]);
    let child = lab.command(&url(&server), &["program"]).spawn().unwrap();
    let give_up = Instant::now() + Duration::from_secs(60);
    let attributes = loop {
        match std::fs::read_to_string(lab.path("attributes")) {
            Ok(text) if text.ends_with('\n') => break text,
            _ if Instant::now() > give_up => panic!("the program did not start"),
            _ => std::thread::sleep(Duration::from_millis(20)),
        }
    };
    let run_id = attributes.trim().strip_prefix("tracewell.run.id=").unwrap();
    let mut trace = checkout();
    for group in trace["resourceSpans"].as_array_mut().unwrap() {
        let attributes = group["resource"]["attributes"].as_array_mut().unwrap();
        if attributes.iter().any(|attribute| attribute["value"]["stringValue"] == "gateway") {
            attributes.push(json!({"key": "tracewell.run.id", "value": {"stringValue": run_id}}));
        }
    }
    server.post_otlp(&trace);
    std::fs::write(lab.path("go-on"), "").unwrap();
    let output = child.wait_with_output().unwrap();
    let err = text(&output.stderr);
    assert!(err.contains("arrived from gateway: 2 spans in 1 trace"), "{err}");
    assert!(err.contains(&format!("tracewell query trace {TRACE}")), "{err}");
    assert!(err.contains("in the same traces: orders, orders-db"), "{err}");
    assert!(err.contains(&format!("open http://{}/traces?q=", server.http)), "{err}");
}
