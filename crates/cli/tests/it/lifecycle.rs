//! Starting, ending, and starting again.

use std::net::TcpListener;
use std::process::Command;
use std::time::Duration;

use crate::{BINARY, TRACE, builder, checkout, start};

#[test]
fn the_ready_line_comes_when_every_listener_answers() {
    let server = start();
    assert!(server.ready.starts_with("tracewell is ready: ui http://127.0.0.1:"), "{}", server.ready);
    for address in [server.http, server.otlp_grpc.unwrap(), server.otlp_http.unwrap()] {
        std::net::TcpStream::connect(address).unwrap();
    }
    assert_eq!(server.get("/readyz").status, 200);
}

#[test]
fn listeners_can_be_switched_off() {
    let server = builder().arg("--otlp-grpc-listen=off").start();
    assert_eq!(server.otlp_grpc, None);
    assert!(!server.ready.contains("otlp-grpc"), "{}", server.ready);
    server.post_otlp(&checkout());
}

#[test]
fn a_restart_keeps_everything_and_the_end_comes_within_five_seconds() {
    let folder = tempfile::tempdir().unwrap();
    let server = builder().data_dir(folder.path()).start();
    server.post_otlp(&checkout());
    let (status, took) = server.stop(Duration::from_secs(10));
    assert!(status.success(), "{status}");
    assert!(took < Duration::from_secs(5), "{took:?}");

    let server = builder().data_dir(folder.path()).start();
    assert_eq!(server.search("{}")["traces"][0]["spanCount"], 4);
    assert_eq!(server.get(&format!("/api/v1/traces/{TRACE}/columns")).status, 200);
}

#[test]
fn a_crash_loses_nothing_that_was_acknowledged() {
    let folder = tempfile::tempdir().unwrap();
    let server = builder().data_dir(folder.path()).start();
    server.post_otlp(&checkout());
    server.kill();
    let server = builder().data_dir(folder.path()).start();
    let page = server.search("{}");
    assert_eq!((&page["total"], &page["traces"][0]["spanCount"]), (&1.into(), &4.into()), "{page}");
}

#[test]
fn a_client_that_hangs_does_not_keep_the_server_from_ending() {
    let server = start();
    let _idle = std::net::TcpStream::connect(server.http).unwrap();
    let mut half = std::net::TcpStream::connect(server.otlp_http.unwrap()).unwrap();
    std::io::Write::write_all(&mut half, b"POST /v1/traces HTTP/1.1\r\nhost: x\r\ncontent-length: 1000\r\n\r\n{")
        .unwrap();
    let (_, took) = server.stop(Duration::from_secs(10));
    assert!(took < Duration::from_secs(5), "{took:?}");
}

/// Runs `tracewell` with these arguments and returns what it wrote to standard error; it must fail.
fn failure(arguments: &[&str], environment: &[(&str, &str)]) -> String {
    let output = Command::new(BINARY).args(arguments).envs(environment.iter().copied()).output();
    let output = output.expect("the binary runs");
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success(), "{arguments:?} succeeded");
    assert!(output.stdout.is_empty(), "nothing but the ready line is on standard output");
    error
}

#[test]
fn what_keeps_the_server_from_starting_is_said_with_a_remedy() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data").display().to_string();
    let file = folder.path().join("bad.toml");
    std::fs::write(&file, "[http]\nlisen = \"127.0.0.1:0\"\n").unwrap();
    let file = file.display().to_string();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    let blocked = folder.path().join("file");
    std::fs::write(&blocked, "").unwrap();
    let blocked = blocked.display().to_string();
    let free =
        ["--http-listen", "127.0.0.1:0", "--otlp-grpc-listen", "127.0.0.1:0", "--otlp-http-listen", "127.0.0.1:0"];
    let with = |arguments: &[&'static str]| arguments.to_vec();
    for (arguments, environment, expected) in [
        (vec!["serve", "--config", &file], None, vec!["bad.toml:2", "did you mean `http.listen`?"]),
        (vec!["serve", "--config", "/nowhere.toml"], None, vec!["/nowhere.toml: cannot be read"]),
        (with(&["serve", "--http-listen", "3200"]), None, vec!["flag --http-listen", "name the interface"]),
        (with(&["serve", "--set", "query.time_max=0s"]), None, vec!["--set query.time_max", "out of range"]),
        (with(&["serve", "--set", "nonsense"]), None, vec!["write --set KEY=VALUE"]),
        (with(&["serve"]), Some(("TRACEWELL_LOG_LEVEL", "loud")), vec!["environment TRACEWELL_LOG_LEVEL"]),
        (
            [&["serve", "--data-dir", &data], &free[2..], &["--http-listen", &taken]].concat(),
            None,
            vec![&taken, "--http-listen"],
        ),
        (
            [&["serve", "--data-dir", &data], &free[..4], &["--otlp-http-listen", &taken]].concat(),
            None,
            vec![&taken, "--otlp-http-listen"],
        ),
        ([&["serve", "--data-dir", &blocked], &free[..]].concat(), None, vec![&blocked]),
    ] {
        let error = failure(&arguments, environment.as_slice());
        for part in expected {
            assert!(error.contains(part), "{arguments:?}: {error:?} does not contain {part:?}");
        }
        assert!(error.lines().any(|line| line.starts_with("error: ")), "{error:?}");
    }
}

#[test]
fn a_folder_has_one_server() {
    let folder = tempfile::tempdir().unwrap();
    let _first = builder().data_dir(folder.path()).start();
    let data = folder.path().display().to_string();
    let error = failure(
        &[
            "serve",
            "--data-dir",
            &data,
            "--http-listen",
            "127.0.0.1:0",
            "--otlp-grpc-listen",
            "off",
            "--otlp-http-listen",
            "off",
        ],
        &[],
    );
    assert!(error.contains("in use"), "{error}");
}
