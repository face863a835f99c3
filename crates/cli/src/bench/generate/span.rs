//! Encodes planned spans as OTLP `Span` messages.

use super::catalogue::{EXCEPTIONS, USER_AGENTS};
use super::proto::{self, Value};
use super::rng::Rng;
use super::shape::{Failure, Planned, is_consumer};
use super::template::{CLIENT, Dynamic, SERVER};
use super::world::World;

const HEX: &[u8; 16] = b"0123456789abcdef";
const ATTRIBUTES: u8 = 9;
const EVENTS: u8 = 11;
const LINKS: u8 = 13;
const STATUS: u8 = 15;
/// Tag of `flags`, field 16, a fixed 32-bit number.
const FLAGS: &[u8] = &[0x85, 0x01];

/// What the spans of one trace have in common.
pub struct TraceContext {
    /// Trace id.
    pub trace_id: [u8; 16],
    /// Start of the trace, nanoseconds since the epoch.
    pub start_unix_nano: u64,
    user: u64,
    session: [u64; 2],
    order: u64,
    client_address: [u8; 4],
    user_agent: usize,
    trace_state: bool,
}

impl TraceContext {
    /// A new trace that starts at the given time.
    pub fn new(start_unix_nano: u64, rng: &mut Rng) -> Self {
        let mut trace_id = [0; 16];
        trace_id[..8].copy_from_slice(&rng.bits().to_be_bytes());
        trace_id[8..].copy_from_slice(&(rng.bits() | 1).to_be_bytes());
        Self {
            trace_id,
            start_unix_nano,
            user: rng.skewed(2_000_000),
            session: [rng.bits(), rng.bits()],
            order: rng.bits(),
            client_address: (rng.bits() as u32).to_le_bytes(),
            user_agent: rng.skewed(USER_AGENTS.len() as u64) as usize,
            trace_state: rng.chance(0.02),
        }
    }
}

/// Encodes spans. Keeps its buffers from one to the next.
#[derive(Default)]
pub struct SpanEncoder {
    text: Vec<u8>,
    nested: Vec<u8>,
    ids: Vec<[u8; 8]>,
    /// Attributes written so far, for the corpus's own statistics.
    pub attributes: u64,
}

impl SpanEncoder {
    /// Prepares span ids for a trace of `spans`.
    pub fn begin(&mut self, spans: usize, rng: &mut Rng) {
        self.ids.clear();
        self.ids.extend((0..spans).map(|_| (rng.bits() | 1).to_be_bytes()));
    }

    /// Appends the body of span `index` of a trace to `out`.
    pub fn span(
        &mut self,
        out: &mut Vec<u8>,
        world: &World,
        rng: &mut Rng,
        context: &TraceContext,
        spans: &[Planned],
        index: usize,
    ) {
        let span = &spans[index];
        let template = &world.templates[span.template as usize];
        proto::bytes(out, 1, &context.trace_id);
        proto::bytes(out, 2, &self.ids[index]);
        if context.trace_state {
            proto::bytes(out, 3, b"shop=t61rcWkgMzE,ot=th:0");
        }
        if let Some(parent) = span.parent {
            proto::bytes(out, 4, &self.ids[parent as usize]);
        }
        out.extend_from_slice(&template.head);
        let start = context.start_unix_nano + span.start;
        proto::fixed64(out, 7, start);
        proto::fixed64(out, 8, context.start_unix_nano + span.end);
        out.extend_from_slice(&template.fixed);
        self.attributes += u64::from(template.fixed_count);
        // A client span and the server span below it tell the same story, so both draw from the same bits.
        let mut story = Rng::new(u64::from(span.salt));
        for dynamic in &template.dynamic {
            self.dynamic(out, world, context, span, dynamic, &mut story, rng);
        }
        if span.failure == Failure::Origin {
            self.exception(out, start + (span.end - span.start) * 9 / 10, rng);
        } else if rng.chance(0.02) {
            self.small_event(out, start + (span.end - span.start) / 3, rng);
        }
        if is_consumer(world, span)
            && let Some(parent) = span.parent
        {
            self.link(out, &context.trace_id, &self.ids[parent as usize].clone());
        }
        if span.failure != Failure::None {
            self.failed_status(out, span, template.kind, rng);
        }
        let remote_parent = template.kind == SERVER && span.parent.is_some();
        proto::fixed32(out, FLAGS, if remote_parent { 0x301 } else { 0x101 });
    }

    #[allow(clippy::too_many_arguments)]
    fn dynamic(
        &mut self,
        out: &mut Vec<u8>,
        world: &World,
        context: &TraceContext,
        span: &Planned,
        dynamic: &Dynamic,
        story: &mut Rng,
        rng: &mut Rng,
    ) {
        let failed = span.failure != Failure::None;
        match dynamic {
            Dynamic::HttpStatus(fine) => {
                let code = match story.below(40) {
                    0..4 if failed => 503,
                    4..6 if failed => 504,
                    _ if failed => 500,
                    0 if *fine == 200 => 304,
                    _ => i64::from(*fine),
                };
                self.int(out, "http.response.status_code", code);
            }
            Dynamic::GrpcStatus => {
                let code = if failed { [14, 13, 4, 2][story.index(4)] } else { 0 };
                self.int(out, "rpc.grpc.status_code", code);
            }
            Dynamic::UrlPath(route) | Dynamic::UrlFull(route) => {
                self.text.clear();
                match route.split_once("{id}") {
                    Some((before, after)) => {
                        self.text.extend_from_slice(before.as_bytes());
                        decimal(&mut self.text, 1000 + story.skewed(50_000));
                        self.text.extend_from_slice(after.as_bytes());
                    }
                    None => self.text.extend_from_slice(route.as_bytes()),
                }
                let key = if matches!(dynamic, Dynamic::UrlPath(_)) { "url.path" } else { "url.full" };
                self.scratch_text(out, key);
            }
            Dynamic::UrlQuery => {
                if rng.chance(0.33) {
                    self.text.clear();
                    self.text.extend_from_slice(b"page=");
                    decimal(&mut self.text, rng.skewed(40));
                    self.text.extend_from_slice(b"&sort=relevance");
                    self.scratch_text(out, "url.query");
                }
            }
            Dynamic::ClientAddress => {
                self.text.clear();
                for (place, byte) in context.client_address.into_iter().enumerate() {
                    if place > 0 {
                        self.text.push(b'.');
                    }
                    decimal(&mut self.text, u64::from(byte));
                }
                if rng.chance(0.05) {
                    let value = Value::List(&self.text);
                    proto::attribute(out, ATTRIBUTES, "http.request.header.x-forwarded-for", value);
                    self.attributes += 1;
                }
                self.scratch_text(out, "client.address");
            }
            Dynamic::Peer => {
                let address = &world.instances[usize::from(span.peer)].address;
                self.attribute(out, "network.peer.address", Value::Str(address.as_bytes()));
                self.int(out, "network.peer.port", 32_768 + rng.below(28_000) as i64);
            }
            Dynamic::UserAgent => {
                let agent = USER_AGENTS[context.user_agent];
                self.attribute(out, "user_agent.original", Value::Str(agent.as_bytes()));
            }
            Dynamic::User => {
                self.text.clear();
                self.text.extend_from_slice(b"user-");
                decimal(&mut self.text, 1_000_000 + context.user);
                self.scratch_text(out, "user.id");
            }
            Dynamic::Session => {
                self.text.clear();
                context.session.iter().for_each(|word| hexadecimal(&mut self.text, *word));
                self.scratch_text(out, "session.id");
            }
            Dynamic::Order => {
                self.text.clear();
                self.text.extend_from_slice(b"ord-");
                decimal(&mut self.text, context.order % 100_000_000_000);
                self.scratch_text(out, "app.order.id");
            }
            Dynamic::Request => {
                self.text.clear();
                hexadecimal(&mut self.text, rng.bits());
                hexadecimal(&mut self.text, rng.bits());
                self.scratch_text(out, "app.request.id");
            }
            Dynamic::Thread => {
                let thread = rng.below(64);
                self.int(out, "thread.id", 30 + thread as i64);
                self.text.clear();
                self.text.extend_from_slice(b"http-nio-8080-exec-");
                decimal(&mut self.text, thread);
                self.scratch_text(out, "thread.name");
            }
            Dynamic::InList(before, after) => {
                let count = [1, 2, 3, 5, 8, 10, 20][story.skewed(7) as usize];
                self.text.clear();
                self.text.extend_from_slice(before.as_bytes());
                for number in 1..=count {
                    if number > 1 {
                        self.text.extend_from_slice(b", ");
                    }
                    self.text.push(b'$');
                    decimal(&mut self.text, number);
                }
                self.text.extend_from_slice(after.as_bytes());
                self.scratch_text(out, "db.query.text");
            }
            Dynamic::Rows => self.int(out, "db.response.returned_rows", story.skewed(200) as i64),
            Dynamic::Message => {
                self.text.clear();
                decimal(&mut self.text, story.below(12));
                self.scratch_text(out, "messaging.destination.partition.id");
                let offset = (context.start_unix_nano / 1_000_000) % 1_000_000_000 + story.below(1000);
                self.int(out, "messaging.kafka.offset", offset as i64);
            }
            Dynamic::CacheHit => {
                let hit = rng.chance(0.9);
                self.attribute(out, "app.cache.hit", Value::Bool(hit));
            }
            Dynamic::Amount => {
                let amount = story.log_normal(4_000.0, 0.9).round() / 100.0;
                self.attribute(out, "app.amount", Value::Double(amount));
                self.int(out, "app.items.count", 1 + story.skewed(24) as i64);
            }
        }
    }

    #[inline]
    fn attribute(&mut self, out: &mut Vec<u8>, key: &str, value: Value<'_>) {
        proto::attribute(out, ATTRIBUTES, key, value);
        self.attributes += 1;
    }

    fn int(&mut self, out: &mut Vec<u8>, key: &str, value: i64) {
        self.attribute(out, key, Value::Int(value));
    }

    /// An attribute whose text is in the scratch buffer.
    #[inline]
    fn scratch_text(&mut self, out: &mut Vec<u8>, key: &str) {
        proto::attribute(out, ATTRIBUTES, key, Value::Str(&self.text));
        self.attributes += 1;
    }

    fn exception(&mut self, out: &mut Vec<u8>, time_unix_nano: u64, rng: &mut Rng) {
        let (kind, message, frames) = EXCEPTIONS[rng.index(EXCEPTIONS.len())];
        self.text.clear();
        self.text.extend_from_slice(kind.as_bytes());
        self.text.extend_from_slice(b": ");
        self.text.extend_from_slice(message.as_bytes());
        for (place, frame) in frames.iter().enumerate() {
            self.text.extend_from_slice(b"\n    at ");
            self.text.extend_from_slice(frame.as_bytes());
            self.text.extend_from_slice(b":");
            // The same frame is at the same line, but for the innermost, which one of a few calls reached.
            decimal(&mut self.text, 40 + 17 * frame.len() as u64 + if place == 0 { rng.below(4) } else { 0 });
        }
        self.nested.clear();
        proto::fixed64(&mut self.nested, 1, time_unix_nano);
        proto::bytes(&mut self.nested, 2, b"exception");
        proto::attribute(&mut self.nested, 3, "exception.type", Value::Str(kind.as_bytes()));
        proto::attribute(&mut self.nested, 3, "exception.message", Value::Str(message.as_bytes()));
        proto::attribute(&mut self.nested, 3, "exception.stacktrace", Value::Str(&self.text));
        proto::bytes(out, EVENTS, &self.nested);
    }

    fn small_event(&mut self, out: &mut Vec<u8>, time_unix_nano: u64, rng: &mut Rng) {
        self.nested.clear();
        proto::fixed64(&mut self.nested, 1, time_unix_nano);
        if rng.chance(0.5) {
            proto::bytes(&mut self.nested, 2, b"feature_flag.evaluation");
            proto::attribute(&mut self.nested, 3, "feature_flag.key", Value::Str(b"new-price-engine"));
            let variant: &[u8] = if rng.chance(0.2) { b"on" } else { b"off" };
            proto::attribute(&mut self.nested, 3, "feature_flag.result.variant", Value::Str(variant));
        } else {
            proto::bytes(&mut self.nested, 2, b"retry");
            proto::attribute(&mut self.nested, 3, "retry.attempt", Value::Int(1 + rng.skewed(3) as i64));
        }
        proto::bytes(out, EVENTS, &self.nested);
    }

    fn link(&mut self, out: &mut Vec<u8>, trace_id: &[u8; 16], span_id: &[u8; 8]) {
        self.nested.clear();
        proto::bytes(&mut self.nested, 1, trace_id);
        proto::bytes(&mut self.nested, 2, span_id);
        proto::bytes(out, LINKS, &self.nested);
    }

    fn failed_status(&mut self, out: &mut Vec<u8>, span: &Planned, kind: u8, rng: &mut Rng) {
        self.nested.clear();
        if span.failure == Failure::Origin || kind == CLIENT {
            let (_, message, _) = EXCEPTIONS[rng.index(EXCEPTIONS.len())];
            proto::bytes(&mut self.nested, 2, message.as_bytes());
        }
        proto::number(&mut self.nested, 3, 2);
        proto::bytes(out, STATUS, &self.nested);
    }
}

/// Appends a number in decimal.
fn decimal(out: &mut Vec<u8>, mut number: u64) {
    let mut digits = [0; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

/// Appends 16 hexadecimal digits.
fn hexadecimal(out: &mut Vec<u8>, word: u64) {
    out.extend(word.to_be_bytes().into_iter().flat_map(|byte| {
        let (high, low) = (usize::from(byte >> 4), usize::from(byte & 15));
        [HEX[high], HEX[low]]
    }));
}
