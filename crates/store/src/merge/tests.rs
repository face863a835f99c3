//! What is merged is what was there: nothing lost, nothing changed, nothing twice, everything found.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use tracewell_model::{Event, KeyValue, Link, Resource, Scope, Span, SpanId, SpanRecord, Status, TraceId, Value};
use tracewell_wire::otlp::encode_traces;
use tracewell_wire::otlp::json::attributes_from_json;

use super::{Target, write};
use crate::cache::Cache;
use crate::head::Head;
use crate::segment::{GROUP_ROWS, Segment, SegmentMeta};
use crate::table::{AttrType, Chunk, DurationCounts, Field, HopCount, Signal, Source, TermPredicate, TraceSet};

const HOUR_NS: u64 = 3_600_000_000_000;

/// A small generator of numbers: the same seed gives the same spans.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    fn one_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }
}

fn trace(random: &mut Random, start: u64, spans: u64) -> Vec<SpanRecord> {
    let trace_id = TraceId(u128::from(random.next()).wrapping_mul(0x1_0000_0001_0000_0001).to_be_bytes());
    let user = format!("user-{:016x}", random.next());
    let mut records: Vec<SpanRecord> = Vec::new();
    for number in 0..spans {
        let service = format!("service-{}", random.below(7));
        let parent = match number {
            0 => None,
            _ if random.one_in(20) => Some(SpanId::from_u64(random.next() | 1)),
            _ => Some(records[random.below(number) as usize].span.span_id),
        };
        let mut attributes = vec![
            KeyValue::new("http.route", format!("/route/{}", random.below(12))),
            KeyValue::new("user.id", user.clone()),
            KeyValue::new("request.id", format!("{:032x}", random.next())),
            KeyValue::new("http.response.status_code", if random.one_in(30) { 500 } else { 200 }),
            KeyValue::new("ratio", random.below(1_000_000) as f64 / 7.0),
            KeyValue::new("size", random.next() as i64),
        ];
        if random.one_in(3) {
            attributes.push(KeyValue::new("cached", random.one_in(2)));
        }
        if random.one_in(50) {
            attributes.push(KeyValue::new("mixed", "text"));
        } else if random.one_in(50) {
            attributes.push(KeyValue::new("mixed", 7));
        }
        if random.one_in(40) {
            attributes.push(KeyValue::new("tags", Value::Array(vec!["a".into(), 1.into(), Value::Empty])));
            attributes.push(KeyValue::new("twice", "one"));
            attributes.push(KeyValue::new("twice", "two"));
        }
        if random.one_in(5_000) {
            attributes.push(KeyValue::new(format!("rare.{}", random.below(1_000)), "seldom"));
        }
        let span_start = start + number * 1_000 + random.below(900);
        let error = random.one_in(25);
        records.push(SpanRecord {
            resource: Arc::new(Resource {
                attributes: vec![
                    KeyValue::new("service.name", service),
                    KeyValue::new("host.name", format!("host-{}", random.below(3))),
                ],
                schema_url: "https://opentelemetry.io/schemas/1.44.0".to_owned(),
                ..Resource::default()
            }),
            scope: Arc::new(Scope { name: "lib".to_owned(), version: "1".to_owned(), ..Scope::default() }),
            span: Span {
                trace_id,
                span_id: SpanId::from_u64(random.next() | 1),
                parent_span_id: parent,
                trace_state: if random.one_in(10) { "a=1,b=2".to_owned() } else { String::new() },
                flags: if random.one_in(2) { 0x101 } else { 0 },
                name: format!("operation {}", random.below(9)),
                kind: random.below(6) as i32,
                start_unix_nano: span_start,
                end_unix_nano: span_start + random.below(1 << 34),
                attributes,
                dropped_attributes_count: u32::from(random.one_in(9)),
                events: if random.one_in(8) {
                    vec![Event { time_unix_nano: span_start, name: "e".to_owned(), ..Event::default() }; 2]
                } else {
                    Vec::new()
                },
                dropped_events_count: 0,
                links: if random.one_in(15) {
                    vec![Link { trace_id, span_id: SpanId::from_u64(9), flags: 1, ..Link::default() }]
                } else {
                    Vec::new()
                },
                dropped_links_count: u32::from(random.one_in(11)) * 3,
                status: Status {
                    code: if error { 2 } else { 0 },
                    message: if error { "it broke".to_owned() } else { String::new() },
                },
            },
        });
    }
    records
}

/// Duration distributions and edges of segments, against a count over all rows.
fn check_rollups(segments: &[Arc<Segment>], records: &[SpanRecord]) {
    let mut spans = 0;
    let mut slowest = 0f64;
    let mut calls = 0;
    for segment in segments {
        let mut visit = |counts: &DurationCounts| {
            spans += counts.buckets.iter().map(|(_, spans)| spans).sum::<u64>();
            slowest = slowest.max(counts.quantile_ns(1.0));
        };
        segment.durations(0..=u64::MAX, None, &mut visit).expect("durations");
        let mut visit = |hop: &HopCount| calls += if hop.caller.is_empty() { 0 } else { hop.calls };
        segment.hops(0..=u64::MAX, None, &mut visit).expect("hops");
    }
    assert_eq!(spans, records.len() as u64);
    let expected = records.iter().map(|record| record.span.duration_ns()).max().unwrap_or_default() as f64;
    assert!((slowest - expected).abs() <= 0.0101 * expected, "{slowest} for {expected}");

    let by_id: BTreeMap<SpanId, &SpanRecord> = records.iter().map(|record| (record.span.span_id, record)).collect();
    let crossing = records.iter().filter(|record| {
        let caller = record.span.parent_span_id.and_then(|parent| by_id.get(&parent));
        caller.is_some_and(|caller| {
            caller.resource.service_name() != record.resource.service_name()
                || (matches!(caller.span.kind, 3 | 4) && matches!(record.span.kind, 2 | 5))
        })
    });
    assert_eq!(calls, crossing.count() as u64);
}

fn head_of(records: &[SpanRecord]) -> Head {
    let head = Head::new(Signal::Traces);
    for batch in records.chunks(100) {
        let appended = head.append(&encode_traces(batch));
        assert_eq!((appended.rows, appended.skipped), (batch.len() as u64, 0));
    }
    head
}

fn merged(sources: &[Arc<dyn Source>], dir: &Path, next_id: &mut u64) -> (Vec<SegmentMeta>, Vec<Arc<dyn Source>>) {
    let cancelled = AtomicBool::new(false);
    let mut take = || {
        *next_id += 1;
        *next_id
    };
    let mut target = Target {
        dir,
        next_id: &mut take,
        tenant: "default",
        partition_ns: HOUR_NS,
        max_partitions: 4,
        max_rows: 1 << 24,
        wal_range: (1, 2),
        replaces: vec![],
        zstd_level: 1,
        cancelled: &cancelled,
    };
    let metas = write(sources, &mut target).expect("merge");
    let cache = Cache::new(64 << 20);
    let segments =
        metas.iter().map(|meta| Segment::open(dir, meta, &cache).expect("open") as Arc<dyn Source>).collect();
    (metas, segments)
}

/// The columns of a source, all chunks of them.
struct Columns {
    chunk_rows: u32,
    columns: BTreeMap<Field, Vec<Option<Arc<Chunk>>>>,
}

impl Columns {
    fn of(source: &dyn Source) -> Self {
        let chunks = source.rows().div_ceil(source.chunk_rows());
        let read = |field: &Field| (0..chunks).map(|chunk| source.chunk(field, chunk).expect("chunk")).collect();
        let columns = source.fields().into_iter().map(|field| (field.clone(), read(&field))).collect();
        Self { chunk_rows: source.chunk_rows(), columns }
    }

    fn at(&self, field: &Field, row: u32) -> Option<(&Chunk, usize)> {
        let chunk = self.columns.get(field)?.get((row / self.chunk_rows) as usize)?.as_ref()?;
        Some((chunk, (row % self.chunk_rows) as usize))
    }

    fn bits(&self, field: &Field, row: u32) -> Option<u64> {
        self.at(field, row).and_then(|(chunk, row)| chunk.bits(row))
    }

    fn text(&self, field: &Field, row: u32) -> Option<&str> {
        self.at(field, row).and_then(|(chunk, row)| chunk.text(row))
    }

    /// A row in words: every field, the parent by its id, attributes wherever they are kept.
    fn words(&self, row: u32) -> String {
        let parent = self.bits(&Field::ParentSpanId, row).or_else(|| {
            let distance = self.bits(&Field::ParentDistance, row)? as i64;
            self.bits(&Field::SpanId, (i64::from(row) - distance) as u32)
        });
        let mut words = format!("parent={parent:?}");
        let mut attributes = match self.text(&Field::Remainder, row) {
            Some(json) => attributes_from_json(json).expect("attributes"),
            None => Vec::new(),
        };
        for field in self.columns.keys() {
            match field {
                Field::ParentSpanId | Field::ParentDistance | Field::Remainder => {}
                Field::Attr { key, kind } => {
                    let value = match kind {
                        AttrType::Str => self.text(field, row).map(Value::from),
                        AttrType::Int => self.bits(field, row).map(|bits| Value::Int(bits as i64)),
                        AttrType::Double => self.bits(field, row).map(|bits| Value::Double(f64::from_bits(bits))),
                        AttrType::Bool => self.bits(field, row).map(|bits| Value::Bool(bits != 0)),
                    };
                    attributes.extend(value.map(|value| KeyValue { key: key.to_string(), value }));
                }
                _ => {
                    let text = self.text(field, row).map(str::to_owned);
                    if let Some(value) = text.or(self.bits(field, row).map(|bits| bits.to_string())) {
                        words += &format!(" {field}={value}");
                    }
                }
            }
        }
        let mut attributes: Vec<String> =
            attributes.iter().map(|attribute| format!("{}={:?}", attribute.key, attribute.value)).collect();
        attributes.sort();
        format!("{words} {}", attributes.join(" "))
    }
}

/// All rows by trace, each trace's rows as a sorted list.
fn content(sources: &[Arc<dyn Source>]) -> BTreeMap<TraceId, Vec<String>> {
    let mut traces: BTreeMap<TraceId, Vec<String>> = BTreeMap::new();
    for source in sources {
        let columns = Columns::of(source.as_ref());
        for number in 0..source.trace_blocks() {
            let block = source.trace_block(number).expect("trace block");
            for (entry, rows) in block.entries.iter().zip(&block.rows) {
                let held = traces.entry(entry.trace_id).or_default();
                held.extend(rows.iter().map(|row| columns.words(row)));
            }
        }
    }
    traces.values_mut().for_each(|rows| rows.sort());
    traces
}

/// Fails at the first trace that differs, showing only its first differing row.
fn assert_same(actual: &BTreeMap<TraceId, Vec<String>>, expected: &BTreeMap<TraceId, Vec<String>>) {
    assert_eq!(actual.len(), expected.len(), "traces");
    for (id, rows) in expected {
        let other = actual.get(id).map(Vec::as_slice).unwrap_or_default();
        assert_eq!(other.len(), rows.len(), "rows of {id}");
        for (actual, expected) in other.iter().zip(rows) {
            assert_eq!(actual, expected, "{id}");
        }
    }
}

fn operations(sources: &[Arc<dyn Source>]) -> BTreeMap<String, (u64, u64)> {
    let mut all = BTreeMap::<String, (u64, u64)>::new();
    for source in sources {
        let mut visit = |count: &crate::table::OperationCount| {
            let key = format!("{} {} {} {} {}", count.minute, count.service, count.name, count.kind, count.status);
            let total = all.entry(key).or_default();
            total.0 += count.spans;
            total.1 += count.duration_ns;
        };
        source.operations(0..=u64::MAX, &mut visit).expect("operations");
    }
    all
}

/// Traces that a predicate finds must be those that a look at every row finds, or more where the index says so.
fn check_postings(source: &dyn Source) {
    let columns = Columns::of(source);
    let texts = [
        Field::Name,
        Field::Service,
        Field::attr("http.route", AttrType::Str),
        Field::attr("user.id", AttrType::Str),
        Field::attr("request.id", AttrType::Str),
    ];
    for field in texts {
        for row in [0, source.rows() / 2, source.rows() - 1] {
            let wanted = columns.text(&field, row).expect("text").to_owned();
            let holders = (0..source.rows()).filter(|row| columns.text(&field, *row) == Some(&wanted));
            let expected: BTreeSet<u32> = holders.map(|row| source.ordinal_of_row(row).expect("ordinal")).collect();
            match source.postings(&field, &TermPredicate::Text(&wanted)).expect("postings") {
                TraceSet::All => assert!(!source.ordered(), "{field} = {wanted} is not narrowed"),
                TraceSet::Some { traces, exact } => {
                    let found: BTreeSet<u32> = traces.iter().collect();
                    assert!(found.is_superset(&expected), "{field} = {wanted}");
                    assert!(!exact || found == expected, "{field} = {wanted}");
                    assert!(found.len() <= source.trace_count() as usize / 2 || !exact || found == expected);
                }
            }
        }
        let nothing = source.postings(&field, &TermPredicate::Text("no such value")).expect("postings");
        match nothing {
            TraceSet::Some { traces, .. } => assert!(traces.len() * 10 <= u64::from(source.trace_count()), "{field}"),
            TraceSet::All => assert!(!source.ordered()),
        }
    }
}

#[test]
fn merging_keeps_every_field_of_every_row_and_finds_it_again() {
    let mut random = Random(1);
    let start = 500_000 * HOUR_NS;
    let mut records: Vec<SpanRecord> = Vec::new();
    for number in 0..3_000u64 {
        let spans = if number == 1_500 { u64::from(GROUP_ROWS) / 8 } else { 1 + random.below(30) };
        records.extend(trace(&mut random, start + number * 1_000_000_000, spans));
    }
    // Requests carry spans of many traces, and a trace's spans arrive in any order.
    for index in (1..records.len()).rev() {
        records.swap(index, random.below(index as u64 + 1) as usize);
    }
    let dir = tempfile::tempdir().expect("folder");
    let mut next_id = 0;
    let parts: Vec<Head> = records.chunks(records.len() / 3 + 1).map(head_of).collect();
    let whole = head_of(&records);
    let expected = content(&whole.sources());

    // One head, sealed.
    let (metas, sealed) = merged(&whole.sources(), dir.path(), &mut next_id);
    assert_eq!(metas.iter().map(|meta| meta.rows).sum::<u64>(), records.len() as u64);
    assert_eq!(metas.len(), 1, "3,000 seconds from the hour on lie in one partition");
    assert_same(&content(&sealed), &expected);
    assert_eq!(operations(&sealed), operations(&whole.sources()));
    let cache = Cache::new(1 << 20);
    let opened: Vec<_> = metas.iter().map(|meta| Segment::open(dir.path(), meta, &cache).expect("open")).collect();
    check_rollups(&opened, &records);

    // Three heads, sealed one by one, then compacted: split traces are joined.
    let mut segments = Vec::new();
    for part in &parts {
        let (_, opened) = merged(&part.sources(), dir.path(), &mut next_id);
        segments.extend(opened);
    }
    let (_, compacted) = merged(&segments, dir.path(), &mut next_id);
    assert_same(&content(&compacted), &expected);
    assert_eq!(operations(&compacted), operations(&whole.sources()));

    for source in [&compacted[0], &whole.sources()[0]] {
        check_postings(source.as_ref());
        assert_eq!(source.find_trace(&TraceId([7; 16])).expect("look-up"), None);
        for ordinal in (0..source.trace_count()).step_by(37) {
            let block = source.trace_block(source.block_of_ordinal(ordinal)).expect("block");
            let within = (ordinal - block.first_ordinal) as usize;
            let entry = &block.entries[within];
            assert_eq!(source.find_trace(&entry.trace_id).expect("look-up"), Some(ordinal));
            assert_eq!(block.rows[within].len(), entry.spans as usize);
            for row in block.rows[within].iter() {
                assert_eq!(source.ordinal_of_row(row).expect("ordinal"), ordinal);
            }
        }
    }

    // An index that is gone is made again as it was.
    let (metas, _) = merged(&segments, dir.path(), &mut next_id);
    let index = dir.path().join(metas[0].index_file());
    let original = std::fs::read(&index).expect("index");
    std::fs::remove_file(&index).expect("remove");
    let cache = Cache::new(1 << 20);
    Segment::open(dir.path(), &metas[0], &cache).expect("a segment without an index");
    assert!(std::fs::read(&index).expect("index") == original, "the index is not the one that was there");

    // The same rows once more: exact duplicates are dropped.
    let mut twice = compacted.clone();
    twice.extend(segments);
    let (_, once) = merged(&twice, dir.path(), &mut next_id);
    assert_same(&content(&once), &expected);
}

#[test]
fn postings_are_right_for_traces_that_reach_across_row_groups() {
    let mut records = Vec::new();
    for number in 0..u64::from(GROUP_ROWS) * 2 + 5_000 {
        let trace = number / 3_000 + 1;
        let status = if number % 700 == 0 { 500 } else { 200 };
        records.push(SpanRecord {
            span: Span {
                trace_id: TraceId(u128::from(trace).to_be_bytes()),
                span_id: SpanId::from_u64(number + 1),
                name: format!("operation {}", trace % 5),
                start_unix_nano: number,
                end_unix_nano: number + 1,
                attributes: vec![
                    KeyValue::new("http.response.status_code", status),
                    KeyValue::new("tags", Value::Array(Vec::new())),
                ],
                ..Span::default()
            },
            ..SpanRecord::default()
        });
    }
    let dir = tempfile::tempdir().expect("folder");
    let (_, segments) = merged(&head_of(&records).sources(), dir.path(), &mut 0);
    let segment = segments[0].as_ref();
    assert!(segment.rows() > 2 * GROUP_ROWS);
    let found = |field: &Field, predicate: TermPredicate<'_>| -> Vec<u32> {
        match segment.postings(field, &predicate).expect("postings") {
            TraceSet::Some { traces, exact: true } => traces.iter().collect(),
            other => panic!("{other:?}"),
        }
    };
    let all: Vec<u32> = (0..segment.trace_count()).collect();
    let status = Field::attr("http.response.status_code", AttrType::Int);
    assert_eq!(found(&status, TermPredicate::BitsWhere(&|bits| bits == 200)), all);
    let failed: BTreeSet<u32> =
        (0..records.len() as u32).filter(|number| number % 700 == 0).map(|number| number / 3_000).collect();
    assert_eq!(found(&status, TermPredicate::BitsWhere(&|bits| bits == 500)), failed.into_iter().collect::<Vec<_>>());
    assert_eq!(found(&status, TermPredicate::Exists), all);
    assert_eq!(found(&Field::Remainder, TermPredicate::Key("tags")), all);
    let first: Vec<u32> = all.iter().copied().filter(|ordinal| (ordinal + 1) % 5 == 1).collect();
    assert_eq!(found(&Field::Name, TermPredicate::Text("operation 1")), first);
}

#[test]
fn partitions_are_kept_apart_up_to_a_bound() {
    let mut random = Random(2);
    let mut records = Vec::new();
    for hour in [1u64, 1, 2, 2, 3, 900, 5_000, 70_000] {
        records.extend(trace(&mut random, hour * HOUR_NS, 5 + 20 / hour));
    }
    let dir = tempfile::tempdir().expect("folder");
    let head = head_of(&records);
    let (metas, segments) = merged(&head.sources(), dir.path(), &mut 0);
    assert_eq!(metas.len(), 4);
    assert_same(&content(&segments), &content(&head.sources()));
}

#[test]
fn damage_is_noticed_and_named() {
    let mut random = Random(3);
    let records: Vec<SpanRecord> = (0..200).flat_map(|number| trace(&mut random, number * 1_000_000, 10)).collect();
    let dir = tempfile::tempdir().expect("folder");
    let (metas, _) = merged(&head_of(&records).sources(), dir.path(), &mut 0);
    let meta = &metas[0];
    for file in [meta.data_file(), meta.index_file()] {
        let path = dir.path().join(&file);
        let whole = std::fs::read(&path).expect("file");
        let check = |bytes: &[u8], what: &str| {
            std::fs::write(&path, bytes).expect("write");
            let cache = Cache::new(1 << 20);
            let read = || -> Result<(), crate::table::SourceError> {
                let segment = Segment::open(dir.path(), meta, &cache)?;
                for field in segment.fields() {
                    for chunk in 0..segment.rows().div_ceil(segment.chunk_rows()) {
                        segment.chunk(&field, chunk)?;
                    }
                    segment.postings(&field, &TermPredicate::Text("GET"))?;
                    segment.postings(&field, &TermPredicate::BitsWhere(&|_| true))?;
                    segment.distinct(&field, &mut |_, _| true)?;
                }
                for block in 0..segment.trace_blocks() {
                    segment.trace_block(block)?;
                }
                segment.find_trace(&records[0].span.trace_id)?;
                segment.operations(0..=u64::MAX, &mut |_| {})
            };
            (read().map_err(|error| error.to_string()), what.to_owned())
        };
        assert_eq!(check(&whole, "whole").0, Ok(()));
        for cut in [0, 7, 100, whole.len() / 2, whole.len() - 1] {
            match check(&whole[..cut], "cut") {
                (Ok(()), _) => assert!(file.ends_with(".idx"), "a truncated file was read"),
                (Err(message), _) => assert!(message.contains(&file), "{message}"),
            }
        }
        // A flipped bit either lies where no reader looks (the trace id column, magic numbers in front, sections of
        // rollups that are not read yet) or is reported: it never becomes another value.
        let is_index = path.extension().is_some_and(|extension| extension == "idx");
        for _ in 0..300 {
            let mut flipped = whole.clone();
            let at = random.below(whole.len() as u64) as usize;
            flipped[at] ^= 1 << random.below(8);
            match check(&flipped, "flipped") {
                (Err(message), _) if is_index => panic!("an index is made again, not given up: {message}"),
                (Err(message), _) => assert!(message.contains(&file), "{message}"),
                (Ok(()), _) => {}
            }
        }
        std::fs::write(&path, &whole).expect("write");
    }
}
