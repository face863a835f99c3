//! The formats against recorded cases and verdicts, and the laws that hold for all of them.

#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod formats;
mod laws;
mod sampling;
mod w3c;

use std::path::Path;

use serde_json::Value;

const DATA: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/data/propagation");

/// The data set of that name, or `None` with a message where it is not there.
fn load(file: &str) -> Option<Value> {
    let path = Path::new(DATA).join(file);
    match std::fs::read(&path) {
        Ok(bytes) => Some(serde_json::from_slice(&bytes).expect("the data set is JSON")),
        Err(error) => {
            println!("skipped: {} cannot be read ({error})", path.display());
            None
        }
    }
}
