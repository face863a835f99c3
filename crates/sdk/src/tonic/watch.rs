//! What either side notes of a call.

use std::sync::Arc;
use std::time::{Duration, Instant};

use http::response::Parts;
use http::{HeaderMap, StatusCode};
use tonic::Code;
use tracing::Span;

use super::code;
use super::messages::{Direction, Messages};
use crate::edit::{self, Editor};
use crate::http::capture::Captured;
use crate::http::watch::{End, Watch};
use crate::proto::ValueRef;

/// Which side of a call it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Server,
    Client,
}

/// The settings, shared by all calls of one layer.
#[derive(Debug, Clone, Default)]
pub(super) struct Options {
    pub(super) request_metadata: Captured,
    pub(super) response_metadata: Captured,
    /// Messages of each direction that become events.
    pub(super) message_events_max: u32,
    /// `server.address` and `server.port`, where a client says whom it calls.
    pub(super) server: Option<(String, Option<u16>)>,
}

/// What one side notes of a call, and records when it is over.
pub struct RpcWatch {
    side: Side,
    options: Arc<Options>,
    /// The path of the call, for a method that the server turns out not to know.
    path: String,
    started: Instant,
    timeout: Option<Duration>,
    http_status: Option<StatusCode>,
    status: Option<(Code, Option<String>)>,
    /// The status came in place of an answer, not after one.
    without_answer: bool,
    messages: Messages,
}

impl RpcWatch {
    pub(super) fn new(side: Side, options: &Arc<Options>, path: &str, headers: &HeaderMap) -> Self {
        let direction = if side == Side::Server { Direction::Sent } else { Direction::Received };
        Self {
            side,
            options: Arc::clone(options),
            path: if side == Side::Server { method(path).to_owned() } else { String::new() },
            started: Instant::now(),
            timeout: code::timeout(headers),
            http_status: None,
            status: None,
            without_answer: false,
            messages: Messages::new(direction, options.message_events_max),
        }
    }

    fn is_error(&self, code: Code) -> bool {
        match self.side {
            Side::Server => code::is_server_error(code),
            Side::Client => code != Code::Ok,
        }
    }

    /// The status of a call that was given up: whoever waited had a reason.
    fn given_up(&self) -> Code {
        let late = self.timeout.is_some_and(|timeout| self.started.elapsed() >= timeout);
        if late { Code::DeadlineExceeded } else { Code::Cancelled }
    }

    fn record_status(&self, edit: &mut Editor<'_>, code: Code, error_type: &str, message: Option<&str>) {
        edit.set("rpc.response.status_code", ValueRef::Str(code::name(code)));
        if self.is_error(code) {
            edit.fail(error_type, message);
        }
    }
}

/// `package.Service/Method` of a path.
pub(super) fn method(path: &str) -> &str {
    path.strip_prefix('/').unwrap_or(path)
}

impl Watch for RpcWatch {
    fn head(&mut self, span: &Span, head: &mut Parts) {
        self.http_status = Some(head.status);
        self.status = code::of_headers(&head.headers);
        self.without_answer = self.status.is_some();
        if !self.options.response_metadata.is_empty() {
            edit::edit(span, |edit| self.options.response_metadata.record(&head.headers, edit));
        }
    }

    fn data(&mut self, span: &Span, chunk: &[u8], bytes: usize) {
        self.messages.feed(span, chunk, bytes);
    }

    fn trailers(&mut self, _: &Span, trailers: &HeaderMap) {
        self.status = code::of_headers(trailers).or(self.status.take());
    }

    fn may_stop(&self) -> bool {
        self.status.is_some()
    }

    fn end(&mut self, edit: &mut Editor<'_>, end: End<'_>) {
        match end {
            End::Complete => {
                let fallback = || (code::from_http(self.http_status.unwrap_or(StatusCode::OK)), None);
                let (code, message) = self.status.take().unwrap_or_else(fallback);
                // A router answers for methods that nobody serves, without a word; a method that somebody serves
                // and has not written yet says something.
                if self.side == Side::Server && code == Code::Unimplemented && message.is_none() && self.without_answer
                {
                    edit.name("grpc");
                    edit.set("rpc.method", ValueRef::Str("_OTHER"));
                    edit.text("rpc.method_original", &self.path);
                }
                self.record_status(edit, code, code::name(code), message.as_deref());
            }
            End::Failed(kind, message) => {
                let code = kind.map_or(Code::Unknown, code::from_kind);
                self.record_status(edit, code, kind.unwrap_or(code::name(code)), Some(&message));
                // Whatever the status says, the call did not come to its end.
                edit.fail(kind.unwrap_or(code::name(code)), Some(&message));
            }
            End::Abandoned => {
                let code = self.given_up();
                self.record_status(edit, code, code::name(code), None);
            }
            End::Panicked(panicked) => {
                panicked.record(edit);
                edit.fail("panic", Some(panicked.message()));
            }
        }
    }
}
