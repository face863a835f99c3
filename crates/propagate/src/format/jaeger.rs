//! The format of Jaeger's clients ("Propagation Format" in Jaeger's documentation).
//!
//! ```text
//! uber-trace-id: 4bf92f3577b34da6a3ce929d0e0e4736:f067aa0ba902b7:0:1
//!                trace id, up to 32 digits        span id        │ flags: 1 sampled, 2 debug
//!                                                                └ parent, not used
//! uberctx-user: alice%20b          a member of the baggage
//! jaeger-debug-id: checkout-17     begins a trace that is recorded and can be found by this
//! jaeger-baggage: k1=v1, k2=v2     baggage by hand, where there is no trace yet
//! ```

use super::{Sampling, baggage_from, baggage_to, context, first, valid};
use crate::percent::{self, percent_decode};
use crate::{Context, Decision, Extract, Inject, Problem, Propagated, Propagator, SpanId, TraceId, hex};

const UBER_TRACE_ID: &str = "uber-trace-id";
const BAGGAGE_PREFIX: &str = "uberctx-";
const DEBUG_ID: &str = "jaeger-debug-id";
const BAGGAGE: &str = "jaeger-baggage";

const FLAG_DEBUG: u8 = 2;

/// Longest correlation id that is kept.
const MAX_DEBUG_ID_CHARS: usize = 256;

/// The propagator `jaeger`. Ids may be sent without leading zeros and are written with them.
#[derive(Debug, Clone, Copy, Default)]
pub struct Jaeger;

fn parse(value: &str) -> Result<(Context, Sampling), &'static str> {
    let decoded = percent_decode(value);
    let mut parts = decoded.split(':');
    let mut part = || parts.next().ok_or("fewer than four fields");
    let (trace_id, span_id, _parent, flags) = (part()?, part()?, part()?, part()?);
    if part().is_ok() {
        return Err("more than four fields");
    }
    let trace_id = TraceId(hex::padded(trace_id).ok_or("trace id is not 1 to 32 hex digits")?);
    let span_id = SpanId(hex::padded(span_id).ok_or("span id is not 1 to 16 hex digits")?);
    let [flags] = hex::padded(flags).ok_or("flags are not one or two hex digits")?;
    let sampling = match (flags & 1, flags & FLAG_DEBUG) {
        (0, _) => Sampling::Deny,
        (_, 0) => Sampling::Accept,
        _ => Sampling::Debug,
    };
    Ok((context(trace_id, span_id, sampling.is_sampled()).ok_or("an id is all zero")?, sampling))
}

/// Headers that people set by hand to begin a trace.
fn by_hand(carrier: &dyn Extract, into: &mut Propagated, problem: &mut dyn FnMut(Problem)) {
    if into.context.is_some() {
        return;
    }
    if let Some(id) = first(carrier, DEBUG_ID, |value| value.chars().take(MAX_DEBUG_ID_CHARS).collect::<String>()) {
        into.decided(Decision::Debug);
        into.debug_id = Some(id.into());
    }
    carrier.values(BAGGAGE, &mut |value| {
        for pair in value.split(',').filter(|pair| !pair.trim().is_empty()) {
            let (key, value) = pair.split_once('=').unwrap_or_default();
            if into.baggage.set(key.trim(), value.trim()).is_err() {
                problem(Problem { header: BAGGAGE, reason: "a member is not key=value, or there is no room for it" });
            }
        }
    });
}

impl Propagator for Jaeger {
    fn fields(&self) -> &'static [&'static str] {
        &[UBER_TRACE_ID]
    }

    fn extract(&self, carrier: &dyn Extract, into: &mut Propagated, problem: &mut dyn FnMut(Problem)) {
        match first(carrier, UBER_TRACE_ID, parse) {
            Some(Ok((context, sampling))) => into.found(context, sampling.decision()),
            Some(Err(reason)) => problem(Problem { header: UBER_TRACE_ID, reason }),
            None => {}
        }
        by_hand(carrier, into, problem);
        if !baggage_from(carrier, BAGGAGE_PREFIX, &mut into.baggage, |value| percent_decode(value).into_owned()) {
            problem(Problem {
                header: "uberctx-*",
                reason: "more than 64 members or 8192 bytes, or a name is no token",
            });
        }
    }

    fn inject(&self, propagated: &Propagated, carrier: &mut dyn Inject) {
        if let Some(context) = valid(propagated) {
            let mut text = *b"................................:................:0:00";
            hex::write(&context.trace_id.0, &mut text[..32]);
            hex::write(&context.span_id.0, &mut text[33..49]);
            text[53] = match Sampling::of(propagated, context) {
                // This format cannot leave the decision open.
                Sampling::Deny | Sampling::Deferred => b'0',
                Sampling::Accept => b'1',
                Sampling::Debug => b'3',
            };
            carrier.set(UBER_TRACE_ID, std::str::from_utf8(&text).unwrap_or_default());
        }
        baggage_to(carrier, BAGGAGE_PREFIX, &propagated.baggage, |value, text| {
            percent::encode_into(text, value, percent::is_unreserved);
        });
    }
}
