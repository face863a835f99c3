//! Where a failure began, and how far it came.
//!
//! **Input.** Spans with their status. Where that is not set, attributes tell ([`Rule`]): HTTP and gRPC codes by OpenTelemetry's
//! semantic conventions, and OpenTracing's `error`, as a tag or as an event. **Algorithm.** As in CRISP's error analysis (Zhang et al., USENIX ATC 2022): a failed
//! span without a failed child is where a failure *began*; a failed span with a failed child *passed it on*; a span that did
//! not fail although a child of it did *absorbed* it. Asynchronous children fail on their own: they are neither passed on
//! nor absorbed. The way of a failure leads from the root down, over the failed child that the parent saw last: the one with
//! the latest end that is not after the parent's own (earlier ones were survived, or else there would be no later call).
//! **Output.** [`Failures`]. **Edge cases.** A failed root without failed children is its own origin; a failed child below a
//! root that did not fail is an origin with no way. **Complexity.** Linear in the spans below the root.

use std::collections::HashSet;

use serde::Serialize;

use tracewell_model::SpanKind;

use crate::codes;
use crate::{LogSource, Scalar, Status, Text, Traces};

use super::children::Follows;

/// What a span has to do with a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// It failed, and nothing that it waited for did.
    Began,
    /// It failed, as something that it waited for.
    PassedOn,
    /// It did not fail, although something that it waited for did.
    Absorbed,
}

/// A span that has to do with a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Failure {
    /// Number of the span.
    pub span: usize,
    /// What it has to do with it.
    pub role: Role,
}

/// The failures below a span.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Failures {
    /// All spans that have to do with one, in preorder.
    pub spans: Vec<Failure>,
    /// Why the root failed: from the root down to the span where the failure began. Empty if the root did not fail.
    pub way: Vec<usize>,
}

impl Failures {
    /// Where the failure of the root began.
    pub fn origin(&self) -> Option<usize> {
        self.way.last().copied()
    }
}

/// What a failed span is.
#[derive(Debug, Clone)]
pub struct Rule {
    error: Option<Text>,
    /// Spans with an event of that name.
    with_error: HashSet<u32>,
    http: [Option<Text>; 2],
    grpc: [Option<Text>; 3],
}

impl Rule {
    /// For the spans of `traces`. Linear in the logs where an event is named "error".
    pub fn new(traces: &Traces) -> Self {
        let find = |key| traces.texts().find(key);
        let error = find("error");
        let logs = error.iter().flat_map(|_| traces.logs());
        let events = logs.filter(|log| log.source == LogSource::Event && Some(log.site) == error);
        Self {
            error,
            with_error: events.map(|log| log.span).collect(),
            http: [find("http.response.status_code"), find("http.status_code")],
            grpc: ["rpc.grpc.status_code", "rpc.response.status_code", "grpc.status"].map(find),
        }
    }

    /// True when a span failed: by its status, else by an HTTP status of 500 and above (400 unless it is a server's: a
    /// client is told that it was wrong), a gRPC status that is an error for its side, a tag `error` that is not "false", or an event "error".
    pub fn failed(&self, traces: &Traces, span: usize) -> bool {
        let record = &traces.spans()[span];
        if record.status != Status::Unset {
            return record.is_error();
        }
        let server = record.kind == SpanKind::Server as u8 && !record.kind_inferred;
        let told = u32::try_from(span).is_ok_and(|span| self.with_error.contains(&span));
        told || traces.attributes(span).iter().any(|attribute| {
            let key = Some(attribute.key);
            let code = codes::number(traces, attribute.value);
            if key == self.http[0] || key == self.http[1] {
                return code.is_some_and(|code| (if server { 500 } else { 400 }..600).contains(&code));
            }
            if self.grpc.contains(&key) {
                // Of a server: unknown, deadline exceeded, unimplemented, internal, unavailable, data loss.
                let fails = |code: i64| if server { [2, 4, 12, 13, 14, 15].contains(&code) } else { code > 0 };
                return codes::grpc(traces, attribute.value).is_some_and(fails);
            }
            key == self.error
                && match attribute.value {
                    Scalar::Bool(error) => error,
                    Scalar::Text(text) => !["", "false"].contains(&traces.text(text)),
                    Scalar::Int(_) | Scalar::Double(_) => false,
                }
        })
    }
}

/// The failures below a span, usually a root.
pub fn of(traces: &Traces, root: usize) -> Failures {
    Search::new(traces).of(root)
}

/// Finds failures below many roots.
#[derive(Debug)]
pub struct Search<'a> {
    traces: &'a Traces,
    follows: Follows<'a>,
    rule: Rule,
}

impl<'a> Search<'a> {
    /// For the roots of `traces`. Linear in its links and logs.
    pub fn new(traces: &'a Traces) -> Self {
        Self { traces, follows: Follows::new(traces), rule: Rule::new(traces) }
    }

    /// The failures below a span, usually a root.
    pub fn of(&self, root: usize) -> Failures {
        below(self.traces, &self.follows, &self.rule, root)
    }
}

fn below(traces: &Traces, follows: &Follows<'_>, rule: &Rule, root: usize) -> Failures {
    let spans = traces.spans();
    let Some(top) = spans.get(root) else { return Failures::default() };
    let end = root + 1 + top.descendants as usize;
    // For each span the failed child that it saw last.
    let mut reason: Vec<Option<usize>> = vec![None; end - root];
    let failed: Vec<bool> = (root..end).map(|span| rule.failed(traces, span)).collect();
    for span in root + 1..end {
        let Some(parent) = traces.parent(span) else { continue };
        if !failed[span - root] || follows.is_asynchronous(span) {
            continue;
        }
        let seen = |span: usize| (spans[span].end_ns <= spans[parent].end_ns, spans[span].end_ns);
        let last = &mut reason[parent - root];
        if last.is_none_or(|last| seen(span) > seen(last)) {
            *last = Some(span);
        }
    }
    let role = |span: usize| match (failed[span - root], reason[span - root]) {
        (true, None) => Some(Role::Began),
        (true, Some(_)) => Some(Role::PassedOn),
        (false, Some(_)) => Some(Role::Absorbed),
        (false, None) => None,
    };
    let failures = (root..end).filter_map(|span| Some(Failure { span, role: role(span)? })).collect();
    let first = failed[0].then_some(root);
    let way = std::iter::successors(first, |span| reason[span - root]).collect();
    Failures { spans: failures, way }
}
