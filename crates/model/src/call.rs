//! Calls between services, read from the spans of one trace: how long until the other side began, how long it took, how
//! long until the answer was there.
//!
//! ```text
//! caller   ├─────────────── client span ───────────────┤
//!          │ request │                      │ response │
//! callee             ├───── server span ────┤
//!                    │ own │ its calls │own │
//! ```
//!
//! *Input*: the spans of a trace, each with its parent. *Output*: one [`Call`] for each span that was called from
//! elsewhere, and for each call whose other side is not there. Times between two clocks are signed and left as they are: a
//! value below zero is a clock that is off, or a server that went on after it had answered. `request + response` is
//! the client's duration less the server's, each read from one clock, and so free of clock offsets.
//! *Cost*: O(n log n) in spans; nothing recurses, parents may form cycles.
//!
//! A span was called from elsewhere when its parent is of another service, or when its parent is a client (producer) and
//! it is a server (consumer) of the same service: an instance calls another.
//!
//! Several callees below one client span (retries by a library, hedged requests): the first to start has the request, the
//! last to end the response, those between have neither.

/// No span.
const NONE: u32 = u32::MAX;
/// A span whose entry is being looked for.
const PENDING: u32 = u32::MAX - 1;

/// The spans of one trace, by number.
pub trait TraceSpans {
    /// How many there are.
    fn len(&self) -> usize;
    /// True when there are none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// The parent, where it is among them.
    fn parent(&self, span: usize) -> Option<usize>;
    /// Start, nanoseconds since the Unix epoch.
    fn start_ns(&self, span: usize) -> u64;
    /// Duration in nanoseconds.
    fn duration_ns(&self, span: usize) -> u64;
    /// OTLP `SpanKind` as a number.
    fn kind(&self, span: usize) -> i32;
    /// A number for its service.
    fn service(&self, span: usize) -> u32;
}

/// Which sides of a call there are spans of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Seen {
    /// Both.
    Both,
    /// Only the callee's: the parent does other things than to call.
    Callee,
    /// Only the caller's: the callee is not instrumented, or its span is missing.
    Caller,
    /// The callee's, and there is no caller: a request from outside begins the trace, or the caller's span is missing.
    Entry,
}

/// One call. Times in nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Call {
    /// The caller's span: the client where there is one, else whatever the callee is below.
    pub caller: Option<usize>,
    /// The callee's span.
    pub callee: Option<usize>,
    /// Which of the two tell of the call.
    pub seen: Seen,
    /// True for messages: the caller does not wait.
    pub is_async: bool,
    /// From the caller's start to the callee's; signed.
    pub request_ns: Option<i64>,
    /// Duration of the callee's span.
    pub server_ns: Option<u64>,
    /// From the callee's end to the caller's; signed.
    pub response_ns: Option<i64>,
    /// From the handing over of a message to its being taken; signed.
    pub queue_ns: Option<i64>,
    /// Of the callee's duration, what it did not spend on calls of its own.
    pub own_ns: Option<u64>,
}

fn is_outgoing(kind: i32) -> bool {
    kind == 3 || kind == 4
}

fn is_incoming(kind: i32) -> bool {
    kind == 2 || kind == 5
}

/// True when a span was called from elsewhere by its parent.
fn is_called(trace: &impl TraceSpans, parent: usize, span: usize) -> bool {
    trace.service(parent) != trace.service(span) || (is_outgoing(trace.kind(parent)) && is_incoming(trace.kind(span)))
}

fn since(later: u64, earlier: u64) -> i64 {
    later.wrapping_sub(earlier) as i64
}

/// What is known of the callees below one client span.
#[derive(Clone, Copy)]
struct Below {
    first: u32,
    last: u32,
}

/// The calls of a trace, in the order of the spans that tell of them.
pub fn calls(trace: &impl TraceSpans) -> Vec<Call> {
    let count = trace.len();
    let parents: Vec<Option<usize>> =
        (0..count).map(|span| trace.parent(span).filter(|parent| *parent < count && *parent != span)).collect();
    let mut below = vec![Below { first: NONE, last: NONE }; count];
    // Those that called on: themselves or through a further client span below them.
    let mut passed_on = vec![false; count];
    for (span, parent) in parents.iter().enumerate() {
        let Some(parent) = *parent else { continue };
        let (own, above) = (trace.kind(span), trace.kind(parent));
        if is_outgoing(own) && is_outgoing(above) {
            passed_on[parent] = true;
        }
        if !is_called(trace, parent, span) {
            continue;
        }
        passed_on[parent] = true;
        if !is_message(own, above) {
            let of = &mut below[parent];
            let end = |span: u32| trace.start_ns(span as usize).saturating_add(trace.duration_ns(span as usize));
            if of.first == NONE || trace.start_ns(span) < trace.start_ns(of.first as usize) {
                of.first = span as u32;
            }
            if of.last == NONE || end(span as u32) > end(of.last) {
                of.last = span as u32;
            }
        }
    }
    let own = own_times(trace, &parents);
    let mut calls = Vec::new();
    for span in 0..count {
        let kind = trace.kind(span);
        let parent = parents[span].filter(|parent| is_called(trace, *parent, span));
        let server_ns = trace.duration_ns(span);
        let callee = Call {
            caller: parent,
            callee: Some(span),
            seen: Seen::Entry,
            is_async: kind == 5,
            request_ns: None,
            server_ns: Some(server_ns),
            response_ns: None,
            queue_ns: None,
            own_ns: Some(server_ns.saturating_sub(own[span])),
        };
        match parent {
            Some(parent) => calls.push(paired(trace, parent, span, below[parent], callee)),
            None if parents[span].is_none() && !is_outgoing(kind) => calls.push(callee),
            None => {}
        }
        if is_outgoing(kind) && !passed_on[span] {
            calls.push(Call {
                caller: Some(span),
                callee: None,
                seen: Seen::Caller,
                is_async: kind == 4,
                server_ns: None,
                own_ns: None,
                ..callee
            });
        }
    }
    calls
}

/// True when what passes from a span to another is a message.
fn is_message(callee: i32, caller: i32) -> bool {
    callee == 5 || caller == 4
}

fn paired(trace: &impl TraceSpans, parent: usize, span: usize, below: Below, call: Call) -> Call {
    let above = trace.kind(parent);
    let seen = if is_outgoing(above) { Seen::Both } else { Seen::Callee };
    let is_async = is_message(trace.kind(span), above);
    let waited = since(trace.start_ns(span), trace.start_ns(parent));
    let queue_ns = (is_async && seen == Seen::Both).then_some(waited);
    let mut call = Call { seen, is_async, queue_ns, ..call };
    if seen == Seen::Both && !is_async {
        let after = trace.start_ns(parent).wrapping_add(trace.duration_ns(parent));
        let end = trace.start_ns(span).wrapping_add(trace.duration_ns(span));
        call.request_ns = (below.first == span as u32).then_some(waited);
        call.response_ns = (below.last == span as u32).then(|| since(after, end));
    }
    call
}

/// For each span by which a service was entered: the time that the service spent on calls of its own.
fn own_times(trace: &impl TraceSpans, parents: &[Option<usize>]) -> Vec<u64> {
    let count = parents.len();
    let mut entries = vec![NONE; count];
    let mut path = Vec::new();
    for span in 0..count {
        let mut at = span;
        path.clear();
        let entry = loop {
            match entries[at] {
                NONE => {}
                // A cycle of parents: whoever was met first is the entry.
                PENDING => break at as u32,
                known => break known,
            }
            entries[at] = PENDING;
            path.push(at);
            match parents[at] {
                Some(parent) if !is_called(trace, parent, at) => at = parent,
                _ => break at as u32,
            }
        };
        path.iter().for_each(|at| entries[*at] = entry);
    }
    // Calls of each entry: client spans, and callees below a span that is not one.
    let mut waits: Vec<(u32, u64, u64)> = Vec::new();
    for span in 0..count {
        let of = match parents[span] {
            _ if is_outgoing(trace.kind(span)) => entries[span],
            // Below a client it is the client's span that tells, and by the caller's clock.
            Some(parent)
                if is_called(trace, parent, span)
                    && !is_outgoing(trace.kind(parent))
                    && !is_message(trace.kind(span), trace.kind(parent)) =>
            {
                entries[parent]
            }
            _ => continue,
        };
        let start = trace.start_ns(span);
        waits.push((of, start, start.saturating_add(trace.duration_ns(span))));
    }
    waits.sort_unstable();
    let mut spent = vec![0u64; count];
    for of_entry in waits.chunk_by(|a, b| a.0 == b.0) {
        let Some((entry, ..)) = of_entry.first() else { continue };
        let entry = *entry as usize;
        let (from, to) = (trace.start_ns(entry), trace.start_ns(entry).saturating_add(trace.duration_ns(entry)));
        let mut covered = from;
        for (_, start, end) in of_entry {
            let (start, end) = ((*start).max(covered), (*end).min(to));
            if end > start {
                spent[entry] += end - start;
                covered = end;
            }
        }
    }
    spent
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Parent, kind, service, start, duration.
    type Row = (Option<usize>, i32, u32, u64, u64);

    impl TraceSpans for Vec<Row> {
        fn len(&self) -> usize {
            Vec::len(self)
        }
        fn parent(&self, span: usize) -> Option<usize> {
            self[span].0
        }
        fn start_ns(&self, span: usize) -> u64 {
            self[span].3
        }
        fn duration_ns(&self, span: usize) -> u64 {
            self[span].4
        }
        fn kind(&self, span: usize) -> i32 {
            self[span].1
        }
        fn service(&self, span: usize) -> u32 {
            self[span].2
        }
    }

    const INTERNAL: i32 = 1;
    const SERVER: i32 = 2;
    const CLIENT: i32 = 3;
    const PRODUCER: i32 = 4;
    const CONSUMER: i32 = 5;

    /// What of a call the cases look at: seen, request, server, response, queue, own.
    type Told = (Seen, Option<i64>, Option<u64>, Option<i64>, Option<i64>, Option<u64>);

    fn told(rows: Vec<Row>) -> Vec<Told> {
        let told =
            |call: &Call| (call.seen, call.request_ns, call.server_ns, call.response_ns, call.queue_ns, call.own_ns);
        calls(&rows).iter().map(told).collect()
    }

    #[test]
    fn a_call_is_split_where_its_callee_begins_and_ends() {
        let rows = vec![
            (None, SERVER, 1, 0, 100),
            (Some(0), CLIENT, 1, 10, 60),
            (Some(1), SERVER, 2, 25, 40),
            (Some(2), INTERNAL, 2, 26, 30),
            (Some(3), CLIENT, 2, 30, 20),
        ];
        assert_eq!(
            told(rows),
            [
                (Seen::Entry, None, Some(100), None, None, Some(40)),
                (Seen::Both, Some(15), Some(40), Some(5), None, Some(20)),
                (Seen::Caller, None, None, None, None, None),
            ]
        );
    }

    #[test]
    fn calls_side_by_side_count_once_against_the_own_time() {
        let rows = vec![
            (None, SERVER, 1, 0, 100),
            (Some(0), CLIENT, 1, 10, 50),
            (Some(0), CLIENT, 1, 20, 60),
            (Some(0), CLIENT, 1, 90, 500),
        ];
        assert_eq!(told(rows)[0].5, Some(100 - 70 - 10));
    }

    #[test]
    fn a_clock_behind_gives_a_request_below_zero() {
        let rows = vec![(None, CLIENT, 1, 100, 50), (Some(0), SERVER, 2, 80, 30)];
        assert_eq!(told(rows), [(Seen::Both, Some(-20), Some(30), Some(40), None, Some(30))]);
    }

    #[test]
    fn messages_wait_in_a_queue_and_nobody_waits_for_them() {
        let rows = vec![(None, SERVER, 1, 0, 100), (Some(0), PRODUCER, 1, 10, 5), (Some(1), CONSUMER, 2, 400, 50)];
        assert_eq!(
            told(rows),
            [
                (Seen::Entry, None, Some(100), None, None, Some(95)),
                (Seen::Both, None, Some(50), None, Some(390), Some(50)),
            ]
        );
    }

    #[test]
    fn of_several_callees_the_first_has_the_request_and_the_last_the_response() {
        let rows = vec![
            (None, CLIENT, 1, 0, 100),
            (Some(0), SERVER, 2, 10, 10),
            (Some(0), SERVER, 2, 40, 10),
            (Some(0), SERVER, 2, 70, 10),
        ];
        let split: Vec<_> = told(rows).iter().map(|call| (call.1, call.3)).collect();
        assert_eq!(split, [(Some(10), None), (None, None), (None, Some(20))]);
    }

    #[test]
    fn a_callee_below_no_client_has_no_way_there() {
        let rows = vec![(None, INTERNAL, 1, 0, 100), (Some(0), SERVER, 2, 10, 50)];
        let found = told(rows);
        assert_eq!(found[1], (Seen::Callee, None, Some(50), None, None, Some(50)));
        assert_eq!(found[0].5, Some(50), "the caller waited");
    }

    #[test]
    fn a_cycle_of_parents_ends() {
        let rows = vec![(Some(1), SERVER, 1, 0, 9), (Some(0), INTERNAL, 1, 0, 5), (Some(2), CLIENT, 1, 0, 5)];
        assert_eq!(told(rows).len(), 1);
    }
}
