//! The walk from the end of a span back to its start.

use std::cmp::Reverse;

use crate::Traces;

use super::children::{Child, Follows, overlap_ns, waited_for};
use super::{Segment, SegmentKind};

/// Walks many paths with the same memory.
#[derive(Debug)]
pub struct Walker<'a> {
    pub(super) traces: &'a Traces,
    pub(super) follows: Follows<'a>,
    steps: Vec<Step>,
    children: Vec<Child>,
    segments: Vec<Segment>,
}

/// What is still to be laid down; the top of the stack is the earliest.
#[derive(Debug, Clone, Copy)]
enum Step {
    /// A piece that is known.
    Piece(Segment),
    /// What goes on below a span.
    Below(Below),
}

/// The work below a span between two moments.
#[derive(Debug, Clone, Copy)]
struct Below {
    span: usize,
    start_ns: u64,
    end_ns: u64,
    /// From where to walk back: the end, or earlier.
    cursor_ns: u64,
    /// What begins at the cursor: children must have ended by then.
    next_start_ns: u64,
    /// By how much all its times are moved.
    shift_ns: i64,
}

impl<'a> Walker<'a> {
    /// For the spans of `traces`.
    pub fn new(traces: &'a Traces) -> Self {
        let (steps, children, segments) = Default::default();
        Self { traces, follows: Follows::new(traces), steps, children, segments }
    }

    /// The path through the work below a span: ordered, disjoint, from its start to its end.
    pub fn walk(&mut self, span: usize) -> &[Segment] {
        self.segments.clear();
        if let Some(root) = self.traces.spans().get(span) {
            self.lay(span, root.start_ns, root.end_ns);
        }
        &self.segments
    }

    /// Adds the path through the work below a span between two moments.
    pub(super) fn lay(&mut self, span: usize, start_ns: u64, end_ns: u64) {
        self.run(Below { span, start_ns, end_ns, cursor_ns: end_ns, next_start_ns: u64::MAX, shift_ns: 0 });
    }

    /// Adds the path from the start of a span to something that it began at a moment of its own or later.
    pub(super) fn lay_until(&mut self, span: usize, start_ns: u64, moment_ns: u64) {
        let end_ns = self.traces.spans()[span].end_ns.max(moment_ns);
        self.run(Below { span, start_ns, end_ns, cursor_ns: moment_ns, next_start_ns: moment_ns, shift_ns: 0 });
    }

    /// Adds a piece that is known.
    pub(super) fn add(&mut self, piece: Segment) {
        self.segments.push(piece);
    }

    fn run(&mut self, work: Below) {
        self.steps.push(Step::Below(work));
        while let Some(step) = self.steps.pop() {
            match step {
                Step::Piece(piece) => self.segments.push(piece),
                Step::Below(work) => self.below(work),
            }
        }
    }

    /// Takes what was laid down so far.
    pub(super) fn take(&mut self) -> Vec<Segment> {
        std::mem::take(&mut self.segments)
    }

    fn below(&mut self, work: Below) {
        let Below { span, start_ns, end_ns, mut cursor_ns, mut next_start_ns, shift_ns } = work;
        if start_ns >= cursor_ns {
            return;
        }
        let outgoing = self.traces.spans()[span].is_outgoing();
        let other_side = waited_for(self.follows, span, shift_ns, (start_ns, end_ns), &mut self.children);
        let kind = match (outgoing, other_side) {
            (false, _) => SegmentKind::SelfTime,
            (true, true) => SegmentKind::Network,
            (true, false) => SegmentKind::Wait,
        };
        // Latest end first; of those the longest.
        self.children.sort_unstable_by_key(|child| (Reverse(child.end_ns), child.start_ns, child.span));
        let overlap_ns = overlap_ns(self.traces, span);
        for child in &self.children {
            if cursor_ns == start_ns {
                break;
            }
            let empty = child.end_ns == child.start_ns;
            if empty || child.start_ns >= cursor_ns || child.done_ns(overlap_ns) > next_start_ns {
                continue;
            }
            // A child that overlaps the one after it is moved in front of it, as far as there is room.
            let slide_ns = child.end_ns.saturating_sub(cursor_ns);
            let begin_ns = child.start_ns.saturating_sub(slide_ns).max(start_ns);
            let finish_ns = child.end_ns.min(cursor_ns);
            if finish_ns < cursor_ns {
                self.steps.push(Step::Piece(Segment { span, start_ns: finish_ns, end_ns: cursor_ns, kind }));
            }
            self.steps.push(Step::Below(Below {
                span: child.span,
                start_ns: begin_ns,
                end_ns: finish_ns,
                cursor_ns: finish_ns,
                next_start_ns: u64::MAX,
                shift_ns: shift_ns.saturating_sub(i64::try_from(slide_ns).unwrap_or(i64::MAX)),
            }));
            (cursor_ns, next_start_ns) = (begin_ns, child.start_ns);
        }
        if start_ns < cursor_ns {
            self.steps.push(Step::Piece(Segment { span, start_ns, end_ns: cursor_ns, kind }));
        }
    }
}
