//! One numbering of texts and operations for two sets of traces, and who calls whom in each.

use std::collections::HashMap;

use foldhash::fast::RandomState;

use crate::traces::{NO_SPAN, Text, Texts, Trace, Traces};

/// An operation of a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Operation {
    pub service: Text,
    pub name: Text,
    /// OTLP `SpanKind` as a number.
    pub kind: u8,
}

/// Texts and operations of both sides, each numbered once.
#[derive(Debug, Default)]
pub struct Names {
    texts: Texts,
    operations: Vec<Operation>,
    numbers: HashMap<Operation, u32, RandomState>,
}

/// One side: its traces, with what every step of the ranking asks about each span.
pub struct View<'a> {
    pub traces: &'a Traces,
    /// Number of each span's operation in [`Names`].
    pub operation: Vec<u32>,
    /// The span through which each span's service was entered: the next at or above it that another service called.
    pub entry: Vec<u32>,
    /// For spans that only call another process: the span over there. Else [`NO_SPAN`].
    pub callee: Vec<u32>,
    /// Into how many parts of about as many traces each the time of the traces is cut.
    pub parts: usize,
    /// Part of each trace.
    part_of_trace: Vec<u8>,
    /// Trace of each span.
    trace_of: Vec<u32>,
    /// Texts of the traces as texts of [`Names`].
    texts: Vec<Text>,
}

impl Names {
    pub fn text(&self, text: Text) -> &str {
        self.texts.get(text)
    }

    pub fn operation(&self, number: u32) -> Operation {
        self.operations[number as usize]
    }

    /// Numbers everything in some traces, and cuts their time into parts.
    pub fn view<'a>(&mut self, traces: &'a Traces, parts: usize) -> View<'a> {
        let texts: Vec<Text> =
            (0..traces.texts().len() as u32).map(|text| self.texts.number(traces.text(Text(text)))).collect();
        let known = |text: Text| texts.get(text.0 as usize).copied().unwrap_or(Text::EMPTY);
        // A first step over the numbers of one side keeps the hashing of most spans to one look-up.
        let mut local: HashMap<(Text, Text, u8), u32, RandomState> = HashMap::default();
        let mut operation = Vec::with_capacity(traces.spans().len());
        for span in traces.spans() {
            let number = *local.entry((span.service, span.operation, span.kind)).or_insert_with(|| {
                let key = Operation { service: known(span.service), name: known(span.operation), kind: span.kind };
                let next = self.operations.len() as u32;
                let number = *self.numbers.entry(key).or_insert(next);
                if number == next {
                    self.operations.push(key);
                }
                number
            });
            operation.push(number);
        }
        let (entry, callee) = places(traces);
        let mut trace_of = Vec::with_capacity(traces.spans().len());
        for (number, trace) in traces.traces().iter().enumerate() {
            trace_of.extend(trace.spans().map(|_| number as u32));
        }
        View { traces, operation, entry, callee, parts, part_of_trace: parts_of(traces, parts), trace_of, texts }
    }
}

impl View<'_> {
    /// A text of the traces as a text of [`Names`].
    pub fn text(&self, text: Text) -> Text {
        self.texts.get(text.0 as usize).copied().unwrap_or(Text::EMPTY)
    }

    /// The part of time that a span's trace begins in.
    pub fn part(&self, span: usize) -> u8 {
        self.part_of_trace[self.trace_of[span] as usize]
    }

    /// True when the second span, a child of the first, runs in another process.
    pub fn is_remote(&self, parent: usize, child: usize) -> bool {
        is_remote(self.traces, parent, child)
    }
}

fn is_remote(traces: &Traces, parent: usize, child: usize) -> bool {
    let (parent, child) = (&traces.spans()[parent], &traces.spans()[child]);
    parent.service != child.service || (parent.is_outgoing() && child.is_incoming())
}

/// Part of each trace by its begin: parts hold about as many traces each.
fn parts_of(traces: &Traces, parts: usize) -> Vec<u8> {
    let begin = |trace: &Trace| traces.spans_of(trace).iter().map(|span| span.start_ns).min().unwrap_or(0);
    let begins: Vec<u64> = traces.traces().iter().map(begin).collect();
    let mut sorted = begins.clone();
    sorted.sort_unstable();
    let cuts: Vec<u64> = (1..parts).map(|part| sorted.get(sorted.len() * part / parts).copied().unwrap_or(0)).collect();
    begins.iter().map(|begin| cuts.iter().take_while(|cut| *cut <= begin).count() as u8).collect()
}

/// Entry and callee of every span.
fn places(traces: &Traces) -> (Vec<u32>, Vec<u32>) {
    let spans = traces.spans();
    let mut entry: Vec<u32> = Vec::with_capacity(spans.len());
    let mut callee = vec![NO_SPAN; spans.len()];
    let mut local_children = vec![false; spans.len()];
    for (number, span) in spans.iter().enumerate() {
        let parent = span.parent as usize;
        if span.parent == NO_SPAN || span.is_incoming() || is_remote(traces, parent, number) {
            entry.push(number as u32);
        } else {
            entry.push(entry[parent]);
        }
        if span.parent == NO_SPAN {
            continue;
        }
        if !is_remote(traces, parent, number) {
            local_children[parent] = true;
        } else if callee[parent] == NO_SPAN && !span.is_consumer() {
            callee[parent] = number as u32;
        }
    }
    for (number, span) in spans.iter().enumerate() {
        // A server that forwards everything still works; a client does nothing but call.
        let entered = entry[number] as usize == number;
        let calls = span.is_outgoing() || (!span.is_incoming() && !entered && !local_children[number]);
        if !calls || span.is_producer() {
            callee[number] = NO_SPAN;
        }
    }
    (entry, callee)
}
