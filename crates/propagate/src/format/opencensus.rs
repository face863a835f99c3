//! OpenCensus's binary format in gRPC metadata (opencensus-specs, "BinaryEncoding", Trace Context).
//!
//! ```text
//! grpc-trace-bin: 00 | 00 trace id (16 bytes) | 01 span id (8 bytes) | 02 options (1 byte: 1 sampled)
//!                 version, then fields by number; base64 on the wire
//! ```

use super::{context, first, valid};
use crate::{Context, Decision, Extract, Inject, Problem, Propagated, Propagator, SpanId, TraceId, base64};

const HEADER: &str = "grpc-trace-bin";

/// The propagator `grpc-trace-bin`.
#[derive(Debug, Clone, Copy, Default)]
pub struct OpenCensus;

fn parse(value: &str) -> Result<Context, &'static str> {
    // Several entries of one name may stand in one line.
    let value = value.split(',').next().unwrap_or_default();
    let bytes = base64::decode(value.trim()).ok_or("not base64")?;
    let (0, mut rest) = bytes.split_first().map(|(version, rest)| (*version, rest)).ok_or("empty")? else {
        return Err("version is not 0");
    };
    let (mut trace_id, mut span_id, mut options) = (None, None, 0);
    // Fields come by number; behind an unknown one nothing can be read.
    while let Some((field, after)) = rest.split_first() {
        rest = match field {
            0 => take(after, &mut trace_id)?,
            1 => take(after, &mut span_id)?,
            2 => {
                let mut byte: Option<[u8; 1]> = None;
                let rest = take(after, &mut byte)?;
                options = byte.map_or(0, |[byte]| byte);
                rest
            }
            _ => break,
        };
    }
    let (trace_id, span_id) = (trace_id.ok_or("there is no trace id")?, span_id.ok_or("there is no span id")?);
    context(TraceId(trace_id), SpanId(span_id), options & 1 == 1).ok_or("an id is all zero")
}

fn take<'a, const N: usize>(bytes: &'a [u8], into: &mut Option<[u8; N]>) -> Result<&'a [u8], &'static str> {
    let (head, rest) = bytes.split_first_chunk().ok_or("a field is cut off")?;
    *into = Some(*head);
    Ok(rest)
}

impl Propagator for OpenCensus {
    fn fields(&self) -> &'static [&'static str] {
        &[HEADER]
    }

    fn extract(&self, carrier: &dyn Extract, into: &mut Propagated, problem: &mut dyn FnMut(Problem)) {
        match first(carrier, HEADER, parse) {
            Some(Ok(context)) => into.found(context, Decision::AsFlagged),
            Some(Err(reason)) => problem(Problem { header: HEADER, reason }),
            None => {}
        }
    }

    fn inject(&self, propagated: &Propagated, carrier: &mut dyn Inject) {
        let Some(context) = valid(propagated) else { return };
        let mut bytes = [0; 29];
        bytes[2..18].copy_from_slice(&context.trace_id.0);
        bytes[18] = 1;
        bytes[19..27].copy_from_slice(&context.span_id.0);
        bytes[27] = 2;
        bytes[28] = u8::from(context.is_sampled());
        carrier.set(HEADER, &base64::encode(&bytes));
    }
}
