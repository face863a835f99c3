//! Export over https, to a receiver whose certificate nobody but this test knows.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tracewell_sdk::{Config, Signal};
use tracing::info_span;

use crate::receiver::service;

/// Answers every POST with 200 over TLS; prints its port.
const SERVER: &str = r#"
import http.server, ssl, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        self.rfile.read(int(self.headers["content-length"]))
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()
    def log_message(self, *arguments):
        pass
server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(sys.argv[1], sys.argv[2])
server.socket = context.wrap_socket(server.socket, server_side=True)
print(server.server_port, flush=True)
server.serve_forever()
"#;

struct Server {
    child: Child,
    port: u16,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A server with a new certificate in `folder`; `None` where the machine lacks the tools for it.
fn start(folder: &Path) -> Option<Server> {
    let (certificate, key) = (folder.join("certificate.pem"), folder.join("key.pem"));
    let made = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"])
        .args(["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1", "-addext", "basicConstraints=critical,CA:FALSE"])
        .arg("-keyout")
        .arg(&key)
        .arg("-out")
        .arg(&certificate)
        .stderr(Stdio::null())
        .status();
    made.ok().filter(|status| status.success())?;
    let mut python = Command::new("python3");
    let mut child = python.args(["-c", SERVER]).arg(certificate).arg(key).stdout(Stdio::piped()).spawn().ok()?;
    let mut line = String::new();
    BufReader::new(child.stdout.take()?).read_line(&mut line).ok()?;
    Some(Server { child, port: line.trim().parse().ok()? })
}

#[test]
fn a_receiver_is_trusted_by_the_certificate_that_was_given_and_by_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let Some(server) = start(folder.path()) else {
        println!("skipped: openssl and python3 are needed for a server with a certificate of its own");
        return;
    };
    let export = |certificate: Option<&str>| {
        let mut config = Config::to_endpoint(&format!("https://localhost:{}", server.port));
        config.logs.url = None;
        config.retry_for = Duration::ZERO;
        config.traces.certificate = certificate.map(|name| folder.path().join(name));
        let (pipeline, dispatch) = service(config);
        tracing::dispatcher::with_default(&dispatch, || drop(info_span!("secret")));
        assert!(pipeline.flush(Duration::from_secs(30)));
        let stats = pipeline.stats(Signal::Traces);
        (stats.exported, stats.failed)
    };
    assert_eq!(export(Some("certificate.pem")), (1, 0));
    assert_eq!(export(None), (0, 1), "it is signed by nobody that the public web knows");
    assert_eq!(export(Some("key.pem")), (0, 1), "a file without a certificate");
    assert_eq!(export(Some("missing.pem")), (0, 1));
}
