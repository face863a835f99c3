//! gRPC metadata (gRPC over HTTP/2, "Requests"; RFC of the C core, "Metadata").

use super::{Extract, Inject, NOT_TEXT, strip_prefix};
use crate::base64;

/// gRPC metadata as applications see it: lower-case names, and values that are ASCII, or any bytes where
/// the name ends in `-bin`.
///
/// Formats see the value of a `-bin` entry in base64, as it stands on the wire. On an HTTP/2 connection
/// (`http::HeaderMap`, `tonic`'s metadata as headers) it has that form already: use the header map then.
/// What gRPC does not allow is not written: names beyond `0-9 a-z _ - .`, values that are not printable
/// ASCII.
#[derive(Debug, Clone, Copy, Default)]
pub struct GrpcMetadata<C>(pub C);

fn is_binary(name: &str) -> bool {
    name.len() >= 4 && name.as_bytes()[name.len() - 4..].eq_ignore_ascii_case(b"-bin")
}

fn with_text(name: &str, value: &[u8], visit: &mut dyn FnMut(&str)) {
    match is_binary(name) {
        true => visit(&base64::encode(value)),
        false => visit(std::str::from_utf8(value).unwrap_or(NOT_TEXT)),
    }
}

impl<K: AsRef<str>, V: AsRef<[u8]>> Extract for GrpcMetadata<&[(K, V)]> {
    fn values(&self, name: &str, visit: &mut dyn FnMut(&str)) {
        for (key, value) in self.0 {
            if key.as_ref().eq_ignore_ascii_case(name) {
                with_text(name, value.as_ref(), visit);
            }
        }
    }

    fn prefixed(&self, prefix: &str, visit: &mut dyn FnMut(&str, &str)) {
        for (key, value) in self.0 {
            if let Some(rest) = strip_prefix(key.as_ref(), prefix) {
                with_text(key.as_ref(), value.as_ref(), &mut |value| visit(rest, value));
            }
        }
    }
}

impl Inject for GrpcMetadata<&mut Vec<(String, Vec<u8>)>> {
    fn set(&mut self, name: &'static str, value: &str) {
        self.set_named(name, value);
    }

    fn set_named(&mut self, name: &str, value: &str) {
        let name = name.to_ascii_lowercase();
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
        let bytes = match is_binary(&name) {
            true => base64::decode(value),
            false => value.bytes().all(|byte| (b' '..=b'~').contains(&byte)).then(|| value.as_bytes().to_vec()),
        };
        if let Some(bytes) = bytes.filter(|_| !name.is_empty() && name.bytes().all(allowed)) {
            self.0.retain(|(key, _)| *key != name);
            self.0.push((name, bytes));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_grpc_does_not_allow_is_not_written() {
        let mut sent: Vec<(String, Vec<u8>)> = Vec::new();
        let mut carrier = GrpcMetadata(&mut sent);
        carrier.set_named("Uberctx-UserId", "a%20b");
        carrier.set_named("ot-baggage-k", "é");
        carrier.set_named("a*b", "1");
        carrier.set("grpc-trace-bin", "AAE=");
        let expected = [("uberctx-userid".to_owned(), b"a%20b".to_vec()), ("grpc-trace-bin".to_owned(), vec![0, 1])];
        assert_eq!(sent, expected);
        assert_eq!(GrpcMetadata(sent.as_slice()).single("grpc-trace-bin").as_deref(), Some("AAE"));
    }
}
