//! Rollups: counts and durations by minute, so that overviews need not read rows.
//!
//! They are made from every row of the segment and never from a sample.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use foldhash::fast::RandomState;
use tracewell_model::sketch;

use super::hops::Hops;
use crate::segment::varint::{Input, put, put_signed};
use crate::table::{DurationCounts, HopCount, OperationCount, StrTable};

/// Nanoseconds in a minute.
pub const MINUTE_NS: u64 = 60_000_000_000;
/// Minutes that share a distribution of durations.
pub const DURATION_MINUTES: u64 = 10;

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

type Operation = (u64, u32, u32, i32, i32);

/// Collects rollups while a segment is written.
#[derive(Debug, Default)]
pub struct Rollup {
    texts: StrTable,
    codes: HashMap<Box<str>, u32>,
    operations: HashMap<Operation, (u64, u64), RandomState>,
    /// By ten minutes, service, name, kind and bucket of the logarithm of the duration.
    durations: HashMap<(u64, u32, u32, i32, u32), u64, RandomState>,
    /// Calls between services.
    pub hops: Hops,
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
        let bucket = sketch::bucket(span.duration_ns);
        let key = (minute / DURATION_MINUTES, span.service, span.name, span.kind, bucket);
        *self.durations.entry(key).or_default() += 1;
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

/// Calls from the section of edges that version 1 had, and that of operations: counts without distributions.
pub fn read_edges(operations: &[u8], bytes: &[u8]) -> Option<Vec<HopCount>> {
    let texts = read_texts(&mut Input::new(operations))?;
    let mut input = Input::new(bytes);
    let count = input.number()?;
    let mut edges = Vec::new();
    for _ in 0..count {
        edges.push(HopCount {
            minute: input.number()?,
            caller: texts.get(input.number32()? as usize)?.clone(),
            callee: texts.get(input.number32()? as usize)?.clone(),
            calls: input.number()?,
            errors: input.number()?,
            ..HopCount::default()
        });
        // Sums of time in the spans of either side.
        let _ = (input.number()?, input.number()?);
    }
    Some(edges)
}

pub(super) fn read_texts(input: &mut Input<'_>) -> Option<Vec<Arc<str>>> {
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
    fn edges_of_version_1_are_read() {
        let mut rollup = Rollup::default();
        let (cart, stock) = (rollup.code("cart"), rollup.code("stock"));
        let mut section = vec![1, 3, cart as u8, stock as u8];
        section.extend([2, 1, 18, 10]);
        let edges = read_edges(&rollup.operations_section(), &section).expect("edges");
        let told: Vec<_> = edges.iter().map(|edge| (&*edge.caller, &*edge.callee, edge.calls, edge.errors)).collect();
        assert_eq!((edges[0].minute, told), (3, vec![("cart", "stock", 2, 1)]));
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
