//! Protobuf to JSON, by the tables.

use super::base64;
use super::text::{put_double, put_hex, put_integer, put_string};
use crate::otlp::check::DEPTH_MAX;
use crate::otlp::pb::{Payloads, Reader, tag};
use crate::otlp::pb_write::put_text;
use crate::otlp::schema::{
    ANY_VALUE, ARRAY, BATCHES, Field, KEY_VALUE, Kind, LOGS, MAP, Message, SPAN_EVENTS, SPAN_LINKS, STORED_RESOURCE,
    STORED_SCHEMA_URL, STORED_SCOPE, TRACES,
};
use crate::otlp::view::{KeyValueView, SpanView, ValueView};
use crate::{DecodeError, Problem};

/// How JSON is to look where dialects differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Style {
    /// As the OTLP specification says: `resourceSpans`, enums as numbers.
    #[default]
    Otlp,
    /// Protobuf's own JSON mapping, without OTLP's exceptions: enums as names (`SPAN_KIND_SERVER`) and ids in base64.
    /// Tempo's second API answers so, and its clients read nothing else.
    Names,
    /// As [`Style::Names`], and the outer list is called `batches`: Tempo's first API.
    Batches,
}

/// Rewrites an `ExportTraceServiceRequest` (or `TracesData`) as JSON, appended to `out`.
pub fn traces_to_json(protobuf: &[u8], style: Style, out: &mut Vec<u8>) -> Result<(), DecodeError> {
    let message = if style == Style::Batches { &BATCHES } else { &TRACES };
    Writer { out, style }.run(|writer| {
        // The outer list is written also when it is empty: an answer without it would look broken.
        if protobuf.is_empty() {
            writer.put(if style == Style::Batches { b"{\"batches\":[]}" } else { b"{\"resourceSpans\":[]}" });
            return Ok(());
        }
        writer.message(protobuf, message, 0)
    })
}

/// Rewrites an `ExportLogsServiceRequest` (or `LogsData`) as JSON, appended to `out`.
pub fn logs_to_json(protobuf: &[u8], style: Style, out: &mut Vec<u8>) -> Result<(), DecodeError> {
    Writer { out, style }.run(|writer| {
        if protobuf.is_empty() {
            writer.put(b"{\"resourceLogs\":[]}");
            return Ok(());
        }
        writer.message(protobuf, &LOGS, 0)
    })
}

/// Appends `{"key":…,"value":{…}}`.
pub fn write_attribute(attribute: &KeyValueView<'_>, out: &mut Vec<u8>) -> Result<(), DecodeError> {
    Writer { out, style: Style::Otlp }.run(|writer| writer.attribute(attribute, 0))
}

/// Appends a value as OTLP/JSON, such as `{"stringValue":"a"}`.
pub fn write_value(value: ValueView<'_>, out: &mut Vec<u8>) -> Result<(), DecodeError> {
    Writer { out, style: Style::Otlp }.run(|writer| writer.any_value(value, 0))
}

/// Appends a span's events as a JSON array, straight from the request's bytes.
pub fn write_events(span: &SpanView<'_>, out: &mut Vec<u8>) -> Result<(), DecodeError> {
    write_list(span.event_extent(), &SPAN_EVENTS, out)
}

/// Appends a span's links as a JSON array, straight from the request's bytes.
pub fn write_links(span: &SpanView<'_>, out: &mut Vec<u8>) -> Result<(), DecodeError> {
    write_list(span.link_extent(), &SPAN_LINKS, out)
}

/// Appends the elements of the repeated `field` of an encoded message as a JSON array.
pub(super) fn write_list(bytes: &[u8], field: &'static Field, out: &mut Vec<u8>) -> Result<(), DecodeError> {
    Writer { out, style: Style::Otlp }.run(|writer| writer.list(Reader::new(bytes), field, "Span", 0))
}

/// Appends an encoded `Resource` and the schema URL that stands beside it as one JSON object.
pub fn write_resource(resource: &[u8], schema_url: &[u8], out: &mut Vec<u8>) -> Result<(), DecodeError> {
    write_head(resource, schema_url, &STORED_RESOURCE, out)
}

/// Appends an encoded `InstrumentationScope` and the schema URL that stands beside it as one JSON object.
pub fn write_scope(scope: &[u8], schema_url: &[u8], out: &mut Vec<u8>) -> Result<(), DecodeError> {
    write_head(scope, schema_url, &STORED_SCOPE, out)
}

fn write_head(head: &[u8], schema_url: &[u8], message: &'static Message, out: &mut Vec<u8>) -> Result<(), DecodeError> {
    let mut writer = Writer { out, style: Style::Otlp };
    if schema_url.is_empty() {
        return writer.run(|writer| writer.message(head, message, 0));
    }
    let mut joined = head.to_vec();
    put_text(&mut joined, STORED_SCHEMA_URL, schema_url);
    writer.run(|writer| writer.message(&joined, message, 0))
}

/// A message and what is wrong with it.
type Broken = (&'static str, Problem);

struct Writer<'o> {
    out: &'o mut Vec<u8>,
    style: Style,
}

/// No message of ours has more fields.
const FIELDS_MAX: usize = 16;

impl Writer<'_> {
    /// Writes; if that fails, nothing has been appended.
    fn run(&mut self, write: impl FnOnce(&mut Self) -> Result<(), Broken>) -> Result<(), DecodeError> {
        let start = self.out.len();
        write(self).map_err(|(message, problem)| {
            self.out.truncate(start);
            DecodeError::protobuf(message, problem)
        })
    }

    fn put(&mut self, bytes: &[u8]) {
        self.out.extend_from_slice(bytes);
    }

    /// Writes a message as an object, its fields in the order of the table. `depth` counts lists and maps.
    fn message(&mut self, bytes: &[u8], message: &'static Message, depth: usize) -> Result<(), Broken> {
        let depth = depth + usize::from(message.nests());
        if depth > DEPTH_MAX {
            return Err((message.name, Problem::TooDeep));
        }
        let places = find_fields(bytes, message).map_err(|problem| (message.name, problem))?;
        self.out.push(b'{');
        let mut comma = false;
        for (field, place) in message.fields.iter().zip(places) {
            let Some(value) = place else { continue };
            if std::mem::replace(&mut comma, true) {
                self.out.push(b',');
            }
            self.out.push(b'"');
            self.put(field.name.as_bytes());
            self.put(b"\":");
            if field.repeated {
                self.list(value, field, message.name, depth)?;
            } else {
                self.value(value, field.kind, message.name, depth)?;
            }
        }
        self.out.push(b'}');
        Ok(())
    }

    /// Writes the occurrences of a repeated field from `reader` on, whose next thing is a field header.
    fn list(
        &mut self,
        reader: Reader<'_>,
        field: &'static Field,
        name: &'static str,
        depth: usize,
    ) -> Result<(), Broken> {
        self.out.push(b'[');
        for (index, payload) in Payloads::of(reader, field.number).enumerate() {
            if index > 0 {
                self.out.push(b',');
            }
            self.payload(payload.map_err(|problem| (name, problem))?, field.kind, depth)?;
        }
        self.out.push(b']');
        Ok(())
    }

    /// Writes the value of a singular field from `reader`, which stands behind the field's header.
    fn value(&mut self, mut reader: Reader<'_>, kind: Kind, name: &'static str, depth: usize) -> Result<(), Broken> {
        let broken = |problem| (name, problem);
        match kind {
            // Bytes occur in values only, which have a writer of their own.
            Kind::Id | Kind::Text | Kind::Bytes | Kind::Message(_) => {
                self.payload(reader.bytes().map_err(broken)?, kind, depth)?;
            }
            Kind::Bool => {
                let truth = reader.varint().map_err(broken)? != 0;
                self.put(if truth { b"true" } else { b"false" });
            }
            Kind::Enum(names) => {
                let number = reader.varint().map_err(broken)? as i32;
                match names.iter().find(|(known, _)| *known == number && self.style != Style::Otlp) {
                    Some((_, name)) => put_string(self.out, name.as_bytes()),
                    None => put_integer(self.out, number),
                }
            }
            Kind::Uint32 => put_integer(self.out, reader.varint().map_err(broken)? as u32),
            Kind::Fixed32 => put_integer(self.out, reader.fixed32().map_err(broken)?),
            Kind::Double => put_double(self.out, f64::from_bits(reader.fixed64().map_err(broken)?)),
            // JSON numbers are doubles to most readers, so 64-bit integers travel as strings.
            Kind::Int64 => self.quoted(reader.varint().map_err(broken)? as i64),
            Kind::Fixed64 => self.quoted(reader.fixed64().map_err(broken)?),
        }
        Ok(())
    }

    fn payload(&mut self, bytes: &[u8], kind: Kind, depth: usize) -> Result<(), Broken> {
        match kind {
            // Attributes and values are most of what is written; their views are faster than the tables.
            Kind::Message(message) if std::ptr::eq(message, &KEY_VALUE) => {
                let attribute = KeyValueView::read(bytes).map_err(|problem| (message.name, problem))?;
                self.attribute(&attribute, depth)?;
            }
            Kind::Message(message) if std::ptr::eq(message, &ANY_VALUE) => {
                let (value, _) = ValueView::read(bytes).map_err(|problem| (message.name, problem))?;
                self.any_value(value, depth)?;
            }
            Kind::Message(message) => self.message(bytes, message, depth)?,
            Kind::Id => {
                self.out.push(b'"');
                match self.style {
                    Style::Otlp => put_hex(self.out, bytes),
                    Style::Names | Style::Batches => base64::encode(bytes, self.out),
                }
                self.out.push(b'"');
            }
            _ => put_string(self.out, bytes),
        }
        Ok(())
    }

    fn attribute(&mut self, attribute: &KeyValueView<'_>, depth: usize) -> Result<(), Broken> {
        self.put(b"{\"key\":");
        put_string(self.out, attribute.key);
        self.put(b",\"value\":");
        self.any_value(attribute.value, depth)?;
        self.out.push(b'}');
        Ok(())
    }

    fn any_value(&mut self, value: ValueView<'_>, depth: usize) -> Result<(), Broken> {
        match value {
            ValueView::Empty => self.out.push(b'{'),
            ValueView::Str(text) => {
                self.put(b"{\"stringValue\":");
                put_string(self.out, text);
            }
            ValueView::Bool(truth) => self.put(if truth { b"{\"boolValue\":true" } else { b"{\"boolValue\":false" }),
            ValueView::Int(number) => {
                self.put(b"{\"intValue\":");
                self.quoted(number);
            }
            ValueView::Double(number) => {
                self.put(b"{\"doubleValue\":");
                put_double(self.out, number);
            }
            ValueView::Bytes(bytes) => {
                self.put(b"{\"bytesValue\":\"");
                base64::encode(bytes, self.out);
                self.out.push(b'"');
            }
            ValueView::Array(bytes) => {
                self.put(b"{\"arrayValue\":");
                self.message(bytes, &ARRAY, depth)?;
            }
            ValueView::Map(bytes) => {
                self.put(b"{\"kvlistValue\":");
                self.message(bytes, &MAP, depth)?;
            }
        }
        self.out.push(b'}');
        Ok(())
    }

    fn quoted(&mut self, number: impl std::fmt::Display) {
        self.out.push(b'"');
        put_integer(self.out, number);
        self.out.push(b'"');
    }
}

/// Where the fields of a message are: of a repeated field, the reader before its first occurrence's
/// header; of a singular one, the reader behind its last occurrence's header.
fn find_fields<'a>(bytes: &'a [u8], message: &'static Message) -> Result<[Option<Reader<'a>>; FIELDS_MAX], Problem> {
    let mut places = [None; FIELDS_MAX];
    let mut reader = Reader::new(bytes);
    loop {
        let before = reader;
        let Some(found) = reader.tag()? else { break };
        let behind = reader;
        reader.skip(found)?;
        let index = message.fields.iter().position(|field| field.number == found >> 3);
        let Some((field, index)) = index.and_then(|index| Some((message.fields.get(index)?, index))) else { continue };
        if tag(field.number, field.kind.wire_type()) != found {
            return Err(Problem::WireType { field: field.number, found: (found & 7) as u8 });
        }
        if let Some(place) = places.get_mut(index) {
            *place = if field.repeated { place.or(Some(before)) } else { Some(behind) };
        }
    }
    Ok(places)
}
