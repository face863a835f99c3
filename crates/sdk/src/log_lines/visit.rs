//! The fields of an event or a span as text or as members of a JSON object.

use std::error::Error;
use std::fmt::{self, Write};

use tracing::field::{Field, Visit};

use super::{LogFormat, json};

/// Causes of an error that are followed.
const CAUSES_MAX: usize = 16;

/// Collects what a line shows.
pub(super) struct LineVisitor {
    format: LogFormat,
    /// `key=value key=value`, or `"key":value,"key":value`.
    pub(super) fields: String,
    /// The field `message`.
    pub(super) message: String,
    /// Where the `log` crate was used: the target that stands in the record.
    pub(super) target: Option<String>,
}

impl LineVisitor {
    pub(super) fn new(format: LogFormat) -> Self {
        Self { format, fields: String::new(), message: String::new(), target: None }
    }

    fn key(&mut self, name: &str) {
        let separator = match self.format {
            LogFormat::Text => ' ',
            LogFormat::Json => ',',
        };
        if !self.fields.is_empty() {
            self.fields.push(separator);
        }
        match self.format {
            LogFormat::Text => {
                self.fields.push_str(name);
                self.fields.push('=');
            }
            LogFormat::Json => {
                json::string(&mut self.fields, name);
                self.fields.push(':');
            }
        }
    }

    /// A number or truth value, which is the same in both.
    fn plain(&mut self, field: &Field, value: &dyn fmt::Display) {
        self.key(field.name());
        // Writing to a string does not fail.
        let _ = write!(self.fields, "{value}");
    }

    /// Text that is not shown as a field.
    fn special(&mut self, name: &str, text: &str) -> bool {
        match name {
            "message" => text.clone_into(&mut self.message),
            "log.target" => self.target = Some(text.to_owned()),
            "log.module_path" | "log.file" => {}
            // As long as a page; the record has it.
            "exception.stacktrace" if self.format == LogFormat::Text => {}
            _ => return false,
        }
        true
    }

    fn text(&mut self, field: &Field, text: &str, quoted: bool) {
        if self.special(field.name(), text) {
            return;
        }
        self.key(field.name());
        match self.format {
            LogFormat::Json => json::string(&mut self.fields, text),
            LogFormat::Text if quoted => {
                let _ = write!(self.fields, "{text:?}");
            }
            LogFormat::Text => json::one_line(&mut self.fields, text),
        }
    }
}

impl Visit for LineVisitor {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.text(field, value, true);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.plain(field, &value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.plain(field, &value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        if field.name() != "log.line" {
            self.plain(field, &value);
        }
    }

    fn record_i128(&mut self, field: &Field, value: i128) {
        self.plain(field, &value);
    }

    fn record_u128(&mut self, field: &Field, value: u128) {
        self.plain(field, &value);
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        if value.is_finite() || self.format == LogFormat::Text {
            self.plain(field, &value);
        } else {
            // JSON has no such numbers.
            self.text(field, &value.to_string(), false);
        }
    }

    fn record_bytes(&mut self, field: &Field, value: &[u8]) {
        let mut hex = String::with_capacity(value.len() * 2);
        for byte in value {
            let _ = write!(hex, "{byte:02x}");
        }
        self.text(field, &hex, false);
    }

    fn record_error(&mut self, field: &Field, value: &(dyn Error + 'static)) {
        let mut text = displayed(&format_args!("{value}"));
        let mut cause = value.source();
        for _ in 0..CAUSES_MAX {
            let Some(error) = cause else { break };
            text.push_str(": ");
            text.push_str(&displayed(&format_args!("{error}")));
            cause = error.source();
        }
        self.text(field, &text, true);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let text = displayed(&format_args!("{value:?}"));
        self.text(field, &text, false);
    }
}

/// `arguments` as text. Unlike `to_string`, a formatter that reports an error does not panic.
fn displayed(arguments: &fmt::Arguments<'_>) -> String {
    let mut text = String::new();
    let _ = text.write_fmt(*arguments);
    text
}
