//! Time to split calls, to gather them and to hold one window against another.
//!
//! `cargo bench -p tracewell-analysis --bench hops`. Each figure is the best of several rounds.

use std::hint::black_box;
use std::time::Instant;

use tracewell_analysis::hops::{EdgeSamples, EdgeSketches, Grouping, Options, compare, edges, samples, split};
use tracewell_analysis::{Builder, Span, Traces};
use tracewell_model::{Sketch, SpanId, TraceId};

const ROUNDS: usize = 5;
const MS: u64 = 1_000_000;

/// The same numbers in every run (SplitMix64, Steele et al. 2014).
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ (mixed >> 31)) % end
    }
}

/// Traces of `spans` spans each: pairs of client and server below random servers, between fifty services.
fn traces(count: usize, spans: usize) -> Traces {
    let mut random = Random(7);
    let mut builder = Builder::new();
    for trace in 0..count {
        let mut servers: Vec<(u64, u64, u64)> = Vec::with_capacity(spans / 2 + 1);
        for number in 0..(spans / 2) as u64 {
            let (parent, caller, start) = match servers.len() {
                0 => (0, 0, 1_000_000 * MS),
                held => servers[random.below(held as u64) as usize],
            };
            let callee = (caller * 3 + 1 + random.below(3)) % 50;
            let start = start + random.below(MS);
            let mut span = |id: u64, parent: u64, service: u64, kind: u8, start_ns: u64, duration: u64| {
                let texts = builder.texts();
                let (service, operation) = (texts.number(&format!("service-{service}")), texts.number("work"));
                let parent_id = (parent > 0).then(|| SpanId::from_u64(parent));
                let (id, end_ns) = (SpanId::from_u64(id), start_ns + duration);
                builder
                    .span(Span { id, parent_id, service, operation, kind, start_ns, end_ns, ..Span::default() }, &[]);
            };
            span(2 * number + 1, parent, caller, 3, start, 30 * MS);
            let arrives = start + MS / 2 + random.below(MS);
            span(2 * number + 2, 2 * number + 1, callee, 2, arrives, 20 * MS + random.below(5 * MS));
            servers.push((2 * number + 2, callee, arrives));
        }
        builder.finish_trace(TraceId((trace as u128 + 1).to_be_bytes()), 1.0);
    }
    builder.finish()
}

fn measure<T>(name: &str, mut work: impl FnMut() -> T) -> Option<T> {
    let (mut best, mut last) = (f64::INFINITY, None);
    for _ in 0..ROUNDS {
        let start = Instant::now();
        last = Some(black_box(work()));
        best = best.min(start.elapsed().as_secs_f64() * 1000.0);
    }
    println!("{name:<64}{best:>9.1} ms");
    last
}

fn main() {
    let many = traces(10_000, 50);
    let calls = measure("split, 10,000 traces of 50 spans", || split(&many)).unwrap_or_default();
    measure("gather by edge and minute", || edges(&many, &calls, false));
    let gathered =
        measure("gather for a comparison", || samples(&many, &calls, Grouping::Services)).unwrap_or_default();
    measure("compare with itself", || compare(&gathered, &gathered, &Options::default()));
    drop((many, calls, gathered));

    let large = traces(1, 1_000_000);
    measure("split, one trace of 1,000,000 spans", || split(&large));
    drop(large);

    let mut random = Random(3);
    let mut window = |slow: bool| -> Vec<EdgeSamples> {
        let mut sketch = |from: u64, count: u64| {
            let mut sketch = Sketch::default();
            (0..count).for_each(|_| sketch.add((from + random.below(from)) as i64));
            sketch
        };
        let edge = |number: u64| {
            let more = if slow && number.is_multiple_of(40) { 50 * MS } else { 0 };
            let calls = 5 + number % 600;
            let (request, response) = (sketch(MS + more, calls), sketch(MS, calls));
            let (server, own, queue) = (sketch(20 * MS, calls), sketch(5 * MS, calls), Sketch::default());
            let sketches =
                EdgeSketches { request: &request, server: &server, own: &own, response: &response, queue: &queue };
            let (caller, callee) = (format!("service-{}", number % 1_238), format!("service-{}", number * 7 % 1_237));
            EdgeSamples { caller, callee, calls, ..EdgeSamples::of_sketches(&sketches) }
        };
        (0..4_271).map(edge).collect()
    };
    let (before, now) = (window(false), window(true));
    measure("compare, 4,271 edges of 1,238 services from rollups", || compare(&before, &now, &Options::default()));
}
