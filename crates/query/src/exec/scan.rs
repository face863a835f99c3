//! Filters over the columns of one source: chunk by chunk, leaf by leaf, only for the rows that still matter.

use std::sync::Arc;

use tracewell_model::UNKNOWN_SERVICE;
use tracewell_store::table::{AttrType, Bitmap, Chunk, Field, Source};
use tracewell_wire::otlp::json;

use super::columns::{Columns, Memo, Slot, present, retain, retain_numbers, without};
use super::row::{RowColumns, RowView};
use super::{Meter, TraceFacts};
use crate::error::Halt;
use crate::plan::{
    DictTest, Leaf, LeafKind, ListTest, Need, Pred, Program, Test, TestKind, Val, Verdict, code, each_value, number,
    types_of,
};

/// Bits of a memo: what a test said of a text that holds several values.
const PASSED: u8 = 1;
const COMPARABLE: u8 = 2;
const EXISTS: u8 = 4;

/// A query at work on one source.
pub(crate) struct Scan<'a> {
    pub source: &'a dyn Source,
    program: &'a Program,
    meter: &'a Meter<'a>,
    pub columns: Columns<'a>,
    leaves: Vec<LeafState>,
    /// Every row of the source overlaps the time range.
    pub covered: bool,
    start: Slot,
    duration: Slot,
}

/// What a leaf needs of this source.
#[derive(Default)]
struct LeafState {
    /// Text columns, number columns with their type, all in order of the leaf's kind.
    texts: Vec<Slot>,
    numbers: Vec<(AttrType, Slot)>,
    /// Attributes without a column.
    remainder: Option<Slot>,
    /// Resource, scope, events, links, service; the column beside the attribute columns.
    main: Option<Slot>,
    resource: Option<Slot>,
    row: Option<RowColumns>,
    memo: Memo,
    remainder_memo: Memo,
    exists_memo: Memo,
    resource_memo: Memo,
}

impl<'a> Scan<'a> {
    pub fn new(source: &'a dyn Source, program: &'a Program, meter: &'a Meter<'a>) -> Self {
        let mut columns = Columns::new(source, meter);
        let mut leaves: Vec<LeafState> = Vec::new();
        leaves.resize_with(program.leaves, LeafState::default);
        for filter in &program.filters {
            filter.pred.leaves(&mut |leaf| {
                if let Some(state) = leaves.get_mut(leaf.id) {
                    state.prepare(leaf, source, &mut columns);
                }
            });
        }
        let (first, last) = source.time_range();
        let covered = program.start <= first && last < program.end;
        let (start, duration) = (columns.slot(&Field::Start), columns.slot(&Field::Duration));
        Self { source, program, meter, columns, leaves, covered, start, duration }
    }

    /// The rows of chunk `index`, among `rows`, that pass filter `filter` and overlap the time range. Without `facts`, tests
    /// of the trace pass.
    pub fn filter(
        &mut self,
        filter: usize,
        index: u32,
        rows: &Bitmap,
        facts: Option<&TraceFacts>,
    ) -> Result<Bitmap, Halt> {
        self.meter.check()?;
        self.meter.add_spans(rows.count());
        let in_time = if self.covered { rows.clone() } else { self.in_time(index, rows)? };
        let program = self.program;
        let Some(filter) = program.filters.get(filter) else { return Ok(in_time) };
        if !in_time.any() {
            return Ok(in_time);
        }
        self.pred(&filter.pred, index, in_time, facts)
    }

    /// The rows whose interval overlaps the time range.
    fn in_time(&mut self, index: u32, rows: &Bitmap) -> Result<Bitmap, Halt> {
        let starts = self.columns.chunk(self.start, index)?;
        let durations = self.columns.chunk(self.duration, index)?;
        let (from, to) = (self.program.start, self.program.end);
        let duration = |row: usize| durations.as_deref().and_then(|chunk| chunk.bits(row)).unwrap_or_default() as i64;
        let Some(Chunk::Num { values, .. }) = starts.as_deref() else { return Ok(Bitmap::filled(rows.len(), false)) };
        Ok(retain(rows, |row| {
            let start = values[row];
            start < to && (start >= from || start.saturating_add_signed(duration(row)) >= from)
        }))
    }

    fn pred(&mut self, pred: &Pred, index: u32, rows: Bitmap, facts: Option<&TraceFacts>) -> Result<Bitmap, Halt> {
        match pred {
            Pred::Const(true) => Ok(rows),
            Pred::Const(false) => Ok(Bitmap::filled(rows.len(), false)),
            Pred::And(parts) => {
                let mut rest = rows;
                for part in parts {
                    if !rest.any() {
                        break;
                    }
                    rest = self.pred(part, index, rest, facts)?;
                }
                Ok(rest)
            }
            Pred::Or(parts) => {
                let mut passed = Bitmap::filled(rows.len(), false);
                let mut rest = rows;
                for part in parts {
                    if !rest.any() {
                        break;
                    }
                    let found = self.pred(part, index, rest.clone(), facts)?;
                    rest = without(&rest, &found);
                    passed.or(&found);
                }
                Ok(passed)
            }
            Pred::Leaf(leaf) => {
                if leaf.need == Need::Tree || (leaf.need == Need::Trace && facts.is_none()) {
                    return Ok(rows);
                }
                let passed = self.leaf(leaf, index, &rows, facts)?;
                Ok(if leaf.negated { without(&rows, &passed) } else { passed })
            }
        }
    }

    fn leaf(&mut self, leaf: &Leaf, index: u32, rows: &Bitmap, facts: Option<&TraceFacts>) -> Result<Bitmap, Halt> {
        let Some(state) = self.leaves.get_mut(leaf.id) else { return Ok(rows.clone()) };
        let columns = &mut self.columns;
        let mut main = |slot: Option<Slot>| slot.map_or(Ok(None), |slot| columns.chunk(slot, index));
        match &leaf.kind {
            LeafKind::Number(field, test) => {
                let chunk = main(state.main)?;
                Ok(numbers_of(field, test, rows, chunk.as_deref()))
            }
            LeafKind::Text(_, test) => {
                let chunk = main(state.main)?;
                let mut passed =
                    state.memo.retain(rows, chunk.as_deref(), PASSED, |text| u8::from(test.holds(&Val::text(text))));
                // A missing text is the empty one.
                if test.holds(&Val::text("")) {
                    passed.or(&without(rows, &present(rows, chunk.as_deref())));
                }
                Ok(passed)
            }
            LeafKind::Service(test) => {
                let chunk = main(state.main)?;
                // The name for a missing service may stand for nothing or for itself: the resource tells.
                let verdict = |text: &str| match text {
                    UNKNOWN_SERVICE => EXISTS,
                    text => u8::from(test.holds(&Val::text(text))),
                };
                let mut passed = state.memo.retain(rows, chunk.as_deref(), PASSED, verdict);
                let unknown = state.memo.retain(rows, chunk.as_deref(), EXISTS, verdict);
                if unknown.any() {
                    let resources = main(state.resource)?;
                    let what = DictTest::Resource(tracewell_model::SERVICE_NAME.to_owned());
                    passed.or(&dict(&mut state.resource_memo, &what, test, &unknown, resources.as_deref()));
                }
                Ok(passed)
            }
            LeafKind::Dict(what, test) => {
                let chunk = main(state.main)?;
                Ok(dict(&mut state.memo, what, test, rows, chunk.as_deref()))
            }
            LeafKind::Span(key, test) => state.attribute(columns, key, test, index, rows),
            LeafKind::Any(key, test) => {
                let resources = main(state.resource)?;
                let of_span = state.attribute(columns, key, test, index, rows)?;
                let absent = matches!(test.kind, TestKind::Exists) && test.none_of;
                let rest = if absent { of_span.clone() } else { without(rows, &of_span) };
                let what = DictTest::Resource(key.clone());
                let of_resource = dict(&mut state.resource_memo, &what, test, &rest, resources.as_deref());
                if absent {
                    return Ok(of_resource);
                }
                // The resource counts only where the span has no attribute of that name.
                let exists = Test { kind: TestKind::Exists, none_of: false };
                let mut passed = of_span;
                if of_resource.any() {
                    let shadowed = state.attribute(columns, key, &exists, index, &of_resource)?;
                    passed.or(&without(&of_resource, &shadowed));
                }
                Ok(passed)
            }
            LeafKind::List(what, test) => {
                let chunk = main(state.main)?;
                list(&mut state.memo, what, test, rows, chunk.as_deref())
            }
            LeafKind::Root => {
                let mut parented = Bitmap::filled(rows.len(), false);
                for (_, slot) in &state.numbers {
                    let chunk = columns.chunk(*slot, index)?;
                    parented.or(&present(rows, chunk.as_deref()));
                }
                Ok(without(rows, &parented))
            }
            LeafKind::SpanId(id) => {
                let chunk = main(state.main)?;
                Ok(retain_numbers(rows, chunk.as_deref(), |bits| bits == *id))
            }
            LeafKind::TraceId(test) => match facts {
                Some(facts) if test.holds(&Val::Str(facts.trace_id.to_string().into())) => Ok(rows.clone()),
                Some(_) => Ok(Bitmap::filled(rows.len(), false)),
                None => Ok(rows.clone()),
            },
            LeafKind::Expr(expr) => {
                let Some(row_columns) = &state.row else { return Ok(rows.clone()) };
                let chunks = row_columns.chunks(columns, index)?;

                let view = |row| RowView { chunks: &chunks, row, facts };
                Ok(retain(rows, |row| expr.holds(&view(row))))
            }
        }
    }
}

impl LeafState {
    fn prepare(&mut self, leaf: &Leaf, source: &dyn Source, columns: &mut Columns<'_>) {
        let mut main = |field: &Field| Some(columns.slot(field));
        match &leaf.kind {
            LeafKind::Number(field, _) | LeafKind::Text(field, _) => self.main = main(field),
            LeafKind::Service(_) => {
                self.main = main(&Field::Service);
                self.resource = main(&Field::Resource);
            }
            LeafKind::Dict(what, _) => self.main = main(&what.column()),
            LeafKind::Span(key, _) => self.attribute_columns(key, source, columns),
            LeafKind::Any(key, _) => {
                self.resource = main(&Field::Resource);
                self.attribute_columns(key, source, columns);
            }
            LeafKind::List(what, _) => {
                self.main = main(match what {
                    ListTest::EventName | ListTest::EventAttr(_) => &Field::Events,
                    ListTest::LinkSpanId | ListTest::LinkTraceId | ListTest::LinkAttr(_) => &Field::Links,
                });
            }
            LeafKind::Root => {
                let parents = [Field::ParentDistance, Field::ParentSpanId];
                self.numbers = parents.iter().map(|field| (AttrType::Int, columns.slot(field))).collect();
            }
            LeafKind::SpanId(_) => self.main = main(&Field::SpanId),
            LeafKind::TraceId(_) => {}
            LeafKind::Expr(expr) => self.row = Some(RowColumns::new(expr, source, columns)),
        }
    }

    fn attribute_columns(&mut self, key: &str, source: &dyn Source, columns: &mut Columns<'_>) {
        for (name, kind, _) in source.attributes() {
            if *name == *key {
                let slot = columns.slot(&Field::Attr { key: name, kind });
                match kind {
                    AttrType::Str => self.texts.push(slot),
                    kind => self.numbers.push((kind, slot)),
                }
            }
        }
        if source.has_remainder() {
            self.remainder = Some(columns.slot(&Field::Remainder));
        }
    }

    /// A test of a span attribute: over its columns, and over the remainder of the rows that have one.
    fn attribute(
        &mut self,
        columns: &mut Columns<'_>,
        key: &str,
        test: &Test,
        index: u32,
        rows: &Bitmap,
    ) -> Result<Bitmap, Halt> {
        let exists = matches!(test.kind, TestKind::Exists);
        let mut passed = Bitmap::filled(rows.len(), false);
        let mut comparable = Bitmap::filled(rows.len(), false);
        if test.about_texts() {
            for slot in &self.texts {
                let chunk = columns.chunk(*slot, index)?;
                let found = match exists {
                    true => present(rows, chunk.as_deref()),
                    false => self.memo.retain(rows, chunk.as_deref(), PASSED, |text| u8::from(test.text_passes(text))),
                };
                passed.or(&found);
                if test.none_of {
                    comparable.or(&present(rows, chunk.as_deref()));
                }
            }
        }
        for (kind, slot) in &self.numbers {
            if !types_of(test).contains(kind) {
                continue;
            }
            let chunk = columns.chunk(*slot, index)?;
            let found = match (exists, test.int_range(), kind) {
                (true, ..) => present(rows, chunk.as_deref()),
                (false, Some((low, high)), AttrType::Int) => {
                    retain_numbers(rows, chunk.as_deref(), |bits| (low..=high).contains(&(bits as i64)))
                }
                _ => retain_numbers(rows, chunk.as_deref(), |bits| test.verdict(&number(*kind, bits)) == Verdict::Yes),
            };
            passed.or(&found);
            if test.none_of {
                comparable.or(&present(rows, chunk.as_deref()));
            }
        }
        if let Some(slot) = self.remainder {
            let chunk = columns.chunk(slot, index)?;
            let say = |text: &str| remainder(test, key, text);
            // Presence is asked for beside the leaf's own test, so it is remembered apart.
            let memo = if exists { &mut self.exists_memo } else { &mut self.remainder_memo };
            let wanted = if exists { EXISTS } else { PASSED };
            passed.or(&memo.retain(rows, chunk.as_deref(), wanted, say));
            if test.none_of && !exists {
                comparable.or(&memo.retain(rows, chunk.as_deref(), COMPARABLE, say));
            }
        }
        Ok(match (exists, test.none_of) {
            (_, false) => passed,
            (true, true) => without(rows, &passed),
            (false, true) => without(&comparable, &passed),
        })
    }
}

/// What a test says of the values of `key` in a remainder.
fn remainder(test: &Test, key: &str, text: &str) -> u8 {
    // Most remainders hold other keys. A key without quotes or escapes stands in the JSON as it is.
    if key.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'"' && byte != b'\\') && !text.contains(key) {
        return 0;
    }
    let attributes = json::attributes_from_json(text).unwrap_or_default();
    let mut say = 0;
    for attribute in attributes.iter().filter(|attribute| attribute.key == key) {
        let exists = each_value(&attribute.value, &mut |value| say |= verdict_bits(test, &value));
        say |= if exists { EXISTS } else { 0 };
    }
    say
}

fn verdict_bits(test: &Test, value: &Val<'_>) -> u8 {
    match test.verdict(value) {
        Verdict::Other => 0,
        Verdict::No => COMPARABLE,
        Verdict::Yes => COMPARABLE | PASSED,
    }
}

fn numbers_of(field: &Field, test: &Test, rows: &Bitmap, chunk: Option<&Chunk>) -> Bitmap {
    let mut passed = match (field, test.int_range(), test.none_of) {
        (Field::Duration, Some((low, high)), false) => {
            retain_numbers(rows, chunk, |bits| (low..=high).contains(&(bits as i64)))
        }
        _ if matches!(test.kind, TestKind::Exists) => {
            return if test.none_of { Bitmap::filled(rows.len(), false) } else { rows.clone() };
        }
        _ => retain_numbers(rows, chunk, |bits| test.holds(&code(field, bits))),
    };
    // A missing number is 0.
    if test.holds(&code(field, 0)) {
        passed.or(&without(rows, &present(rows, chunk)));
    }
    passed
}

fn dict(memo: &mut Memo, what: &DictTest, test: &Test, rows: &Bitmap, chunk: Option<&Chunk>) -> Bitmap {
    let mut passed = memo.retain(rows, chunk, PASSED, |text| u8::from(what.holds(test, text)));
    if what.holds(test, "") {
        passed.or(&without(rows, &present(rows, chunk)));
    }
    passed
}

fn list(memo: &mut Memo, what: &ListTest, test: &Test, rows: &Bitmap, chunk: Option<&Chunk>) -> Result<Bitmap, Halt> {
    let say = |text: &str| {
        let mut say = 0;
        let mut see = |value: Val<'_>| say |= verdict_bits(test, &value);
        let exists = match what {
            ListTest::EventName | ListTest::EventAttr(_) => {
                let events = json::events_from_json(text).unwrap_or_default();
                super::row::visit_events(&events, what, &mut see)
            }
            ListTest::LinkSpanId | ListTest::LinkTraceId | ListTest::LinkAttr(_) => {
                let links = json::links_from_json(text).unwrap_or_default();
                super::row::visit_links(&links, what, &mut see)
            }
        };
        say | if exists { EXISTS } else { 0 }
    };
    if matches!(test.kind, TestKind::Exists) {
        let found = memo.retain(rows, chunk, EXISTS, say);
        return Ok(if test.none_of { without(rows, &found) } else { found });
    }
    let passed = memo.retain(rows, chunk, PASSED, say);
    if !test.none_of {
        return Ok(passed);
    }
    Ok(without(&memo.retain(rows, chunk, COMPARABLE, say), &passed))
}

/// The chunk of a row and the row's place in it.
pub(crate) fn place(row: u32, chunk_rows: u32) -> (u32, usize) {
    let chunk_rows = chunk_rows.max(1);
    (row / chunk_rows, (row % chunk_rows) as usize)
}

/// Rows in chunk `index` of a source.
pub(crate) fn rows_in_chunk(source: &dyn Source, index: u32) -> usize {
    let chunk_rows = source.chunk_rows().max(1);
    (source.rows().saturating_sub(index.saturating_mul(chunk_rows))).min(chunk_rows) as usize
}

/// A chunk that may be missing, shared.
pub(crate) type MaybeChunk = Option<Arc<Chunk>>;
