//! One request from its head to the last byte of its answer: its spans, its figures, its end.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use bytes::Bytes;
use http::{HeaderMap, StatusCode, Version};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tracewell_sdk::SpanExt;
use tracewell_sdk::semconv::{is_grpc_server_error, protocol_version};
use tracing::Span;

use crate::failure::Failure;
use crate::hub::Hub;
use crate::pool::Lease;
use crate::semconv::grpc_status;
use crate::stats::InFlight;
use crate::table::Place;
use crate::upload::Sent;

/// Ends the spans of a request, whichever way it ends: [`Exchange::end`], [`Exchange::fail`], or dropped, which means
/// that the client has gone away.
pub(crate) struct Exchange {
    hub: Arc<Hub>,
    /// Where the request is for the application.
    server: Option<Span>,
    client: Span,
    /// Keeps the request among those that outbound ones may belong to.
    place: Option<Place>,
    sent: Option<Arc<Sent>>,
    grpc: bool,
    grpc_status: Option<&'static str>,
    received_bytes: u64,
    begun: Instant,
    ended: bool,
    _in_flight: InFlight,
}

impl Exchange {
    pub(crate) fn new(hub: &Arc<Hub>, server: Option<Span>, client: Span, grpc: bool) -> Self {
        Self {
            hub: Arc::clone(hub),
            server,
            client,
            place: None,
            sent: None,
            grpc,
            grpc_status: None,
            received_bytes: 0,
            begun: Instant::now(),
            ended: false,
            _in_flight: InFlight::new(&hub.stats),
        }
    }

    pub(crate) fn remember(&mut self, place: Option<Place>) {
        self.place = place;
    }

    pub(crate) fn uploads(&mut self, sent: Arc<Sent>) {
        self.sent = Some(sent);
    }

    pub(crate) fn client(&self) -> &Span {
        &self.client
    }

    fn spans(&self) -> impl Iterator<Item = &Span> {
        [Some(&self.client), self.server.as_ref()].into_iter().flatten()
    }

    /// A connection was found or made.
    pub(crate) fn connected(&self, lease: &Lease) {
        self.client.record("tracewell.proxy.connection", if lease.reused { "reused" } else { "new" });
        if let Some(time) = lease.connect_time {
            self.client.record("tracewell.proxy.connect_ns", u64::try_from(time.as_nanos()).unwrap_or(u64::MAX));
        }
    }

    /// The head of the answer is there.
    pub(crate) fn answered(&mut self, status: StatusCode, version: Version, headers: &HeaderMap) {
        let first_byte = u64::try_from(self.begun.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.client.record("tracewell.proxy.first_byte_ns", first_byte);
        self.client.record("network.protocol.version", protocol_version(version));
        for span in self.spans() {
            span.record("http.response.status_code", status.as_u16());
        }
        if status.is_client_error() || status.is_server_error() {
            self.client.record("error.type", status.as_str());
            self.client.record("otel.status_code", "error");
        }
        if status.is_server_error()
            && let Some(server) = &self.server
        {
            server.record("error.type", status.as_str());
            server.record("otel.status_code", "error");
        }
        if self.grpc {
            self.grpc_status = grpc_status(headers);
        }
    }

    fn received(&mut self, frame: &Frame<Bytes>) {
        self.received_bytes += frame.data_ref().map_or(0, |data| data.len() as u64);
        if self.grpc
            && let Some(trailers) = frame.trailers_ref()
        {
            self.grpc_status = grpc_status(trailers).or(self.grpc_status);
        }
    }

    /// Bytes of a tunnel, for which there is no word in the conventions.
    pub(crate) fn tunnelled(&mut self, to_backend: u64, to_client: u64) {
        for span in self.spans() {
            span.set_attribute("tracewell.proxy.tunnel.sent_bytes", i64::try_from(to_backend).unwrap_or(i64::MAX));
            span.set_attribute("tracewell.proxy.tunnel.received_bytes", i64::try_from(to_client).unwrap_or(i64::MAX));
        }
    }

    /// Everything went to its end.
    pub(crate) fn end(&mut self) {
        if std::mem::replace(&mut self.ended, true) {
            return;
        }
        if self.grpc {
            // An answer without a status is a broken one (gRPC over HTTP/2, "Responses").
            let status = self.grpc_status.unwrap_or("UNKNOWN");
            for span in self.spans() {
                span.record("rpc.response.status_code", status);
                let own = self.server.as_ref().is_some_and(|server| server.id() == span.id());
                if status != "OK" && (!own || is_grpc_server_error(status)) {
                    span.record("error.type", status);
                    span.record("otel.status_code", "error");
                }
            }
        }
        self.close();
    }

    /// It broke off. The proxy answered with `status` where the answer had not begun.
    pub(crate) fn fail(&mut self, failure: Failure, status: Option<StatusCode>) {
        if std::mem::replace(&mut self.ended, true) {
            return;
        }
        self.hub.stats.failed(failure);
        for span in self.spans() {
            span.record("error.type", failure.kind());
            span.record("otel.status_code", "error");
            span.record("otel.status_message", failure.words());
        }
        if let (Some(status), Some(server)) = (status, &self.server) {
            server.record("http.response.status_code", status.as_u16());
        }
        self.close();
    }

    fn close(&mut self) {
        if let Some(sent) = &self.sent {
            sent.stop();
        }
        for span in self.spans() {
            if let Some(sent) = &self.sent {
                span.record("http.request.body.size", sent.bytes());
            }
            if self.received_bytes > 0 {
                span.record("http.response.body.size", self.received_bytes);
            }
        }
        self.client.end();
        if let Some(server) = &self.server {
            server.end();
        }
        self.place = None;
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        self.fail(if self.hub.closing.is_cancelled() { Failure::Ended } else { Failure::ClientGone }, None);
    }
}

/// What is sent to a client.
pub(crate) enum Answer {
    /// Nothing.
    Empty,
    /// The proxy's own words.
    Text(Option<Bytes>),
    /// What the backend sends.
    Relay(Box<Relay>),
}

/// The body of a backend's answer, with everything that ends with it.
pub(crate) struct Relay {
    from: Incoming,
    exchange: Exchange,
    lease: Option<Lease>,
    /// The client takes no body, as after HEAD: dropping it unread is the usual end.
    bodiless: bool,
}

impl Relay {
    pub(crate) fn new(from: Incoming, exchange: Exchange, lease: Lease, bodiless: bool) -> Self {
        let mut relay = Self { from, exchange, lease: Some(lease), bodiless };
        if relay.from.is_end_stream() {
            relay.end();
        }
        relay
    }

    fn end(&mut self) {
        self.exchange.end();
        if let Some(lease) = self.lease.take() {
            lease.give_back();
        }
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        if self.bodiless {
            self.exchange.end();
        }
    }
}

impl Body for Answer {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let relay = match &mut *self {
            Answer::Empty => return Poll::Ready(None),
            Answer::Text(text) => return Poll::Ready(text.take().map(|text| Ok(Frame::data(text)))),
            Answer::Relay(relay) => relay,
        };
        let frame = ready!(Pin::new(&mut relay.from).poll_frame(context));
        match &frame {
            None => relay.end(),
            Some(Err(error)) => {
                relay.exchange.fail(Failure::of_hyper(error, true), None);
                relay.lease = None;
            }
            Some(Ok(frame)) => {
                relay.exchange.received(frame);
                // hyper does not ask again once it knows that this was the last frame.
                if relay.from.is_end_stream() {
                    relay.end();
                }
            }
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Answer::Empty => true,
            Answer::Text(text) => text.is_none(),
            Answer::Relay(relay) => relay.from.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Answer::Empty => SizeHint::with_exact(0),
            Answer::Text(text) => SizeHint::with_exact(text.as_ref().map_or(0, |text| text.len() as u64)),
            Answer::Relay(relay) => relay.from.size_hint(),
        }
    }
}
