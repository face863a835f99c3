//! Which children a span waits for, and when they ran as seen from it.

use crate::{Link, NO_SPAN, Traces};

use super::OVERLAP_PARTS;

/// A child that its parent may wait for, clipped to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Child {
    pub span: usize,
    pub start_ns: u64,
    pub end_ns: u64,
}

impl Child {
    /// From when on another child counts as coming after this one, if siblings may overlap by `overlap_ns`: it must begin
    /// after this one began, and no earlier than that much before this one's end.
    pub fn done_ns(&self, overlap_ns: u64) -> u64 {
        self.end_ns.saturating_sub(overlap_ns).max(self.start_ns.saturating_add(1))
    }
}

/// By how much siblings may overlap and still count as sequential.
pub(super) fn overlap_ns(traces: &Traces, parent: usize) -> u64 {
    traces.spans()[parent].duration_ns() / OVERLAP_PARTS
}

/// The links of some spans, to tell what follows from its parent.
#[derive(Debug, Clone, Copy)]
pub(super) struct Follows<'a> {
    traces: &'a Traces,
    links: &'a [Link],
}

impl<'a> Follows<'a> {
    /// For the spans of one trace, or of all.
    pub fn new(traces: &'a Traces) -> Self {
        Self { traces, links: traces.links() }
    }

    /// The links of a span.
    pub fn links(&self, span: usize) -> &'a [Link] {
        if self.links.is_empty() {
            return &[];
        }
        let first = self.links.partition_point(|link| (link.span as usize) < span);
        let count = self.links[first..].partition_point(|link| link.span as usize == span);
        &self.links[first..first + count]
    }

    /// True when nobody waits for a child: see the module's documentation.
    pub fn is_asynchronous(&self, child: usize) -> bool {
        let spans = self.traces.spans();
        let span = &spans[child];
        if span.parent == NO_SPAN {
            return false;
        }
        let parent = &spans[span.parent as usize];
        span.start_ns >= parent.end_ns
            || (parent.is_producer() && span.is_incoming())
            || (span.is_consumer() && span.service != parent.service)
            || self.links(child).iter().any(|link| Some(link.span_id) == span.parent_id && self.is_local(child, link))
    }

    fn is_local(&self, span: usize, link: &Link) -> bool {
        let traces = self.traces.traces();
        let after = traces.partition_point(|trace| trace.first as usize <= span);
        after > 0 && traces[after - 1].id == link.trace_id
    }
}

/// The part of each span from `root` on that lies within all its parents up to the root; `None` where nobody waits.
pub(super) fn windows(traces: &Traces, follows: Follows<'_>, root: usize) -> Vec<Option<(u64, u64)>> {
    let spans = traces.spans();
    let Some(top) = spans.get(root) else { return Vec::new() };
    let mut windows: Vec<Option<(u64, u64)>> = Vec::with_capacity(top.descendants as usize + 1);
    windows.push(Some((top.start_ns, top.end_ns)));
    for (span, record) in spans.iter().enumerate().skip(root + 1).take(top.descendants as usize) {
        let within = windows[record.parent as usize - root].filter(|_| !follows.is_asynchronous(span));
        let clip = |(first, last): (u64, u64)| (record.start_ns.clamp(first, last), record.end_ns.clamp(first, last));
        windows.push(within.map(clip));
    }
    windows
}

/// True when a child is the other side of its parent: the callee of a call. Where kinds are missing, a child in another
/// service that does not itself call out is taken for it.
pub(super) fn is_other_side(traces: &Traces, parent: usize, child: usize) -> bool {
    let (parent, child) = (&traces.spans()[parent], &traces.spans()[child]);
    parent.is_outgoing() && (child.is_incoming() || (child.service != parent.service && !child.is_outgoing()))
}

/// Puts the children that a span may wait for into `into`, in the order of their starts as recorded, each clipped to the
/// parent: `shift_ns` is added to its times, and what lies outside `window` is cut off. Children that lie outside have no
/// length. Returns whether the other side of the span is among them.
pub(super) fn waited_for(
    follows: Follows<'_>,
    parent: usize,
    shift_ns: i64,
    window: (u64, u64),
    into: &mut Vec<Child>,
) -> bool {
    let traces = follows.traces;
    let mut other_side = false;
    into.clear();
    for span in traces.children(parent) {
        if follows.is_asynchronous(span) {
            continue;
        }
        other_side |= is_other_side(traces, parent, span);
        let clip = |time_ns: u64| time_ns.saturating_add_signed(shift_ns).clamp(window.0, window.1);
        let (start_ns, end_ns) = (clip(traces.spans()[span].start_ns), clip(traces.spans()[span].end_ns));
        into.push(Child { span, start_ns, end_ns });
    }
    other_side
}
