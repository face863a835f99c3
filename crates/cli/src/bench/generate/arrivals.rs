//! From spans to requests, in the order in which a collector would pass them on: every span is sent some time
//! after its end, so that a trace arrives in pieces among the spans of many others.

use std::collections::VecDeque;

use super::proto;
use super::world::World;

/// Width of a bucket of arrival times.
const BUCKET_NS: u64 = 50_000_000;
/// Spans that arrive later than this are sent with the last bucket; bounds the memory.
const BUCKETS_MAX: u64 = 20 * 300;

/// Spans in order of arrival, and the requests that are cut from them.
pub struct Arrivals {
    buckets: VecDeque<Bucket>,
    /// Number of the first bucket, in units of [`BUCKET_NS`] since the epoch.
    first: u64,
    ready: Bucket,
    spare: Vec<Bucket>,
    order: Vec<(u16, u32, u32)>,
    /// Spans that are held.
    pub held: u64,
}

/// Encoded spans side by side; for each who emitted it and how long it is.
#[derive(Default)]
struct Bucket {
    bytes: Vec<u8>,
    spans: Vec<(u16, u32)>,
}

impl Bucket {
    fn clear(&mut self) {
        self.bytes.clear();
        self.spans.clear();
    }
}

impl Arrivals {
    /// Nothing held; the earliest arrival is at `start_unix_nano`.
    pub fn new(start_unix_nano: u64) -> Self {
        Self {
            buckets: VecDeque::new(),
            first: start_unix_nano / BUCKET_NS,
            ready: Bucket::default(),
            spare: Vec::new(),
            order: Vec::new(),
            held: 0,
        }
    }

    /// Adds a span that `encode` appends to the given buffer. `emitter` is instance × 4 + scope.
    pub fn add(&mut self, arrival_unix_nano: u64, emitter: u16, encode: impl FnOnce(&mut Vec<u8>)) {
        let index = (arrival_unix_nano / BUCKET_NS).saturating_sub(self.first).min(BUCKETS_MAX) as usize;
        while self.buckets.len() <= index {
            self.buckets.push_back(self.spare.pop().unwrap_or_default());
        }
        let bucket = &mut self.buckets[index];
        let before = bucket.bytes.len();
        encode(&mut bucket.bytes);
        bucket.spans.push((emitter, (bucket.bytes.len() - before) as u32));
        self.held += 1;
    }

    /// Makes everything that arrives before a time ready to be sent.
    pub fn advance(&mut self, now_unix_nano: u64) {
        while self.first < now_unix_nano / BUCKET_NS {
            let Some(mut bucket) = self.buckets.pop_front() else {
                self.first = now_unix_nano / BUCKET_NS;
                return;
            };
            self.first += 1;
            self.ready.bytes.extend_from_slice(&bucket.bytes);
            self.ready.spans.append(&mut bucket.spans);
            bucket.clear();
            self.spare.push(bucket);
        }
    }

    /// How many spans are ready.
    pub fn ready(&self) -> usize {
        self.ready.spans.len()
    }

    /// Makes requests of `batch` spans of all that is ready; with `all`, a last smaller one too.
    pub fn cut(&mut self, world: &World, batch: usize, all: bool, requests: &mut VecDeque<(Vec<u8>, u32)>) {
        let (mut span, mut byte) = (0, 0);
        while self.ready.spans.len() - span >= batch || (all && span < self.ready.spans.len()) {
            let end = (span + batch).min(self.ready.spans.len());
            self.order.clear();
            for (emitter, len) in &self.ready.spans[span..end] {
                self.order.push((*emitter, byte as u32, *len));
                byte += *len as usize;
            }
            self.order.sort_unstable();
            let request = request(world, &self.order, &self.ready.bytes);
            requests.push_back((request, (end - span) as u32));
            self.held -= (end - span) as u64;
            span = end;
        }
        self.ready.spans.drain(..span);
        self.ready.bytes.drain(..byte);
    }
}

/// An `ExportTraceServiceRequest` of spans sorted by emitter: one `ResourceSpans` for each instance, one
/// `ScopeSpans` for each of its scopes.
fn request(world: &World, spans: &[(u16, u32, u32)], bytes: &[u8]) -> Vec<u8> {
    let payload: usize = spans.iter().map(|(_, _, len)| *len as usize).sum();
    let mut out = Vec::with_capacity(payload + payload / 2 + 4096);
    for of_instance in spans.chunk_by(|a, b| a.0 / 4 == b.0 / 4) {
        let instance = &world.instances[usize::from(of_instance[0].0 / 4)];
        let scopes = &world.scopes[usize::from(instance.service)];
        let scope_len = |of_scope: &[(u16, u32, u32)]| {
            let spans: usize = of_scope.iter().map(|(_, _, len)| proto::bytes_len(*len as usize)).sum();
            proto::bytes_len(scopes[usize::from(of_scope[0].0 % 4)].len()) + spans
        };
        let of_scopes = of_instance.chunk_by(|a, b| a.0 == b.0);
        let inner: usize = of_scopes.clone().map(|of_scope| proto::bytes_len(scope_len(of_scope))).sum();
        out.push(proto::bytes_tag(1));
        proto::varint(&mut out, (proto::bytes_len(instance.resource.len()) + inner) as u64);
        proto::bytes(&mut out, 1, &instance.resource);
        for of_scope in of_scopes {
            out.push(proto::bytes_tag(2));
            proto::varint(&mut out, scope_len(of_scope) as u64);
            proto::bytes(&mut out, 1, &scopes[usize::from(of_scope[0].0 % 4)]);
            for (_, start, len) in of_scope {
                proto::bytes(&mut out, 2, &bytes[*start as usize..(*start + *len) as usize]);
            }
        }
    }
    out
}
