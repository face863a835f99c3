//! Time to estimate the clocks of many traces, and to correct them.
//!
//! `cargo bench -p tracewell-analysis --bench skew`. Each figure is the best of several rounds: what the code takes, not
//! what else the machine does.

use std::hint::black_box;
use std::time::Instant;

use tracewell_analysis::skew::{Options, correct_in_place, estimate};
use tracewell_analysis::{Builder, Span, Traces};
use tracewell_model::{SpanId, SpanKind, TraceId};

const ROUNDS: usize = 5;
const SERVICES: u64 = 50;

/// Milliseconds of the best round.
fn measure(mut call: impl FnMut()) -> f64 {
    let mut best = f64::INFINITY;
    for _ in 0..ROUNDS {
        let start = Instant::now();
        call();
        best = best.min(start.elapsed().as_secs_f64() * 1e3);
    }
    best
}

/// Traces of `calls` calls each (a client and a server span), every tenth service 20 ms ahead, one drifting.
fn traces(count: u64, calls: u64) -> Traces {
    let mut builder = Builder::new();
    let mut state = 1u64;
    let mut random = move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        // Mostly little, up to a millisecond.
        let part = state >> 44;
        (part * part) >> 20
    };
    for trace in 0..count {
        let begin = 1_800_000_000_000_000_000 + trace * 5_000_000;
        let mut add = |id: u64, parent: Option<u64>, service: u64, kind: SpanKind, start: u64, length: u64| {
            let ahead = match service {
                7 => trace * 5_000_000 / 10_000,
                service if service % 10 == 3 => 20_000_000,
                _ => 0,
            };
            let texts = builder.texts();
            let (name, host) = (format!("service-{service}"), format!("node-{}", service / 4));
            let span = Span {
                id: SpanId::from_u64(id),
                parent_id: parent.map(SpanId::from_u64),
                start_ns: start + ahead,
                end_ns: start + ahead + length,
                kind: kind as u8,
                service: texts.number(&name),
                instance: texts.number(&name),
                host: texts.number(&host),
                ..Span::default()
            };
            builder.span(span, &[]);
        };
        add(1, None, 0, SpanKind::Server, begin, 100_000_000);
        for call in 0..calls {
            // A tree of degree three over the services.
            let parent = if call < 3 { 0 } else { (call - 3) / 3 + 1 };
            let (caller, callee) =
                (if parent == 0 { 0 } else { (parent - 1) % (SERVICES - 1) + 1 }, call % (SERVICES - 1) + 1);
            let start = begin + 1_000_000 + call * 1_000;
            let (there, back) = (100_000 + random(), 100_000 + random());
            let server_parent = if parent == 0 { 1 } else { 2 * parent + 1 };
            add(2 * call + 2, Some(server_parent), caller, SpanKind::Client, start, 5_000_000 + there + back);
            add(2 * call + 3, Some(2 * call + 2), callee, SpanKind::Server, start + there, 5_000_000);
        }
        builder.finish_trace(TraceId((u128::from(trace) + 1).to_be_bytes()), 1.0);
    }
    builder.finish()
}

fn main() {
    println!("{:<34}{:>12}{:>12}{:>12}", "ms", "spans", "estimate", "correct");
    for (name, count, calls) in
        [("10,000 traces of 51 spans", 10_000, 25), ("one trace of a million spans", 1, 500_000)]
    {
        let traces = traces(count, calls);
        let took = measure(|| drop(black_box(estimate(&traces, &Options::default()))));
        let clocks = estimate(&traces, &Options::default());
        let mut copy = traces.clone();
        let correct = measure(|| correct_in_place(&mut copy, &clocks));
        println!("{name:<34}{:>12}{took:>12.1}{correct:>12.1}", traces.spans().len());
        println!("    {} of {} clocks moved or off", clocks.skewed().count(), clocks.offsets().len());
    }
}
