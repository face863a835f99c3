//! Which headers go through, which stay, which are added (RFC 9110 §7.6, RFC 7239).

use std::net::SocketAddr;

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, Version};

/// Fields of one connection, beside those that `Connection` names. `Trailer` is not among them: it announces fields
/// that travel to the end.
const HOP_BY_HOP: [HeaderName; 8] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

/// No message needs to name more fields than this in `Connection`; what comes after stays in the message.
const NAMED_MAX: usize = 64;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

/// What was asked for by fields that do not go through as they are.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Removed {
    /// `Upgrade`, where `Connection` names it and it is not for HTTP/2, which would get past the proxy unseen.
    pub(crate) upgrade: Option<HeaderValue>,
    /// `TE` holds `trailers`.
    pub(crate) trailers: bool,
}

/// Takes out the fields of this hop.
pub(crate) fn remove_hop_by_hop(headers: &mut HeaderMap) -> Removed {
    let mut removed = Removed::default();
    let tokens = |headers: &HeaderMap, name: HeaderName| -> Vec<String> {
        let values = headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
        let tokens = values.flat_map(|value| value.split(',')).map(|token| token.trim().to_ascii_lowercase());
        tokens.filter(|token| !token.is_empty()).take(NAMED_MAX).collect()
    };
    if headers.contains_key(header::TE) {
        let te = tokens(headers, header::TE);
        removed.trailers = te.iter().any(|token| token.split(';').next().is_some_and(|t| t.trim() == "trailers"));
    }
    if headers.contains_key(header::CONNECTION) {
        let named = tokens(headers, header::CONNECTION);
        if named.iter().any(|name| name == "upgrade") {
            let upgrade = headers.get(header::UPGRADE).cloned();
            removed.upgrade = upgrade.filter(|value| !is_http2(value));
        }
        for name in named {
            // A client must not be able to take out what the proxy or the backend relies on.
            let kept = [header::HOST, header::CONTENT_LENGTH, header::TRAILER];
            if let Ok(name) = HeaderName::from_bytes(name.as_bytes())
                && !kept.contains(&name)
            {
                headers.remove(name);
            }
        }
        headers.remove("http2-settings");
    }
    for name in &HOP_BY_HOP {
        headers.remove(name);
    }
    removed
}

fn is_http2(upgrade: &HeaderValue) -> bool {
    let text = upgrade.as_bytes().to_ascii_lowercase();
    text.split(|byte| *byte == b',').any(|token| token.trim_ascii().starts_with(b"h2"))
}

/// Asks the backend for what the client asked of the proxy, in the words of that version.
pub(crate) fn ask_again(headers: &mut HeaderMap, removed: &Removed, version: Version) {
    if removed.trailers {
        headers.insert(header::TE, HeaderValue::from_static("trailers"));
    }
    if version == Version::HTTP_2 {
        return;
    }
    if let Some(upgrade) = &removed.upgrade {
        headers.insert(header::UPGRADE, upgrade.clone());
        headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    } else if removed.trailers {
        headers.insert(header::CONNECTION, HeaderValue::from_static("te"));
    }
}

/// Adds a value to a list field, in a line of its own where the present one cannot be read.
fn append(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    let Ok(new) = HeaderValue::from_str(value) else { return };
    let mut present = headers.get_all(&name).into_iter();
    let joined = match (present.next(), present.next()) {
        (Some(only), None) => {
            let mut joined = only.as_bytes().to_vec();
            joined.extend_from_slice(b", ");
            joined.extend_from_slice(value.as_bytes());
            HeaderValue::from_bytes(&joined).ok()
        }
        _ => None,
    };
    match joined {
        Some(joined) => {
            headers.insert(name, joined);
        }
        None => {
            headers.append(name, new);
        }
    }
}

/// Says whom the request came from (RFC 7239 and its forerunners).
pub(crate) fn add_forwarded(headers: &mut HeaderMap, peer: SocketAddr, host: Option<&HeaderValue>) {
    let address = peer.ip().to_canonical();
    append(headers, X_FORWARDED_FOR, &address.to_string());
    if !headers.contains_key(X_FORWARDED_PROTO) {
        headers.insert(X_FORWARDED_PROTO, HeaderValue::from_static("http"));
    }
    if !headers.contains_key(X_FORWARDED_HOST)
        && let Some(host) = host
    {
        headers.insert(X_FORWARDED_HOST, host.clone());
    }
    if headers.contains_key(header::FORWARDED) {
        let node = if address.is_ipv6() { format!("\"[{address}]\"") } else { address.to_string() };
        append(headers, header::FORWARDED, &format!("for={node};proto=http"));
    }
}

/// The proxy's name in `Via`, different in each process so that a loop is noticed.
#[derive(Debug, Clone)]
pub(crate) struct Via {
    pseudonym: String,
}

impl Via {
    pub(crate) fn new() -> Self {
        let mut random = [0u8; 4];
        // Zeros would only make loops of two such proxies look shorter.
        let _ = getrandom::fill(&mut random);
        Self { pseudonym: format!("tracewell-{:08x}", u32::from_be_bytes(random)) }
    }

    pub(crate) fn add(&self, headers: &mut HeaderMap, received: Version) {
        let version = match received {
            Version::HTTP_10 => "1.0",
            Version::HTTP_2 => "2",
            _ => "1.1",
        };
        append(headers, header::VIA, &format!("{version} {}", self.pseudonym));
    }

    /// How often the request came through this process already.
    pub(crate) fn count(&self, headers: &HeaderMap) -> usize {
        let values = headers.get_all(header::VIA).into_iter().filter_map(|value| value.to_str().ok());
        values.map(|value| value.matches(self.pseudonym.as_str()).count()).sum()
    }
}

/// `Host` for HTTP/1.1 and `:authority` for HTTP/2 are the same thing; HTTP/2 messages have no `Host`.
pub(crate) fn host_value(authority: &str) -> Option<HeaderValue> {
    HeaderValue::from_str(authority).ok()
}

/// True for gRPC and its relatives (`application/grpc+proto`), not for gRPC-Web, which is ordinary HTTP.
pub(crate) fn is_grpc(headers: &HeaderMap) -> bool {
    let content_type = headers.get(header::CONTENT_TYPE).map(HeaderValue::as_bytes).unwrap_or_default();
    let rest = content_type.strip_prefix(b"application/grpc");
    rest.is_some_and(|rest| matches!(rest.first(), None | Some(b'+' | b';')))
}

/// Methods that may be sent twice (RFC 9110 §9.2.2).
pub(crate) fn is_idempotent(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS | Method::TRACE | Method::PUT | Method::DELETE)
}

/// Text for `grpc-message`: what is not printable ASCII, and `%`, is percent-encoded ("gRPC over HTTP/2").
pub(crate) fn grpc_message(text: &str) -> String {
    let plain = |byte: u8| (b' '..=b'~').contains(&byte) && byte != b'%';
    text.bytes().map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(pairs: &[(&str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            let value = HeaderValue::from_bytes(value.as_bytes()).unwrap();
            headers.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), value);
        }
        headers
    }

    fn text(headers: &HeaderMap) -> Vec<String> {
        let line = |(name, value): (&HeaderName, &HeaderValue)| {
            format!("{name}: {}", String::from_utf8_lossy(value.as_bytes()))
        };
        headers.iter().map(line).collect()
    }

    #[test]
    fn fields_of_the_hop_stay_behind() {
        let mut headers = map(&[
            ("host", "shop"),
            ("connection", "close, X-Hop , host"),
            ("connection", "te"),
            ("keep-alive", "timeout=5"),
            ("te", "gzip;q=0.5, trailers"),
            ("trailer", "x-sum"),
            ("transfer-encoding", "chunked"),
            ("proxy-authorization", "Basic eDp5"),
            ("x-hop", "1"),
            ("x-end", "ü"),
        ]);
        let removed = remove_hop_by_hop(&mut headers);
        assert_eq!(removed, Removed { upgrade: None, trailers: true });
        assert_eq!(text(&headers), ["host: shop", "trailer: x-sum", "x-end: ü"]);
        let mut two = headers.clone();
        ask_again(&mut headers, &removed, Version::HTTP_11);
        assert_eq!(text(&headers)[3..], ["te: trailers", "connection: te"]);
        ask_again(&mut two, &removed, Version::HTTP_2);
        assert_eq!(text(&two)[3..], ["te: trailers"]);
    }

    #[test]
    fn upgrades_are_asked_for_again_but_not_to_http_2() {
        for (upgrade, connection, kept) in [
            ("websocket", "Upgrade", true),
            ("websocket", "keep-alive, upgrade", true),
            ("websocket", "keep-alive", false),
            ("h2c", "upgrade, http2-settings", false),
            ("websocket, h2c", "upgrade", false),
        ] {
            let mut headers = map(&[("upgrade", upgrade), ("connection", connection), ("http2-settings", "AAMA")]);
            let removed = remove_hop_by_hop(&mut headers);
            assert_eq!(removed.upgrade.is_some(), kept, "{upgrade} {connection}");
            assert_eq!(text(&headers), [""; 0]);
            ask_again(&mut headers, &removed, Version::HTTP_11);
            assert_eq!(headers.contains_key(header::UPGRADE), kept);
        }
    }

    #[test]
    fn whom_it_came_from_is_added_to_what_is_there() {
        let peer = "[::ffff:10.0.0.7]:1234".parse().unwrap();
        let mut headers = map(&[("x-forwarded-for", "1.2.3.4"), ("x-forwarded-proto", "https")]);
        add_forwarded(&mut headers, peer, Some(&HeaderValue::from_static("shop")));
        let expected = ["x-forwarded-for: 1.2.3.4, 10.0.0.7", "x-forwarded-proto: https", "x-forwarded-host: shop"];
        assert_eq!(text(&headers), expected);
        let mut headers = map(&[("forwarded", "for=1.2.3.4")]);
        add_forwarded(&mut headers, "[2001:db8::1]:5".parse().unwrap(), None);
        assert_eq!(headers["forwarded"], "for=1.2.3.4, for=\"[2001:db8::1]\";proto=http");
        assert_eq!(headers["x-forwarded-for"], "2001:db8::1");
    }

    #[test]
    fn a_loop_is_counted_by_the_name_in_via() {
        let (via, other) = (Via::new(), Via { pseudonym: "tracewell-other".to_owned() });
        let mut headers = map(&[("via", "1.0 cache")]);
        via.add(&mut headers, Version::HTTP_11);
        other.add(&mut headers, Version::HTTP_2);
        via.add(&mut headers, Version::HTTP_10);
        assert_eq!((via.count(&headers), other.count(&headers)), (2, 1));
        assert!(headers["via"].to_str().unwrap().starts_with("1.0 cache, 1.1 tracewell-"));
    }

    #[test]
    fn what_is_grpc() {
        for (content_type, expected) in [
            ("application/grpc", true),
            ("application/grpc+proto", true),
            ("application/grpc; charset=x", true),
            ("application/grpc-web", false),
            ("application/json", false),
        ] {
            assert_eq!(is_grpc(&map(&[("content-type", content_type)])), expected, "{content_type}");
        }
        assert_eq!(grpc_message("50% of ü\n"), "50%25 of %C3%BC%0A");
    }
}
