//! What one span costs the application, in nanoseconds, exporter included where there is a receiver:
//!
//! ```text
//! cargo run --release -p tracewell-sdk --example overhead [-- http://127.0.0.1:4318]
//! ```

use std::time::{Duration, Instant};

use tracewell_sdk::{Config, Pipeline, Resource, Sampler, Signal};
use tracing::{Level, info, info_span};

const SPANS: u32 = 200_000;

/// Runs `work` for each span and prints the best of five rounds: the others were disturbed.
fn measure(name: &str, sampler: Sampler, endpoint: Option<&str>, work: impl Fn(u32)) {
    let mut config = Config::to_endpoint(endpoint.unwrap_or("http://127.0.0.1:9"));
    config.sampler = sampler;
    config.logs.url = None;
    config.traces.queue_records_max = SPANS as usize * 2;
    config.traces.queue_bytes_max = 1 << 30;
    config.traces.batch_records_max = 2048;
    config.shutdown_timeout = Duration::ZERO;
    if endpoint.is_none() {
        // Nothing is sent while the clock runs.
        config.traces.batch_records_max = config.traces.queue_records_max;
        config.traces.delay = Duration::from_secs(3600);
    }
    let mut best = Duration::MAX;
    for _ in 0..5 {
        let Ok(pipeline) = Pipeline::start_with(config.clone(), |_| {}) else { return };
        let dispatch = pipeline.tracer(&Resource::new("overhead")).dispatch(Level::INFO);
        let begin = Instant::now();
        tracing::dispatcher::with_default(&dispatch, || (0..SPANS).for_each(&work));
        best = best.min(begin.elapsed());
        if endpoint.is_some() {
            pipeline.flush(Duration::from_secs(30));
            let stats = pipeline.stats(Signal::Traces);
            println!("{name}: exported {}, dropped {}, failed {}", stats.exported, stats.dropped, stats.failed);
        }
    }
    println!("{name}: {} ns per span", best.as_nanos() / u128::from(SPANS));
}

fn main() {
    let endpoint = std::env::args().nth(1);
    let endpoint = endpoint.as_deref();
    measure("empty span, sampled", Sampler::always_on(), endpoint, |_| drop(info_span!("work")));
    measure("four attributes, entered, sampled", Sampler::always_on(), endpoint, |number| {
        let span = info_span!("work", otel.kind = "client", db.system.name = "postgresql", rows = number, hit = true);
        span.in_scope(|| ());
    });
    measure("child with one event, sampled", Sampler::always_on(), endpoint, |number| {
        info_span!("parent").in_scope(|| info_span!("child", number).in_scope(|| info!(number, "event")));
    });
    measure("four attributes, entered, unsampled", Sampler::always_off(), endpoint, |number| {
        let span = info_span!("work", otel.kind = "client", db.system.name = "postgresql", rows = number, hit = true);
        span.in_scope(|| ());
    });
    let subscriber = tracing_subscriber::registry();
    let begin = Instant::now();
    tracing::subscriber::with_default(subscriber, || {
        for number in 0..SPANS {
            let span =
                info_span!("work", otel.kind = "client", db.system.name = "postgresql", rows = number, hit = true);
            span.in_scope(|| ());
        }
    });
    println!("the registry alone: {} ns per span", begin.elapsed().as_nanos() / u128::from(SPANS));
}
