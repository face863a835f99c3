//! Sending a request, a second time where a kept connection turns out to be dead.

use std::sync::Arc;

use http::header::{self, HeaderValue};
use http::request::Parts;
use http::{Request, Response};
use hyper::body::Incoming;
use parking_lot::Mutex;
use tokio::time::timeout;

use crate::backend::Backend;
use crate::exchange::Exchange;
use crate::failure::{Failure, source};
use crate::headers::is_idempotent;
use crate::hub::Hub;
use crate::pool::{Lease, Line};
use crate::stats::one;
use crate::upload::{RequestBody, Upload};

/// What is to be sent, and where.
pub(crate) struct Plan {
    pub(crate) backend: Arc<Backend>,
    pub(crate) version: Line,
    pub(crate) parts: Parts,
    pub(crate) upload: Option<Upload>,
    /// The client waits for `100 Continue` before it sends the body.
    pub(crate) expects: bool,
}

/// The head of an answer, with the connection that its body comes from.
pub(crate) struct Outcome {
    pub(crate) response: Response<Incoming>,
    pub(crate) lease: Lease,
}

/// Sends the request and waits for the head of its answer.
///
/// A connection that was kept may have been closed by the backend at the very moment. What was not sent is sent again
/// over a new connection; what may have been sent, only where the method allows that and its body is still there.
pub(crate) async fn send(hub: &Hub, plan: Plan, exchange: &Exchange) -> Result<Outcome, Failure> {
    let Plan { backend, version, parts, upload, expects } = plan;
    let mut fresh = false;
    loop {
        let mut lease = hub.pool.lease(&backend, version, fresh).await?;
        exchange.connected(&lease);
        let again = lease.reused && !fresh;
        if let Some(upload) = upload.as_ref().filter(|_| !again) {
            upload.last_attempt();
        }
        let request = request(&parts, upload.as_ref(), expects, lease.version())?;
        let sent = match hub.config.answer_time {
            Some(limit) => timeout(limit, lease.send(request)).await.map_err(|_| Failure::AnswerTimeout)?,
            None => lease.send(request).await,
        };
        let error = match sent {
            Ok(response) => return Ok(Outcome { response, lease }),
            Err(error) => error,
        };
        if upload.as_ref().is_some_and(|upload| upload.sent.is_broken()) {
            return Err(Failure::ClientBody);
        }
        let (untouched, error) = (error.message().is_some(), error.error());
        let failure = match Failure::of_hyper(error, false) {
            // An answer that is no HTTP/2 may end the connection before the request is under way.
            Failure::ClosedEarly if untouched => lease.ended().await.unwrap_or(Failure::ClosedEarly),
            failure => failure,
        };
        let safe = untouched || was_refused(error) || (is_idempotent(&parts.method) && failure == Failure::ClosedEarly);
        if !again || !safe || upload.as_ref().is_some_and(|upload| !upload.is_whole()) {
            return Err(failure);
        }
        fresh = true;
        one(&hub.stats.retries);
        exchange.client().record("http.request.resend_count", 1);
    }
}

fn request(
    parts: &Parts,
    upload: Option<&Upload>,
    expects: bool,
    version: Line,
) -> Result<Request<RequestBody>, Failure> {
    let body = match upload {
        Some(upload) => upload.reader().ok_or(Failure::ClosedEarly)?,
        None => RequestBody::empty(),
    };
    let mut request = Request::from_parts(parts.clone(), body);
    if upload.is_some() && version == Line::Http1 && !request.headers().contains_key(header::CONTENT_LENGTH) {
        // Without this hyper would send no body with GET and the like.
        request.headers_mut().insert(header::TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
    }
    if expects && let Some(upload) = upload {
        let ask = Mutex::new(Some(upload.hold()));
        hyper::ext::on_informational(&mut request, move |interim| {
            if interim.status() == http::StatusCode::CONTINUE
                && let Some(ask) = ask.lock().take()
            {
                // The body may be gone already.
                let _ = ask.send(());
            }
        });
    }
    Ok(request)
}

/// An HTTP/2 backend said that it has not looked at the request (RFC 9113 §8.7).
fn was_refused(error: &hyper::Error) -> bool {
    source::<h2::Error>(error).is_some_and(|error| {
        let refused = error.reason() == Some(h2::Reason::REFUSED_STREAM);
        refused || (error.is_go_away() && error.is_remote() && error.reason() == Some(h2::Reason::NO_ERROR))
    })
}
