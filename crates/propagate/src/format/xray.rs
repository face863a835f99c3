//! AWS X-Ray's tracing header (AWS X-Ray Developer Guide, "Tracing header").
//!
//! ```text
//! X-Amzn-Trace-Id: Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1
//!                         │ time     rest of the trace id          span id                 0, 1, ? (you decide)
//!                         version
//! ```

use super::{Sampling, context, first, valid};
use crate::{Context, Extract, Inject, Problem, Propagated, Propagator, SpanId, TraceId, hex};

const HEADER: &str = "x-amzn-trace-id";

/// The variable in which AWS Lambda gives each invocation its context.
const LAMBDA_VARIABLE: &str = "_X_AMZN_TRACE_ID";

/// Reads an environment variable: `|name| std::env::var(name).ok()`.
pub type Variables = fn(&str) -> Option<String>;

/// The propagators `xray` and `xray-lambda`. Fields may come in any order; unknown ones (`Self`,
/// `Lineage` and what users add) are ignored. A root without a parent, as a load balancer sends it, is
/// not a context.
#[derive(Debug, Clone, Copy, Default)]
pub struct XRay {
    variables: Option<Variables>,
}

impl XRay {
    /// The propagator `xray-lambda`: what the environment variable `_X_AMZN_TRACE_ID` holds at that
    /// moment comes before the header.
    pub fn lambda(variables: Variables) -> Self {
        Self { variables: Some(variables) }
    }
}

fn parse(value: &str) -> Result<(Context, Sampling), &'static str> {
    let (mut trace_id, mut span_id, mut sampling) = (None, None, Sampling::Deferred);
    for field in value.split(';') {
        let Some((name, value)) = field.split_once('=') else { continue };
        let value = value.trim();
        match name.trim() {
            "Root" => trace_id = Some(root(value).ok_or("Root is not 1-, 8 and 24 hex digits")?),
            "Parent" => {
                let exact = value.len() == 16;
                let parent = hex::padded(value).filter(|_| exact).ok_or("Parent is not 16 hex digits")?;
                span_id = Some(SpanId(parent));
            }
            "Sampled" => {
                sampling = match value {
                    "0" => Sampling::Deny,
                    "1" => Sampling::Accept,
                    "?" => Sampling::Deferred,
                    _ => return Err("Sampled is not 0, 1 or ?"),
                };
            }
            _ => {}
        }
    }
    let trace_id = trace_id.ok_or("there is no Root")?;
    let span_id = span_id.ok_or("there is no Parent")?;
    Ok((context(trace_id, span_id, sampling.is_sampled()).ok_or("an id is all zero")?, sampling))
}

fn root(value: &str) -> Option<TraceId> {
    let (time, rest) = value.strip_prefix("1-")?.split_once('-')?;
    if (time.len(), rest.len()) != (8, 24) {
        return None;
    }
    let (time, rest): ([u8; 4], [u8; 12]) = (hex::padded(time)?, hex::padded(rest)?);
    let mut bytes = [0; 16];
    bytes[..4].copy_from_slice(&time);
    bytes[4..].copy_from_slice(&rest);
    Some(TraceId(bytes))
}

impl Propagator for XRay {
    fn fields(&self) -> &'static [&'static str] {
        &[HEADER]
    }

    fn extract(&self, carrier: &dyn Extract, into: &mut Propagated, problem: &mut dyn FnMut(Problem)) {
        let header = first(carrier, HEADER, parse);
        let variable = self.variables.and_then(|read| read(LAMBDA_VARIABLE)).map(|value| parse(&value));
        for found in [header, variable].into_iter().flatten() {
            match found {
                Ok((context, sampling)) => into.found(context, sampling.decision()),
                Err(reason) => problem(Problem { header: HEADER, reason }),
            }
        }
    }

    fn inject(&self, propagated: &Propagated, carrier: &mut dyn Inject) {
        let Some(context) = valid(propagated) else { return };
        let mut text = *b"Root=1-........-........................;Parent=................;Sampled=0";
        hex::write(&context.trace_id.0[..4], &mut text[7..15]);
        hex::write(&context.trace_id.0[4..], &mut text[16..40]);
        hex::write(&context.span_id.0, &mut text[48..64]);
        let sampling = Sampling::of(propagated, context);
        text[73] = if sampling.is_sampled() { b'1' } else { b'0' };
        let text = std::str::from_utf8(&text).unwrap_or_default();
        carrier.set(HEADER, if sampling == Sampling::Deferred { &text[..64] } else { text });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_variable_of_an_invocation_comes_before_the_header() {
        let header =
            vec![("x-amzn-trace-id", "Root=1-4bf92f35-77b34da6a3ce929d0e0e4736;Parent=00f067aa0ba902b7;Sampled=1")];
        let parent = |xray: XRay| {
            let mut found = Propagated::default();
            xray.extract(&header, &mut found, &mut |_| {});
            found.context.map(|context| context.span_id.to_string())
        };
        let variable: Variables = |name| {
            (name == "_X_AMZN_TRACE_ID")
                .then(|| "Root=1-4bf92f35-77b34da6a3ce929d0e0e4736;Parent=1111111111111111;Sampled=1".to_owned())
        };
        assert_eq!(parent(XRay::lambda(variable)).as_deref(), Some("1111111111111111"));
        assert_eq!(parent(XRay::lambda(|_| None)).as_deref(), Some("00f067aa0ba902b7"));
        assert_eq!(parent(XRay::lambda(|_| Some("Root=1".to_owned()))).as_deref(), Some("00f067aa0ba902b7"));
    }
}
