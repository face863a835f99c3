//! A deterministic load of realistic spans, encoded as OTLP requests.
//!
//! Nothing is repeated: every trace has a shape, ids, times and values of its own, so that compression and
//! cardinality are those of real traffic. It is fast because what does not differ between two spans of a kind
//! is encoded once.
//!
//! ```text
//! catalogue ─▶ World (instances, operations, templates)
//!                │
//!    Shaper ─▶ planned spans of a trace ─▶ SpanEncoder ─▶ Arrivals ─▶ requests of 512 spans
//!    (tree, times, errors)                 (OTLP bytes)   (by time of sending)
//! ```

mod arrivals;
mod catalogue;
mod proto;
mod rng;
mod shape;
mod span;
mod template;
mod world;

use std::collections::VecDeque;

use arrivals::Arrivals;
use rng::Rng;
use shape::Shaper;
use span::{SpanEncoder, TraceContext};
use world::World;

/// What to generate.
#[derive(Debug, Clone)]
pub struct Load {
    /// The same seed (and end) gives the same bytes.
    pub seed: u64,
    /// Spans altogether.
    pub spans: u64,
    /// Spans for each second of the time that the load covers.
    pub spans_per_second: u64,
    /// When the last traces start, nanoseconds since the epoch.
    pub end_unix_nano: u64,
    /// Spans in a request.
    pub batch: usize,
}

/// One `ExportTraceServiceRequest`.
pub struct Request {
    /// Its bytes.
    pub body: Vec<u8>,
    /// Spans in it.
    pub spans: u32,
}

/// Makes the requests of a [`Load`], one after the other.
pub struct Generator {
    load: Load,
    world: World,
    rng: Rng,
    shaper: Shaper,
    encoder: SpanEncoder,
    arrivals: Arrivals,
    requests: VecDeque<(Vec<u8>, u32)>,
    clock_unix_nano: f64,
    made: u64,
    traces: u64,
}

/// Spans that may wait to be cut into requests at once; keeps the moving of the remainder cheap.
const READY_SPANS: usize = 8192;

impl Generator {
    /// A generator at the beginning of a load.
    pub fn new(load: Load) -> Self {
        let window_ns = (load.spans as f64 / load.spans_per_second.max(1) as f64 * 1e9) as u64;
        let start = load.end_unix_nano.saturating_sub(window_ns);
        Self {
            world: World::new(load.seed),
            rng: Rng::new(load.seed),
            shaper: Shaper::new(),
            encoder: SpanEncoder::default(),
            arrivals: Arrivals::new(start),
            requests: VecDeque::new(),
            clock_unix_nano: start as f64,
            made: 0,
            traces: 0,
            load,
        }
    }

    /// Traces begun so far.
    pub fn traces(&self) -> u64 {
        self.traces
    }

    /// Mean number of attributes of the spans so far: their own, without those of their resource.
    pub fn own_attributes_mean(&self) -> f64 {
        self.encoder.attributes as f64 / self.made.max(1) as f64
    }

    fn trace(&mut self) {
        let left = (self.load.spans - self.made).min(shape::SPANS_MAX as u64) as usize;
        let spans = self.shaper.trace(&self.world, &mut self.rng, left);
        let context = TraceContext::new(self.clock_unix_nano as u64, &mut self.rng);
        self.encoder.begin(spans.len(), &mut self.rng);
        for (index, span) in spans.iter().enumerate() {
            // An SDK's batch processor sends every second; its phase is that of the instance and trace.
            let phase = (u64::from(span.instance) * 37 + u64::from(context.trace_id[3])) % 100 * 10_000_000;
            let arrival = context.start_unix_nano + span.end + phase;
            let scope = self.world.templates[span.template as usize].scope;
            let emitter = span.instance * 4 + u16::from(scope);
            let (encoder, world, rng) = (&mut self.encoder, &self.world, &mut self.rng);
            self.arrivals.add(arrival, emitter, |out| encoder.span(out, world, rng, &context, spans, index));
        }
        self.made += spans.len() as u64;
        self.traces += 1;
        // The next trace comes when the rate says, give or take: arrivals of independent users.
        let gap_ns = spans.len() as f64 / self.load.spans_per_second.max(1) as f64 * 1e9;
        self.clock_unix_nano += gap_ns;
    }
}

impl Iterator for Generator {
    type Item = Request;

    fn next(&mut self) -> Option<Request> {
        while self.requests.is_empty() && (self.made < self.load.spans || self.arrivals.held > 0) {
            while self.made < self.load.spans && self.arrivals.ready() < READY_SPANS.max(self.load.batch) {
                self.trace();
                self.arrivals.advance(self.clock_unix_nano as u64);
            }
            let last = self.made == self.load.spans;
            if last {
                self.arrivals.advance(u64::MAX);
            }
            self.arrivals.cut(&self.world, self.load.batch.max(1), last, &mut self.requests);
        }
        self.requests.pop_front().map(|(body, spans)| Request { body, spans })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{HashMap, HashSet};

    use super::*;

    fn load(spans: u64) -> Load {
        Load { seed: 1, spans, spans_per_second: 5500, end_unix_nano: 1_800_000_000_000_000_000, batch: 512 }
    }

    /// Fields of a message: number and, for length-prefixed ones, content.
    fn fields(mut message: &[u8]) -> Vec<(u64, &[u8])> {
        fn varint(bytes: &mut &[u8]) -> u64 {
            let mut value = 0;
            for shift in (0..).step_by(7) {
                let byte = bytes[0];
                *bytes = &bytes[1..];
                value |= u64::from(byte & 0x7f) << shift;
                if byte < 0x80 {
                    break;
                }
            }
            value
        }
        let mut found = Vec::new();
        while !message.is_empty() {
            let tag = varint(&mut message);
            let len = match tag & 7 {
                0 => {
                    let before = message;
                    varint(&mut message);
                    found.push((tag >> 3, &before[..before.len() - message.len()]));
                    continue;
                }
                1 => 8,
                2 => varint(&mut message) as usize,
                5 => 4,
                other => panic!("wire type {other}"),
            };
            found.push((tag >> 3, &message[..len]));
            message = &message[len..];
        }
        found
    }

    fn all(message: &[u8], number: u64) -> impl Iterator<Item = &[u8]> {
        fields(message).into_iter().filter(move |(field, _)| *field == number).map(|(_, content)| content)
    }

    #[test]
    fn the_same_seed_gives_the_same_bytes() {
        let bytes = |seed| Generator::new(Load { seed, ..load(3000) }).map(|request| request.body).collect::<Vec<_>>();
        assert_eq!(bytes(1), bytes(1));
        assert_ne!(bytes(1), bytes(2));
    }

    #[test]
    fn a_load_has_the_spans_and_the_weight_that_it_promises() {
        const SPANS: u64 = 100_000;
        let mut generator = Generator::new(load(SPANS));
        let (mut bytes, mut resource_attributes, mut requests_of_trace) =
            (0, 0, HashMap::<Vec<u8>, HashSet<usize>>::new());
        let mut ids = HashSet::new();
        let mut services = HashSet::new();
        let mut sizes = Vec::new();
        for (number, request) in generator.by_ref().enumerate() {
            bytes += request.body.len();
            let mut spans = 0;
            for resource_spans in all(&request.body, 1) {
                let resource = all(resource_spans, 1).next().unwrap();
                services.insert(all(resource, 1).next().unwrap().to_vec());
                for span in all(resource_spans, 2).flat_map(|scope_spans| all(scope_spans, 2)) {
                    spans += 1;
                    resource_attributes += all(resource, 1).count();
                    let trace = all(span, 1).next().unwrap().to_vec();
                    assert!(ids.insert((trace.clone(), all(span, 2).next().unwrap().to_vec())), "ids are unique");
                    requests_of_trace.entry(trace).or_default().insert(number);
                }
            }
            assert_eq!(spans, request.spans);
            sizes.push(spans);
        }
        assert_eq!(ids.len() as u64, SPANS);
        assert_eq!(sizes.split_last().unwrap().1.iter().find(|size| **size != 512), None);
        assert_eq!(services.len(), 50);
        assert_eq!(generator.traces(), requests_of_trace.len() as u64);
        let weight = bytes as f64 / SPANS as f64;
        let attributes = generator.own_attributes_mean() + resource_attributes as f64 / SPANS as f64;
        let pieces =
            requests_of_trace.values().map(HashSet::len).sum::<usize>() as f64 / requests_of_trace.len() as f64;
        println!("{weight:.1} B and {attributes:.1} attributes a span, a trace comes in {pieces:.1} requests");
        assert!((400.0..430.0).contains(&weight), "{weight} bytes a span");
        assert!((17.0..19.5).contains(&attributes), "{attributes} attributes a span");
        assert!(pieces > 3.0, "a trace comes in {pieces} requests");
    }
}
