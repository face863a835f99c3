//! One pass over the spans: who calls whom, which calls got no answer, which pieces hang in the air.

use std::collections::{HashMap, HashSet};

use foldhash::fast::RandomState;
use tracewell_model::{SpanId, TraceId};

use crate::traces::{NO_SPAN, Span, Text, Traces};

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
    pub services: Map<Text, Presence>,
    /// Who stands above an operation: (service, operation) to services with counts.
    pub callers: Map<(Text, Text), Vec<(Text, u32)>>,
    /// Who answers to a name.
    pub peers: Map<(Text, Protocol), Vec<(Text, u32)>>,
    /// Which services serve an operation of that name.
    pub served: Map<Text, Vec<(Text, u32)>>,
    /// For each span: whether something of another service hangs below it, with only spans of its own in between.
    pub foreign_below: Vec<bool>,
    pub first_ns: u64,
    pub last_ns: u64,
}

/// Adds one to a count.
pub(super) fn count(counts: &mut Vec<(Text, u32)>, key: Text) {
    match counts.iter_mut().find(|(known, _)| *known == key) {
        Some((_, count)) => *count += 1,
        None => counts.push((key, 1)),
    }
}

/// The most frequent, with its share; the smaller number of two that are as frequent, so that the answer is one.
pub(super) fn most(counts: &[(Text, u32)]) -> Option<(Text, f64)> {
    let total: u32 = counts.iter().map(|(_, count)| count).sum();
    let (key, count) = counts.iter().max_by_key(|(key, count)| (*count, u32::MAX - key.0))?;
    Some((*key, f64::from(*count) / f64::from(total)))
}

impl Survey {
    pub(super) fn of(traces: &Traces) -> Self {
        let mut survey = Self { first_ns: u64::MAX, ..Self::default() };
        survey.foreign_below = foreign_below(traces);
        let answers = answers(traces);
        let linked = linked(traces);
        let linking: HashSet<u32, RandomState> = traces.links().iter().map(|link| link.span).collect();
        let mut sites: Map<Key, u32> = Map::default();
        let mut ordinals: Map<(u32, Text), u32> = Map::default();
        for (number, trace) in traces.traces().iter().enumerate() {
            ordinals.clear();
            for index in trace.spans() {
                let span = &traces.spans()[index];
                survey.first_ns = survey.first_ns.min(span.start_ns);
                survey.last_ns = survey.last_ns.max(span.end_ns);
                survey.presence(span);
                survey.incoming(traces, span);
                let piece = Piece { span: index as u32, trace: number as u32 };
                if span.is_orphan() {
                    survey.orphans.push(piece);
                } else if span.parent == NO_SPAN && span.is_incoming() && !linking.contains(&piece.span) {
                    survey.fragments.push(piece);
                }
                if !span.is_outgoing() {
                    continue;
                }
                let mut child = answers[index];
                if child == NO_SPAN && span.is_producer() {
                    child = linked.get(&(trace.id, span.id)).copied().unwrap_or(NO_SPAN);
                }
                if child == WRAPPER {
                    continue;
                }
                let site = survey.site(traces, index, &mut sites, &mut ordinals);
                survey.call(traces, Call { span: piece.span, trace: piece.trace, site, child });
            }
        }
        survey
    }

    fn presence(&mut self, span: &Span) {
        let presence = self.services.entry(span.service).or_default();
        presence.spans += 1;
        presence.parents += u32::from(span.descendants > 0);
        if span.is_incoming() {
            presence.incoming += 1;
            presence.roots += u32::from(span.parent_id.is_none());
        }
    }

    /// Learns from a span that was called who calls it.
    fn incoming(&mut self, traces: &Traces, span: &Span) {
        if !span.is_incoming() {
            return;
        }
        count(self.served.entry(span.operation).or_default(), span.service);
        if span.parent != NO_SPAN {
            let above = traces.spans()[span.parent as usize].service;
            count(self.callers.entry((span.service, span.operation)).or_default(), above);
        }
    }

    fn site(
        &mut self,
        traces: &Traces,
        index: usize,
        sites: &mut Map<Key, u32>,
        ordinals: &mut Map<(u32, Text), u32>,
    ) -> u32 {
        let span = &traces.spans()[index];
        let peer = peer(traces, span);
        let (mut above, mut ordinal) = (Text::EMPTY, 0);
        if peer.is_empty() {
            above = traces.parent(index).map_or(Text::EMPTY, |parent| traces.spans()[parent].operation);
            let seen = ordinals.entry((span.parent, span.operation)).or_default();
            ordinal = *seen;
            *seen = (*seen + 1).min(ORDINAL_MAX);
        }
        let key = (span.service, span.operation, peer, above, ordinal);
        *sites.entry(key).or_insert_with(|| {
            let (service, operation, protocol) = (span.service, span.operation, protocol(traces, index));
            self.sites.push(Site { service, operation, peer, protocol, callees: Vec::new(), calls: 0, answered: 0 });
            self.sites.len() as u32 - 1
        })
    }

    fn call(&mut self, traces: &Traces, call: Call) {
        let failed = traces.spans()[call.span as usize].is_error();
        if failed && call.child == NO_SPAN {
            return; // It may never have arrived.
        }
        self.calls.push(call);
        let site = &mut self.sites[call.site as usize];
        site.calls += 1;
        if call.child != NO_SPAN {
            let callee = traces.spans()[call.child as usize].service;
            site.answered += 1;
            count(&mut site.callees, callee);
            if !site.peer.is_empty() {
                count(self.peers.entry((site.peer, site.protocol)).or_default(), callee);
            }
        }
    }
}

/// Service, operation, peer; without a peer also the operation above and the how many-th call of its kind there.
type Key = (Text, Text, Text, Text, u32);

/// In place of an answer: the call is made by another span below this one.
const WRAPPER: u32 = NO_SPAN - 1;

/// For each outgoing span the incoming span that answers it.
fn answers(traces: &Traces) -> Vec<u32> {
    let spans = traces.spans();
    let mut answers = vec![NO_SPAN; spans.len()];
    for (index, span) in spans.iter().enumerate() {
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
                if crosses && answers[above] >= WRAPPER {
                    answers[above] = index as u32;
                } else if !crosses && answers[above] == NO_SPAN {
                    answers[above] = WRAPPER;
                }
                break;
            }
            let Some(next) = traces.parent(above) else { break };
            above = next;
        }
    }
    answers
}

/// Which span follows up what was sent by the span with that id: messages are often handled in traces of their own.
fn linked(traces: &Traces) -> Map<(TraceId, SpanId), u32> {
    let incoming = traces.links().iter().filter(|link| traces.spans()[link.span as usize].is_incoming());
    incoming.map(|link| ((link.trace_id, link.span_id), link.span)).collect()
}

fn foreign_below(traces: &Traces) -> Vec<bool> {
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
fn peer(traces: &Traces, span: &Span) -> Text {
    let name = traces.text(span.peer);
    let here = name.eq_ignore_ascii_case("localhost") || name.starts_with("127.") || name == "::1" || name == "0.0.0.0";
    if here || span.peer == span.service { Text::EMPTY } else { span.peer }
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
