//! Lines that name their values: JSON objects and logfmt.

use std::borrow::Cow;
use std::collections::HashMap;

use serde_json::Value as Json;
use tracewell_model::{KeyValue, Value};

use super::field::{Access, Field, Slot};
use super::{names, pattern};

/// Levels of objects that are looked into; what lies deeper becomes one attribute.
const DEPTH_MAX: usize = 6;

/// What keys mean: those of the user first, then the names in common use.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Keys {
    own: HashMap<String, Slot>,
    /// Only the user's; what else is there becomes attributes.
    only_own: bool,
}

impl Keys {
    pub(super) fn new(own: impl IntoIterator<Item = (String, Slot)>, only_own: bool) -> Self {
        let own = own.into_iter().map(|(key, slot)| (key.to_lowercase(), slot)).collect();
        Self { own, only_own }
    }

    pub(super) fn add(&mut self, key: &str, slot: Slot) {
        self.own.insert(key.to_lowercase(), slot);
    }

    fn slot(&self, key: &str) -> Option<Slot> {
        // Most keys are in lower case already.
        let lower = if key.bytes().any(|byte| byte.is_ascii_uppercase()) {
            Cow::Owned(key.to_ascii_lowercase())
        } else {
            Cow::Borrowed(key)
        };
        match self.own.get(lower.as_ref()) {
            Some(slot) => Some(slot.clone()),
            None if self.only_own => None,
            None => names::key(&lower),
        }
    }
}

/// The values of a line that is a JSON object.
pub(super) fn json<'a>(line: &str, keys: &Keys) -> Result<Access<'a>, String> {
    let object: Json = serde_json::from_str(line).map_err(|error| error.to_string())?;
    let Json::Object(members) = object else { return Err("not an object".to_owned()) };
    let mut access = Access::default();
    for (key, value) in members {
        member(&mut access, keys, key, value, 1);
    }
    Ok(access)
}

fn member(access: &mut Access<'_>, keys: &Keys, path: String, value: Json, depth: usize) {
    let slot = keys.slot(&path);
    match value {
        Json::Null => {}
        Json::Object(members) if depth < DEPTH_MAX => {
            for (key, value) in members {
                member(access, keys, format!("{path}.{key}"), value, depth + 1);
            }
        }
        // Headers are lists; the first value is the one that counts.
        Json::Array(mut values) if slot.is_some() && !values.is_empty() => {
            member(access, keys, path, values.swap_remove(0), depth + 1);
        }
        value => match slot {
            Some(Slot::Known(field, unit)) => match text_of(&value) {
                Some(text) => access.set_field(field, unit, Cow::Owned(text)),
                None => access.set_extra(Cow::Owned(path), model_value(value, 1)),
            },
            Some(Slot::Attribute(name)) => access.set_extra(Cow::Owned(name), model_value(value, 1)),
            None => access.set_extra(Cow::Owned(path), model_value(value, 1)),
        },
    }
}

fn text_of(value: &Json) -> Option<String> {
    match value {
        Json::String(text) => Some(text.clone()),
        // Not in exponents: `1e-05` seconds is a duration too.
        Json::Number(number) => Some(match number.as_f64().filter(|_| number.is_f64()) {
            Some(double) => format!("{double:.9}"),
            None => number.to_string(),
        }),
        Json::Bool(truth) => Some(truth.to_string()),
        _ => None,
    }
}

fn model_value(value: Json, depth: usize) -> Value {
    match value {
        Json::Null => Value::Empty,
        Json::Bool(truth) => Value::Bool(truth),
        Json::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(whole), _) => Value::Int(whole),
            (None, Some(double)) => Value::Double(double),
            (None, None) => Value::Str(number.to_string()),
        },
        Json::String(text) => Value::Str(text),
        nested if depth > DEPTH_MAX => Value::Str(nested.to_string()),
        Json::Array(values) => Value::Array(values.into_iter().map(|value| model_value(value, depth + 1)).collect()),
        Json::Object(members) => Value::Map(
            members.into_iter().map(|(key, value)| KeyValue { key, value: model_value(value, depth + 1) }).collect(),
        ),
    }
}

/// The values of a logfmt line: `level=info msg="it works" duration=12ms ok`.
pub(super) fn logfmt<'a>(line: &'a str, keys: &Keys) -> Option<Access<'a>> {
    let mut access = Access::default();
    let mut rest = line.trim();
    let mut pairs = 0;
    while !rest.is_empty() {
        let end = rest.find(|c: char| c == '=' || c.is_whitespace()).unwrap_or(rest.len());
        let (key, after) = rest.split_at(end);
        let Some(after) = after.strip_prefix('=') else {
            // A word alone.
            rest = after.trim_start();
            continue;
        };
        if key.is_empty() || key.contains(['"', '{', '[']) {
            return None;
        }
        let (value, after) = match after.strip_prefix('"') {
            Some(quoted) => {
                let close = closing_quote(quoted)?;
                (pattern::unescaped(&quoted[..close]), &quoted[close + 1..])
            }
            None => {
                let end = after.find(char::is_whitespace).unwrap_or(after.len());
                (Cow::Borrowed(&after[..end]), &after[end..])
            }
        };
        pairs += 1;
        match keys.slot(key) {
            Some(slot) => access.set(&slot, value),
            None => access.set_extra(Cow::Borrowed(key), Value::Str(value.into_owned())),
        }
        rest = after.trim_start();
    }
    // A sentence with an equals sign in it is not logfmt.
    (pairs >= 2 || access.get(Field::TraceId).is_some()).then_some(access)
}

fn closing_quote(text: &str) -> Option<usize> {
    let mut bytes = text.bytes().enumerate();
    while let Some((at, byte)) = bytes.next() {
        match byte {
            b'"' => return Some(at),
            b'\\' => drop(bytes.next()),
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::accesslog::field::Unit;

    #[test]
    fn keys_in_common_use_are_understood_at_every_level() {
        let keys = Keys::default();
        let line = r#"{"ts":1795367045.5,"request":{"method":"GET","uri":"/a?b","headers":{"X-Request-Id":["r1"]}},
                       "status":200,"duration":1e-05,"size":12,"cached":true,"tags":["a"],"user":null}"#;
        let mut access = json(&line.replace('\n', ""), &keys).unwrap();
        assert_eq!(access.get(Field::Time), Some("1795367045.500000000"));
        assert_eq!((access.get(Field::Method), access.get(Field::Target)), (Some("GET"), Some("/a?b")));
        assert_eq!(access.get(Field::RequestId), Some("r1"));
        assert_eq!(access.duration(Field::Duration), Some(10_000));
        assert_eq!(access.get(Field::User), None);
        let extra = access.take_extra();
        assert!(extra.contains(&("cached".into(), Value::Bool(true))), "{extra:?}");
        for bad in ["", "[1]", "1", "{", "{\"a\":}"] {
            assert!(json(bad, &keys).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_users_mapping_comes_first() {
        let keys = Keys::new([("took".to_owned(), Slot::Known(Field::Duration, Unit::Microseconds))], false);
        let access = json(r#"{"took": 1500, "Status": "404"}"#, &keys).unwrap();
        assert_eq!(access.duration(Field::Duration), Some(1_500_000));
        assert_eq!(access.get(Field::Status), Some("404"));
    }

    #[test]
    fn logfmt_is_pairs_and_words() {
        let line = r#"time=2026-11-22T17:04:05Z level=warn msg="a \"b\"" duration=12ms cached trace_id=4bf9 x=1"#;
        let mut access = logfmt(line, &Keys::default()).unwrap();
        assert_eq!(access.get(Field::Message), Some("a \"b\""));
        assert_eq!(access.duration(Field::Duration), Some(12_000_000));
        assert_eq!(access.take_extra(), [("x".into(), Value::Str("1".into()))]);
        for other in ["", "a sentence with a=b in it", "a=\"b", "{\"a\"=1} b=2", "=1 =2"] {
            assert!(logfmt(other, &Keys::default()).is_none(), "{other}");
        }
    }
}
