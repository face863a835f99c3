//! What rollups tell: durations of operations, calls between services.

use std::sync::Arc;

use tracewell_model::{Sketch, sketch};

/// How long the spans of one operation took that started within ten minutes.
#[derive(Debug, Clone, PartialEq)]
pub struct DurationCounts {
    /// Start of the ten minutes, in minutes since the epoch.
    pub minute: u64,
    /// Service name.
    pub service: Arc<str>,
    /// Span name.
    pub name: Arc<str>,
    /// OTLP span kind.
    pub kind: i32,
    /// Bucket of the logarithm of the duration, and how many spans fell into it; ascending.
    pub buckets: Vec<(u32, u64)>,
}

impl DurationCounts {
    /// The duration in nanoseconds that a share `q` (0 to 1) of the spans did not exceed, within 1 %.
    pub fn quantile_ns(&self, q: f64) -> f64 {
        let spans: u64 = self.buckets.iter().map(|(_, spans)| spans).sum();
        let rank = (q.clamp(0.0, 1.0) * spans.saturating_sub(1) as f64).round() as u64;
        let mut below = 0;
        let holding = self.buckets.iter().find(|(_, spans)| {
            below += spans;
            below > rank
        });
        holding.map_or(0.0, |(bucket, _)| sketch::bucket_value(*bucket))
    }
}

/// Calls from one service to another that began in one minute, split as [`tracewell_model::call`] says; nanoseconds.
///
/// Where the two sides of a call lie in different sources, each source knows only its own: the callee's counts as a call
/// from nowhere ([`HopCount::unpaired`]), the caller's not at all. Whoever reads several sources joins them.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct HopCount {
    /// Minutes since the epoch.
    pub minute: u64,
    /// The calling service; empty for requests from outside, and for calls whose caller's span is not here.
    pub caller: Arc<str>,
    /// The called service.
    pub callee: Arc<str>,
    /// True for messages.
    pub is_async: bool,
    /// Calls.
    pub calls: u64,
    /// Calls that the callee ended with an error.
    pub errors: u64,
    /// Calls whose callee names a parent that is not here.
    pub unpaired: u64,
    /// From the caller's start to the callee's; signed.
    pub request: Sketch,
    /// Duration at the callee.
    pub server: Sketch,
    /// Of it, what the callee did not spend on calls of its own.
    pub own: Sketch,
    /// From the callee's end to the caller's; signed.
    pub response: Sketch,
    /// From the handing over of a message to its being taken; signed.
    pub queue: Sketch,
}

impl HopCount {
    /// The distributions, in the order in which they are stored.
    pub fn sketches(&self) -> [&Sketch; 5] {
        [&self.request, &self.server, &self.own, &self.response, &self.queue]
    }

    /// The same, to be changed.
    pub fn sketches_mut(&mut self) -> [&mut Sketch; 5] {
        [&mut self.request, &mut self.server, &mut self.own, &mut self.response, &mut self.queue]
    }

    /// Takes the calls of another minute, or of another part of the same. Names stay.
    pub fn merge(&mut self, other: &Self) {
        self.calls = self.calls.saturating_add(other.calls);
        self.errors = self.errors.saturating_add(other.errors);
        self.unpaired = self.unpaired.saturating_add(other.unpaired);
        for (own, more) in self.sketches_mut().into_iter().zip(other.sketches()) {
            own.merge(more);
        }
    }

    /// Takes back the calls of another, all of which are among these.
    pub fn remove(&mut self, other: &Self) {
        self.calls = self.calls.saturating_sub(other.calls);
        self.errors = self.errors.saturating_sub(other.errors);
        self.unpaired = self.unpaired.saturating_sub(other.unpaired);
        for (own, less) in self.sketches_mut().into_iter().zip(other.sketches()) {
            own.remove(less);
        }
    }
}
