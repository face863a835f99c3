//! What two clocks say of the same call: the pairs of a caller's span and the span that it caused elsewhere.

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

/// Share of calls that may take longer in the callee than in the caller before "the caller waits" is not believed.
const IMPATIENT_SHARE_MAX: f64 = 0.05;

impl Pairs {
    pub(super) fn of(traces: &Traces) -> Self {
        let spans = traces.spans();
        let mut numbers: HashMap<Unit, usize, RandomState> = HashMap::default();
        let mut found = Self { base_ns: base(spans), ..Self::default() };
        let mut steps: Vec<u64> = Vec::new();
        let mut calls: Vec<(u64, Pair)> = Vec::new();
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
                calls.push((((caller as u64) << 32) | number as u64, pair(parent, span, found.base_ns)));
            }
        }
        calls.sort_unstable_by(|one, two| one.0.cmp(&two.0).then(one.1.time.total_cmp(&two.1.time)));
        found.pairs = calls.iter().map(|(_, pair)| *pair).collect();
        found.end = found.pairs.iter().map(|pair| pair.time).fold(0.0, f64::max);
        let mut first = 0;
        for run in calls.chunk_by(|one, two| one.0 == two.0) {
            let (caller, callee) = ((run[0].0 >> 32) as usize, (run[0].0 & 0xffff_ffff) as usize);
            let (caller_step, callee_step) = (steps[caller] as f64, steps[callee] as f64);
            let mut edge = Edge {
                caller,
                callee,
                first,
                end: first + run.len(),
                waits: true,
                caller_step,
                callee_step,
                half_delay: f64::INFINITY,
            };
            edge.judge(&mut found.pairs[first..first + run.len()]);
            first = edge.end;
            found.edges.push(edge);
        }
        found
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

fn pair(client: &Span, server: &Span, base_ns: u64) -> Pair {
    let difference = |one: u64, two: u64| (i128::from(one) - i128::from(two)) as f64;
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
