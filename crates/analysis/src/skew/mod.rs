//! Clock skew: how far apart the clocks of a system are, over many traces, with drift and steps; and traces without it.
//!
//! It is: offsets that causality asks for, or that many pairs make certain, each with what it may be wrong by. It is not:
//! a per-trace adjustment that centres every child in its parent; a slow network stays a slow network, in its direction.
//!
//! ```text
//! traces ─▶ pairs (client ▸ server)          server start ≥ client start, server end ≤ client end:
//!             │                               the offset lies in [down, up] of every pair
//!             ▼
//!           edges: all pairs of two units ─▶ minimum filter ─▶ does anything rule out zero? does it move?
//!             │                                                        │ no: same clock
//!             ▼                                                        ▼ yes: a clock of its own
//!           graph of clocks ─▶ reference, offsets by least squares within bounds, drift, steps ─▶ corrected traces
//! ```
//!
//! **Input**: [`Traces`]; only pairs of a span and its parent in another process count. **Algorithm**: the interval of a
//! pair is Cristian's (1989); of many pairs the quickest decide, as in NTP's clock filter and in Paxson (SIGMETRICS 1998),
//! who also tells clock movement from congestion by its moving both directions by as much; the graph is settled outwards
//! along the surest edges and then jointly by bounded least squares, as Huygens (NSDI 2018) lets a mesh correct itself.
//! **Output**: [`Clocks`]: a row for each clock, and [`correct`]. Complexity: O(n log n) in spans.
//!
//! # What counts as evidence
//!
//! * A server never begins before it is asked. That it ends after its client has is possible without skew: answers are
//!   flushed late, work goes on. Where a callee takes longer than its caller more often than now and then, durations alone
//!   show that the caller does not wait, and the ends of that edge say nothing.
//! * Delays have a sharp lower edge. Where they have, five pairs in a hundred on the wrong side are evidence; where they
//!   have not, nearly all must be.
//! * Clocks that only tell whole milliseconds may differ by one (found from the data).
//! * A few pairs (fewer than eight) only count where every one of them has its server begin before its client by more than
//!   a millisecond, or after a client that waited has ended; then just what causality forces is corrected, and
//!   [`ClockOffset::is_forced`] says so.
//! * Zero offset is what is assumed while it is allowed; a clock that moved is put so that it shows none for the longest
//!   time. A request delay that only ever was long cannot be told from skew that breaks no causality: it stays a delay.
//!
//! # Which clock
//!
//! The finest unit is an instance of a service on a host. Units on one host share its clock while nothing speaks against
//! it; if something does, each unit has its own. The reference of a component (services that call each other) is the clock
//! that more than half of its units agree with, else the one where most traces begin.

mod bounds;
mod correct;
mod course;
mod level;
mod movement;
mod pairs;
mod place;
mod records;
mod rows;

use std::collections::HashMap;
use std::sync::Arc;

use foldhash::fast::RandomState;
use serde::Serialize;

use crate::{Span, Texts, Traces};
use course::Course;
use pairs::Unit;

pub use correct::{correct, correct_in_place};
pub use records::corrections;

/// What an estimate may be told. The default fits nearly always.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Options {
    /// The service whose clock is right, where that is known; else see the module's "Which clock".
    pub reference: Option<String>,
}

/// What a clock belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ClockKind {
    /// A host: everything on it shares the clock.
    Host,
    /// One instance of a service.
    Instance,
    /// A service of which neither host nor instance is known.
    Service,
}

/// A jump of a clock.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Step {
    /// When, nanoseconds since the Unix epoch.
    pub at: u64,
    /// How far off that may be.
    pub at_error_ns: u64,
    /// How far the clock jumped; positive = forwards.
    pub by_ns: i64,
    /// Two standard errors of that.
    pub by_error_ns: u64,
}

/// A stretch of time in which an offset is a straight line; it lasts until the next one begins.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Stretch {
    /// Where it begins, nanoseconds since the Unix epoch.
    pub from: u64,
    /// Offset there.
    pub offset_ns: i64,
    /// Gain against the reference, parts per million.
    pub drift_ppm: f64,
}

/// One clock.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ClockOffset {
    /// Its name: that of the host, the instance or the service.
    pub clock: String,
    /// What that names.
    pub kind: ClockKind,
    /// The service, if it is of one only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// All services that tell their time by it.
    pub services: Vec<String>,
    /// Its host, if known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// Its instance, if it is of one only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instance: Option<String>,
    /// How far the clock is ahead of the reference, nanoseconds: to be **subtracted** from its times. Negative = behind.
    /// Of a clock that moves: at the end of the time that was looked at.
    pub offset_ns: i64,
    /// How far off that may be: what causality would allow on the wider side, along the surest way to the reference, and
    /// two standard errors of what was fitted. Absent where only one side is bounded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uncertainty_ns: Option<u64>,
    /// Gain against the reference at the end of the time, parts per million; 0 where none was found.
    pub drift_ppm: f64,
    /// Two standard errors of that.
    pub drift_error_ppm: f64,
    /// Its jumps, in order of time.
    pub steps: Vec<Step>,
    /// Its offset as a function of time, where it moves.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub course: Vec<Stretch>,
    /// Pairs that it was compared by.
    pub samples: usize,
    /// How many of them break causality as the clocks show it …
    pub violations_before: usize,
    /// … and how many once offsets are subtracted.
    pub violations_after: usize,
    /// Number of its component: the services that are connected by calls.
    pub component: usize,
    /// Name of the component's reference.
    pub reference: String,
    /// True for the clock that is the reference itself.
    pub is_reference: bool,
    /// True where a few pairs only stand behind the offset, and it is the least that causality forces.
    pub is_forced: bool,
}

/// The clocks of a set of traces.
#[derive(Debug, Clone, Default)]
pub struct Clocks {
    offsets: Vec<ClockOffset>,
    courses: Vec<Course>,
    units: HashMap<Unit, usize, RandomState>,
    names: Vec<([Arc<str>; 3], usize)>,
    base_ns: u64,
    /// Where courses end to be known: they go on as far again, and then stay.
    reach: (f64, f64),
    /// Pairs in all.
    pub samples: usize,
    /// Pairs that break causality as the clocks show it.
    pub violations_before: usize,
    /// Pairs that do once offsets are subtracted.
    pub violations_after: usize,
}

/// Estimates the offsets of all clocks that the traces show.
pub fn estimate(traces: &Traces, options: &Options) -> Clocks {
    rows::estimate(traces, options)
}

/// The clocks of one trace by the light of others: what many traces tell about its services, what itself tells about
/// services that they do not have. [`Clocks::correction_ns`] then takes the spans of `trace`.
pub fn for_trace(trace: &Traces, baseline: &Traces, options: &Options) -> Clocks {
    let mut all = baseline.clone();
    all.append(trace.clone());
    estimate(&all, options).bound_to(trace)
}

impl Clocks {
    /// A row for each clock that was compared with another: those that are off first, by how much.
    pub fn offsets(&self) -> &[ClockOffset] {
        &self.offsets
    }

    /// The rows of clocks that are off, or were.
    pub fn skewed(&self) -> impl Iterator<Item = &ClockOffset> {
        self.offsets.iter().filter(|row| row.offset_ns != 0 || !row.course.is_empty())
    }

    /// True if no time has to be corrected.
    pub fn agree(&self) -> bool {
        self.skewed().next().is_none()
    }

    /// What has to be **subtracted** from the start and the end of a span: the offset of its clock when it began. Zero
    /// for spans of unknown clocks. The span must be of the traces that the clocks were estimated from or
    /// [bound to](Self::bound_to).
    pub fn correction_ns(&self, span: &Span) -> i64 {
        let unit = Unit { service: span.service, instance: span.instance, host: span.host };
        self.units.get(&unit).map_or(0, |course| self.offset_ns(*course, span.start_ns))
    }

    /// The same clocks for other traces: they are found again by the names of service, instance and host.
    pub fn bound_to(&self, traces: &Traces) -> Clocks {
        let find = |texts: &Texts, name: &str| texts.find(name);
        let units = self.names.iter().filter_map(|([service, instance, host], course)| {
            let texts = traces.texts();
            let (service, instance, host) = (find(texts, service)?, find(texts, instance)?, find(texts, host)?);
            Some((Unit { service, instance, host }, *course))
        });
        Clocks { units: units.collect(), ..self.clone() }
    }

    fn offset_ns(&self, course: usize, at_ns: u64) -> i64 {
        let course = &self.courses[course];
        let time = pairs::difference(at_ns, self.base_ns);
        let length = self.reach.1 - self.reach.0;
        course.at(time.clamp(self.reach.0 - length, self.reach.1 + length)).round() as i64
    }
}
