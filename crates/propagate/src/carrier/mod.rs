//! What holds headers: an HTTP header map, message properties, the environment, a list of pairs.
//!
//! ```text
//! HashMap, BTreeMap, [(K, V)], http::HeaderMap   text, names without regard to case
//! ByteValues      message headers (Kafka, NATS, AMQP): values are bytes
//! GrpcMetadata    gRPC metadata: `-bin` entries are bytes, everything else ASCII
//! Environment     environment variables: TRACEPARENT, BAGGAGE
//! ```

mod bytes;
mod environment;
mod grpc;

pub use bytes::ByteValues;
pub use environment::{Environment, environment_name};
pub use grpc::GrpcMetadata;

use std::collections::{BTreeMap, HashMap};
use std::hash::BuildHasher;

/// Something that headers are read from.
pub trait Extract {
    /// Hands each value stored under `name` to `visit`, in the order received. Names are compared
    /// without regard to case. A value that is not text is handed on as `"\u{fffd}"`, which no format
    /// accepts, so that it counts as present but invalid.
    fn values(&self, name: &str, visit: &mut dyn FnMut(&str));

    /// Hands each name that starts with `prefix` to `visit`, without the prefix, and its value. Formats
    /// that give every member of the baggage a header of its own need this; a carrier that cannot list
    /// its names hands on nothing, and such baggage is then not seen.
    fn prefixed(&self, prefix: &str, visit: &mut dyn FnMut(&str, &str)) {
        let _ = (prefix, visit);
    }

    /// The value stored under `name` if there is exactly one.
    fn single(&self, name: &str) -> Option<String> {
        let mut found = None;
        let mut count = 0usize;
        self.values(name, &mut |value| {
            count += 1;
            if count == 1 {
                found = Some(value.to_owned());
            }
        });
        found.filter(|_| count == 1)
    }
}

/// Something that headers are written to.
pub trait Inject {
    /// Stores `value` as the only value of `name`, replacing what was there. `name` is in lower case;
    /// `value` is printable ASCII.
    fn set(&mut self, name: &'static str, value: &str);

    /// As [`Inject::set`] for a name that is only known now, an HTTP token in any case; `value` is any
    /// text without control characters. A carrier that cannot store either leaves them out.
    fn set_named(&mut self, name: &str, value: &str) {
        let _ = (name, value);
    }
}

/// `name` without `prefix`, compared without regard to case.
fn strip_prefix<'a>(name: &'a str, prefix: &str) -> Option<&'a str> {
    let start = name.get(..prefix.len())?;
    start.eq_ignore_ascii_case(prefix).then(|| &name[prefix.len()..])
}

pub(crate) fn visit_values<'a>(
    pairs: impl Iterator<Item = (&'a str, &'a str)>,
    name: &str,
    visit: &mut dyn FnMut(&str),
) {
    pairs.filter(|(key, _)| key.eq_ignore_ascii_case(name)).for_each(|(_, value)| visit(value));
}

fn visit_prefixed<'a>(
    pairs: impl Iterator<Item = (&'a str, &'a str)>,
    prefix: &str,
    visit: &mut dyn FnMut(&str, &str),
) {
    for (key, value) in pairs {
        if let Some(rest) = strip_prefix(key, prefix) {
            visit(rest, value);
        }
    }
}

impl<H: BuildHasher> Extract for HashMap<String, String, H> {
    fn values(&self, name: &str, visit: &mut dyn FnMut(&str)) {
        visit_values(self.iter().map(|(key, value)| (key.as_str(), value.as_str())), name, visit);
    }

    fn prefixed(&self, prefix: &str, visit: &mut dyn FnMut(&str, &str)) {
        visit_prefixed(self.iter().map(|(key, value)| (key.as_str(), value.as_str())), prefix, visit);
    }
}

impl<H: BuildHasher> Inject for HashMap<String, String, H> {
    fn set(&mut self, name: &'static str, value: &str) {
        self.set_named(name, value);
    }

    fn set_named(&mut self, name: &str, value: &str) {
        self.retain(|key, _| !key.eq_ignore_ascii_case(name));
        self.insert(name.to_owned(), value.to_owned());
    }
}

impl Extract for BTreeMap<String, String> {
    fn values(&self, name: &str, visit: &mut dyn FnMut(&str)) {
        visit_values(self.iter().map(|(key, value)| (key.as_str(), value.as_str())), name, visit);
    }

    fn prefixed(&self, prefix: &str, visit: &mut dyn FnMut(&str, &str)) {
        visit_prefixed(self.iter().map(|(key, value)| (key.as_str(), value.as_str())), prefix, visit);
    }
}

impl Inject for BTreeMap<String, String> {
    fn set(&mut self, name: &'static str, value: &str) {
        self.set_named(name, value);
    }

    fn set_named(&mut self, name: &str, value: &str) {
        self.retain(|key, _| !key.eq_ignore_ascii_case(name));
        self.insert(name.to_owned(), value.to_owned());
    }
}

impl<K: AsRef<str>, V: AsRef<str>> Extract for [(K, V)] {
    fn values(&self, name: &str, visit: &mut dyn FnMut(&str)) {
        visit_values(self.iter().map(|(key, value)| (key.as_ref(), value.as_ref())), name, visit);
    }

    fn prefixed(&self, prefix: &str, visit: &mut dyn FnMut(&str, &str)) {
        visit_prefixed(self.iter().map(|(key, value)| (key.as_ref(), value.as_ref())), prefix, visit);
    }
}

impl<K: AsRef<str>, V: AsRef<str>> Extract for Vec<(K, V)> {
    fn values(&self, name: &str, visit: &mut dyn FnMut(&str)) {
        self.as_slice().values(name, visit);
    }

    fn prefixed(&self, prefix: &str, visit: &mut dyn FnMut(&str, &str)) {
        self.as_slice().prefixed(prefix, visit);
    }
}

impl Inject for Vec<(String, String)> {
    fn set(&mut self, name: &'static str, value: &str) {
        self.set_named(name, value);
    }

    fn set_named(&mut self, name: &str, value: &str) {
        self.retain(|(key, _)| !key.eq_ignore_ascii_case(name));
        self.push((name.to_owned(), value.to_owned()));
    }
}

/// What stands for a value that is not text.
const NOT_TEXT: &str = "\u{fffd}";

#[cfg(feature = "http")]
impl Extract for http::HeaderMap {
    fn values(&self, name: &str, visit: &mut dyn FnMut(&str)) {
        static TRACEPARENT: http::HeaderName = http::HeaderName::from_static("traceparent");
        static TRACESTATE: http::HeaderName = http::HeaderName::from_static("tracestate");
        static BAGGAGE: http::HeaderName = http::HeaderName::from_static("baggage");
        // Every request is asked for these: their names need no parsing.
        let found = match name {
            "traceparent" => self.get_all(&TRACEPARENT),
            "tracestate" => self.get_all(&TRACESTATE),
            "baggage" => self.get_all(&BAGGAGE),
            name => self.get_all(name),
        };
        for value in found {
            visit(std::str::from_utf8(value.as_bytes()).unwrap_or(NOT_TEXT));
        }
    }

    fn prefixed(&self, prefix: &str, visit: &mut dyn FnMut(&str, &str)) {
        for (name, value) in self {
            if let Some(rest) = strip_prefix(name.as_str(), prefix) {
                visit(rest, std::str::from_utf8(value.as_bytes()).unwrap_or(NOT_TEXT));
            }
        }
    }
}

#[cfg(feature = "http")]
impl Inject for http::HeaderMap {
    fn set(&mut self, name: &'static str, value: &str) {
        if let Ok(value) = http::HeaderValue::from_str(value) {
            self.insert(http::HeaderName::from_static(name), value);
        }
    }

    fn set_named(&mut self, name: &str, value: &str) {
        let name = http::HeaderName::from_bytes(name.as_bytes());
        if let (Ok(name), Ok(value)) = (name, http::HeaderValue::from_bytes(value.as_bytes())) {
            self.insert(name, value);
        }
    }
}
