//! What a span does, step by step: the calls it makes, the work it starts, the records it writes, and how it ends.
//!
//! The children of a span, in order of their start, make one sequence from its start to its end; its log records make
//! another. (One sequence of both would vary from span to span: a record and a call that are written within the same
//! millisecond come in either order.) Each step is numbered as (operation, event before, event after); the steps of an
//! operation are a Markov chain whose probabilities are counted. A code path that is left early shows where it is left:
//! after the event before, the next one is missing.

use std::collections::{HashMap, HashSet};

use foldhash::fast::RandomState;

use super::names::{Names, View};
use crate::logs;
use crate::traces::{Log, LogSource, NO_SPAN, Text};

/// What may come in a span.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Event {
    /// Its start.
    Start,
    /// Its end.
    End,
    /// Its end with the status of an error.
    Failed,
    /// What comes before its first record.
    Silence,
    /// What comes after its last record.
    Quiet,
    /// In a span that only calls: the span over there.
    Arrived,
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
    /// Operations whose spans write records.
    writing: HashSet<u32, RandomState>,
}

/// One step of a span.
#[derive(Debug, Clone, Copy)]
pub struct Taken {
    /// Number of the step.
    pub step: u32,
    /// The child span that the step came to, [`NO_SPAN`] if it came to none.
    pub child: u32,
    /// The last child that had started by then, [`NO_SPAN`] if none had.
    pub after: u32,
}

/// The steps of all spans of one side.
#[derive(Debug, Default)]
pub struct Flows {
    pub steps: Vec<Taken>,
    /// Where a span's steps begin; one more than there are spans.
    pub starts: Vec<u32>,
}

impl Flows {
    /// The steps of a span.
    pub fn of(&self, span: usize) -> &[Taken] {
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

    /// Takes the steps of all spans; those of log records only if asked to, those of spans' own events always.
    pub fn collect(&mut self, view: &View, names: &Names, records: bool) -> Flows {
        let (traces, spans) = (view.traces, view.traces.spans());
        let mut flows =
            Flows { steps: Vec::with_capacity(spans.len() * 2), starts: Vec::with_capacity(spans.len() + 1) };
        let mut severities: HashMap<Text, u8, RandomState> = HashMap::default();
        let mut written: Vec<(u32, u64, u32)> = Vec::new();
        for trace in traces.traces() {
            written.clear();
            for log in traces.logs_of(trace).iter().filter(|log| counts(log, records)) {
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
                written.push((log.span, log.time_ns, self.number_event(Event::Record { site, severity })));
            }
            written.sort_by_key(|record| record.0);
            let mut rest = written.as_slice();
            for number in trace.spans() {
                flows.starts.push(flows.steps.len() as u32);
                let last = self.children(view, number, &mut flows.steps);
                let own = rest.iter().take_while(|record| record.0 as usize == number).count();
                let (own, later) = rest.split_at(own);
                rest = later;
                if own.is_empty() && !self.writing.contains(&view.operation[number]) {
                    continue;
                }
                let mut children = traces.children(number).peekable();
                let mut from = self.number_event(Event::Silence);
                let (operation, mut after) = (view.operation[number], NO_SPAN);
                for (_, time_ns, to) in own {
                    while let Some(child) = children.next_if(|child| spans[*child].start_ns <= *time_ns) {
                        after = child as u32;
                    }
                    flows.steps.push(Taken {
                        step: self.number(Step { operation, from, to: *to }),
                        child: NO_SPAN,
                        after,
                    });
                    from = *to;
                }
                let to = self.number_event(Event::Quiet);
                flows.steps.push(Taken {
                    step: self.number(Step { operation, from, to }),
                    child: NO_SPAN,
                    after: last,
                });
            }
        }
        flows.starts.push(flows.steps.len() as u32);
        flows
    }

    /// Notes which operations write records.
    pub fn note_writers(&mut self, view: &View, records: bool) {
        let spans = view.traces.logs().iter().filter(|log| counts(log, records)).map(|log| log.span as usize);
        self.writing.extend(spans.map(|span| view.operation[span]));
    }

    /// The steps of a span from child to child; gives the last child.
    fn children(&mut self, view: &View, number: usize, steps: &mut Vec<Taken>) -> u32 {
        let operation = view.operation[number];
        let (mut from, mut last) = (self.number_event(Event::Start), NO_SPAN);
        let calls = view.callee[number] != NO_SPAN || view.traces.spans()[number].is_outgoing();
        for child in view.traces.children(number) {
            let event = if calls { Event::Arrived } else { event_of(view, number, child) };
            let to = self.number_event(event);
            last = child as u32;
            steps.push(Taken { step: self.number(Step { operation, from, to }), child: last, after: last });
            from = to;
        }
        let end = if view.traces.spans()[number].is_error() { Event::Failed } else { Event::End };
        let to = self.number_event(end);
        steps.push(Taken { step: self.number(Step { operation, from, to }), child: NO_SPAN, after: last });
        last
    }
}

/// Whether a record makes steps: log records only if asked for, events of spans always.
fn counts(log: &Log, records: bool) -> bool {
    log.span != NO_SPAN && (records || log.source == LogSource::Event)
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
