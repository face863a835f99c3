//! One pass over the spans: who calls whom, which calls got no answer, which pieces hang in the air.

use std::collections::{HashMap, HashSet};

use foldhash::fast::RandomState;
use tracewell_model::{SpanId, TraceId};

use crate::traces::{NO_SPAN, Span, Text, Trace, Traces};

use super::unrecorded;

pub(super) type Map<K, V> = HashMap<K, V, RandomState>;

/// How far above a span its call is looked for: an instrumented client library may put spans of its own in between.
const WRAPPERS_MAX: usize = 4;

/// Calls of one kind below one span are told apart up to this many.
const ORDINAL_MAX: u32 = 32;

/// What is asked for by a call, as its attributes say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Protocol {
    Database,
    Message,
    Request,
    Unknown,
}

/// A place in the code from which calls leave: what they are called and whom they name. Where they name nobody, also
/// below which operation and as the how many-th.
#[derive(Debug)]
pub(super) struct Site {
    pub service: Text,
    pub operation: Text,
    /// Whom the calls name; empty where they name nobody, themselves, or this machine.
    pub peer: Text,
    pub protocol: Protocol,
    /// Who answered, and how often.
    pub callees: Vec<(Text, u32)>,
    /// Calls that did not fail.
    pub calls: u32,
    pub answered: u32,
    /// What the fastest answered call took, nanoseconds.
    pub fastest_ns: u64,
    /// Answers in traces of their own, which link to the call.
    pub linked: u32,
    /// Nobody recorded these calls: the span of each is the work that it was made for.
    pub unrecorded: bool,
}

impl Site {
    /// Calls from an operation that records none.
    pub(super) fn unrecorded(service: Text, operation: Text) -> Self {
        Self {
            service,
            operation,
            peer: Text::EMPTY,
            protocol: Protocol::Unknown,
            callees: Vec::new(),
            calls: 0,
            answered: 0,
            fastest_ns: 0,
            linked: 0,
            unrecorded: true,
        }
    }
}

/// A span that leaves its service.
#[derive(Debug, Clone, Copy)]
pub(super) struct Call {
    pub span: u32,
    pub trace: u32,
    pub site: u32,
    /// The span that answers it, or [`NO_SPAN`].
    pub child: u32,
}

/// A span with a place in its trace: the root of a piece.
#[derive(Debug, Clone, Copy)]
pub(super) struct Piece {
    pub span: u32,
    pub trace: u32,
}

/// What there is of a service.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Presence {
    pub spans: u32,
    pub incoming: u32,
    /// Incoming spans that say they have no parent.
    pub roots: u32,
    /// Spans that something hangs below.
    pub parents: u32,
    /// When the last incoming span began, nanoseconds since the epoch.
    pub last_ns: u64,
}

/// Everything that the later steps ask for.
#[derive(Debug, Default)]
pub(super) struct Survey {
    pub sites: Vec<Site>,
    /// In order of traces.
    pub calls: Vec<Call>,
    /// Roots whose parent is not there.
    pub orphans: Vec<Piece>,
    /// Incoming roots that know of no parent and link to nothing.
    pub fragments: Vec<Piece>,
    /// By the number of the service's name.
    pub services: Vec<Presence>,
    /// Who stands above an operation: (service, operation) to services with counts.
    pub callers: Map<(Text, Text), Vec<(Text, u32)>>,
    /// Who answers to a name.
    pub peers: Map<(Text, Protocol), Vec<(Text, u32)>>,
    /// Which services serve an operation of that name.
    pub served: Map<Text, Vec<(Text, u32)>>,
    /// How much longer than its answer a call took, for some calls of each service, nanoseconds.
    pub overheads_ns: Map<Text, Vec<u64>>,
    pub first_ns: u64,
    pub last_ns: u64,
    /// Many links lead to traces that are not here: of those that follow up a message, some are missing as well, because
    /// these are a sample, or match a filter.
    pub partial: bool,
    /// By how much an answer may begin before its call or end after it: clocks of two machines never quite agree, and
    /// some answers are on their way before their span ends.
    pub clocks_ns: u64,
}

/// An answer may always stick out of its call by this …
const CLOCKS_MIN_NS: u64 = 1_000_000;

/// … and never by more than this, whatever is learned: beyond it, clocks have to be corrected first.
const CLOCKS_MAX_NS: u64 = 50_000_000;

/// Adds one to a count.
pub(super) fn count(counts: &mut Vec<(Text, u32)>, key: Text) {
    add(counts, key, 1);
}

/// The most frequent, with its share; the smaller number of two that are as frequent, so that the answer is one.
pub(super) fn most(counts: &[(Text, u32)]) -> Option<(Text, f64)> {
    let total: u32 = counts.iter().map(|(_, count)| count).sum();
    let (key, count) = counts.iter().max_by_key(|(key, count)| (*count, u32::MAX - key.0))?;
    Some((*key, f64::from(*count) / f64::from(total)))
}

impl Survey {
    pub(super) fn of(traces: &Traces) -> Self {
        let services = vec![Presence::default(); traces.texts().len()];
        let mut survey = Self { first_ns: u64::MAX, services, ..Self::default() };
        let mut scan = Scan { linked: linked(traces), ..Scan::default() };
        survey.partial = is_partial(traces);
        scan.linking = traces.links().iter().map(|link| link.span).collect();
        for (number, trace) in traces.traces().iter().enumerate() {
            scan.ordinals.clear();
            answers(traces, trace, &mut scan.answers);
            for index in trace.spans() {
                survey.span(traces, trace, (number as u32, index), &mut scan);
            }
        }
        survey.conclude(scan);
        unrecorded::add(traces, &mut survey);
        survey
    }

    fn span(&mut self, traces: &Traces, trace: &Trace, (number, index): (u32, usize), scan: &mut Scan) {
        let span = &traces.spans()[index];
        self.first_ns = self.first_ns.min(span.start_ns);
        self.last_ns = self.last_ns.max(span.end_ns);
        let presence = &mut self.services[span.service.0 as usize];
        presence.spans += 1;
        presence.parents += u32::from(span.descendants > 0);
        let piece = Piece { span: index as u32, trace: number };
        if span.is_orphan() {
            self.orphans.push(piece);
        }
        if span.is_incoming() {
            presence.incoming += 1;
            presence.last_ns = presence.last_ns.max(span.start_ns);
            presence.roots += u32::from(span.parent_id.is_none());
            if span.parent == NO_SPAN && span.parent_id.is_none() && !scan.linking.contains(&piece.span) {
                self.fragments.push(piece);
            }
            let above = traces.spans().get(span.parent as usize).map_or(Text::EMPTY, |above| above.service);
            *scan.called.entry((span.service, span.operation, above)).or_default() += 1;
        }
        if !span.is_outgoing() {
            return;
        }
        let mut child = scan.answers[index - trace.first as usize];
        if child == NO_SPAN && span.is_producer() {
            child = scan.linked.get(&(trace.id, span.id)).copied().unwrap_or(NO_SPAN);
        }
        // A call that failed may never have arrived.
        if child != WRAPPER && !(span.is_error() && child == NO_SPAN) {
            let site = self.site(traces, index, scan);
            self.call(traces, Call { span: piece.span, trace: piece.trace, site, child }, scan);
        }
    }

    fn site(&mut self, traces: &Traces, index: usize, scan: &mut Scan) -> u32 {
        let span = &traces.spans()[index];
        let peer = peer(traces, span, &mut scan.here);
        let (mut above, mut ordinal) = (Text::EMPTY, 0);
        if peer.is_empty() {
            above = traces.parent(index).map_or(Text::EMPTY, |parent| traces.spans()[parent].operation);
            let seen = scan.ordinals.entry((span.parent, span.operation)).or_default();
            ordinal = *seen;
            *seen = (*seen + 1).min(ORDINAL_MAX);
        }
        *scan.sites.entry((span.service, span.operation, peer, above, ordinal)).or_insert_with(|| {
            self.sites.push(Site {
                service: span.service,
                operation: span.operation,
                peer,
                protocol: protocol(traces, index),
                callees: Vec::new(),
                calls: 0,
                answered: 0,
                fastest_ns: u64::MAX,
                linked: 0,
                unrecorded: false,
            });
            self.sites.len() as u32 - 1
        })
    }

    fn call(&mut self, traces: &Traces, call: Call, scan: &mut Scan) {
        self.calls.push(call);
        let site = &mut self.sites[call.site as usize];
        site.calls += 1;
        if call.child == NO_SPAN {
            return;
        }
        let (outer, inner) = (&traces.spans()[call.span as usize], &traces.spans()[call.child as usize]);
        site.answered += 1;
        let trace = &traces.traces()[call.trace as usize];
        site.linked += u32::from(!trace.spans().contains(&(call.child as usize)));
        site.fastest_ns = site.fastest_ns.min(if outer.timed { outer.duration_ns() } else { 0 });
        count(&mut site.callees, inner.service);
        if !outer.is_producer() && outer.timed && inner.timed {
            let overheads = self.overheads_ns.entry(inner.service).or_default();
            if overheads.len() < SAMPLES_MAX {
                overheads.push(outer.duration_ns().saturating_sub(inner.duration_ns()));
                let early = outer.start_ns.saturating_sub(inner.start_ns);
                scan.sticks_out_ns.push(early.max(inner.end_ns.saturating_sub(outer.end_ns)));
            }
        }
    }

    /// What follows from the counts.
    fn conclude(&mut self, mut scan: Scan) {
        let mut called: Vec<((Text, Text, Text), u32)> = scan.called.drain().collect();
        called.sort_unstable();
        for ((service, operation, above), calls) in called {
            add(self.served.entry(operation).or_default(), service, calls);
            if !above.is_empty() {
                add(self.callers.entry((service, operation)).or_default(), above, calls);
            }
        }
        for site in self.sites.iter().filter(|site| !site.peer.is_empty()) {
            for (callee, calls) in &site.callees {
                add(self.peers.entry((site.peer, site.protocol)).or_default(), *callee, *calls);
            }
        }
        let out = &mut scan.sticks_out_ns;
        let place = (out.len() * 49 / 50).min(out.len().saturating_sub(1));
        let learned = if out.is_empty() { 0 } else { *out.select_nth_unstable(place).1 };
        self.clocks_ns = learned.clamp(CLOCKS_MIN_NS, CLOCKS_MAX_NS);
    }
}

/// Answered calls of one service whose times are kept.
const SAMPLES_MAX: usize = 2_000;

/// What is only needed during the pass.
#[derive(Default)]
struct Scan {
    sites: Map<Key, u32>,
    ordinals: Map<(u32, Text), u32>,
    linked: Map<(TraceId, SpanId), u32>,
    linking: HashSet<u32, RandomState>,
    /// For the spans of the trace at hand.
    answers: Vec<u32>,
    /// Service, operation, and the service above.
    called: Map<(Text, Text, Text), u32>,
    sticks_out_ns: Vec<u64>,
    /// Names that stand for this machine, as far as they were looked at.
    here: Map<Text, bool>,
}

fn add(counts: &mut Vec<(Text, u32)>, key: Text, more: u32) {
    match counts.iter_mut().find(|(known, _)| *known == key) {
        Some((_, count)) => *count += more,
        None => counts.push((key, more)),
    }
}

/// Service, operation, peer; without a peer also the operation above and the how many-th call of its kind there.
type Key = (Text, Text, Text, Text, u32);

/// In place of an answer: the call is made by another span below this one.
const WRAPPER: u32 = NO_SPAN - 1;

/// For each outgoing span of a trace the incoming span that answers it.
fn answers(traces: &Traces, trace: &Trace, answers: &mut Vec<u32>) {
    let (spans, first) = (traces.spans(), trace.first as usize);
    answers.clear();
    answers.resize(trace.spans().len(), NO_SPAN);
    for index in trace.spans() {
        let span = &spans[index];
        let Some(mut above) = traces.parent(index) else { continue };
        let crosses = span.is_incoming() || spans[above].service != span.service;
        if !crosses && !span.is_outgoing() {
            continue;
        }
        let caller = spans[above].service;
        for _ in 0..WRAPPERS_MAX {
            if spans[above].service != caller || spans[above].is_incoming() {
                break;
            }
            if spans[above].is_outgoing() {
                let answer = &mut answers[above - first];
                if crosses && *answer >= WRAPPER {
                    *answer = index as u32;
                } else if !crosses && *answer == NO_SPAN {
                    *answer = WRAPPER;
                }
                break;
            }
            let Some(next) = traces.parent(above) else { break };
            above = next;
        }
    }
}

/// Which span follows up what was sent by the span with that id: messages are often handled in traces of their own.
fn linked(traces: &Traces) -> Map<(TraceId, SpanId), u32> {
    let incoming = traces.links().iter().filter(|link| traces.spans()[link.span as usize].is_incoming());
    incoming.map(|link| ((link.trace_id, link.span_id), link.span)).collect()
}

/// Links into the void from which traces are taken for a part, and their share: some lead out of the window.
const ASTRAY_MIN: usize = 5;
const ASTRAY_SHARE: f64 = 0.05;

fn is_partial(traces: &Traces) -> bool {
    let here: HashSet<TraceId, RandomState> = match traces.links() {
        [] => return false,
        _ => traces.traces().iter().map(|trace| trace.id).collect(),
    };
    let incoming = traces.links().iter().filter(|link| traces.spans()[link.span as usize].is_incoming());
    let (astray, all) =
        incoming.fold((0, 0), |(astray, all), link| (astray + usize::from(!here.contains(&link.trace_id)), all + 1));
    astray >= ASTRAY_MIN && astray as f64 > ASTRAY_SHARE * f64::from(all)
}

/// For each span: whether something of another service hangs below it, with only spans of its own in between.
pub(super) fn foreign_below(traces: &Traces) -> Vec<bool> {
    let spans = traces.spans();
    let mut below = vec![false; spans.len()];
    for index in (0..spans.len()).rev() {
        if let Some(parent) = traces.parent(index) {
            below[parent] |= spans[parent].service != spans[index].service || below[index];
        }
    }
    below
}

/// Whom a call names, unless it says no more than "myself" or "this machine".
fn peer(traces: &Traces, span: &Span, here: &mut Map<Text, bool>) -> Text {
    if span.peer.is_empty() || span.peer == span.service {
        return Text::EMPTY;
    }
    let is_here = here.entry(span.peer).or_insert_with(|| {
        let name = traces.text(span.peer);
        name.eq_ignore_ascii_case("localhost") || name.starts_with("127.") || name == "::1" || name == "0.0.0.0"
    });
    if *is_here { Text::EMPTY } else { span.peer }
}

fn protocol(traces: &Traces, index: usize) -> Protocol {
    let span = &traces.spans()[index];
    if span.is_producer() {
        return Protocol::Message;
    }
    if !span.statement.is_empty() {
        return Protocol::Database;
    }
    let mut found = Protocol::Unknown;
    for attribute in traces.attributes(index) {
        let key = traces.text(attribute.key);
        let starts = |prefixes: &[&str]| prefixes.iter().any(|prefix| key.starts_with(prefix));
        if starts(&["db.", "sql.", "redis.", "cassandra", "memcache"]) {
            return Protocol::Database;
        } else if starts(&["messaging.", "message_bus."]) {
            found = Protocol::Message;
        } else if found == Protocol::Unknown && starts(&["http.", "url.", "rpc.", "grpc."]) {
            found = Protocol::Request;
        }
    }
    found
}
