//! What two clocks say of the same call: the pairs of a caller's span and the span that it caused elsewhere.

use std::cmp::Ordering;
use std::collections::HashMap;

use foldhash::fast::RandomState;

use crate::{NO_SPAN, Span, Text, Traces};

/// The finest unit that can have a clock of its own: an instance of a service on a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Unit {
    pub service: Text,
    pub instance: Text,
    pub host: Text,
}

/// One call. The offset of the callee's clock against the caller's lies in `down..=up` if causality holds.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pair {
    /// When it began by the caller's clock, nanoseconds since the first.
    pub time: f64,
    /// Server start − client start: a server does not begin before it is asked.
    pub up: f64,
    /// Server end − client end: a client that waits does not end before its server has answered. Minus infinity where
    /// the client does not wait.
    pub down: f64,
    /// Server start − client end: a client that waits does not end before its server has begun.
    pub begun: f64,
}

/// All calls from one unit to another.
#[derive(Debug, Clone)]
pub(super) struct Edge {
    pub caller: usize,
    pub callee: usize,
    /// First of its pairs, which stand in order of time …
    pub first: usize,
    /// … and one past the last.
    pub end: usize,
    /// Of so many pairs one is looked at closely.
    pub stride: usize,
    /// False where the ends say nothing: the callers do not wait, or callees go on working after they have answered.
    pub waits: bool,
    /// How coarse the caller's clock is.
    pub caller_step: f64,
    /// How coarse the callee's clock is.
    pub callee_step: f64,
    /// Half the time that its quick calls spend between the two: what an offset cannot be known better than.
    pub half_delay: f64,
}

/// Units, edges and pairs of a set of traces.
#[derive(Debug, Default)]
pub(super) struct Pairs {
    pub units: Vec<Unit>,
    /// How many traces begin in a unit.
    pub roots: Vec<usize>,
    pub edges: Vec<Edge>,
    pub pairs: Vec<Pair>,
    /// Nanoseconds since the Unix epoch that times count from.
    pub base_ns: u64,
    /// Time of the last.
    end: f64,
}

/// The coarsest resolution of a clock that is looked for: what runtimes have whose wall clock is not a fine one.
const STEP_NS_MAX: u64 = 1_000_000;

/// Most pairs of an edge that are looked at closely: more do not make an offset any surer than a network allows.
const PAIRS_MAX: usize = 2_048;

/// Share of calls that may take longer in the callee than in the caller before "the caller waits" is not believed.
const IMPATIENT_SHARE_MAX: f64 = 0.05;

impl Pairs {
    pub(super) fn of(traces: &Traces) -> Self {
        let spans = traces.spans();
        let mut numbers: HashMap<Unit, usize, RandomState> = HashMap::default();
        let mut found = Self { base_ns: base(spans), ..Self::default() };
        let mut steps: Vec<u64> = Vec::new();
        let mut edges: HashMap<(u32, u32), u32, RandomState> = HashMap::default();
        let mut calls: Vec<(u32, Pair)> = Vec::with_capacity(spans.len() / 2);
        let mut of_span: Vec<u32> = Vec::with_capacity(spans.len());
        let mut last: Option<(Unit, usize)> = None;
        for span in spans {
            let unit = Unit { service: span.service, instance: span.instance, host: span.host };
            let number = match last {
                Some((same, number)) if same == unit => number,
                _ => *numbers.entry(unit).or_insert_with(|| {
                    found.units.push(unit);
                    found.roots.push(0);
                    steps.push(STEP_NS_MAX);
                    found.units.len() - 1
                }),
            };
            last = Some((unit, number));
            of_span.push(number as u32);
            if span.parent == NO_SPAN {
                found.roots[number] += usize::from(span.parent_id.is_none());
                narrow(&mut steps[number], span);
                continue;
            }
            let (parent, caller) = (&spans[span.parent as usize], of_span[span.parent as usize] as usize);
            if caller == number {
                continue;
            }
            narrow(&mut steps[number], span);
            if parent.timed && span.timed {
                let next = edges.len() as u32;
                let edge = *edges.entry((caller as u32, number as u32)).or_insert(next);
                calls.push((edge, pair(parent, span, found.base_ns)));
            }
        }
        found.sort(&edges, &calls);
        for edge in &mut found.edges {
            (edge.caller_step, edge.callee_step) = (steps[edge.caller] as f64, steps[edge.callee] as f64);
            edge.judge(&mut found.pairs[edge.first..edge.end]);
        }
        found.end = found.pairs.iter().map(|pair| pair.time).fold(0.0, f64::max);
        found
    }

    /// Puts calls in order of their edges, and of time within each.
    fn sort(&mut self, numbers: &HashMap<(u32, u32), u32, RandomState>, calls: &[(u32, Pair)]) {
        let mut order: Vec<((u32, u32), u32)> = numbers.iter().map(|(units, number)| (*units, *number)).collect();
        order.sort_unstable();
        let mut counts = vec![0; order.len()];
        calls.iter().for_each(|(edge, _)| counts[*edge as usize] += 1);
        let mut next = vec![0; order.len()];
        let mut first = 0;
        for ((caller, callee), number) in order {
            let (count, end) = (counts[number as usize], first + counts[number as usize]);
            self.edges.push(Edge {
                caller: caller as usize,
                callee: callee as usize,
                first,
                end,
                stride: count.div_ceil(PAIRS_MAX).max(1),
                waits: true,
                caller_step: 0.0,
                callee_step: 0.0,
                half_delay: f64::INFINITY,
            });
            next[number as usize] = first;
            first = end;
        }
        let none = Pair { time: 0.0, up: 0.0, down: 0.0, begun: 0.0 };
        self.pairs = vec![none; calls.len()];
        for (edge, pair) in calls {
            let place = &mut next[*edge as usize];
            self.pairs[*place] = *pair;
            *place += 1;
        }
        for edge in &self.edges {
            let pairs = &mut self.pairs[edge.first..edge.end];
            // Traces mostly come in order of time.
            if !pairs.is_sorted_by(|one, two| one.time <= two.time) {
                pairs.sort_unstable_by(|one, two| {
                    let order = |pair: &Pair| [pair.time, pair.up, pair.down, pair.begun];
                    order(one)
                        .iter()
                        .zip(&order(two))
                        .map(|(one, two)| one.total_cmp(two))
                        .find(|order| order.is_ne())
                        .unwrap_or(Ordering::Equal)
                });
            }
        }
    }

    /// The pairs of an edge that its statistics are made from: all of them, or every so many.
    pub(super) fn some_of_edge(&self, edge: &Edge) -> impl Iterator<Item = &Pair> + '_ {
        self.of_edge(edge).iter().step_by(edge.stride)
    }

    /// When the last of the calls began.
    pub(super) fn end(&self) -> f64 {
        self.end
    }

    pub(super) fn of_edge(&self, edge: &Edge) -> &[Pair] {
        &self.pairs[edge.first..edge.end]
    }
}

impl Edge {
    pub(super) fn len(&self) -> usize {
        self.end - self.first
    }

    /// Finds out whether the ends of the calls say anything, and how quick the quick ones are. Durations are known
    /// whatever the clocks show: a caller that waits takes at least as long as its callee.
    fn judge(&mut self, pairs: &mut [Pair]) {
        let tolerance = self.caller_step + self.callee_step;
        let mut between: Vec<f64> =
            pairs.iter().filter(|pair| pair.down.is_finite()).map(|pair| pair.up - pair.down).collect();
        let impatient = between.iter().filter(|between| **between < -tolerance).count();
        self.waits = !between.is_empty() && impatient as f64 <= IMPATIENT_SHARE_MAX * between.len() as f64;
        for pair in pairs {
            if !self.waits || pair.up - pair.down < -tolerance {
                (pair.down, pair.begun) = (f64::NEG_INFINITY, f64::NEG_INFINITY);
            }
        }
        if self.waits {
            let rank = between.len() / 10;
            let (_, quick, _) = between.select_nth_unstable_by(rank, f64::total_cmp);
            self.half_delay = quick.max(0.0) / 2.0;
        }
    }
}

fn base(spans: &[Span]) -> u64 {
    spans.iter().filter(|span| span.timed).map(|span| span.start_ns).min().unwrap_or(0)
}

/// A clock is as coarse as the largest power of ten that all starts of what was asked of it from outside are whole
/// multiples of: libraries take the wall clock there, and count on with a finer one.
fn narrow(step: &mut u64, span: &Span) {
    while *step > 1 && span.timed && !span.start_ns.is_multiple_of(*step) {
        *step /= 10;
    }
}

/// How much later `one` is than `other`.
pub(super) fn difference(one: u64, other: u64) -> f64 {
    if one >= other { (one - other) as f64 } else { -((other - one) as f64) }
}

fn pair(client: &Span, server: &Span, base_ns: u64) -> Pair {
    // A call that failed may have been given up by its caller while the callee went on.
    let waits = client.is_outgoing() && !client.is_producer() && !client.is_error() && !server.is_consumer();
    let bound = |value: f64| if waits { value } else { f64::NEG_INFINITY };
    Pair {
        time: difference(client.start_ns, base_ns),
        up: difference(server.start_ns, client.start_ns),
        down: bound(difference(server.end_ns, client.end_ns)),
        begun: bound(difference(server.start_ns, client.end_ns)),
    }
}
