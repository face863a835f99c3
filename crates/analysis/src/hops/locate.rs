//! From edges that changed to the place that explains them.
//!
//! Candidates are services (all calls into one, or all that touch one), boundaries between zones, nodes and hosts, and single
//! edges. As few as possible are named: the candidate that explains most edges first, then what remains (greedy set
//! cover; Chvátal, 1979).

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::changes::{Change, Options, Part, Verdict};
use super::compare::Tested;
use super::rank;
use super::zones::{DIMENSIONS, Site};

/// Of the edges that touch a service, or cross a boundary, the share that must have grown.
const NEARLY_ALL: f64 = 0.75;
/// The share of the growth that one direction must have to be named alone.
const ONE_WAY: f64 = 0.8;
/// When a service's own time grew by this share of what its network grew by, the service itself is slow: one that has no
/// time to compute has none to read from its sockets either.
const OWN_SHARE: f64 = 0.5;

/// What kind of place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum LocationKind {
    /// The way between two services.
    Link,
    /// The network of one service.
    ServiceNetwork,
    /// A service itself.
    Service,
    /// A zone, a node or a host, or the way between two.
    Zone,
}

/// Which way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// From caller to callee.
    Request,
    /// From callee to caller.
    Response,
    /// Both.
    Both,
    /// In a queue: of a broker, or for a connection.
    Queue,
}

/// An edge, by its names.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct EdgeName {
    /// The calling service; absent for requests from outside.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub caller: String,
    /// The called service.
    pub callee: String,
}

/// A place that explains what grew.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Location {
    /// What kind of place.
    pub kind: LocationKind,
    /// For a link: who calls.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub caller: Option<String>,
    /// For a link: who is called.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub callee: Option<String>,
    /// For a service and its network: which.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// False for a service that is known from its callers only.
    pub is_instrumented: bool,
    /// For a zone: the attribute, and from where to where (the same twice: within it too).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub zone: Option<Boundary>,
    /// Which way, where it is the network or a queue. Absent where clocks moved as well.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub direction: Option<Direction>,
    /// By how much a call takes longer, in nanoseconds (mean over the edges).
    pub shift_ns: i64,
    /// What that adds to all calls now together.
    pub added_ns: i64,
    /// Share of everything that was added.
    pub share: f64,
    /// The weakest false discovery rate among its edges.
    pub q: f64,
    /// Calls before and now that this rests on.
    pub samples: (u64, u64),
    /// The edges that it explains.
    pub edges: Vec<EdgeName>,
}

/// Between where and where.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Boundary {
    /// The resource attribute that tells places apart.
    pub attribute: String,
    /// One side …
    pub from: String,
    /// … and the other.
    pub to: String,
}

/// What a group of edges adds up to.
#[derive(Default)]
struct Sum {
    request: i64,
    response: i64,
    added: i64,
    calls: (u64, u64),
    q: f64,
    clock: bool,
    edges: BTreeSet<EdgeName>,
}

impl Sum {
    fn take(&mut self, edge: &Tested<'_>, change: &Change, added: i64) {
        let name = EdgeName { caller: edge.now.caller.clone(), callee: edge.now.callee.clone() };
        self.edges.insert(name);
        self.added = self.added.saturating_add(added);
        self.calls.0 += change.before.count;
        self.calls.1 += change.now.count;
        self.q = self.q.max(change.q);
        let ways = [Part::Request, Part::Response].map(|part| edge.part(part));
        let is_told = |change: &&Change| matches!(change.verdict, Verdict::Grew | Verdict::Fell);
        let is_any_told = ways.iter().flatten().any(is_told);
        let [request, response] = ways.map(|change| {
            let each = match change {
                Some(change) if is_told(&change) && change.tail.is_some() => change.mean_shift_ns,
                Some(change) if is_told(&change) => change.shift_ns,
                // Neither can be told apart by itself, only their sum: the medians have to do.
                Some(change) if !is_any_told => change.now.p50_ns.saturating_sub(change.before.p50_ns),
                _ => 0,
            };
            each.saturating_mul(change.map_or(0, |change| i64::try_from(change.now.count).unwrap_or(i64::MAX)))
        });
        self.request = self.request.saturating_add(request);
        self.response = self.response.saturating_add(response);
        let is_clock = |part: Part| edge.part(part).is_some_and(|change| change.verdict == Verdict::Clock);
        self.clock |= is_clock(Part::Request);
    }

    /// Request or response, if one has nearly all of it. With clocks that moved meanwhile there is no telling.
    fn direction(&self) -> Option<Direction> {
        let (request, response) = (self.request as f64, self.response as f64);
        let both = request + response;
        let tolerance = (1.0 - ONE_WAY) * both;
        if self.clock || both <= 0.0 || request < -tolerance || response < -tolerance {
            return None;
        }
        Some(if request >= ONE_WAY * both {
            Direction::Request
        } else if response >= ONE_WAY * both {
            Direction::Response
        } else {
            Direction::Both
        })
    }

    fn location(self, kind: LocationKind) -> Location {
        Location {
            kind,
            caller: None,
            callee: None,
            service: None,
            is_instrumented: true,
            zone: None,
            direction: None,
            shift_ns: self.added / i64::try_from(self.calls.1.max(1)).unwrap_or(i64::MAX),
            added_ns: self.added,
            share: 0.0,
            q: self.q,
            samples: self.calls,
            edges: self.edges.into_iter().collect(),
        }
    }
}

/// The places that explain what grew; what adds most first.
pub(super) fn locate(tested: &[Tested<'_>], options: &Options) -> Vec<Location> {
    let mut left: BTreeSet<usize> =
        (0..tested.len()).filter(|edge| tested[*edge].grew(Part::Network).is_some()).collect();
    let mut places = Vec::new();
    let own = own_growth(tested);
    zones(tested, options, &mut left, &mut places);
    let mut slow: BTreeMap<&str, Sum> = BTreeMap::new();
    for (service, edges) in &own {
        let sum = slow.entry(service).or_default();
        for edge in edges {
            if let Some(change) = tested[*edge].grew(Part::Own) {
                sum.take(&tested[*edge], change, tested[*edge].added_ns(Part::Own));
            }
        }
    }
    while let Some((service, edges)) = widest(tested, &left) {
        let sum = of_network(tested, &edges);
        edges.iter().for_each(|edge| {
            left.remove(edge);
        });
        match slow.get_mut(service).filter(|own| own.added as f64 >= OWN_SHARE * sum.added as f64) {
            Some(own) => absorb(own, sum),
            None => {
                let direction = sum.direction();
                let service = Some(service.to_owned());
                places.push(Location { service, direction, ..sum.location(LocationKind::ServiceNetwork) });
            }
        }
    }
    for edge in left {
        let sum = of_network(tested, &[edge]);
        let of = tested[edge].now;
        let ends = [of.callee.as_str(), of.caller.as_str()];
        let to_blame = ends
            .into_iter()
            .find(|end| slow.get(end).is_some_and(|own| own.added as f64 >= OWN_SHARE * sum.added as f64));
        match to_blame.and_then(|end| slow.get_mut(end)) {
            Some(own) => absorb(own, sum),
            None => {
                let direction = sum.direction();
                let (caller, callee) = (Some(of.caller.clone()), Some(of.callee.clone()));
                places.push(Location { caller, callee, direction, ..sum.location(LocationKind::Link) });
            }
        }
    }
    for (service, sum) in slow {
        let service = Some(service.to_owned());
        places.push(Location { service, ..sum.location(LocationKind::Service) });
    }
    single_parts(tested, &mut places);
    let all: i64 = places.iter().map(|place| place.added_ns).fold(0, i64::saturating_add);
    for place in &mut places {
        place.share = place.added_ns as f64 / all.max(1) as f64;
    }
    places.sort_by(|a, b| {
        let names = |of: &Location| (of.kind, of.service.clone(), of.caller.clone(), of.callee.clone());
        b.added_ns.cmp(&a.added_ns).then_with(|| names(a).cmp(&names(b)))
    });
    places
}

/// Adds what the network of a slow service grew by to the service: it is part of the same trouble.
fn absorb(own: &mut Sum, network: Sum) {
    own.added = own.added.saturating_add(network.added);
    own.edges.extend(network.edges);
}

fn of_network(tested: &[Tested<'_>], edges: &[usize]) -> Sum {
    let mut sum = Sum::default();
    for edge in edges {
        if let Some(change) = tested[*edge].part(Part::Network) {
            sum.take(&tested[*edge], change, tested[*edge].added_ns(Part::Network));
        }
    }
    sum
}

/// Services whose own time grew, with the edges into them that say so.
fn own_growth<'a>(tested: &'a [Tested<'_>]) -> BTreeMap<&'a str, Vec<usize>> {
    let mut found: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (number, edge) in tested.iter().enumerate() {
        if edge.grew(Part::Own).is_some() {
            found.entry(&edge.now.callee).or_default().push(number);
        }
    }
    found
}

/// Edges of a service whose network was tested, and those that grew and are not explained yet.
#[derive(Default)]
struct Touching {
    tested_in: usize,
    tested_out: usize,
    up_in: Vec<usize>,
    up_out: Vec<usize>,
}

impl Touching {
    /// True when the service is what its edges have in common.
    fn is_common(&self) -> bool {
        let (into, out) = (self.up_in.len(), self.up_out.len());
        let all_in = into >= 2 && into == self.tested_in;
        let all_out = out >= 3 && out == self.tested_out && self.tested_in == 0;
        let nearly_all =
            into >= 1 && out >= 1 && (into + out) as f64 >= NEARLY_ALL * (self.tested_in + self.tested_out) as f64;
        all_in || all_out || nearly_all
    }
}

/// The service that explains most of the edges left, and those edges.
fn widest<'a>(tested: &'a [Tested<'_>], left: &BTreeSet<usize>) -> Option<(&'a str, Vec<usize>)> {
    let mut services: BTreeMap<&str, Touching> = BTreeMap::new();
    for (number, edge) in tested.iter().enumerate() {
        let is_tested = edge.part(Part::Network).is_some_and(|change| change.verdict != Verdict::NotEnough);
        if !is_tested || edge.now.caller == edge.now.callee {
            continue;
        }
        let is_up = left.contains(&number);
        let callee = services.entry(&edge.now.callee).or_default();
        callee.tested_in += 1;
        callee.up_in.extend(is_up.then_some(number));
        let caller = services.entry(&edge.now.caller).or_default();
        caller.tested_out += 1;
        caller.up_out.extend(is_up.then_some(number));
    }
    let common = services.into_iter().filter(|(_, touching)| touching.is_common());
    let with_edges = common.map(|(service, touching)| {
        let takes_in = touching.up_in.len() >= 2 && touching.up_in.len() == touching.tested_in;
        let mut edges = touching.up_in;
        edges.extend(touching.up_out);
        let added: i64 = edges.iter().map(|edge| tested[*edge].added_ns(Part::Network)).fold(0, i64::saturating_add);
        ((edges.len(), takes_in, added), service, edges)
    });
    // On equal terms the first by name.
    let best = with_edges.reduce(|best, next| if next.0 > best.0 { next } else { best });
    best.map(|(_, service, edges)| (service, edges))
}

/// Parts that blame by themselves: queues, and calls of what is not to be seen.
fn single_parts(tested: &[Tested<'_>], places: &mut Vec<Location>) {
    for edge in tested {
        for part in [Part::Queue, Part::Call] {
            let Some(change) = edge.grew(part) else { continue };
            let mut sum = Sum::default();
            sum.take(edge, change, edge.added_ns(part));
            let (caller, callee) = (Some(edge.now.caller.clone()), Some(edge.now.callee.clone()));
            places.push(if part == Part::Queue {
                Location { caller, callee, direction: Some(Direction::Queue), ..sum.location(LocationKind::Link) }
            } else {
                Location { caller, service: callee, is_instrumented: false, ..sum.location(LocationKind::Service) }
            });
        }
    }
}

/// The network of an edge between two places, in both windows.
struct Crossing {
    edge: usize,
    is_up: bool,
    is_same: bool,
}

/// Finds boundaries that nearly all calls across are slower at, and nearly none that stay on one side.
fn zones(tested: &[Tested<'_>], options: &Options, left: &mut BTreeSet<usize>, places: &mut Vec<Location>) {
    for (dimension, attribute) in DIMENSIONS.iter().enumerate() {
        let mut crossings: BTreeMap<(String, String), Vec<Crossing>> = BTreeMap::new();
        for (number, edge) in tested.iter().enumerate() {
            for (site, now) in edge.now.sites.iter().filter(|(site, _)| usize::from(site.dimension) == dimension) {
                let before = edge
                    .before
                    .and_then(|before| before.sites.iter().find(|(known, _)| known == site).map(|(_, sample)| sample));
                let Some(before) = before.filter(|before| before.count() >= options.min_samples) else { continue };
                if now.count() < options.min_samples {
                    continue;
                }
                let is_up = left.contains(&number) && {
                    let shift = rank::shift(before, now, options.z);
                    shift.is_some_and(|shift| shift.estimate >= options.min_shift_ns && shift.low > 0)
                        && rank::test(before, now).p <= options.q_max
                };
                let is_same = site.from == site.to;
                // Both ways are one boundary; what stays on one side counts against every boundary of that side.
                crossings.entry(boundary(site)).or_default().push(Crossing { edge: number, is_up, is_same });
            }
        }
        let mut found: Vec<((String, String), Vec<usize>)> = crossings
            .iter()
            .filter(|((from, to), _)| from != to)
            .filter_map(|((from, to), across)| {
                let inside = crossings.iter().filter(|((a, b), _)| a == b && (a == from || a == to));
                let inside: Vec<&Crossing> = inside.flat_map(|(_, inside)| inside).filter(|at| at.is_same).collect();
                let up: BTreeSet<usize> = across.iter().filter(|at| at.is_up).map(|at| at.edge).collect();
                let share = |of: usize, all: usize| of as f64 / all.max(1) as f64;
                let inside_up = inside.iter().filter(|at| at.is_up).count();
                let is_boundary = share(across.iter().filter(|at| at.is_up).count(), across.len()) >= NEARLY_ALL
                    && share(inside_up, inside.len()) <= 1.0 - NEARLY_ALL
                    && is_wide(tested, &up);
                is_boundary.then(|| ((from.clone(), to.clone()), up.into_iter().collect()))
            })
            .collect();
        found.sort_by_key(|(_, edges)| std::cmp::Reverse(edges.len()));
        for ((from, to), edges) in found {
            let edges: Vec<usize> = edges.into_iter().filter(|edge| left.contains(edge)).collect();
            if edges.len() < 2 {
                continue;
            }
            let sum = of_network(tested, &edges);
            edges.iter().for_each(|edge| {
                left.remove(edge);
            });
            let direction = sum.direction();
            let zone = Some(Boundary { attribute: (*attribute).to_owned(), from, to });
            places.push(Location { zone, direction, ..sum.location(LocationKind::Zone) });
        }
    }
}

fn boundary(site: &Site) -> (String, String) {
    let (from, to) = if site.from <= site.to { (&site.from, &site.to) } else { (&site.to, &site.from) };
    (from.clone(), to.clone())
}

/// True when edges have no service in common: else that service is the narrower explanation.
fn is_wide(tested: &[Tested<'_>], edges: &BTreeSet<usize>) -> bool {
    let mut ends = edges.iter().map(|edge| [tested[*edge].now.caller.as_str(), tested[*edge].now.callee.as_str()]);
    let Some(first) = ends.next() else { return false };
    let common: Vec<&str> =
        ends.fold(first.to_vec(), |common, ends| common.into_iter().filter(|service| ends.contains(service)).collect());
    edges.len() >= 2 && common.is_empty()
}
