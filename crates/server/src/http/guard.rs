//! Which requests are answered: the host guard against DNS rebinding, and the headers every answer carries.
//!
//! A server on loopback is reachable by every page that the same machine's browser shows: the page's own host name can
//! be made to resolve to 127.0.0.1. The browser then still sends that name in `Host`, which is what is checked here.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::extract::{FromRequestParts, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::error::ApiError;

/// The names by which this server may be addressed.
#[derive(Debug, Clone)]
pub(crate) struct AllowedHosts {
    any: bool,
    names: Arc<[String]>,
}

impl AllowedHosts {
    /// Any name when the server listens beyond loopback (a deliberate choice, with names we cannot know); otherwise the
    /// loopback names and the configured ones.
    pub(crate) fn new(listen: SocketAddr, configured: &[String]) -> Self {
        let any = !listen.ip().is_loopback() || configured.iter().any(|name| name == "*");
        Self { any, names: configured.iter().map(|name| name.to_ascii_lowercase()).collect() }
    }

    fn allow(&self, host: &str) -> bool {
        let name = without_port(host).to_ascii_lowercase();
        let bare = name.trim_start_matches('[').trim_end_matches(']').trim_end_matches('.');
        let loopback = bare == "localhost"
            || bare.ends_with(".localhost")
            || bare.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
        self.any || loopback || self.names.iter().any(|known| known == bare || *known == host.to_ascii_lowercase())
    }
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) && !name.ends_with(':') => name,
        _ => host,
    }
}

/// Refuses requests for hosts that this server is not.
pub(crate) async fn check_host(State(allowed): State<AllowedHosts>, request: Request, next: Next) -> Response {
    let named = request.headers().get(header::HOST).map(|host| host.to_str().unwrap_or("?"));
    let host = named.or_else(|| request.uri().authority().map(|authority| authority.as_str()));
    // HTTP/1.0 requests without a host come from probes, never from a browser.
    if host.is_none_or(|host| allowed.allow(host)) {
        return next.run(request).await;
    }
    ApiError::new(
        StatusCode::MISDIRECTED_REQUEST,
        "unknown_host",
        format!("this server does not answer for `{}`", host.unwrap_or_default()),
    )
    .with_hint("open it as http://localhost, or add the name to http.allowed_hosts in the configuration")
    .into_response()
}

/// Proof that a request that changes something was not sent by another site's page.
///
/// Browsers send `Origin` with every POST across sites, whatever its content type, and `Sec-Fetch-Site` with every
/// request; programs send neither. `Host` was checked by [`check_host`] before, so that it can be compared with.
pub(crate) struct SameOrigin;

impl<S: Sync> FromRequestParts<S> for SameOrigin {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        let authority = parts.uri.authority().map(|authority| authority.as_str());
        if is_same_origin(&parts.headers, authority) {
            return Ok(Self);
        }
        let message = "this request comes from another site's page, which may not change anything here";
        Err(ApiError::new(StatusCode::FORBIDDEN, "foreign_origin", message)
            .with_hint("open the user interface of this server, or send the request without a browser"))
    }
}

fn is_same_origin(headers: &HeaderMap, authority: Option<&str>) -> bool {
    let text = |name| headers.get(name).map(|value: &HeaderValue| value.to_str().unwrap_or("?"));
    let by_fetch = text(header::HeaderName::from_static("sec-fetch-site"))
        .is_none_or(|site| matches!(site, "same-origin" | "none"));
    let host = text(header::HOST).or(authority).unwrap_or_default();
    let by_origin = text(header::ORIGIN).is_none_or(|origin| {
        let named = origin.split_once("://").map(|(_, rest)| rest);
        named.is_some_and(|named| !named.is_empty() && named.eq_ignore_ascii_case(host))
    });
    by_fetch && by_origin
}

/// Headers of every answer: no guessing of types, and no caching unless a route asks for it.
pub(crate) async fn common_headers(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn on_loopback_only_loopback_names_and_configured_ones_are_answered() {
        let hosts = AllowedHosts::new(([127, 0, 0, 1], 3200).into(), &["traces.example.com".to_owned()]);
        for (host, allowed) in [
            ("localhost:3200", true),
            ("localhost", true),
            ("127.0.0.1:3200", true),
            ("127.8.8.8", true),
            ("[::1]:3200", true),
            ("tracewell.localhost:3200", true),
            ("Traces.Example.com:80", true),
            ("evil.example.com:3200", false),
            ("localhost.evil.example.com", false),
            ("10.0.0.1:3200", false),
            ("", false),
        ] {
            assert_eq!(hosts.allow(host), allowed, "{host:?}");
        }
        assert!(AllowedHosts::new(([0, 0, 0, 0], 3200).into(), &[]).allow("anything"));
        assert!(AllowedHosts::new(([127, 0, 0, 1], 3200).into(), &["*".to_owned()]).allow("anything"));
    }

    #[test]
    fn only_our_own_page_and_programs_change_anything() {
        for (origin, site, allowed) in [
            (None, None, true),
            (Some("http://127.0.0.1:3200"), None, true),
            (Some("http://127.0.0.1:3200"), Some("same-origin"), true),
            (Some("https://127.0.0.1:3200"), None, true),
            (None, Some("none"), true),
            (Some("http://127.0.0.1:8000"), None, false),
            (Some("http://localhost:3200"), None, false),
            (Some("https://evil.example.com"), Some("cross-site"), false),
            (Some("null"), None, false),
            (Some(""), None, false),
            (None, Some("same-site"), false),
            (None, Some("cross-site"), false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, HeaderValue::from_static("127.0.0.1:3200"));
            if let Some(origin) = origin {
                headers.insert(header::ORIGIN, HeaderValue::from_static(origin));
            }
            if let Some(site) = site {
                headers.insert("sec-fetch-site", HeaderValue::from_static(site));
            }
            assert_eq!(is_same_origin(&headers, None), allowed, "{origin:?} {site:?}");
        }
    }
}
