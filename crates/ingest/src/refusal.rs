//! Why a request is not taken, and how each protocol says so.

use std::borrow::Cow;
use std::time::Duration;

use http::StatusCode;

/// gRPC status codes that the listeners use (`google.rpc.Code`).
pub(crate) mod code {
    pub(crate) const OK: u8 = 0;
    pub(crate) const CANCELLED: u8 = 1;
    pub(crate) const INVALID_ARGUMENT: u8 = 3;
    pub(crate) const DEADLINE_EXCEEDED: u8 = 4;
    pub(crate) const NOT_FOUND: u8 = 5;
    pub(crate) const PERMISSION_DENIED: u8 = 7;
    pub(crate) const RESOURCE_EXHAUSTED: u8 = 8;
    pub(crate) const UNIMPLEMENTED: u8 = 12;
    pub(crate) const INTERNAL: u8 = 13;
    pub(crate) const UNAVAILABLE: u8 = 14;
}

/// Why something was refused. Each reason has its own counter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reason {
    /// The body passes the limit, compressed or not.
    TooLarge,
    /// The body is not what its content type or its content coding says.
    DecodeError,
    /// Too much is in flight or waiting; the client may retry.
    Overloaded,
    /// Storage takes nothing at the moment; the client may retry.
    Unavailable,
    /// A content coding that is not known, or several at once.
    UnsupportedEncoding,
    /// A content type that is neither protobuf nor JSON, or not gRPC.
    UnsupportedMediaType,
    /// `X-Scope-OrgID` is not a tenant name.
    BadTenant,
    /// Nothing is served at this path, or a gRPC method that does not exist.
    UnknownPath,
    /// An HTTP method other than POST.
    MethodNotAllowed,
    /// Metrics or profiles, which are not stored.
    UnsupportedSignal,
    /// A browser page of an origin that is not allowed.
    OriginRefused,
    /// A gRPC message frame that breaks the protocol: no message, a second one, a flag that does not exist.
    BadFraming,
    /// The client sent nothing for too long.
    TimedOut,
    /// The client's own deadline (`grpc-timeout`) passed.
    DeadlineExceeded,
    /// The connection broke in the middle of a body.
    Aborted,
    /// What arrived is not HTTP: a TLS hello, or junk.
    NotHttp,
    /// More connections than allowed.
    TooManyConnections,
    /// A fault of the server.
    Internal,
}

impl Reason {
    /// All reasons, in the order of their numbers.
    pub const ALL: [Self; 18] = [
        Self::TooLarge,
        Self::DecodeError,
        Self::Overloaded,
        Self::Unavailable,
        Self::UnsupportedEncoding,
        Self::UnsupportedMediaType,
        Self::BadTenant,
        Self::UnknownPath,
        Self::MethodNotAllowed,
        Self::UnsupportedSignal,
        Self::OriginRefused,
        Self::BadFraming,
        Self::TimedOut,
        Self::DeadlineExceeded,
        Self::Aborted,
        Self::NotHttp,
        Self::TooManyConnections,
        Self::Internal,
    ];

    /// Name as counters show it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::TooLarge => "too_large",
            Self::DecodeError => "decode_error",
            Self::Overloaded => "overloaded",
            Self::Unavailable => "unavailable",
            Self::UnsupportedEncoding => "unsupported_encoding",
            Self::UnsupportedMediaType => "unsupported_media_type",
            Self::BadTenant => "bad_tenant",
            Self::UnknownPath => "unknown_path",
            Self::MethodNotAllowed => "method_not_allowed",
            Self::UnsupportedSignal => "unsupported_signal",
            Self::OriginRefused => "origin_refused",
            Self::BadFraming => "bad_framing",
            Self::TimedOut => "timed_out",
            Self::DeadlineExceeded => "deadline_exceeded",
            Self::Aborted => "aborted",
            Self::NotHttp => "not_http",
            Self::TooManyConnections => "too_many_connections",
            Self::Internal => "internal",
        }
    }

    /// Status of an OTLP/HTTP answer. Of these, OTLP clients retry 429 and 503.
    pub(crate) fn http_status(self) -> StatusCode {
        match self {
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::DecodeError | Self::BadTenant | Self::BadFraming | Self::Aborted | Self::NotHttp => {
                StatusCode::BAD_REQUEST
            }
            Self::Overloaded => StatusCode::TOO_MANY_REQUESTS,
            Self::Unavailable | Self::TooManyConnections => StatusCode::SERVICE_UNAVAILABLE,
            Self::UnsupportedEncoding | Self::UnsupportedMediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::UnknownPath | Self::UnsupportedSignal => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::OriginRefused => StatusCode::FORBIDDEN,
            Self::TimedOut | Self::DeadlineExceeded => StatusCode::REQUEST_TIMEOUT,
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// Code of a gRPC answer. Of these, OTLP clients retry CANCELLED, DEADLINE_EXCEEDED and UNAVAILABLE;
    /// RESOURCE_EXHAUSTED only with RetryInfo, which an oversized message never gets.
    pub(crate) fn grpc_code(self) -> u8 {
        match self {
            Self::TooLarge => code::RESOURCE_EXHAUSTED,
            Self::DecodeError | Self::BadTenant | Self::UnsupportedMediaType => code::INVALID_ARGUMENT,
            Self::Overloaded | Self::Unavailable | Self::TooManyConnections => code::UNAVAILABLE,
            Self::UnsupportedEncoding | Self::UnknownPath | Self::UnsupportedSignal | Self::MethodNotAllowed => {
                code::UNIMPLEMENTED
            }
            Self::OriginRefused => code::PERMISSION_DENIED,
            Self::TimedOut | Self::DeadlineExceeded => code::DEADLINE_EXCEEDED,
            Self::Aborted => code::CANCELLED,
            Self::BadFraming | Self::NotHttp | Self::Internal => code::INTERNAL,
        }
    }
}

/// A request that is not taken.
#[derive(Debug, Clone)]
pub(crate) struct Refusal {
    pub(crate) reason: Reason,
    /// For the person at the other end: what was expected and what to do.
    pub(crate) message: Cow<'static, str>,
    /// When the same request can succeed; `None` where it never will.
    pub(crate) retry_after: Option<Duration>,
    /// gRPC code where the specification asks for another than the reason's.
    pub(crate) grpc_code: u8,
}

impl Refusal {
    pub(crate) fn new(reason: Reason, message: impl Into<Cow<'static, str>>) -> Self {
        Self { reason, message: message.into(), retry_after: None, grpc_code: reason.grpc_code() }
    }

    pub(crate) fn retry(reason: Reason, message: impl Into<Cow<'static, str>>, retry_after: Duration) -> Self {
        Self { retry_after: Some(retry_after), ..Self::new(reason, message) }
    }

    pub(crate) fn with_grpc_code(self, grpc_code: u8) -> Self {
        Self { grpc_code, ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_follow_the_order_of_the_list() {
        for (number, reason) in Reason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, number, "{}", reason.as_str());
        }
    }
}
