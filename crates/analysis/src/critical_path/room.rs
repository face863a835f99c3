//! How much room and how much weight each span has: slack and drag.
//!
//! *Slack*: how much longer a span could take without the end of the root moving (total float of the critical path method,
//! Kelley and Walker 1959). *Drag*: how much earlier the root would end without it (Devaux, "Total Project Control", 1999):
//! on the path it is bounded by the span's own length and by whatever runs beside it, elsewhere it is zero.
//!
//! **Input.** The spans below a root. **Algorithm.** The network of `siblings.rs` for each parent. Forward, every child is
//! where it was; backward, `tail` is the longest chain from a child's end to the parent's end. Slack within the parent is
//! what the chain through the child lacks of the parent's duration; with the parent's own slack it adds up to the root.
//! Drag within the parent is what the longest chain without the child lacks: such a chain crosses the child's place in
//! the order of starts on one step, from a sibling that was done when the child began, or from one that ran beside it then;
//! the first is a prefix maximum, the second the top of a heap of those running. Up to the root the smallest bound holds.
//! **Output.** [`Room`] per span, in the order of the spans from the root on. **Edge cases.** Nobody waits for asynchronous
//! spans and what is below them: no drag, no limit of slack. A span that outlasts its parent counts with the part within
//! it. **Complexity.** O(n log n) for all spans at once.

use std::collections::BinaryHeap;

use serde::Serialize;

use crate::Traces;

use super::children::{Follows, windows};
use super::siblings::Siblings;

/// Room and weight of a span.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Room {
    /// How much longer it could take without the root's end moving, in nanoseconds; none if nobody waits for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub slack_ns: Option<u64>,
    /// How much earlier the root would end without it, in nanoseconds.
    pub drag_ns: u64,
    /// Its duration as far as it lies within its parents, in nanoseconds.
    pub length_ns: u64,
}

impl Room {
    /// The duration of the root if the span took `factor` times its time; `root_ns` is the duration of the root as it was.
    /// The same as [`super::replay::what_if`], but in no time.
    pub fn what_if(&self, root_ns: u64, factor: f64) -> u64 {
        let change = self.length_ns as f64 * (factor.max(0.0) - 1.0);
        if change <= 0.0 {
            return root_ns.saturating_sub(self.drag_ns.min((-change).round() as u64));
        }
        self.slack_ns
            .map_or(root_ns, |slack_ns| root_ns.saturating_add((change.round() as u64).saturating_sub(slack_ns)))
    }
}

/// Slack and drag of the spans below `root` and of itself, in the order of [`Traces::spans`] from `root` on.
pub fn of(traces: &Traces, root: usize) -> Vec<Room> {
    let spans = traces.spans();
    let Some(top) = spans.get(root) else { return Vec::new() };
    let follows = Follows::new(traces);
    let mut rooms = vec![Room::default(); top.descendants as usize + 1];
    let duration_ns = top.duration_ns();
    rooms[0] = Room { slack_ns: Some(0), drag_ns: duration_ns, length_ns: duration_ns };
    let windows = windows(traces, follows, root);
    let mut network = Network::default();
    for parent in root..root + rooms.len() {
        let room = rooms[parent - root];
        let (Some(slack_ns), Some(window_ns)) = (room.slack_ns, windows[parent - root]) else { continue };
        if spans[parent].descendants == 0 {
            continue;
        }
        network.siblings.read(traces, follows, parent, window_ns);
        network.weigh();
        for (place, child) in network.siblings.children.iter().enumerate() {
            let length_ns = child.end_ns - child.start_ns;
            rooms[child.span - root] = Room {
                slack_ns: Some(slack_ns.saturating_add(network.slack_ns[place])),
                drag_ns: room.drag_ns.min(network.drag_ns[place]).min(length_ns),
                length_ns,
            };
        }
    }
    rooms
}

/// Slack and drag among the children of one span at a time.
#[derive(Debug, Default)]
struct Network {
    siblings: Siblings,
    slack_ns: Vec<u64>,
    drag_ns: Vec<u64>,
    /// For each place the longest chain to the end of the parent that begins with a step to a child there or later.
    onward_ns: Vec<i64>,
    /// Siblings that run, the one on the longest chain first: length of the chain, when it is done.
    running: BinaryHeap<(i64, u64)>,
}

impl Network {
    fn weigh(&mut self) {
        let siblings = &self.siblings;
        let count = siblings.children.len();
        let parent_start_ns = siblings.parent_ns.0;
        let total_ns = (siblings.parent_ns.1 - parent_start_ns) as i64;
        let since = |time_ns: u64| (time_ns - parent_start_ns) as i64;

        // Backward: the longest chain from the end of each child to the end of the parent, and by that its slack.
        self.onward_ns.clear();
        self.onward_ns.resize(count + 1, siblings.rest_ns() as i64);
        self.slack_ns.clear();
        self.slack_ns.resize(count, 0);
        for place in (0..count).rev() {
            let child = &siblings.children[place];
            let tail_ns = self.onward_ns[siblings.first_after(place)];
            let step_ns = siblings.lag_ns(place) + (child.end_ns - child.start_ns) as i64 + tail_ns;
            self.onward_ns[place] = self.onward_ns[place + 1].max(step_ns);
            self.slack_ns[place] = (total_ns - since(child.end_ns) - tail_ns).max(0) as u64;
        }

        // Forward: the longest chain without each child, and by that its drag.
        self.drag_ns.clear();
        self.running.clear();
        for (place, child) in siblings.children.iter().enumerate() {
            while self.running.peek().is_some_and(|(_, done_ns)| *done_ns <= child.start_ns) {
                self.running.pop();
            }
            let around_ns = since(siblings.before_ns[place]) + self.onward_ns[place + 1];
            let beside_ns = self.running.peek().map_or(0, |(chain_ns, _)| *chain_ns);
            self.drag_ns.push((total_ns - around_ns.max(beside_ns)).max(0) as u64);
            self.running.push((total_ns - self.slack_ns[place] as i64, siblings.done_ns[place]));
        }
    }
}
