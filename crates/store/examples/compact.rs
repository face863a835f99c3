//! Merges all segments of a data folder that no server has open, and prints what that took:
//! `cargo run --release -p tracewell-store --example compact -- DATA_DIR`.

use std::time::Instant;

use tracewell_store::{Store, StoreConfig};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let dir = std::env::args().nth(1).ok_or("usage: compact DATA_DIR")?;
    let (store, _) = Store::open(StoreConfig::new(&dir))?;
    let extent = || {
        let tables = store.status().tables;
        let bytes: u64 = tables.iter().map(|table| table.data_bytes + table.index_bytes).sum();
        (tables.iter().map(|table| table.segments).sum::<u64>(), bytes)
    };
    let (before, started) = (extent(), Instant::now());
    store.compact_now()?;
    println!("{before:?} segments and bytes became {:?} in {:.1?}", extent(), started.elapsed());
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    status.lines().filter(|line| line.starts_with("VmHWM")).for_each(|line| println!("{line}"));
    store.close();
    Ok(())
}
