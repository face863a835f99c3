//! Prints where the bytes of segments are, and what the index says of an attribute's value:
//! `cargo run -p tracewell-store --example inspect -- DATA_DIR/segments [KEY VALUE]`.

use std::collections::BTreeMap;
use std::path::Path;

use tracewell_store::cache::Cache;
use tracewell_store::segment::{Segment, read_meta};
use tracewell_store::table::{AttrType, Field, Source, TermPredicate, TraceSet};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let dir = std::env::args().nth(1).ok_or("usage: inspect DATA_DIR/segments")?;
    let cache = Cache::new(16 << 20);
    let (mut rows, mut traces, mut total) = (0, 0, BTreeMap::<String, u64>::new());
    for entry in std::fs::read_dir(&dir)? {
        let path = entry?.path();
        if path.extension().is_none_or(|extension| extension != "parquet") {
            continue;
        }
        let meta = read_meta(&path)?;
        let segment = Segment::open(Path::new(&dir), &meta, &cache)?;
        rows += meta.rows;
        traces += meta.traces;
        *total.entry("(data)".to_owned()).or_default() += meta.data_bytes;
        *total.entry("(index)".to_owned()).or_default() += meta.index_bytes;
        if let (Some(key), Some(value)) = (std::env::args().nth(2), std::env::args().nth(3)) {
            let found = segment.postings(&Field::attr(&key, AttrType::Str), &TermPredicate::Text(&value))?;
            match found {
                TraceSet::All => println!("{}: any trace", segment.name()),
                TraceSet::Some { traces, exact } => {
                    println!("{}: {} of {} traces, exact: {exact}", segment.name(), traces.len(), meta.traces);
                }
            }
        }
        for (name, bytes) in segment.index_sizes() {
            *total.entry(name).or_default() += bytes;
        }
    }
    println!("{rows} rows, {traces} traces; bytes per row:");
    let mut total: Vec<(String, u64)> = total.into_iter().collect();
    total.sort_by_key(|(_, bytes)| std::cmp::Reverse(*bytes));
    for (name, bytes) in total {
        println!("{:8.3}  {name}", bytes as f64 / rows as f64);
    }
    Ok(())
}
