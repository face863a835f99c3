//! Where requests go: one backend, and the table that chooses it.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use http::Uri;
use http::uri::Authority;

/// How a connection to a backend begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// Cleartext; HTTP/1.1 or HTTP/2 by [`Protocol`](crate::Protocol).
    Http,
    /// TLS; HTTP/2 where the backend offers it (ALPN).
    Https,
    /// Cleartext HTTP/2 by prior knowledge, whatever the client speaks.
    H2c,
}

/// A backend: scheme, host and port of a URL.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Backend {
    /// How to speak to it.
    pub scheme: Scheme,
    /// Host name or address, without the brackets of IPv6.
    pub host: String,
    /// Port.
    pub port: u16,
}

/// A URL that names no backend.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} names no backend: {problem}; write for example http://127.0.0.1:9000")]
pub struct BackendError {
    /// What was given.
    pub text: String,
    problem: &'static str,
}

impl Backend {
    /// The backend of an authority such as `shop:8080`; the scheme's port where it has none.
    pub(crate) fn of_authority(scheme: Scheme, authority: &Authority) -> Self {
        let default = if scheme == Scheme::Https { 443 } else { 80 };
        let host = authority.host().trim_start_matches('[').trim_end_matches(']');
        Self { scheme, host: host.to_ascii_lowercase(), port: authority.port_u16().unwrap_or(default) }
    }

    /// Host and port as they stand in a `Host` header: without the port where it is the scheme's own.
    pub fn authority(&self) -> String {
        let default = if self.scheme == Scheme::Https { 443 } else { 80 };
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        if self.port == default { host } else { format!("{host}:{}", self.port) }
    }

    /// `url.scheme`.
    pub fn url_scheme(&self) -> &'static str {
        if self.scheme == Scheme::Https { "https" } else { "http" }
    }
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = match self.scheme {
            Scheme::Http => "http",
            Scheme::Https => "https",
            Scheme::H2c => "h2c",
        };
        write!(f, "{scheme}://{}", self.authority())
    }
}

impl FromStr for Backend {
    type Err = BackendError;

    fn from_str(text: &str) -> Result<Self, BackendError> {
        let fail = |problem| Err(BackendError { text: text.to_owned(), problem });
        let (scheme, rest) = match text.split_once("://") {
            Some(("http", rest)) => (Scheme::Http, rest),
            Some(("https", rest)) => (Scheme::Https, rest),
            Some(("h2c", rest)) => (Scheme::H2c, rest),
            Some(_) => return fail("the scheme is none of http, https, h2c"),
            None => return fail("it has no scheme"),
        };
        let Some(rest) = rest.strip_suffix('/').or(Some(rest)).filter(|rest| !rest.contains(['/', '?', '#'])) else {
            return fail("a path, query or fragment has no meaning here, the request's own is kept");
        };
        if rest.contains('@') {
            return fail("it holds a user name or password");
        }
        match rest.parse::<Authority>() {
            Ok(authority) if !authority.host().is_empty() => {
                if rest.rsplit_once(':').is_some_and(|(_, port)| !port.ends_with(']') && port.parse::<u16>().is_err()) {
                    return fail("its port is not a number from 1 to 65535");
                }
                Ok(Self::of_authority(scheme, &authority))
            }
            _ => fail("the host is missing or malformed"),
        }
    }
}

/// One row of the table: requests for this host and below this path go there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// The host, in lower case and without port; any where `None`.
    pub host: Option<String>,
    /// A path prefix that ends at a segment: `/api` is for `/api` and `/api/x`, not for `/apis`.
    pub prefix: String,
    /// The backend.
    pub to: Arc<Backend>,
}

/// A route that cannot be understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RouteError {
    /// No `=`.
    #[error("{0:?} is not a route; write /prefix=URL, host=URL or host/prefix=URL")]
    Form(String),
    /// What stands right of `=`.
    #[error("route {route:?}: {source}")]
    Backend {
        /// What was given.
        route: String,
        /// What is wrong with it.
        source: BackendError,
    },
}

impl FromStr for Route {
    type Err = RouteError;

    fn from_str(text: &str) -> Result<Self, RouteError> {
        let form = || RouteError::Form(text.to_owned());
        let (from, to) = text.split_once('=').ok_or_else(form)?;
        let (host, path) = from.find('/').map_or((from, ""), |at| from.split_at(at));
        if (host.is_empty() && path.is_empty()) || host.contains(char::is_whitespace) {
            return Err(form());
        }
        let to = to.parse().map_err(|source| RouteError::Backend { route: text.to_owned(), source })?;
        let host = (!host.is_empty()).then(|| host.to_ascii_lowercase());
        Ok(Self { host, prefix: path.trim_end_matches('/').to_owned(), to: Arc::new(to) })
    }
}

/// Routes, the most specific first.
#[derive(Debug, Clone, Default)]
pub struct Routes {
    rows: Vec<Route>,
}

impl Routes {
    /// The rows, with `otherwise` for what none of them takes.
    pub fn new(mut rows: Vec<Route>, otherwise: Option<Backend>) -> Self {
        rows.extend(otherwise.map(|to| Route { host: None, prefix: String::new(), to: Arc::new(to) }));
        // Stable: of two equal rows the first wins.
        rows.sort_by_key(|row| (row.host.is_none(), std::cmp::Reverse(row.prefix.len())));
        Self { rows }
    }

    /// All rows in the order in which they are tried.
    pub fn rows(&self) -> &[Route] {
        &self.rows
    }

    /// The backend of a request for that host (with or without port) and path.
    pub fn find(&self, host: Option<&str>, path: &str) -> Option<&Arc<Backend>> {
        let host = host.map(without_port);
        let fits = |row: &&Route| {
            let hosts = match (&row.host, host) {
                (None, _) => true,
                (Some(wanted), Some(host)) => wanted.eq_ignore_ascii_case(host),
                (Some(_), None) => false,
            };
            let rest = path.strip_prefix(row.prefix.as_str());
            hosts && rest.is_some_and(|rest| row.prefix.is_empty() || rest.is_empty() || rest.starts_with('/'))
        };
        self.rows.iter().find(fits).map(|row| &row.to)
    }
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) && !name.is_empty() => name,
        _ => host,
    }
}

/// The authority that a request names: in its target, else in its `Host` header.
pub(crate) fn authority_of(uri: &Uri, headers: &http::HeaderMap) -> Option<Authority> {
    let named = uri.authority().cloned();
    named.or_else(|| headers.get(http::header::HOST)?.to_str().ok()?.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_name_backends() {
        let cases = [
            ("http://127.0.0.1:9000", Ok("http://127.0.0.1:9000")),
            ("http://Shop/", Ok("http://shop")),
            ("https://shop", Ok("https://shop")),
            ("https://shop:80", Ok("https://shop:80")),
            ("h2c://[::1]:50051", Ok("h2c://[::1]:50051")),
            ("127.0.0.1:9000", Err("it has no scheme")),
            ("ftp://shop", Err("the scheme is none of http, https, h2c")),
            ("http://", Err("the host is missing or malformed")),
            ("http://shop:99999", Err("its port is not a number from 1 to 65535")),
            ("http://shop/base", Err("a path, query or fragment has no meaning here, the request's own is kept")),
            ("http://user:pass@shop", Err("it holds a user name or password")),
        ];
        for (text, expected) in cases {
            let parsed = text.parse::<Backend>();
            assert_eq!(
                parsed.as_ref().map(ToString::to_string).map_err(|error| error.problem),
                expected.map(str::to_owned),
                "{text}"
            );
        }
    }

    #[test]
    fn the_most_specific_route_wins() {
        let rows = ["/api=http://a", "/api/v2=http://b", "shop.example=http://c", "shop.example/api=http://d"];
        let rows = rows.iter().map(|row| row.parse().unwrap()).collect();
        let routes = Routes::new(rows, Some("http://z".parse().unwrap()));
        let cases = [
            (None, "/", "z"),
            (None, "/api", "a"),
            (None, "/apis", "z"),
            (None, "/api/v2/x", "b"),
            (None, "/api/v20", "a"),
            (Some("SHOP.example:8080"), "/", "c"),
            (Some("shop.example"), "/api/v2", "d"),
            (Some("other"), "/api/", "a"),
            (Some("[::1]:80"), "*", "z"),
        ];
        for (host, path, expected) in cases {
            assert_eq!(routes.find(host, path).unwrap().host, expected, "{host:?} {path}");
        }
        assert!(Routes::default().find(None, "/").is_none());
        for text in ["", "=http://a", "/api", "a b=http://c", "/x=nowhere"] {
            assert!(text.parse::<Route>().is_err(), "{text:?}");
        }
    }
}
