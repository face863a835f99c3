//! Rate, errors and durations of one service over time.

use std::collections::BTreeMap;
use std::sync::Arc;

use tracewell_model::{Sketch, sketch};
use tracewell_store::table::{Signal, Source};

use super::hops::{HopRequest, hops};
use super::listing::{minutes, over};
use super::{Budget, Listing};
use crate::QueryError;

/// Operations that are told of at most: those with most spans.
const OPERATIONS_MAX: usize = 200;

/// Spans within one step of time.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RedStep {
    /// Start, in minutes since the epoch.
    pub minute: u64,
    /// Spans.
    pub spans: u64,
    /// Of them, those that failed.
    pub errors: u64,
    /// Sum of their durations in nanoseconds.
    pub duration_ns: u64,
    /// Their durations in nanoseconds. Of operations it is known by ten minutes, and empty in the steps between.
    pub durations: Sketch,
}

/// One operation of the service.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RedOperation {
    /// Span name.
    pub name: String,
    /// OTLP span kind.
    pub kind: i32,
    /// All of it.
    pub total: RedStep,
    /// Over time.
    pub steps: Vec<RedStep>,
}

/// A service over time.
#[derive(Debug, Clone, Default)]
pub struct Red {
    /// Requests that it served, whoever sent them: durations by step.
    pub total: RedStep,
    /// The same over time.
    pub steps: Vec<RedStep>,
    /// Its operations, most spans first.
    pub operations: Listing<RedOperation>,
}

impl RedStep {
    fn take(&mut self, spans: u64, errors: u64, duration_ns: u64, durations: &Sketch) {
        self.spans += spans;
        self.errors += errors;
        self.duration_ns = self.duration_ns.saturating_add(duration_ns);
        self.durations.merge(durations);
    }
}

/// Rate, errors and durations of a service, in steps of some minutes (at least one).
///
/// # Errors
/// [`QueryError::Cancelled`] when the budget's flag was raised.
pub fn red(
    sources: &[Arc<dyn Source>],
    service: &str,
    (start, end): (u64, u64),
    step_minutes: u64,
    budget: &Budget,
) -> Result<Red, QueryError> {
    let step = step_minutes.max(1);
    let Some(wanted) = minutes(start, end) else { return Ok(Red::default()) };
    let mut red = Red::default();
    let request = HopRequest { start, end, service: Some(service.to_owned()), step_minutes: step };
    let calls = hops(sources, &request, budget)?;
    let mut steps: BTreeMap<u64, RedStep> = BTreeMap::new();
    for edge in calls.items.iter().filter(|edge| *edge.total.callee == *service) {
        for at in &edge.steps {
            let durations = u64::try_from(at.server.sum()).unwrap_or_default();
            let to = steps.entry(at.minute).or_insert_with(|| RedStep { minute: at.minute, ..RedStep::default() });
            to.take(at.calls, at.errors, durations, &at.server);
        }
    }
    red.total.minute = wanted.start() / step * step;
    for step in steps.into_values() {
        red.total.take(step.spans, step.errors, step.duration_ns, &step.durations);
        red.steps.push(step);
    }

    let mut found: BTreeMap<(Arc<str>, i32), BTreeMap<u64, RedStep>> = BTreeMap::new();
    let ended = over(sources, Signal::Traces, start, end, budget, |source, _| {
        source.operations(wanted.clone(), &mut |count| {
            if *count.service != *service {
                return;
            }
            let of = found.entry((Arc::clone(&count.name), count.kind)).or_default();
            let minute = count.minute / step * step;
            let at = of.entry(minute).or_insert_with(|| RedStep { minute, ..RedStep::default() });
            let errors = if count.status == 2 { count.spans } else { 0 };
            at.take(count.spans, errors, count.duration_ns, &Sketch::default());
        })?;
        source.durations(wanted.clone(), Some(service), &mut |counts| {
            let Some(of) = found.get_mut(&(Arc::clone(&counts.name), counts.kind)) else { return };
            let minute = counts.minute.max(*wanted.start()) / step * step;
            let at = of.entry(minute).or_insert_with(|| RedStep { minute, ..RedStep::default() });
            let sum =
                counts.buckets.iter().map(|(bucket, spans)| sketch::bucket_value(*bucket) * *spans as f64).sum::<f64>();
            let buckets =
                counts.buckets.iter().map(|(bucket, spans)| (i16::try_from(*bucket).unwrap_or(i16::MAX), *spans));
            at.durations.merge(&Sketch::from_parts(buckets, sum as i64));
        })?;
        Ok(())
    })?;
    let mut operations: Vec<RedOperation> = found
        .into_iter()
        .map(|((name, kind), steps)| {
            let mut of = RedOperation { name: name.to_string(), kind, ..RedOperation::default() };
            of.total.minute = red.total.minute;
            for step in steps.into_values() {
                of.total.take(step.spans, step.errors, step.duration_ns, &step.durations);
                of.steps.push(step);
            }
            of
        })
        .collect();
    operations
        .sort_by(|a, b| b.total.spans.cmp(&a.total.spans).then_with(|| (&a.name, a.kind).cmp(&(&b.name, b.kind))));
    let is_cut = operations.len() > OPERATIONS_MAX;
    operations.truncate(OPERATIONS_MAX);
    red.operations = ended.listing(operations);
    red.operations.complete &= calls.complete && !is_cut;
    red.operations.warnings.extend(calls.warnings);
    if is_cut {
        red.operations.warnings.push(format!("only the {OPERATIONS_MAX} operations with most spans are told of"));
    }
    Ok(red)
}
