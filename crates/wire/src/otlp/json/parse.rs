//! JSON to protobuf, by the tables, while the text is parsed: no tree of the document is built.

use std::fmt;

use serde::Deserializer;
use serde::de::{DeserializeSeed, Error, IgnoredAny, MapAccess, SeqAccess, Unexpected, Visitor};

use super::base64;
use crate::otlp::check::DEPTH_MAX;
use crate::otlp::pb_write::{begin_message, end_message, put_bytes, put_fixed32, put_fixed64, put_number};
use crate::otlp::schema::{ANY_VALUE, BATCHES, Field, Kind, LOGS, Message, TRACES};
use crate::{DecodeError, JsonError};

/// Rewrites an OTLP/JSON `ExportTraceServiceRequest` as protobuf.
///
/// Takes what protobuf's JSON mapping and the OTLP specification allow: names in lowerCamelCase or
/// snake_case, integers as numbers or strings, enums as numbers or names, ids in hexadecimal of either
/// case, `null` for absent, base64 in either alphabet, unknown fields of any shape. Ids of a wrong length
/// are kept, so that [`crate::otlp::check_traces`] rejects their spans and no others.
pub fn traces_to_protobuf(json: &[u8]) -> Result<Vec<u8>, DecodeError> {
    parse_message(json, &TRACES)
}

/// Rewrites an OTLP/JSON `ExportLogsServiceRequest` as protobuf; see [`traces_to_protobuf`].
pub fn logs_to_protobuf(json: &[u8]) -> Result<Vec<u8>, DecodeError> {
    parse_message(json, &LOGS)
}

/// Rewrites the JSON of Tempo's first API, which calls the outer list `batches` and may write ids in base64.
pub(crate) fn parse_batches(json: &[u8]) -> Result<Vec<u8>, DecodeError> {
    parse(json, true, |context, json| Root { context, message: &BATCHES }.deserialize(json))
}

/// As [`traces_to_protobuf`], for files, whose ids may be written in base64.
pub(crate) fn parse_traces_file(json: &[u8]) -> Result<Vec<u8>, DecodeError> {
    parse(json, true, |context, json| Root { context, message: &TRACES }.deserialize(json))
}

/// As [`logs_to_protobuf`], for files, whose ids may be written in base64.
pub(crate) fn parse_logs_file(json: &[u8]) -> Result<Vec<u8>, DecodeError> {
    parse(json, true, |context, json| Root { context, message: &LOGS }.deserialize(json))
}

/// Rewrites a JSON object as the fields of `message`.
pub(super) fn parse_message(json: &[u8], message: &'static Message) -> Result<Vec<u8>, DecodeError> {
    parse(json, false, |context, json| Root { context, message }.deserialize(json))
}

/// Rewrites a JSON array as the occurrences of the repeated `field`.
pub(super) fn parse_list(json: &[u8], field: &'static Field) -> Result<Vec<u8>, DecodeError> {
    parse(json, false, |context, json| Place { context, field, element: false, always: false }.deserialize(json))
}

type Json<'j> = serde_json::Deserializer<serde_json::de::SliceRead<'j>>;

fn parse<'j>(
    json: &'j [u8],
    base64_ids: bool,
    read: impl FnOnce(&mut Context, &mut Json<'j>) -> Result<(), serde_json::Error>,
) -> Result<Vec<u8>, DecodeError> {
    let mut context = Context { out: Vec::with_capacity(json.len() / 2), base64_ids, depth: 0, path: Vec::new() };
    let mut deserializer = serde_json::Deserializer::from_slice(json);
    // The parser's own limit is below what nested values may take. Ours is `DEPTH_MAX`, and what is
    // ignored is passed over without recursion.
    deserializer.disable_recursion_limit();
    match read(&mut context, &mut deserializer).and_then(|()| deserializer.end()) {
        Ok(()) => Ok(context.out),
        Err(error) => Err(explain(&error, &context.path)),
    }
}

#[cold]
fn explain(error: &serde_json::Error, path: &[Step]) -> DecodeError {
    let (line, column) = (error.line(), error.column());
    let message = error.to_string();
    let reason = message.strip_suffix(&format!(" at line {line} column {column}")).unwrap_or(&message).to_owned();
    let mut way = String::new();
    for step in path.iter().rev() {
        match step {
            Step::Field(name) if way.is_empty() => way.push_str(name),
            Step::Field(name) => way.extend([".", name]),
            Step::Index(index) => way.push_str(&format!("[{index}]")),
        }
    }
    DecodeError::Json(Box::new(JsonError { line, column, path: way, reason }))
}

struct Context {
    out: Vec<u8>,
    /// Ids may be base64 too.
    base64_ids: bool,
    /// Lists and maps of values that are open.
    depth: usize,
    /// The way to the value that failed, innermost step first; empty while nothing has failed.
    path: Vec<Step>,
}

enum Step {
    Field(&'static str),
    Index(usize),
}

impl Context {
    /// Writes the fields of `message` from a JSON object.
    fn fields<'de, A: MapAccess<'de>>(&mut self, message: &'static Message, mut map: A) -> Result<(), A::Error> {
        while let Some(field) = map.next_key_seed(Name(message))? {
            let Some(field) = field else {
                map.next_value::<IgnoredAny>()?;
                continue;
            };
            let place = Place { context: self, field, element: false, always: message.is_one_of };
            if let Err(error) = map.next_value_seed(place) {
                self.path.push(Step::Field(field.name));
                return Err(error);
            }
        }
        Ok(())
    }
}

/// The document itself.
struct Root<'c> {
    context: &'c mut Context,
    message: &'static Message,
}

impl<'de> DeserializeSeed<'de> for Root<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Root<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "an object ({})", self.message.name)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<(), A::Error> {
        self.context.fields(self.message, map)
    }
}

/// The name of a field; `None` if the message has no such field.
struct Name(&'static Message);

impl<'de> DeserializeSeed<'de> for Name {
    type Value = Option<&'static Field>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        // As bytes, because an unknown name may hold what is not valid Unicode.
        deserializer.deserialize_bytes(self)
    }
}

impl<'de> Visitor<'de> for Name {
    type Value = Option<&'static Field>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a field of {}", self.0.name)
    }

    fn visit_bytes<E: Error>(self, name: &[u8]) -> Result<Self::Value, E> {
        Ok(std::str::from_utf8(name).ok().and_then(|name| self.0.field_named(name)))
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<Self::Value, E> {
        Ok(self.0.field_named(name))
    }
}

/// Where a value goes: a field, or with `element` one occurrence of a repeated field.
struct Place<'c> {
    context: &'c mut Context,
    field: &'static Field,
    element: bool,
    /// A default value is written too, because it says which member of a oneof is set.
    always: bool,
}

impl<'de> DeserializeSeed<'de> for Place<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        match self.field.kind {
            // Text is read as bytes: clients that cut strings by UTF-16 units leave half a surrogate
            // pair behind, for which a strict reader would refuse the whole request.
            Kind::Text if !self.is_list() => deserializer.deserialize_option(self),
            _ => deserializer.deserialize_any(self),
        }
    }
}

impl<'de> Visitor<'de> for Place<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_list() {
            return f.write_str("an array");
        }
        match self.field.kind {
            Kind::Id => f.write_str("a string of hexadecimal digits"),
            Kind::Text => f.write_str("a string"),
            Kind::Bytes => f.write_str("a string in base64"),
            Kind::Enum(_) => f.write_str("the number or the name of an enum"),
            Kind::Bool => f.write_str("true or false"),
            Kind::Uint32 | Kind::Fixed32 => f.write_str("an unsigned 32-bit integer as number or string"),
            Kind::Int64 => f.write_str("a 64-bit integer as number or string"),
            Kind::Fixed64 => f.write_str("an unsigned 64-bit integer as number or string"),
            Kind::Double => f.write_str("a number, or NaN, Infinity, -Infinity as string"),
            Kind::Message(message) => write!(f, "an object ({})", message.name),
        }
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        // `null` is the same as absent; in a list of values it is an element without a value.
        match self.field.kind {
            Kind::Message(message) if self.element && std::ptr::eq(message, &ANY_VALUE) => {
                put_bytes(&mut self.context.out, self.field.number, &[]);
            }
            _ => {}
        }
        Ok(())
    }

    fn visit_none<E: Error>(self) -> Result<(), E> {
        self.visit_unit()
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_bytes(self)
    }

    fn visit_bool<E: Error>(self, truth: bool) -> Result<(), E> {
        match self.field.kind {
            Kind::Bool if !self.is_list() => {
                if truth || self.keeps_defaults() {
                    put_number(&mut self.context.out, self.field.number, u64::from(truth));
                }
                Ok(())
            }
            _ => Err(E::invalid_type(Unexpected::Bool(truth), &self)),
        }
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<(), E> {
        match self.field.kind {
            Kind::Double => self.double(number as f64, Unexpected::Unsigned(number)),
            _ => self.integer(i128::from(number), Unexpected::Unsigned(number)),
        }
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<(), E> {
        match self.field.kind {
            Kind::Double => self.double(number as f64, Unexpected::Signed(number)),
            _ => self.integer(i128::from(number), Unexpected::Signed(number)),
        }
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<(), E> {
        let found = Unexpected::Float(number);
        match (self.field.kind, integral(number)) {
            (Kind::Double, _) => self.double(number, found),
            (_, Some(number)) => self.integer(number, found),
            _ => Err(E::invalid_type(found, &self)),
        }
    }

    fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<(), E> {
        self.visit_str(&String::from_utf8_lossy(bytes))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<(), E> {
        let found = Unexpected::Str(text);
        if self.is_list() {
            return Err(E::invalid_type(found, &self));
        }
        let number = self.field.number;
        match self.field.kind {
            Kind::Text => {
                if !text.is_empty() || self.keeps_defaults() {
                    put_bytes(&mut self.context.out, number, text.as_bytes());
                }
                Ok(())
            }
            Kind::Id => self.id(text),
            Kind::Bytes => {
                if text.is_empty() && !self.keeps_defaults() {
                    return Ok(());
                }
                let start = begin_message(&mut self.context.out, number);
                let decoded = base64::decode(text, &mut self.context.out);
                end_message(&mut self.context.out, start);
                decoded.ok_or_else(|| E::invalid_value(found, &self))
            }
            Kind::Double => match parse_double(text) {
                Some(double) => self.double(double, found),
                None => Err(E::invalid_value(found, &self)),
            },
            Kind::Enum(names) => match names.iter().find(|(_, name)| *name == text) {
                Some((number, _)) => self.integer(i128::from(*number), found),
                None => match parse_integer(text) {
                    Some(number) => self.integer(number, found),
                    None => Err(E::invalid_value(found, &self)),
                },
            },
            Kind::Uint32 | Kind::Int64 | Kind::Fixed32 | Kind::Fixed64 => match parse_integer(text) {
                Some(number) => self.integer(number, found),
                None => Err(E::invalid_value(found, &self)),
            },
            Kind::Bool | Kind::Message(_) => Err(E::invalid_type(found, &self)),
        }
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<(), A::Error> {
        if !self.is_list() {
            return Err(A::Error::invalid_type(Unexpected::Seq, &self));
        }
        let mut index = 0;
        loop {
            let place = Place { context: &mut *self.context, field: self.field, element: true, always: true };
            match elements.next_element_seed(place) {
                Ok(Some(())) => index += 1,
                Ok(None) => return Ok(()),
                Err(error) => {
                    self.context.path.push(Step::Index(index));
                    return Err(error);
                }
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<(), A::Error> {
        let Kind::Message(message) = self.field.kind else {
            return Err(A::Error::invalid_type(Unexpected::Map, &self));
        };
        if self.is_list() {
            return Err(A::Error::invalid_type(Unexpected::Map, &self));
        }
        let nests = usize::from(message.nests());
        if self.context.depth + nests > DEPTH_MAX {
            return Err(A::Error::custom(format_args!("values are nested deeper than {DEPTH_MAX} levels")));
        }
        self.context.depth += nests;
        let start = begin_message(&mut self.context.out, self.field.number);
        self.context.fields(message, map)?;
        end_message(&mut self.context.out, start);
        self.context.depth -= nests;
        Ok(())
    }
}

impl Place<'_> {
    fn is_list(&self) -> bool {
        self.field.repeated && !self.element
    }

    fn keeps_defaults(&self) -> bool {
        self.always
    }

    fn integer<E: Error>(self, number: i128, found: Unexpected<'_>) -> Result<(), E> {
        if self.is_list() {
            return Err(E::invalid_type(found, &self));
        }
        if number == 0 && !self.keeps_defaults() && !matches!(self.field.kind, Kind::Bool | Kind::Text) {
            return Ok(());
        }
        let (out, field) = (&mut self.context.out, self.field.number);
        let put = match self.field.kind {
            Kind::Uint32 => u32::try_from(number).map(|number| put_number(out, field, u64::from(number))),
            Kind::Fixed32 => u32::try_from(number).map(|number| put_fixed32(out, field, number)),
            Kind::Fixed64 => u64::try_from(number).map(|number| put_fixed64(out, field, number)),
            Kind::Int64 => i64::try_from(number).map(|number| put_number(out, field, number as u64)),
            Kind::Enum(_) => i32::try_from(number).map(|number| put_number(out, field, i64::from(number) as u64)),
            _ => return Err(E::invalid_type(found, &self)),
        };
        put.map_err(|_| E::invalid_value(found, &self))
    }

    fn double<E: Error>(self, number: f64, found: Unexpected<'_>) -> Result<(), E> {
        if self.is_list() {
            return Err(E::invalid_type(found, &self));
        }
        put_fixed64(&mut self.context.out, self.field.number, number.to_bits());
        Ok(())
    }

    /// Ids are written as they are, also those of a wrong length. An odd number of digits is kept as one
    /// byte for each digit, a length that no id has.
    fn id<E: Error>(self, text: &str) -> Result<(), E> {
        if text.is_empty() {
            return Ok(());
        }
        let (out, number) = (&mut self.context.out, self.field.number);
        let start = begin_message(out, number);
        let may_be_base64 = self.context.base64_ids && matches!(text.len(), 24 | 12) && text.ends_with('=');
        if may_be_base64 && base64::decode(text, out).is_some() {
            end_message(out, start);
            return Ok(());
        }
        let digit = |byte: u8| char::from(byte).to_digit(16).map(|digit| digit as u8);
        let width = if text.len().is_multiple_of(2) { 2 } else { 1 };
        for digits in text.as_bytes().chunks(width) {
            let byte = digits.iter().try_fold(0u8, |byte, next| Some(byte << 4 | digit(*next)?));
            match byte {
                Some(byte) => out.push(byte),
                None => return Err(E::invalid_value(Unexpected::Str(text), &self)),
            }
        }
        end_message(out, start);
        Ok(())
    }
}

/// A double that is an integer of at most 64 bits.
fn integral(number: f64) -> Option<i128> {
    const LIMIT: f64 = 18_446_744_073_709_551_616.0;
    (number.fract() == 0.0 && number.abs() <= LIMIT).then_some(number as i128)
}

/// An integer in any notation that a JSON number may have: `12`, `-3`, `4.0`, `1e3`.
fn parse_integer(text: &str) -> Option<i128> {
    text.parse().ok().or_else(|| parse_double(text).and_then(integral))
}

/// A JSON number, or one of the three names that protobuf gives to the other doubles.
fn parse_double(text: &str) -> Option<f64> {
    match text {
        "NaN" => Some(f64::NAN),
        "Infinity" => Some(f64::INFINITY),
        "-Infinity" => Some(f64::NEG_INFINITY),
        _ if text.bytes().all(|byte| byte.is_ascii_digit() || b"+-.eE".contains(&byte)) => {
            text.parse().ok().filter(|number: &f64| number.is_finite())
        }
        _ => None,
    }
}
