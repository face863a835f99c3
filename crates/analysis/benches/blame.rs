//! Time to say where the time of 10,000 requests goes, what changed, and which ways of calling cost time.
//!
//! `cargo bench -p tracewell-analysis --bench blame`. Each figure is the best of several rounds.

use std::hint::black_box;
use std::time::Instant;

use tracewell_analysis::{Attribute, Builder, Scalar, Span, Traces, blame, patterns};
use tracewell_model::{SpanId, TraceId};

const ROUNDS: usize = 7;
const SERVER: u8 = 2;
const CLIENT: u8 = 3;
const MS: u64 = 1_000_000;

/// Requests of eight kinds; each span has ten attributes, as real ones have.
struct Shop {
    builder: Builder,
    spans: u64,
    attributes: Vec<Attribute>,
}

impl Shop {
    fn new() -> Self {
        let mut builder = Builder::new();
        let key = |builder: &mut Builder, place: usize| builder.texts().number(&format!("shop.attribute.{place}"));
        let attributes = (0..10)
            .map(|place| Attribute { key: key(&mut builder, place), value: Scalar::Int(place as i64) })
            .collect();
        Self { builder, spans: 0, attributes }
    }

    fn span(
        &mut self,
        parent_id: Option<SpanId>,
        kind: u8,
        (service, operation): (&str, &str),
        times: (u64, u64),
    ) -> SpanId {
        self.spans += 1;
        let id = SpanId::from_u64(self.spans);
        let texts = self.builder.texts();
        let (service, operation) = (texts.number(service), texts.number(operation));
        let statement = texts.number(if kind == CLIENT { "SELECT a FROM b WHERE c = ?" } else { "" });
        let (start_ns, end_ns) = (1_000_000 * MS + times.0, 1_000_000 * MS + times.1);
        let span = Span { id, parent_id, kind, service, operation, statement, start_ns, end_ns, ..Span::default() };
        self.builder.span(span, &self.attributes);
        id
    }

    /// A root that calls `calls` services one after the other, each of which asks its database.
    fn request(&mut self, number: u64, calls: u64) {
        let kind = number % 8;
        let took = |call: u64| 4 * MS + (number * 7919 + call * 104_729) % (3 * MS);
        let end = (0..calls).map(took).sum::<u64>() + 5 * MS;
        let root = self.span(None, SERVER, ("gateway", &format!("GET /page/{kind}")), (0, end));
        let mut at = MS;
        for call in 0..calls {
            let end = at + took(call);
            let callee = format!("service-{}", (call + kind) % 30);
            let client = self.span(Some(root), CLIENT, ("gateway", &format!("GET /{callee}")), (at, end));
            let server = self.span(Some(client), SERVER, (&callee, "GET /"), (at + MS / 2, end - MS / 4));
            let query = self.span(Some(server), CLIENT, (&callee, "SELECT b"), (at + MS, end - MS / 2));
            self.span(Some(query), SERVER, ("database", "SELECT b"), (at + MS + MS / 8, end - MS / 2 - MS / 8));
            at = end;
        }
        self.builder.finish_trace(TraceId::from_slice(&u128::from(number + 1).to_be_bytes()).unwrap_or_default(), 1.0);
    }

    fn traces(traces: u64, calls: u64) -> Traces {
        let mut shop = Self::new();
        for number in 0..traces {
            shop.request(number, calls);
        }
        shop.builder.finish()
    }
}

fn measure<T>(name: &str, traces: &Traces, mut call: impl FnMut() -> T) {
    let mut best = f64::INFINITY;
    for _ in 0..ROUNDS {
        let start = Instant::now();
        drop(black_box(call()));
        best = best.min(start.elapsed().as_secs_f64());
    }
    let spans = traces.spans().len();
    let (ms, each) = (best * 1e3, best * 1e9 / spans as f64);
    println!("{name:<28}{:>8} traces{spans:>9} spans{ms:>9.1} ms{each:>7.0} ns/span", traces.traces().len());
}

fn main() {
    let traces = Shop::traces(10_000, 12);
    measure("blame::of", &traces, || blame::of(&traces));
    measure("blame::diff (with itself)", &traces, || blame::diff(&traces, &traces));
    measure("patterns::find", &traces, || patterns::find(&traces));
    let one = Shop::traces(1, 250_000);
    measure("blame::of", &one, || blame::of(&one));
    measure("patterns::find", &one, || patterns::find(&one));
}
