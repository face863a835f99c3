//! The walk over the spans.

use std::collections::HashMap;

use foldhash::fast::RandomState;

use super::column::{Column, Kind, Value};
use super::{Calls, Edge, Facts, Member, NONE, Operation, Origin, Shown, Site};
use crate::traces::{Attribute, LogSource, NO_SPAN, Scalar, Text, Trace, Traces};

type Numbers<K> = HashMap<K, u32, RandomState>;

/// Numbers of what is known already, by its global texts.
#[derive(Debug, Default)]
pub(in crate::outliers) struct Known {
    operations: Numbers<(Text, Text)>,
    edges: Numbers<(Text, Text)>,
    sites: Numbers<(Text, Text, bool)>,
}

/// One set of traces while it is walked: what its own numbers are in [`Facts`].
struct Walk<'a> {
    traces: &'a Traces,
    facts: &'a mut Facts,
    known: &'a mut Known,
    /// By its own number of a text: the number in the facts, or [`NONE`].
    texts: Vec<u32>,
    operations: Numbers<(Text, Text)>,
    origins: Numbers<(u32, Text)>,
    /// The operation of each span of the trace under way.
    of_span: Vec<u32>,
}

impl Facts {
    /// Adds traces: those for which `side` says true are selected, false the rest, none left out.
    pub(in crate::outliers) fn add(
        &mut self,
        traces: &Traces,
        known: &mut Known,
        side: impl Fn(usize) -> Option<bool>,
    ) {
        let mut walk = Walk {
            texts: vec![NONE; traces.texts().len()],
            traces,
            facts: self,
            known,
            operations: Numbers::default(),
            origins: Numbers::default(),
            of_span: Vec::new(),
        };
        for (number, trace) in traces.traces().iter().enumerate() {
            if let Some(selected) = side(number).filter(|_| !trace.spans().is_empty()) {
                walk.trace(trace, selected);
            }
        }
    }
}

impl Walk<'_> {
    fn trace(&mut self, trace: &Trace, selected: bool) {
        let number = self.facts.members.len() as u32;
        self.of_span.clear();
        for span in trace.spans() {
            self.span(trace, span, number);
        }
        for log in self.traces.logs_of(trace) {
            let (service, site) = (self.text(log.service), self.text(log.site));
            let next = self.facts.sites.len() as u32;
            let key = (service, site, log.source == LogSource::Event);
            let known = *self.known.sites.entry(key).or_insert(next);
            if known == next {
                self.facts.sites.push(Site { service, site, source: log.source, shown: Shown::default() });
            }
            self.facts.sites[known as usize].shown.push(number);
        }
        let main = self.traces.main_root(trace);
        let of_main = main.and_then(|root| self.of_span.get(root - trace.spans().start)).copied();
        let span = main.map(|root| &self.traces.spans()[root]);
        self.facts.members.push(Member {
            id: trace.id,
            duration_ns: span.map_or(0, |span| span.duration_ns()),
            start_ns: span.map_or(0, |span| span.start_ns),
            root: of_main.unwrap_or(NONE),
            selected,
        });
    }

    fn span(&mut self, trace: &Trace, number: usize, member: u32) {
        let span = &self.traces.spans()[number];
        let operation = self.operation(span.service, span.operation);
        self.of_span.push(operation);
        let service = self.facts.operations[operation as usize].service;
        let of_operation = &mut self.facts.operations[operation as usize];
        count(&mut of_operation.calls, member, span.duration_ns());
        if span.is_error() {
            of_operation.failed.push(member);
        }
        if span.parent != NO_SPAN && self.traces.spans()[span.parent as usize].service != span.service {
            let caller = self.of_span[span.parent as usize - trace.spans().start];
            let caller = self.facts.operations[caller as usize].service;
            let next = self.facts.edges.len() as u32;
            let edge = *self.known.edges.entry((caller, service)).or_insert(next);
            if edge == next {
                self.facts.edges.push(Edge { caller, callee: service, calls: Vec::new() });
            }
            count(&mut self.facts.edges[edge as usize].calls, member, span.duration_ns());
        }
        let origin = self.origin(number, service);
        self.facts.origins[origin as usize].shown.push(member);
        for (place, attribute) in self.traces.attributes(number).iter().enumerate() {
            self.attribute(operation, place, attribute, member);
        }
        if !span.status_message.is_empty() {
            let message = Attribute { key: Text::EMPTY, value: Scalar::Text(span.status_message) };
            self.attribute(operation, usize::MAX, &message, member);
        }
    }

    fn attribute(&mut self, operation: u32, place: usize, attribute: &Attribute, member: u32) {
        // Not a number: nothing that a filter could ask for.
        if matches!(attribute.value, Scalar::Double(value) if !value.is_finite()) {
            return;
        }
        let (key, kind) = (self.text(attribute.key), kind(attribute.value));
        let columns = &self.facts.operations[operation as usize].columns;
        let all = &self.facts.columns;
        let is = |column: &u32| all[*column as usize].key == key && all[*column as usize].kind == kind;
        let known = columns.get(place).filter(|column| is(column)).or_else(|| columns.iter().find(|column| is(column)));
        let column = match known {
            Some(column) => *column,
            None => {
                let next = all.len() as u32;
                self.facts.columns.push(Column::new(key, kind));
                self.facts.operations[operation as usize].columns.push(next);
                next
            }
        };
        if self.facts.columns[column as usize].is_closed() {
            return;
        }
        let value = self.value(attribute.value);
        self.facts.columns[column as usize].push(member, value);
    }

    /// The number of a text in the facts.
    fn text(&mut self, text: Text) -> Text {
        let Some(known) = self.texts.get_mut(text.0 as usize) else { return Text::EMPTY };
        if *known == NONE {
            *known = self.facts.texts.number(self.traces.text(text)).0;
        }
        Text(*known)
    }

    fn value(&mut self, scalar: Scalar) -> Value {
        Value::new(match scalar {
            Scalar::Text(text) => Scalar::Text(self.text(text)),
            other => other,
        })
    }

    fn operation(&mut self, service: Text, name: Text) -> u32 {
        if let Some(known) = self.operations.get(&(service, name)) {
            return *known;
        }
        let global = (self.text(service), self.text(name));
        let next = self.facts.operations.len() as u32;
        let number = *self.known.operations.entry(global).or_insert(next);
        if number == next {
            self.facts.operations.push(Operation { service: global.0, name: global.1, ..Operation::default() });
        }
        self.operations.insert((service, name), number);
        number
    }

    fn origin(&mut self, span: usize, service: Text) -> u32 {
        let traces = self.traces;
        let key = (traces.spans()[span].resource, traces.spans()[span].service);
        let next = self.facts.origins.len() as u32;
        let number = *self.origins.entry(key).or_insert(next);
        if number == next {
            let attributes = traces.resource(span).iter();
            let attributes =
                attributes.map(|attribute| (self.text(attribute.key), self.value(attribute.value))).collect();
            self.facts.origins.push(Origin { service, attributes, shown: Shown::default() });
        }
        number
    }
}

fn kind(scalar: Scalar) -> Kind {
    match scalar {
        Scalar::Text(_) => Kind::Text,
        Scalar::Bool(_) => Kind::Bool,
        Scalar::Int(_) => Kind::Int,
        Scalar::Double(_) => Kind::Double,
    }
}

/// Counts one more in a trace, which is the last or a later one.
fn count(calls: &mut Vec<Calls>, trace: u32, ns: u64) {
    match calls.last_mut().filter(|last| last.trace == trace) {
        Some(last) => {
            last.count += 1;
            last.sum_ns = last.sum_ns.saturating_add(ns);
        }
        None => calls.push(Calls { trace, count: 1, sum_ns: ns }),
    }
}
