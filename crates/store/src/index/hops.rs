//! Calls between services by minute: counted span by span, kept as a section of the index.
//!
//! ```text
//! section   texts   run   run   …          a run is sorted by minute, caller, callee; the same edge and minute may be
//! run       count   entry entry …           in several runs, and the reader adds them up
//! entry     minute  caller  callee  flags  calls errors unpaired  bytes │ sketch … sketch
//! sketch    sum  buckets  (first, then differences; each with its count where that is not 1)
//! ```
//!
//! Entries begin with their length, so that a reader passes over other minutes and services without decoding them.
//! What is held in memory while writing is bounded by [`OPEN_ENTRIES`]: traces come in order of their start, so that
//! an edge and minute is rarely in more than two runs.

use std::collections::{BTreeMap, HashMap};
use std::ops::RangeInclusive;
use std::sync::Arc;

use foldhash::fast::RandomState;
use tracewell_model::Sketch;
use tracewell_model::call::{self, Seen, TraceSpans};

use super::rollup::{MINUTE_NS, read_texts};
use crate::segment::varint::{Input, put, put_signed};
use crate::table::HopCount;

/// Edges and minutes that are counted at the same time; then a run is written.
const OPEN_ENTRIES: usize = 8_192;
/// Spans of a trace that are looked at together; what comes after has lost its parents.
const TRACE_SPANS: usize = 1 << 21;

/// Set for messages.
const ASYNC: u64 = 1;
/// Set where the callee's own time is all of its time, and so not written again.
const OWN_IS_ALL: u64 = 2;
/// The first of five bits, one for each sketch that has anything.
const PRESENT: u64 = 4;

/// What of a span is counted.
#[derive(Debug, Clone, Copy)]
pub struct HopSpan {
    /// Its id. Zipkin's shared spans have the same twice: the client's half and the server's.
    pub id: u64,
    /// Start, nanoseconds since the epoch.
    pub start_ns: u64,
    /// Duration in nanoseconds.
    pub duration_ns: u64,
    /// OTLP span kind.
    pub kind: i32,
    /// True when it ended with an error.
    pub is_error: bool,
    /// A number for its service.
    pub service: u32,
    /// Position of the parent in the trace, where it is there.
    pub parent: Option<u32>,
    /// True when it names a parent that is not there.
    pub is_orphan: bool,
}

/// The spans of one trace.
#[derive(Debug, Default)]
struct Spans(Vec<HopSpan>);

impl TraceSpans for Spans {
    fn len(&self) -> usize {
        self.0.len()
    }

    fn parent(&self, span: usize) -> Option<usize> {
        self.0[span].parent.map(|parent| parent as usize)
    }

    fn start_ns(&self, span: usize) -> u64 {
        self.0[span].start_ns
    }

    fn duration_ns(&self, span: usize) -> u64 {
        self.0[span].duration_ns
    }

    fn kind(&self, span: usize) -> i32 {
        self.0[span].kind
    }

    fn service(&self, span: usize) -> u32 {
        self.0[span].service
    }
}

/// Minute, caller, callee, asynchronous.
type Edge = (u64, u32, u32, bool);

/// Collects the calls of traces. Spans are handed in trace by trace.
#[derive(Debug, Default)]
pub struct Hops {
    trace: Spans,
    numbers: HashMap<Arc<str>, u32, RandomState>,
    names: Vec<Arc<str>>,
    open: HashMap<Edge, HopCount, RandomState>,
    /// Runs that are written already.
    runs: Vec<u8>,
}

impl Hops {
    /// The number of a service.
    pub fn service(&mut self, name: &str) -> u32 {
        if self.names.is_empty() {
            self.insert("");
        }
        self.numbers.get(name).copied().unwrap_or_else(|| self.insert(name))
    }

    fn insert(&mut self, name: &str) -> u32 {
        let (number, name) = (self.names.len() as u32, Arc::<str>::from(name));
        self.names.push(Arc::clone(&name));
        self.numbers.insert(name, number);
        number
    }

    /// Adds the next span of the trace under way; its position is the number of those before it.
    pub fn span(&mut self, span: HopSpan) {
        if self.trace.0.len() >= TRACE_SPANS {
            self.finish_trace();
        }
        self.trace.0.push(span);
    }

    /// How many spans the trace under way has so far.
    pub fn position(&self) -> usize {
        self.trace.0.len()
    }

    /// Counts the calls of the trace under way and begins another.
    pub fn finish_trace(&mut self) {
        if self.trace.0.is_empty() {
            return;
        }
        let nowhere = self.service("");
        resolve_shared(&mut self.trace.0);
        for call in call::calls(&self.trace) {
            let Some(callee) = call.callee.map(|callee| self.trace.0[callee]) else { continue };
            let caller = call.caller.map(|caller| self.trace.0[caller]);
            let began = caller.filter(|_| call.seen == Seen::Both).map_or(callee.start_ns, |caller| caller.start_ns);
            let key = (began / MINUTE_NS, caller.map_or(nowhere, |of| of.service), callee.service, call.is_async);
            let count = self.open.entry(key).or_default();
            count.calls += 1;
            count.errors += u64::from(callee.is_error);
            count.unpaired += u64::from(callee.is_orphan);
            let whole = |ns: u64| i64::try_from(ns).unwrap_or(i64::MAX);
            let parts =
                [call.request_ns, call.server_ns.map(whole), call.own_ns.map(whole), call.response_ns, call.queue_ns];
            for (sketch, value) in count.sketches_mut().into_iter().zip(parts) {
                value.into_iter().for_each(|value| sketch.add(value));
            }
        }
        self.trace.0.clear();
        if self.open.len() >= OPEN_ENTRIES {
            self.write_run();
        }
    }

    fn write_run(&mut self) {
        let sorted: BTreeMap<Edge, HopCount> = self.open.drain().collect();
        put(&mut self.runs, sorted.len() as u64);
        let mut last = 0;
        let mut body = Vec::new();
        for ((minute, caller, callee, is_async), count) in &sorted {
            body.clear();
            put_entry(&mut body, (*caller, *callee, *is_async), count);
            put(&mut self.runs, minute - last);
            put(&mut self.runs, body.len() as u64);
            self.runs.extend_from_slice(&body);
            last = *minute;
        }
    }

    /// The section.
    pub fn section(&mut self) -> Vec<u8> {
        self.finish_trace();
        if !self.open.is_empty() {
            self.write_run();
        }
        let mut out = Vec::new();
        put(&mut out, self.names.len() as u64);
        for name in &self.names {
            put(&mut out, name.len() as u64);
            out.extend_from_slice(name.as_bytes());
        }
        out.append(&mut self.runs);
        out
    }

    /// What was counted, without being written; in no order.
    pub fn counts(mut self) -> Vec<HopCount> {
        self.finish_trace();
        let section = self.section();
        let mut counts = Vec::new();
        // What was just written can be read.
        let _ = read(&section, 0..=u64::MAX, None, &mut |count| counts.push(count.clone()));
        counts
    }
}

/// Puts the server's half of a shared span below the client's, and what is below either below the server's.
fn resolve_shared(spans: &mut [HopSpan]) {
    let mut order: Vec<u32> = (0..spans.len() as u32).collect();
    order.sort_unstable_by_key(|at| (spans[*at as usize].id, *at));
    let is_kind = |span: &HopSpan, kinds: [i32; 2]| kinds.contains(&span.kind);
    let halves = |group: &[u32]| {
        let half = |kinds| group.iter().copied().find(|at| is_kind(&spans[*at as usize], kinds));
        half([3, 4]).zip(half([2, 5]))
    };
    let same = |a: &u32, b: &u32| spans[*a as usize].id == spans[*b as usize].id;
    let groups = order.chunk_by(same).filter(|group| group.len() > 1);
    let shared: Vec<(u32, u32)> = groups.filter_map(halves).collect();
    if shared.is_empty() {
        return;
    }
    let below: HashMap<u32, u32, RandomState> = shared.iter().copied().collect();
    for span in spans.iter_mut() {
        span.parent = span.parent.map(|parent| below.get(&parent).copied().unwrap_or(parent));
    }
    for (client, server) in shared {
        let server = &mut spans[server as usize];
        (server.parent, server.is_orphan) = (Some(client), false);
    }
}

fn put_entry(out: &mut Vec<u8>, (caller, callee, is_async): (u32, u32, bool), count: &HopCount) {
    let own_is_all = count.own == count.server;
    let sketches = count.sketches();
    let is_written = |at: usize| !(sketches[at].is_empty() || at == 2 && own_is_all);
    let mut flags = if is_async { ASYNC } else { 0 } | if own_is_all { OWN_IS_ALL } else { 0 };
    for at in (0..sketches.len()).filter(|at| is_written(*at)) {
        flags |= PRESENT << at;
    }
    for number in [u64::from(caller), u64::from(callee), flags, count.calls, count.errors, count.unpaired] {
        put(out, number);
    }
    for at in (0..sketches.len()).filter(|at| is_written(*at)) {
        put_sketch(out, sketches[at]);
    }
}

fn put_sketch(out: &mut Vec<u8>, sketch: &Sketch) {
    put_signed(out, sketch.sum());
    put(out, sketch.buckets().len() as u64);
    let mut last = i64::from(i16::MIN);
    for (bucket, count) in sketch.buckets() {
        // Most buckets of a minute hold a single call.
        let step = (i64::from(*bucket) - last) as u64;
        put(out, step << 1 | u64::from(*count != 1));
        if *count != 1 {
            put(out, *count);
        }
        last = i64::from(*bucket);
    }
}

fn read_sketch(input: &mut Input<'_>, sketch: &mut Sketch) -> Option<()> {
    let sum = input.signed()?;
    let buckets = input.number()?;
    let mut bucket = i64::from(i16::MIN);
    for number in 0..buckets {
        let step = input.number()?;
        bucket = bucket.checked_add(i64::try_from(step >> 1).ok()?)?;
        let count = if step & 1 == 1 { input.number()? } else { 1 };
        sketch.push(i16::try_from(bucket).ok()?, count, if number == 0 { sum } else { 0 });
    }
    Some(())
}

/// Calls `visit` with the entries of a section in some minutes, of calls from or to a service if one is named.
/// `None` when the section does not decode.
pub fn read(
    section: &[u8],
    minutes: RangeInclusive<u64>,
    service: Option<&str>,
    visit: &mut dyn FnMut(&HopCount),
) -> Option<()> {
    let mut input = Input::new(section);
    let names = read_texts(&mut input)?;
    let wanted = match service {
        Some(service) => match names.iter().position(|name| **name == *service) {
            Some(number) => Some(number as u64),
            None => return Some(()),
        },
        None => None,
    };
    let mut count = HopCount::default();
    while !input.rest().is_empty() {
        let entries = input.number()?;
        let mut minute = 0u64;
        for _ in 0..entries {
            minute = minute.checked_add(input.number()?)?;
            let length = usize::try_from(input.number()?).ok()?;
            let body = input.take(length)?;
            if !minutes.contains(&minute) {
                continue;
            }
            let mut body = Input::new(body);
            let (caller, callee) = (body.number()?, body.number()?);
            if wanted.is_some_and(|wanted| caller != wanted && callee != wanted) {
                continue;
            }
            let name = |number: u64| names.get(usize::try_from(number).ok()?).cloned();
            (count.minute, count.caller, count.callee) = (minute, name(caller)?, name(callee)?);
            read_body(&mut body, &mut count)?;
            visit(&count);
        }
    }
    Some(())
}

fn read_body(body: &mut Input<'_>, count: &mut HopCount) -> Option<()> {
    let flags = body.number()?;
    count.is_async = flags & ASYNC != 0;
    (count.calls, count.errors, count.unpaired) = (body.number()?, body.number()?, body.number()?);
    for (at, sketch) in count.sketches_mut().into_iter().enumerate() {
        sketch.clear();
        if flags & (PRESENT << at) != 0 {
            read_sketch(body, sketch)?;
        }
    }
    if flags & OWN_IS_ALL != 0 {
        count.own.clone_from(&count.server);
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(service: u32, kind: i32, parent: Option<u32>, start: u64, duration_ns: u64) -> HopSpan {
        let start_ns = 7 * MINUTE_NS + start;
        HopSpan { id: start, start_ns, duration_ns, kind, is_error: kind == 2, service, parent, is_orphan: false }
    }

    /// Edge, calls, errors, unpaired, medians of request, own and response.
    type Told = (String, u64, u64, u64, Option<f64>, Option<f64>, Option<f64>);

    fn told(section: &[u8], minutes: RangeInclusive<u64>, service: Option<&str>) -> Vec<Told> {
        let mut told = Vec::new();
        let found = read(section, minutes, service, &mut |count| {
            let edge = format!("{} {}→{}", count.minute, count.caller, count.callee);
            let [request, own, response] =
                [&count.request, &count.own, &count.response].map(|sketch| sketch.quantile(0.5).map(f64::round));
            told.push((edge, count.calls, count.errors, count.unpaired, request, own, response));
        });
        assert!(found.is_some(), "the section decodes");
        told
    }

    #[test]
    fn calls_come_back() {
        let mut hops = Hops::default();
        let (cart, stock) = (hops.service("cart"), hops.service("stock"));
        for _ in 0..3 {
            hops.span(span(cart, 2, None, 0, 100));
            hops.span(span(cart, 3, Some(0), 10, 60));
            hops.span(span(stock, 2, Some(1), 0, 40));
            hops.finish_trace();
        }
        hops.span(HopSpan { is_orphan: true, ..span(stock, 2, None, 0, 1) });
        let section = hops.section();
        let orphans = ("7 →stock".to_owned(), 1, 1, 1, None, Some(1.0), None);
        let entry = ("7 →cart".to_owned(), 3, 3, 0, None, Some(40.0), None);
        let call = ("7 cart→stock".to_owned(), 3, 3, 0, Some(-10.0), Some(40.0), Some(30.0));
        let mut all = told(&section, 0..=9, None);
        all.sort_by(|a, b| a.0.cmp(&b.0));
        assert_eq!(all, [call.clone(), entry.clone(), orphans.clone()].map(|told| told));
        assert_eq!(told(&section, 0..=9, Some("cart")).len(), 2);
        assert_eq!(told(&section, 0..=9, Some("nobody")), []);
        assert_eq!(told(&section, 8..=9, None), []);
    }

    #[test]
    fn the_halves_of_a_shared_span_are_a_call() {
        let mut hops = Hops::default();
        let (cart, stock) = (hops.service("cart"), hops.service("stock"));
        hops.span(HopSpan { id: 1, ..span(cart, 2, None, 0, 100) });
        hops.span(HopSpan { id: 2, ..span(cart, 3, Some(0), 10, 60) });
        hops.span(HopSpan { id: 2, ..span(stock, 2, Some(0), 30, 30) });
        hops.span(HopSpan { id: 3, ..span(stock, 3, Some(1), 35, 20) });
        let call = ("7 cart→stock".to_owned(), 1, 1, 0, Some(20.0), Some(10.0), Some(10.0));
        assert_eq!(told(&hops.section(), 0..=9, Some("stock")), [call]);
    }

    #[test]
    fn more_edges_than_are_counted_at_once_become_several_runs() {
        let mut hops = Hops::default();
        let callers: Vec<u32> = (0..200).map(|number| hops.service(&format!("caller-{number}"))).collect();
        for round in 0..2u64 {
            for minute in 0..60 {
                for caller in &callers {
                    let start = minute * MINUTE_NS + round;
                    hops.span(span(*caller, 2, None, start, 9));
                    hops.finish_trace();
                }
            }
        }
        let section = hops.section();
        let mut calls = 0;
        let mut entries = 0;
        let decoded = read(&section, 0..=u64::MAX, None, &mut |count| {
            calls += count.calls;
            entries += 1;
        });
        assert_eq!((decoded, calls), (Some(()), 24_000));
        assert!(entries >= 12_000, "{entries}");
    }

    #[test]
    fn a_section_cut_short_does_not_decode() {
        let mut hops = Hops::default();
        let cart = hops.service("cart");
        hops.span(span(cart, 2, None, 0, 100));
        let section = hops.section();
        for end in 1..section.len() {
            let cut = read(&section[..end], 0..=9, None, &mut |_| {});
            assert!(cut.is_none() || section[..end].len() == 1 + 1 + 1 + 4, "{end} of {}", section.len());
        }
    }
}
