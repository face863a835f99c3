//! Names for spans: what a path has in common with others of its route.
//!
//! A proxy sees paths, not the application's routes. Segments that look like an identifier become `{id}`; the number of
//! different names is bounded all the same, because any caller can make up paths.

use std::borrow::Cow;

use hashbrown::HashSet;
use parking_lot::Mutex;

/// Different names that are given out; further requests are called by their method alone.
const NAMES_MAX: usize = 1_000;

/// Segments of a path that stand in a name.
const SEGMENTS_MAX: usize = 10;

/// Longest segment that can be a word.
const WORD_BYTES_MAX: usize = 40;

/// The names given out so far.
#[derive(Default)]
pub(crate) struct Names {
    known: Mutex<HashSet<String>>,
}

impl Names {
    /// `name`, unless there are too many already.
    pub(crate) fn admit(&self, name: String) -> Option<String> {
        let mut known = self.known.lock();
        if !known.contains(&name) {
            if known.len() >= NAMES_MAX {
                return None;
            }
            known.insert(name.clone());
        }
        Some(name)
    }
}

/// The path with `{id}` in place of what looks like an identifier.
pub(crate) fn template(path: &str) -> Cow<'_, str> {
    let path = path.split(['?', '#']).next().unwrap_or_default();
    let within = path.matches('/').count() <= SEGMENTS_MAX;
    if within && !path.split('/').any(is_id) {
        return Cow::Borrowed(path);
    }
    let mut template = String::with_capacity(path.len());
    for (at, segment) in path.split('/').enumerate() {
        if at > SEGMENTS_MAX {
            template.push_str("/*");
            break;
        }
        if at > 0 {
            template.push('/');
        }
        template.push_str(if is_id(segment) { "{id}" } else { segment });
    }
    Cow::Owned(template)
}

/// Numbers, hexadecimal ids, long or encoded text, and words with a number of three digits in them.
fn is_id(segment: &str) -> bool {
    let bytes = segment.as_bytes();
    let digits = bytes.iter().filter(|byte| byte.is_ascii_digit()).count();
    let hex = bytes.iter().all(|byte| byte.is_ascii_hexdigit() || *byte == b'-');
    let run = bytes.split(|byte| !byte.is_ascii_digit()).map(<[u8]>::len).max().unwrap_or(0);
    let word =
        |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~' | b':' | b'*' | b',');
    digits > 0 && (digits == bytes.len() || (hex && bytes.len() >= 8) || run >= 3)
        || bytes.len() > WORD_BYTES_MAX
        || !bytes.iter().all(word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_looks_like_an_identifier_is_left_out() {
        let cases = [
            ("/", "/"),
            ("*", "*"),
            ("/cart", "/cart"),
            ("/users/42/orders/7", "/users/{id}/orders/{id}"),
            ("/api/v2/items", "/api/v2/items"),
            ("/items/6ba7b810-9dad-11d1-80b4-00c04fd430c8", "/items/{id}"),
            ("/sets/deadbeef", "/sets/deadbeef"),
            ("/sets/deadbee5", "/sets/{id}"),
            ("/orders/order-12345/", "/orders/{id}/"),
            ("/find/caf%C3%A9", "/find/{id}"),
            ("/t/abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyz", "/t/{id}"),
            ("/a/b/c/d/e/f/g/h/i/j/k/l", "/a/b/c/d/e/f/g/h/i/j/*"),
            ("/shop.Cart/AddItem", "/shop.Cart/AddItem"),
        ];
        for (path, expected) in cases {
            assert_eq!(template(path), expected, "{path}");
        }
    }

    #[test]
    fn names_are_bounded() {
        let names = Names::default();
        let given = (0..2 * NAMES_MAX).filter(|number| names.admit(format!("/{number}x")).is_some()).count();
        assert_eq!(given, NAMES_MAX);
        assert_eq!(names.admit("/0x".to_owned()).as_deref(), Some("/0x"));
    }
}
