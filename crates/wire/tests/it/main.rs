//! What the wire formats promise: laws over arbitrary data, tables from the specification, and what
//! released clients really sent.

#![allow(clippy::unwrap_used)]

mod accesslog;
mod captures;
mod files;
mod jaeger;
mod json_mapping;
mod protobuf;
mod response;
mod robust;
mod round_trip;

use std::path::PathBuf;

/// So many cases of a property. What fails is printed and not kept in a file.
fn cases(cases: u32) -> proptest::test_runner::Config {
    proptest::test_runner::Config { cases, failure_persistence: None, ..Default::default() }
}

/// A folder of the shared test data; prints why and gives `None` where it is not there.
fn data(folder: &str) -> Option<PathBuf> {
    let path = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/data")).join(folder);
    if path.exists() {
        return Some(path);
    }
    println!("skipped: there is no test data in {}", path.display());
    None
}
