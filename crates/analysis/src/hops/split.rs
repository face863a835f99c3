//! The calls of traces, each split into its parts.

use serde::Serialize;
use tracewell_model::call::{self, Call, Seen, TraceSpans};

use super::waits;
use crate::{Text, Trace, Traces};

/// One call from one service (or instance) to another. Times in nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct HopCall {
    /// Number of the caller's span: a client or producer, or whatever the callee is below.
    pub caller_span: Option<usize>,
    /// Number of the callee's span.
    pub callee_span: Option<usize>,
    /// The calling service; empty where a request comes from outside.
    pub caller: Text,
    /// The called service. Where its span is missing, whom the caller says that it calls.
    pub callee: Text,
    /// Operation: the callee's, else the caller's.
    pub operation: Text,
    /// Which sides there are spans of.
    pub seen: Seen,
    /// True for messages.
    pub is_async: bool,
    /// True when the callee ended with an error, or the caller did where only it is known.
    pub is_error: bool,
    /// When it began, by the caller's clock where there is one; nanoseconds since the Unix epoch.
    pub start_ns: u64,
    /// The whole, as the caller sees it.
    pub client_ns: Option<u64>,
    /// From the caller's start to the callee's, signed.
    pub request_ns: Option<i64>,
    /// Duration at the callee.
    pub server_ns: Option<u64>,
    /// Of it, what the callee did not spend on calls of its own.
    pub own_ns: Option<u64>,
    /// From the callee's end to the caller's, signed.
    pub response_ns: Option<i64>,
    /// From the handing over of a message to its being taken, signed.
    pub queue_ns: Option<i64>,
    /// Of the request, what the client waited for a connection, where it says so.
    pub client_queue_ns: Option<u64>,
}

/// A [`HopCall`] as people and programs outside see it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Hop {
    /// The calling service; absent where a request comes from outside.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub caller: String,
    /// The called service, or whom the caller says that it calls.
    pub callee: String,
    /// The operation.
    pub operation: String,
    /// Number of the caller's span.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub caller_span: Option<usize>,
    /// Number of the callee's span.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub callee_span: Option<usize>,
    /// `both`, `callee` or `caller`.
    pub seen: &'static str,
    /// True for messages.
    pub is_async: bool,
    /// True when the call failed.
    pub is_error: bool,
    /// True when request or response are below zero.
    pub is_skewed: bool,
    /// When it began, nanoseconds since the Unix epoch.
    pub start_ns: u64,
    /// The whole, as the caller sees it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_ns: Option<u64>,
    /// From the caller's start to the callee's, signed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_ns: Option<i64>,
    /// Duration at the callee.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server_ns: Option<u64>,
    /// Of it, what the callee did not spend on calls of its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub own_ns: Option<u64>,
    /// From the callee's end to the caller's, signed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub response_ns: Option<i64>,
    /// From the handing over of a message to its being taken, signed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queue_ns: Option<i64>,
    /// Of the request, what the client waited for a connection.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_queue_ns: Option<u64>,
}

impl HopCall {
    /// Request and response together, free of clock offsets: what the caller waited while the callee did not work. Below
    /// zero when the callee went on after it had answered.
    pub fn network_ns(&self) -> Option<i64> {
        Some(self.request_ns?.wrapping_add(self.response_ns?))
    }

    /// True when request or response (or the queue) are below zero: clocks are off, or the callee went on after it had
    /// answered.
    pub fn is_skewed(&self) -> bool {
        [self.request_ns, self.response_ns, self.queue_ns].into_iter().flatten().any(|time| time < 0)
    }

    /// The same in words.
    pub fn shown(&self, traces: &Traces) -> Hop {
        let text = |text: Text| traces.text(text).to_owned();
        Hop {
            caller: text(self.caller),
            callee: text(self.callee),
            operation: text(self.operation),
            caller_span: self.caller_span,
            callee_span: self.callee_span,
            seen: match self.seen {
                Seen::Both => "both",
                Seen::Callee | Seen::Entry => "callee",
                Seen::Caller => "caller",
            },
            is_async: self.is_async,
            is_error: self.is_error,
            is_skewed: self.is_skewed(),
            start_ns: self.start_ns,
            client_ns: self.client_ns,
            request_ns: self.request_ns,
            server_ns: self.server_ns,
            own_ns: self.own_ns,
            response_ns: self.response_ns,
            queue_ns: self.queue_ns,
            client_queue_ns: self.client_queue_ns,
        }
    }
}

/// The spans of one trace among others.
struct Of<'a> {
    traces: &'a Traces,
    first: usize,
    end: usize,
}

impl TraceSpans for Of<'_> {
    fn len(&self) -> usize {
        self.end - self.first
    }

    fn parent(&self, span: usize) -> Option<usize> {
        self.traces.parent(self.first + span).map(|parent| parent - self.first)
    }

    fn start_ns(&self, span: usize) -> u64 {
        self.traces.spans()[self.first + span].start_ns
    }

    fn duration_ns(&self, span: usize) -> u64 {
        self.traces.spans()[self.first + span].duration_ns()
    }

    fn kind(&self, span: usize) -> i32 {
        i32::from(self.traces.spans()[self.first + span].kind)
    }

    fn service(&self, span: usize) -> u32 {
        self.traces.spans()[self.first + span].service.0
    }
}

/// Every call in `traces`, trace by trace, in the order of the spans that tell of them: calls between services,
/// requests from outside ([`Seen::Entry`]), and calls of which only the caller's side is there.
pub fn split(traces: &Traces) -> Vec<HopCall> {
    let waits = waits::Waits::new(traces);
    let mut found = Vec::new();
    for trace in traces.traces() {
        split_into(traces, trace, &waits, &mut found);
    }
    found
}

/// The calls between services of one trace, in words: without requests from outside.
pub fn of_trace(traces: &Traces, trace: &Trace) -> Vec<Hop> {
    let mut found = Vec::new();
    split_into(traces, trace, &waits::Waits::new(traces), &mut found);
    found.iter().filter(|call| call.seen != Seen::Entry).map(|call| call.shown(traces)).collect()
}

fn split_into(traces: &Traces, trace: &Trace, waits: &waits::Waits, found: &mut Vec<HopCall>) {
    let of = Of { traces, first: trace.first as usize, end: trace.end as usize };
    for call in call::calls(&of) {
        if let Some(split) = of_call(&of, &call, trace, waits) {
            found.push(split);
        }
    }
}

fn of_call(of: &Of<'_>, call: &Call, trace: &Trace, waits: &waits::Waits) -> Option<HopCall> {
    let (traces, spans) = (of.traces, of.traces.spans());
    let caller_span = call.caller.map(|span| of.first + span);
    let callee_span = call.callee.map(|span| of.first + span);
    let teller = &spans[callee_span.or(caller_span)?];
    let outgoing = caller_span.filter(|_| matches!(call.seen, Seen::Both | Seen::Caller));
    let mut split = HopCall {
        caller_span,
        callee_span,
        caller: caller_span.map_or(Text::EMPTY, |span| spans[span].service),
        callee: callee_span.map_or(teller.peer, |span| spans[span].service),
        operation: teller.operation,
        seen: call.seen,
        is_async: call.is_async,
        is_error: teller.is_error(),
        start_ns: outgoing.map_or(teller.start_ns, |span| spans[span].start_ns),
        client_ns: outgoing.map(|span| spans[span].duration_ns()),
        request_ns: call.request_ns,
        server_ns: call.server_ns,
        own_ns: call.own_ns,
        response_ns: call.response_ns,
        queue_ns: call.queue_ns,
        client_queue_ns: outgoing.and_then(|span| waits.of_client(traces, span)),
    };
    // A message that is taken links to the one that was sent, more often than it is its child.
    if call.is_async
        && call.seen == Seen::Entry
        && let Some(sent) = callee_span.and_then(|span| waits.sent(traces, span))
    {
        split.caller_span = Some(sent);
        split.caller = spans[sent].service;
        split.seen = Seen::Both;
        split.queue_ns = Some(teller.start_ns.wrapping_sub(spans[sent].start_ns) as i64);
    }
    // Concluded times measure nothing.
    let is_timed = |span: Option<usize>| span.is_none_or(|span| spans[span].timed);
    if !is_timed(caller_span) || !is_timed(callee_span) {
        (split.request_ns, split.response_ns, split.queue_ns) = (None, None, None);
        split.client_ns = split.client_ns.filter(|_| is_timed(caller_span));
        split.server_ns = split.server_ns.filter(|_| is_timed(callee_span));
        split.own_ns = split.own_ns.filter(|_| is_timed(callee_span));
    }
    let is_named = !split.callee.is_empty() || split.seen != Seen::Caller;
    (is_named && !trace.spans().is_empty()).then_some(split)
}
