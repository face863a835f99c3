//! One OTLP/HTTP request: encoding of the body, classification of the answer (OTLP 1.11, "OTLP/HTTP response").

use std::borrow::Cow;
use std::io::Write;
use std::time::{Duration, SystemTime};

use flate2::Compression;
use flate2::write::GzEncoder;

use crate::config::Destination;
use crate::proto;
use crate::tls;

/// Of an answer's body no more than this is read.
const ANSWER_BYTES_MAX: u64 = 64 << 10;

/// Longest answer that is read as configuration.
const CONFIGURATION_BYTES_MAX: u64 = 1 << 20;

/// What the receiver said.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// Taken, but for `rejected` records.
    Accepted { rejected: u64, message: String },
    /// It makes no sense to send this again.
    Refused { why: String },
    /// Send it again, not before `retry_after` where that is given.
    Later { why: String, retry_after: Option<Duration> },
}

/// A body ready to be sent.
pub(crate) struct Body<'a> {
    content: Cow<'a, [u8]>,
    gzip: bool,
}

/// A blocking HTTP/1.1 client that keeps its connections.
pub(crate) struct Client {
    agent: ureq::Agent,
}

impl Client {
    /// A client for that destination, and what is wrong with its certificates.
    pub(crate) fn new(to: &Destination) -> (Self, Option<String>) {
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .user_agent(concat!("tracewell-sdk/", env!("CARGO_PKG_VERSION")));
        let (config, problem) = match tls::configure(config, to) {
            Ok(config) => (config, None),
            Err(problem) => (ureq::Agent::config_builder().http_status_as_error(false), Some(problem)),
        };
        (Self { agent: config.build().new_agent() }, problem)
    }

    pub(crate) fn prepare(body: &[u8], gzip: bool) -> Body<'_> {
        if gzip {
            let mut encoder = GzEncoder::new(Vec::with_capacity(body.len() / 4), Compression::fast());
            if encoder.write_all(body).is_ok()
                && let Ok(content) = encoder.finish()
            {
                return Body { content: Cow::Owned(content), gzip: true };
            }
        }
        Body { content: Cow::Borrowed(body), gzip: false }
    }

    pub(crate) fn post(&self, url: &str, headers: &[(String, String)], body: &Body<'_>, timeout: Duration) -> Answer {
        if timeout.is_zero() {
            return Answer::Later { why: "no time left".to_owned(), retry_after: None };
        }
        let mut request = self.agent.post(url).content_type("application/x-protobuf");
        if body.gzip {
            request = request.header("content-encoding", "gzip");
        }
        for (name, value) in headers {
            request = request.header(name, value);
        }
        let mut config = request.config().timeout_global(Some(timeout));
        if is_loopback(url) {
            config = config.proxy(None);
        }
        let mut response = match config.build().send(body.content.as_ref()) {
            Ok(response) => response,
            Err(error @ (ureq::Error::BadUri(_) | ureq::Error::Http(_) | ureq::Error::InvalidProxyUrl)) => {
                return Answer::Refused { why: error.to_string() };
            }
            Err(ureq::Error::TlsRequired) => {
                return Answer::Refused { why: "https needs the feature `tls` of tracewell-sdk".to_owned() };
            }
            Err(error) => return Answer::Later { why: error.to_string(), retry_after: None },
        };
        let status = response.status();
        let retry_after = response
            .headers()
            .get("retry-after")
            .and_then(|value| value.to_str().ok())
            .and_then(|value| parse_retry_after(value, SystemTime::now()));
        let content = response.body_mut().with_config().limit(ANSWER_BYTES_MAX).read_to_vec();
        match status.as_u16() {
            200..=299 => {
                let (rejected, message) = partial_success(&content.unwrap_or_default());
                Answer::Accepted { rejected, message }
            }
            429 | 502 | 503 | 504 => Answer::Later { why: format!("status {status}"), retry_after },
            _ => Answer::Refused { why: format!("status {status}") },
        }
    }
}

impl Client {
    /// The body of a successful answer to a GET.
    pub(crate) fn get(&self, url: &str, timeout: Duration) -> Result<Vec<u8>, String> {
        let mut config = self.agent.get(url).config().timeout_global(Some(timeout));
        if is_loopback(url) {
            config = config.proxy(None);
        }
        let mut response = config.build().call().map_err(|error| error.to_string())?;
        let status = response.status();
        if !status.is_success() {
            return Err(format!("status {status}"));
        }
        let body = response.body_mut().with_config().limit(CONFIGURATION_BYTES_MAX).read_to_vec();
        body.map_err(|error| error.to_string())
    }
}

fn is_loopback(url: &str) -> bool {
    let host = url.split_once("://").map_or(url, |(_, rest)| rest);
    ["localhost", "127.", "[::1]"].iter().any(|loopback| host.starts_with(loopback))
}

/// `Retry-After` as seconds or as a date (RFC 9110 §10.2.3).
fn parse_retry_after(value: &str, now: SystemTime) -> Option<Duration> {
    let value = value.trim();
    if let Ok(seconds) = value.parse() {
        return Some(Duration::from_secs(seconds));
    }
    http_date(value).map(|at| (SystemTime::UNIX_EPOCH + at).duration_since(now).unwrap_or_default())
}

/// Time since the Unix epoch of an `IMF-fixdate` such as `Sun, 06 Nov 1994 08:49:37 GMT`.
fn http_date(text: &str) -> Option<Duration> {
    let mut parts = text.split_once(", ")?.1.split_ascii_whitespace();
    let day: i64 = parts.next()?.parse().ok()?;
    let names = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let name = parts.next()?;
    let month = names.iter().position(|month| *month == name)? as i64 + 1;
    let year: i64 = parts.next()?.parse().ok().filter(|year| (1970..=9999).contains(year))?;
    let mut clock = parts.next()?.split(':').map(|part| part.parse::<i64>().ok());
    let seconds = clock.next()?? * 3600 + clock.next()?? * 60 + clock.next()??;
    // Days from civil (Hinnant): years start in March, so that the leap day is the last.
    let (year, month) = if month <= 2 { (year - 1, month + 9) } else { (year, month - 3) };
    let days = 365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day - 1 - 719_468;
    u64::try_from(days * 86_400 + seconds).ok().map(Duration::from_secs)
}

/// `partial_success` of `ExportTraceServiceResponse` and `ExportLogsServiceResponse`.
fn partial_success(mut answer: &[u8]) -> (u64, String) {
    let (mut rejected, mut message) = (0, String::new());
    while let Some(field) = proto::next_field(&mut answer) {
        let mut partial = if field.number == 1 { field.content } else { &[] };
        while let Some(field) = proto::next_field(&mut partial) {
            match field.number {
                1 => rejected = field.varint,
                2 => message = String::from_utf8_lossy(field.content).into_owned(),
                _ => {}
            }
        }
    }
    (rejected, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_read_in_both_forms() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777);
        let cases = [
            ("3", Some(3)),
            (" 120 ", Some(120)),
            ("Sun, 06 Nov 1994 08:49:47 GMT", Some(10)),
            ("Sun, 06 Nov 1994 08:00:00 GMT", Some(0)),
            ("soon", None),
            ("-1", None),
        ];
        for (value, seconds) in cases {
            assert_eq!(parse_retry_after(value, now), seconds.map(Duration::from_secs), "{value:?}");
        }
        assert_eq!(http_date("Thu, 29 Feb 2024 12:00:00 GMT"), Some(Duration::from_secs(1_709_208_000)));
    }

    #[test]
    fn partial_success_is_understood() {
        let mut answer = Vec::new();
        proto::message(&mut answer, 1, |buffer| {
            proto::uint(buffer, 1, 3);
            proto::bytes(buffer, 2, b"too old");
        });
        assert_eq!(partial_success(&answer), (3, "too old".to_owned()));
        assert_eq!(partial_success(&[]), (0, String::new()));
        assert_eq!(partial_success(&[0xff, 0xff]), (0, String::new()));
    }
}
