//! The rows of the selected traces, read on several threads.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use tracewell_analysis::{Builder, Traces};

use super::columns::Origins;
use super::logs::{LogColumns, Logged};
use super::select::{Chosen, Selected};
use super::spans::{Scratch, SpanColumns};
use crate::error::Halt;
use crate::exec::{Meter, Sources, Stop};

/// What a task has read, and why it ended early if it did.
type Read = (Traces, Option<Stop>);

/// Rows of a task. The tasks do not depend on how many threads there are, so neither does the answer.
const TASK_ROWS: u64 = 1 << 16;

/// Reads the selected traces. Where the budget ends, the answer holds what was read until then.
pub(super) fn read<'a>(
    sources: &'a Sources<'a>,
    logs: &'a Sources<'a>,
    selected: &Selected,
    attributes: bool,
    meter: &'a Meter<'a>,
) -> (Traces, Option<Stop>) {
    let tasks = tasks(&selected.traces);
    let next = AtomicUsize::new(0);
    let results: Mutex<Vec<Option<Read>>> = Mutex::new(tasks.iter().map(|_| None).collect());
    let work = || {
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            let Some(task) = tasks.get(number) else { break };
            let mut reader = Reader::new(sources, logs, attributes, meter);
            let stopped = task.iter().try_for_each(|trace| reader.trace(trace, selected.weight)).err();
            if stopped.is_some() {
                next.store(tasks.len(), Ordering::Relaxed);
            }
            let result = (reader.builder.finish(), stopped);
            if let Some(slot) = results.lock().unwrap_or_else(PoisonError::into_inner).get_mut(number) {
                *slot = Some(result);
            }
        }
    };
    let threads = meter.threads().min(tasks.len());
    if threads <= 1 {
        work();
    } else {
        std::thread::scope(|scope| {
            (0..threads).for_each(|_| {
                scope.spawn(work);
            });
        });
    }
    let mut stopped = None;
    let mut traces = Traces::default();
    for (part, stop) in results.into_inner().unwrap_or_else(PoisonError::into_inner).into_iter().flatten() {
        traces.append(part);
        stopped = stopped.or(stop);
    }
    (traces, stopped)
}

/// Neighbours together, about [`TASK_ROWS`] rows each.
fn tasks(traces: &[Chosen]) -> Vec<&[Chosen]> {
    let mut tasks = Vec::new();
    let (mut first, mut rows) = (0, 0);
    for (index, trace) in traces.iter().enumerate() {
        rows += trace.rows();
        if rows >= TASK_ROWS {
            tasks.extend(traces.get(first..=index));
            (first, rows) = (index + 1, 0);
        }
    }
    tasks.extend(traces.get(first..).filter(|rest| !rest.is_empty()));
    tasks
}

/// Reads traces one after the other.
struct Reader<'a> {
    sources: &'a Sources<'a>,
    logs: &'a Sources<'a>,
    meter: &'a Meter<'a>,
    attributes: bool,
    builder: Builder,
    origins: Origins,
    scratch: Scratch,
    span_columns: Vec<Option<SpanColumns<'a>>>,
    log_columns: Vec<Option<LogColumns<'a>>>,
}

impl<'a> Reader<'a> {
    fn new(sources: &'a Sources<'a>, logs: &'a Sources<'a>, attributes: bool, meter: &'a Meter<'a>) -> Self {
        Self {
            sources,
            logs,
            meter,
            attributes,
            builder: Builder::new(),
            origins: Origins::default(),
            scratch: Scratch::default(),
            span_columns: (0..sources.len()).map(|_| None).collect(),
            log_columns: (0..logs.len()).map(|_| None).collect(),
        }
    }

    /// Reads one trace. What lies in a source that cannot be read is missing from it.
    fn trace(&mut self, chosen: &Chosen, weight: f64) -> Result<(), Stop> {
        let Self { builder, origins, scratch, meter, attributes, .. } = self;
        for part in chosen.parts.iter().filter(|part| !self.sources.is_broken(part.source)) {
            let source = self.sources.get(part.source);
            let Some(slot) = self.span_columns.get_mut(part.source) else { continue };
            let columns = slot.get_or_insert_with(|| SpanColumns::new(source, meter, *attributes, builder));
            meter.add_spans(part.rows.len());
            match columns.read(&part.rows, scratch, origins, builder) {
                Ok(()) => {}
                Err(Halt::Stop(stop)) => return Err(stop),
                Err(Halt::Source(error)) => self.sources.give_up(part.source, &error),
            }
        }
        scratch.next_trace();
        let mut logged = Logged::default();
        for part in self.logs.parts(&chosen.trace_id) {
            let source = self.logs.get(part.source);
            let Some(slot) = self.log_columns.get_mut(part.source) else { continue };
            let columns = slot.get_or_insert_with(|| LogColumns::new(source, meter));
            match columns.read(&part.rows, &mut logged, origins, builder) {
                Ok(()) => {}
                Err(Halt::Stop(stop)) => return Err(stop),
                Err(Halt::Source(error)) => self.logs.give_up(part.source, &error),
            }
        }
        builder.finish_trace(chosen.trace_id, weight);
        Ok(())
    }
}
