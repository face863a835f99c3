//! What a span does, step by step: the calls it makes, the work it starts, the records it writes, and how it ends.
//!
//! The children and log records of a span, in order of time, make a sequence from its start to its end. Each step is
//! numbered as (operation, step before, step after); the steps of an operation are a Markov chain whose probabilities
//! are counted. A code path that is left early shows where it is left: after the step before, the next one is missing.

use std::collections::HashMap;

use foldhash::fast::RandomState;

use super::names::{Names, View};
use crate::logs;
use crate::traces::{LogSource, NO_SPAN, Text};

/// What may come in a span.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Event {
    /// Its start.
    Start,
    /// Its end.
    End,
    /// Its end with the status of an error.
    Failed,
    /// Work of the same service.
    Work { operation: u32 },
    /// A call, and the operation over there if the traces have it.
    Call { operation: u32, callee: Option<u32> },
    /// A log record or an event.
    Record { site: Text, severity: u8 },
}

/// A step of a span of an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Step {
    pub operation: u32,
    pub from: u32,
    pub to: u32,
}

/// All steps and events of both sides, numbered.
#[derive(Debug, Default)]
pub struct Steps {
    steps: Vec<Step>,
    numbers: HashMap<Step, u32, RandomState>,
    events: Vec<Event>,
    event_numbers: HashMap<Event, u32, RandomState>,
}

/// The steps of all spans of one side.
#[derive(Debug, Default)]
pub struct Flows {
    /// Number of the step, and the child span that the step came to, [`NO_SPAN`] if none.
    pub steps: Vec<(u32, u32)>,
    /// Where a span's steps begin; one more than there are spans.
    pub starts: Vec<u32>,
}

impl Flows {
    /// The steps of a span.
    pub fn of(&self, span: usize) -> &[(u32, u32)] {
        &self.steps[self.starts[span] as usize..self.starts[span + 1] as usize]
    }
}

impl Steps {
    pub fn len(&self) -> usize {
        self.steps.len()
    }

    pub fn step(&self, number: u32) -> Step {
        self.steps[number as usize]
    }

    pub fn event(&self, number: u32) -> Event {
        self.events[number as usize]
    }

    fn number_event(&mut self, event: Event) -> u32 {
        let next = self.events.len() as u32;
        let number = *self.event_numbers.entry(event).or_insert(next);
        if number == next {
            self.events.push(event);
        }
        number
    }

    fn number(&mut self, step: Step) -> u32 {
        let next = self.steps.len() as u32;
        let number = *self.numbers.entry(step).or_insert(next);
        if number == next {
            self.steps.push(step);
        }
        number
    }

    /// Takes the steps of all spans.
    pub fn collect(&mut self, view: &View, names: &Names) -> Flows {
        let (traces, spans) = (view.traces, view.traces.spans());
        let (start, end) = (self.number_event(Event::Start), self.number_event(Event::End));
        let failed = self.number_event(Event::Failed);
        let mut flows = Flows { steps: Vec::with_capacity(spans.len() * 2), starts: Vec::with_capacity(spans.len() + 1) };
        let mut severities: HashMap<Text, u8, RandomState> = HashMap::default();
        let mut records: Vec<(u32, u64, u32)> = Vec::new();
        let mut events: Vec<(u64, u32, u32)> = Vec::new();
        for trace in traces.traces() {
            records.clear();
            for log in traces.logs_of(trace) {
                if log.span == NO_SPAN {
                    continue;
                }
                let site = view.text(log.site);
                let mut severity = log.severity;
                if severity == 0 {
                    severity = *severities.entry(site).or_insert_with(|| match log.source {
                        LogSource::Event if names.text(site).starts_with("exception") => 17,
                        _ => logs::severity(names.text(site)),
                    });
                }
                // Grades of one severity (INFO2) are one site still.
                let severity = severity.div_ceil(4) * 4;
                records.push((log.span, log.time_ns, self.number_event(Event::Record { site, severity })));
            }
            records.sort_by_key(|record| record.0);
            let mut rest = records.as_slice();
            for number in trace.spans() {
                let span = &spans[number];
                events.clear();
                for child in traces.children(number) {
                    events.push((spans[child].start_ns, self.number_event(event_of(view, number, child)), child as u32));
                }
                let children = events.len();
                let own = rest.iter().take_while(|record| record.0 as usize == number).count();
                let (now, later) = rest.split_at(own);
                events.extend(now.iter().map(|(_, time, event)| (*time, *event, NO_SPAN)));
                rest = later;
                if events.len() > children && children > 0 {
                    events.sort_by_key(|event| event.0);
                }
                flows.starts.push(flows.steps.len() as u32);
                let operation = view.operation[number];
                let mut from = start;
                for (_, to, child) in &events {
                    flows.steps.push((self.number(Step { operation, from, to: *to }), *child));
                    from = *to;
                }
                let to = if span.is_error() { failed } else { end };
                flows.steps.push((self.number(Step { operation, from, to }), NO_SPAN));
            }
        }
        flows.starts.push(flows.steps.len() as u32);
        flows
    }
}

fn event_of(view: &View, parent: usize, child: usize) -> Event {
    let operation = view.operation[child];
    let callee = view.callee[child];
    if callee != NO_SPAN {
        Event::Call { operation, callee: Some(view.operation[callee as usize]) }
    } else if view.is_remote(parent, child) {
        Event::Call { operation, callee: Some(operation) }
    } else if view.traces.spans()[child].is_outgoing() {
        Event::Call { operation, callee: None }
    } else {
        Event::Work { operation }
    }
}
