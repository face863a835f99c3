//! How often places occurred and showed a pattern, also where that was not worth a word: what "it was not so before" is
//! judged by.

use std::collections::HashMap;

use foldhash::fast::RandomState;

use super::collect::{Base, Place, Tally};
use super::names::{Names, shape_of};
use super::{Kind, Pattern};
use crate::hops::rank;
use crate::traces::Traces;

/// A way of calling is not new if it was there half as often.
const SHARE_FACTOR: f64 = 2.0;

/// The chance, over all patterns that are told, that accident alone makes one look new.
const P_MAX: f64 = 0.05;

/// So few patterns are judged as if they were this many.
const JUDGED_MIN: usize = 5;

/// Waiting for a lock is new if it takes this many times as long.
const LOCK_FACTOR: f64 = 4.0;

/// Serial calls that cost less than this share of the request's time are as good as none.
const SERIAL_SHARE_MIN: f64 = 0.005;

/// A place of a pattern, by names without what varies: two sets of traces number texts differently.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Spot {
    kind: Kind,
    service: String,
    operation: String,
    within: (String, String),
    caller: String,
    callee: String,
}

impl Spot {
    fn of(pattern: &Pattern) -> Self {
        let (caller, callee) = match &pattern.edge {
            Some(edge) => (edge.caller.clone(), edge.callee.clone()),
            None => (String::new(), String::new()),
        };
        Self {
            kind: pattern.kind,
            service: pattern.service.clone(),
            operation: shape_of(&pattern.operation),
            within: (pattern.within.service.clone(), shape_of(&pattern.within.operation)),
            caller,
            callee,
        }
    }
}

/// What a place's traces are counted among, by names.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Among {
    Work(String, String),
    Hop(String, String, String),
    Service(String),
}

impl Among {
    fn of(spot: &Spot) -> Self {
        let is_hop = !spot.caller.is_empty() && !spot.callee.is_empty();
        match spot.kind {
            Kind::NPlusOne | Kind::SerialCalls | Kind::ChattyEdge => {
                Self::Work(spot.within.0.clone(), spot.within.1.clone())
            }
            Kind::RetryStorm | Kind::SwallowedError | Kind::TimeoutInversion if is_hop => {
                Self::Hop(spot.caller.clone(), spot.callee.clone(), spot.operation.clone())
            }
            _ => Self::Service(spot.within.0.clone()),
        }
    }
}

/// Traces of a place that show a pattern.
#[derive(Debug, Clone, Copy, Default)]
struct Shown {
    traces: u64,
    grave: u64,
    win_ns: f64,
    win_share: f64,
}

/// The places of a set of traces.
#[derive(Debug, Default)]
pub(crate) struct Census {
    traces: u64,
    shown: HashMap<Spot, Shown, RandomState>,
    among: HashMap<Among, u64, RandomState>,
}

impl Census {
    pub(super) fn new(traces: u64) -> Self {
        Self { traces, ..Self::default() }
    }

    pub(super) fn base(&mut self, traces: &Traces, names: &Names, base: &Base, count: u64) {
        let text = |text| traces.text(text).to_owned();
        let among = match base {
            Base::Work(service, operation) => Among::Work(text(*service), names.text(*operation).to_owned()),
            Base::Hop(caller, callee, operation) => {
                Among::Hop(text(*caller), text(*callee), names.text(*operation).to_owned())
            }
            Base::Service(service) => Among::Service(text(*service)),
        };
        self.among.insert(among, count);
    }

    pub(super) fn place(&mut self, traces: &Traces, names: &Names, place: &Place, tally: &Tally) {
        let text = |text| traces.text(text).to_owned();
        let (caller, callee) = match place.has_edge() {
            true => (text(place.caller), text(place.callee)),
            false => (String::new(), String::new()),
        };
        let spot = Spot {
            kind: place.kind,
            service: text(place.service),
            operation: names.text(place.operation).to_owned(),
            within: (text(place.within.0), names.text(place.within.1).to_owned()),
            caller,
            callee,
        };
        // The same with several statements: whichever is there most.
        let shown = self.shown.entry(spot).or_default();
        shown.traces = shown.traces.max(tally.traces as u64);
        shown.grave = shown.grave.max(tally.grave as u64);
        let win = tally.win(1.0);
        shown.win_ns = shown.win_ns.max(win.mean_ns);
        shown.win_share = shown.win_share.max(win.share);
    }

    /// Whether a pattern of these traces, one of `judged`, was not there before: more often than accident would have it.
    pub(crate) fn is_new(&self, pattern: &Pattern, judged: usize, before: &Self) -> bool {
        let spot = Spot::of(pattern);
        let (now, then) = (self.shown(&spot), before.shown(&spot));
        let was_so = match pattern.kind {
            Kind::LockWait => then.win_ns * LOCK_FACTOR >= now.win_ns,
            Kind::SerialCalls => then.win_share >= SERIAL_SHARE_MIN,
            _ => true,
        };
        let then = if was_so { then } else { Shown::default() };
        let (hits, hits_before) = if now.grave > 0 { (now.grave, then.grave) } else { (now.traces, then.traces) };
        let among = Among::of(&spot);
        let of = |census: &Self| census.among.get(&among).copied().unwrap_or(0);
        // Where the place did not occur before, it is new as far as any request is.
        let (of_now, of_before) = match (of(self), of(before)) {
            (_, 0) => (self.traces, before.traces),
            counts => counts,
        };
        let (of_now, of_before) = (of_now.max(hits), of_before.max(hits_before));
        let share = |hits: u64, of: u64| hits as f64 / of.max(1) as f64;
        share(hits_before, of_before) * SHARE_FACTOR < share(hits, of_now)
            && rank::proportion(hits_before, of_before, hits, of_now) * judged.max(JUDGED_MIN) as f64 <= P_MAX
    }

    fn shown(&self, spot: &Spot) -> Shown {
        self.shown.get(spot).copied().unwrap_or_default()
    }
}
