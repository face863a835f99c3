//! Rollups: counts and durations by minute, so that overviews need not read rows.
//!
//! They are made from every row of the segment and never from a sample.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, LazyLock};

use foldhash::fast::RandomState;

use crate::segment::varint::{Input, put, put_signed};
use crate::table::{OperationCount, StrTable};

/// Nanoseconds in a minute.
pub const MINUTE_NS: u64 = 60_000_000_000;
/// Minutes that share a distribution of durations.
const DURATION_MINUTES: u64 = 10;
/// Relative error of a distribution's quantiles.
const RELATIVE_ERROR: f64 = 0.01;

/// What is counted for a span.
#[derive(Debug, Clone, Copy)]
pub struct Observation {
    /// Start in nanoseconds since the epoch.
    pub start: u64,
    /// Duration in nanoseconds.
    pub duration_ns: u64,
    /// Code of the service.
    pub service: u32,
    /// Code of the span's name.
    pub name: u32,
    /// OTLP span kind.
    pub kind: i32,
    /// OTLP status code.
    pub status: i32,
}

/// A call from one service to another: the caller's client span and the callee's span below it, or only the latter.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct EdgeTotals {
    /// Calls.
    pub calls: u64,
    /// Calls that the callee ended with an error.
    pub errors: u64,
    /// Time in the caller's spans.
    pub client_ns: u64,
    /// Time in the callee's spans.
    pub server_ns: u64,
}

type Operation = (u64, u32, u32, i32, i32);

/// Collects rollups while a segment is written.
#[derive(Debug, Default)]
pub struct Rollup {
    texts: StrTable,
    codes: HashMap<Box<str>, u32>,
    operations: HashMap<Operation, (u64, u64), RandomState>,
    /// By ten minutes, service, name, kind and bucket of the logarithm of the duration.
    durations: HashMap<(u64, u32, u32, i32, u32), u64, RandomState>,
    edges: BTreeMap<(u64, u32, u32), EdgeTotals>,
}

/// The bucket of a duration: DDSketch (Masson, Rim, Lee, 2019) with 1 % relative error; bucket 0 is zero.
pub fn duration_bucket(duration_ns: u64) -> u32 {
    if duration_ns == 0 {
        return 0;
    }
    static SCALE: LazyLock<f64> = LazyLock::new(|| ((1.0 + RELATIVE_ERROR) / (1.0 - RELATIVE_ERROR)).ln().recip());
    1 + ((duration_ns as f64).ln() * *SCALE).ceil() as u32
}

/// The duration that stands for a bucket, within 1 % of every duration in it.
pub fn bucket_duration_ns(bucket: u32) -> f64 {
    let gamma = (1.0 + RELATIVE_ERROR) / (1.0 - RELATIVE_ERROR);
    match bucket {
        0 => 0.0,
        bucket => 2.0 * gamma.powi(bucket as i32 - 1) / (gamma + 1.0),
    }
}

impl Rollup {
    /// The code of a service or span name.
    pub fn code(&mut self, text: &str) -> u32 {
        if let Some(code) = self.codes.get(text) {
            return *code;
        }
        let code = self.texts.push(text);
        self.codes.insert(text.into(), code);
        code
    }

    /// Counts a span.
    pub fn add(&mut self, span: &Observation) {
        let minute = span.start / MINUTE_NS;
        let key = (minute, span.service, span.name, span.kind, span.status);
        let count = self.operations.entry(key).or_default();
        count.0 += 1;
        count.1 = count.1.saturating_add(span.duration_ns);
        let bucket = duration_bucket(span.duration_ns);
        let key = (minute / DURATION_MINUTES, span.service, span.name, span.kind, bucket);
        *self.durations.entry(key).or_default() += 1;
    }

    /// Counts a call between services, given by their codes.
    pub fn add_edge(&mut self, start: u64, caller: u32, callee: u32, call: EdgeTotals) {
        let totals = self.edges.entry((start / MINUTE_NS, caller, callee)).or_default();
        totals.calls += call.calls;
        totals.errors += call.errors;
        totals.client_ns = totals.client_ns.saturating_add(call.client_ns);
        totals.server_ns = totals.server_ns.saturating_add(call.server_ns);
    }

    fn put_texts(&self, out: &mut Vec<u8>) {
        put(out, self.texts.len() as u64);
        for text in self.texts.iter() {
            put(out, text.len() as u64);
            out.extend_from_slice(text.as_bytes());
        }
    }

    /// The section of operations.
    pub fn operations_section(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.put_texts(&mut out);
        put(&mut out, self.operations.len() as u64);
        let mut last = 0u64;
        let sorted: BTreeMap<_, _> = self.operations.iter().collect();
        for ((minute, service, name, kind, status), (spans, duration_ns)) in sorted {
            put(&mut out, minute - last);
            last = *minute;
            put(&mut out, u64::from(*service));
            put(&mut out, u64::from(*name));
            put_signed(&mut out, i64::from(*kind));
            put_signed(&mut out, i64::from(*status));
            put(&mut out, *spans);
            put(&mut out, *duration_ns);
        }
        out
    }

    /// The section of duration distributions. Codes are those of the section of operations.
    pub fn durations_section(&self) -> Vec<u8> {
        let mut sorted: Vec<_> = self.durations.iter().collect();
        sorted.sort_unstable();
        let same = |a: &(&(u64, u32, u32, i32, u32), &u64), b: &(&(u64, u32, u32, i32, u32), &u64)| {
            (a.0.0, a.0.1, a.0.2, a.0.3) == (b.0.0, b.0.1, b.0.2, b.0.3)
        };
        let mut out = Vec::new();
        put(&mut out, sorted.chunk_by(same).count() as u64);
        for buckets in sorted.chunk_by(same) {
            let Some(((tens, service, name, kind, _), _)) = buckets.first() else { continue };
            put(&mut out, *tens);
            put(&mut out, u64::from(*service));
            put(&mut out, u64::from(*name));
            put_signed(&mut out, i64::from(*kind));
            put(&mut out, buckets.len() as u64);
            let mut last = 0;
            for ((.., bucket), count) in buckets {
                put(&mut out, u64::from(bucket - last));
                put(&mut out, **count);
                last = *bucket;
            }
        }
        out
    }

    /// The section of edges. Codes are those of the section of operations.
    pub fn edges_section(&self) -> Vec<u8> {
        let mut out = Vec::new();
        put(&mut out, self.edges.len() as u64);
        for ((minute, caller, callee), totals) in &self.edges {
            for number in [
                *minute,
                u64::from(*caller),
                u64::from(*callee),
                totals.calls,
                totals.errors,
                totals.client_ns,
                totals.server_ns,
            ] {
                put(&mut out, number);
            }
        }
        out
    }
}

/// Operations from their section.
pub fn read_operations(bytes: &[u8]) -> Option<Vec<OperationCount>> {
    let mut input = Input::new(bytes);
    let texts = read_texts(&mut input)?;
    let count = input.number()?;
    let mut minute = 0u64;
    let mut operations = Vec::new();
    for _ in 0..count {
        minute = minute.checked_add(input.number()?)?;
        operations.push(OperationCount {
            minute,
            service: texts.get(input.number32()? as usize)?.clone(),
            name: texts.get(input.number32()? as usize)?.clone(),
            kind: input.signed()? as i32,
            status: input.signed()? as i32,
            spans: input.number()?,
            duration_ns: input.number()?,
        });
    }
    Some(operations)
}

/// How long the spans of one operation took that started within ten minutes.
#[derive(Debug, Clone, PartialEq)]
pub struct DurationCounts {
    /// Start of the ten minutes, in minutes since the epoch.
    pub minute: u64,
    /// Service name.
    pub service: Arc<str>,
    /// Span name.
    pub name: Arc<str>,
    /// OTLP span kind.
    pub kind: i32,
    /// Bucket of the logarithm of the duration, and how many spans fell into it; ascending.
    pub buckets: Vec<(u32, u64)>,
}

impl DurationCounts {
    /// The duration in nanoseconds that a share `q` (0 to 1) of the spans did not exceed, within 1 %.
    pub fn quantile_ns(&self, q: f64) -> f64 {
        let spans: u64 = self.buckets.iter().map(|(_, spans)| spans).sum();
        let rank = (q.clamp(0.0, 1.0) * spans.saturating_sub(1) as f64).round() as u64;
        let mut below = 0;
        let holding = self.buckets.iter().find(|(_, spans)| {
            below += spans;
            below > rank
        });
        holding.map_or(0.0, |(bucket, _)| bucket_duration_ns(*bucket))
    }
}

/// Calls from one service to another in one minute.
#[derive(Debug, Clone, PartialEq)]
pub struct EdgeCount {
    /// Minutes since the epoch.
    pub minute: u64,
    /// Service that called.
    pub caller: Arc<str>,
    /// Service that was called.
    pub callee: Arc<str>,
    /// How often, how long.
    pub totals: EdgeTotals,
}

/// Durations from their section and that of operations.
pub fn read_durations(operations: &[u8], bytes: &[u8]) -> Option<Vec<DurationCounts>> {
    let texts = read_texts(&mut Input::new(operations))?;
    let mut input = Input::new(bytes);
    let count = input.number()?;
    let mut durations = Vec::new();
    for _ in 0..count {
        let minute = input.number()?.checked_mul(DURATION_MINUTES)?;
        let service = texts.get(input.number32()? as usize)?.clone();
        let name = texts.get(input.number32()? as usize)?.clone();
        let kind = input.signed()? as i32;
        let mut bucket = 0u32;
        let mut buckets = Vec::new();
        for _ in 0..input.number()? {
            bucket = bucket.checked_add(input.number32()?)?;
            buckets.push((bucket, input.number()?));
        }
        durations.push(DurationCounts { minute, service, name, kind, buckets });
    }
    Some(durations)
}

/// Edges from their section and that of operations.
pub fn read_edges(operations: &[u8], bytes: &[u8]) -> Option<Vec<EdgeCount>> {
    let texts = read_texts(&mut Input::new(operations))?;
    let mut input = Input::new(bytes);
    let count = input.number()?;
    let mut edges = Vec::new();
    for _ in 0..count {
        edges.push(EdgeCount {
            minute: input.number()?,
            caller: texts.get(input.number32()? as usize)?.clone(),
            callee: texts.get(input.number32()? as usize)?.clone(),
            totals: EdgeTotals {
                calls: input.number()?,
                errors: input.number()?,
                client_ns: input.number()?,
                server_ns: input.number()?,
            },
        });
    }
    Some(edges)
}

fn read_texts(input: &mut Input<'_>) -> Option<Vec<Arc<str>>> {
    let count = input.number()?;
    let mut texts = Vec::new();
    for _ in 0..count {
        let length = usize::try_from(input.number()?).ok()?;
        texts.push(Arc::from(std::str::from_utf8(input.take(length)?).ok()?));
    }
    Some(texts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_come_back_within_one_percent() {
        for duration in [1u64, 2, 3, 10, 999, 1_000_000, 3_600_000_000_000, u64::MAX / 2] {
            let back = bucket_duration_ns(duration_bucket(duration));
            assert!((back - duration as f64).abs() <= 0.010_001 * duration as f64, "{duration} became {back}");
        }
        assert_eq!(bucket_duration_ns(duration_bucket(0)), 0.0);
    }

    #[test]
    fn edges_come_back() {
        let mut rollup = Rollup::default();
        let (cart, stock) = (rollup.code("cart"), rollup.code("stock"));
        let call = EdgeTotals { calls: 1, errors: 1, client_ns: 9, server_ns: 5 };
        rollup.add_edge(3 * MINUTE_NS, cart, stock, call);
        rollup.add_edge(3 * MINUTE_NS, cart, stock, EdgeTotals { errors: 0, ..call });
        let edges = read_edges(&rollup.operations_section(), &rollup.edges_section()).expect("edges");
        let totals = EdgeTotals { calls: 2, errors: 1, client_ns: 18, server_ns: 10 };
        assert_eq!(edges, [EdgeCount { minute: 3, caller: "cart".into(), callee: "stock".into(), totals }]);
    }

    #[test]
    fn operations_come_back() {
        let mut rollup = Rollup::default();
        let (cart, get) = (rollup.code("cart"), rollup.code("GET"));
        let span = Observation { start: 5 * MINUTE_NS, duration_ns: 7, service: cart, name: get, kind: 2, status: 0 };
        rollup.add(&span);
        rollup.add(&span);
        rollup.add(&Observation { status: 2, ..span });
        let operations = read_operations(&rollup.operations_section()).expect("operations");
        let told: Vec<_> =
            operations.iter().map(|o| (o.minute, &*o.service, &*o.name, o.status, o.spans, o.duration_ns)).collect();
        assert_eq!(told, [(5, "cart", "GET", 0, 2, 14), (5, "cart", "GET", 2, 1, 7)]);
    }
}
