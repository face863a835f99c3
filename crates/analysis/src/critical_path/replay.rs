//! What if: the same work again, with some of it faster or slower.
//!
//! **Input.** The spans below a root, and what happens to each ([`Effect`]). **Algorithm.** The network of `siblings.rs` is
//! run again from the leaves to the root: a child begins when all siblings that it came after have ended, and the parent's
//! own time before it has passed; siblings that ran side by side still do; the parent ends after all its children and its
//! own rest. **Output.** The new duration of the root in nanoseconds. **Edge cases.** Of a span that outlasts its
//! parent the part within it counts. Asynchronous spans have no effect. Factors that are
//! negative or not numbers count as 0. Without effects the duration is the old one exactly. **Complexity.** O(n log n).

use crate::Traces;

use super::children::{Follows, windows};
use super::siblings::Siblings;

/// What happens to a span.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Effect {
    /// Nothing of its own; what is below it may still change it.
    None,
    /// It takes this many times its time, whatever is below it.
    Whole(f64),
    /// Its own time, while it waits for no child, becomes this many times as long.
    Own(f64),
}

/// The duration of the root, in nanoseconds, if `span` took `factor` times its time. [`super::room::Room::what_if`] gives
/// it for every span of a trace at once.
pub fn what_if(traces: &Traces, root: usize, span: usize, factor: f64) -> u64 {
    duration_ns(traces, root, |number| if number == span { Effect::Whole(factor) } else { Effect::None })
}

/// The duration of the root, in nanoseconds, with an effect on each span below it. 0 if there is no such span.
pub fn duration_ns(traces: &Traces, root: usize, effect: impl Fn(usize) -> Effect) -> u64 {
    let spans = traces.spans();
    let Some(top) = spans.get(root) else { return 0 };
    let follows = Follows::new(traces);
    let windows = windows(traces, follows, root);
    // New durations, by distance from the root; the spans below a span come before it.
    let mut taken_ns = vec![0.0_f64; top.descendants as usize + 1];
    let mut siblings = Siblings::default();
    let mut ends_ns: Vec<f64> = Vec::new();
    for parent in (root..root + taken_ns.len()).rev() {
        let Some(window_ns) = windows[parent - root] else { continue };
        let before_ns = (window_ns.1 - window_ns.0) as f64;
        let own = match effect(parent) {
            Effect::Whole(factor) => {
                taken_ns[parent - root] = before_ns * factor.max(0.0);
                continue;
            }
            Effect::Own(factor) => factor.max(0.0),
            Effect::None => 1.0,
        };
        if spans[parent].descendants == 0 {
            taken_ns[parent - root] = before_ns * own;
            continue;
        }
        siblings.read(traces, follows, parent, window_ns);
        ends_ns.clear();
        let (mut done, mut begin_ns, mut last_ns) = (siblings.by_done.iter().peekable(), 0.0_f64, 0.0_f64);
        for (place, child) in siblings.children.iter().enumerate() {
            while let Some(place) = done.next_if(|place| siblings.done_ns[**place] <= child.start_ns) {
                begin_ns = begin_ns.max(ends_ns[*place]);
            }
            let end_ns = begin_ns + siblings.lag_ns(place) as f64 * own + taken_ns[child.span - root];
            ends_ns.push(end_ns);
            last_ns = last_ns.max(end_ns);
        }
        taken_ns[parent - root] = last_ns + siblings.rest_ns() as f64 * own;
    }
    taken_ns[0].round() as u64
}
