//! OT trace, the format of OpenTracing's basic tracers. There is no specification but the headers
//! themselves.
//!
//! ```text
//! ot-tracer-traceid: a3ce929d0e0e4736     64 bits; 128 are accepted
//! ot-tracer-spanid: 00f067aa0ba902b7
//! ot-tracer-sampled: true
//! ot-baggage-user: alice                  a member of the baggage, as it is
//! ```

use super::{Sampling, baggage_from, baggage_to, context, first, low, valid};
use crate::{Extract, Inject, Problem, Propagated, Propagator, SpanId, TraceId, hex};

const TRACE_ID: &str = "ot-tracer-traceid";
const SPAN_ID: &str = "ot-tracer-spanid";
const SAMPLED: &str = "ot-tracer-sampled";
const BAGGAGE_PREFIX: &str = "ot-baggage-";

/// The propagator `ottrace`. It writes the lower 64 bits of the trace id only; ids may be sent without
/// leading zeros.
#[derive(Debug, Clone, Copy, Default)]
pub struct OtTrace;

impl Propagator for OtTrace {
    fn fields(&self) -> &'static [&'static str] {
        &[TRACE_ID, SPAN_ID, SAMPLED]
    }

    fn extract(&self, carrier: &dyn Extract, into: &mut Propagated, problem: &mut dyn FnMut(Problem)) {
        let mut tell = |header, reason| problem(Problem { header, reason });
        let trace_id = first(carrier, TRACE_ID, |value| hex::padded(value).map(TraceId));
        let span_id = first(carrier, SPAN_ID, |value| hex::padded(value).map(SpanId));
        let (trace_id, span_id) = match (trace_id, span_id) {
            (None, None) => return,
            (Some(Some(trace_id)), Some(Some(span_id))) => (trace_id, span_id),
            (Some(None), _) => return tell(TRACE_ID, "not 1 to 32 hex digits"),
            (None, _) => return tell(TRACE_ID, "missing beside the span id"),
            (_, Some(None)) => return tell(SPAN_ID, "not 1 to 16 hex digits"),
            (_, None) => return tell(SPAN_ID, "missing beside the trace id"),
        };
        let sampling = first(carrier, SAMPLED, |value| match value {
            "true" => Sampling::Accept,
            "false" => Sampling::Deny,
            _ => Sampling::Deferred,
        });
        if sampling == Some(Sampling::Deferred) {
            tell(SAMPLED, "neither true nor false");
        }
        let sampling = sampling.unwrap_or(Sampling::Deferred);
        match context(trace_id, span_id, sampling.is_sampled()) {
            Some(context) => into.found(context, sampling.decision()),
            None => return tell(TRACE_ID, "an id is all zero"),
        }
        if !baggage_from(carrier, BAGGAGE_PREFIX, &mut into.baggage, str::to_owned) {
            tell("ot-baggage-*", "more than 64 members or 8192 bytes, or a name is no token");
        }
    }

    fn inject(&self, propagated: &Propagated, carrier: &mut dyn Inject) {
        // A trace id whose lower half is zero cannot be told from an invalid one.
        let Some(context) = valid(propagated).filter(|context| low(context.trace_id) != 0) else { return };
        let mut digits = [0; 32];
        hex::write(&context.trace_id.0[8..], &mut digits[..16]);
        hex::write(&context.span_id.0, &mut digits[16..]);
        let text = std::str::from_utf8(&digits).unwrap_or_default();
        carrier.set(TRACE_ID, &text[..16]);
        carrier.set(SPAN_ID, &text[16..]);
        match Sampling::of(propagated, context) {
            Sampling::Deferred => {}
            Sampling::Deny => carrier.set(SAMPLED, "false"),
            Sampling::Accept | Sampling::Debug => carrier.set(SAMPLED, "true"),
        }
        baggage_to(carrier, BAGGAGE_PREFIX, &propagated.baggage, |value, text| text.push_str(value));
    }
}
