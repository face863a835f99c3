//! Which traces are slow, when nobody says so.
//!
//! **Input:** traces. **Algorithm**, for each root operation with at least [`TRACES_MIN`] traces, on the logarithms of the
//! durations of the main roots: (i) where they form separate levels (the [valleys](super::density) of their density), what is
//! above the deepest valley is slow; else (ii) what is beyond the upper fence (Tukey, *Exploratory Data Analysis*, 1977: the
//! third quartile and 1.5 times the distance of the quartiles), if that is at least one trace in a hundred, and five; else
//! (iii) the slowest tenth. **Output:** which traces are slow, and from which duration on for which operation. **Edge cases:**
//! traces without a duration and operations with too few traces are not slow. **Complexity:** O(n log n).

use std::collections::BTreeMap;

use serde::Serialize;

use super::density;
use crate::traces::{Text, Traces};

/// Fewer traces of an operation say nothing about what is slow.
const TRACES_MIN: usize = 20;
/// Share of an operation's traces that a level has to have.
const LEVEL_SHARE_MIN: f64 = 0.02;
/// A level of this many traces at least.
const LEVEL_TRACES_MIN: usize = 5;
/// A tail beyond the fence is one from this share on.
const TAIL_SHARE_MIN: f64 = 0.01;

/// The slow traces among others.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Slow {
    /// For each trace, whether it is slow.
    pub selected: Vec<bool>,
    /// What slow means, by root operation, in order of service and operation.
    pub limits: Vec<Limit>,
}

/// What slow means for an operation.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Limit {
    /// Service of the root.
    pub service: String,
    /// Operation of the root.
    pub operation: String,
    /// The shortest duration that is slow, nanoseconds.
    pub from_ns: u64,
    /// How it was found.
    pub by: LimitBy,
    /// Traces of this operation.
    pub traces: usize,
    /// Those that are slow.
    pub slow: usize,
}

/// How a limit was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum LimitBy {
    /// The durations form separate levels.
    Level,
    /// There is a tail beyond the upper fence.
    Fence,
    /// The slowest tenth.
    TopTenth,
}

/// Tells the slow traces from the rest.
pub fn slow(traces: &Traces) -> Slow {
    let mut operations: BTreeMap<(&str, &str), Vec<(usize, u64)>> = BTreeMap::new();
    for (number, trace) in traces.traces().iter().enumerate() {
        let root = traces.main_root(trace).map(|root| &traces.spans()[root]);
        let Some(root) = root.filter(|root| root.duration_ns() > 0) else { continue };
        let text = |text: Text| traces.text(text);
        operations.entry((text(root.service), text(root.operation))).or_default().push((number, root.duration_ns()));
    }
    let mut slow = Slow { selected: vec![false; traces.traces().len()], limits: Vec::new() };
    for ((service, operation), members) in operations {
        let mut durations: Vec<u64> = members.iter().map(|(_, duration)| *duration).collect();
        durations.sort_unstable();
        let Some((from_ns, by)) = limit(&durations) else { continue };
        let mut count = 0;
        for (number, _) in members.iter().filter(|(_, duration)| *duration >= from_ns) {
            slow.selected[*number] = true;
            count += 1;
        }
        let (service, operation) = (service.to_owned(), operation.to_owned());
        slow.limits.push(Limit { service, operation, from_ns, by, traces: members.len(), slow: count });
    }
    slow
}

/// The shortest slow duration of an operation.
fn limit(sorted_ns: &[u64]) -> Option<(u64, LimitBy)> {
    let count = sorted_ns.len();
    if count < TRACES_MIN || sorted_ns.first() == sorted_ns.last() {
        return None;
    }
    let beyond = |bound: f64| sorted_ns.iter().copied().find(|duration| (*duration as f64).ln() >= bound);
    let level = LEVEL_TRACES_MIN.max((count as f64 * LEVEL_SHARE_MIN).ceil() as usize);
    let valleys = density::valleys(sorted_ns.iter().map(|duration| (*duration as f64).ln()), level);
    // The higher of two that are as deep.
    if let Some(valley) = valleys.iter().max_by(|a, b| a.depth.total_cmp(&b.depth).then(a.at.total_cmp(&b.at))) {
        return Some((beyond(valley.at)?, LimitBy::Level));
    }
    let quantile = |share: f64| (sorted_ns[((count - 1) as f64 * share).round() as usize] as f64).ln();
    let (first, third) = (quantile(0.25), quantile(0.75));
    let fence = third + 1.5 * (third - first);
    let tail = sorted_ns.iter().rev().take_while(|duration| (**duration as f64).ln() > fence).count();
    if tail >= LEVEL_TRACES_MIN && tail as f64 >= TAIL_SHARE_MIN * count as f64 {
        return Some((sorted_ns[count - tail], LimitBy::Fence));
    }
    let tenth = sorted_ns[count - count.div_ceil(10)];
    (Some(&tenth) > sorted_ns.first()).then_some((tenth, LimitBy::TopTenth))
}
