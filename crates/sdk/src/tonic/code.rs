//! Status codes of gRPC by name, and which of them are errors for whom.

use std::time::Duration;

use http::{HeaderMap, StatusCode};
use tonic::Code;

use crate::semconv;

/// `rpc.response.status_code`.
pub(crate) fn name(code: Code) -> &'static str {
    semconv::grpc_status(code as usize)
}

/// Whether a server is to blame for this status.
pub(super) fn is_server_error(code: Code) -> bool {
    semconv::is_grpc_server_error(name(code))
}

/// The status that a client makes of an answer without one (gRPC, "HTTP to gRPC Status Code Mapping").
pub(super) fn from_http(status: StatusCode) -> Code {
    match status.as_u16() {
        400 => Code::Internal,
        401 => Code::Unauthenticated,
        403 => Code::PermissionDenied,
        404 => Code::Unimplemented,
        429 | 502..=504 => Code::Unavailable,
        _ => Code::Unknown,
    }
}

/// The status for an error of the connection of a kind of `http::fault`.
pub(super) fn from_kind(kind: &str) -> Code {
    match kind {
        "timeout" => Code::DeadlineExceeded,
        "cancelled" => Code::Cancelled,
        "dns" | "broken_pipe" => Code::Unavailable,
        kind if kind.starts_with("connection_") || kind.ends_with("_unreachable") => Code::Unavailable,
        kind => (0..=16).map(Code::from_i32).find(|code| name(*code) == kind).unwrap_or(Code::Unknown),
    }
}

/// Status and words of headers or trailers.
pub(super) fn of_headers(headers: &HeaderMap) -> Option<(Code, Option<String>)> {
    let code = Code::from_bytes(headers.get("grpc-status")?.as_bytes());
    let message = headers.get("grpc-message").and_then(|message| message.to_str().ok());
    let message = message.map(|text| tracewell_propagate::percent_decode(text).into_owned());
    Some((code, message.filter(|message| !message.is_empty())))
}

/// The caller's deadline (`grpc-timeout`): at most eight digits and a unit.
pub(super) fn timeout(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get("grpc-timeout")?.to_str().ok()?;
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.len() > 8 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let number: u64 = digits.parse().ok()?;
    match unit {
        "H" => Some(Duration::from_secs(number * 3600)),
        "M" => Some(Duration::from_secs(number * 60)),
        "S" => Some(Duration::from_secs(number)),
        "m" => Some(Duration::from_millis(number)),
        "u" => Some(Duration::from_micros(number)),
        "n" => Some(Duration::from_nanos(number)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_the_name_of_the_specification() {
        for number in 0..=16 {
            let code = Code::from_i32(number);
            let spelled: String =
                name(code).split('_').map(|word| word[..1].to_owned() + &word[1..].to_lowercase()).collect();
            assert_eq!(spelled, format!("{code:?}"));
            assert_eq!(from_kind(name(code)), code);
        }
    }

    #[test]
    fn a_deadline_is_read_in_every_unit() {
        for (text, expected) in [
            ("1H", Some(Duration::from_secs(3600))),
            ("2M", Some(Duration::from_secs(120))),
            ("3S", Some(Duration::from_secs(3))),
            ("82m", Some(Duration::from_millis(82))),
            ("5u", Some(Duration::from_micros(5))),
            ("99999999n", Some(Duration::from_nanos(99_999_999))),
            ("999999999n", None),
            ("1é", None),
            ("S", None),
            ("", None),
            ("-1S", None),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert("grpc-timeout", http::HeaderValue::from_bytes(text.as_bytes()).unwrap());
            assert_eq!(timeout(&headers), expected, "{text:?}");
        }
    }

    #[test]
    fn a_status_is_read_with_its_words() {
        let mut headers = HeaderMap::new();
        assert_eq!(of_headers(&headers), None);
        headers.insert("grpc-status", http::HeaderValue::from_static("5"));
        headers.insert("grpc-message", http::HeaderValue::from_static("no%20such%20item"));
        assert_eq!(of_headers(&headers), Some((Code::NotFound, Some("no such item".to_owned()))));
        headers.insert("grpc-status", http::HeaderValue::from_bytes(b"\xff").unwrap());
        headers.insert("grpc-message", http::HeaderValue::from_bytes(b"\xff").unwrap());
        assert_eq!(of_headers(&headers), Some((Code::Unknown, None)));
    }
}
