//! Header formats other than the W3C's, each in a file of its own.
//!
//! They carry less than the W3C's context (no trace state, no random flag) and sometimes more: a decision
//! that was left open, a debug flag, an origin. What they carry beyond is kept in
//! [`Decision`](crate::Decision) and in the trace state.

mod b3;
mod datadog;
mod google;
mod jaeger;
mod opencensus;
mod ottrace;
mod xray;

pub use b3::B3;
pub use datadog::Datadog;
pub use google::Google;
pub use jaeger::Jaeger;
pub use opencensus::OpenCensus;
pub use ottrace::OtTrace;
pub use xray::{Variables, XRay};

use crate::{Baggage, Context, Decision, Extract, FLAG_SAMPLED, Inject, Propagated, SpanId, TraceId, TraceState};

/// The context for ids that were read; `None` where one is all zero.
fn context(trace_id: TraceId, span_id: SpanId, sampled: bool) -> Option<Context> {
    let flags = if sampled { FLAG_SAMPLED } else { 0 };
    let context = Context { trace_id, span_id, flags, trace_state: TraceState::default() };
    context.is_valid().then_some(context)
}

/// The context to be written, where there is a valid one.
fn valid(propagated: &Propagated) -> Option<&Context> {
    propagated.context.as_ref().filter(|context| context.is_valid())
}

/// The half of a trace id that formats of 64 bits carry.
fn low(trace_id: TraceId) -> u64 {
    u128::from_be_bytes(trace_id.0) as u64
}

fn from_halves(high: u64, low: u64) -> TraceId {
    TraceId((u128::from(high) << 64 | u128::from(low)).to_be_bytes())
}

/// What a format says about recording.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sampling {
    Deferred,
    Deny,
    Accept,
    Debug,
}

impl Sampling {
    fn of(propagated: &Propagated, context: &Context) -> Self {
        match propagated.decision {
            Decision::Debug => Self::Debug,
            Decision::Deferred => Self::Deferred,
            _ if context.is_sampled() => Self::Accept,
            _ => Self::Deny,
        }
    }

    fn is_sampled(self) -> bool {
        matches!(self, Self::Accept | Self::Debug)
    }

    /// With a context beside it.
    fn decision(self) -> Decision {
        match self {
            Self::Deferred => Decision::Deferred,
            Self::Debug => Decision::Debug,
            Self::Deny | Self::Accept => Decision::AsFlagged,
        }
    }

    /// Without a context.
    fn alone(self) -> Decision {
        match self {
            Self::Deferred => Decision::AsFlagged,
            Self::Deny => Decision::Drop,
            Self::Accept => Decision::Record,
            Self::Debug => Decision::Debug,
        }
    }
}

/// The first value of a header, as far as `read` makes something of it.
fn first<T>(carrier: &dyn Extract, name: &str, mut read: impl FnMut(&str) -> T) -> Option<T> {
    let mut found = None;
    carrier.values(name, &mut |value| {
        if found.is_none() {
            found = Some(read(value.trim_matches([' ', '\t'])));
        }
    });
    found
}

/// Adds the members that have headers of their own; false where one did not fit or has no proper name.
fn baggage_from(carrier: &dyn Extract, prefix: &str, into: &mut Baggage, read: impl Fn(&str) -> String) -> bool {
    let mut complete = true;
    carrier.prefixed(prefix, &mut |key, value| complete &= into.set(key, &read(value)).is_ok());
    complete
}

/// Gives each member a header of its own.
fn baggage_to(carrier: &mut dyn Inject, prefix: &str, baggage: &Baggage, write: impl Fn(&str, &mut String)) {
    let (mut name, mut text) = (prefix.to_owned(), String::new());
    for item in baggage.items() {
        name.truncate(prefix.len());
        name.push_str(&item.key);
        text.clear();
        write(&item.value, &mut text);
        if !text.contains(|char: char| char.is_control()) {
            carrier.set_named(&name, &text);
        }
    }
}
