//! Takes OTLP on 127.0.0.1:4317 (gRPC) and 4318 (HTTP), throws it away and prints the counters when it is stopped with
//! Ctrl-C. Other settings are taken as JSON:
//!
//! ```text
//! cargo run --example receive -- '{"grpc": "127.0.0.1:0", "limits": {"in_flight_bytes_max": 1000000}}'
//! ```

use std::sync::Arc;

use tracewell_ingest::{IngestConfig, Sink, SinkFuture, Submission};

/// Prints what it gets.
struct Print;

impl Sink for Print {
    fn submit(&self, submission: Submission) -> SinkFuture<'_> {
        println!(
            "{:?} for {}: {} items, {} bytes",
            submission.signal,
            submission.tenant,
            submission.items,
            submission.payload.len()
        );
        Box::pin(async { Ok(()) })
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let config: IngestConfig = match std::env::args().nth(1) {
        Some(json) => serde_json::from_str(&json)?,
        None => IngestConfig::default(),
    };
    let listeners = tracewell_ingest::bind(config, Arc::new(Print)).await?;
    println!("grpc {:?} http {:?}", listeners.grpc_addr, listeners.http_addr);
    let stats = Arc::clone(&listeners.stats);
    listeners
        .serve(async {
            // Without signals it can only be killed, which is as good.
            let _ = tokio::signal::ctrl_c().await;
        })
        .await;
    println!("{}", serde_json::to_string_pretty(&stats.snapshot())?);
    Ok(())
}
