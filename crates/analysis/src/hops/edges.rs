//! Distributions of each edge and minute.

use std::collections::BTreeMap;

use tracewell_model::Sketch;

use super::{HopCall, Seen};
use crate::{Text, Traces};

/// Nanoseconds in a minute.
const MINUTE_NS: u64 = 60_000_000_000;

/// The calls of one edge that began in one minute. Merging those of several minutes gives those of all of them.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct EdgeMinute {
    /// Minutes since the Unix epoch.
    pub minute: u64,
    /// The calling service; empty for requests from outside.
    pub caller: String,
    /// The called service.
    pub callee: String,
    /// The operation, where edges are told apart by it.
    pub operation: Option<String>,
    /// True for messages.
    pub is_async: bool,
    /// Calls.
    pub calls: u64,
    /// Calls that failed.
    pub errors: u64,
    /// The whole, as callers see it; nanoseconds, as all that follows.
    pub client: Sketch,
    /// From the caller's start to the callee's.
    pub request: Sketch,
    /// Duration at the callee.
    pub server: Sketch,
    /// Of it, what the callee did not spend on calls of its own.
    pub own: Sketch,
    /// From the callee's end to the caller's.
    pub response: Sketch,
    /// Waiting for a connection, or in a broker's queue.
    pub queue: Sketch,
}

impl EdgeMinute {
    /// Takes the calls of another minute, or of another part of the same.
    pub fn merge(&mut self, other: &Self) {
        self.calls += other.calls;
        self.errors += other.errors;
        for (own, more) in [
            (&mut self.client, &other.client),
            (&mut self.request, &other.request),
            (&mut self.server, &other.server),
            (&mut self.own, &other.own),
            (&mut self.response, &other.response),
            (&mut self.queue, &other.queue),
        ] {
            own.merge(more);
        }
    }

    fn take(&mut self, call: &HopCall) {
        self.calls += 1;
        self.errors += u64::from(call.is_error);
        let whole = |ns: u64| i64::try_from(ns).unwrap_or(i64::MAX);
        for (sketch, value) in [
            (&mut self.client, call.client_ns.map(whole)),
            (&mut self.request, call.request_ns),
            (&mut self.server, call.server_ns.map(whole)),
            (&mut self.own, call.own_ns.map(whole)),
            (&mut self.response, call.response_ns),
            (&mut self.queue, call.queue_ns.or(call.client_queue_ns.map(whole))),
        ] {
            value.into_iter().for_each(|value| sketch.add(value));
        }
    }
}

/// Gathers calls by minute and edge, and by operation too if asked to; in order of minute and names. Calls of which only
/// the caller is known are left out.
pub fn edges(traces: &Traces, calls: &[HopCall], by_operation: bool) -> Vec<EdgeMinute> {
    let mut found: BTreeMap<(u64, &str, &str, &str, bool), EdgeMinute> = BTreeMap::new();
    for call in calls.iter().filter(|call| call.seen != Seen::Caller) {
        let operation = if by_operation { call.operation } else { Text::EMPTY };
        let text = |text: Text| traces.text(text);
        let minute = call.start_ns / MINUTE_NS;
        let key = (minute, text(call.caller), text(call.callee), text(operation), call.is_async);
        let edge = found.entry(key).or_insert_with(|| EdgeMinute {
            minute,
            caller: key.1.to_owned(),
            callee: key.2.to_owned(),
            operation: by_operation.then(|| key.3.to_owned()),
            is_async: call.is_async,
            ..EdgeMinute::default()
        });
        edge.take(call);
    }
    found.into_values().collect()
}
