//! Services that call themselves through others, while they wait.
//!
//! A service that calls itself directly is left out: shards and clusters do that. So is what begins by a message: nobody
//! waits for it.

use super::Kind;
use super::collect::{Collector, Hit, HitPart, Place};
use super::names::Names;
use super::unit::Units;
use crate::traces::Traces;

/// Hops that a cycle may have.
const HOPS_MAX: usize = 32;

/// Finds the cycles of a trace, each at its shortest.
pub(super) fn find(traces: &Traces, units: &Units, to: &mut Collector, names: &mut Names) {
    for unit in units.iter() {
        if let Some(hit) = cycle(traces, units, unit.entry, names) {
            to.hit(traces, units, hit);
        }
    }
}

fn cycle(traces: &Traces, units: &Units, entry: usize, names: &mut Names) -> Option<Hit> {
    let (spans, texts) = (traces.spans(), traces.texts());
    let service = spans[entry].service;
    if service.is_empty() {
        return None;
    }
    // From the entry up: the entries on the way, each called by the next.
    let mut way = vec![entry];
    loop {
        let at = way[way.len() - 1];
        let parent = traces.parent(at).filter(|_| !spans[at].is_consumer() && way.len() <= HOPS_MAX)?;
        let above = units.entry_of(parent);
        way.push(above);
        if spans[above].service == service {
            break;
        }
    }
    if way.len() < 3 {
        return None;
    }
    let outer = way[way.len() - 1];
    let mut parts = Vec::new();
    for hop in way.windows(2).rev() {
        parts.push(HitPart {
            caller: spans[hop[1]].service,
            callee: spans[hop[0]].service,
            operation: names.shape(texts, spans[hop[0]].operation),
            calls: 1,
            calls_max: 1,
            duration_ns: spans[hop[0]].duration_ns(),
        });
    }
    let place = Place {
        kind: Kind::Recursion,
        service,
        operation: names.shape(texts, spans[entry].operation),
        caller: spans[way[1]].service,
        callee: service,
        statement: super::names::Shape::default(),
        within: (service, names.shape(texts, spans[outer].operation)),
    };
    let win_ns = spans[entry].duration_ns().min(units.room_ns(traces, entry));
    way.reverse();
    Some(Hit {
        win_ns,
        spans: way.into_iter().take(super::collect::SPANS_MAX).collect(),
        parts,
        ..Hit::new(place, outer)
    })
}
