//! Google Cloud's trace header (Cloud Trace documentation, "Trace context").
//!
//! ```text
//! X-Cloud-Trace-Context: 105445aa7843bc8bf206b12000100000/1;o=1
//!                        trace id, 32 digits              │   1 traced, 0 not, absent: not decided
//!                                                         └ span id, decimal
//! ```

use std::fmt::Write;

use super::{Sampling, context, first, valid};
use crate::{Context, Extract, Inject, Problem, Propagated, Propagator, SpanId, TraceId, hex};

const HEADER: &str = "x-cloud-trace-context";

/// The propagator `gcp`.
#[derive(Debug, Clone, Copy, Default)]
pub struct Google;

fn parse(value: &str) -> Result<(Context, Sampling), &'static str> {
    let (trace_id, rest) = value.split_once('/').ok_or("there is no span id")?;
    let exact = trace_id.len() == 32;
    let trace_id = TraceId(hex::padded(trace_id).filter(|_| exact).ok_or("trace id is not 32 hex digits")?);
    let (span_id, options) = match rest.split_once(';') {
        Some((span_id, options)) => (span_id, Some(options)),
        None => (rest, None),
    };
    let span_id = decimal(span_id).ok_or("span id is not a decimal number of 64 bits")?;
    let sampling = match options {
        None => Sampling::Deferred,
        Some(options) => match options.strip_prefix("o=").and_then(decimal).ok_or("options are not o= and a number")? {
            options if options & 1 == 1 => Sampling::Accept,
            _ => Sampling::Deny,
        },
    };
    let span_id = SpanId(span_id.to_be_bytes());
    Ok((context(trace_id, span_id, sampling.is_sampled()).ok_or("an id is zero")?, sampling))
}

/// Digits only: `u64`'s own parser accepts a sign.
pub(super) fn decimal(text: &str) -> Option<u64> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

impl Propagator for Google {
    fn fields(&self) -> &'static [&'static str] {
        &[HEADER]
    }

    fn extract(&self, carrier: &dyn Extract, into: &mut Propagated, problem: &mut dyn FnMut(Problem)) {
        match first(carrier, HEADER, parse) {
            Some(Ok((context, sampling))) => into.found(context, sampling.decision()),
            Some(Err(reason)) => problem(Problem { header: HEADER, reason }),
            None => {}
        }
    }

    fn inject(&self, propagated: &Propagated, carrier: &mut dyn Inject) {
        let Some(context) = valid(propagated) else { return };
        let mut text = String::with_capacity(64);
        let span_id = u64::from_be_bytes(context.span_id.0);
        // Writing to a string cannot fail.
        let _ = write!(text, "{}/{span_id}", context.trace_id);
        match Sampling::of(propagated, context) {
            Sampling::Deferred => {}
            Sampling::Deny => text.push_str(";o=0"),
            Sampling::Accept | Sampling::Debug => text.push_str(";o=1"),
        }
        carrier.set(HEADER, &text);
    }
}
