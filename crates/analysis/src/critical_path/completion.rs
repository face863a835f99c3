//! The path to the end of the last asynchronous work.
//!
//! From the span that ends last back over what caused it: its parent, or the span that its root links to, and so on up to
//! the root. On each level the walk goes from the moment at which the level below was begun, over whatever had ended by
//! then. Where the cause had ended before its effect began, the time between is waiting, and the effect waited.

use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};

use serde::Serialize;

use super::{Segment, SegmentKind, Walker};

/// The path to completion.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Completion {
    /// When the last asynchronous work ended, nanoseconds since the Unix epoch: after the end of the root.
    pub end_ns: u64,
    /// Ordered, disjoint, without gaps, from the start of the root to `end_ns`.
    pub segments: Vec<Segment>,
}

/// The path to completion below a root; `None` where nothing goes on after its end.
pub(super) fn of(walker: &mut Walker<'_>, root: usize) -> Option<Completion> {
    let spans = walker.traces.spans();
    let from = spans.get(root)?;
    let caused = caused_roots(walker, root);
    let causes: HashMap<usize, usize> = caused.iter().copied().collect();
    let below = |root: usize| root..root + 1 + spans[root].descendants as usize;
    let last = std::iter::once(root)
        .chain(caused.iter().map(|(root, _)| *root))
        .flat_map(below)
        .reduce(|last, span| if spans[span].end_ns > spans[last].end_ns { span } else { last })?;
    let end_ns = spans[last].end_ns;
    if end_ns <= from.end_ns {
        return None;
    }

    // From the end back to the start: pieces of waiting, and levels with the moment up to which they are walked.
    let mut levels: Vec<Level> = Vec::new();
    let (mut span, mut cursor_ns) = (last, end_ns);
    loop {
        let start_ns = spans[span].start_ns.max(from.start_ns).min(cursor_ns);
        levels.push(Level::Walk { span, start_ns, until_ns: cursor_ns });
        if span == root {
            break;
        }
        cursor_ns = start_ns;
        let cause = match walker.traces.parent(span) {
            Some(parent) => parent,
            None => causes.get(&span).copied().unwrap_or(root),
        };
        let ended_ns = spans[cause].end_ns.max(from.start_ns);
        if ended_ns < cursor_ns {
            levels.push(Level::Waited(Segment {
                span,
                start_ns: ended_ns,
                end_ns: cursor_ns,
                kind: SegmentKind::Wait,
            }));
            cursor_ns = ended_ns;
        }
        span = cause;
    }

    walker.take();
    for level in levels.into_iter().rev() {
        match level {
            Level::Waited(piece) => walker.add(piece),
            Level::Walk { span, start_ns, until_ns } if span == last => walker.lay(span, start_ns, until_ns),
            Level::Walk { span, start_ns, until_ns } => walker.lay_until(span, start_ns, until_ns),
        }
    }
    Some(Completion { end_ns, segments: walker.take() })
}

/// A piece of the way from the end back to the root.
enum Level {
    Walk { span: usize, start_ns: u64, until_ns: u64 },
    Waited(Segment),
}

/// The other roots of the trace that `root` caused by way of links, each with the span that caused it. Each is named once
/// and after its cause, so that the way back always ends at `root`.
fn caused_roots(walker: &Walker<'_>, root: usize) -> Vec<(usize, usize)> {
    let traces = walker.traces;
    let spans = traces.spans();
    let number = traces.traces().partition_point(|trace| trace.first as usize <= root);
    let Some(trace) = number.checked_sub(1).and_then(|number| traces.traces().get(number)) else { return Vec::new() };
    let linking = |root: &usize| !walker.follows.links(*root).is_empty();
    if spans[root].parent_id.is_some() || traces.links().is_empty() || !traces.roots(trace).any(|root| linking(&root)) {
        return Vec::new();
    }
    // The tree of a span is that of the last root at or before it.
    let roots: Vec<usize> = traces.roots(trace).collect();
    let tree = |span: usize| roots.partition_point(|root| *root <= span) - 1;
    let by_id: HashMap<_, usize> = trace.spans().map(|span| (spans[span].id, span)).collect();
    // For each tree the roots that link into it.
    let mut effects: Vec<Vec<(usize, usize)>> = vec![Vec::new(); roots.len()];
    for effect in roots.iter().copied().filter(|effect| *effect != root) {
        for link in walker.follows.links(effect).iter().filter(|link| link.trace_id == trace.id) {
            if let Some(cause) = by_id.get(&link.span_id) {
                effects[tree(*cause)].push((effect, *cause));
            }
        }
    }
    let mut seen: HashSet<usize> = HashSet::from([root]);
    let mut caused: Vec<(usize, usize)> = Vec::new();
    let mut next = vec![tree(root)];
    while let Some(cause) = next.pop() {
        // Of several causes in one tree the last to end, as far as it ended before, is the one that was waited for.
        let mut found = std::mem::take(&mut effects[cause]);
        found.sort_by_key(|(effect, cause)| {
            let ended_ns = spans[*cause].end_ns;
            (*effect, ended_ns > spans[*effect].start_ns, Reverse(ended_ns), *cause)
        });
        for (effect, cause) in found {
            if seen.insert(effect) {
                caused.push((effect, cause));
                next.push(tree(effect));
            }
        }
    }
    caused
}
