//! Where the time of one trace went, by place rather than by span, so that it can be compared with other traces.

use std::collections::HashMap;

use foldhash::fast::RandomState;

use super::{Direction, Edge, Kind, Verdict};
use crate::critical_path::{Segment, SegmentKind, Walker};
use crate::{Text, Traces};

/// A place where time goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Place {
    /// Work within a service.
    Work {
        /// Who works.
        service: Text,
        /// On what.
        operation: Text,
        /// With which statement.
        statement: Text,
    },
    /// Between two services.
    Hop {
        /// Who calls.
        caller: Text,
        /// Who is called.
        callee: Text,
        /// From the callee back to the caller.
        back: bool,
    },
    /// Waiting for somebody who sent no spans.
    Wait {
        /// Who waits.
        service: Text,
        /// In which call.
        operation: Text,
        /// For whom, if that is known.
        peer: Text,
        /// With which statement.
        statement: Text,
    },
}

impl Place {
    /// The place as a noun.
    pub fn name(&self, traces: &Traces) -> String {
        let of = |service: Text, operation: Text| format!("{}: {}", traces.text(service), traces.text(operation));
        match *self {
            Place::Work { service, operation, .. } => of(service, operation),
            Place::Wait { service, operation, peer, .. } if peer.is_empty() || peer == service => {
                of(service, operation)
            }
            Place::Wait { service, operation, peer, .. } => {
                format!("{} (waiting for {})", of(service, operation), traces.text(peer))
            }
            Place::Hop { caller, callee, back: false } => {
                format!("the way from {} to {}", traces.text(caller), traces.text(callee))
            }
            Place::Hop { caller, callee, back: true } => {
                format!("the way back from {} to {}", traces.text(callee), traces.text(caller))
            }
        }
    }

    /// Names the place in a verdict; a span there says how deep it is.
    pub fn blame(&self, traces: &Traces, span: usize, verdict: &mut Verdict) {
        let text = |text| traces.text(text).to_owned();
        verdict.depth = Some(depth(traces, span));
        match *self {
            Place::Work { service, operation, statement } | Place::Wait { service, operation, statement, .. } => {
                verdict.kind = Kind::SlowOperation;
                verdict.service = Some(text(service));
                verdict.operation = Some(text(operation));
                verdict.statement = (!statement.is_empty()).then(|| text(statement));
            }
            Place::Hop { caller, callee, back } => {
                verdict.kind = Kind::Network;
                verdict.edge = Some(Edge { caller: text(caller), callee: text(callee) });
                verdict.direction = Some(if back { Direction::Response } else { Direction::Request });
            }
        }
    }
}

/// What a trace spent at a place.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Spent {
    /// Nanoseconds on the critical path.
    pub ns: u64,
    /// The span with most of it.
    pub span: usize,
    /// How much of it that is.
    pub span_ns: u64,
}

/// Time on the critical path of a root, by place.
#[derive(Debug, Clone, Default)]
pub(super) struct Profile {
    /// Duration of the root in nanoseconds.
    pub total_ns: u64,
    /// What was spent where.
    pub places: HashMap<Place, Spent, RandomState>,
}

impl Profile {
    /// The profile of a root.
    pub fn of(walker: &mut Walker<'_>, traces: &Traces, root: usize) -> Self {
        let mut profile = Self { total_ns: traces.spans()[root].duration_ns(), places: HashMap::default() };
        for segment in walker.walk(root) {
            let ns = segment.duration_ns();
            let none = Spent { ns: 0, span: segment.span, span_ns: 0 };
            let spent = profile.places.entry(place(traces, segment)).or_insert(none);
            spent.ns = spent.ns.saturating_add(ns);
            if ns > spent.span_ns {
                (spent.span, spent.span_ns) = (segment.span, ns);
            }
        }
        profile
    }

    /// Nanoseconds spent at a place.
    pub fn ns(&self, place: &Place) -> u64 {
        self.places.get(place).map_or(0, |spent| spent.ns)
    }
}

/// The place of a segment.
fn place(traces: &Traces, segment: &Segment) -> Place {
    let span = &traces.spans()[segment.span];
    let (service, operation, statement) = (span.service, span.operation, span.statement);
    match segment.kind {
        SegmentKind::SelfTime => Place::Work { service, operation, statement },
        SegmentKind::Wait => Place::Wait { service, operation, peer: span.peer, statement },
        SegmentKind::Network => {
            // The other side is the child that is nearest to the segment.
            let callee = traces
                .children(segment.span)
                .map(|child| &traces.spans()[child])
                .filter(|child| child.is_incoming() || child.service != service)
                .min_by_key(|child| {
                    let before = child.start_ns.abs_diff(segment.end_ns);
                    before.min(child.end_ns.abs_diff(segment.start_ns))
                });
            match callee {
                Some(callee) => {
                    let back = callee.end_ns.abs_diff(segment.start_ns) < callee.start_ns.abs_diff(segment.end_ns);
                    Place::Hop { caller: service, callee: callee.service, back }
                }
                None => Place::Work { service, operation, statement },
            }
        }
    }
}

/// How many services stand on the way from the root to a span, both counted: 1 in the root's service.
pub(super) fn depth(traces: &Traces, span: usize) -> u32 {
    let mut depth = 1;
    let mut at = span;
    while let Some(parent) = traces.parent(at) {
        depth += u32::from(traces.spans()[parent].service != traces.spans()[at].service);
        at = parent;
    }
    depth
}
