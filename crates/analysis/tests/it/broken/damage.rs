//! What goes wrong with traces on their way, done to whole ones.

use std::collections::{BTreeMap, HashMap, HashSet};

use tracewell_analysis::broken::Cause;
use tracewell_model::{SpanId, SpanKind, TraceId};

use super::system::{Random, Raw, RawTrace};

/// One kind of damage to one service or edge.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Damage {
    /// Nothing of the service arrives, but it passes the context on.
    Removed,
    /// The service is not instrumented and passes nothing on.
    Dark,
    /// Single spans are lost.
    Spans(f64),
    /// Batches are lost: all spans of a tenth of the time, by seconds.
    Batches,
    /// Nothing of one instance arrives.
    Instance,
    /// Half the spans of one instance are lost.
    HalfInstance,
    /// Nothing arrives any more from the middle on.
    Died,
    /// The context is cut from this share of the calls of one edge.
    Header(f64),
    /// The context is cut from all that one instance of the caller sends.
    HeaderInstance,
    /// The service keeps what a threshold in the trace id lets through, and those below follow.
    Ratio(f64),
    /// It keeps this share of traces at random, and those below follow.
    AtRandom(f64),
    /// Its newest spans are not there yet.
    Late,
}

pub const ALL: [Damage; 19] = [
    Damage::Removed,
    Damage::Dark,
    Damage::Spans(0.5),
    Damage::Spans(0.1),
    Damage::Batches,
    Damage::Instance,
    Damage::HalfInstance,
    Damage::Died,
    Damage::Header(1.0),
    Damage::Header(0.5),
    Damage::Header(0.1),
    Damage::HeaderInstance,
    Damage::Ratio(0.1),
    Damage::Ratio(0.5),
    Damage::Ratio(0.9),
    Damage::AtRandom(0.1),
    Damage::AtRandom(0.5),
    Damage::AtRandom(0.9),
    Damage::Late,
];

/// A hop by the numbers of its services.
pub type Edge = (usize, usize);

/// What was done.
pub struct Done {
    pub traces: Vec<RawTrace>,
    /// Edges with the number of calls that lost their answer.
    pub lost: BTreeMap<Edge, usize>,
    pub cause: Cause,
}

impl Damage {
    pub fn cause(self) -> Cause {
        match self {
            Damage::Removed | Damage::Dark => Cause::NotInstrumented,
            Damage::Spans(_) | Damage::Batches | Damage::Instance | Damage::HalfInstance | Damage::Died => {
                Cause::DroppedByExporter
            }
            Damage::Header(_) | Damage::HeaderInstance => Cause::HeaderStripped,
            Damage::Ratio(_) | Damage::AtRandom(_) => Cause::Sampled,
            Damage::Late => Cause::Late,
        }
    }

    /// Whether it concerns one edge rather than all into a service.
    pub fn is_of_edge(self) -> bool {
        matches!(self, Damage::Header(_) | Damage::HeaderInstance)
    }

    pub fn needs_instances(self) -> bool {
        matches!(self, Damage::Instance | Damage::HalfInstance)
    }

    /// Does it to a service, or to the edge between two.
    pub fn apply(self, whole: &[RawTrace], answered: &Answered, edge: Edge, seed: u64) -> Done {
        let (mut random, mut cuts) = (Random(seed), Random(seed ^ 0xc07));
        let last = whole.iter().flat_map(|trace| &trace.spans).map(|span| span.end_ns).max().unwrap_or(0);
        let first = whole.iter().flat_map(|trace| &trace.spans).map(|span| span.start_ns).min().unwrap_or(0);
        let bad_seconds: HashSet<u64> = (first / SECOND..=last / SECOND).filter(|_| random.unit() < 0.2).collect();
        let middle = first + (last - first) / 2;
        let mut traces = Vec::new();
        for trace in whole {
            let kept = match self {
                Damage::Ratio(share) => f64::from(trace.id.0[9]) >= 256.0 * (1.0 - share),
                Damage::AtRandom(share) => random.unit() < share,
                _ => true,
            };
            let mut lost = |span: &Raw| match self {
                Damage::Removed | Damage::Dark => true,
                Damage::Spans(share) => random.unit() < share,
                Damage::Batches => bad_seconds.contains(&(span.end_ns / SECOND)),
                Damage::Instance => span.instance == 0,
                Damage::HalfInstance => span.instance == 0 && random.unit() < 0.5,
                Damage::Died => span.end_ns > middle,
                Damage::Late => span.end_ns > last - 4 * SECOND,
                _ => false,
            };
            let mut pieces = match self {
                Damage::Header(share) => cut(trace, &mut |outer, inner| {
                    outer.service == edge.0 && inner.service == edge.1 && cuts.unit() < share
                }),
                Damage::HeaderInstance => cut(trace, &mut |outer, inner| {
                    outer.service == edge.0 && inner.service == edge.1 && outer.instance == 0
                }),
                Damage::Dark => cut(trace, &mut |outer, inner| outer.service == edge.1 && inner.service != edge.1),
                Damage::Ratio(_) | Damage::AtRandom(_) if !kept => vec![without_subtrees(trace, edge.1)],
                _ => vec![trace.clone()],
            };
            for piece in &mut pieces {
                piece.spans.retain(|span| span.service != edge.1 || !lost(span));
            }
            pieces.retain(|piece| !piece.spans.is_empty());
            traces.append(&mut pieces);
        }
        relink(&mut traces);
        Done { lost: lost_edges(answered, &traces), traces, cause: self.cause() }
    }
}

/// Links name the trace that the sender knows of.
fn relink(traces: &mut [RawTrace]) {
    let of: HashMap<SpanId, TraceId> =
        traces.iter().flat_map(|trace| trace.spans.iter().map(|span| (span.id, trace.id))).collect();
    for link in traces.iter_mut().flat_map(|trace| &mut trace.spans).filter_map(|span| span.link.as_mut()) {
        link.0 = of.get(&link.1).copied().unwrap_or(link.0);
    }
}

const SECOND: u64 = 1_000_000_000;

/// Who calls and who answers, and between which services that is.
pub type Answered = BTreeMap<(SpanId, SpanId), Edge>;

/// The calls of some traces that have an answer.
pub fn answered(traces: &[RawTrace]) -> Answered {
    let mut answered = Answered::new();
    let all: HashMap<SpanId, usize> =
        traces.iter().flat_map(|trace| &trace.spans).map(|span| (span.id, span.service)).collect();
    for trace in traces {
        let by_id: HashMap<SpanId, &Raw> = trace.spans.iter().map(|span| (span.id, span)).collect();
        for span in &trace.spans {
            if let Some((_, sender)) = span.link
                && let Some(service) = all.get(&sender)
            {
                answered.insert((sender, span.id), (*service, span.service));
            }
            let Some(outer) = span.parent.and_then(|parent| by_id.get(&parent)) else { continue };
            if is_incoming(span) {
                answered.insert((outer.id, span.id), (outer.service, span.service));
            }
        }
    }
    answered
}

/// Calls that had an answer and have it no more, by edge.
fn lost_edges(before: &Answered, broken: &[RawTrace]) -> BTreeMap<Edge, usize> {
    let after = answered(broken);
    let there: HashSet<SpanId> = broken.iter().flat_map(|trace| &trace.spans).map(|span| span.id).collect();
    let mut lost = BTreeMap::new();
    for (_, edge) in before.iter().filter(|(call, _)| !after.contains_key(call) && there.contains(&call.0)) {
        *lost.entry(*edge).or_default() += 1;
    }
    lost
}

fn is_incoming(span: &Raw) -> bool {
    matches!(span.kind, SpanKind::Server | SpanKind::Consumer)
}

/// Splits a trace where the context does not arrive: what is below begins a trace of its own.
fn cut(trace: &RawTrace, at: &mut dyn FnMut(&Raw, &Raw) -> bool) -> Vec<RawTrace> {
    let by_id: HashMap<SpanId, &Raw> = trace.spans.iter().map(|span| (span.id, span)).collect();
    let mut of: HashMap<SpanId, usize> = HashMap::new();
    let mut pieces = vec![RawTrace { id: trace.id, spans: Vec::new() }];
    for span in &trace.spans {
        // Spans stand below their parents.
        let outer = span.parent.and_then(|parent| by_id.get(&parent));
        let mut piece = outer.and_then(|outer| of.get(&outer.id)).copied().unwrap_or(0);
        let mut span = span.clone();
        if is_incoming(&span) && outer.is_some_and(|outer| at(outer, &span)) {
            piece = pieces.len();
            let mut id = [0; 16];
            id[..8].copy_from_slice(&span.id.0);
            id[8..].copy_from_slice(&Random(u64::from_be_bytes(span.id.0)).bits().to_be_bytes());
            pieces.push(RawTrace { id: TraceId(id), spans: Vec::new() });
            span.parent = None;
        }
        of.insert(span.id, piece);
        pieces[piece].spans.push(span);
    }
    pieces
}

/// A trace without what a service and all below it would have recorded.
fn without_subtrees(trace: &RawTrace, service: usize) -> RawTrace {
    let mut gone: HashSet<SpanId> = HashSet::new();
    let mut spans = Vec::new();
    for span in &trace.spans {
        if span.service == service || span.parent.is_some_and(|parent| gone.contains(&parent)) {
            gone.insert(span.id);
        } else {
            spans.push(span.clone());
        }
    }
    RawTrace { id: trace.id, spans }
}
