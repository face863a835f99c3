//! `tracewell ingest-logs` and the log files that a server follows: lines of nginx join an application's trace.

use std::io::Write;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::{BINARY, TRACE, builder, checkout, start};

/// A line of nginx for a request that the gateway of [`checkout`] has handled.
fn line(seconds: u64) -> String {
    format!(
        "{seconds}.645 0.032 200 \"GET /checkout HTTP/1.1\" \"shop\" 10.0.0.9 \"curl\" 145 \
         \"00-{TRACE}-00f067aa0ba902b7-01\" r1 \"10.0.0.1:80\" \"200\" \"0.031\" \"0.001\"\n"
    )
}

fn now_s() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

#[test]
fn lines_join_the_trace_of_the_application_and_are_stored_once() {
    let server = start();
    server.post_otlp(&checkout());
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("access.log");
    std::fs::write(&file, format!("{}no such line\n", line(now_s()))).unwrap();
    let send = || {
        let mut command = Command::new(BINARY);
        command.args(["ingest-logs", "--server", &format!("http://{}", server.http)]).arg(&file);
        command.output().expect("the binary runs")
    };
    for _ in 0..2 {
        let output = send();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        assert!(text.contains("stored 2 spans and 1 log record"), "{text}");
        assert!(text.contains("line 2 (other_format): no such line"), "{text}");
    }
    let found = server.search("{ resource.service.name = \"nginx\" }");
    assert_eq!((&found["total"], &found["traces"][0]["spanCount"]), (&1.into(), &6.into()), "{found}");
    assert_eq!(found["traces"][0]["traceId"], TRACE);
}

#[test]
fn a_dry_run_shows_what_a_line_becomes() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("a.log");
    std::fs::write(&file, line(1_795_381_862)).unwrap();
    let output = Command::new(BINARY).args(["ingest-logs", "--dry-run"]).arg(&file).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    for part in
        ["nginx-tracewell (told from the first lines)", "server span nginx: GET, 32.0 ms", "client span nginx", TRACE]
    {
        assert!(text.contains(part), "{part} in\n{text}");
    }
    let wrong = Command::new(BINARY).args(["ingest-logs", "--format", "ngnix"]).arg(&file).output().unwrap();
    assert!(!wrong.status.success() && String::from_utf8_lossy(&wrong.stderr).contains("nginx-combined"));
}

#[test]
fn a_server_follows_files_through_rotation_and_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let (data, file) = (folder.path().join("data"), folder.path().join("access.log"));
    let now = now_s();
    let append = |text: &str| {
        let mut log = std::fs::OpenOptions::new().create(true).append(true).open(&file).unwrap();
        log.write_all(text.as_bytes()).unwrap();
    };
    let read = format!("[\"{} service=edge format=nginx-tracewell\"]", folder.path().join("*.log").display());
    std::fs::write(folder.path().join("t.toml"), format!("[logfiles]\nread = {read}\n")).unwrap();
    let config = folder.path().join("t.toml");
    let start = || builder().data_dir(&data).arg("--config").arg(&config.display().to_string()).start();
    let spans_of = |server: &tracewell_testkit::server::Server, expected: u64| {
        let give_up = Instant::now() + Duration::from_secs(60);
        loop {
            let found = server.search("{ resource.service.name = \"edge\" && kind = server }");
            let spans = found["traces"][0]["matchedSpans"].as_u64().unwrap_or(0);
            if spans == expected {
                break;
            }
            assert!(spans < expected && Instant::now() < give_up, "{spans} of {expected} spans: {found}");
            std::thread::sleep(Duration::from_millis(100));
        }
    };
    append(&line(now - 9));
    let server = start();
    spans_of(&server, 1);
    std::fs::rename(&file, folder.path().join("access.log.1")).unwrap();
    append(&line(now - 8));
    spans_of(&server, 2);
    append(line(now - 7).trim_end());
    std::thread::sleep(Duration::from_millis(1500));
    append("\nno such line\n");
    spans_of(&server, 3);
    let give_up = Instant::now() + Duration::from_secs(60);
    while !server
        .get("/metrics")
        .text()
        .contains("tracewell_logfiles_lines_unreadable_total{reason=\"other_format\"} 1")
    {
        assert!(Instant::now() < give_up, "{}", server.get("/metrics").text());
        std::thread::sleep(Duration::from_millis(100));
    }
    server.stop(Duration::from_secs(30));
    append(&line(now - 6));
    let server = start();
    spans_of(&server, 4);
}
