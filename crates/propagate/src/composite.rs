//! Several formats at once, as `OTEL_PROPAGATORS` names them.

use std::fmt;
use std::sync::Arc;

use crate::format::{B3, Datadog, Google, Jaeger, OpenCensus, OtTrace, Variables, XRay};
use crate::{Baggage, BaggagePropagator, Context, Extract, FLAG_RANDOM, Inject, TraceContext};

/// What travels with a request.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Propagated {
    /// The trace and the calling span; `None` where the request carried none or an invalid one, which
    /// means: start a new trace.
    pub context: Option<Context>,
    /// The application's own pairs.
    pub baggage: Baggage,
    /// What the caller says about recording where the context's sampled flag cannot say it.
    pub decision: Decision,
    /// What somebody wrote into `jaeger-debug-id` to find this trace again: an attribute of that name on
    /// the root.
    pub debug_id: Option<Arc<str>>,
}

impl Propagated {
    /// Takes over the context that one more format has found. It replaces an earlier one; where both
    /// stand for the same span, the earlier one completes it: half a trace id, trace state, debug.
    pub(crate) fn found(&mut self, mut context: Context, mut decision: Decision) {
        if let Some(before) = self.context.as_ref().filter(|before| is_same_span(before, &context)) {
            context.trace_id = context.trace_id.max(before.trace_id);
            context.flags |= before.flags & FLAG_RANDOM;
            // The later list stands in front, in its order.
            let later: Vec<_> = context.trace_state.members().collect();
            let mut trace_state = before.trace_state.clone();
            for (key, value) in later.into_iter().rev() {
                trace_state = trace_state.with(key, value).unwrap_or(trace_state);
            }
            context.trace_state = trace_state;
            if self.decision == Decision::Debug && context.is_sampled() {
                decision = Decision::Debug;
            }
        }
        self.context = Some(context);
        self.decision = decision;
    }

    /// Takes over a decision that came without a trace; a trace's own decision stands.
    pub(crate) fn decided(&mut self, decision: Decision) {
        if self.context.is_none() {
            self.decision = decision;
        }
    }

    /// What the caller has decided: recorded or not. `None` where the decision is the receiver's, as for
    /// a trace that begins here.
    pub fn sampled(&self) -> Option<bool> {
        match self.decision {
            Decision::AsFlagged => self.context.as_ref().filter(|context| context.is_valid()).map(Context::is_sampled),
            Decision::Deferred => None,
            Decision::Drop => Some(false),
            Decision::Record | Decision::Debug => Some(true),
        }
    }
}

/// True for the same span where one of the two may know the lower half of the trace id only.
fn is_same_span(a: &Context, b: &Context) -> bool {
    let (a_high, a_low) = a.trace_id.0.split_at(8);
    let (b_high, b_low) = b.trace_id.0.split_at(8);
    a.span_id == b.span_id && a_low == b_low && (a_high == b_high || a_high == [0; 8] || b_high == [0; 8])
}

/// What the caller says about recording. Most formats have a sampled flag and nothing else; B3, Jaeger,
/// X-Ray, Datadog, OT trace and Google can also say less or more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Decision {
    /// The sampled flag of the context says it; without a context nobody has decided.
    #[default]
    AsFlagged,
    /// The caller has not decided. The sampled flag of its context is not set and means nothing.
    Deferred,
    /// There is no trace yet, and the one that begins is not to be recorded (`b3: 0`).
    Drop,
    /// There is no trace yet, and the one that begins is to be recorded (`b3: 1`).
    Record,
    /// This request is to be recorded whatever the sampler says, and so is everything below it: a
    /// receiver passes this on (the debug flag of B3 and Jaeger). A context is flagged as sampled.
    Debug,
}

/// A header that was there but could not be used. Both parts are words of this crate, never of the
/// header: they can be counted, logged and shown without bound or risk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Problem {
    /// The header's name in lower case.
    pub header: &'static str,
    /// What is wrong, such as `version is ff`.
    pub reason: &'static str,
}

/// One header format.
pub trait Propagator: Send + Sync {
    /// The headers that it may write, in lower case, without those that baggage gives a name of its own.
    fn fields(&self) -> &'static [&'static str];

    /// Reads what it finds into `into`, and leaves alone what it does not find or cannot use. What is
    /// there but cannot be used is told to `problem`.
    fn extract(&self, carrier: &dyn Extract, into: &mut Propagated, problem: &mut dyn FnMut(Problem));

    /// Writes its headers; no ids for an absent or invalid context.
    fn inject(&self, propagated: &Propagated, carrier: &mut dyn Inject);
}

/// A name in a list of propagators that stands for no format.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown propagator {name:?}, expected some of {expected}, or none alone", expected = NAMES.join(", "))]
pub struct UnknownPropagator {
    /// The name as given.
    pub name: String,
}

/// The names of formats that [`Composite::from_names`] knows, besides `none`.
pub const NAMES: &[&str] = &[
    "tracecontext",
    "baggage",
    "b3",
    "b3multi",
    "jaeger",
    "xray",
    "xray-lambda",
    "datadog",
    "ottrace",
    "gcp",
    "grpc-trace-bin",
];

fn by_name(name: &str, variables: Variables) -> Option<Box<dyn Propagator>> {
    Some(match name {
        "tracecontext" => Box::new(TraceContext),
        "baggage" => Box::new(BaggagePropagator),
        "b3" => Box::new(B3::SINGLE),
        "b3multi" => Box::new(B3::MULTI),
        "jaeger" => Box::new(Jaeger),
        "xray" => Box::new(XRay::default()),
        "xray-lambda" => Box::new(XRay::lambda(variables)),
        "datadog" => Box::new(Datadog),
        "ottrace" => Box::new(OtTrace),
        "gcp" => Box::new(Google),
        "grpc-trace-bin" => Box::new(OpenCensus),
        _ => return None,
    })
}

/// The name by which everyone calls the same format.
fn canonical(name: &str) -> &str {
    match name {
        "google" | "gcp_trace" | "cloud_trace" => "gcp",
        "opencensus" => "grpc-trace-bin",
        "xray_lambda" => "xray-lambda",
        "b3single" => "b3",
        _ => name,
    }
}

/// Formats applied one after the other, in the order given (OpenTelemetry specification, "Composite
/// Propagator"). On extraction the last format that finds a valid context has it; one that finds none, or
/// an invalid one, leaves alone what was found before. Where two formats name the same span they
/// complete each other: the trace state of the one stays beside the debug flag of the other, and a trace
/// id of 64 bits does not cut one of 128. Baggage adds up, later members replacing earlier ones.
#[derive(Clone)]
pub struct Composite {
    parts: Arc<[Box<dyn Propagator>]>,
}

impl Composite {
    /// A composite of these formats, in this order.
    pub fn new(parts: Vec<Box<dyn Propagator>>) -> Self {
        Self { parts: parts.into() }
    }

    /// The formats of a comma-separated list as in `OTEL_PROPAGATORS`: [`NAMES`] and what else the field
    /// calls them (`google`, `cloud_trace`, `opencensus`). Spaces, empty names and repeated names are
    /// ignored, `none` means no propagation.
    ///
    /// # Errors
    ///
    /// [`UnknownPropagator`] names the first entry that is not known.
    pub fn from_names(names: &str) -> Result<Self, UnknownPropagator> {
        Self::from_names_in(names, |_| None)
    }

    /// As [`Composite::from_names`] in a process with these environment variables, in which AWS Lambda
    /// tells each invocation its context (`xray-lambda`).
    ///
    /// # Errors
    ///
    /// As [`Composite::from_names`].
    pub fn from_names_in(names: &str, variables: Variables) -> Result<Self, UnknownPropagator> {
        let mut seen: Vec<&str> = Vec::new();
        let mut parts: Vec<Box<dyn Propagator>> = Vec::new();
        for name in names.split(',').map(str::trim).filter(|name| !name.is_empty() && *name != "none").map(canonical) {
            if !seen.contains(&name) {
                seen.push(name);
                parts.push(by_name(name, variables).ok_or_else(|| UnknownPropagator { name: name.to_owned() })?);
            }
        }
        Ok(Self::new(parts))
    }

    /// Every header that [`Composite::inject`] may write.
    pub fn fields(&self) -> impl Iterator<Item = &'static str> {
        self.parts.iter().flat_map(|part| part.fields().iter().copied())
    }

    /// What the carrier brings.
    pub fn extract(&self, carrier: &dyn Extract) -> Propagated {
        self.extract_reporting(carrier, &mut |_| {})
    }

    /// As [`Composite::extract`]; each header that could not be used is told to `problem`.
    pub fn extract_reporting(&self, carrier: &dyn Extract, problem: &mut dyn FnMut(Problem)) -> Propagated {
        let mut propagated = Propagated::default();
        for part in self.parts.iter() {
            part.extract(carrier, &mut propagated, problem);
        }
        propagated
    }

    /// Writes the headers of every format.
    pub fn inject(&self, propagated: &Propagated, carrier: &mut dyn Inject) {
        for part in self.parts.iter() {
            part.inject(propagated, carrier);
        }
    }
}

impl Default for Composite {
    /// `tracecontext,baggage`, the default of `OTEL_PROPAGATORS`.
    fn default() -> Self {
        Self::new(vec![Box::new(TraceContext), Box::new(BaggagePropagator)])
    }
}

impl fmt::Debug for Composite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Composite").field("fields", &self.fields().collect::<Vec<_>>()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_used_is_told() {
        let mut problems = Vec::new();
        let headers =
            vec![("traceparent", "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"), ("baggage", "a=1,b")];
        let found = Composite::default().extract_reporting(&headers, &mut |problem| problems.push(problem));
        assert_eq!((found.context, found.baggage.get("a")), (None, Some("1")));
        let expected = [
            Problem { header: "traceparent", reason: "version is ff" },
            Problem { header: "baggage", reason: "a member has no `=`" },
        ];
        assert_eq!(problems, expected);
    }

    #[test]
    fn names_choose_the_formats() {
        let fields = |names| Composite::from_names(names).map(|composite| composite.fields().collect::<Vec<_>>());
        assert_eq!(fields("tracecontext, baggage,baggage"), Ok(vec!["traceparent", "tracestate", "baggage"]));
        assert_eq!(fields("none"), Ok(vec![]));
        assert_eq!(fields(""), Ok(vec![]));
        assert_eq!(fields("b3, google,cloud_trace"), Ok(vec!["b3", "x-cloud-trace-context"]));
        assert!(Composite::from_names(&NAMES.join(",")).is_ok());
        assert_eq!(fields("tracecontext,b9"), Err(UnknownPropagator { name: "b9".to_owned() }));
    }
}
