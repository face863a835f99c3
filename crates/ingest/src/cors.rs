//! Cross-origin requests: which pages may send, and the headers that tell the browser.

use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_HEADERS,
    ACCESS_CONTROL_REQUEST_METHOD, ORIGIN, VARY,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method};

use crate::config::Cors;

/// Asked for by browsers before a public page may reach a private address (Private Network Access).
const REQUEST_PRIVATE_NETWORK: HeaderName = HeaderName::from_static("access-control-request-private-network");
const ALLOW_PRIVATE_NETWORK: HeaderName = HeaderName::from_static("access-control-allow-private-network");

/// What the rules say about a request.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict<'a> {
    /// No `Origin`: not from a page.
    SameOrigin,
    /// From a page that may send.
    Allowed(&'a HeaderValue),
    /// From a page that may not.
    Refused(&'a HeaderValue),
}

impl Cors {
    pub(crate) fn judge<'a>(&self, headers: &'a HeaderMap) -> Verdict<'a> {
        let Some(origin) = headers.get(ORIGIN) else {
            return Verdict::SameOrigin;
        };
        let allowed =
            origin.to_str().is_ok_and(|text| self.allowed_origins.iter().any(|pattern| matches(pattern, text)));
        if allowed { Verdict::Allowed(origin) } else { Verdict::Refused(origin) }
    }
}

/// Whether the request is the browser's question before the real one.
pub(crate) fn is_preflight(method: &Method, headers: &HeaderMap) -> bool {
    *method == Method::OPTIONS && headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD)
}

/// Headers of every answer to an allowed page.
pub(crate) fn allow(origin: &HeaderValue, answer: &mut HeaderMap) {
    answer.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
    answer.insert(ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static("retry-after"));
    answer.append(VARY, HeaderValue::from_static("origin"));
}

/// Headers of the answer to a preflight, besides those of [`allow`].
pub(crate) fn allow_preflight(cors: &Cors, request: &HeaderMap, answer: &mut HeaderMap) {
    answer.insert(ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("POST"));
    // Exporters send whatever headers their users configure, and no header gives more rights than another.
    if let Some(wanted) = request.get(ACCESS_CONTROL_REQUEST_HEADERS) {
        answer.insert(ACCESS_CONTROL_ALLOW_HEADERS, wanted.clone());
    }
    answer.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from(cors.max_age_seconds));
    if request.contains_key(REQUEST_PRIVATE_NETWORK) {
        answer.insert(ALLOW_PRIVATE_NETWORK, HeaderValue::from_static("true"));
    }
    answer.append(VARY, HeaderValue::from_static("access-control-request-headers"));
}

/// Whether `origin` is what `pattern` describes; `*` stands for any characters. Hosts are compared without case.
fn matches(pattern: &str, origin: &str) -> bool {
    let (pattern, origin) = (pattern.to_ascii_lowercase(), origin.to_ascii_lowercase());
    let mut parts = pattern.split('*');
    let Some(mut rest) = parts.next().and_then(|start| origin.strip_prefix(start)) else {
        return false;
    };
    let mut parts = parts.peekable();
    if parts.peek().is_none() {
        return rest.is_empty();
    }
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return rest.ends_with(part);
        }
        let Some(at) = rest.find(part) else {
            return false;
        };
        rest = rest.get(at + part.len()..).unwrap_or_default();
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns() {
        for (pattern, origin, expected) in [
            ("https://a.example", "https://a.example", true),
            ("https://a.example", "https://A.example", true),
            ("https://a.example", "https://a.example:8443", false),
            ("https://a.example", "http://a.example", false),
            ("https://*.example", "https://x.y.example", true),
            ("https://*.example", "https://example", false),
            ("https://*.example", "https://x.example.evil", false),
            ("http://localhost:*", "http://localhost:3000", true),
            ("http://localhost:*", "http://localhost.evil:3000", false),
            ("*", "null", true),
            ("a*b*c", "a--b--c", true),
            ("a*b*c", "a--c--b", false),
            ("ab*b", "ab", false),
        ] {
            assert_eq!(matches(pattern, origin), expected, "{pattern} {origin}");
        }
    }

    #[test]
    fn the_default_is_this_machine() {
        let judge = |origin: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(ORIGIN, HeaderValue::from_static(origin));
            matches!(Cors::default().judge(&headers), Verdict::Allowed(_))
        };
        for origin in ["http://localhost", "http://localhost:5173", "https://127.0.0.1:3000", "http://[::1]:8080"] {
            assert!(judge(origin), "{origin}");
        }
        for origin in ["https://example.com", "null", "http://localhost.example.com", "file://"] {
            assert!(!judge(origin), "{origin}");
        }
    }
}
