//! Units of work: what one service does for one request, and the calls that it makes for it.
//!
//! ```text
//! entry    inventory GET /products                 (root, server, consumer, or another service than its parent)
//!            ├ list (internal)
//!            │   └ SELECT products   ── a call
//!            └ SELECT stock_levels   ── a call ──▶ inventory-db, an entry of its own
//! ```
//!
//! Spans within the service are looked through: a call is the unit's, however deep the code that makes it. A client span
//! below a client span of the same service is the same call, seen by another library. O(n log n) in the spans of a trace.

use std::cell::{Cell, RefCell};

use super::names::{Effect, Names, Shape};
use crate::critical_path::{OVERLAP_PARTS, room, room::Room};
use crate::traces::{Scalar, Span, Text, Trace, Traces};

/// In place of a number: none.
pub(super) const NONE: usize = usize::MAX;

/// How often the calls of a trace are replayed, on average, and how many calls at least: what bounds the time for traces
/// in which one unit makes very many calls that nearly all are worth a finding.
const REPLAYS_MAX: usize = 16;
const REPLAYED_MIN: usize = 100_000;

/// One call of a unit.
#[derive(Debug, Clone, Copy)]
pub(super) struct Call {
    /// The span of the call on the caller's side, or the callee's where the caller has none.
    pub(super) span: usize,
    /// The first span of the callee, [`NONE`] where it sent none.
    pub(super) served: usize,
    /// The unit's entry.
    entry: usize,
    pub(super) key: CallKey,
    pub(super) start_ns: u64,
    pub(super) end_ns: u64,
    /// Its span, or that of the callee, says error.
    pub(super) failed: bool,
    pub(super) effect: Effect,
    /// Decides whether the rest may happen.
    pub(super) guards: bool,
}

/// What makes two calls the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct CallKey {
    pub(super) callee: Text,
    pub(super) operation: Shape,
    pub(super) statement: Shape,
}

impl Call {
    pub(super) fn duration_ns(&self) -> u64 {
        self.end_ns - self.start_ns
    }
}

/// One unit: its entry and its calls, by start.
#[derive(Debug, Clone, Copy)]
pub(super) struct Unit<'a> {
    pub(super) entry: usize,
    pub(super) calls: &'a [Call],
}

/// Memory for the units of one trace after another.
#[derive(Debug, Default)]
pub(super) struct Units {
    first: usize,
    /// For each span of the trace: its entry.
    entry_of: Vec<usize>,
    /// For each span: the place of the call that it is part of on the caller's side, [`NONE`] if it is not.
    call_of: Vec<usize>,
    calls: Vec<Call>,
    /// Entries with the range of their calls.
    ranges: Vec<(usize, usize, usize)>,
    /// For each span: what begins the waiting for it, see [`Units::top_of`].
    tops: Vec<usize>,
    /// For each span its room, once somebody has asked.
    rooms_ns: RefCell<Vec<u64>>,
    /// Calls that may still be replayed.
    budget: Cell<usize>,
}

/// What siblings of a span may overlap and still follow each other, in nanoseconds.
pub(super) fn tolerance_ns(span: &Span) -> u64 {
    span.duration_ns() / OVERLAP_PARTS
}

impl Units {
    /// Takes a trace in place of the one before.
    pub(super) fn read(&mut self, traces: &Traces, trace: &Trace, names: &mut Names) {
        self.first = trace.first as usize;
        for numbers in [&mut self.entry_of, &mut self.call_of] {
            numbers.clear();
            numbers.resize(trace.spans().len(), NONE);
        }
        self.calls.clear();
        self.tops.clear();
        for span in trace.spans() {
            let waiting = traces.parent(span).filter(|_| !traces.spans()[span].is_consumer());
            self.tops.push(waiting.map_or(span, |parent| self.tops[parent - self.first]));
            self.place(traces, span, names);
        }
        self.calls.retain(|call| call.start_ns < traces.spans()[call.entry].end_ns);
        self.calls.sort_by_key(|call| (call.entry, call.start_ns, call.span));
        self.list_units(trace);
        self.rooms_ns.borrow_mut().clear();
        self.budget.set(REPLAYED_MIN.max(self.calls.len().saturating_mul(REPLAYS_MAX)));
    }

    fn place(&mut self, traces: &Traces, number: usize, names: &mut Names) {
        let (spans, at) = (traces.spans(), number - self.first);
        let span = &spans[number];
        let Some(parent) = traces.parent(number) else {
            self.entry_of[at] = number;
            return;
        };
        let (above, entry) = (self.call_of[parent - self.first], self.entry_of[parent - self.first]);
        if span.service != spans[parent].service || span.is_incoming() {
            self.entry_of[at] = number;
            if above != NONE {
                self.answer(traces, above, number, names);
            } else if !span.is_consumer() {
                self.call(traces, number, entry, names);
                let call = self.calls.len() - 1;
                self.answer(traces, call, number, names);
            }
            return;
        }
        self.entry_of[at] = entry;
        self.call_of[at] = above;
        if above == NONE && span.is_outgoing() {
            self.call_of[at] = self.calls.len();
            self.call(traces, number, entry, names);
        }
    }

    fn call(&mut self, traces: &Traces, number: usize, entry: usize, names: &mut Names) {
        let (span, texts) = (&traces.spans()[number], traces.texts());
        let named = if names.is_bare(texts, span.operation) { asked_for(traces, number) } else { None };
        let effect = match names.effect(texts, span.operation) {
            _ if span.is_producer() => Effect::Writes,
            Effect::Unknown if !span.statement.is_empty() => names.effect(texts, span.statement),
            effect => effect,
        };
        self.calls.push(Call {
            span: number,
            served: NONE,
            entry,
            key: CallKey {
                callee: span.peer,
                operation: names.shape(texts, named.unwrap_or(span.operation)),
                statement: names.shape(texts, span.statement),
            },
            start_ns: span.start_ns,
            end_ns: span.end_ns,
            failed: span.is_error(),
            effect,
            guards: names.guards(texts, span.operation),
        });
    }

    /// The callee's side of a call, the first one if there are several.
    fn answer(&mut self, traces: &Traces, call: usize, served: usize, names: &mut Names) {
        let texts = traces.texts();
        let (span, call) = (&traces.spans()[served], &mut self.calls[call]);
        if call.served != NONE {
            return;
        }
        call.served = served;
        call.key.callee = span.service;
        call.failed |= span.is_error();
        call.guards |= names.guards(texts, span.service);
        let asked = traces.spans()[call.span].operation;
        if names.is_bare(texts, asked) && !names.is_bare(texts, span.operation) {
            call.key.operation = names.shape(texts, span.operation);
        }
    }

    fn list_units(&mut self, trace: &Trace) {
        self.ranges.clear();
        let mut next = 0;
        for span in trace.spans() {
            if self.entry_of[span - self.first] != span {
                continue;
            }
            let from = next;
            while self.calls.get(next).is_some_and(|call| call.entry == span) {
                next += 1;
            }
            self.ranges.push((span, from, next));
        }
    }

    /// The units, in the order of their entries.
    pub(super) fn iter(&self) -> impl Iterator<Item = Unit<'_>> {
        self.ranges.iter().map(|(entry, from, to)| Unit { entry: *entry, calls: &self.calls[*from..*to] })
    }

    /// All calls of the trace.
    pub(super) fn calls(&self) -> &[Call] {
        &self.calls
    }

    /// The calls of units whose entries lie below a span, up to the last span below it.
    pub(super) fn calls_below(&self, span: usize, last: usize) -> &[Call] {
        let from = self.calls.partition_point(|call| call.entry <= span);
        let to = self.calls.partition_point(|call| call.entry <= last);
        &self.calls[from..to.max(from)]
    }

    /// The unit with this entry.
    pub(super) fn unit(&self, entry: usize) -> Option<Unit<'_>> {
        let place = self.ranges.binary_search_by_key(&entry, |range| range.0).ok()?;
        let (entry, from, to) = self.ranges[place];
        Some(Unit { entry, calls: &self.calls[from..to] })
    }

    /// The entry of the unit that a span belongs to.
    pub(super) fn entry_of(&self, span: usize) -> usize {
        self.entry_of[span - self.first]
    }

    /// How much sooner the request would end, at most, if this span took no time at all. The request is that of the root, or
    /// that of the message which began the work.
    pub(super) fn room_ns(&self, traces: &Traces, span: usize) -> u64 {
        let mut rooms = self.rooms_ns.borrow_mut();
        if rooms.is_empty() {
            *rooms = self.find_rooms(traces);
        }
        rooms.get(span - self.first).copied().unwrap_or(0)
    }

    /// The drag of every span, but for what frameworks record beside a call instead of above it: a span of the same
    /// service with nothing below it that is there before the call and ends with it does not hide the call.
    fn find_rooms(&self, traces: &Traces) -> Vec<u64> {
        let spans = &traces.spans()[self.first..self.first + self.tops.len()];
        // For each span the longest of its children that may be such a handler.
        let mut handlers: Vec<Option<&Span>> = vec![None; spans.len()];
        for (at, span) in spans.iter().enumerate().filter(|(_, span)| span.descendants == 0 && !span.is_outgoing()) {
            let Some(parent) = traces.parent(self.first + at) else { continue };
            let handler = &mut handlers[parent - self.first];
            if span.service == spans[parent - self.first].service
                && handler.is_none_or(|known| known.duration_ns() < span.duration_ns())
            {
                *handler = Some(span);
            }
        }
        let mut rooms: Vec<Room> = vec![Room::default(); spans.len()];
        let mut found: Vec<u64> = Vec::with_capacity(spans.len());
        for (at, span) in spans.iter().enumerate() {
            if self.tops[at] == self.first + at {
                for (room, below) in rooms[at..].iter_mut().zip(room::of(traces, self.first + at)) {
                    *room = below;
                }
                found.push(rooms[at].drag_ns);
                continue;
            }
            let parent = span.parent as usize - self.first;
            let (room, above) = (rooms[at], rooms[parent].drag_ns);
            let is_handled = |handler: &Span| {
                handler.start_ns <= span.start_ns
                    && handler.end_ns.abs_diff(span.end_ns) <= tolerance_ns(&spans[parent])
            };
            let hidden = room.drag_ns < above && !handlers[parent].is_some_and(is_handled);
            found.push(found[parent].min(if hidden { room.drag_ns } else { room.length_ns }));
        }
        found
    }

    /// The span that begins what someone waits for, above this one: a root, or the taking of a message.
    pub(super) fn top_of(&self, span: usize) -> usize {
        self.tops[span - self.first]
    }

    /// How much sooner the request would end if the unit's calls took what `change` says.
    ///
    /// Replay, as [`crate::critical_path::replay`] does it for the children of a span: a call begins as long as it did after the last one that had ended before it began, the unit ends as long
    /// as it did after its last call; all that ended before is waited for. A trace with very many findings in large units
    /// has only the first of them replayed, see [`REPLAYS_MAX`].
    pub(super) fn saved_ns(&self, traces: &Traces, unit: Unit<'_>, change: impl Fn(usize, &Call) -> Change) -> u64 {
        let (entry, calls) = (&traces.spans()[unit.entry], unit.calls);
        let tolerance = tolerance_ns(entry);
        let Some(left) = self.budget.get().checked_sub(calls.len()) else { return 0 };
        self.budget.set(left);
        let mut by_end: Vec<usize> = (0..calls.len()).collect();
        by_end.sort_by_key(|place| calls[*place].end_ns);
        let mut replayed: Vec<u64> = Vec::with_capacity(calls.len());
        // Of those that had ended: the last end as it was, and the last one of the replay.
        let (mut next, mut ended) = (0, None::<(u64, u64)>);
        let mut advance = |time: u64, replayed: &[u64]| {
            while let Some(place) = by_end.get(next).filter(|place| **place < replayed.len()) {
                let end = calls[*place].end_ns;
                if end > time.saturating_add(tolerance) {
                    break;
                }
                ended = Some((end, ended.map_or(0, |(_, latest)| latest).max(replayed[*place])));
                next += 1;
            }
            ended
        };
        for (place, call) in calls.iter().enumerate() {
            let change = change(place, call);
            let start = match (advance(call.start_ns, &replayed), change) {
                (Some((_, latest)), Change::Vanish) => latest,
                (Some((end, latest)), _) => latest.saturating_add(call.start_ns).saturating_sub(end),
                (None, _) => call.start_ns,
            };
            replayed.push(start.saturating_add(match change {
                Change::Keep => call.duration_ns(),
                Change::Shrink(duration) => duration.min(call.duration_ns()),
                Change::Vanish => 0,
            }));
        }
        let Some((end, latest)) = advance(entry.end_ns, &replayed) else { return 0 };
        end.saturating_sub(latest).min(self.room_ns(traces, unit.entry))
    }
}

/// What becomes of a call in a replay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    /// As it was.
    Keep,
    /// It takes so long, nanoseconds, and the caller does around it what it did.
    Shrink(u64),
    /// Neither it nor the pause before it.
    Vanish,
}

/// What a call asks for whose span is named by its method alone.
fn asked_for(traces: &Traces, span: usize) -> Option<Text> {
    ["url.template", "http.route", "url.path", "http.target", "url.full", "http.url"].iter().find_map(|key| {
        let key = traces.texts().find(key)?;
        let attribute = traces.attributes(span).iter().find(|attribute| attribute.key == key)?;
        match attribute.value {
            Scalar::Text(text) => Some(text),
            _ => None,
        }
    })
}
