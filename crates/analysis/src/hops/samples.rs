//! The calls of a window, gathered by edge: what a change is tested on.

use std::collections::HashMap;

use foldhash::fast::RandomState;
use tracewell_model::Sketch;

use super::split::HopCall;
use super::zones::{Site, Sites};
use super::{Sample, Seen};
use crate::{Text, Traces};

/// What makes an edge.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Grouping {
    /// Caller and callee.
    #[default]
    Services,
    /// Caller, callee and the operation called.
    Operations,
}

/// The calls of one edge in one window. Times in nanoseconds; request, response and network can be below zero.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct EdgeSamples {
    /// The calling service; empty for requests from outside.
    pub caller: String,
    /// The called service, or whom callers say that they call.
    pub callee: String,
    /// The operation, where edges are told apart by it.
    pub operation: Option<String>,
    /// True for messages.
    pub is_async: bool,
    /// Calls.
    pub calls: u64,
    /// Calls that failed.
    pub errors: u64,
    /// The whole, as callers see it.
    pub client: Sample,
    /// From the caller's start to the callee's, without waiting for a connection.
    pub request: Sample,
    /// Duration at the callee.
    pub server: Sample,
    /// Of it, what the callee did not spend on calls of its own.
    pub own: Sample,
    /// From the callee's end to the caller's.
    pub response: Sample,
    /// Request and response together. Empty where only their distributions are known.
    pub network: Sample,
    /// Waiting for a connection, or in a broker's queue.
    pub queue: Sample,
    /// The whole of calls whose callee is not to be seen.
    pub call: Sample,
    /// The network between zones, nodes and hosts.
    pub sites: Vec<(Site, Sample)>,
}

/// Sketches of one edge, as rollups keep them.
#[derive(Debug, Clone, Copy)]
pub struct EdgeSketches<'a> {
    /// From the caller's start to the callee's.
    pub request: &'a Sketch,
    /// Duration at the callee.
    pub server: &'a Sketch,
    /// Of it, what the callee did not spend on calls of its own.
    pub own: &'a Sketch,
    /// From the callee's end to the caller's.
    pub response: &'a Sketch,
    /// In a broker's queue.
    pub queue: &'a Sketch,
}

impl EdgeSamples {
    /// From the sketches of an edge; names and counts are the caller's to fill in.
    pub fn of_sketches(sketches: &EdgeSketches<'_>) -> Self {
        Self {
            request: sketches.request.into(),
            server: sketches.server.into(),
            own: sketches.own.into(),
            response: sketches.response.into(),
            queue: sketches.queue.into(),
            ..Self::default()
        }
    }
}

/// Values of an edge as they come.
#[derive(Default)]
struct Raw {
    calls: u64,
    errors: u64,
    client: Vec<i64>,
    request: Vec<i64>,
    server: Vec<i64>,
    own: Vec<i64>,
    response: Vec<i64>,
    network: Vec<i64>,
    queue: Vec<i64>,
    call: Vec<i64>,
    sites: HashMap<(u8, Text, Text), Vec<i64>, RandomState>,
}

fn whole(ns: u64) -> i64 {
    i64::try_from(ns).unwrap_or(i64::MAX)
}

impl Raw {
    fn take(&mut self, call: &HopCall, traces: &Traces, sites: &Sites) {
        self.calls += 1;
        self.errors += u64::from(call.is_error);
        if call.seen == Seen::Caller {
            self.call.extend(call.client_ns.map(whole));
            return;
        }
        let waited = call.client_queue_ns.map(whole);
        let request = call.request_ns.map(|request| request.saturating_sub(waited.unwrap_or(0)));
        if !call.is_async {
            self.client.extend(call.client_ns.map(whole));
        }
        self.request.extend(request);
        self.server.extend(call.server_ns.map(whole));
        self.own.extend(call.own_ns.map(whole));
        self.response.extend(call.response_ns);
        self.queue.extend(call.queue_ns.or(waited));
        if let Some((request, response)) = request.zip(call.response_ns) {
            let network = request.saturating_add(response);
            self.network.push(network);
            if let (Some(caller), Some(callee)) = (call.caller_span, call.callee_span) {
                for (dimension, from, to) in sites.of_call(traces, caller, callee) {
                    self.sites.entry((dimension, from, to)).or_default().push(network);
                }
            }
        }
    }

    fn finish(self, traces: &Traces, key: (Text, Text, Text, bool), grouping: Grouping) -> EdgeSamples {
        let text = |text: Text| traces.text(text).to_owned();
        let mut sites: Vec<(Site, Sample)> = self
            .sites
            .into_iter()
            .map(|((dimension, from, to), values)| {
                (Site { dimension, from: text(from), to: text(to) }, Sample::from(values))
            })
            .collect();
        sites.sort_by(|a, b| a.0.cmp(&b.0));
        EdgeSamples {
            caller: text(key.0),
            callee: text(key.1),
            operation: (grouping == Grouping::Operations).then(|| text(key.2)),
            is_async: key.3,
            calls: self.calls,
            errors: self.errors,
            client: self.client.into(),
            request: self.request.into(),
            server: self.server.into(),
            own: self.own.into(),
            response: self.response.into(),
            network: self.network.into(),
            queue: self.queue.into(),
            call: self.call.into(),
            sites,
        }
    }
}

/// Gathers calls by edge, in order of names.
pub fn samples(traces: &Traces, calls: &[HopCall], grouping: Grouping) -> Vec<EdgeSamples> {
    let sites = Sites::new(traces);
    let mut by_edge: HashMap<(Text, Text, Text, bool), Raw, RandomState> = HashMap::default();
    for call in calls {
        let operation = if grouping == Grouping::Operations { call.operation } else { Text::EMPTY };
        let key = (call.caller, call.callee, operation, call.is_async);
        by_edge.entry(key).or_default().take(call, traces, &sites);
    }
    let mut edges: Vec<EdgeSamples> = by_edge.into_iter().map(|(key, raw)| raw.finish(traces, key, grouping)).collect();
    edges.sort_by(|a, b| key(a).cmp(&key(b)));
    edges
}

/// What an edge is known by.
pub(super) fn key(edge: &EdgeSamples) -> (&str, &str, Option<&str>, bool) {
    (&edge.caller, &edge.callee, edge.operation.as_deref(), edge.is_async)
}
