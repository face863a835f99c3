//! Time to find what is broken in ten thousand traces, and what was found in recordings.
//!
//! `cargo bench -p tracewell-analysis --bench broken [-- FILE…]`: generated traffic, healthy and damaged; or files of
//! traces, one request a line. Each figure is the best of several rounds.

#[path = "../tests/it/broken/damage.rs"]
#[allow(dead_code, reason = "shared with the tests")]
mod damage;
#[path = "../tests/it/broken/system.rs"]
#[allow(dead_code, reason = "shared with the tests")]
mod system;

use std::time::Instant;

use tracewell_analysis::broken::{self, BrokenHop, Options};
use tracewell_analysis::{Builder, Traces};

const ROUNDS: usize = 7;

fn measure(name: &str, traces: &Traces) -> Vec<BrokenHop> {
    let (mut best, mut found) = (f64::INFINITY, Vec::new());
    for _ in 0..ROUNDS {
        let start = Instant::now();
        found = broken::find(traces, &Options::default());
        best = best.min(start.elapsed().as_secs_f64() * 1000.0);
    }
    println!("{name:<28}{:>9} traces{:>9} spans{best:>9.1} ms", traces.traces().len(), traces.spans().len());
    found
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let files: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    for file in &files {
        let text = std::fs::read_to_string(file)?;
        let mut records = Vec::new();
        for line in text.lines() {
            records.extend(tracewell_wire::file::read_traces(line.as_bytes())?);
        }
        let found = measure(file, &Builder::from_records(&records, &[]));
        println!("{}", serde_json::to_string_pretty(&found)?);
    }
    if files.is_empty() {
        let system = system::System::new(1002, system::Naming::Peer);
        let whole = system.traffic(1, 10_000, 200.0);
        let answered = damage::answered(&whole);
        measure("healthy", &system::build(&whole, &system::name));
        for damage in damage::ALL {
            let done = damage.apply(&whole, &answered, (0, 2), 1);
            measure(&format!("{damage:?}"), &system::build(&done.traces, &system::name));
        }
    }
    Ok(())
}
