//! A block: up to 65,536 rows in columns, in order of arrival.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;

use foldhash::fast::RandomState;
use hashbrown::HashTable;
use tracewell_model::{KeyValue, Resource, Scope};
use tracewell_wire::otlp::json;
use tracewell_wire::otlp::view::{KeyValueView, ValueView};
use tracewell_wire::otlp::{decode_resource, decode_scope, decode_value};

use super::column::Column;
use super::dict::Dict;
use super::traces::TraceIndex;
use crate::table::{AttrType, Chunk, Field, NO_CODE, Signal};

/// Rows that a block holds at most: a row number fits 16 bits.
pub const BLOCK_ROWS: u32 = 1 << 16;

/// Bytes after which a block counts as full, whatever its rows.
const BLOCK_BYTES: usize = 64 << 20;

/// Attribute columns that a block opens at most; further keys go to the remainder.
const ATTRIBUTE_COLUMNS: usize = 4_096;

/// Columns that do not depend on what attributes there are.
#[derive(Debug)]
pub struct Fixed {
    pub span_id: Column,
    pub start: Column,
    pub duration: Column,
    pub parent_span_id: Column,
    pub name: Column,
    pub kind: Column,
    pub status_code: Column,
    pub status_message: Column,
    pub resource: Column,
    pub scope: Column,
    pub flags: Column,
    pub trace_state: Column,
    pub dropped_attributes: Column,
    pub dropped_events: Column,
    pub dropped_links: Column,
    pub events: Column,
    pub links: Column,
    pub remainder: Column,
    pub log_time: Column,
    pub observed_time: Column,
    pub severity_number: Column,
    pub severity_text: Column,
    pub body: Column,
    pub body_value: Column,
    pub event_name: Column,
}

impl Fixed {
    fn new() -> Self {
        let (text, long, num) = (Column::text, Column::long_text, Column::num);
        Self {
            span_id: num(),
            start: num(),
            duration: num(),
            parent_span_id: num(),
            name: text(),
            kind: num(),
            status_code: num(),
            status_message: text(),
            resource: text(),
            scope: text(),
            flags: num(),
            trace_state: text(),
            dropped_attributes: num(),
            dropped_events: num(),
            dropped_links: num(),
            events: long(),
            links: long(),
            remainder: long(),
            log_time: num(),
            observed_time: num(),
            severity_number: num(),
            severity_text: text(),
            body: text(),
            body_value: long(),
            event_name: text(),
        }
    }

    /// Every column with its name.
    pub fn all(&self) -> [(Field, &Column); 25] {
        [
            (Field::SpanId, &self.span_id),
            (Field::Start, &self.start),
            (Field::Duration, &self.duration),
            (Field::ParentSpanId, &self.parent_span_id),
            (Field::Name, &self.name),
            (Field::Kind, &self.kind),
            (Field::StatusCode, &self.status_code),
            (Field::StatusMessage, &self.status_message),
            (Field::Resource, &self.resource),
            (Field::Scope, &self.scope),
            (Field::Flags, &self.flags),
            (Field::TraceState, &self.trace_state),
            (Field::DroppedAttributes, &self.dropped_attributes),
            (Field::DroppedEvents, &self.dropped_events),
            (Field::DroppedLinks, &self.dropped_links),
            (Field::Events, &self.events),
            (Field::Links, &self.links),
            (Field::Remainder, &self.remainder),
            (Field::LogTime, &self.log_time),
            (Field::ObservedTime, &self.observed_time),
            (Field::SeverityNumber, &self.severity_number),
            (Field::SeverityText, &self.severity_text),
            (Field::Body, &self.body),
            (Field::BodyValue, &self.body_value),
            (Field::EventName, &self.event_name),
        ]
    }
}

/// The column of one attribute key and type.
#[derive(Debug)]
pub struct AttrColumn {
    pub key: Arc<str>,
    pub kind: AttrType,
    pub column: Column,
    /// The column that the next attribute of a span went to last time: instrumentation libraries set attributes
    /// in the same order every time.
    next: u32,
}

/// A block of rows being filled.
#[derive(Debug)]
pub struct Block {
    pub signal: Signal,
    pub rows: u32,
    pub traces: TraceIndex,
    pub fixed: Fixed,
    pub attributes: Vec<AttrColumn>,
    /// Services by code, and the service of each resource code.
    pub services: Dict,
    pub service_of_resource: Vec<u32>,
    pub min_start: u64,
    pub max_end: u64,
    attribute_index: HashTable<u32>,
    hasher: RandomState,
    resources: HashMap<Vec<u8>, u32>,
    scopes: HashMap<Vec<u8>, u32>,
    first_attribute: u32,
    /// JSON being written; kept for its memory.
    pub scratch: Vec<u8>,
}

impl Block {
    /// An empty block.
    pub fn new(signal: Signal) -> Self {
        Self {
            signal,
            rows: 0,
            traces: TraceIndex::default(),
            fixed: Fixed::new(),
            attributes: Vec::new(),
            services: Dict::default(),
            service_of_resource: Vec::new(),
            min_start: u64::MAX,
            max_end: 0,
            attribute_index: HashTable::new(),
            hasher: RandomState::default(),
            resources: HashMap::new(),
            scopes: HashMap::new(),
            first_attribute: 0,
            scratch: Vec::new(),
        }
    }

    /// True when the next row needs another block.
    pub fn is_full(&self) -> bool {
        self.rows >= BLOCK_ROWS || (self.rows.is_multiple_of(1_024) && self.size_bytes() >= BLOCK_BYTES)
    }

    /// Memory in use, in bytes.
    pub fn size_bytes(&self) -> usize {
        let fixed: usize = self.fixed.all().iter().map(|(_, column)| column.size_bytes()).sum();
        let attributes: usize = self.attributes.iter().map(|attribute| attribute.column.size_bytes()).sum();
        let described: usize = self.resources.keys().chain(self.scopes.keys()).map(Vec::len).sum();
        fixed + attributes + described + self.traces.size_bytes() + self.services.size_bytes()
    }

    /// The code of a resource, given as the encoded message and its schema URL.
    pub fn resource(&mut self, encoded: &[u8], schema_url: &[u8]) -> u32 {
        let raw = framed(encoded, schema_url);
        if let Some(code) = self.resources.get(&raw) {
            return *code;
        }
        // The request was checked before it got here; should it still not decode, the spans are worth more than
        // the resource.
        let resource = decode_resource(encoded, schema_url).unwrap_or_else(|_| Resource::default());
        let code = self.fixed.resource.intern(json::resource_to_json(&resource).as_bytes());
        let service = self.services.intern(resource.service_name().as_bytes());
        if code as usize >= self.service_of_resource.len() {
            self.service_of_resource.resize(code as usize + 1, service);
        }
        self.resources.insert(raw, code);
        code
    }

    /// The code of an instrumentation scope, given as the encoded message and its schema URL.
    pub fn scope(&mut self, encoded: &[u8], schema_url: &[u8]) -> u32 {
        let raw = framed(encoded, schema_url);
        if let Some(code) = self.scopes.get(&raw) {
            return *code;
        }
        let scope = decode_scope(encoded, schema_url).unwrap_or_else(|_| Scope::default());
        let code = self.fixed.scope.intern(json::scope_to_json(&scope).as_bytes());
        self.scopes.insert(raw, code);
        code
    }

    /// Appends the attributes of `row`: each to the column of its key and type, what has none to the remainder.
    pub fn push_attributes<'a>(&mut self, row: u16, attributes: impl Iterator<Item = KeyValueView<'a>>) {
        let mut rest: Vec<KeyValue> = Vec::new();
        let mut predicted = self.first_attribute;
        let mut previous: Option<u32> = None;
        for KeyValueView { key, value, .. } in attributes {
            let (kind, bits) = match value {
                ValueView::Str(_) => (AttrType::Str, 0),
                ValueView::Int(number) => (AttrType::Int, number as u64),
                ValueView::Double(number) => (AttrType::Double, number.to_bits()),
                ValueView::Bool(truth) => (AttrType::Bool, u64::from(truth)),
                _ => {
                    rest.push(owned(key, value));
                    continue;
                }
            };
            let hit = self
                .attributes
                .get(predicted as usize)
                .is_some_and(|column| column.kind == kind && column.key.as_bytes() == key);
            let Some(index) = (if hit { Some(predicted) } else { self.attribute_column(key, kind) }) else {
                rest.push(owned(key, value));
                continue;
            };
            if !hit {
                match previous {
                    Some(previous) => self.attributes[previous as usize].next = index,
                    None => self.first_attribute = index,
                }
            }
            let attribute = &mut self.attributes[index as usize];
            if attribute.column.last_row() == Some(row) {
                rest.push(owned(key, value));
                continue;
            }
            match value {
                ValueView::Str(text) => attribute.column.push_text(row, text),
                _ => attribute.column.push_num(row, bits),
            }
            predicted = attribute.next;
            previous = Some(index);
        }
        if !rest.is_empty() {
            self.fixed.remainder.push_text(row, json::attributes_to_json(&rest).as_bytes());
        }
    }

    fn attribute_column(&mut self, key: &[u8], kind: AttrType) -> Option<u32> {
        let hash_of = |hasher: &RandomState, key: &[u8], kind: AttrType| {
            let mut state = hasher.build_hasher();
            state.write(key);
            state.write_u8(kind as u8);
            state.finish()
        };
        let hash = hash_of(&self.hasher, key, kind);
        let columns = &self.attributes;
        let known = self.attribute_index.find(hash, |index| {
            let column = &columns[*index as usize];
            column.kind == kind && column.key.as_bytes() == key
        });
        if let Some(index) = known {
            return Some(*index);
        }
        let Ok(text) = std::str::from_utf8(key) else {
            return self.attribute_column(String::from_utf8_lossy(key).into_owned().as_bytes(), kind);
        };
        if self.attributes.len() >= ATTRIBUTE_COLUMNS {
            return None;
        }
        let index = self.attributes.len() as u32;
        let column = if kind == AttrType::Str { Column::text() } else { Column::num() };
        self.attributes.push(AttrColumn { key: Arc::from(text), kind, column, next: index + 1 });
        let (columns, hasher) = (&self.attributes, &self.hasher);
        self.attribute_index.insert_unique(hash, index, |index| {
            let column = &columns[*index as usize];
            hash_of(hasher, column.key.as_bytes(), column.kind)
        });
        Some(index)
    }

    /// The column behind a field that is stored as such.
    pub fn column(&self, field: &Field) -> Option<&Column> {
        match field {
            Field::Attr { key, kind } => self
                .attributes
                .iter()
                .find(|attribute| attribute.kind == *kind && attribute.key == *key)
                .map(|attribute| &attribute.column),
            _ => self.fixed.all().into_iter().find(|(name, _)| name == field).map(|(_, column)| column),
        }
    }

    /// Values of a field for the first `rows` rows.
    pub fn chunk(&self, field: &Field, rows: usize) -> Option<Chunk> {
        if *field != Field::Service {
            return self.column(field)?.chunk(rows);
        }
        let codes = (0..rows)
            .map(|row| {
                let resource = self.fixed.resource.code_at(row).unwrap_or(NO_CODE) as usize;
                self.service_of_resource.get(resource).copied().unwrap_or(NO_CODE)
            })
            .collect();
        Some(Chunk::Str { codes, dict: Arc::clone(self.services.table()) })
    }
}

fn framed(encoded: &[u8], schema_url: &[u8]) -> Vec<u8> {
    let mut raw = Vec::with_capacity(encoded.len() + schema_url.len() + 4);
    raw.extend_from_slice(&(encoded.len() as u32).to_le_bytes());
    raw.extend_from_slice(encoded);
    raw.extend_from_slice(schema_url);
    raw
}

fn owned(key: &[u8], value: ValueView<'_>) -> KeyValue {
    KeyValue { key: String::from_utf8_lossy(key).into_owned(), value: decode_value(value).unwrap_or_default() }
}
