//! What occurs: services, operations, attribute keys and values.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::ops::RangeInclusive;
use std::sync::Arc;

use tracewell_model::{KeyValue, Value};
use tracewell_store::table::{AttrType, Chunk, Field, NO_CODE, Signal, Source, TermPredicate, TraceSet};
use tracewell_wire::otlp::json;

use super::columns::Columns;
use super::{
    AttributeKey, AttributeScope, AttributeValue, AttributeValues, Budget, Listing, Meter, OperationSummary,
    ServiceSummary, Sources, Stop,
};
use crate::QueryError;
use crate::error::Halt;
use crate::plan::of_remainder;

/// Nanoseconds in a minute, the unit in which operations are counted.
const MINUTE_NS: u64 = 60_000_000_000;

/// Distinct values of one attribute that are counted before the rest is left out.
const VALUES_MAX: usize = 100_000;

/// The minutes that a range of nanoseconds touches.
pub(super) fn minutes(start: u64, end: u64) -> Option<RangeInclusive<u64>> {
    (start < end).then(|| start / MINUTE_NS..=(end - 1) / MINUTE_NS)
}

/// Services with spans that started in a minute that `[start, end)` touches, most spans first. Counts are exact.
///
/// # Errors
/// [`QueryError::Cancelled`] when the budget's flag was raised.
pub fn services(
    sources: &[Arc<dyn Source>],
    start: u64,
    end: u64,
    budget: &Budget,
) -> Result<Listing<ServiceSummary>, QueryError> {
    let mut listing = Listing { complete: true, ..Listing::default() };
    let operations = operations(sources, None, start, end, budget)?;
    let mut by_service: BTreeMap<&str, ServiceSummary> = BTreeMap::new();
    for operation in &operations.items {
        let service = by_service.entry(&operation.service).or_default();
        service.spans += operation.spans;
        service.errors += operation.errors;
        service.operations += 1;
    }
    listing.items =
        by_service.into_iter().map(|(name, found)| ServiceSummary { name: name.to_owned(), ..found }).collect();
    listing.items.sort_by_key(|service| Reverse(service.spans));
    Ok(Listing { complete: operations.complete, warnings: operations.warnings, ..listing })
}

/// Operations, of one service or of all, with spans that started in a minute that `[start, end)` touches; most spans
/// first. Counts are exact.
///
/// # Errors
/// [`QueryError::Cancelled`] when the budget's flag was raised.
pub fn operations(
    sources: &[Arc<dyn Source>],
    service: Option<&str>,
    start: u64,
    end: u64,
    budget: &Budget,
) -> Result<Listing<OperationSummary>, QueryError> {
    let Some(minutes) = minutes(start, end) else { return Ok(Listing { complete: true, ..Listing::default() }) };
    let mut found: HashMap<Arc<str>, OperationTotals> = HashMap::new();
    over(sources, Signal::Traces, start, end, budget, |source, _| {
        source.operations(minutes.clone(), &mut |count| {
            if service.is_some_and(|service| *service != *count.service) {
                return;
            }
            if !found.contains_key(&count.service) {
                found.insert(Arc::clone(&count.service), HashMap::new());
            }
            let Some(of_service) = found.get_mut(&count.service) else { return };
            let operation = of_service.entry((Arc::clone(&count.name), count.kind)).or_default();
            operation.0 += count.spans;
            operation.1 += if count.status == 2 { count.spans } else { 0 };
            operation.2 += u128::from(count.duration_ns);
        })?;
        Ok(())
    })
    .map(|ended| {
        let mut items: Vec<OperationSummary> = found
            .into_iter()
            .flat_map(|(service, operations)| {
                operations.into_iter().map(move |((name, kind), (spans, errors, duration_ns))| OperationSummary {
                    service: service.to_string(),
                    name: name.to_string(),
                    kind,
                    spans,
                    errors,
                    mean_duration_ns: duration_ns as f64 / spans.max(1) as f64,
                })
            })
            .collect();
        items.sort_by(|left, right| {
            let names = |of: &OperationSummary| (of.service.clone(), of.name.clone(), of.kind);
            right.spans.cmp(&left.spans).then_with(|| names(left).cmp(&names(right)))
        });
        ended.listing(items)
    })
}

/// Spans, errors and nanoseconds by name and kind.
type OperationTotals = HashMap<(Arc<str>, i32), (u64, u64, u128)>;

/// How going over the sources ended.
pub(super) struct Ended {
    complete: bool,
    warnings: Vec<String>,
}

impl Ended {
    pub(super) fn listing<T>(self, items: Vec<T>) -> Listing<T> {
        Listing { items, complete: self.complete, warnings: self.warnings }
    }
}

/// Calls `visit` with every source that overlaps the range, until the budget ends.
pub(super) fn over(
    sources: &[Arc<dyn Source>],
    signal: Signal,
    start: u64,
    end: u64,
    budget: &Budget,
    mut visit: impl FnMut(&dyn Source, &Meter<'_>) -> Result<(), Halt>,
) -> Result<Ended, QueryError> {
    let meter = Meter::new(budget);
    let sources = Sources::new(sources, signal);
    let mut complete = true;
    for (index, source) in sources.iter() {
        let (first, last) = source.time_range();
        if first >= end || last < start {
            continue;
        }
        match meter.check().map_err(Halt::from).and_then(|()| visit(source, &meter)) {
            Ok(()) => {}
            Err(Halt::Source(error)) => sources.give_up(index, &error),
            Err(Halt::Stop(Stop::Cancelled)) => return Err(QueryError::Cancelled),
            Err(Halt::Stop(stop)) => {
                sources.warn(stop.warning());
                complete = false;
                break;
            }
        }
    }
    let warnings = sources.take_warnings();
    Ok(Ended { complete: complete && warnings.is_empty(), warnings })
}

/// Calls `visit` with each distinct text of a column in each chunk and how many rows hold it there.
fn texts(source: &dyn Source, field: &Field, meter: &Meter<'_>, mut visit: impl FnMut(&str, u64)) -> Result<(), Halt> {
    let mut columns = Columns::new(source, meter);
    let slot = columns.slot(field);
    for index in 0..source.rows().div_ceil(source.chunk_rows().max(1)) {
        if let Some(Chunk::Str { codes, dict }) = columns.chunk(slot, index)?.as_deref() {
            let mut counts = vec![0u64; dict.len()];
            for code in codes.iter().filter(|code| **code != NO_CODE) {
                if let Some(count) = counts.get_mut(*code as usize) {
                    *count += 1;
                }
            }
            let held = counts.iter().enumerate().filter(|(_, count)| **count > 0);
            held.for_each(|(code, count)| visit(dict.get(code as u32), *count));
        }
    }
    Ok(())
}

fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Empty => "empty",
        Value::Str(_) => "string",
        Value::Bool(_) => "bool",
        Value::Int(_) => "int",
        Value::Double(_) => "double",
        Value::Bytes(_) => "bytes",
        Value::Array(_) => "array",
        Value::Map(_) => "kvlist",
    }
}

fn column_type_name(kind: AttrType) -> &'static str {
    match kind {
        AttrType::Str => "string",
        AttrType::Int => "int",
        AttrType::Double => "double",
        AttrType::Bool => "bool",
    }
}

/// The attributes within a resource, scope or remainder, given as its JSON.
fn attributes_in(field: &Field, text: &str) -> Vec<KeyValue> {
    match field {
        Field::Resource => json::resource_from_json(text).map(|resource| resource.attributes),
        Field::Scope => json::scope_from_json(text).map(|scope| scope.attributes),
        _ => json::attributes_from_json(text),
    }
    .unwrap_or_default()
}

/// Attribute keys of sources that overlap `[start, end)`, by scope and key. The counts are of all spans of those sources.
///
/// # Errors
/// [`QueryError::Cancelled`] when the budget's flag was raised.
pub fn attribute_keys(
    sources: &[Arc<dyn Source>],
    scope: Option<AttributeScope>,
    start: u64,
    end: u64,
    budget: &Budget,
) -> Result<Listing<AttributeKey>, QueryError> {
    let mut found: BTreeMap<(AttributeScope, String), (BTreeSet<&'static str>, u64)> = BTreeMap::new();
    let wanted = |asked: AttributeScope| scope.is_none_or(|scope| scope == asked);
    let ended = over(sources, Signal::Traces, start, end, budget, |source, meter| {
        let mut add = |scope: AttributeScope, key: &str, kind: &'static str, spans: u64| {
            let entry = found.entry((scope, key.to_owned())).or_default();
            entry.0.insert(kind);
            entry.1 += spans;
        };
        let mut of_column = |scope: AttributeScope, field: &Field| {
            texts(source, field, meter, |text, spans| {
                for attribute in attributes_in(field, text) {
                    add(scope, &attribute.key, type_name(&attribute.value), spans);
                }
            })
        };
        if wanted(AttributeScope::Resource) {
            of_column(AttributeScope::Resource, &Field::Resource)?;
        }
        if wanted(AttributeScope::Instrumentation) {
            of_column(AttributeScope::Instrumentation, &Field::Scope)?;
        }
        if wanted(AttributeScope::Span) {
            if source.has_remainder() {
                of_column(AttributeScope::Span, &Field::Remainder)?;
            }
            for (key, kind, spans) in source.attributes() {
                add(AttributeScope::Span, &key, column_type_name(kind), spans);
            }
        }
        Ok(())
    })?;
    let items = found
        .into_iter()
        .map(|((scope, key), (types, spans))| AttributeKey { scope, key, types: types.into_iter().collect(), spans })
        .collect();
    Ok(ended.listing(items))
}

/// What is asked of an attribute's values.
#[derive(Debug, Clone, Copy)]
struct Wanted<'a> {
    key: &'a str,
    prefix: &'a str,
}

/// Values by text and type, with how many traces hold each.
type Counts = HashMap<(String, &'static str), u64>;

/// Values of an attribute that begin with `prefix`, in sources that overlap `[start, end)`; most traces first.
///
/// # Errors
/// [`QueryError::Cancelled`] when the budget's flag was raised.
#[allow(clippy::too_many_arguments)]
pub fn attribute_values(
    sources: &[Arc<dyn Source>],
    scope: AttributeScope,
    key: &str,
    start: u64,
    end: u64,
    prefix: &str,
    limit: usize,
    budget: &Budget,
) -> Result<AttributeValues, QueryError> {
    let wanted = Wanted { key, prefix };
    let mut counts = Counts::new();
    let ended = over(sources, Signal::Traces, start, end, budget, |source, meter| match scope {
        AttributeScope::Resource if key == tracewell_model::SERVICE_NAME => {
            column_values(source, &Field::Service, "string", wanted, meter, &mut counts)
        }
        AttributeScope::Resource => packed_values(source, &Field::Resource, wanted, meter, &mut counts),
        AttributeScope::Instrumentation => packed_values(source, &Field::Scope, wanted, meter, &mut counts),
        AttributeScope::Span => {
            for (found, kind, _) in source.attributes().into_iter().filter(|(found, ..)| **found == *key) {
                let field = Field::Attr { key: found, kind };
                column_values(source, &field, column_type_name(kind), wanted, meter, &mut counts)?;
            }
            if source.has_remainder() {
                remainder_values(source, wanted, meter, &mut counts)?;
            }
            Ok(())
        }
    })?;
    let mut items: Vec<AttributeValue> =
        counts.into_iter().map(|((value, kind), traces)| AttributeValue { value, kind, traces }).collect();
    items.sort_by(|left, right| right.traces.cmp(&left.traces).then_with(|| left.value.cmp(&right.value)));
    let cut = items.len() > limit || items.len() >= VALUES_MAX;
    items.truncate(limit);
    let mut listing = ended.listing(items);
    listing.complete &= !cut;
    Ok(listing)
}

/// Adds the values of a column of their own.
fn column_values(
    source: &dyn Source,
    field: &Field,
    kind: &'static str,
    wanted: Wanted<'_>,
    meter: &Meter<'_>,
    counts: &mut Counts,
) -> Result<(), Halt> {
    let mut add = |value: &str, traces: u64| {
        if value.starts_with(wanted.prefix) && counts.len() < VALUES_MAX {
            *counts.entry((value.to_owned(), kind)).or_default() += traces;
        }
        counts.len() < VALUES_MAX
    };
    if source.distinct(field, &mut add)? {
        return Ok(());
    }
    // The index has no list of them: look at the rows.
    let mut found: HashMap<String, (u32, u64)> = HashMap::new();
    each_value_of_row(source, field, &TraceSet::All, meter, |ordinal, value| {
        if !value.starts_with(wanted.prefix) {
            return;
        }
        let known = found.len();
        match found.get_mut(value) {
            Some(entry) if entry.0 != ordinal => *entry = (ordinal, entry.1 + 1),
            Some(_) => {}
            None if known < VALUES_MAX => {
                found.insert(value.to_owned(), (ordinal, 1));
            }
            None => {}
        }
    })?;
    found.iter().for_each(|(value, (_, traces))| {
        add(value, *traces);
    });
    Ok(())
}

/// Calls `visit` with the trace and the value, as text, of every row of the traces that has one.
fn each_value_of_row(
    source: &dyn Source,
    field: &Field,
    traces: &TraceSet,
    meter: &Meter<'_>,
    mut visit: impl FnMut(u32, &str),
) -> Result<(), Halt> {
    let mut columns = Columns::new(source, meter);
    let slot = columns.slot(field);
    for block in 0..source.trace_blocks() {
        let block = source.trace_block(block)?;
        for (within, rows) in block.rows.iter().enumerate() {
            let ordinal = block.first_ordinal + within as u32;
            if matches!(traces, TraceSet::Some { traces, .. } if !traces.contains(ordinal)) {
                continue;
            }
            for (index, rows) in super::walk::by_chunk(source, rows) {
                let Some(chunk) = columns.chunk(slot, index)? else { continue };
                for row in rows.iter() {
                    match (chunk.text(row), chunk.bits(row)) {
                        (Some(text), _) => visit(ordinal, text),
                        (None, Some(bits)) => visit(ordinal, &field.bits_text(bits)),
                        (None, None) => {}
                    }
                }
            }
        }
    }
    Ok(())
}

/// Adds the values of a key that has no column of its own.
fn remainder_values(
    source: &dyn Source,
    wanted: Wanted<'_>,
    meter: &Meter<'_>,
    counts: &mut Counts,
) -> Result<(), Halt> {
    let traces = of_remainder(source, wanted.key)?;
    let mut found: HashMap<(String, &'static str), (u32, u64)> = HashMap::new();
    each_value_of_row(source, &Field::Remainder, &traces, meter, |ordinal, text| {
        for attribute in attributes_in(&Field::Remainder, text).into_iter().filter(|found| found.key == wanted.key) {
            let value = value_text(&attribute.value);
            if value.starts_with(wanted.prefix) && found.len() < VALUES_MAX {
                let entry = found.entry((value, type_name(&attribute.value))).or_insert((ordinal, 1));
                if entry.0 != ordinal {
                    *entry = (ordinal, entry.1 + 1);
                }
            }
        }
    })?;
    for (value, (_, traces)) in found {
        *counts.entry(value).or_default() += traces;
    }
    Ok(())
}

/// Adds the values of a key within resources or scopes.
fn packed_values(
    source: &dyn Source,
    field: &Field,
    wanted: Wanted<'_>,
    meter: &Meter<'_>,
    counts: &mut Counts,
) -> Result<(), Halt> {
    // The texts that hold each value, with the traces of each text as far as the index knows them.
    let mut holders: HashMap<(String, &'static str), (u64, HashSet<String>)> = HashMap::new();
    let mut add = |text: &str, traces: u64| {
        for attribute in attributes_in(field, text).into_iter().filter(|attribute| attribute.key == wanted.key) {
            let value = value_text(&attribute.value);
            if value.starts_with(wanted.prefix) && holders.len() < VALUES_MAX {
                let entry = holders.entry((value, type_name(&attribute.value))).or_default();
                entry.0 += traces;
                entry.1.insert(text.to_owned());
            }
        }
        holders.len() < VALUES_MAX
    };
    if !source.distinct(field, &mut add)? {
        texts(source, field, meter, |text, spans| {
            add(text, spans);
        })?;
    }
    for (value, (sum, texts)) in holders {
        // One trace may hold several of the texts; the index tells how many there are in all.
        let exact = match texts.len() {
            1 => None,
            _ => match source.postings(field, &TermPredicate::TextWhere(&|text| texts.contains(text)))? {
                TraceSet::Some { traces, exact: true } => Some(traces.len()),
                _ => None,
            },
        };
        *counts.entry(value).or_default() += exact.unwrap_or(sum);
    }
    Ok(())
}

/// A value as text; arrays and maps as their JSON.
fn value_text(value: &Value) -> String {
    match value {
        Value::Str(text) => text.clone(),
        Value::Bool(truth) => truth.to_string(),
        Value::Int(number) => number.to_string(),
        Value::Double(number) => number.to_string(),
        Value::Empty | Value::Bytes(_) | Value::Array(_) | Value::Map(_) => json::value_to_json(value),
    }
}
