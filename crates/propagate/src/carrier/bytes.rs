//! Headers of messages: text names, byte values.

use super::{Extract, Inject, NOT_TEXT, strip_prefix};

/// Headers whose values are bytes, as messages of Kafka, NATS and AMQP have them.
///
/// Names are read without regard to case and written in lower case. Of a name that occurs several times
/// every value is seen, in order.
///
/// ```
/// use tracewell_propagate::{ByteValues, Composite};
///
/// let received = vec![("traceparent", b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".to_vec())];
/// let found = Composite::default().extract(&ByteValues(received.as_slice()));
/// assert!(found.context.is_some());
///
/// let mut sent: Vec<(String, Vec<u8>)> = Vec::new();
/// Composite::default().inject(&found, &mut ByteValues(&mut sent));
/// assert_eq!(sent[0].0, "traceparent");
/// ```
#[derive(Debug, Clone, Copy, Default)]
pub struct ByteValues<C>(pub C);

fn text(value: &[u8]) -> &str {
    std::str::from_utf8(value).unwrap_or(NOT_TEXT)
}

impl<K: AsRef<str>, V: AsRef<[u8]>> Extract for ByteValues<&[(K, V)]> {
    fn values(&self, name: &str, visit: &mut dyn FnMut(&str)) {
        for (key, value) in self.0 {
            if key.as_ref().eq_ignore_ascii_case(name) {
                visit(text(value.as_ref()));
            }
        }
    }

    fn prefixed(&self, prefix: &str, visit: &mut dyn FnMut(&str, &str)) {
        for (key, value) in self.0 {
            if let Some(rest) = strip_prefix(key.as_ref(), prefix) {
                visit(rest, text(value.as_ref()));
            }
        }
    }
}

impl Inject for ByteValues<&mut Vec<(String, Vec<u8>)>> {
    fn set(&mut self, name: &'static str, value: &str) {
        self.set_named(name, value);
    }

    fn set_named(&mut self, name: &str, value: &str) {
        self.0.retain(|(key, _)| !key.eq_ignore_ascii_case(name));
        self.0.push((name.to_ascii_lowercase(), value.as_bytes().to_vec()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_that_are_no_text_count_as_present_but_invalid() {
        let headers = [("A", vec![0xff_u8]), ("a", b"x".to_vec()), ("p-1", vec![b'y'])];
        let carrier = ByteValues(&headers[..]);
        let mut seen = Vec::new();
        carrier.values("a", &mut |value| seen.push(value.to_owned()));
        assert_eq!((seen, carrier.single("P-1").as_deref()), (vec!["\u{fffd}".to_owned(), "x".to_owned()], Some("y")));
    }
}
