//! What a JSON document is, by the names of its outermost fields.

use std::fmt;

use serde::de::{IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

/// The names of a document's outermost fields, or of those of its first element if it is an array.
#[derive(Default)]
pub(super) struct Outline {
    pub(super) keys: Vec<String>,
}

/// More names than this do not help anybody.
const KEYS_MAX: usize = 12;

impl<'de> Visitor<'de> for &mut Outline {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object or an array of objects")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key::<String>()? {
            if self.keys.len() < KEYS_MAX {
                self.keys.push(key);
            }
            map.next_value::<IgnoredAny>()?;
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<(), A::Error> {
        elements.next_element_seed(First(self))?;
        while elements.next_element::<IgnoredAny>()?.is_some() {}
        Ok(())
    }
}

/// The first element of an array.
struct First<'o>(&'o mut Outline);

impl<'de> serde::de::DeserializeSeed<'de> for First<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self.0)
    }
}

/// The signals of a request in OTLP JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Signals {
    pub(super) spans: bool,
    pub(super) logs: bool,
}

impl Signals {
    fn add(&mut self, key: &str) {
        self.spans |= is_spans(key);
        self.logs |= is_logs(key);
    }

    /// A guess that never leaves a signal out, where the first field is one: a look at the text rather than a walk over
    /// it. `None` where the first field is another.
    pub(super) fn at_a_glance(json: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(json).ok()?;
        let first = text.trim_start().strip_prefix('{')?.trim_start().strip_prefix('"')?;
        let (first, rest) = first.split_once('"')?;
        let has = |names: [&str; 2]| names.iter().any(|name| rest.contains(name));
        match first {
            key if is_spans(key) => Some(Self { spans: true, logs: has(["\"resourceLogs\"", "\"resource_logs\""]) }),
            key if is_logs(key) => Some(Self { spans: has(["\"resourceSpans\"", "\"resource_spans\""]), logs: true }),
            _ => None,
        }
    }
}

pub(super) fn is_spans(key: &str) -> bool {
    matches!(key, "resourceSpans" | "resource_spans")
}

pub(super) fn is_logs(key: &str) -> bool {
    matches!(key, "resourceLogs" | "resource_logs")
}

pub(super) fn is_metrics(key: &str) -> bool {
    matches!(key, "resourceMetrics" | "resource_metrics")
}

impl<'de> Deserialize<'de> for Signals {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Keys;
        impl<'de> Visitor<'de> for Keys {
            type Value = Signals;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an export request")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Signals, A::Error> {
                let mut signals = Signals::default();
                while let Some(key) = map.next_key::<std::borrow::Cow<'_, str>>()? {
                    signals.add(&key);
                    map.next_value::<IgnoredAny>()?;
                }
                Ok(signals)
            }
        }
        deserializer.deserialize_map(Keys)
    }
}
