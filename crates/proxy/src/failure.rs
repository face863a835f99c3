//! What can go wrong between the proxy and a backend, and what the client, the span and the counters say about it.

use std::error::Error;
use std::io;

use http::StatusCode;

/// Why a request could not be carried, or not to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Failure {
    /// The host name has no address.
    Unresolved,
    /// Nobody listens on the backend's port.
    Refused,
    /// The backend cannot be reached otherwise.
    Unreachable,
    /// No connection within the time.
    ConnectTimeout,
    /// The TLS handshake failed.
    Tls,
    /// The connection ended before an answer began.
    ClosedEarly,
    /// The connection ended within the answer's body.
    ClosedInBody,
    /// No answer within the time.
    AnswerTimeout,
    /// What came back is not HTTP, or its head is too large.
    Malformed,
    /// The backend broke HTTP/2, which also is what a backend without HTTP/2 looks like.
    Http2,
    /// The client sent only a part of the body that it announced.
    ClientBody,
    /// The client went away.
    ClientGone,
    /// The proxy was told to end.
    Ended,
    /// The request came here too often.
    Loop,
    /// No route leads anywhere.
    NoRoute,
    /// The request makes no sense to this listener.
    Misdirected,
}

impl Failure {
    /// `error.type`, and the key of the counters.
    pub(crate) fn kind(self) -> &'static str {
        match self {
            Failure::Unresolved => "name_not_resolved",
            Failure::Refused => "connection_refused",
            Failure::Unreachable => "unreachable",
            Failure::ConnectTimeout => "connect_timeout",
            Failure::Tls => "tls_handshake",
            Failure::ClosedEarly => "closed_before_answer",
            Failure::ClosedInBody => "closed_in_body",
            Failure::AnswerTimeout => "answer_timeout",
            Failure::Malformed => "malformed_answer",
            Failure::Http2 => "http2_broken",
            Failure::ClientBody => "client_body_incomplete",
            Failure::ClientGone => "client_gone",
            Failure::Ended => "proxy_ended",
            Failure::Loop => "loop",
            Failure::NoRoute => "no_route",
            Failure::Misdirected => "misdirected",
        }
    }

    /// A sentence for people; what happened comes after the backend's name.
    pub(crate) fn words(self) -> &'static str {
        match self {
            Failure::Unresolved => "its name has no address",
            Failure::Refused => "the connection was refused; is it running?",
            Failure::Unreachable => "it cannot be reached",
            Failure::ConnectTimeout => "no connection within the time",
            Failure::Tls => "the TLS handshake failed",
            Failure::ClosedEarly => "it closed the connection before it answered",
            Failure::ClosedInBody => "it closed the connection in the middle of its answer",
            Failure::AnswerTimeout => "no answer within the time",
            Failure::Malformed => "its answer is not HTTP, or its head is too large",
            Failure::Http2 => "it broke HTTP/2; if it speaks only HTTP/1.1, say so with --backend-protocol http1",
            Failure::ClientBody => "the client sent only a part of its request",
            Failure::ClientGone => "the client went away before the answer was complete",
            Failure::Ended => "the proxy was told to end",
            Failure::Loop => "the request has come through this proxy too often",
            Failure::NoRoute => "no route leads from this host and path to a backend",
            Failure::Misdirected => "this listener does not take such requests",
        }
    }

    /// Status of an answer that the proxy gives itself.
    pub(crate) fn status(self) -> StatusCode {
        match self {
            Failure::ConnectTimeout | Failure::AnswerTimeout => StatusCode::GATEWAY_TIMEOUT,
            Failure::ClientBody | Failure::ClientGone | Failure::Misdirected => StatusCode::BAD_REQUEST,
            Failure::Ended => StatusCode::SERVICE_UNAVAILABLE,
            Failure::Loop => StatusCode::LOOP_DETECTED,
            Failure::NoRoute => StatusCode::NOT_FOUND,
            _ => StatusCode::BAD_GATEWAY,
        }
    }

    /// The same for gRPC (`grpc-status`): DEADLINE_EXCEEDED, UNIMPLEMENTED, CANCELLED or UNAVAILABLE.
    pub(crate) fn grpc_status(self) -> u16 {
        match self {
            Failure::AnswerTimeout => 4,
            Failure::NoRoute | Failure::Misdirected => 12,
            Failure::ClientBody | Failure::ClientGone => 1,
            _ => 14,
        }
    }

    /// Whether the backend or the way to it is to blame.
    pub(crate) fn is_backends(self) -> bool {
        !matches!(
            self,
            Failure::ClientBody | Failure::ClientGone | Failure::Ended | Failure::NoRoute | Failure::Misdirected
        )
    }

    /// What connecting a socket said.
    pub(crate) fn of_connect(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::ConnectionRefused => Failure::Refused,
            io::ErrorKind::TimedOut => Failure::ConnectTimeout,
            _ => Failure::Unreachable,
        }
    }

    /// What hyper's client said, before an answer began or (`in_body`) later.
    pub(crate) fn of_hyper(error: &hyper::Error, in_body: bool) -> Self {
        let broken = if in_body { Failure::ClosedInBody } else { Failure::ClosedEarly };
        if error.is_parse() {
            return if in_body { broken } else { Failure::Malformed };
        }
        if let Some(error) = source::<h2::Error>(error) {
            // A reset or a farewell from the backend is its decision; what the library finds is a broken protocol.
            return if error.is_library() && !in_body { Failure::Http2 } else { broken };
        }
        broken
    }
}

/// The first cause of that type.
pub(crate) fn source<'a, E: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a E> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref::<E>() {
            return Some(found);
        }
        next = error.source();
    }
    None
}
