//! Several formats at once, as `OTEL_PROPAGATORS` names them.

use std::fmt;
use std::sync::Arc;

use crate::{Baggage, BaggagePropagator, Context, Extract, Inject, TraceContext};

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
    /// The headers that it writes, in lower case.
    fn fields(&self) -> &'static [&'static str];

    /// Reads what it finds into `into`, and leaves alone what it does not find or cannot use. What is
    /// there but cannot be used is told to `problem`.
    fn extract(&self, carrier: &dyn Extract, into: &mut Propagated, problem: &mut dyn FnMut(Problem));

    /// Writes its headers; nothing for an absent or invalid context.
    fn inject(&self, propagated: &Propagated, carrier: &mut dyn Inject);
}

/// A name in a list of propagators that stands for no format.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown propagator {name:?}, expected some of tracecontext, baggage, or none alone")]
pub struct UnknownPropagator {
    /// The name as given.
    pub name: String,
}

/// Formats applied one after the other. On extraction a later one overrides an earlier one.
#[derive(Clone)]
pub struct Composite {
    parts: Arc<[Box<dyn Propagator>]>,
}

impl Composite {
    /// A composite of these formats, in this order.
    pub fn new(parts: Vec<Box<dyn Propagator>>) -> Self {
        Self { parts: parts.into() }
    }

    /// The formats of a comma-separated list as in `OTEL_PROPAGATORS`; spaces, empty names and repeated
    /// names are ignored, `none` means no propagation.
    ///
    /// # Errors
    ///
    /// [`UnknownPropagator`] names the first entry that is not known.
    pub fn from_names(names: &str) -> Result<Self, UnknownPropagator> {
        let mut seen: Vec<&str> = Vec::new();
        let mut parts: Vec<Box<dyn Propagator>> = Vec::new();
        for name in names.split(',').map(str::trim).filter(|name| !name.is_empty()) {
            if seen.contains(&name) {
                continue;
            }
            seen.push(name);
            match name {
                "tracecontext" => parts.push(Box::new(TraceContext)),
                "baggage" => parts.push(Box::new(BaggagePropagator)),
                "none" => {}
                _ => return Err(UnknownPropagator { name: name.to_owned() }),
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
        assert_eq!(fields("tracecontext,b9"), Err(UnknownPropagator { name: "b9".to_owned() }));
    }
}
