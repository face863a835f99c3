//! The merged flame graph: call paths from the root, with the critical path's time of each.
//!
//! Flame graphs are Gregg's ("The Flame Graph", CACM 2016), here of time that requests waited for instead of samples of a
//! processor. A path below a thousandth of the requests' time is put together with its small siblings, so that the graph is
//! as large as it can be read, whatever the traces are like.

use std::collections::HashMap;

use foldhash::fast::RandomState;
use serde::Serialize;

use super::tally::Tally;

/// Share of all time below which a path is not shown by itself.
const SHARE_MIN: f64 = 0.001;

/// Paths that are shown, the largest ones.
const NODES_MAX: usize = 5_000;

/// What small siblings are put together as.
const OTHER: &str = "other";

/// Sets that are compared.
const SETS: usize = 2;

/// A call path.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FlameNode {
    /// The path above, by its place in the list; absent for a root.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parent: Option<usize>,
    /// The service; empty for small siblings put together.
    pub service: String,
    /// The operation; `other` for small siblings put together.
    pub operation: String,
    /// Time of its own on the critical path, nanoseconds per trace.
    pub self_ns: f64,
    /// The same with all paths below.
    pub total_ns: f64,
    /// Spans of it on the critical path, per trace.
    pub calls: f64,
}

/// A call path in two sets.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FlameDiffNode {
    /// The path above, by its place in the list; absent for a root.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parent: Option<usize>,
    /// The service; empty for small siblings put together.
    pub service: String,
    /// The operation; `other` for small siblings put together.
    pub operation: String,
    /// Time of its own before, nanoseconds per trace …
    pub before_self_ns: f64,
    /// … with all below …
    pub before_total_ns: f64,
    /// … and now …
    pub now_self_ns: f64,
    /// … with all below.
    pub now_total_ns: f64,
}

#[derive(Debug, Clone, Copy)]
struct Node {
    parent: Option<u32>,
    operation: u32,
    own_ns: [f64; SETS],
    calls: [f64; SETS],
}

/// Call paths as they come; a path comes after the one above it.
#[derive(Debug, Default)]
pub(super) struct Tree {
    nodes: Vec<Node>,
    children: HashMap<(Option<u32>, u32), u32, RandomState>,
}

impl Tree {
    /// The path one operation further.
    pub(super) fn child(&mut self, parent: Option<u32>, operation: u32) -> u32 {
        *self.children.entry((parent, operation)).or_insert_with(|| {
            self.nodes.push(Node { parent, operation, own_ns: [0.0; SETS], calls: [0.0; SETS] });
            self.nodes.len() as u32 - 1
        })
    }

    pub(super) fn add_own(&mut self, node: u32, set: usize, time_ns: f64) {
        self.nodes[node as usize].own_ns[set] += time_ns;
    }

    pub(super) fn add_call(&mut self, node: u32, set: usize, weight: f64) {
        self.nodes[node as usize].calls[set] += weight;
    }
}

/// A path that is shown.
struct Shown {
    parent: Option<usize>,
    operation: Option<u32>,
    own_ns: [f64; SETS],
    total_ns: [f64; SETS],
    calls: [f64; SETS],
}

/// Time of all paths with what is below them, nanoseconds per trace, and of the sets as a whole.
fn totals(nodes: &[Node], weights: [f64; SETS]) -> (Vec<[f64; SETS]>, [f64; SETS]) {
    let mut totals: Vec<[f64; SETS]> = nodes.iter().map(|node| per_trace(node.own_ns, weights)).collect();
    let mut all = [0.0; SETS];
    // A path comes after the one above it.
    for place in (0..nodes.len()).rev() {
        let below = totals[place];
        let sum = nodes[place].parent.map_or(&mut all, |parent| &mut totals[parent as usize]);
        sum.iter_mut().zip(below).for_each(|(sum, below)| *sum += below);
    }
    (totals, all)
}

fn per_trace(sums: [f64; SETS], weights: [f64; SETS]) -> [f64; SETS] {
    std::array::from_fn(|set| if weights[set] > 0.0 { sums[set] / weights[set] } else { 0.0 })
}

/// The share of a path's time from which it is shown by itself.
fn least(sizes: &[f64]) -> f64 {
    let mut large: Vec<f64> = sizes.iter().copied().filter(|size| *size >= SHARE_MIN).collect();
    large.sort_by(|a, b| b.total_cmp(a));
    // The next one, and all that are as small, are too many.
    large.get(NODES_MAX).map_or(SHARE_MIN, |size| size * (1.0 + 4.0 * f64::EPSILON)).max(SHARE_MIN)
}

/// The paths that are shown, in preorder, figures per trace.
fn shown(tally: &Tally, weights: [f64; SETS]) -> Vec<Shown> {
    let nodes = &tally.flame.nodes;
    let (totals, all) = totals(nodes, weights);
    let share = |total: &[f64; SETS]| {
        (0..SETS).filter(|set| all[*set] > 0.0).map(|set| total[set] / all[set]).fold(0.0, f64::max)
    };
    let sizes: Vec<f64> = totals.iter().map(share).collect();
    let least = least(&sizes);
    let mut children: Vec<Vec<usize>> = vec![Vec::new(); nodes.len() + 1];
    for (place, node) in nodes.iter().enumerate() {
        children[node.parent.map_or(nodes.len(), |parent| parent as usize)].push(place);
    }
    let mut shown: Vec<Shown> = Vec::new();
    // Siblings still to be shown, the next one last; without a path of their own those that are put together.
    let mut stack: Vec<(Option<usize>, Vec<usize>)> = Vec::new();
    lay(tally, (None, &children[nodes.len()]), (&sizes, least), &mut stack);
    while let Some((parent, places)) = stack.pop() {
        let sum = |of: &dyn Fn(usize) -> [f64; SETS]| {
            places.iter().map(|place| of(*place)).fold([0.0; SETS], |sum, next| [sum[0] + next[0], sum[1] + next[1]])
        };
        let calls = per_trace(sum(&|place| nodes[place].calls), weights);
        let total_ns = sum(&|place| totals[place]);
        match places.as_slice() {
            [place] if sizes[*place] >= least => {
                let (operation, own_ns) = (Some(nodes[*place].operation), per_trace(nodes[*place].own_ns, weights));
                shown.push(Shown { parent, operation, own_ns, total_ns, calls });
                lay(tally, (Some(shown.len() - 1), &children[*place]), (&sizes, least), &mut stack);
            }
            _ => shown.push(Shown { parent, operation: None, own_ns: total_ns, total_ns, calls }),
        }
    }
    shown
}

/// Puts siblings on the stack: the largest first, the small ones together and last.
fn lay(
    tally: &Tally,
    (parent, siblings): (Option<usize>, &[usize]),
    (sizes, least): (&[f64], f64),
    stack: &mut Vec<(Option<usize>, Vec<usize>)>,
) {
    let name = |place: usize| tally.keys.operation(tally.flame.nodes[place].operation);
    let (mut large, small): (Vec<usize>, Vec<usize>) = siblings.iter().partition(|place| sizes[**place] >= least);
    large.sort_by(|a, b| sizes[*b].total_cmp(&sizes[*a]).then_with(|| name(*a).cmp(&name(*b))));
    if small.iter().any(|place| sizes[*place] > 0.0) {
        stack.push((parent, small));
    }
    stack.extend(large.into_iter().rev().map(|place| (parent, vec![place])));
}

fn name(tally: &Tally, operation: Option<u32>) -> (String, String) {
    operation.map_or_else(|| (String::new(), OTHER.to_owned()), |operation| tally.keys.operation(operation))
}

/// The graph of one set.
pub(super) fn merged(tally: &Tally, weight: f64) -> Vec<FlameNode> {
    let node = |shown: Shown| {
        let (service, operation) = name(tally, shown.operation);
        let (self_ns, total_ns, calls) = (shown.own_ns[0], shown.total_ns[0], shown.calls[0]);
        FlameNode { parent: shown.parent, service, operation, self_ns, total_ns, calls }
    };
    shown(tally, [weight, 0.0]).into_iter().map(node).collect()
}

/// The graph of two sets.
pub(super) fn compared(tally: &Tally, weights: [f64; SETS]) -> Vec<FlameDiffNode> {
    let node = |shown: Shown| {
        let (service, operation) = name(tally, shown.operation);
        FlameDiffNode {
            parent: shown.parent,
            service,
            operation,
            before_self_ns: shown.own_ns[0],
            before_total_ns: shown.total_ns[0],
            now_self_ns: shown.own_ns[1],
            now_total_ns: shown.total_ns[1],
        }
    };
    shown(tally, weights).into_iter().map(node).collect()
}
