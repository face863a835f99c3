//! Hits of single traces, put together to patterns of a set.

use std::collections::HashMap;

use foldhash::fast::RandomState;

use super::census::Census;
use super::names::{Names, Shape};
use super::unit::{Call, Units};
use super::{Edge, Example, Kind, Part, Pattern, Severity, Win, Within, words};
use crate::traces::{Text, Trace, Traces};

/// Spans of an example, examples of a pattern.
pub(super) const SPANS_MAX: usize = 8;
const EXAMPLES_MAX: usize = 3;

/// Parts of a pattern that are kept; a longer chain says no more.
const PARTS_MAX: usize = 64;

/// Patterns that are given, the gravest ones.
const PATTERNS_MAX: usize = 200;

/// What the request must gain for a pattern of time to be told at all, as a share of its time.
const SHARE_MIN: f64 = 0.01;

/// Shares of time and of calls from which a pattern is moderate, and major.
const TIME_MODERATE: f64 = 0.05;
const TIME_MAJOR: f64 = 0.2;
const CALLS_MODERATE: f64 = 0.01;
const CALLS_MAJOR: f64 = 0.1;

/// What a major pattern of time costs at least, nanoseconds, and a moderate one.
const MAJOR_NS: f64 = 10e6;
const MODERATE_NS: f64 = 1e6;

/// Where something is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Place {
    pub(super) kind: Kind,
    pub(super) service: Text,
    pub(super) operation: Shape,
    pub(super) caller: Text,
    pub(super) callee: Text,
    pub(super) statement: Shape,
    pub(super) within: (Text, Shape),
}

impl Place {
    /// Whether it is a hop rather than something that a service does by itself.
    pub(super) fn has_edge(&self) -> bool {
        !matches!(self.kind, Kind::SerialCalls | Kind::LockWait) && !self.callee.is_empty()
    }
}

/// What a place's traces are counted among.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Base {
    Work(Text, Shape),
    Hop(Text, Text, Shape),
    Service(Text),
}

/// One of the calls of a hit.
#[derive(Debug, Clone, Copy)]
pub(super) struct HitPart {
    pub(super) caller: Text,
    pub(super) callee: Text,
    pub(super) operation: Shape,
    pub(super) calls: usize,
    pub(super) calls_max: usize,
    pub(super) duration_ns: u64,
}

/// What was found in one unit of work.
#[derive(Debug, Clone)]
pub(super) struct Hit {
    pub(super) place: Place,
    /// The span whose request has to wait for it.
    pub(super) at: usize,
    pub(super) count: usize,
    pub(super) win_ns: u64,
    pub(super) wasted_ns: u64,
    /// Whether it is bad enough by itself; what is not counts for the rate.
    pub(super) grave: bool,
    pub(super) spans: Vec<usize>,
    pub(super) parts: Vec<HitPart>,
}

impl Hit {
    pub(super) fn new(place: Place, at: usize) -> Self {
        let (spans, parts) = (Vec::new(), Vec::new());
        Self { place, at, count: 1, win_ns: 0, wasted_ns: 0, grave: true, spans, parts }
    }
}

#[derive(Debug, Default)]
struct PartTally {
    traces: usize,
    weight: f64,
    calls: f64,
    calls_max: usize,
    duration_ns: f64,
    place: f64,
}

#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) traces: usize,
    pub(super) grave: usize,
    weight: f64,
    count: f64,
    count_max: usize,
    win_ns: f64,
    win_max_ns: u64,
    wasted_ns: f64,
    request_ns: f64,
    background: usize,
    parts: Vec<((Text, Text, Shape), PartTally)>,
    examples: Vec<Example>,
}

/// Puts hits together. Traces come one after the other: [`Collector::begin`], hits, [`Collector::end`].
#[derive(Debug, Default)]
pub(super) struct Collector {
    tallies: HashMap<Place, Tally, RandomState>,
    /// Traces and their weight, and the last trace that was counted.
    bases: HashMap<Base, (usize, f64, usize), RandomState>,
    hits: Vec<(Hit, u64, bool)>,
    current: Option<Trace>,
    number: usize,
    weight: f64,
}

impl Collector {
    /// A trace that was not there before.
    pub(super) fn begin(&mut self, traces: &Traces, trace: &Trace, units: &Units, names: &mut Names) {
        self.number += 1;
        self.current = Some(*trace);
        self.weight += trace.weight;
        let (spans, texts) = (traces.spans(), traces.texts());
        for unit in units.iter() {
            let span = &spans[unit.entry];
            self.count(Base::Service(span.service), trace.weight);
            let operation = names.shape(texts, span.operation);
            self.count(Base::Work(span.service, operation), trace.weight);
            for call in unit.calls {
                self.count(Base::Hop(span.service, call.key.callee, call.key.operation), trace.weight);
            }
        }
    }

    /// A trace that was, for more hits.
    pub(super) fn resume(&mut self, trace: &Trace) {
        self.current = Some(*trace);
    }

    fn count(&mut self, base: Base, weight: f64) {
        let entry = self.bases.entry(base).or_default();
        if entry.2 != self.number {
            *entry = (entry.0 + 1, entry.1 + weight, self.number);
        }
    }

    /// Takes a hit of the current trace.
    pub(super) fn hit(&mut self, traces: &Traces, units: &Units, hit: Hit) {
        let spans = traces.spans();
        let root = units.top_of(hit.at);
        // Nobody waits for a job (OTLP kind 1, internal) or a message.
        let background = spans[root].is_consumer() || spans[root].is_producer() || spans[root].kind == 1;
        self.hits.push((hit, spans[root].duration_ns(), background));
    }

    /// Ends the current trace.
    pub(super) fn end(&mut self, traces: &Traces) {
        let Some(trace) = self.current.take() else { return };
        let hits = std::mem::take(&mut self.hits);
        let mut merged: Vec<(Hit, u64, bool)> = Vec::new();
        let mut places: HashMap<Place, usize, RandomState> = HashMap::default();
        for (hit, request_ns, background) in hits {
            let Some(place) = places.get(&hit.place) else {
                places.insert(hit.place, merged.len());
                merged.push((hit, request_ns, background));
                continue;
            };
            let (known, known_request_ns, known_background) = &mut merged[*place];
            known.count += hit.count;
            known.win_ns = known.win_ns.saturating_add(hit.win_ns).min(request_ns.max(*known_request_ns));
            known.wasted_ns = known.wasted_ns.saturating_add(hit.wasted_ns);
            known.grave |= hit.grave;
            known.spans.extend(hit.spans);
            known.spans.truncate(SPANS_MAX);
            known.parts.extend(hit.parts);
            *known_request_ns = request_ns.max(*known_request_ns);
            *known_background &= background;
        }
        for (hit, request_ns, background) in merged {
            let example = Example {
                trace_id: trace.id.to_string(),
                span_ids: hit.spans.iter().map(|span| traces.spans()[*span].id.to_string()).collect(),
                count: hit.count,
                win_ns: hit.win_ns,
            };
            let tally = self.tallies.entry(hit.place).or_default();
            tally.add(trace.weight, &hit, request_ns, background);
            tally.example(example);
        }
    }

    /// How often every place occurred.
    pub(super) fn census(&self, traces: &Traces, names: &Names) -> Census {
        let mut census = Census::new(self.number as u64);
        for (base, (count, ..)) in &self.bases {
            census.base(traces, names, base, *count as u64);
        }
        for (place, tally) in &self.tallies {
            census.place(traces, names, place, tally);
        }
        census
    }

    /// All patterns, the gravest first.
    pub(super) fn patterns(&self, traces: &Traces, names: &Names) -> Vec<Pattern> {
        let mut patterns: Vec<Pattern> = Vec::new();
        for (place, tally) in &self.tallies {
            let base = self.bases.get(&base_of(place)).map_or((0, 0.0), |base| (base.0, base.1));
            patterns.extend(pattern(traces, names, place, tally, base, self.weight));
        }
        let key = |pattern: &Pattern| {
            let edge = pattern.edge.as_ref().map(|edge| (edge.caller.clone(), edge.callee.clone()));
            (pattern.kind, pattern.service.clone(), pattern.operation.clone(), edge, pattern.statement.clone())
        };
        patterns.sort_by(|a, b| {
            let gain = |pattern: &Pattern| if pattern.background { 0.0 } else { pattern.win.all_mean_ns };
            b.severity
                .cmp(&a.severity)
                .then_with(|| gain(b).total_cmp(&gain(a)))
                .then_with(|| b.share.total_cmp(&a.share))
                .then_with(|| key(a).cmp(&key(b)))
                .then_with(|| (&a.within.service, &a.within.operation).cmp(&(&b.within.service, &b.within.operation)))
        });
        patterns.truncate(PATTERNS_MAX);
        patterns
    }
}

/// Part of a hit from calls of one unit that ask for the same.
pub(super) fn part(caller: Text, call: &Call, calls: usize, duration_ns: u64) -> HitPart {
    let (callee, operation) = (call.key.callee, call.key.operation);
    HitPart { caller, callee, operation, calls, calls_max: calls, duration_ns }
}

fn base_of(place: &Place) -> Base {
    match place.kind {
        Kind::NPlusOne | Kind::SerialCalls | Kind::ChattyEdge => Base::Work(place.within.0, place.within.1),
        Kind::RetryStorm | Kind::SwallowedError | Kind::TimeoutInversion => {
            Base::Hop(place.caller, place.callee, place.operation)
        }
        Kind::Recursion | Kind::LockWait => Base::Service(place.service),
    }
}

impl Tally {
    fn add(&mut self, weight: f64, hit: &Hit, request_ns: u64, background: bool) {
        self.traces += 1;
        self.grave += usize::from(hit.grave);
        self.weight += weight;
        self.count += weight * hit.count as f64;
        self.count_max = self.count_max.max(hit.count);
        self.win_ns += weight * hit.win_ns as f64;
        self.win_max_ns = self.win_max_ns.max(hit.win_ns);
        self.wasted_ns += weight * hit.wasted_ns as f64;
        self.request_ns += weight * request_ns as f64;
        self.background += usize::from(background);
        let mut seen: Vec<usize> = Vec::new();
        for (order, part) in hit.parts.iter().enumerate() {
            let key = (part.caller, part.callee, part.operation);
            let place = match self.parts.iter().position(|known| known.0 == key) {
                Some(place) => place,
                None if self.parts.len() < PARTS_MAX => {
                    self.parts.push((key, PartTally::default()));
                    self.parts.len() - 1
                }
                None => continue,
            };
            let tally = &mut self.parts[place].1;
            if !seen.contains(&place) {
                seen.push(place);
                tally.traces += 1;
                tally.weight += weight;
                tally.place += weight * order as f64;
            }
            tally.calls += weight * part.calls as f64;
            tally.calls_max = tally.calls_max.max(part.calls_max);
            tally.duration_ns += weight * part.duration_ns as f64;
        }
    }

    fn per_trace(&self, sum: f64) -> f64 {
        if self.weight > 0.0 { sum / self.weight } else { 0.0 }
    }

    /// What would be won, among traces of this weight altogether.
    pub(super) fn win(&self, weight: f64) -> Win {
        Win {
            mean_ns: self.per_trace(self.win_ns),
            max_ns: self.win_max_ns,
            share: if self.request_ns > 0.0 { self.win_ns / self.request_ns } else { 0.0 },
            all_mean_ns: if weight > 0.0 { self.win_ns / weight } else { 0.0 },
        }
    }

    fn example(&mut self, example: Example) {
        let place =
            self.examples.partition_point(|known| (known.win_ns, known.count) >= (example.win_ns, example.count));
        if place < EXAMPLES_MAX {
            self.examples.insert(place, example);
            self.examples.truncate(EXAMPLES_MAX);
        }
    }
}

fn pattern(
    traces: &Traces,
    names: &Names,
    place: &Place,
    tally: &Tally,
    (of_traces, of_weight): (usize, f64),
    weight: f64,
) -> Option<Pattern> {
    let rate = wilson_lower(tally.traces, of_traces.max(tally.traces));
    if tally.grave == 0 && rate <= CALLS_MAJOR {
        return None;
    }
    let win = tally.win(weight);
    let background = tally.background == tally.traces;
    let is_of_time = matches!(place.kind, Kind::SerialCalls | Kind::LockWait);
    if is_of_time && win.share < SHARE_MIN {
        return None;
    }
    let (text, shown) = (|text| traces.text(text).to_owned(), |shape| names.shown(traces.texts(), shape));
    let mut pattern = Pattern {
        kind: place.kind,
        severity: severity(place.kind, rate, &win, background),
        service: text(place.service),
        operation: shown(place.operation),
        edge: place.has_edge().then(|| Edge { caller: text(place.caller), callee: text(place.callee) }),
        statement: Some(shown(place.statement)).filter(|statement| !statement.is_empty()),
        within: Within { service: text(place.within.0), operation: shown(place.within.1) },
        parts: parts(traces, names, place.kind, tally),
        traces: tally.traces,
        of_traces: of_traces.max(tally.traces),
        share: if of_weight > 0.0 { (tally.weight / of_weight).min(1.0) } else { 1.0 },
        count_mean: tally.per_trace(tally.count),
        count_max: tally.count_max,
        win,
        wasted_ns: tally.per_trace(tally.wasted_ns),
        background,
        examples: tally.examples.clone(),
        sentence: String::new(),
    };
    pattern.sentence = words::sentence(&pattern);
    Some(pattern)
}

/// The parts, in their usual order; of serial calls those that most traces have.
fn parts(traces: &Traces, names: &Names, kind: Kind, tally: &Tally) -> Vec<Part> {
    let usual = |part: &PartTally| kind != Kind::SerialCalls || part.weight * 2.0 >= tally.weight;
    let mut found: Vec<(f64, Part)> = Vec::new();
    for ((caller, callee, operation), part) in tally.parts.iter().filter(|part| usual(&part.1)) {
        let part = (
            part.place / part.weight.max(f64::MIN_POSITIVE),
            Part {
                caller: traces.text(*caller).to_owned(),
                callee: traces.text(*callee).to_owned(),
                operation: names.shown(traces.texts(), *operation),
                traces: part.traces,
                calls_mean: part.calls / part.weight.max(f64::MIN_POSITIVE),
                calls_max: part.calls_max,
                duration_ns: part.duration_ns / part.calls.max(f64::MIN_POSITIVE),
            },
        );
        found.push(part);
    }
    found.sort_by(|a, b| {
        a.0.total_cmp(&b.0).then_with(|| (&a.1.callee, &a.1.operation).cmp(&(&b.1.callee, &b.1.operation)))
    });
    found.into_iter().map(|part| part.1).collect()
}

fn severity(kind: Kind, rate: f64, win: &Win, background: bool) -> Severity {
    if background {
        return Severity::Minor;
    }
    let of_time = if win.share >= TIME_MAJOR && win.mean_ns >= MAJOR_NS {
        Severity::Major
    } else if win.share >= TIME_MODERATE && win.mean_ns >= MODERATE_NS {
        Severity::Moderate
    } else {
        Severity::Minor
    };
    let of_calls = match rate {
        rate if rate >= CALLS_MAJOR => Severity::Major,
        rate if rate >= CALLS_MODERATE => Severity::Moderate,
        _ => Severity::Minor,
    };
    match kind {
        Kind::RetryStorm | Kind::SwallowedError | Kind::TimeoutInversion => of_calls,
        _ => of_time.min(of_calls),
    }
}

/// The lower end of Wilson's 95 % interval of a share (Wilson, JASA 1927).
fn wilson_lower(hits: usize, of: usize) -> f64 {
    const Z: f64 = 1.959_964;
    if of == 0 {
        return 0.0;
    }
    let (n, p) = (of as f64, hits as f64 / of as f64);
    let middle = p + Z * Z / (2.0 * n);
    let spread = Z * (p * (1.0 - p) / n + Z * Z / (4.0 * n * n)).sqrt();
    ((middle - spread) / (1.0 + Z * Z / n)).max(0.0)
}
