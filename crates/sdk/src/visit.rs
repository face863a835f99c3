//! From the fields of `tracing` to attributes, and the fields that mean something else.

use std::error::Error;
use std::fmt::{self, Write};

use tracing::field::{Field, Visit};

use crate::config::Limits;
use crate::proto::{self, ValueRef};
use crate::span::{SpanKind, StatusCode};

/// Causes of an error that are followed.
const CAUSES_MAX: usize = 16;

/// What the fields of one span, one `record` call or one event said.
#[derive(Default)]
pub(crate) struct Fields {
    /// Key and encoded `KeyValue` of each attribute, one after the other.
    pub(crate) attributes: Vec<u8>,
    pub(crate) count: u32,
    pub(crate) dropped: u32,
    /// Whether any of the fields below was there.
    pub(crate) special: bool,
    /// `otel.name`.
    pub(crate) name: Option<String>,
    /// `otel.kind`.
    pub(crate) kind: Option<SpanKind>,
    /// `otel.status_code`.
    pub(crate) status: Option<StatusCode>,
    /// `otel.status_message` or `otel.status_description`.
    pub(crate) status_message: Option<String>,
    /// `message`, of events.
    pub(crate) message: Option<String>,
    /// `log.target`, of events that were records of the `log` crate.
    pub(crate) log_target: Option<String>,
    /// `event.name`, of events.
    pub(crate) event_name: Option<String>,
    /// `error` as a truth value.
    pub(crate) failed: bool,
    /// `error` or `exception.message` as text, with its causes.
    pub(crate) exception: Option<Exception>,
}

/// An error found in a field.
#[derive(Default)]
pub(crate) struct Exception {
    pub(crate) message: String,
    /// The causes, one a line; empty where there are none.
    pub(crate) causes: String,
}

/// Where the fields come from: a few names mean something in one place only.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    Span,
    Event,
}

/// Collects [`Fields`]; `field` is the protobuf field number under which attributes are written.
pub(crate) struct Visitor<'a> {
    pub(crate) fields: Fields,
    place: Place,
    field: u32,
    limits: &'a Limits,
}

impl<'a> Visitor<'a> {
    pub(crate) fn new(place: Place, field: u32, limits: &'a Limits) -> Self {
        Self { fields: Fields::default(), place, field, limits }
    }

    pub(crate) fn attribute(&mut self, key: &str, value: ValueRef<'_>) {
        if self.fields.count >= self.limits.attributes_max {
            self.fields.dropped += 1;
            return;
        }
        let value = match value {
            ValueRef::Str(text) => ValueRef::Str(cut(text, self.limits.value_bytes_max)),
            other => other,
        };
        proto::key_value(&mut self.fields.attributes, self.field, key, value);
        self.fields.count += 1;
    }

    /// Takes a text that is not an attribute; false when `key` is an ordinary one.
    fn special(&mut self, key: &str, text: &str) -> bool {
        let fields = &mut self.fields;
        match (key, self.place) {
            ("otel.name", Place::Span) => fields.name = Some(text.to_owned()),
            ("otel.kind", Place::Span) => fields.kind = SpanKind::from_name(text),
            ("otel.status_code", Place::Span) => {
                fields.status = match text {
                    text if text.eq_ignore_ascii_case("ok") => Some(StatusCode::Ok),
                    text if text.eq_ignore_ascii_case("error") => Some(StatusCode::Error),
                    _ => None,
                }
            }
            ("otel.status_message" | "otel.status_description", Place::Span) => {
                fields.status_message = Some(text.to_owned());
            }
            ("message", Place::Event) => fields.message = Some(text.to_owned()),
            ("event.name", Place::Event) => fields.event_name = Some(text.to_owned()),
            ("error" | "exception.message", _) => {
                fields.exception = Some(Exception { message: text.to_owned(), ..Exception::default() });
            }
            // The bridge from the `log` crate repeats its metadata as fields.
            ("log.target", Place::Event) => fields.log_target = Some(text.to_owned()),
            ("log.module_path" | "log.file" | "log.line", Place::Event) => {}
            _ => return false,
        }
        fields.special = true;
        true
    }

    fn is_special(&self, key: &str) -> bool {
        match self.place {
            Place::Span => key.starts_with("otel.") || key == "error" || key == "exception.message",
            Place::Event => {
                matches!(key, "message" | "event.name" | "error" | "exception.message") || key.starts_with("log.")
            }
        }
    }
}

impl Visit for Visitor<'_> {
    fn record_str(&mut self, field: &Field, value: &str) {
        if !(self.is_special(field.name()) && self.special(field.name(), value)) {
            self.attribute(field.name(), ValueRef::Str(value));
        }
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        if field.name() == "error" {
            (self.fields.failed, self.fields.special) = (value, true);
        } else {
            self.attribute(field.name(), ValueRef::Bool(value));
        }
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.attribute(field.name(), ValueRef::Int(value));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        match i64::try_from(value) {
            Ok(value) => self.attribute(field.name(), ValueRef::Int(value)),
            // OTLP's integers are signed; a larger one stays exact as text.
            Err(_) => self.attribute(field.name(), ValueRef::Str(&value.to_string())),
        }
    }

    fn record_i128(&mut self, field: &Field, value: i128) {
        match i64::try_from(value) {
            Ok(value) => self.attribute(field.name(), ValueRef::Int(value)),
            Err(_) => self.attribute(field.name(), ValueRef::Str(&value.to_string())),
        }
    }

    fn record_u128(&mut self, field: &Field, value: u128) {
        match i64::try_from(value) {
            Ok(value) => self.attribute(field.name(), ValueRef::Int(value)),
            Err(_) => self.attribute(field.name(), ValueRef::Str(&value.to_string())),
        }
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.attribute(field.name(), ValueRef::Double(value));
    }

    fn record_bytes(&mut self, field: &Field, value: &[u8]) {
        self.attribute(field.name(), ValueRef::Bytes(value));
    }

    fn record_error(&mut self, field: &Field, value: &(dyn Error + 'static)) {
        if !matches!(field.name(), "error" | "exception") {
            self.attribute(field.name(), ValueRef::Str(&format(&format_args!("{value}"))));
            return;
        }
        let mut exception = Exception { message: format(&format_args!("{value}")), ..Exception::default() };
        let mut cause = value.source();
        for _ in 0..CAUSES_MAX {
            let Some(error) = cause else { break };
            exception.causes.push_str(&format(&format_args!("caused by: {error}\n")));
            cause = error.source();
        }
        (self.fields.exception, self.fields.special) = (Some(exception), true);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let text = format(&format_args!("{value:?}"));
        if !(self.is_special(field.name()) && self.special(field.name(), &text)) {
            self.attribute(field.name(), ValueRef::Str(&text));
        }
    }
}

/// `arguments` as text. Unlike `to_string`, a formatter that reports an error does not panic.
fn format(arguments: &fmt::Arguments<'_>) -> String {
    let mut text = String::new();
    // What was written before the error is the best there is.
    let _ = text.write_fmt(*arguments);
    text
}

/// The longest prefix of at most `bytes_max` bytes that ends between characters.
fn cut(text: &str, bytes_max: usize) -> &str {
    text.get(..text.floor_char_boundary(bytes_max)).unwrap_or(text)
}
