//! Time to compare slow traces with the rest, and to explain a table of requests.
//!
//! `cargo bench -p tracewell-analysis --bench outliers`. Ten thousand traces of fifty spans with fifteen attributes each, ids
//! among them; one in six traces runs a slow version. Each figure is the best of several rounds.

use std::hint::black_box;
use std::time::Instant;

use tracewell_analysis::outliers::table::{Column, Table, explain};
use tracewell_analysis::outliers::{Options, find_among, find_slow, slow};
use tracewell_analysis::{Attribute, Builder, Scalar, Span, Traces};
use tracewell_model::{SpanId, TraceId};

const ROUNDS: usize = 5;
const TRACES: u64 = 10_000;
const SPANS: u64 = 50;
const SERVICES: u64 = 20;

struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

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

fn traces() -> Traces {
    let mut dice = Dice(1);
    let mut builder = Builder::new();
    let resources: Vec<u32> = (0..SERVICES * 3)
        .map(|number| {
            let version = if number % 3 == 0 && number / 3 == 7 { "2.0" } else { "1.0" };
            let texts = builder.texts();
            let attributes = vec![
                Attribute { key: texts.number("service.version"), value: Scalar::Text(texts.number(version)) },
                Attribute {
                    key: texts.number("service.instance.id"),
                    value: Scalar::Text(texts.number(&format!("pod-{number}"))),
                },
            ];
            builder.resource(attributes)
        })
        .collect();
    for trace in 0..TRACES {
        let slow = dice.below(6) == 0;
        let root = dice.below(8);
        for id in 0..SPANS {
            let service = id % SERVICES;
            let instance = if service == 7 && !slow { 1 + dice.below(2) } else { dice.below(3) };
            let instance = if service == 7 && slow { 0 } else { instance };
            let mut attributes = Vec::with_capacity(15);
            for key in 0..15u64 {
                let texts = builder.texts();
                let value = match key {
                    0 => Scalar::Text(texts.number(&format!("request-{}", dice.below(u64::MAX >> 34)))),
                    1 => Scalar::Int(dice.below(1_000_000) as i64),
                    2 => Scalar::Text(texts.number(&format!("product-{}", dice.below(300)))),
                    3 => Scalar::Int(200),
                    4 => Scalar::Bool(dice.below(2) == 0),
                    _ => Scalar::Text(texts.number(&format!("value-{}", dice.below(2 + key)))),
                };
                attributes.push(Attribute { key: texts.number(&format!("key.{key}")), value });
            }
            let texts = builder.texts();
            let operation = if id == 0 { format!("GET /{root}") } else { format!("operation {id}") };
            let span = Span {
                id: SpanId::from_u64(id + 1),
                parent_id: (id > 0).then(|| SpanId::from_u64(1 + (id - 1) / 3)),
                start_ns: 1 + trace * 1_000_000_000 + id * 1_000,
                end_ns: 1
                    + trace * 1_000_000_000
                    + 50_000_000
                    + dice.below(20_000_000)
                    + if slow { 300_000_000 } else { 0 },
                service: texts.number(&format!("service-{service}")),
                operation: texts.number(&operation),
                resource: resources[(service * 3 + instance) as usize],
                ..Span::default()
            };
            builder.span(span, &attributes);
        }
        builder.finish_trace(TraceId((u128::from(trace) + 1).to_be_bytes()), 1.0);
    }
    builder.finish()
}

fn table() -> Table {
    let mut dice = Dice(3);
    let rows: Vec<Vec<f64>> = (0..10_000)
        .map(|_| {
            let mut row: Vec<f64> = (0..15).map(|_| (10 + dice.below(6) + dice.below(6)) as f64).collect();
            match dice.below(10) {
                0 => row[3] += 40.0,
                1 => row[7] += 30.0,
                _ => {}
            }
            row
        })
        .collect();
    let column = |number: usize| Column {
        name: format!("call {number}"),
        values_ms: rows.iter().map(|row| row[number]).collect(),
    };
    Table { latencies_ms: rows.iter().map(|row| row.iter().sum()).collect(), columns: (0..15).map(column).collect() }
}

fn main() {
    let traces = traces();
    println!("{} traces, {} spans", traces.traces().len(), traces.spans().len());
    println!("{:<44}{:>8.1} ms", "which traces are slow", measure(|| drop(black_box(slow(&traces)))));
    let found = find_slow(&traces);
    println!("{:<44}{:>8.1} ms", "slow against the rest", measure(|| drop(black_box(find_slow(&traces)))));
    found.iter().for_each(|finding| println!("    {}", finding.what));
    let mut dice = Dice(9);
    let selected: Vec<bool> = (0..TRACES).map(|_| dice.below(10) == 0).collect();
    let random = || find_among(&traces, &selected, &Options::default());
    println!(
        "{:<44}{:>8.1} ms, {} findings",
        "a random tenth against the rest",
        measure(|| drop(black_box(random()))),
        random().len()
    );
    let table = table();
    let patterns = explain(&table).patterns.len();
    println!(
        "{:<44}{:>8.1} ms, {patterns} patterns",
        "a table of 10,000 requests, 15 calls",
        measure(|| drop(black_box(explain(&table))))
    );
}
