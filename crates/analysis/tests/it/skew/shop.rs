//! A small shop whose clocks, delays and faults are known.
//!
//! ```text
//! web ─▶ gateway ─┬─▶ pricing ─▶ pricing-cache
//!                 ├─▶ stock ─▶ stock-db
//!                 └─▶ mail          works on after it has answered
//! ```

use tracewell_analysis::{Builder, Span, Traces};
use tracewell_model::{SpanId, SpanKind, TraceId};

pub const MS: f64 = 1e6;
pub const BASE_NS: u64 = 1_800_000_000_123_456_789;

/// A service, and how far its clock is ahead when so much time has gone by.
pub type Skew<'a> = &'a dyn Fn(&str, f64) -> f64;
/// Caller, callee, time: how much longer the request and the answer are under way.
pub type Delay<'a> = &'a dyn Fn(&str, &str, f64) -> (f64, f64);

pub struct Shop<'a> {
    pub traces: usize,
    /// Time between traces.
    pub every_ns: f64,
    pub seed: u64,
    pub skew: Skew<'a>,
    pub delay: Delay<'a>,
    /// Which host a service runs on.
    pub host: &'a dyn Fn(&str) -> String,
}

impl Default for Shop<'_> {
    fn default() -> Self {
        Self {
            traces: 300,
            every_ns: 200.0 * MS,
            seed: 7,
            skew: &|_, _| 0.0,
            delay: &|_, _, _| (0.0, 0.0),
            host: &|service| format!("node-{}", service.len() % 3),
        }
    }
}

/// A generator with a seed of its own (splitmix64).
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Around `median`, never below a third of it, now and then much more.
    pub fn delay(&mut self, median: f64) -> f64 {
        median * (0.33 + 0.66 * -self.next().max(1e-9).ln())
    }
}

struct Trace<'a, 'b> {
    shop: &'a Shop<'a>,
    builder: &'b mut Builder,
    random: &'b mut Random,
    next_id: u64,
}

impl Shop<'_> {
    pub fn open(&self) -> Traces {
        let mut builder = Builder::new();
        let mut random = Random(self.seed);
        for number in 0..self.traces {
            let begin = self.every_ns * (number as f64 + random.next());
            let mut trace = Trace { shop: self, builder: &mut builder, random: &mut random, next_id: 1 };
            trace.serve(None, "web", begin);
            builder.finish_trace(TraceId((number as u128 + 1).to_be_bytes()), 1.0);
        }
        builder.finish()
    }
}

impl Trace<'_, '_> {
    /// Serves a request that arrives at a true time; returns when the answer leaves.
    fn serve(&mut self, parent: Option<u64>, service: &str, arrival: f64) -> f64 {
        let id = self.id();
        let calls: &[&str] = match service {
            "web" => &["gateway"],
            "gateway" => &["pricing", "stock", "mail"],
            "pricing" => &["pricing-cache"],
            "stock" => &["stock-db"],
            _ => &[],
        };
        let mut now = arrival + self.random.delay(0.3 * MS);
        for callee in calls {
            now = self.call(id, service, callee, now) + self.random.delay(0.1 * MS);
        }
        let flush = if service == "mail" { self.random.delay(3.0 * MS) } else { 0.0 };
        self.span(id, parent, service, SpanKind::Server, (arrival, now + flush));
        now
    }

    fn call(&mut self, parent: u64, caller: &str, callee: &str, begin: f64) -> f64 {
        let id = self.id();
        let (request, answer) = (self.shop.delay)(caller, callee, begin);
        let arrival = begin + self.random.delay(0.2 * MS) + request;
        let left = self.serve(Some(id), callee, arrival);
        let end = left + self.random.delay(0.2 * MS) + answer;
        self.span(id, Some(parent), caller, SpanKind::Client, (begin, end));
        end
    }

    fn id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }

    fn span(&mut self, id: u64, parent: Option<u64>, service: &str, kind: SpanKind, (start, end): (f64, f64)) {
        let ahead = (self.shop.skew)(service, start);
        let texts = self.builder.texts();
        let span = Span {
            id: SpanId::from_u64(id),
            parent_id: parent.map(SpanId::from_u64),
            start_ns: BASE_NS.saturating_add_signed((start + ahead) as i64),
            end_ns: BASE_NS.saturating_add_signed((start + ahead) as i64) + (end - start) as u64,
            kind: kind as u8,
            service: texts.number(service),
            operation: texts.number("work"),
            instance: texts.number(&format!("{service}-0")),
            host: texts.number(&(self.shop.host)(service)),
            ..Span::default()
        };
        self.builder.span(span, &[]);
    }
}
