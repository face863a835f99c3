//! From an error to a word of low cardinality for `error.type`.

use std::any::Any;
use std::error::Error;
use std::fmt::{self, Write};
use std::io::ErrorKind;

/// Causes that are followed.
const CAUSES_MAX: usize = 16;

type Boxed = Box<dyn Error + Send + Sync>;

/// What kind of error this is; `None` where nothing is known of it.
///
/// Known are errors of the operating system at any depth, and those of hyper and hyper-util's client with the
/// feature `hyper`. Errors of other types are looked into where they come boxed.
pub(crate) fn kind<E: Any>(error: &E) -> Option<&'static str> {
    let mut cause = Some(as_error(error)?);
    let mut found = None;
    for _ in 0..CAUSES_MAX {
        let Some(error) = cause else { break };
        // The innermost error that says something says it best.
        found = kind_of_one(error).or(found);
        cause = error.source();
    }
    found
}

/// What an error and its causes say. Formatting is the application's code, to be run while no span is locked.
pub(crate) fn words<E: fmt::Display + Any>(error: &E) -> String {
    let mut words = safely(error);
    #[cfg(feature = "reqwest")]
    if let Some(url) = (error as &dyn Any).downcast_ref().and_then(reqwest::Error::url) {
        // The query may hold secrets, and the URL is an attribute anyway.
        words = words.replace(url.as_str(), url.path());
    }
    let mut cause = as_error(error).and_then(Error::source);
    for _ in 0..CAUSES_MAX {
        let Some(error) = cause else { break };
        let said = safely(error);
        if !words.contains(&said) {
            words.push_str(": ");
            words.push_str(&said);
        }
        cause = error.source();
    }
    words
}

/// Unlike `to_string`, a formatter that reports an error does not make it panic.
fn safely(error: &(impl fmt::Display + ?Sized)) -> String {
    let mut words = String::new();
    // What was written before the error is the best there is.
    let _ = write!(words, "{error}");
    words
}

fn as_error(error: &dyn Any) -> Option<&(dyn Error + 'static)> {
    if let Some(boxed) = error.downcast_ref::<Boxed>() {
        return Some(&**boxed);
    }
    #[cfg(feature = "axum")]
    if let Some(error) = error.downcast_ref::<axum::Error>() {
        return Some(error);
    }
    #[cfg(feature = "hyper")]
    if let Some(error) = error.downcast_ref::<hyper_util::client::legacy::Error>() {
        return Some(error);
    }
    #[cfg(feature = "hyper")]
    if let Some(error) = error.downcast_ref::<hyper::Error>() {
        return Some(error);
    }
    #[cfg(feature = "reqwest")]
    if let Some(error) = error.downcast_ref::<reqwest::Error>() {
        return Some(error);
    }
    #[cfg(feature = "tonic")]
    if let Some(error) = error.downcast_ref::<tonic::Status>() {
        return Some(error);
    }
    #[cfg(feature = "tonic")]
    if let Some(error) = error.downcast_ref::<tonic::transport::Error>() {
        return Some(error);
    }
    error.downcast_ref::<std::io::Error>().map(|error| error as _)
}

fn kind_of_one(error: &(dyn Error + 'static)) -> Option<&'static str> {
    if let Some(error) = error.downcast_ref::<std::io::Error>() {
        return kind_of_io(error.kind());
    }
    #[cfg(feature = "hyper")]
    if let Some(error) = error.downcast_ref::<hyper::Error>() {
        return match () {
            () if error.is_timeout() => Some("timeout"),
            () if error.is_incomplete_message() => Some("incomplete_message"),
            () if error.is_parse() => Some("malformed_response"),
            () if error.is_canceled() => Some("cancelled"),
            () if error.is_body_write_aborted() => Some("body_aborted"),
            () if error.is_closed() => Some("connection_closed"),
            () => None,
        };
    }
    #[cfg(feature = "reqwest")]
    if let Some(error) = error.downcast_ref::<reqwest::Error>() {
        return match () {
            () if error.is_timeout() => Some("timeout"),
            () if error.is_redirect() => Some("too_many_redirects"),
            () if error.is_builder() => Some("invalid_request"),
            () if error.is_decode() => Some("malformed_response"),
            () => None,
        };
    }
    #[cfg(feature = "tonic")]
    if let Some(status) = error.downcast_ref::<tonic::Status>() {
        return Some(crate::tonic::code::name(status.code()));
    }
    #[cfg(feature = "tonic")]
    if error.is::<tonic::TimeoutExpired>() {
        return Some("timeout");
    }
    // Types that cannot be named here: timers of tower and tokio, resolvers.
    let text = safely(error);
    match text.as_str() {
        "request timed out" | "deadline has elapsed" | "Timeout expired" | "operation timed out" => Some("timeout"),
        text if text.starts_with("dns error") => Some("dns"),
        _ => None,
    }
}

fn kind_of_io(kind: ErrorKind) -> Option<&'static str> {
    Some(match kind {
        ErrorKind::AddrNotAvailable => "address_not_available",
        ErrorKind::BrokenPipe => "broken_pipe",
        ErrorKind::ConnectionAborted => "connection_aborted",
        ErrorKind::ConnectionRefused => "connection_refused",
        ErrorKind::ConnectionReset => "connection_reset",
        ErrorKind::HostUnreachable => "host_unreachable",
        ErrorKind::InvalidData => "invalid_data",
        ErrorKind::NetworkUnreachable => "network_unreachable",
        ErrorKind::NotConnected => "not_connected",
        ErrorKind::PermissionDenied => "permission_denied",
        ErrorKind::TimedOut => "timeout",
        ErrorKind::UnexpectedEof => "unexpected_eof",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Outer(std::io::Error);

    impl fmt::Display for Outer {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("outer")
        }
    }

    impl Error for Outer {
        fn source(&self) -> Option<&(dyn Error + 'static)> {
            Some(&self.0)
        }
    }

    #[test]
    fn the_innermost_cause_decides() {
        let refused = || std::io::Error::from(ErrorKind::ConnectionRefused);
        assert_eq!(kind(&refused()), Some("connection_refused"));
        assert_eq!(kind(&Boxed::from(Outer(refused()))), Some("connection_refused"));
        assert_eq!(kind(&Boxed::from("request timed out")), Some("timeout"));
        assert_eq!(kind(&std::io::Error::other("x")), None);
        assert_eq!(kind(&"a type that nobody knows"), None);
    }
}
