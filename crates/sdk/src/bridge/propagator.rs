//! The API's global propagator: the formats of the current subscriber.

use opentelemetry::baggage::BaggageExt;
use opentelemetry::propagation::text_map_propagator::FieldIter;
use opentelemetry::propagation::{Extractor, Injector, TextMapPropagator};
use opentelemetry::trace::TraceContextExt;
use opentelemetry::{Context, KeyValue};
use tracewell_propagate::{Baggage, Extract, Inject};
use tracing::Span;

use super::convert::to_api;
use super::{Parent, inner_of};
use crate::access;

/// Reads and writes what `OTEL_PROPAGATORS` names.
#[derive(Debug, Default)]
pub(super) struct Propagator {
    fields: Vec<String>,
}

/// The baggage of the API's context, added to what there is already.
pub(super) fn baggage_of(context: &Context, mut known: Baggage) -> Baggage {
    for (key, (value, _)) in context.baggage().iter() {
        // What is no member of a baggage header cannot travel; the limits are those of the specification.
        let _ = known.set(key.as_str(), value.as_str());
    }
    known
}

struct From<'a>(&'a dyn Extractor);

impl Extract for From<'_> {
    fn values(&self, name: &str, visit: &mut dyn FnMut(&str)) {
        let named = || self.0.keys().into_iter().find(|key| key.eq_ignore_ascii_case(name));
        let values = self.0.get_all(name).or_else(|| self.0.get_all(named()?));
        values.unwrap_or_default().into_iter().for_each(visit);
    }

    fn prefixed(&self, prefix: &str, visit: &mut dyn FnMut(&str, &str)) {
        for key in self.0.keys() {
            let Some((head, rest)) = key.split_at_checked(prefix.len()) else { continue };
            if head.eq_ignore_ascii_case(prefix)
                && let Some(value) = self.0.get(key)
            {
                visit(rest, value);
            }
        }
    }
}

struct Into<'a>(&'a mut dyn Injector);

impl Inject for Into<'_> {
    fn set(&mut self, name: &'static str, value: &str) {
        self.0.set(name, value.to_owned());
    }

    fn set_named(&mut self, name: &str, value: &str) {
        self.0.set(name, value.to_owned());
    }
}

impl TextMapPropagator for Propagator {
    fn inject_context(&self, context: &Context, injector: &mut dyn Injector) {
        let mut from = match inner_of(context, &Span::current()) {
            Parent::Local(from) | Parent::Remote(from) => from,
            Parent::None => Default::default(),
        };
        from.baggage = baggage_of(context, from.baggage);
        access::inject(&from, &mut Into(injector));
    }

    fn extract_with_context(&self, context: &Context, extractor: &dyn Extractor) -> Context {
        let found = crate::extract(&From(extractor));
        let mut context = context.clone();
        if let Some(remote) = found.context.filter(|remote| remote.is_valid()) {
            context = context.with_remote_span_context(to_api(&remote, true));
        }
        if !found.baggage.is_empty() {
            let items = found.baggage.items().iter();
            let items: Vec<_> = items.map(|item| KeyValue::new(item.key.clone(), item.value.clone())).collect();
            context = context.with_baggage(items);
        }
        context
    }

    fn fields(&self) -> FieldIter<'_> {
        FieldIter::new(&self.fields)
    }
}
