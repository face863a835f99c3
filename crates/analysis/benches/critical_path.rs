//! Time to build traces and to walk their critical paths.
//!
//! `cargo bench -p tracewell-analysis --bench critical_path`. Each figure is the best of several rounds: what the code
//! takes, not what else the machine does.

use std::hint::black_box;
use std::time::Instant;

use tracewell_analysis::critical_path::{self, replay, room};
use tracewell_analysis::{Builder, Span, Traces};
use tracewell_model::{SpanId, SpanKind, TraceId};

const ROUNDS: usize = 5;
const EPOCH_NS: u64 = 1_700_000_000_000_000_000;

/// What this thread has worked, in milliseconds; the time that passed where the system does not tell.
fn worked_ms(since: Instant) -> f64 {
    let told = std::fs::read_to_string("/proc/thread-self/schedstat").ok();
    let worked_ns = told.and_then(|told| told.split(' ').next()?.parse::<f64>().ok());
    worked_ns.unwrap_or_else(|| since.elapsed().as_nanos() as f64) / 1e6
}

/// Milliseconds for one call.
fn measure<T>(mut call: impl FnMut() -> T) -> f64 {
    let since = Instant::now();
    let mut best = f64::INFINITY;
    for _ in 0..ROUNDS {
        let before_ms = worked_ms(since);
        black_box(call());
        best = best.min(worked_ms(since) - before_ms);
    }
    best
}

/// SplitMix64 (Steele, Lea and Flood, "Fast Splittable Pseudorandom Number Generators", 2014).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

/// The spans of traces of one shape: calls between services, each span within its parent, in order of their starts.
fn shop(traces: usize, spans: usize, texts: &mut Builder, random: &mut Random) -> Vec<Vec<Span>> {
    let service: Vec<_> = (0..50).map(|number| texts.texts().number(&format!("service {number}"))).collect();
    let operation: Vec<_> = (0..400).map(|number| texts.texts().number(&format!("operation {number}"))).collect();
    let trace = |_| {
        let mut trace: Vec<Span> = Vec::with_capacity(spans);
        for number in 0..spans {
            let parent = (number > 0).then(|| random.next() as usize % number);
            let (first_ns, last_ns) = parent
                .map_or((EPOCH_NS, EPOCH_NS + 1_000_000_000), |parent| (trace[parent].start_ns, trace[parent].end_ns));
            let length_ns = last_ns - first_ns + 1;
            let start_ns = first_ns + random.next() % length_ns / 2;
            trace.push(Span {
                id: SpanId::from_u64(random.next() | 1),
                parent_id: parent.map(|parent| trace[parent].id),
                start_ns,
                end_ns: start_ns + random.next() % (last_ns - start_ns + 1),
                kind: [SpanKind::Server, SpanKind::Client, SpanKind::Internal][number % 3] as u8,
                service: service[random.next() as usize % service.len()],
                operation: operation[random.next() as usize % operation.len()],
                ..Span::default()
            });
        }
        trace.sort_by_key(|span| span.start_ns);
        trace
    };
    (0..traces).map(trace).collect()
}

/// Spans each of which is the only child of the one before.
fn chain(spans: u64) -> Vec<Span> {
    let link = |number: u64| Span {
        id: SpanId::from_u64(number.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1),
        parent_id: (number > 0).then(|| SpanId::from_u64((number - 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)),
        start_ns: EPOCH_NS + number,
        end_ns: EPOCH_NS + 4 * spans - number,
        kind: SpanKind::Internal as u8,
        ..Span::default()
    };
    (0..spans).map(link).collect()
}

/// A root and its children, some at a time.
fn wide(spans: u64, random: &mut Random) -> Vec<Span> {
    let root = SpanId::from_u64(1);
    let child = |number: u64| {
        let start_ns = EPOCH_NS + number * 10;
        Span {
            id: if number == 0 { root } else { SpanId::from_u64(random.next() | 2) },
            parent_id: (number > 0).then_some(root),
            start_ns,
            end_ns: if number == 0 { EPOCH_NS + spans * 10 } else { start_ns + random.next() % 40 },
            kind: SpanKind::Internal as u8,
            ..Span::default()
        }
    };
    (0..spans).map(child).collect()
}

fn build(mut builder: Builder, traces: &[Vec<Span>]) -> Traces {
    for (spans, number) in traces.iter().zip(1_u128..) {
        for span in spans {
            builder.span(*span, &[]);
        }
        builder.finish_trace(TraceId(number.to_be_bytes()), 1.0);
    }
    builder.finish()
}

fn main() {
    let mut random = Random(7);
    let mut texts = Builder::new();
    let shapes = [
        ("10,000 x 50", shop(10_000, 50, &mut texts, &mut random)),
        ("1 x 1,000,000", shop(1, 1_000_000, &mut texts, &mut random)),
        ("1,000,000 deep", vec![chain(1_000_000)]),
        ("1,000,000 wide", vec![wide(1_000_000, &mut random)]),
    ];
    println!("{:<16}{:>10}{:>10}{:>10}{:>10}{:>10}", "ms", "build", "path", "totals", "room", "replay");
    for (name, shape) in shapes {
        let traces = build(Builder::new(), &shape);
        let roots: Vec<usize> = traces.traces().iter().filter_map(|trace| traces.main_root(trace)).collect();
        let figures = [
            measure(|| build(Builder::new(), &shape)),
            measure(|| roots.iter().map(|root| critical_path::of(&traces, *root).segments.len()).sum::<usize>()),
            measure(|| critical_path::totals(&traces, roots.iter().copied())),
            measure(|| roots.iter().map(|root| room::of(&traces, *root).len()).sum::<usize>()),
            measure(|| {
                roots.iter().map(|root| replay::duration_ns(&traces, *root, |_| replay::Effect::None)).sum::<u64>()
            }),
        ];
        print!("{name:<16}");
        figures.iter().for_each(|figure| print!("{figure:>10.1}"));
        println!();
    }
}
