//! Time to rank suspects among 10,000 traces of 50 spans against as many fault-free ones.
//!
//! `cargo bench -p tracewell-analysis --bench rank`. The best of several rounds.

use std::hint::black_box;
use std::time::Instant;

use tracewell_analysis::{Builder, Log, LogSource, NO_SPAN, Span, Traces, rank};
use tracewell_model::{SpanId, SpanKind, TraceId};

const TRACES: u64 = 10_000;
const CALLS: u64 = 24;
const SERVICES: u64 = 40;

/// A generator of numbers that look random (SplitMix64).
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

/// A front that calls others, each of which may call the next; with a record for every second call.
fn traces(slow: Option<u64>) -> Traces {
    let (mut builder, mut numbers) = (Builder::new(), Numbers(slow.unwrap_or(7)));
    let texts = builder.texts();
    let names: Vec<_> =
        (0..SERVICES).map(|at| (texts.number(&format!("service-{at}")), texts.number(&format!("Serve{at}")))).collect();
    let call = texts.number("call");
    for trace in 0..TRACES {
        let mut id = trace * 1_000;
        let begin = 1_000_000_000 + trace * 1_000_000;
        let mut next_id = || {
            id += 1;
            SpanId::from_u64(id)
        };
        let root = next_id();
        let (mut at, mut parent, mut below) = (begin, root, 0_u64);
        for _ in 0..CALLS {
            let to = (below * 7 + numbers.next() % 3) % SERVICES;
            let work = 100_000 + numbers.next() % 50_000 + if slow == Some(to) { 5_000_000 } else { 0 };
            let way = 20_000 + numbers.next() % 10_000;
            let (client, server) = (next_id(), next_id());
            let (from, there) = (names[(below % SERVICES) as usize], names[to as usize]);
            let base = Span { service: from.0, operation: call, kind: SpanKind::Client as u8, ..Span::default() };
            builder
                .span(Span { id: client, parent_id: Some(parent), start_ns: at, end_ns: at + work + way, ..base }, &[]);
            let base = Span { service: there.0, operation: there.1, kind: SpanKind::Server as u8, ..Span::default() };
            let start_ns = at + way / 2;
            let parent_id = Some(client);
            builder.span(Span { id: server, parent_id, start_ns, end_ns: start_ns + work, ..base }, &[]);
            if numbers.next() % 2 == 0 {
                let site = builder.site("INFO Service#12 served order 4711");
                let (time_ns, service) = (start_ns + 10, there.0);
                builder.log(
                    Some(server),
                    Log { span: NO_SPAN, time_ns, service, severity: 9, site, source: LogSource::Record },
                );
            }
            if numbers.next() % 4 == 0 && below < 4 {
                (parent, below) = (server, to);
                at = start_ns;
            } else {
                at += work + way;
            }
        }
        let (service, operation) = names[0];
        let kind = SpanKind::Server as u8;
        builder.span(Span { id: root, service, operation, kind, start_ns: begin, end_ns: at, ..Span::default() }, &[]);
        builder.finish_trace(TraceId(u128::from(trace + 1).to_be_bytes()), 1.0);
    }
    builder.finish()
}

fn main() {
    let (normal, now) = (traces(None), traces(Some(15)));
    let (mut best, mut top) = (f64::INFINITY, String::new());
    for _ in 0..7 {
        let start = Instant::now();
        let ranking = black_box(rank::rank(&normal, &now));
        best = best.min(start.elapsed().as_secs_f64() * 1e3);
        top =
            ranking.first().map_or(String::new(), |suspect| format!("{} ({:.1} bits)", suspect.service, suspect.score));
    }
    let spans = normal.spans().len() + now.spans().len();
    println!("{:.0} ms for {} + {TRACES} traces, {spans} spans in all; first is {top}", best, TRACES);
}
