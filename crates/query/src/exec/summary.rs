//! What is told of a trace on the page.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap, HashSet};

use tracewell_model::SpanId;
use tracewell_store::table::Field;

use super::row::{RowColumns, RowView};
use super::scan::place;
use super::search::{Engine, Hit};
use super::sources::Part;
use super::walk::Walk;
use super::{SearchRequest, ServiceCount, SpanSummary, TraceSummary};
use crate::error::Halt;
use crate::plan::Shape;
use crate::traceql::{self, AttrScope, Intrinsic};

/// What makes two rows the same span: it was received twice.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct SpanKey {
    pub start: u64,
    pub span_id: u64,
    pub duration: i64,
    pub kind: i32,
    pub status: i32,
    pub service: String,
    pub name: String,
}

/// A span and one place where it lies.
struct Row {
    key: SpanKey,
    source: usize,
    row: u32,
}

impl<'a> Engine<'a> {
    /// Tells of a matching trace; `None` when none of it can be read any more.
    pub fn summary(&self, walks: &mut [Option<Walk<'a>>], hit: &Hit, request: &SearchRequest) -> Option<TraceSummary> {
        let mut rows: HashMap<SpanKey, Row> = HashMap::new();
        let mut matched: HashSet<SpanKey> = HashSet::new();
        for part in &hit.parts {
            match self.rows_of(walks, hit, part) {
                Ok(found) => {
                    for (row, is_match) in found {
                        if is_match {
                            matched.insert(row.key.clone());
                        }
                        rows.entry(row.key.clone()).or_insert(row);
                    }
                }
                Err(Halt::Source(error)) => self.sources.give_up(part.source, &error),
                // The budget has ended; what is on the page is told as far as it goes.
                Err(Halt::Stop(_)) => {}
            }
        }
        if let Shape::Trace(steps) = &self.program.shape {
            let trace = self.assemble(walks, &hit.parts, &hit.facts).ok()?;
            let spans = trace.run(self.program, steps).unwrap_or_default();
            matched = spans.into_iter().map(|span| trace.key(span)).collect();
        }
        if rows.is_empty() {
            return None;
        }
        let mut services: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
        for key in rows.keys() {
            let count = services.entry(&key.service).or_default();
            count.0 += 1;
            count.1 += u64::from(key.status == 2);
        }
        let mut services: Vec<ServiceCount> = services
            .into_iter()
            .map(|(name, (spans, errors))| ServiceCount { name: name.to_owned(), spans, errors })
            .collect();
        services.sort_by_key(|service| Reverse(service.spans));
        let mut shown: Vec<&SpanKey> = matched.iter().collect();
        shown.sort();
        let spans = shown
            .into_iter()
            .take(request.max_spans_per_trace)
            .filter_map(|key| rows.get(key))
            .map(|row| self.span(walks, row, hit, request))
            .collect();
        let root = hit.facts.root.as_ref().map(|(service, name)| (service.to_string(), name.to_string()));
        Some(TraceSummary {
            trace_id: hit.facts.trace_id,
            root,
            start_unix_nano: hit.facts.start,
            duration_ns: hit.facts.end.saturating_sub(hit.facts.start),
            span_count: rows.len() as u64,
            error_count: services.iter().map(|service| service.errors).sum(),
            services,
            matched_spans: matched.len() as u64,
            spans,
        })
    }

    /// The rows of a part, and which of them matched by the filters alone.
    fn rows_of(&self, walks: &mut [Option<Walk<'a>>], hit: &Hit, part: &Part) -> Result<Vec<(Row, bool)>, Halt> {
        let source = self.sources.get(part.source);
        let matched = match self.program.shape {
            Shape::Rows => {
                self.walk(walks, part.source).matched_rows(hit.selected, &part.rows, &hit.facts)?.into_iter().collect()
            }
            Shape::Trace(_) => HashSet::new(),
        };
        let columns = &mut self.walk(walks, part.source).scan.columns;
        let fields =
            [Field::SpanId, Field::Start, Field::Duration, Field::Kind, Field::StatusCode, Field::Service, Field::Name];
        let slots = fields.map(|field| columns.slot(&field));
        let mut rows = Vec::with_capacity(part.rows.len());
        let mut held: Option<(u32, Vec<_>)> = None;
        for row in part.rows.iter() {
            let (index, within) = place(row, source.chunk_rows());
            if held.as_ref().is_none_or(|(held, _)| *held != index) {
                let chunks = slots.iter().map(|slot| columns.chunk(*slot, index)).collect::<Result<Vec<_>, _>>()?;
                held = Some((index, chunks));
            }
            let Some((_, chunks)) = &held else { continue };
            let bits = |column: usize| chunks[column].as_ref().and_then(|chunk| chunk.bits(within)).unwrap_or_default();
            let text = |column: usize| {
                chunks[column].as_ref().and_then(|chunk| chunk.text(within)).unwrap_or_default().to_owned()
            };
            let key = SpanKey {
                span_id: bits(0),
                start: bits(1),
                duration: bits(2) as i64,
                kind: bits(3) as i64 as i32,
                status: bits(4) as i64 as i32,
                service: text(5),
                name: text(6),
            };
            rows.push((Row { key, source: part.source, row }, matched.contains(&row)));
        }
        Ok(rows)
    }

    fn span(&self, walks: &mut [Option<Walk<'a>>], row: &Row, hit: &Hit, request: &SearchRequest) -> SpanSummary {
        let key = &row.key;
        SpanSummary {
            span_id: SpanId::from_u64(key.span_id),
            name: key.name.clone(),
            service: key.service.clone(),
            start_unix_nano: key.start,
            duration_ns: key.duration,
            status: key.status,
            kind: key.kind,
            attributes: self.attributes(walks, row, hit, request).unwrap_or_default(),
        }
    }

    /// The values of the fields that the query names, but for those that are told anyway.
    fn attributes(
        &self,
        walks: &mut [Option<Walk<'a>>],
        row: &Row,
        hit: &Hit,
        request: &SearchRequest,
    ) -> Result<Vec<(String, tracewell_model::Value)>, Halt> {
        use Intrinsic as I;
        let shown: Vec<traceql::Field> = request
            .query
            .named_fields()
            .iter()
            .filter(|field| match field {
                field if field.of_parent() => false,
                traceql::Field::Attr { .. } => true,
                traceql::Field::Intrinsic { intrinsic, .. } => matches!(
                    intrinsic,
                    I::StatusMessage
                        | I::EventName
                        | I::EventTimeSinceStart
                        | I::LinkSpanId
                        | I::LinkTraceId
                        | I::InstrumentationName
                        | I::InstrumentationVersion
                ),
            })
            .cloned()
            .collect();
        if shown.is_empty() {
            return Ok(Vec::new());
        }
        let source = self.sources.get(row.source);
        let columns = &mut self.walk(walks, row.source).scan.columns;
        let fields = RowColumns::of_fields(&shown, source, columns);
        let (index, within) = place(row.row, source.chunk_rows());
        let chunks = fields.chunks(columns, index)?;
        let view = RowView { chunks: &chunks, row: within, facts: Some(&hit.facts) };
        let mut attributes: Vec<(String, tracewell_model::Value)> = Vec::new();
        for field in &shown {
            let name = match field {
                traceql::Field::Attr { attribute, .. } => match attribute.scope {
                    AttrScope::Event | AttrScope::Link | AttrScope::Instrumentation => field.to_string(),
                    AttrScope::Any | AttrScope::Span | AttrScope::Resource => attribute.key.clone(),
                },
                field => field.to_string(),
            };
            if let Some(value) = view.value(field)
                && !attributes.iter().any(|(other, _)| *other == name)
            {
                attributes.push((name, value));
            }
        }
        Ok(attributes)
    }
}
