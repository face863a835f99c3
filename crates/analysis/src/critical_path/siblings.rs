//! What waits for what among the children of a span, read off their times.
//!
//! A child begins after all siblings that had ended by then (or overlap it by no more than siblings may), and some time of
//! the parent's own: its lag. The parent ends after all of them and some more time of its own. As every start is the
//! earliest that this allows, what happened is one solution, and the longest chain is the parent's duration: an activity
//! network (Kelley and Walker, "Critical-Path Planning and Scheduling", 1959) with the parent's start as its source.

use crate::Traces;

use super::children::{Child, Follows, overlap_ns, waited_for};

/// The network of one parent at a time; its memory is kept.
#[derive(Debug, Default)]
pub(super) struct Siblings {
    /// The children in order of their start, clipped to the parent.
    pub children: Vec<Child>,
    /// For each child from when on another one counts as coming after it.
    pub done_ns: Vec<u64>,
    /// The places of the children in order of `done_ns`.
    pub by_done: Vec<usize>,
    /// For each child the latest end of those before it, at least the parent's start.
    pub before_ns: Vec<u64>,
    /// The latest end of all, at least the parent's start.
    pub last_ns: u64,
    /// Start and end of the parent, as far as its own parents waited for it.
    pub parent_ns: (u64, u64),
}

impl Siblings {
    /// Reads the children of a span that counts between two moments.
    pub fn read(&mut self, traces: &Traces, follows: Follows<'_>, parent: usize, window_ns: (u64, u64)) {
        self.parent_ns = window_ns;
        let start_ns = window_ns.0;
        waited_for(follows, parent, 0, window_ns, &mut self.children);
        // They stand in this order, unless clocks were corrected since.
        if !self.children.is_sorted_by_key(|child| child.start_ns) {
            self.children.sort_by_key(|child| (child.start_ns, child.end_ns, child.span));
        }
        let overlap_ns = overlap_ns(traces, parent);
        self.done_ns.clear();
        self.done_ns.extend(self.children.iter().map(|child| child.done_ns(overlap_ns)));
        self.by_done.clear();
        self.by_done.extend(0..self.children.len());
        self.by_done.sort_unstable_by_key(|place| (self.done_ns[*place], *place));
        self.before_ns.clear();
        let (mut done, mut before_ns) = (self.by_done.iter().peekable(), start_ns);
        for child in &self.children {
            while let Some(place) = done.next_if(|place| self.done_ns[**place] <= child.start_ns) {
                before_ns = before_ns.max(self.children[*place].end_ns);
            }
            self.before_ns.push(before_ns);
        }
        self.last_ns = self.children.iter().map(|child| child.end_ns).fold(start_ns, u64::max);
    }

    /// The parent's own time before a child: negative by the overlap with the sibling before it.
    pub fn lag_ns(&self, place: usize) -> i64 {
        self.children[place].start_ns.wrapping_sub(self.before_ns[place]) as i64
    }

    /// The parent's own time after the last child.
    pub fn rest_ns(&self) -> u64 {
        self.parent_ns.1 - self.last_ns
    }

    /// The first child that comes after the one at `place`, if there is one; the ones behind it come after it too.
    pub fn first_after(&self, place: usize) -> usize {
        self.children.partition_point(|child| child.start_ns < self.done_ns[place])
    }
}
