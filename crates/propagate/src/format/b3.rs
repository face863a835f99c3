//! B3, the format of Zipkin, in one header or in several (openzipkin/b3-propagation; OpenTelemetry
//! specification, "B3 Requirements").
//!
//! ```text
//! b3: 80f198ee56343ba864fe8b2a57d3eff7-e457b5a2e4d86bd1-1-05e3ac9a4f6e3b90
//!     trace id (32 or 16 digits)       span id          │ parent, not used
//!                                                       └ 1, 0, d (debug); absent: not decided
//! X-B3-TraceId, X-B3-SpanId, X-B3-Sampled, X-B3-Flags: 1 (debug)
//! ```

use super::{Sampling, context, first, from_halves, valid};
use crate::{Context, Decision, Extract, Inject, Problem, Propagated, Propagator, SpanId, TraceId, hex};

const SINGLE: &str = "b3";
const TRACE_ID: &str = "x-b3-traceid";
const SPAN_ID: &str = "x-b3-spanid";
const SAMPLED: &str = "x-b3-sampled";
const FLAGS: &str = "x-b3-flags";

/// The propagators `b3` and `b3multi`. Both read both encodings, the single header first; they differ in
/// what they write. The parent's id is never written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct B3 {
    multi: bool,
}

impl B3 {
    /// Writes the header `b3`.
    pub const SINGLE: Self = Self { multi: false };
    /// Writes the headers `x-b3-…`.
    pub const MULTI: Self = Self { multi: true };
}

/// What was found: ids and sampling, or sampling alone.
type Found = (Option<Context>, Sampling);

fn trace_id(text: &str) -> Option<TraceId> {
    let digits = text.as_bytes();
    match digits.len() {
        16 => hex::lower(digits).map(|low| from_halves(0, u64::from_be_bytes(low))),
        _ => hex::lower(digits).map(TraceId),
    }
}

fn single_state(text: &str) -> Option<Sampling> {
    match text {
        "0" => Some(Sampling::Deny),
        "1" => Some(Sampling::Accept),
        "d" => Some(Sampling::Debug),
        _ => None,
    }
}

fn parse_single(value: &str, problem: &mut dyn FnMut(&'static str)) -> Result<Found, &'static str> {
    if let Some(sampling) = single_state(value) {
        return Ok((None, sampling));
    }
    let mut parts = value.split('-');
    let trace_id = parts.next().and_then(trace_id).ok_or("trace id is not 32 or 16 lower-case hex digits")?;
    let span_id = parts.next().and_then(|text| hex::lower(text.as_bytes()));
    let span_id = SpanId(span_id.ok_or("span id is not 16 lower-case hex digits")?);
    let sampling = match parts.next() {
        None => Sampling::Deferred,
        Some(text) => single_state(text).unwrap_or_else(|| {
            problem("sampling state is not 0, 1 or d");
            Sampling::Deferred
        }),
    };
    if parts.next().is_some() && parts.next().is_some() {
        return Err("more than four fields");
    }
    let context = context(trace_id, span_id, sampling.is_sampled()).ok_or("an id is all zero")?;
    Ok((Some(context), sampling))
}

/// `X-B3-Flags` and `X-B3-Sampled`; debug implies the decision to record.
fn multi_state(carrier: &dyn Extract, problem: &mut dyn FnMut(Problem)) -> Sampling {
    if first(carrier, FLAGS, |value| value == "1") == Some(true) {
        return Sampling::Debug;
    }
    let read = |value: &str| match value {
        "1" | "true" | "True" => Some(Sampling::Accept),
        "0" | "false" | "False" => Some(Sampling::Deny),
        // Not in the specification, but sent, and there is no doubt what it means.
        "d" => Some(Sampling::Debug),
        _ => None,
    };
    first(carrier, SAMPLED, read).map_or(Sampling::Deferred, |read| {
        read.unwrap_or_else(|| {
            problem(Problem { header: SAMPLED, reason: "neither 0 nor 1" });
            Sampling::Deferred
        })
    })
}

fn parse_multi(carrier: &dyn Extract, problem: &mut dyn FnMut(Problem)) -> Option<Found> {
    let trace = first(carrier, TRACE_ID, trace_id);
    let span = first(carrier, SPAN_ID, |value| hex::lower(value.as_bytes()).map(SpanId));
    let mut tell = |header, reason| {
        problem(Problem { header, reason });
        None
    };
    match (trace, span) {
        (None, None) => match multi_state(carrier, problem) {
            Sampling::Deferred => None,
            sampling => Some((None, sampling)),
        },
        (Some(None), _) => tell(TRACE_ID, "not 32 or 16 lower-case hex digits"),
        (_, Some(None)) => tell(SPAN_ID, "not 16 lower-case hex digits"),
        (None, _) => tell(TRACE_ID, "missing beside the span id"),
        (_, None) => tell(SPAN_ID, "missing beside the trace id"),
        (Some(Some(trace_id)), Some(Some(span_id))) => {
            let sampling = multi_state(carrier, problem);
            let context = context(trace_id, span_id, sampling.is_sampled());
            if context.is_none() {
                problem(Problem { header: TRACE_ID, reason: "an id is all zero" });
            }
            context.map(|context| (Some(context), sampling))
        }
    }
}

impl Propagator for B3 {
    fn fields(&self) -> &'static [&'static str] {
        if self.multi { &[TRACE_ID, SPAN_ID, SAMPLED, FLAGS] } else { &[SINGLE] }
    }

    fn extract(&self, carrier: &dyn Extract, into: &mut Propagated, problem: &mut dyn FnMut(Problem)) {
        let mut tell = |reason| problem(Problem { header: SINGLE, reason });
        let single = match first(carrier, SINGLE, |value| parse_single(value, &mut tell)) {
            Some(Err(reason)) => {
                tell(reason);
                None
            }
            found => found.and_then(Result::ok),
        };
        match single.or_else(|| parse_multi(carrier, problem)) {
            Some((Some(context), sampling)) => into.found(context, sampling.decision()),
            Some((None, sampling)) => into.decided(sampling.alone()),
            None => {}
        }
    }

    fn inject(&self, propagated: &Propagated, carrier: &mut dyn Inject) {
        let Some(context) = valid(propagated) else {
            let state = match propagated.decision {
                Decision::Drop => "0",
                Decision::Record => "1",
                Decision::Debug => "d",
                Decision::AsFlagged | Decision::Deferred => return,
            };
            return match (self.multi, state) {
                (false, _) => carrier.set(SINGLE, state),
                (true, "d") => carrier.set(FLAGS, "1"),
                (true, _) => carrier.set(SAMPLED, state),
            };
        };
        let mut digits = [b'-'; 51];
        hex::write(&context.trace_id.0, &mut digits[..32]);
        hex::write(&context.span_id.0, &mut digits[33..49]);
        let sampling = Sampling::of(propagated, context);
        let state = match sampling {
            Sampling::Deferred => None,
            Sampling::Deny => Some(b'0'),
            Sampling::Accept => Some(b'1'),
            Sampling::Debug => Some(b'd'),
        };
        digits[50] = state.unwrap_or(b'-');
        let text = std::str::from_utf8(&digits).unwrap_or_default();
        if !self.multi {
            return carrier.set(SINGLE, if state.is_some() { text } else { &text[..49] });
        }
        carrier.set(TRACE_ID, &text[..32]);
        carrier.set(SPAN_ID, &text[33..49]);
        match sampling {
            Sampling::Deferred => {}
            // Debug implies the decision, which is then not sent as well.
            Sampling::Debug => carrier.set(FLAGS, "1"),
            Sampling::Deny | Sampling::Accept => carrier.set(SAMPLED, &text[50..]),
        }
    }
}
