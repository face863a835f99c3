//! Time and calls of every key on the critical path of every trace.

use super::Direction;
use super::flame::Tree;
use super::keys::{Keys, Place, Translated};
use crate::critical_path::{Segment, SegmentKind, Walker};
use crate::{Text, Trace, Traces};

/// A way of looking at the time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum View {
    Places,
    Services,
    Edges,
    Statements,
}

/// How many views there are.
const VIEWS: usize = 4;

/// In place of a number: none yet.
const NONE: u32 = u32::MAX;

/// One trace.
#[derive(Debug, Clone, Copy)]
pub(super) struct Request {
    /// Which set.
    pub(super) set: usize,
    /// The place that is its root's operation: what kind of request it is.
    pub(super) root: u32,
    pub(super) duration_ns: u64,
    pub(super) weight: f64,
}

/// Time of a key in a trace.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entry {
    pub(super) key: u32,
    /// Its place in [`Tally::requests`].
    pub(super) request: u32,
    pub(super) calls: u32,
    pub(super) time_ns: u64,
}

/// All of it.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) keys: Keys,
    pub(super) requests: Vec<Request>,
    pub(super) flame: Tree,
    views: [Table; VIEWS],
}

/// The entries of a view.
#[derive(Debug, Default)]
struct Table {
    entries: Vec<Entry>,
    /// Sums of the trace under way, by key.
    sums: Vec<(u64, u32)>,
    touched: Vec<u32>,
}

impl Table {
    fn add(&mut self, key: u32, time_ns: u64, calls: u32) {
        if self.sums.len() <= key as usize {
            self.sums.resize(key as usize + 1, (0, 0));
        }
        let sum = &mut self.sums[key as usize];
        if *sum == (0, 0) {
            self.touched.push(key);
        }
        *sum = (sum.0.saturating_add(time_ns), sum.1.saturating_add(calls));
    }

    fn end(&mut self, request: u32) {
        for key in self.touched.drain(..) {
            let (time_ns, calls) = std::mem::take(&mut self.sums[key as usize]);
            self.entries.push(Entry { key, request, calls, time_ns });
        }
    }
}

impl Tally {
    /// Of one set of traces, or of several to be compared.
    pub(super) fn of(sets: &[&Traces]) -> Self {
        let mut tally = Self::default();
        for (set, traces) in sets.iter().enumerate() {
            let mut reader = Reader::new(traces, set);
            for trace in traces.traces() {
                reader.read(trace, &mut tally);
            }
        }
        tally
    }

    /// How many keys a view has.
    pub(super) fn len(&self, view: View) -> usize {
        match view {
            View::Places => self.keys.places.len(),
            View::Services => self.keys.services.len(),
            View::Edges => self.keys.edges.len(),
            View::Statements => self.keys.statements.len(),
        }
    }

    /// The entries of a view in the order of their keys, with where those of each key begin (and, last, where all end).
    pub(super) fn by_key(&self, view: View) -> (Vec<Entry>, Vec<usize>) {
        let entries = &self.views[view as usize].entries;
        let mut first = vec![0; self.len(view) + 1];
        for entry in entries {
            first[entry.key as usize + 1] += 1;
        }
        for key in 1..first.len() {
            first[key] += first[key - 1];
        }
        let mut next = first.clone();
        let mut sorted = vec![Entry { key: 0, request: 0, calls: 0, time_ns: 0 }; entries.len()];
        for entry in entries {
            let place = &mut next[entry.key as usize];
            sorted[*place] = *entry;
            *place += 1;
        }
        (sorted, first)
    }
}

/// What has been counted of a span in the trace under way.
#[derive(Debug, Clone, Copy)]
struct Seen {
    operation: u32,
    /// Its place in the flame graph.
    node: u32,
    /// The span that its service began this work with.
    entry: u32,
    /// The span with the statement that it works for, [`NONE`] if there is none.
    statement: u32,
    /// Halfway between the start and the end of the other side, 0 if not looked up.
    middle_ns: u64,
    callee: Text,
    counted: u8,
}

const UNSEEN: Seen =
    Seen { operation: NONE, node: NONE, entry: NONE, statement: NONE, middle_ns: 0, callee: Text::EMPTY, counted: 0 };

const OWN: u8 = 1;
const REQUEST: u8 = 2;
const RESPONSE: u8 = 4;
const EDGE: u8 = 8;
const STATEMENT: u8 = 16;
const SERVICE: u8 = 32;

/// Reads the traces of a set.
struct Reader<'a> {
    traces: &'a Traces,
    set: usize,
    walker: Walker<'a>,
    translated: Translated<'a>,
    first: usize,
    seen: Vec<Seen>,
    /// Spans whose place in the flame graph is still to be found, the lowest first.
    way: Vec<usize>,
    weight: f64,
}

impl<'a> Reader<'a> {
    fn new(traces: &'a Traces, set: usize) -> Self {
        let (walker, translated) = (Walker::new(traces), Translated::new(traces));
        Self { traces, set, walker, translated, first: 0, seen: Vec::new(), way: Vec::new(), weight: 0.0 }
    }

    fn read(&mut self, trace: &Trace, tally: &mut Tally) {
        let Some(root) = self.traces.main_root(trace) else { return };
        self.first = trace.first as usize;
        self.weight = if trace.weight.is_finite() { trace.weight.max(0.0) } else { 1.0 };
        self.seen.clear();
        self.seen.resize(trace.spans().len(), UNSEEN);
        let request = tally.requests.len() as u32;
        tally.requests.push(Request {
            set: self.set,
            root: self.translated.operation(&mut tally.keys, root),
            duration_ns: self.traces.spans()[root].duration_ns(),
            weight: self.weight,
        });
        // The path is read while the rest of the reader counts.
        let mut walker = std::mem::replace(&mut self.walker, Walker::new(self.traces));
        for segment in walker.walk(root) {
            self.count(segment, root, tally);
        }
        self.walker = walker;
        for table in &mut tally.views {
            table.end(request);
        }
    }

    /// True for the first time that something of a span is counted.
    fn first_time(&mut self, span: usize, what: u8) -> u32 {
        let counted = &mut self.seen[span - self.first].counted;
        let first = *counted & what == 0;
        *counted |= what;
        u32::from(first)
    }

    fn count(&mut self, segment: &Segment, root: usize, tally: &mut Tally) {
        let (span, time_ns) = (segment.span, segment.duration_ns());
        let node = self.node(span, root, tally);
        tally.flame.add_own(node, self.set, time_ns as f64 * self.weight);

        let operation = self.seen[span - self.first].operation;
        let way = if segment.kind == SegmentKind::Network { self.way_of(segment, tally) } else { None };
        let place = way.map_or(operation, |(_, place)| place);
        let calls = self.first_time(span, way.map_or(OWN, |(counted, _)| counted));
        tally.views[View::Places as usize].add(place, time_ns, calls);
        if way.is_some() {
            let calls = self.first_time(span, EDGE);
            tally.views[View::Edges as usize].add(tally.keys.belongs(place), time_ns, calls);
        } else {
            let calls = self.first_time(self.seen[span - self.first].entry as usize, SERVICE);
            tally.views[View::Services as usize].add(tally.keys.belongs(place), time_ns, calls);
            let record = &self.traces.spans()[span];
            if segment.kind == SegmentKind::Wait && !record.peer.is_empty() {
                let caller = self.translated.text(&mut tally.keys, record.service);
                let callee = self.translated.text(&mut tally.keys, record.peer);
                let edge = tally.keys.edges.number((caller, callee));
                let calls = self.first_time(span, EDGE);
                tally.views[View::Edges as usize].add(edge, time_ns, calls);
            }
        }
        let holder = self.seen[span - self.first].statement;
        if holder != NONE {
            let holder = holder as usize;
            let record = &self.traces.spans()[holder];
            let service = self.translated.text(&mut tally.keys, record.service);
            let statement = self.translated.text(&mut tally.keys, record.statement);
            let key = tally.keys.statements.number((service, statement));
            let calls = self.first_time(holder, STATEMENT);
            tally.views[View::Statements as usize].add(key, time_ns, calls);
        }
    }

    /// The place of a span in the flame graph; its operation is known from then on.
    fn node(&mut self, span: usize, root: usize, tally: &mut Tally) -> u32 {
        let mut at = span;
        self.way.clear();
        while self.seen[at - self.first].node == NONE {
            self.way.push(at);
            match self.traces.parent(at) {
                Some(parent) if at != root => at = parent,
                _ => break,
            }
        }
        let known = &self.seen[at - self.first];
        let mut above = (known.node != NONE).then_some(*known);
        while let Some(span) = self.way.pop() {
            let operation = self.translated.operation(&mut tally.keys, span);
            let node = tally.flame.child(above.map(|above| above.node), operation);
            tally.flame.add_call(node, self.set, self.weight);
            let record = &self.traces.spans()[span];
            let same = |above: &Seen| {
                !record.is_incoming() && self.traces.spans()[above.entry as usize].service == record.service
            };
            let seen = &mut self.seen[span - self.first];
            (seen.operation, seen.node) = (operation, node);
            seen.entry = above.filter(same).map_or(span as u32, |above| above.entry);
            // What a database says of a statement that it was asked to run is the same statement.
            let own = if record.statement.is_empty() { NONE } else { span as u32 };
            seen.statement = above.map_or(NONE, |above| above.statement).min(own);
            above = Some(*seen);
        }
        self.seen[span - self.first].node
    }

    /// Which way of which hop a segment is: what comes before the middle of the other side is the way there.
    fn way_of(&mut self, segment: &Segment, tally: &mut Tally) -> Option<(u8, u32)> {
        let caller = self.traces.spans()[segment.span].service;
        if self.seen[segment.span - self.first].middle_ns == 0 {
            self.look_across(segment.span);
        }
        let Seen { middle_ns, callee, .. } = self.seen[segment.span - self.first];
        let caller = self.translated.text(&mut tally.keys, caller);
        let callee = self.translated.text(&mut tally.keys, callee);
        let (counted, direction) = match segment.start_ns / 2 + segment.end_ns / 2 <= middle_ns {
            true => (REQUEST, Direction::Request),
            false => (RESPONSE, Direction::Response),
        };
        Some((counted, tally.keys.place(Place::Way(caller, callee, direction))))
    }

    fn look_across(&mut self, span: usize) {
        let spans = self.traces.spans();
        let (mut callee, mut start_ns, mut end_ns) = (spans[span].peer, u64::MAX, 0);
        let mut found = false;
        for child in self.traces.children(span) {
            let child = &spans[child];
            if !child.is_incoming() && child.service == spans[span].service {
                continue;
            }
            if !found {
                (callee, found) = (child.service, true);
            }
            (start_ns, end_ns) = (start_ns.min(child.start_ns), end_ns.max(child.end_ns));
        }
        let middle_ns = if found { start_ns / 2 + end_ns / 2 } else { spans[span].end_ns };
        let seen = &mut self.seen[span - self.first];
        (seen.middle_ns, seen.callee) = (middle_ns.max(1), callee);
    }
}
