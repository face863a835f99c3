//! A block as a source: its rows as they were at one moment.

use std::collections::{BTreeMap, HashMap};
use std::ops::RangeInclusive;
use std::sync::{Arc, OnceLock};

use foldhash::fast::RandomState;
use parking_lot::RwLockReadGuard;
use roaring::RoaringBitmap;
use tracewell_model::{TraceId, sketch};

use super::SharedBlock;
use super::block::Block;
use crate::index::{DURATION_MINUTES, HopSpan, Hops};
use crate::table::{
    AttrType, Chunk, DurationCounts, Field, HopCount, NO_CODE, OperationCount, Rows, Signal, Source, SourceError,
    TermPredicate, TraceBlock, TraceEntry, TraceSet,
};

/// Nanoseconds in a minute.
const MINUTE_NS: u64 = 60_000_000_000;

/// Minute, service code, name code, kind and status.
type OperationKey = (u64, u32, u32, u64, u64);

/// The first rows of a block. The block may grow behind them.
pub struct BlockSource {
    block: SharedBlock,
    number: usize,
    signal: Signal,
    rows: u32,
    traces: u32,
    time_range: (u64, u64),
    trace_block: OnceLock<Arc<TraceBlock>>,
    operations: OnceLock<Vec<OperationCount>>,
    durations: OnceLock<Vec<DurationCounts>>,
    hops: OnceLock<Vec<HopCount>>,
}

impl BlockSource {
    /// The rows that are there now; `None` if there are none.
    pub fn new(block: SharedBlock, number: usize) -> Option<Self> {
        let (signal, rows, traces, time_range) = {
            let held = block.read();
            (held.signal, held.rows, held.traces.ids.len() as u32, (held.min_start, held.max_end))
        };
        (rows > 0).then(|| Self {
            block,
            number,
            signal,
            rows,
            traces,
            time_range,
            trace_block: OnceLock::new(),
            operations: OnceLock::new(),
            durations: OnceLock::new(),
            hops: OnceLock::new(),
        })
    }

    fn read(&self) -> RwLockReadGuard<'_, Block> {
        self.block.read()
    }

    fn build_trace_block(&self) -> TraceBlock {
        let block = self.read();
        let of_row = &block.traces.of_row[..self.rows as usize];
        let mut rows: Vec<Vec<u32>> = vec![Vec::new(); self.traces as usize];
        for (row, ordinal) in of_row.iter().enumerate() {
            rows[*ordinal as usize].push(row as u32);
        }
        let mut texts: HashMap<(bool, u32), Arc<str>> = HashMap::new();
        let mut text = |is_service: bool, code: u32| -> Arc<str> {
            let table =
                if is_service { Some(block.services.table()) } else { block.fixed.name.dict().map(|d| d.table()) };
            Arc::clone(
                texts.entry((is_service, code)).or_insert_with(|| Arc::from(table.map_or("", |table| table.get(code)))),
            )
        };
        // Rows that came after this source was made count in the block's statistics: a trace may look larger
        // here than its rows. Counting again keeps what is told consistent with what can be read.
        let starts = block.chunk(&Field::Start, self.rows as usize);
        let durations = block.chunk(&Field::Duration, self.rows as usize);
        let is_error = errors_by_row(&block, self.rows as usize);
        let bits = |chunk: &Option<Chunk>, row: u32| chunk.as_ref().and_then(|chunk| chunk.bits(row as usize));
        let entries = rows
            .iter()
            .enumerate()
            .map(|(ordinal, rows)| {
                let stats = &block.traces.stats[ordinal];
                let (mut start, mut end, mut errors) = (u64::MAX, 0, 0);
                for row in rows {
                    let from = bits(&starts, *row).unwrap_or_default();
                    start = start.min(from);
                    end = end.max(from.wrapping_add(bits(&durations, *row).unwrap_or_default()));
                    errors += u32::from(is_error[*row as usize]);
                }
                TraceEntry {
                    trace_id: block.traces.ids[ordinal],
                    start,
                    end,
                    spans: rows.len() as u32,
                    errors,
                    root: stats.root.map(|(_, service, name)| (text(true, service), text(false, name))),
                }
            })
            .collect();
        TraceBlock { first_ordinal: 0, entries, rows: rows.into_iter().map(Rows::List).collect() }
    }

    fn build_operations(&self) -> Vec<OperationCount> {
        let block = self.read();
        let columns = Columns::new(&block, self.rows as usize);
        let mut counts: HashMap<OperationKey, (u64, u64)> = HashMap::new();
        for row in 0..self.rows as usize {
            let key = (
                columns.bits(&columns.start, row) / MINUTE_NS,
                columns.code(&columns.service, row),
                columns.code(&columns.name, row),
                columns.bits(&columns.kind, row),
                columns.bits(&columns.status, row),
            );
            let count = counts.entry(key).or_default();
            count.0 += 1;
            count.1 = count.1.saturating_add(columns.duration_ns(row));
        }
        counts
            .into_iter()
            .map(|((minute, service, name, kind, status), (spans, duration_ns))| OperationCount {
                minute,
                service: columns.text(&columns.service, service),
                name: columns.text(&columns.name, name),
                kind: kind as i64 as i32,
                status: status as i64 as i32,
                spans,
                duration_ns,
            })
            .collect()
    }

    /// Durations by operation and ten minutes.
    fn build_durations(&self) -> Vec<DurationCounts> {
        let block = self.read();
        let columns = Columns::new(&block, self.rows as usize);
        let mut counts: HashMap<(u64, u32, u32, u64), BTreeMap<u32, u64>> = HashMap::new();
        for row in 0..self.rows as usize {
            let tens = columns.bits(&columns.start, row) / MINUTE_NS / DURATION_MINUTES;
            let service = columns.code(&columns.service, row);
            let key = (tens, service, columns.code(&columns.name, row), columns.bits(&columns.kind, row));
            *counts.entry(key).or_default().entry(sketch::bucket(columns.duration_ns(row))).or_default() += 1;
        }
        counts
            .into_iter()
            .map(|((tens, service, name, kind), buckets)| DurationCounts {
                minute: tens * DURATION_MINUTES,
                service: columns.text(&columns.service, service),
                name: columns.text(&columns.name, name),
                kind: kind as i64 as i32,
                buckets: buckets.into_iter().collect(),
            })
            .collect()
    }

    /// Calls between services, of each trace as far as it is in this block.
    fn build_hops(&self) -> Vec<HopCount> {
        let traces = Arc::clone(self.trace_block.get_or_init(|| Arc::new(self.build_trace_block())));
        let block = self.read();
        let columns = Columns::new(&block, self.rows as usize);
        let (ids, parents) =
            (block.chunk(&Field::SpanId, self.rows as usize), block.chunk(&Field::ParentSpanId, self.rows as usize));
        let id = |chunk: &Option<Chunk>, row: usize| chunk.as_ref().and_then(|chunk| chunk.bits(row));
        let mut hops = Hops::default();
        let services: Vec<u32> = match &columns.service {
            Some(Chunk::Str { dict, .. }) => (0..dict.len() as u32).map(|code| hops.service(dict.get(code))).collect(),
            _ => Vec::new(),
        };
        let none = hops.service("");
        let mut positions: HashMap<u64, u32, RandomState> = HashMap::default();
        for rows in &traces.rows {
            positions.clear();
            // In the order in which they are merged.
            let mut rows: Vec<usize> = rows.iter().map(|row| row as usize).collect();
            rows.sort_by_key(|row| (columns.bits(&columns.start, *row), id(&ids, *row)));
            for (position, row) in rows.iter().enumerate() {
                positions.entry(id(&ids, *row).unwrap_or_default()).or_insert(position as u32);
            }
            for row in rows {
                let parent = id(&parents, row);
                let found = parent.and_then(|parent| positions.get(&parent).copied());
                let service = services.get(columns.code(&columns.service, row) as usize);
                hops.span(HopSpan {
                    id: id(&ids, row).unwrap_or_default(),
                    start_ns: columns.bits(&columns.start, row),
                    duration_ns: columns.duration_ns(row),
                    kind: columns.bits(&columns.kind, row) as i64 as i32,
                    is_error: columns.bits(&columns.status, row) == 2,
                    service: service.copied().unwrap_or(none),
                    parent: found,
                    is_orphan: parent.is_some() && found.is_none(),
                });
            }
            hops.finish_trace();
        }
        hops.counts()
    }

    /// For each value among those of the rows, how many traces hold it.
    fn trace_counts(&self, values: impl Iterator<Item = Option<u64>>) -> BTreeMap<u64, u64> {
        let block = self.read();
        let mut pairs: Vec<(u64, u32)> = values
            .zip(&block.traces.of_row)
            .filter_map(|(value, ordinal)| value.map(|value| (value, *ordinal)))
            .collect();
        pairs.sort_unstable();
        pairs.dedup();
        let mut counts = BTreeMap::new();
        pairs.iter().for_each(|(value, _)| *counts.entry(*value).or_default() += 1);
        counts
    }
}

/// Whether each row is an error: by status for spans, by severity for log records.
fn errors_by_row(block: &Block, rows: usize) -> Vec<bool> {
    let mut errors = vec![false; rows];
    let (field, least) = match block.signal {
        Signal::Traces => (Field::StatusCode, 2),
        Signal::Logs => (Field::SeverityNumber, 17),
    };
    if let Some(chunk) = block.chunk(&field, rows) {
        for (row, error) in errors.iter_mut().enumerate() {
            *error = chunk.bits(row).is_some_and(|bits| match block.signal {
                Signal::Traces => bits == least,
                Signal::Logs => bits as i64 >= least as i64,
            });
        }
    }
    errors
}

impl Source for BlockSource {
    fn signal(&self) -> Signal {
        self.signal
    }

    fn name(&self) -> String {
        format!("head block {}", self.number)
    }

    fn rows(&self) -> u32 {
        self.rows
    }

    fn chunk_rows(&self) -> u32 {
        super::block::BLOCK_ROWS
    }

    fn time_range(&self) -> (u64, u64) {
        self.time_range
    }

    fn trace_count(&self) -> u32 {
        self.traces
    }

    fn ordered(&self) -> bool {
        false
    }

    fn trace_blocks(&self) -> u32 {
        1
    }

    fn trace_block(&self, _index: u32) -> Result<Arc<TraceBlock>, SourceError> {
        Ok(Arc::clone(self.trace_block.get_or_init(|| Arc::new(self.build_trace_block()))))
    }

    fn block_of_ordinal(&self, _ordinal: u32) -> u32 {
        0
    }

    fn ordinal_of_row(&self, row: u32) -> Result<u32, SourceError> {
        Ok(self.read().traces.of_row.get(row as usize).copied().unwrap_or_default())
    }

    fn find_trace(&self, trace_id: &TraceId) -> Result<Option<u32>, SourceError> {
        Ok(self.read().traces.find(trace_id).filter(|ordinal| *ordinal < self.traces))
    }

    fn fields(&self) -> Vec<Field> {
        let block = self.read();
        let fixed = block.fixed.all();
        let fixed = fixed.into_iter().filter(|(_, column)| column.len() > 0).map(|(field, _)| field);
        let attributes = block
            .attributes
            .iter()
            .map(|attribute| Field::Attr { key: Arc::clone(&attribute.key), kind: attribute.kind });
        fixed.chain([Field::Service]).chain(attributes).collect()
    }

    fn attributes(&self) -> Vec<(Arc<str>, AttrType, u64)> {
        let block = self.read();
        block
            .attributes
            .iter()
            .map(|attribute| (Arc::clone(&attribute.key), attribute.kind, attribute.column.len() as u64))
            .collect()
    }

    fn has_remainder(&self) -> bool {
        self.read().fixed.remainder.len() > 0
    }

    fn chunk(&self, field: &Field, index: u32) -> Result<Option<Arc<Chunk>>, SourceError> {
        if index > 0 {
            return Ok(None);
        }
        Ok(self.read().chunk(field, self.rows as usize).map(Arc::new))
    }

    fn postings(&self, field: &Field, predicate: &TermPredicate<'_>) -> Result<TraceSet, SourceError> {
        let none = TraceSet::Some { traces: RoaringBitmap::new(), exact: true };
        let block = self.read();
        if *field == Field::Service {
            if let TermPredicate::Text(text) = predicate
                && block.services.is_complete()
                && block.services.find(text.as_bytes()).is_none()
            {
                return Ok(none);
            }
            return Ok(TraceSet::All);
        }
        let Some(column) = block.column(field).filter(|column| column.len() > 0) else { return Ok(none) };
        if let (TermPredicate::Text(text), Some(dict)) = (predicate, column.dict())
            && dict.is_complete()
            && dict.find(text.as_bytes()).is_none()
        {
            return Ok(none);
        }
        Ok(TraceSet::All)
    }

    fn distinct(&self, field: &Field, visit: &mut dyn FnMut(&str, u64) -> bool) -> Result<bool, SourceError> {
        let Some(chunk) = self.chunk(field, 0)? else { return Ok(true) };
        let (counts, text): (_, Box<dyn Fn(u64) -> String>) = match &*chunk {
            Chunk::Str { codes, dict } => {
                let held = codes.iter().map(|code| (*code != NO_CODE).then_some(u64::from(*code)));
                (self.trace_counts(held), Box::new(|code| dict.get(code as u32).to_owned()))
            }
            Chunk::Num { .. } => {
                let held = (0..chunk.len()).map(|row| chunk.bits(row));
                (self.trace_counts(held), Box::new(|bits| field.bits_text(bits)))
            }
        };
        for (value, traces) in counts {
            if !visit(&text(value), traces) {
                break;
            }
        }
        Ok(true)
    }

    fn operations(
        &self,
        minutes: RangeInclusive<u64>,
        visit: &mut dyn FnMut(&OperationCount),
    ) -> Result<(), SourceError> {
        let operations = self.operations.get_or_init(|| self.build_operations());
        operations.iter().filter(|count| minutes.contains(&count.minute)).for_each(visit);
        Ok(())
    }

    fn durations(
        &self,
        minutes: RangeInclusive<u64>,
        service: Option<&str>,
        visit: &mut dyn FnMut(&DurationCounts),
    ) -> Result<(), SourceError> {
        let durations = self.durations.get_or_init(|| self.build_durations());
        let touches = |counts: &&DurationCounts| {
            counts.minute <= *minutes.end() && counts.minute.saturating_add(DURATION_MINUTES) > *minutes.start()
        };
        let is_of = |counts: &&DurationCounts| service.is_none_or(|service| *counts.service == *service);
        durations.iter().filter(touches).filter(is_of).for_each(visit);
        Ok(())
    }

    fn hops(
        &self,
        minutes: RangeInclusive<u64>,
        service: Option<&str>,
        visit: &mut dyn FnMut(&HopCount),
    ) -> Result<(), SourceError> {
        let hops = self.hops.get_or_init(|| self.build_hops());
        let is_of =
            |count: &&HopCount| service.is_none_or(|service| *count.caller == *service || *count.callee == *service);
        hops.iter().filter(|count| minutes.contains(&count.minute)).filter(is_of).for_each(visit);
        Ok(())
    }
}

/// The columns that rollups count.
struct Columns {
    start: Option<Chunk>,
    duration: Option<Chunk>,
    kind: Option<Chunk>,
    status: Option<Chunk>,
    service: Option<Chunk>,
    name: Option<Chunk>,
}

impl Columns {
    fn new(block: &Block, rows: usize) -> Self {
        let chunk = |field| block.chunk(&field, rows);
        Self {
            start: chunk(Field::Start),
            duration: chunk(Field::Duration),
            kind: chunk(Field::Kind),
            status: chunk(Field::StatusCode),
            service: chunk(Field::Service),
            name: chunk(Field::Name),
        }
    }

    fn bits(&self, chunk: &Option<Chunk>, row: usize) -> u64 {
        chunk.as_ref().and_then(|chunk| chunk.bits(row)).unwrap_or_default()
    }

    fn code(&self, chunk: &Option<Chunk>, row: usize) -> u32 {
        match chunk {
            Some(Chunk::Str { codes, .. }) => codes.get(row).copied().unwrap_or(NO_CODE),
            _ => NO_CODE,
        }
    }

    fn text(&self, chunk: &Option<Chunk>, code: u32) -> Arc<str> {
        match chunk {
            Some(Chunk::Str { dict, .. }) if code != NO_CODE => Arc::from(dict.get(code)),
            _ => Arc::from(""),
        }
    }

    /// A duration below zero is a clock that was set back: it counts as none.
    fn duration_ns(&self, row: usize) -> u64 {
        (self.bits(&self.duration, row) as i64).max(0) as u64
    }
}
