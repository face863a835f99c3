//! Times that were not sent, concluded from what was.
//!
//! **Input.** The spans of a trace, their parents, and the times of their events and logs. **What is missing.** A start of 0,
//! in a trace whose other times lie more than a year after the epoch (generated traces begin at 0). An end before the start:
//! not sent, or of a clock that was set back. A span that ends when it begins is taken at its word, unless what it waited for
//! went on while its own parent still ran: reporters without durations send that.
//!
//! **Algorithm.** From the leaves to the roots: a span began no later than its first child and its first event, and ended
//! no earlier than its last. Then from the roots to the leaves: what begins nowhere begins with its parent; an end is not
//! after that of the parent, if the span began before that; the called side of a call that says nothing of its end ends
//! with the calling side. What says nothing at all has no duration. A message does not last until it was handled: what a
//! producer's consumers do says nothing about its end.
//!
//! **Output.** Every span has a start and an end at or after it; [`Span::timed`] is false where one of them is concluded.
//! **Edge cases.** Without any time in the trace all starts are 0. On a cycle of parents only events, and the earliest
//! start, help. **Complexity.** Linear, and nothing but a look at each span where nothing is missing.

use tracewell_model::{Assembler, SpanId};

use super::{Log, Span};

/// Times before this are near the epoch: those of a generator, not of a clock. A year, in nanoseconds.
const NEAR_EPOCH_NS: u64 = 365 * 24 * 3600 * 1_000_000_000;

/// Memory for one trace after the other.
#[derive(Debug, Default)]
pub(super) struct Times {
    /// Spans from the leaves to the roots.
    upward: Vec<u32>,
    /// How many children of each span are still to come.
    waiting: Vec<u32>,
    /// Earliest and latest of what is known of each span, its events and what it waited for.
    known: Vec<Known>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Known {
    first_ns: Option<u64>,
    last_ns: Option<u64>,
    /// As far as what it waited for is concerned.
    below_ns: Option<u64>,
    no_start: bool,
    no_end: bool,
}

impl Known {
    fn add(&mut self, time_ns: u64) {
        self.first_ns = Some(self.first_ns.map_or(time_ns, |first_ns| first_ns.min(time_ns)));
        self.last_ns = self.last_ns.max(Some(time_ns));
    }
}

impl Times {
    /// Gives times to spans that were sent without.
    pub fn conclude(&mut self, spans: &mut [Span], tree: &Assembler, logs: &[(Option<SpanId>, Log)]) {
        let mut suspect = false;
        for span in spans.iter_mut() {
            span.timed = true;
            suspect |= span.start_ns == 0 || span.end_ns <= span.start_ns;
        }
        if !suspect {
            return;
        }
        let latest_ns = spans.iter().map(|span| span.start_ns.max(span.end_ns)).max().unwrap_or(0);
        let latest_ns = logs.iter().map(|(_, log)| log.time_ns).fold(latest_ns, u64::max);
        let by_clock = latest_ns > NEAR_EPOCH_NS;

        self.known.clear();
        self.known.extend(spans.iter().map(|span| {
            let no_start = by_clock && span.start_ns == 0;
            let no_end = span.end_ns < span.start_ns || (no_start && span.end_ns == 0);
            let mut known = Known { no_start, no_end, ..Known::default() };
            if !no_start {
                known.add(span.start_ns);
            }
            if !no_end {
                known.last_ns = known.last_ns.max(Some(span.end_ns));
            }
            known
        }));
        for (id, log) in logs.iter().filter(|(_, log)| log.time_ns != 0) {
            let holder = id.and_then(|id| tree.holders(id).find(|span| spans[*span].service == log.service));
            if let Some(known) = holder.map(|span| &mut self.known[span])
                && (known.no_start || known.no_end)
            {
                known.add(log.time_ns);
            }
        }
        self.sort_upward(spans, tree);
        let earliest_ns = self.known.iter().filter_map(|known| known.first_ns).min().unwrap_or(0);
        self.go_up(spans, tree);
        self.go_down(spans, tree, earliest_ns);
    }

    fn sort_upward(&mut self, spans: &[Span], tree: &Assembler) {
        self.waiting.clear();
        self.waiting.resize(spans.len(), 0);
        for parent in (0..spans.len()).filter_map(|span| tree.parent(span)) {
            self.waiting[parent] += 1;
        }
        self.upward.clear();
        self.upward.extend((0_u32..).zip(&self.waiting).filter(|(_, children)| **children == 0).map(|(span, _)| span));
        let mut next = 0;
        while let Some(span) = self.upward.get(next) {
            if let Some(parent) = tree.parent(*span as usize) {
                self.waiting[parent] -= 1;
                if self.waiting[parent] == 0 {
                    self.upward.push(parent as u32);
                }
            }
            next += 1;
        }
        // What is on a cycle comes last, in any order: nothing is concluded along it.
        let on_cycle = (0_u32..).zip(&self.waiting).filter(|(_, children)| **children > 0).map(|(span, _)| span);
        self.upward.extend(on_cycle);
    }

    fn go_up(&mut self, spans: &[Span], tree: &Assembler) {
        for span in &self.upward {
            let span = *span as usize;
            let Some(parent) = tree.parent(span) else { continue };
            if self.waiting[span] > 0 || (spans[parent].is_producer() && spans[span].is_incoming()) {
                continue;
            }
            let known = self.known[span];
            let above = &mut self.known[parent];
            above.below_ns = above.below_ns.max(known.last_ns);
            if above.no_start {
                above.first_ns = [above.first_ns, known.first_ns].into_iter().flatten().min();
            }
            // How long a span without a duration really went on counts for whoever is above it.
            if above.no_end || spans[parent].end_ns == spans[parent].start_ns {
                above.last_ns = above.last_ns.max(known.last_ns);
            }
        }
    }

    fn go_down(&self, spans: &mut [Span], tree: &Assembler, earliest_ns: u64) {
        for number in self.upward.iter().rev() {
            let number = *number as usize;
            let known = self.known[number];
            let mut span = spans[number];
            let parent = tree.parent(number).filter(|_| self.waiting[number] == 0).map(|parent| spans[parent]);
            if known.no_start {
                let start_ns = known.first_ns.or(parent.map(|parent| parent.start_ns)).unwrap_or(earliest_ns);
                span.start_ns = if known.no_end { start_ns } else { start_ns.min(span.end_ns) };
            }
            let bound_ns = parent.map(|parent| parent.end_ns).filter(|end_ns| *end_ns > span.start_ns);
            let other_half =
                parent.filter(|parent| span.is_incoming() && parent.is_outgoing() && !parent.is_producer());
            if known.no_end {
                let seen_ns = known.last_ns.filter(|last_ns| *last_ns > span.start_ns);
                let end_ns = seen_ns.or(other_half.map(|parent| parent.end_ns)).unwrap_or(span.start_ns);
                span.end_ns = end_ns.min(bound_ns.unwrap_or(u64::MAX)).max(span.start_ns);
            } else if span.end_ns == span.start_ns
                && let (Some(below_ns), Some(bound_ns)) = (known.below_ns, bound_ns)
                && below_ns > span.end_ns
            {
                span.end_ns = below_ns.min(bound_ns);
                span.timed = false;
            }
            span.timed &= !(known.no_start || known.no_end);
            spans[number] = span;
        }
    }
}
