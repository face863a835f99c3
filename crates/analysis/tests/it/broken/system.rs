//! Traffic of systems that do not exist: services in several instances that call each other, databases, outside
//! addresses, messages handled in the same trace or in one of their own, background jobs.

use std::collections::BTreeMap;

use tracewell_analysis::{Attribute, Builder, Scalar, Span, Traces};
use tracewell_model::{SpanId, SpanKind, TraceId};

/// SplitMix64 (Steele, Lea, Flood 2014).
pub struct Random(pub u64);

impl Random {
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }

    pub fn unit(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1u64 << 53) as f64
    }

    pub fn below(&mut self, bound: usize) -> usize {
        (self.unit() * bound as f64) as usize
    }

    /// Around `median_ns`, skewed as times are: the product of two uniform factors.
    fn time(&mut self, median_ns: f64) -> u64 {
        let factor = (0.5 + self.unit()) * (0.6 + 0.8 * self.unit());
        (median_ns * factor / if self.unit() < 0.02 { 0.2 } else { 1.0 }) as u64
    }
}

/// One span before it is built.
#[derive(Debug, Clone)]
pub struct Raw {
    pub id: SpanId,
    pub parent: Option<SpanId>,
    pub service: usize,
    pub instance: usize,
    pub operation: String,
    pub kind: SpanKind,
    pub start_ns: u64,
    pub end_ns: u64,
    pub peer: String,
    /// Prefix of an attribute that tells the protocol.
    pub protocol: &'static str,
    pub failed: bool,
    pub link: Option<(TraceId, SpanId)>,
}

#[derive(Debug, Clone)]
pub struct RawTrace {
    pub id: TraceId,
    pub spans: Vec<Raw>,
}

/// What a service does for one operation, one thing after the other.
#[derive(Debug, Clone)]
enum Step {
    Call { callee: usize, chance: f64 },
    Database,
    Outside,
    Publish { consumer: usize, same_trace: bool },
    Work,
}

/// A system.
pub struct System {
    pub instances: Vec<usize>,
    /// For each service, what it does for each kind of request.
    plans: Vec<Vec<Vec<Step>>>,
    naming: Naming,
}

/// What client spans say about whom they call.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Naming {
    /// Its name, and no more than the method as operation.
    Peer,
    /// The operation, as with gRPC.
    Operation,
    /// The method.
    Nothing,
}

/// The same traffic where services record what they are asked, and not what they ask: what answered hangs below who
/// asked.
pub fn without_calls(mut traces: Vec<RawTrace>) -> Vec<RawTrace> {
    for trace in &mut traces {
        let is_call = |span: &Raw| span.kind == SpanKind::Client && span.protocol != "db.system.name";
        let above: BTreeMap<SpanId, Option<SpanId>> =
            trace.spans.iter().filter(|span| is_call(span)).map(|span| (span.id, span.parent)).collect();
        for span in &mut trace.spans {
            span.parent = span.parent.and_then(|parent| above.get(&parent).copied().unwrap_or(Some(parent)));
        }
        trace.spans.retain(|span| !is_call(span));
    }
    traces
}

pub const REQUESTS: usize = 3;

pub fn name(service: usize) -> String {
    const FIRST: [&str; 10] = ["order", "stock", "price", "user", "cart", "mail", "route", "tax", "search", "media"];
    const SECOND: [&str; 6] = ["gateway", "api", "core", "index", "planner", "sync"];
    format!("{}-{}", FIRST[service % 10], SECOND[service / 10 % 6])
}

impl System {
    /// A tree of services with some calls across, 20 to 50 of them.
    pub fn new(seed: u64, naming: Naming) -> Self {
        let mut random = Random(seed);
        let count = 20 + random.below(31);
        let mut plans: Vec<Vec<Vec<Step>>> = vec![vec![Vec::new(); REQUESTS]; count];
        let mut depth = vec![0; count];
        for service in 1..count {
            let mut parent = random.below(service);
            if depth[parent] > 6 {
                parent = random.below(4).min(service - 1);
            }
            depth[service] = depth[parent] + 1;
            let publishes = random.unit() < 0.12 && service > 6;
            for (request, plan) in plans[parent].iter_mut().enumerate() {
                // Everybody is part of some kind of request.
                if request != service % REQUESTS && random.unit() < 0.45 {
                    continue;
                }
                if publishes {
                    plan.push(Step::Publish { consumer: service, same_trace: service % 2 == 0 });
                } else {
                    plan.push(Step::Call { callee: service, chance: if random.unit() < 0.3 { 0.6 } else { 1.0 } });
                }
            }
        }
        for (service, plans) in plans.iter_mut().enumerate() {
            for plan in plans {
                if service + 1 < count && random.unit() < 0.25 {
                    plan.push(Step::Call { callee: service + 1 + random.below(count - service - 1), chance: 0.7 });
                }
                for (step, chance) in [(Step::Database, 0.5), (Step::Outside, 0.08), (Step::Work, 0.5)] {
                    if random.unit() < chance {
                        let at = random.below(plan.len() + 1);
                        plan.insert(at, step);
                    }
                }
            }
        }
        let instances = (0..count).map(|_| 1 + random.below(4)).collect();
        Self { instances, plans, naming }
    }

    /// Traffic of so many requests, `per_second` of them.
    pub fn traffic(&self, seed: u64, requests: usize, per_second: f64) -> Vec<RawTrace> {
        let mut random = Random(seed ^ 0x5bd1_e995);
        let (mut now, mut traces) = (1_700_000_000_000_000_000u64, Vec::new());
        for _ in 0..requests {
            now += (-(1.0 - random.unit()).ln() / per_second * 1e9) as u64;
            let request = random.below(REQUESTS);
            let mut making = Making { system: self, random: &mut random, later: Vec::new(), request };
            let mut trace = RawTrace { id: making.trace_id(), spans: Vec::new() };
            making.serve(&mut trace, 0, None, SpanKind::Server, now, 0);
            let later = std::mem::take(&mut making.later);
            traces.push(trace);
            for (consumer, at, link) in later {
                let mut making = Making { system: self, random: &mut random, later: Vec::new(), request };
                let mut trace = RawTrace { id: making.trace_id(), spans: Vec::new() };
                making.serve(&mut trace, consumer, None, SpanKind::Consumer, at, 1);
                trace.spans[0].link = Some(link);
                traces.push(trace);
            }
        }
        traces
    }
}

struct Making<'a> {
    system: &'a System,
    random: &'a mut Random,
    /// Messages that are handled in traces of their own: by whom, when, and who sent them.
    later: Vec<(usize, u64, (TraceId, SpanId))>,
    request: usize,
}

const SPANS_MAX: usize = 120;

impl Making<'_> {
    fn trace_id(&mut self) -> TraceId {
        let (high, low) = (self.random.bits().to_be_bytes(), self.random.bits().to_be_bytes());
        let mut id = [0; 16];
        id[..8].copy_from_slice(&high);
        id[8..].copy_from_slice(&low);
        TraceId(id)
    }

    fn raw(&mut self, service: usize, instance: usize, kind: SpanKind, start_ns: u64) -> Raw {
        Raw {
            id: SpanId(self.random.bits().to_be_bytes()),
            parent: None,
            service,
            instance,
            operation: String::new(),
            kind,
            start_ns,
            end_ns: start_ns,
            peer: String::new(),
            protocol: "",
            failed: false,
            link: None,
        }
    }

    /// One request to a service; the time at which it is done.
    fn serve(
        &mut self,
        trace: &mut RawTrace,
        service: usize,
        parent: Option<SpanId>,
        kind: SpanKind,
        at: u64,
        depth: usize,
    ) -> u64 {
        let instance = self.random.below(self.system.instances[service]);
        let mut server = self.raw(service, instance, kind, at);
        server.parent = parent;
        server.operation = operation(service, self.request);
        if kind == SpanKind::Consumer {
            server.peer = format!("{}-events", name(service));
        }
        let (id, own) = (server.id, trace.spans.len());
        trace.spans.push(server);
        let mut now = at + self.random.time(600_000.0);
        for step in self.system.plans[service][self.request].clone() {
            if trace.spans.len() > SPANS_MAX || depth > 9 {
                break;
            }
            now = self.step(trace, &step, (service, instance, id), now, depth) + self.random.time(100_000.0);
        }
        trace.spans[own].end_ns = now;
        now
    }

    fn step(
        &mut self,
        trace: &mut RawTrace,
        step: &Step,
        (service, instance, parent): (usize, usize, SpanId),
        now: u64,
        depth: usize,
    ) -> u64 {
        let kind = match step {
            Step::Work => SpanKind::Internal,
            Step::Publish { .. } => SpanKind::Producer,
            _ => SpanKind::Client,
        };
        let mut span = self.raw(service, instance, kind, now);
        span.parent = Some(parent);
        let (place, id) = (trace.spans.len(), span.id);
        match step {
            Step::Call { chance, .. } if self.random.unit() > *chance => return now,
            Step::Call { callee, .. } => {
                let naming = self.system.naming;
                let whole = naming == Naming::Operation;
                span.operation = if whole { operation(*callee, self.request) } else { "POST".into() };
                span.peer = if naming == Naming::Peer { name(*callee) } else { String::new() };
                span.protocol = "http.request.method";
                // Now and then a connection is refused: nothing arrives.
                span.failed = self.random.unit() < 0.01;
                let (failed, start) = (span.failed, now + self.random.time(250_000.0));
                trace.spans.push(span);
                let done = if failed {
                    start
                } else {
                    self.serve(trace, *callee, Some(id), SpanKind::Server, start, depth + 1)
                };
                trace.spans[place].end_ns = done + self.random.time(250_000.0);
            }
            Step::Publish { consumer, same_trace } => {
                span.operation = format!("send {}-events", name(*consumer));
                span.peer = format!("{}-events", name(*consumer));
                span.end_ns = now + self.random.time(400_000.0);
                let (end, at) = (span.end_ns, span.end_ns + self.random.time(20_000_000.0));
                trace.spans.push(span);
                if *same_trace {
                    self.serve(trace, *consumer, Some(id), SpanKind::Consumer, at, depth + 1);
                } else {
                    self.later.push((*consumer, at, (trace.id, id)));
                }
                return end;
            }
            Step::Database => {
                span.operation = format!("SELECT {}", name(service));
                span.peer = format!("{}-db", name(service));
                span.protocol = "db.system.name";
                span.end_ns = now + self.random.time(1_500_000.0);
                trace.spans.push(span);
            }
            Step::Outside => {
                span.operation = "GET".into();
                span.peer = "api.elsewhere.example".into();
                span.protocol = "http.request.method";
                span.end_ns = now + self.random.time(30_000_000.0);
                trace.spans.push(span);
            }
            Step::Work => {
                span.operation = "render".into();
                span.end_ns = now + self.random.time(900_000.0);
                trace.spans.push(span);
            }
        }
        trace.spans[place].end_ns
    }
}

fn operation(service: usize, request: usize) -> String {
    format!("POST /{}/{request}", name(service))
}

/// Whole traces from elsewhere, to be broken, and the names of their services.
pub fn from(traces: &Traces) -> (Vec<RawTrace>, Vec<String>) {
    let mut names: Vec<String> = Vec::new();
    let mut instances: Vec<&str> = Vec::new();
    let mut number = |text: &str| {
        names.iter().position(|known| known == text).unwrap_or_else(|| {
            names.push(text.to_owned());
            names.len() - 1
        })
    };
    let mut raws = Vec::new();
    for trace in traces.traces() {
        let mut raw = RawTrace { id: trace.id, spans: Vec::new() };
        for span in traces.spans_of(trace) {
            let text = traces.text(span.instance);
            let instance = instances.iter().position(|known| *known == text).unwrap_or_else(|| {
                instances.push(text);
                instances.len() - 1
            });
            raw.spans.push(Raw {
                id: span.id,
                parent: span.parent_id,
                service: number(traces.text(span.service)),
                instance,
                operation: traces.text(span.operation).to_owned(),
                kind: match span.kind {
                    2 => SpanKind::Server,
                    3 => SpanKind::Client,
                    4 => SpanKind::Producer,
                    5 => SpanKind::Consumer,
                    _ => SpanKind::Internal,
                },
                start_ns: span.start_ns,
                end_ns: span.end_ns,
                peer: traces.text(span.peer).to_owned(),
                protocol: "",
                failed: span.is_error(),
                link: None,
            });
        }
        raws.push(raw);
    }
    (raws, names)
}

/// The traces as an analysis takes them; those without spans are left out.
pub fn build(traces: &[RawTrace], name: &dyn Fn(usize) -> String) -> Traces {
    let mut builder = Builder::new();
    for trace in traces.iter().filter(|trace| !trace.spans.is_empty()) {
        for raw in &trace.spans {
            let texts = builder.texts();
            let span = Span {
                id: raw.id,
                parent_id: raw.parent,
                service: texts.number(&name(raw.service)),
                instance: texts.number(&format!("{}-{}", name(raw.service), raw.instance)),
                operation: texts.number(&raw.operation),
                peer: texts.number(&raw.peer),
                kind: raw.kind as u8,
                start_ns: raw.start_ns,
                end_ns: raw.end_ns,
                status: if raw.failed { tracewell_analysis::Status::Error } else { Default::default() },
                ..Span::default()
            };
            let protocol = Attribute { key: texts.number(raw.protocol), value: Scalar::Bool(true) };
            builder.span(span, if raw.protocol.is_empty() { &[] } else { std::slice::from_ref(&protocol) });
            if let Some((trace, span)) = raw.link {
                builder.link(raw.id, trace, span);
            }
        }
        builder.finish_trace(trace.id, 1.0);
    }
    builder.finish()
}
