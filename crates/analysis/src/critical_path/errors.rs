//! Where a failure began, and how far it came.
//!
//! **Input.** Spans with their status. **Algorithm.** As in CRISP's error analysis (Zhang et al., USENIX ATC 2022): a failed
//! span without a failed child is where a failure *began*; a failed span with a failed child *passed it on*; a span that did
//! not fail although a child of it did *absorbed* it. Asynchronous children fail on their own: they are neither passed on
//! nor absorbed. The way of a failure leads from the root down, over the failed child that the parent saw last: the one with
//! the latest end that is not after the parent's own (earlier ones were survived, or else there would be no later call).
//! **Output.** [`Failures`]. **Edge cases.** A failed root without failed children is its own origin; a failed child below a
//! root that did not fail is an origin with no way. **Complexity.** Linear in the spans below the root.

use serde::Serialize;

use crate::Traces;

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

/// The failures below a span, usually a root.
pub fn of(traces: &Traces, root: usize) -> Failures {
    let spans = traces.spans();
    let Some(top) = spans.get(root) else { return Failures::default() };
    let follows = Follows::new(traces);
    let end = root + 1 + top.descendants as usize;
    // For each span the failed child that it saw last.
    let mut reason: Vec<Option<usize>> = vec![None; end - root];
    for span in root + 1..end {
        let (child, Some(parent)) = (&spans[span], traces.parent(span)) else { continue };
        if !child.is_error() || follows.is_asynchronous(span) {
            continue;
        }
        let seen = |span: usize| (spans[span].end_ns <= spans[parent].end_ns, spans[span].end_ns);
        let last = &mut reason[parent - root];
        if last.is_none_or(|last| seen(span) > seen(last)) {
            *last = Some(span);
        }
    }
    let role = |span: usize| match (spans[span].is_error(), reason[span - root]) {
        (true, None) => Some(Role::Began),
        (true, Some(_)) => Some(Role::PassedOn),
        (false, Some(_)) => Some(Role::Absorbed),
        (false, None) => None,
    };
    let failures = (root..end).filter_map(|span| Some(Failure { span, role: role(span)? })).collect();
    let first = top.is_error().then_some(root);
    let way = std::iter::successors(first, |span| reason[span - root]).collect();
    Failures { spans: failures, way }
}
