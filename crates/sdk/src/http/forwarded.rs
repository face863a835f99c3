//! Who the client is behind proxies: `Forwarded` (RFC 7239), else the `X-Forwarded-*` headers.
//!
//! Anybody can write these headers: they are read only where the application says that a proxy of its own
//! is in front. The first entry is taken, as the semantic conventions say of `client.address`.

use http::HeaderMap;
use http::header::{FORWARDED, HeaderName};

use super::attributes::host_and_port;

/// What the proxies say.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Origin<'a> {
    pub(crate) client: Option<(&'a str, Option<u16>)>,
    pub(crate) host: Option<(&'a str, Option<u16>)>,
    pub(crate) scheme: Option<&'static str>,
}

impl<'a> Origin<'a> {
    pub(crate) fn read(headers: &'a HeaderMap) -> Self {
        let mut origin = Self::default();
        if let Some(element) = first(headers, &FORWARDED) {
            for pair in element.split(';') {
                let Some((name, value)) = pair.split_once('=') else { continue };
                let value = unquoted(value.trim());
                match name.trim() {
                    name if name.eq_ignore_ascii_case("for") => origin.client = client(value),
                    name if name.eq_ignore_ascii_case("host") => origin.host = host_and_port(value),
                    name if name.eq_ignore_ascii_case("proto") => origin.scheme = scheme(value),
                    _ => {}
                }
            }
        }
        let header = |name: &'static str| first(headers, &HeaderName::from_static(name));
        origin.client = origin.client.or_else(|| client(header("x-forwarded-for")?));
        origin.host = origin.host.or_else(|| host_and_port(header("x-forwarded-host")?));
        origin.scheme = origin.scheme.or_else(|| scheme(header("x-forwarded-proto")?));
        origin
    }
}

/// The first element of a list header.
fn first<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let value = headers.get(name)?.to_str().ok()?;
    Some(value.split(',').next().unwrap_or(value).trim()).filter(|value| !value.is_empty())
}

fn unquoted(value: &str) -> &str {
    value.strip_prefix('"').and_then(|value| value.strip_suffix('"')).unwrap_or(value)
}

/// An address, or the name that a proxy gives its client; `unknown` is nobody.
fn client(value: &str) -> Option<(&str, Option<u16>)> {
    // Obfuscated ports such as `_x` are not numbers; the address before them is still one.
    let known = Some(value).filter(|value| !value.eq_ignore_ascii_case("unknown"))?;
    host_and_port(known).or_else(|| host_and_port(known.rsplit_once(":_")?.0))
}

fn scheme(value: &str) -> Option<&'static str> {
    ["http", "https", "ws", "wss"].into_iter().find(|known| known.eq_ignore_ascii_case(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_client_is_read_from_either_header() {
        type Host = Option<(&'static str, Option<u16>)>;
        type Case = (&'static [(&'static str, &'static [u8])], (Host, Host, Option<&'static str>));
        let cases: [Case; 8] = [
            (
                &[("forwarded", b"for=192.0.2.60;proto=HTTPS;host=shop.example, for=10.0.0.1")],
                (Some(("192.0.2.60", None)), Some(("shop.example", None)), Some("https")),
            ),
            (&[("forwarded", b"For=\"[2001:db8::1]:4711\"")], (Some(("2001:db8::1", Some(4711))), None, None)),
            (&[("forwarded", b"for=\"_gazonk:_port\"")], (Some(("_gazonk", None)), None, None)),
            (
                &[("forwarded", b"for=unknown"), ("x-forwarded-for", b"10.1.1.1")],
                (Some(("10.1.1.1", None)), None, None),
            ),
            (
                &[("x-forwarded-for", b"203.0.113.7, 10.0.0.1"), ("x-forwarded-proto", b"https,http")],
                (Some(("203.0.113.7", None)), None, Some("https")),
            ),
            (
                &[("x-forwarded-for", b"2001:db8::2"), ("x-forwarded-host", b"a:81")],
                (Some(("2001:db8::2", None)), Some(("a", Some(81))), None),
            ),
            (&[("x-forwarded-for", b"\xff\xfe"), ("x-forwarded-proto", b"gopher")], (None, None, None)),
            (&[("forwarded", b";;=,="), ("x-forwarded-for", b", ,")], (None, None, None)),
        ];
        for (lines, (client, host, scheme)) in cases {
            let mut headers = HeaderMap::new();
            for (name, value) in lines {
                headers.append(HeaderName::from_static(name), http::HeaderValue::from_bytes(value).unwrap());
            }
            assert_eq!(Origin::read(&headers), Origin { client, host, scheme }, "{lines:?}");
        }
    }
}
