//! What released clients put on the wire, sent again.

use std::path::{Path, PathBuf};

use crate::support::*;

const CAPTURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/data/captures");

/// A recorded request: its headers (or metadata) and its body.
struct Capture {
    name: String,
    /// The gRPC method, `None` for HTTP.
    method: Option<String>,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

fn captures() -> Vec<Capture> {
    let Ok(folders) = std::fs::read_dir(CAPTURES) else {
        println!("skipped: no recorded requests at {CAPTURES}");
        return Vec::new();
    };
    let mut bodies: Vec<PathBuf> = folders
        .map(|folder| folder.unwrap().path())
        .filter(|folder| {
            let name = folder.file_name().unwrap().to_string_lossy().into_owned();
            name.starts_with("otlp-") || name.starts_with("node-otlp-")
        })
        .flat_map(|folder| std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().path()))
        .filter(|file| file.extension().is_some_and(|extension| extension == "bin"))
        .collect();
    bodies.sort();
    assert!(bodies.len() >= 9, "{bodies:?}");
    bodies.iter().map(|body| read_capture(body)).collect()
}

fn read_capture(body: &Path) -> Capture {
    let about: serde_json::Value =
        serde_json::from_slice(&std::fs::read(body.with_extension("json")).unwrap()).unwrap();
    let grpc = about.get("metadata").is_some();
    let headers = about[if grpc { "metadata" } else { "headers" }].as_array().unwrap().iter().map(|pair| {
        let text = |at: usize| pair[at].as_str().unwrap().to_owned();
        (text(0).to_ascii_lowercase(), text(1))
    });
    Capture {
        name: body.display().to_string(),
        method: grpc.then(|| about["method"].as_str().unwrap().to_owned()),
        headers: headers.collect(),
        body: std::fs::read(body).unwrap(),
    }
}

impl Capture {
    fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }

    /// The request as protobuf and uncompressed, where it is that already.
    fn protobuf(&self) -> Option<&[u8]> {
        let plain = self.method.is_some()
            || self.header("content-type") == Some("application/x-protobuf")
                && self.header("content-encoding").is_none();
        plain.then_some(&self.body)
    }
}

#[tokio::test]
async fn every_recorded_request_is_taken_as_it_came() {
    for capture in captures() {
        let server = setup().await;
        if let Some(method) = &capture.method {
            let headers: Vec<_> = capture.headers.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
            let answer = call(server.grpc, method, &headers, frame(0, &capture.body)).await;
            assert_eq!(answer.grpc(), (0, ""), "{}", capture.name);
        } else {
            // Chunked in the recording; the body was kept without its chunks.
            let headers: Vec<_> = capture
                .headers
                .iter()
                .filter(|(name, _)| !["host", "content-length", "transfer-encoding"].contains(&name.as_str()))
                .map(|(k, v)| (k.as_str(), v.as_str()))
                .collect();
            let answer = exchange(server.http, &post("/v1/traces", &headers, &capture.body)).await;
            assert_eq!(answer.status, 200, "{}: {answer:?}", capture.name);
        }
        let taken = server.taken();
        assert_eq!(taken.len(), 1, "{}", capture.name);
        assert!(taken[0].items > 0, "{}", capture.name);
        if let Some(protobuf) = capture.protobuf() {
            assert_eq!(taken[0].payload, protobuf, "{}", capture.name);
        }
    }
}

#[tokio::test]
async fn the_same_bytes_over_the_other_transport_are_the_same_request() {
    for capture in captures() {
        let Some(protobuf) = capture.protobuf() else { continue };
        let server = setup().await;
        let headers = [("content-type", "application/x-protobuf"), ("content-encoding", "zstd")];
        let answer = exchange(server.http, &post("/v1/traces", &headers, &zstd(protobuf))).await;
        assert_eq!(answer.status, 200, "{}: {answer:?}", capture.name);
        let answer = call(server.grpc, TRACES, &[("grpc-encoding", "gzip")], frame(1, &gzip(protobuf))).await;
        assert_eq!(answer.grpc(), (0, ""), "{}", capture.name);
        let taken = server.taken();
        assert_eq!((&taken[0].payload, taken[0].items), (&taken[1].payload, taken[1].items), "{}", capture.name);
        assert_eq!(taken[0].payload, protobuf);
    }
}
