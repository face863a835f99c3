//! What holds headers: an HTTP header map, message properties, a list of pairs.

use std::collections::{BTreeMap, HashMap};
use std::hash::BuildHasher;

/// Something that headers are read from.
pub trait Extract {
    /// Hands each value stored under `name` to `visit`, in the order received. Names are compared
    /// without regard to case. A value that is not text is handed on as `"\u{fffd}"`, which no format
    /// accepts, so that it counts as present but invalid.
    fn values(&self, name: &str, visit: &mut dyn FnMut(&str));

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
}

impl<H: BuildHasher> Extract for HashMap<String, String, H> {
    fn values(&self, name: &str, visit: &mut dyn FnMut(&str)) {
        for (key, value) in self {
            if key.eq_ignore_ascii_case(name) {
                visit(value);
            }
        }
    }
}

impl<H: BuildHasher> Inject for HashMap<String, String, H> {
    fn set(&mut self, name: &'static str, value: &str) {
        self.retain(|key, _| !key.eq_ignore_ascii_case(name));
        self.insert(name.to_owned(), value.to_owned());
    }
}

impl Extract for BTreeMap<String, String> {
    fn values(&self, name: &str, visit: &mut dyn FnMut(&str)) {
        for (key, value) in self {
            if key.eq_ignore_ascii_case(name) {
                visit(value);
            }
        }
    }
}

impl Inject for BTreeMap<String, String> {
    fn set(&mut self, name: &'static str, value: &str) {
        self.retain(|key, _| !key.eq_ignore_ascii_case(name));
        self.insert(name.to_owned(), value.to_owned());
    }
}

impl<K: AsRef<str>, V: AsRef<str>> Extract for [(K, V)] {
    fn values(&self, name: &str, visit: &mut dyn FnMut(&str)) {
        for (key, value) in self {
            if key.as_ref().eq_ignore_ascii_case(name) {
                visit(value.as_ref());
            }
        }
    }
}

impl<K: AsRef<str>, V: AsRef<str>> Extract for Vec<(K, V)> {
    fn values(&self, name: &str, visit: &mut dyn FnMut(&str)) {
        self.as_slice().values(name, visit);
    }
}

impl Inject for Vec<(String, String)> {
    fn set(&mut self, name: &'static str, value: &str) {
        self.retain(|(key, _)| !key.eq_ignore_ascii_case(name));
        self.push((name.to_owned(), value.to_owned()));
    }
}

#[cfg(feature = "http")]
impl Extract for http::HeaderMap {
    fn values(&self, name: &str, visit: &mut dyn FnMut(&str)) {
        for value in self.get_all(name) {
            visit(value.to_str().unwrap_or("\u{fffd}"));
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
}
