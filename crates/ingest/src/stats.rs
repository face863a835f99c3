//! What the listeners took and refused, counted by receiver, signal and reason.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;

use crate::budget::Budget;
use crate::refusal::{Reason, Refusal};
use crate::sink::Signal;

/// Longest error text that is kept, in bytes.
const MESSAGE_BYTES_MAX: usize = 512;

/// A protocol that data arrives in. Each listening port takes both, so what counts is the request, not the port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Receiver {
    /// OTLP over gRPC.
    OtlpGrpc,
    /// OTLP over HTTP, protobuf or JSON.
    OtlpHttp,
}

impl Receiver {
    /// All receivers, in the order of their numbers.
    pub const ALL: [Self; 2] = [Self::OtlpGrpc, Self::OtlpHttp];

    /// Name as counters and messages show it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::OtlpGrpc => "otlp_grpc",
            Self::OtlpHttp => "otlp_http",
        }
    }
}

/// Counters since the start, shared by all listeners. Reading never stops a writer.
#[derive(Debug)]
pub struct Stats {
    budget: Arc<Budget>,
    receivers: [ReceiverStats; Receiver::ALL.len()],
}

#[derive(Debug, Default)]
struct ReceiverStats {
    connections: AtomicU64,
    connections_open: AtomicU64,
    traces: Cell,
    logs: Cell,
    /// Requests that belong to neither signal: unknown paths, junk.
    other: Cell,
}

/// Counters of one receiver and signal.
#[derive(Debug, Default)]
pub(crate) struct Cell {
    requests: AtomicU64,
    items_accepted: AtomicU64,
    items_rejected: [AtomicU64; ItemFault::ALL.len()],
    refused: [AtomicU64; Reason::ALL.len()],
    last_errors: Mutex<BTreeMap<&'static str, LastError>>,
    bytes_received: AtomicU64,
    bytes_decoded: AtomicU64,
}

/// Why single spans of an accepted request are left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ItemFault {
    TraceId,
    SpanId,
}

impl ItemFault {
    const ALL: [Self; 2] = [Self::TraceId, Self::SpanId];

    fn as_str(self) -> &'static str {
        match self {
            Self::TraceId => "invalid_trace_id",
            Self::SpanId => "invalid_span_id",
        }
    }
}

/// The last refusal for a reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LastError {
    /// When, as nanoseconds since the Unix epoch in decimal.
    pub at_unix_nano: String,
    /// Address and port of the client.
    pub peer: String,
    /// What the client was told.
    pub message: String,
}

/// All counters at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Snapshot {
    /// Bytes of the requests that are being read, checked or stored.
    pub in_flight_bytes: u64,
    /// Bound of the above; past it requests are refused as `overloaded`.
    pub in_flight_bytes_max: u64,
    /// One entry per receiver, in the order of [`Receiver::ALL`].
    pub receivers: Vec<ReceiverSnapshot>,
}

/// Counters of one receiver.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ReceiverSnapshot {
    /// `otlp_grpc` or `otlp_http`.
    pub name: &'static str,
    /// Connections accepted on the receiver's own port.
    pub connections: u64,
    /// Of these, how many are open.
    pub connections_open: u64,
    /// `traces`, `logs`, and `other` for what belongs to neither.
    pub signals: Vec<SignalSnapshot>,
}

/// Counters of one receiver and signal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SignalSnapshot {
    /// `traces`, `logs` or `other`.
    pub signal: &'static str,
    /// Requests that arrived, refused ones included.
    pub requests: u64,
    /// Spans or log records that were stored.
    pub items_accepted: u64,
    /// Spans that were left out of accepted requests, by reason; zeros are not listed.
    pub items_rejected: BTreeMap<&'static str, u64>,
    /// Requests (or connections) refused as a whole, by reason; zeros are not listed.
    pub refused: BTreeMap<&'static str, RefusedSnapshot>,
    /// Body bytes as they came over the wire.
    pub bytes_received: u64,
    /// Body bytes after decompression.
    pub bytes_decoded: u64,
}

/// How often something was refused for one reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RefusedSnapshot {
    /// Times.
    pub count: u64,
    /// The latest one.
    pub last: Option<LastError>,
}

impl Stats {
    /// Counters at zero.
    pub(crate) fn new(budget: Arc<Budget>) -> Self {
        Self { budget, receivers: Default::default() }
    }

    /// The counters as they are now. Each is exact; together they are not one instant.
    pub fn snapshot(&self) -> Snapshot {
        let receivers = Receiver::ALL.into_iter().map(|receiver| {
            let stats = self.receiver(receiver);
            ReceiverSnapshot {
                name: receiver.as_str(),
                connections: load(&stats.connections),
                connections_open: load(&stats.connections_open),
                signals: vec![
                    stats.traces.snapshot("traces"),
                    stats.logs.snapshot("logs"),
                    stats.other.snapshot("other"),
                ],
            }
        });
        Snapshot {
            in_flight_bytes: self.budget.used_bytes(),
            in_flight_bytes_max: self.budget.max_bytes(),
            receivers: receivers.collect(),
        }
    }

    fn receiver(&self, receiver: Receiver) -> &ReceiverStats {
        let [grpc, http] = &self.receivers;
        match receiver {
            Receiver::OtlpGrpc => grpc,
            Receiver::OtlpHttp => http,
        }
    }

    pub(crate) fn cell(&self, receiver: Receiver, signal: Option<Signal>) -> &Cell {
        let stats = self.receiver(receiver);
        match signal {
            Some(Signal::Traces) => &stats.traces,
            Some(Signal::Logs) => &stats.logs,
            None => &stats.other,
        }
    }

    pub(crate) fn connection_opened(&self, receiver: Receiver) {
        let stats = self.receiver(receiver);
        add(&stats.connections, 1);
        add(&stats.connections_open, 1);
    }

    pub(crate) fn connection_closed(&self, receiver: Receiver) {
        self.receiver(receiver).connections_open.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Cell {
    pub(crate) fn request(&self) {
        add(&self.requests, 1);
    }

    pub(crate) fn received(&self, bytes: usize) {
        add(&self.bytes_received, bytes as u64);
    }

    pub(crate) fn decoded(&self, bytes: usize) {
        add(&self.bytes_decoded, bytes as u64);
    }

    pub(crate) fn accepted(&self, items: u64) {
        add(&self.items_accepted, items);
    }

    pub(crate) fn rejected(&self, fault: ItemFault, items: u64) {
        if let Some(counter) = self.items_rejected.get(fault as usize) {
            add(counter, items);
        }
    }

    /// Counts a refusal and keeps it as the last one for its reason.
    pub(crate) fn refused(&self, refusal: &Refusal, peer: SocketAddr) {
        if let Some(counter) = self.refused.get(refusal.reason as usize) {
            add(counter, 1);
        }
        let reason = refusal.reason.as_str();
        tracing::debug!(%peer, reason, "refused: {}", refusal.message);
        let at = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let last = LastError {
            at_unix_nano: at.as_nanos().to_string(),
            peer: peer.to_string(),
            message: shorten(&refusal.message, MESSAGE_BYTES_MAX).to_owned(),
        };
        lock(&self.last_errors).insert(reason, last);
    }

    fn snapshot(&self, signal: &'static str) -> SignalSnapshot {
        let last_errors = lock(&self.last_errors).clone();
        let refused = Reason::ALL.into_iter().zip(&self.refused).filter_map(|(reason, counter)| {
            let count = load(counter);
            let last = last_errors.get(reason.as_str()).cloned();
            (count > 0).then_some((reason.as_str(), RefusedSnapshot { count, last }))
        });
        let rejected = ItemFault::ALL.into_iter().zip(&self.items_rejected).filter_map(|(fault, counter)| {
            let count = load(counter);
            (count > 0).then_some((fault.as_str(), count))
        });
        SignalSnapshot {
            signal,
            requests: load(&self.requests),
            items_accepted: load(&self.items_accepted),
            items_rejected: rejected.collect(),
            refused: refused.collect(),
            bytes_received: load(&self.bytes_received),
            bytes_decoded: load(&self.bytes_decoded),
        }
    }
}

fn add(counter: &AtomicU64, amount: u64) {
    counter.fetch_add(amount, Ordering::Relaxed);
}

fn load(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The longest start of `text` that has at most `bytes_max` bytes and ends between two characters.
pub(crate) fn shorten(text: &str, bytes_max: usize) -> &str {
    let mut end = text.len().min(bytes_max);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_lists_what_happened_and_nothing_else() {
        let stats = Stats::new(Budget::new(1000));
        let cell = stats.cell(Receiver::OtlpHttp, Some(Signal::Traces));
        let peer = "127.0.0.1:9".parse().unwrap();
        cell.request();
        cell.accepted(3);
        cell.rejected(ItemFault::SpanId, 2);
        cell.refused(&Refusal::new(Reason::TooLarge, "first"), peer);
        cell.refused(&Refusal::new(Reason::TooLarge, "é".repeat(300)), peer);

        let snapshot = stats.snapshot();
        let traces = &snapshot.receivers[1].signals[0];
        assert_eq!((traces.requests, traces.items_accepted), (1, 3));
        assert_eq!(traces.items_rejected, BTreeMap::from([("invalid_span_id", 2)]));
        let refused = &traces.refused["too_large"];
        assert_eq!(refused.count, 2);
        assert_eq!(refused.last.as_ref().unwrap().message, "é".repeat(256));
        assert_eq!(traces.refused.len(), 1);

        let json = serde_json::to_value(&snapshot).unwrap();
        assert_eq!(json["inFlightBytesMax"], 1000);
        assert_eq!(json["receivers"][1]["name"], "otlp_http");
        assert_eq!(json["receivers"][1]["signals"][0]["refused"]["too_large"]["count"], 2);
        assert_eq!(json["receivers"][1]["signals"][0]["itemsAccepted"], 3);
    }
}
