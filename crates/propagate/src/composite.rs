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
}

/// One header format.
pub trait Propagator: Send + Sync {
    /// The headers that it writes, in lower case.
    fn fields(&self) -> &'static [&'static str];

    /// Reads what it finds into `into`, and leaves alone what it does not find.
    fn extract(&self, carrier: &dyn Extract, into: &mut Propagated);

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
        let mut propagated = Propagated::default();
        for part in self.parts.iter() {
            part.extract(carrier, &mut propagated);
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
    fn names_choose_the_formats() {
        let fields = |names| Composite::from_names(names).map(|composite| composite.fields().collect::<Vec<_>>());
        assert_eq!(fields("tracecontext, baggage,baggage"), Ok(vec!["traceparent", "tracestate", "baggage"]));
        assert_eq!(fields("none"), Ok(vec![]));
        assert_eq!(fields(""), Ok(vec![]));
        assert_eq!(fields("tracecontext,b9"), Err(UnknownPropagator { name: "b9".to_owned() }));
    }
}
