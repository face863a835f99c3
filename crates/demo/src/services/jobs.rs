//! What happens without a visitor: jobs that begin by the clock, each in a trace of its own.

use std::time::Duration;

use serde_json::json;
use tracing::Instrument;
use tracing::field::Empty;

use crate::database::{RESTOCK, SELECT_BESTSELLERS, SELECT_LOW_STOCK};
use crate::queue::STOCK_EVENTS;
use crate::service::{CallError, Service};

/// Products whose return to the shelves is told.
const TOLD_MAX: usize = 5;

/// Runs the service's job again and again until the shop closes; returns at once where it has none.
pub(super) async fn run(service: Service) {
    let (name, every) = match service.spec.name {
        // One instance is enough.
        "inventory" if service.instance == 0 => ("restock", Duration::from_secs(20)),
        "analytics" => ("refresh bestsellers", Duration::from_secs(30)),
        _ => return,
    };
    // Not all at the same moment, and the first one soon.
    let mut wait = Duration::from_millis(500 + service.world.random.below(4_000));
    loop {
        service.pause(wait).await;
        if service.world.stop.is_cancelled() {
            return;
        }
        // Without visitors there is nothing to do.
        if service.world.requests_per_second > 0.0 {
            let span = tracing::info_span!(
                parent: None,
                "job",
                otel.name = format!("job {name}"),
                otel.status_code = Empty,
                app.job.name = name,
                error.type = Empty,
            );
            if let Err(error) = work(&service).instrument(span.clone()).await {
                span.record("otel.status_code", "error");
                span.record("error.type", error.status.as_str());
            }
        }
        wait = every;
    }
}

async fn work(service: &Service) -> Result<(), CallError> {
    if service.spec.name == "analytics" {
        service.query_own(&SELECT_BESTSELLERS, Vec::new()).await?;
        service.cached("pricing-cache", "SET", "bestsellers").await?;
        return Ok(());
    }
    let low = service.query(&SELECT_LOW_STOCK, Vec::new()).await?;
    let low = low["rows"].as_array().cloned().unwrap_or_default();
    if low.is_empty() {
        return Ok(());
    }
    service.query(&RESTOCK, Vec::new()).await?;
    tracing::info!(products = low.len(), "restocked");
    for row in low.iter().take(TOLD_MAX) {
        service.publish(STOCK_EVENTS, json!({"type": "back-in-stock", "product": row[0]})).await?;
    }
    Ok(())
}
