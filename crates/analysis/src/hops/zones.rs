//! Where the two sides of a call run: zones, nodes, hosts.

use crate::{Scalar, Text, Traces};

/// Resource attributes that say where something runs, from the widest to the narrowest.
pub(super) const DIMENSIONS: [&str; 3] = ["cloud.availability_zone", "k8s.node.name", "host.name"];

/// From where to where, in one dimension.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Site {
    /// 0 for `cloud.availability_zone`, 1 for `k8s.node.name`, 2 for `host.name`.
    pub dimension: u8,
    /// Where the caller runs.
    pub from: String,
    /// Where the callee runs.
    pub to: String,
}

/// Where the resources of some traces run.
pub(super) struct Sites {
    /// By resource, for each dimension; empty where it does not say.
    places: Vec<[Text; DIMENSIONS.len()]>,
    /// Dimensions with more than one place.
    differ: [bool; DIMENSIONS.len()],
}

impl Sites {
    pub(super) fn new(traces: &Traces) -> Self {
        let keys = DIMENSIONS.map(|key| traces.texts().find(key));
        let mut places = vec![[Text::EMPTY; DIMENSIONS.len()]; traces.resources()];
        for (span, of) in traces.spans().iter().enumerate() {
            let Some(places) = places.get_mut(of.resource as usize) else { continue };
            // Only the first span of a resource has to look.
            if places.iter().any(|place| !place.is_empty()) {
                continue;
            }
            for attribute in traces.resource(span) {
                let dimension = keys.iter().position(|key| *key == Some(attribute.key));
                if let (Some(dimension), Scalar::Text(text)) = (dimension, attribute.value) {
                    places[dimension] = text;
                }
            }
        }
        let mut differ = [false; DIMENSIONS.len()];
        for (dimension, differ) in differ.iter_mut().enumerate() {
            let mut held = places.iter().map(|places| places[dimension]).filter(|place| !place.is_empty());
            let first = held.next();
            *differ = held.any(|place| Some(place) != first);
        }
        Self { places, differ }
    }

    /// The dimensions in which both sides of a call are known, with where from and where to.
    pub(super) fn of_call(
        &self,
        traces: &Traces,
        caller: usize,
        callee: usize,
    ) -> impl Iterator<Item = (u8, Text, Text)> + '_ {
        let of = |span: usize| self.places.get(traces.spans()[span].resource as usize).copied().unwrap_or_default();
        let (from, to) = (of(caller), of(callee));
        (0..DIMENSIONS.len())
            .filter(move |dimension| {
                self.differ[*dimension] && !from[*dimension].is_empty() && !to[*dimension].is_empty()
            })
            .map(move |dimension| (dimension as u8, from[dimension], to[dimension]))
    }
}
