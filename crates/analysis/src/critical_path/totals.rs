//! Time on the path, summed over many traces.

use std::collections::HashMap;

use foldhash::fast::RandomState;

use crate::{Text, Traces};

use super::{SegmentKind, Walker};

/// What the spans of one operation contribute to critical paths.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Total {
    /// The service.
    pub service: Text,
    /// The operation.
    pub operation: Text,
    /// Work of its own, in nanoseconds.
    pub self_ns: u64,
    /// On the way to the callee and back, in nanoseconds.
    pub network_ns: u64,
    /// Waiting for somebody who sent no spans, in nanoseconds.
    pub wait_ns: u64,
    /// Segments on paths.
    pub segments: u64,
    /// Paths with at least one segment of it.
    pub traces: u64,
}

impl Total {
    /// Time on paths altogether, in nanoseconds.
    pub fn duration_ns(&self) -> u64 {
        self.self_ns.saturating_add(self.network_ns).saturating_add(self.wait_ns)
    }
}

/// Time on the paths of many roots per (service, operation): the longest first, then by name. Linear in the segments.
pub fn totals(traces: &Traces, roots: impl IntoIterator<Item = usize>) -> Vec<Total> {
    let mut walker = Walker::new(traces);
    let mut places: HashMap<(Text, Text), usize, RandomState> = HashMap::default();
    // Beside each total the path that was counted last.
    let mut totals: Vec<(Total, usize)> = Vec::new();
    for (path, root) in roots.into_iter().enumerate() {
        for segment in walker.walk(root) {
            let span = &traces.spans()[segment.span];
            let (service, operation) = (span.service, span.operation);
            let place = *places.entry((service, operation)).or_insert_with(|| {
                let none = Total { service, operation, self_ns: 0, network_ns: 0, wait_ns: 0, segments: 0, traces: 0 };
                totals.push((none, usize::MAX));
                totals.len() - 1
            });
            let (total, last) = &mut totals[place];
            let sum = match segment.kind {
                SegmentKind::SelfTime => &mut total.self_ns,
                SegmentKind::Network => &mut total.network_ns,
                SegmentKind::Wait => &mut total.wait_ns,
            };
            *sum = sum.saturating_add(segment.duration_ns());
            total.segments += 1;
            total.traces += u64::from(std::mem::replace(last, path) != path);
        }
    }
    let mut totals: Vec<Total> = totals.into_iter().map(|(total, _)| total).collect();
    let names = |total: &Total| (traces.text(total.service), traces.text(total.operation));
    totals.sort_by(|a, b| b.duration_ns().cmp(&a.duration_ns()).then_with(|| names(a).cmp(&names(b))));
    totals
}
