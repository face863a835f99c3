//! One attribute of one operation: its values and the traces that show them.

use std::collections::HashMap;

use foldhash::fast::RandomState;

use super::Shown;
use crate::traces::{Scalar, Text, Texts};

/// Values that are told apart, at most; a column with more is looked at as numbers, or not at all.
const VALUES_MAX: usize = 4_096;
/// So many values, no two alike, are ids: the rest need not be seen.
const UNIQUE_MAX: usize = 512;
/// An id has more different values than this share of the traces that show it …
const ID_SHARE: f64 = 0.5;
/// … or its values are so evenly spread that fewer than this many traces share one.
const ID_TRACES_PER_VALUE: f64 = 3.0;
/// With fewer different values nothing is an id.
const ID_VALUES_MIN: usize = 8;
/// A number whose rank correlation with time is beyond this is a clock or a counter.
const CLOCK_CORRELATION: f64 = 0.9;
/// Traces from which that is told, at most.
const CLOCK_SAMPLE: usize = 1_000;

/// The type of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(in crate::outliers) enum Kind {
    Text,
    Bool,
    Int,
    Double,
}

/// A value, comparable by its bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(in crate::outliers) struct Value {
    pub(in crate::outliers) kind: Kind,
    pub(in crate::outliers) bits: u64,
}

impl Value {
    pub(super) fn new(scalar: Scalar) -> Self {
        let (kind, bits) = match scalar {
            Scalar::Text(text) => (Kind::Text, u64::from(text.0)),
            Scalar::Bool(value) => (Kind::Bool, u64::from(value)),
            Scalar::Int(value) => (Kind::Int, value as u64),
            Scalar::Double(value) => (Kind::Double, value.to_bits()),
        };
        Self { kind, bits }
    }

    pub(in crate::outliers) fn scalar(self) -> Scalar {
        match self.kind {
            Kind::Text => Scalar::Text(Text(self.bits as u32)),
            Kind::Bool => Scalar::Bool(self.bits != 0),
            Kind::Int => Scalar::Int(self.bits as i64),
            Kind::Double => Scalar::Double(f64::from_bits(self.bits)),
        }
    }

    /// As a number; `None` for texts, truth values and what is not finite.
    pub(super) fn number(self) -> Option<f64> {
        match self.scalar() {
            Scalar::Int(value) => Some(value as f64),
            Scalar::Double(value) => Some(value).filter(|value| value.is_finite()),
            Scalar::Text(_) | Scalar::Bool(_) => None,
        }
    }

    /// As people write it.
    pub(in crate::outliers) fn text(self, texts: &Texts) -> String {
        match self.scalar() {
            Scalar::Text(text) => texts.get(text).to_owned(),
            other => other.traceql(texts).to_string(),
        }
    }
}

/// What the numbers of a column are in a trace.
#[derive(Debug, Clone, Copy)]
pub(super) struct Extent {
    pub(super) trace: u32,
    pub(super) min: Value,
    pub(super) max: Value,
}

/// One attribute, of one type, of one operation.
#[derive(Debug)]
pub(super) struct Column {
    pub(super) key: Text,
    pub(super) kind: Kind,
    numbers: HashMap<u64, u32, RandomState>,
    pub(super) values: Vec<(Value, Shown)>,
    last: (u64, u32),
    /// How often a value was seen that the trace before did not show.
    sightings: usize,
    state: State,
    extents: Vec<Extent>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Values are told apart.
    Values,
    /// Too many values: only the extent of each trace is kept.
    Extents,
    /// Too many values that are no numbers: ids.
    Closed,
}

impl Column {
    pub(super) fn new(key: Text, kind: Kind) -> Self {
        Self {
            key,
            kind,
            numbers: HashMap::default(),
            values: Vec::new(),
            last: (0, u32::MAX),
            sightings: 0,
            state: State::Values,
            extents: Vec::new(),
        }
    }

    /// True when nothing that is pushed has an effect any more.
    pub(super) fn is_closed(&self) -> bool {
        self.state == State::Closed
    }

    /// Adds a value of a trace; traces come in order.
    pub(super) fn push(&mut self, trace: u32, value: Value) {
        match self.state {
            State::Closed => {}
            State::Extents => extend(&mut self.extents, trace, value),
            State::Values => self.push_value(trace, value),
        }
    }

    fn push_value(&mut self, trace: u32, value: Value) {
        if self.last.1 != u32::MAX && self.last.0 == value.bits {
            self.values[self.last.1 as usize].1.push(trace);
            return;
        }
        let next = self.values.len() as u32;
        let number = *self.numbers.entry(value.bits).or_insert(next);
        self.last = (value.bits, number);
        self.sightings += 1;
        if number < next {
            self.values[number as usize].1.push(trace);
            return;
        }
        let mut shown = Shown::default();
        shown.push(trace);
        self.values.push((value, shown));
        let values = self.values.len();
        if values > VALUES_MAX || (values == UNIQUE_MAX && self.sightings == values) {
            self.give_up_values();
        }
    }

    fn give_up_values(&mut self) {
        let values = std::mem::take(&mut self.values);
        self.numbers = HashMap::default();
        if !matches!(self.kind, Kind::Int | Kind::Double) {
            self.state = State::Closed;
            return;
        }
        self.state = State::Extents;
        self.extents = extents_of(&values);
    }

    /// The extents of its numbers in each trace, in order of the traces; empty where it has no numbers.
    pub(super) fn extents(&self) -> Vec<Extent> {
        match self.state {
            State::Extents => self.extents.clone(),
            State::Values if matches!(self.kind, Kind::Int | Kind::Double) => extents_of(&self.values),
            State::Values | State::Closed => Vec::new(),
        }
    }

    /// True when its values name single traces rather than kinds of traces: by the share of different values, and by
    /// entropy (the number of equally frequent values that would be as surprising).
    pub(super) fn is_id(&self) -> bool {
        if self.state != State::Values {
            return true;
        }
        let total: f64 = self.values.iter().map(|(_, shown)| shown.len() as f64).sum();
        let count = self.values.len();
        if count < ID_VALUES_MIN || total == 0.0 {
            return false;
        }
        let surprise = |share: f64| -share * share.ln();
        let entropy: f64 = self.values.iter().map(|(_, shown)| surprise(shown.len() as f64 / total)).sum();
        count as f64 > ID_SHARE * total || total / entropy.exp() < ID_TRACES_PER_VALUE
    }
}

fn extend(extents: &mut Vec<Extent>, trace: u32, value: Value) {
    let Some(number) = value.number() else { return };
    match extents.last_mut().filter(|extent| extent.trace == trace) {
        Some(extent) => {
            if extent.min.number().is_some_and(|min| number < min) {
                extent.min = value;
            }
            if extent.max.number().is_some_and(|max| number > max) {
                extent.max = value;
            }
        }
        None => extents.push(Extent { trace, min: value, max: value }),
    }
}

fn extents_of(values: &[(Value, Shown)]) -> Vec<Extent> {
    let mut pairs: Vec<(u32, Value)> =
        values.iter().flat_map(|(value, shown)| shown.iter().map(move |trace| (trace, *value))).collect();
    pairs.sort_unstable_by_key(|(trace, value)| (*trace, value.bits));
    let mut extents = Vec::new();
    for (trace, value) in pairs {
        extend(&mut extents, trace, value);
    }
    extents
}

/// True when numbers follow time: positions in an order, timestamps, counters.
pub(super) fn follows_time(extents: &[Extent], start_ns: impl Fn(u32) -> u64) -> bool {
    if extents.len() < 10 {
        return false;
    }
    let step = extents.len().div_ceil(CLOCK_SAMPLE);
    let sample: Vec<Extent> = extents.iter().step_by(step).copied().collect();
    let extents = &sample[..];
    let ranks = |key: &dyn Fn(&Extent) -> f64| {
        let mut order: Vec<usize> = (0..extents.len()).collect();
        order.sort_by(|a, b| key(&extents[*a]).total_cmp(&key(&extents[*b])));
        let mut ranks = vec![0.0; order.len()];
        let mut before = 0;
        for tied in order.chunk_by(|a, b| key(&extents[*a]) == key(&extents[*b])) {
            let middle = before as f64 + (tied.len() - 1) as f64 / 2.0;
            tied.iter().for_each(|at| ranks[*at] = middle);
            before += tied.len();
        }
        ranks
    };
    let times = ranks(&|extent| start_ns(extent.trace) as f64);
    let numbers = ranks(&|extent| extent.max.number().unwrap_or_default());
    correlation(&times, &numbers).abs() > CLOCK_CORRELATION
}

fn correlation(a: &[f64], b: &[f64]) -> f64 {
    let count = a.len() as f64;
    let (mean_a, mean_b) = (a.iter().sum::<f64>() / count, b.iter().sum::<f64>() / count);
    let (mut both, mut of_a, mut of_b) = (0.0, 0.0, 0.0);
    for (a, b) in a.iter().zip(b) {
        both += (a - mean_a) * (b - mean_b);
        of_a += (a - mean_a).powi(2);
        of_b += (b - mean_b).powi(2);
    }
    if of_a == 0.0 || of_b == 0.0 { 0.0 } else { both / (of_a * of_b).sqrt() }
}
