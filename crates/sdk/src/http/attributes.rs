//! From parts of a request to the values of its attributes. Nothing is allocated where nothing has to be changed.

use std::borrow::Cow;
use std::sync::{Arc, OnceLock};

use http::uri::Authority;
use http::{HeaderValue, Method, Uri, Version};

use crate::semconv::http_method;

/// What stands for a secret.
pub(crate) const REDACTED: &str = "REDACTED";

/// The methods that may stand in `http.request.method`; others are `_OTHER`, so that a caller cannot make
/// up any number of span names.
#[derive(Debug, Clone)]
pub(crate) enum Methods {
    /// Those of RFC 9110 with `PATCH` and `QUERY`.
    Standard,
    /// A list that replaces them.
    Listed(Arc<[String]>),
}

impl Methods {
    /// The list of `OTEL_INSTRUMENTATION_HTTP_KNOWN_METHODS`, read once, else the standard.
    pub(crate) fn from_env() -> Self {
        static LISTED: OnceLock<Option<Arc<[String]>>> = OnceLock::new();
        let listed = LISTED.get_or_init(|| {
            let names = std::env::var("OTEL_INSTRUMENTATION_HTTP_KNOWN_METHODS").ok()?;
            Some(names.split(',').map(|name| name.trim().to_owned()).filter(|name| !name.is_empty()).collect())
        });
        listed.as_ref().map_or(Self::Standard, |names| Self::Listed(Arc::clone(names)))
    }

    pub(crate) fn known<'a>(&self, method: &'a Method) -> Option<&'a str> {
        match self {
            Self::Standard => http_method(method),
            Self::Listed(names) => names.iter().any(|name| name == method.as_str()).then_some(method.as_str()),
        }
    }
}

/// `network.protocol.version`.
pub fn protocol_version(version: Version) -> &'static str {
    match version {
        Version::HTTP_09 => "0.9",
        Version::HTTP_10 => "1.0",
        Version::HTTP_2 => "2",
        Version::HTTP_3 => "3",
        _ => "1.1",
    }
}

/// Query parameters whose values are signatures or credentials (semantic conventions 1.44, `url.query`; the first
/// two are from older versions).
pub(crate) fn is_secret(name: &str) -> bool {
    matches!(
        name,
        "AWSAccessKeyId"
            | "Signature"
            | "X-Amz-Credential"
            | "X-Amz-Security-Token"
            | "X-Amz-Signature"
            | "X-Goog-Signature"
            | "sig"
    )
}

/// The names of query parameters whose values are not recorded.
#[derive(Debug, Clone, Default)]
pub(crate) struct Secrets {
    /// Besides the standard ones.
    more: Arc<[String]>,
}

impl Secrets {
    pub(crate) fn with(&self, names: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self { more: self.more.iter().cloned().chain(names.into_iter().map(Into::into)).collect() }
    }

    fn contains(&self, name: &str) -> bool {
        is_secret(name) || self.more.iter().any(|more| more == name)
    }

    /// The query without secrets.
    pub(crate) fn redacted<'a>(&self, query: &'a str) -> Cow<'a, str> {
        redacted(query, |name| self.contains(name))
    }

    /// The URL without user name, password and secrets of the query.
    pub(crate) fn full_url(&self, uri: &Uri) -> String {
        let mut url = String::with_capacity(64);
        if let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) {
            url.push_str(scheme);
            url.push_str("://");
            url.push_str(&redacted_authority(authority.as_str()));
        }
        url.push_str(uri.path());
        if let Some(query) = uri.query() {
            url.push('?');
            url.push_str(&self.redacted(query));
        }
        url
    }
}

/// The query without the values of what is secret.
pub(crate) fn redacted(query: &str, is_secret: impl Fn(&str) -> bool) -> Cow<'_, str> {
    let secret = |pair: &str| pair.split_once('=').is_some_and(|(name, _)| is_secret(name));
    if !query.split('&').any(secret) {
        return Cow::Borrowed(query);
    }
    let mut redacted = String::with_capacity(query.len());
    for (index, pair) in query.split('&').enumerate() {
        if index > 0 {
            redacted.push('&');
        }
        match pair.split_once('=') {
            Some((name, _)) if is_secret(name) => {
                redacted.push_str(name);
                redacted.push('=');
                redacted.push_str(REDACTED);
            }
            _ => redacted.push_str(pair),
        }
    }
    Cow::Owned(redacted)
}

fn redacted_authority(authority: &str) -> Cow<'_, str> {
    match authority.rsplit_once('@') {
        Some((user, host)) if user.contains(':') => Cow::Owned(format!("{REDACTED}:{REDACTED}@{host}")),
        Some((_, host)) => Cow::Owned(format!("{REDACTED}@{host}")),
        None => Cow::Borrowed(authority),
    }
}

/// Host and port of `example.com:8080`, `[::1]:80` or `10.0.0.1`; the brackets of an IPv6 address are left
/// out. `None` where it is not of this shape.
pub(crate) fn host_and_port(authority: &str) -> Option<(&str, Option<u16>)> {
    let (mut user, mut colons, mut colon) = (None, 0, authority.len());
    for (index, byte) in authority.bytes().enumerate() {
        match byte {
            b'@' => (user, colons, colon) = (Some(index), 0, authority.len()),
            b':' => {
                colons += 1;
                colon = index;
            }
            b'/' | b'?' | b'#' | b' ' | b',' => return None,
            _ => {}
        }
    }
    let start = user.map_or(0, |at| at + 1);
    let (host, rest) = match authority.get(start..)?.strip_prefix('[') {
        Some(bracketed) => bracketed.split_once(']')?,
        // An address without brackets has more than one colon, and no port.
        None if colons > 1 => (authority.get(start..)?, ""),
        None => (authority.get(start..colon)?, authority.get(colon..)?),
    };
    if host.is_empty() {
        return None;
    }
    match rest.strip_prefix(':') {
        Some(port) => port.parse().ok().map(|port| (host, Some(port))),
        None => rest.is_empty().then_some((host, None)),
    }
}

/// As [`host_and_port`], of a URL.
pub(crate) fn target(uri: &Uri) -> Option<(&str, Option<u16>)> {
    let (host, port) = uri.authority().map(Authority::as_str).and_then(host_and_port)?;
    let default = match uri.scheme_str() {
        Some("https") => Some(443),
        Some("http") => Some(80),
        _ => None,
    };
    Some((host, port.or(default)))
}

/// A header's value as text; bytes that are no UTF-8 are replaced.
pub(crate) fn text(value: &HeaderValue) -> Cow<'_, str> {
    String::from_utf8_lossy(value.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_do_not_reach_the_trace() {
        let secrets = Secrets::default().with(["token"]);
        for (query, expected) in [
            ("q=1&x", "q=1&x"),
            ("q=1&sig=abc&x&Signature=d", "q=1&sig=REDACTED&x&Signature=REDACTED"),
            ("&token=a=b&", "&token=REDACTED&"),
            ("X-Amz-Credential=AKIA%2F1&sig", "X-Amz-Credential=REDACTED&sig"),
        ] {
            assert_eq!(secrets.redacted(query), expected);
        }
        for (url, expected) in [
            (
                "https://user:secret@shop.example:8443/cart?item=1&sig=abc",
                "https://REDACTED:REDACTED@shop.example:8443/cart?item=1&sig=REDACTED",
            ),
            ("http://user@shop.example/", "http://REDACTED@shop.example/"),
            ("/path", "/path"),
        ] {
            assert_eq!(secrets.full_url(&url.parse().unwrap()), expected);
        }
    }

    #[test]
    fn an_authority_is_taken_apart() {
        for (authority, expected) in [
            ("shop.example", Some(("shop.example", None))),
            ("shop.example:8080", Some(("shop.example", Some(8080)))),
            ("user:pass@shop.example:8080", Some(("shop.example", Some(8080)))),
            ("[::1]:80", Some(("::1", Some(80)))),
            ("[::1]", Some(("::1", None))),
            ("::1", Some(("::1", None))),
            ("shop.example:http", None),
            ("shop.example:99999", None),
            ("[::1", None),
            ("[::1]x", None),
            ("", None),
            (":80", None),
            ("a b", None),
        ] {
            assert_eq!(host_and_port(authority), expected, "{authority:?}");
        }
    }

    #[test]
    fn methods_are_known_by_their_exact_name() {
        let known =
            |methods: &Methods, name: &str| methods.known(&Method::from_bytes(name.as_bytes()).unwrap()).is_some();
        for (name, expected) in [("GET", true), ("QUERY", true), ("get", false), ("BREW", false)] {
            assert_eq!(known(&Methods::Standard, name), expected, "{name}");
        }
        let listed = Methods::Listed(Arc::new(["BREW".to_owned()]));
        assert!(known(&listed, "BREW") && !known(&listed, "GET"), "a list replaces the standard");
    }
}
