//! How many traces match, exactly.

use tracewell_model::TraceId;
use tracewell_store::table::TraceSet;

use super::Total;
use super::matches::Visitor;
use super::search::Engine;
use super::sources::Part;
use crate::plan::{Bound, Pred, Shape};

/// Counts.
struct Counter(u64);

impl Visitor for Counter {
    fn found(&mut self, _: &TraceId) -> bool {
        self.0 += 1;
        false
    }

    fn take(&mut self, _: Vec<Part>) {}
}

impl Engine<'_> {
    /// Counts all matching traces, on several threads. `known` of them have been found already: the count is never less.
    pub fn count(&self, known: u64) -> Total {
        if let Some(value) = self.count_by_index() {
            return Total { value: value.max(known), exact: true };
        }
        let (counters, stopped) = self.matches(|| Counter(0));
        if let Some(stop) = stopped {
            self.sources.warn(stop.warning());
        }
        let total: u64 = counters.iter().map(|counter| counter.0).sum();
        Total { value: total.max(known), exact: stopped.is_none() }
    }

    /// The count where the index alone knows it: one filter that it answers exactly, one source that can hold
    /// matches, all of it within the time range.
    fn count_by_index(&self) -> Option<u64> {
        let (Shape::Rows, Bound::Filter(filter)) = (&self.program.shape, &self.program.bound) else { return None };
        let pred = &self.program.filters.get(*filter)?.pred;
        let mut counted = None;
        for (index, source) in self.sources.iter() {
            let (first, last) = source.time_range();
            if first >= self.program.end || last < self.program.start {
                continue;
            }
            let covered = self.program.start <= first && last < self.program.end;
            let value = match self.sets(index).union() {
                TraceSet::Some { traces, .. } if traces.is_empty() => continue,
                TraceSet::Some { traces, exact: true } if covered => traces.len(),
                TraceSet::All if covered && matches!(pred, Pred::Const(true)) => u64::from(source.trace_count()),
                _ => return None,
            };
            if counted.replace(value).is_some() {
                return None;
            }
        }
        Some(counted.unwrap_or(0))
    }
}
