//! The verdict on a set of traces, compared with another.
//!
//! **Input.** The traces in question, those to compare with, both with clocks corrected, and what the modules found in
//! each. **Algorithm.** Every finding becomes a candidate with a weight that says what it means for requests, in this
//! order: failures and storms that cause them; ways of calling that came since; places where calls take longer; failures
//! that nobody was told; traces that break; clocks. Within an order the share of the requests' time decides. A finding that
//! was there before as much is told last. **Edge cases.** Fewer than [`TRACES_MIN`] traces on one side: nothing is said of
//! changes. **Complexity.** Linear in spans, beyond what the modules take.

use crate::Traces;
use crate::blame::{self, BlameDiff, Subject};
use crate::broken::BrokenHop;
use crate::hops::{self, HopChanges, Location, LocationKind};
use crate::patterns::{self, Census, Pattern, Severity};
use crate::skew::Clocks;

use super::profile::depth;
use super::{
    Confidence, Direction, Edge, Evidence, Kind, NamedAttribute, Verdict, Weighed, failures, one, telemetry, words,
    work,
};

/// Fewer traces than this say nothing of a change.
pub const TRACES_MIN: usize = 5;

/// What is added to the average request counts from this share of its time; …
const SHARE_MIN: f64 = 0.05;

/// … from this one where the change is sure. A busy machine makes something a little slower at any time.
const SHARE_SURE_MIN: f64 = 0.02;

/// With no other time to compare with, a place counts if it makes this share of what the slowest take longer.
const SLOWEST_PART: f64 = 0.3;

/// The mean request has to take this share longer for its parts to be told one by one …
const DIFFERENCE_MIN: f64 = 0.05;

/// … and a part has to make this share of it.
const DIFFERENCE_PART: f64 = 0.3;

/// A way of calling that fewer than this share of the requests show weighs less.
const AFFECTED_SHARE: f64 = 0.02;

/// What the modules found, and in what.
pub(crate) struct Found<'a> {
    /// The traces in question.
    pub now: &'a Traces,
    /// Those to compare with.
    pub before: &'a Traces,
    /// What changed between services.
    pub hops: &'a HopChanges,
    /// Ways of calling now …
    pub patterns: &'a [Pattern],
    /// … how often their places occur, …
    pub census: &'a Census,
    /// … and did before.
    pub census_before: &'a Census,
    /// All traces that were asked about: `now`, or where there is no time before, both sides.
    pub all: &'a Traces,
    /// Hops that lose calls now …
    pub broken: &'a [BrokenHop],
    /// … and before.
    pub broken_before: &'a [BrokenHop],
    /// Clocks now …
    pub clocks: &'a Clocks,
    /// … and before; `None` where `before` is not another time but the other traces of the same.
    pub clocks_before: Option<&'a Clocks>,
    /// What changed of where the time goes.
    pub diff: &'a BlameDiff,
}

impl Found<'_> {
    /// Every candidate with its weight.
    pub fn candidates(&self) -> Vec<Weighed> {
        let few = self.now.traces().len().min(self.before.traces().len()) < TRACES_MIN;
        if few && !self.is_alone() {
            return Vec::new();
        }
        let mut found = match self.is_alone() {
            true => failures::present(self.all),
            false => failures::found(self.before, self.now),
        };
        found.extend(self.hops.locations.iter().filter_map(|location| self.location(location)));
        found.extend(self.difference(&found));
        found.extend(self.patterns.iter().filter_map(|pattern| self.pattern(pattern)));
        found.extend(telemetry::broken(self));
        found.extend(telemetry::clocks(self));
        found
    }

    /// True where there is no other time to compare with.
    pub fn is_alone(&self) -> bool {
        self.clocks_before.is_none()
    }

    /// What the traces to compare with are called.
    fn then(&self) -> &'static str {
        if self.is_alone() { "in other requests" } else { "before" }
    }

    /// Mean duration of requests before, nanoseconds.
    fn usual_ns(&self) -> f64 {
        mean_ns(self.before).max(1.0)
    }

    /// A place where calls take longer.
    fn location(&self, location: &Location) -> Option<Weighed> {
        let added_ns = location.added_ns as f64 / self.now.traces().len().max(1) as f64;
        let share = added_ns / self.usual_ns();
        let mut verdict = match location.kind {
            LocationKind::Link => self.link(location)?,
            LocationKind::Service => self.service(location)?,
            LocationKind::ServiceNetwork => self.network(location)?,
            LocationKind::Zone => self.zone(location)?,
        };
        verdict.cost_ns = Some(added_ns);
        verdict.evidence.push(Evidence {
            text: format!(
                "This adds {} to the average request; {} is what it took {}.",
                words::duration(added_ns),
                words::duration(self.usual_ns()),
                self.then()
            ),
            ..Evidence::default()
        });
        let least = if verdict.confidence == Confidence::High { SHARE_SURE_MIN } else { SHARE_MIN };
        let is_new_version = if verdict.kind == Kind::Regression { 0.1 } else { 0.0 };
        let weight = match self.is_alone() {
            // Some requests are always the slowest, and then many places take a little longer.
            true if added_ns < SLOWEST_PART * (mean_ns(self.now) - self.usual_ns()) => 0.0,
            true => 0.4 + share.min(1.0) / 2.0,
            false if share >= least => 1.0 + share.min(1.0) + is_new_version,
            false => share,
        };
        Some((weight, verdict))
    }

    /// What the change of the mean request consists of, where no place was found that explains it.
    fn difference(&self, found: &[Weighed]) -> Option<Weighed> {
        let within_ns = self.diff.change_ns - self.diff.mix_ns;
        let share = within_ns / self.usual_ns();
        if self.is_alone() || share < DIFFERENCE_MIN {
            return None;
        }
        let most = self.diff.places.listed.iter().find(|change| change.significant && change.beyond_mix_ns() > 0.0)?;
        let (service, edge, operation, direction) = match &most.subject {
            Subject::Operation { service, operation } => (Some(service.clone()), None, Some(operation.clone()), None),
            Subject::Edge { caller, callee, direction } => {
                let direction = direction.map(|direction| match direction {
                    blame::Direction::Request => Direction::Request,
                    blame::Direction::Response => Direction::Response,
                });
                (None, Some(Edge { caller: caller.clone(), callee: callee.clone() }), None, direction)
            }
            Subject::Statement { service, .. } | Subject::Service { service } => {
                (Some(service.clone()), None, None, None)
            }
        };
        let known = |verdict: &Verdict| {
            (service.is_some() && verdict.service == service) || (edge.is_some() && verdict.edge == edge)
        };
        if found.iter().any(|(_, verdict)| known(verdict)) || most.beyond_mix_ns() < within_ns * DIFFERENCE_PART {
            return None;
        }
        let kind = if edge.is_some() { Kind::Network } else { Kind::SlowOperation };
        let mut verdict = Verdict::new(kind, Confidence::Medium, most.sentence.clone());
        (verdict.service, verdict.edge, verdict.operation, verdict.direction) = (service, edge, operation, direction);
        verdict.cost_ns = Some(most.beyond_mix_ns());
        Some((0.7 + share.min(1.0) * 0.3, verdict))
    }

    fn confidence(location: &Location) -> Confidence {
        let few = location.samples.0.min(location.samples.1);
        match (location.q, few) {
            (..0.001, 20..) => Confidence::High,
            (..0.01, 8..) => Confidence::Medium,
            _ => Confidence::Low,
        }
    }

    fn link(&self, location: &Location) -> Option<Verdict> {
        let (caller, callee) = (location.caller.clone()?, location.callee.clone()?);
        let at = self.call(&caller, &callee);
        let deep = at.map(|span| depth(self.now, span)).filter(|deep| *deep > 1);
        let places = deep.map_or(String::new(), |deep| format!(", {},", one::hop_on_the_way(deep)));
        let shift = words::duration(location.shift_ns as f64);
        let is_queue = location.direction == Some(hops::Direction::Queue);
        let way = match location.direction {
            Some(hops::Direction::Request) => " on the way there, with the request",
            Some(hops::Direction::Response) => " on the way back, with the answer",
            Some(hops::Direction::Queue) => " before they are taken up, in the queue",
            Some(hops::Direction::Both) => " on the way there and back",
            None => " on the way; which way cannot be told, because clocks moved too",
        };
        let sentence = if is_queue {
            format!("Messages from {caller} to {callee}{places} wait {shift} longer{way}.")
        } else {
            format!("Between {caller} and {callee}{places} calls take {shift} longer{way}; neither of the two is slow.")
        };
        let kind = if is_queue { Kind::Queue } else { Kind::Network };
        let mut verdict = Verdict::new(kind, Self::confidence(location), sentence);
        verdict.direction = match location.direction {
            Some(hops::Direction::Request) => Some(Direction::Request),
            Some(hops::Direction::Response) => Some(Direction::Response),
            Some(hops::Direction::Both) => Some(Direction::Both),
            Some(hops::Direction::Queue) | None => None,
        };
        verdict.depth = deep;
        self.changed_parts(&caller, &callee, at, &mut verdict);
        verdict.edge = Some(Edge { caller, callee });
        Some(verdict)
    }

    /// What the parts of a hop took before and now, as evidence.
    fn changed_parts(&self, caller: &str, callee: &str, at: Option<usize>, verdict: &mut Verdict) {
        let of_edge = self.hops.changes.iter().filter(|change| change.caller == caller && change.callee == callee);
        for change in of_edge.filter(|change| change.change.verdict == hops::Verdict::Grew).take(3) {
            let part = match change.part {
                hops::Part::Request => "the way there",
                hops::Part::Response => "the way back",
                hops::Part::Network => "the way there and back",
                hops::Part::Server => "the callee's answer",
                hops::Part::Own => "the callee's own work",
                hops::Part::Queue => "the wait in the queue",
                hops::Part::Call => "the whole call",
            };
            let (before, now) = (&change.change.before, &change.change.now);
            let text = format!(
                "{} → {}, {part}: {} in the median of {} {}, {} in {} here.",
                caller,
                callee,
                words::duration(before.p50_ns as f64),
                words::count(before.count, "call"),
                self.then(),
                words::duration(now.p50_ns as f64),
                words::count(now.count, "call"),
            );
            let evidence = Evidence {
                text,
                filter: Some(super::filter(caller, None, Some("kind = client"))),
                ..Evidence::default()
            };
            verdict.evidence.push(match at {
                Some(span) => self.shown(evidence, span),
                None => evidence,
            });
        }
    }

    fn service(&self, location: &Location) -> Option<Verdict> {
        let service = location.service.clone()?;
        let slower = work::slower(self.before, self.now, &service);
        if let Some(release) = work::release(self.before, self.now, &service) {
            return Some(self.regression(&service, &release, slower.as_ref()));
        }
        let confidence = Self::confidence(location);
        let Some(slower) = slower else {
            let sentence = format!(
                "{service} itself is slow: calls to it take {} longer.",
                words::duration(location.shift_ns as f64)
            );
            let mut verdict = Verdict::new(Kind::SlowOperation, confidence, sentence);
            verdict.service = Some(service);
            return Some(verdict);
        };
        let deep = depth(self.now, slower.span);
        let wherever = if deep < 3 { String::new() } else { format!(", {},", one::place_on_the_way(deep)) };
        let compared = match slower.before_ns {
            Some(before) => format!(
                "{} in the median, {} {}",
                words::duration(slower.now_ns as f64),
                words::duration(before as f64),
                self.then()
            ),
            None => {
                format!("{} in the median, and does not occur {}", words::duration(slower.now_ns as f64), self.then())
            }
        };
        let operation = slower.task.operation.clone();
        let sentence = format!("{service}{wherever} is slow by itself: {operation} takes {compared}.");
        let mut verdict = Verdict::new(Kind::SlowOperation, confidence, sentence);
        verdict.statement = (!slower.task.statement.is_empty()).then(|| slower.task.statement.clone());
        let text = format!("{operation}: {compared}.");
        let evidence =
            Evidence { text, filter: Some(super::filter(&service, Some(&operation), None)), ..Evidence::default() };
        verdict.evidence.push(self.shown(evidence, slower.span));
        (verdict.service, verdict.operation, verdict.depth) = (Some(service), Some(operation), Some(deep));
        Some(verdict)
    }

    fn regression(&self, service: &str, release: &work::Release, slower: Option<&work::Slower>) -> Verdict {
        let old = words::list(&release.old);
        let sentence = format!(
            "{service} is slower since version {}: its requests take {} longer than those to {old}, and {} of requests go there.",
            release.new,
            words::duration(release.shift_ns as f64),
            words::share(release.share),
        );
        let confidence = if release.requests >= 20 { Confidence::High } else { Confidence::Medium };
        let mut verdict = Verdict::new(Kind::Regression, confidence, sentence);
        verdict.service = Some(service.to_owned());
        verdict.share = Some(release.share);
        verdict.attribute =
            Some(NamedAttribute { key: "resource.service.version".to_owned(), value: release.new.clone() });
        let version = format!("resource.service.version = {:?}", release.new);
        verdict.evidence.push(Evidence {
            text: format!(
                "{} to version {}: {} to {} longer (95 %).",
                words::count(release.requests, "request"),
                release.new,
                words::duration(release.interval_ns.0 as f64),
                words::duration(release.interval_ns.1 as f64)
            ),
            filter: Some(super::filter(service, None, Some(&version))),
            ..Evidence::default()
        });
        if let Some(slower) = slower {
            let text = format!("Most of it is in {}.", slower.task.operation);
            verdict.evidence.push(self.shown(Evidence { text, ..Evidence::default() }, slower.span));
        }
        verdict
    }

    fn network(&self, location: &Location) -> Option<Verdict> {
        let service = location.service.clone()?;
        let shift = words::duration(location.shift_ns as f64);
        let sentence = format!(
            "The network of {service} is slow: calls from and to it take {shift} longer on the way, on {}; its own work does not.",
            words::count(location.edges.len() as u64, "hop")
        );
        let mut verdict = Verdict::new(Kind::Network, Self::confidence(location), sentence);
        verdict.direction = match location.direction {
            Some(hops::Direction::Request) => Some(Direction::Request),
            Some(hops::Direction::Response) => Some(Direction::Response),
            _ => Some(Direction::Both),
        };
        if let Some(edge) = location.edges.first() {
            verdict.edge = Some(Edge { caller: edge.caller.clone(), callee: edge.callee.clone() });
        }
        for edge in location.edges.iter().take(3) {
            self.changed_parts(&edge.caller, &edge.callee, self.call(&edge.caller, &edge.callee), &mut verdict);
        }
        verdict.service = Some(service);
        Some(verdict)
    }

    fn zone(&self, location: &Location) -> Option<Verdict> {
        let zone = location.zone.as_ref()?;
        let shift = words::duration(location.shift_ns as f64);
        let between = if zone.from == zone.to {
            format!("Calls within and across the border of {} {}", zone.attribute, zone.from)
        } else {
            format!("Calls between {} {} and {}", zone.attribute, zone.from, zone.to)
        };
        let hops = words::count(location.edges.len() as u64, "hop");
        let sentence = format!("{between} take {shift} longer on the way, on {hops}; the services do not.");
        let mut verdict = Verdict::new(Kind::Network, Self::confidence(location), sentence);
        verdict.attribute =
            Some(NamedAttribute { key: format!("resource.{}", zone.attribute), value: zone.from.clone() });
        if let Some(edge) = location.edges.first() {
            verdict.edge = Some(Edge { caller: edge.caller.clone(), callee: edge.callee.clone() });
        }
        Some(verdict)
    }

    /// A way of calling: heavy if it came since.
    fn pattern(&self, pattern: &Pattern) -> Option<Weighed> {
        let is_new = !self.is_alone()
            && self.before.traces().len() >= TRACES_MIN
            && self.census.is_new(pattern, self.patterns.len(), self.census_before);
        if pattern.severity == Severity::Minor {
            return None;
        }
        let cost_ns = pattern.win.all_mean_ns;
        let share = (cost_ns / self.usual_ns()).clamp(0.0, 1.0);
        let grave = if pattern.severity == Severity::Major { 1.0 } else { 0.4 };
        let weight = match (is_new || self.is_alone(), pattern.kind) {
            (true, patterns::Kind::RetryStorm) => 2.0 + grave + share,
            (true, patterns::Kind::SwallowedError | patterns::Kind::Recursion) => 0.5 + grave,
            (true, _) if self.is_alone() => grave + share,
            (true, _) => 1.1 + grave + share,
            (false, _) => share.min(0.5) * grave,
        };
        // What hardly any request meets is not what is wrong with them.
        let affected = pattern.traces as f64 / self.all.traces().len().max(1) as f64;
        let weight = weight * (affected / AFFECTED_SHARE).min(1.0);
        Some((weight, of_pattern(pattern, is_new.then_some(self.then()))))
    }

    /// A span with these two ends: the call of a hop.
    fn call(&self, caller: &str, callee: &str) -> Option<usize> {
        let texts = self.now.texts();
        let (caller, callee) = (texts.find(caller)?, texts.find(callee)?);
        let spans = self.now.spans();
        let calls = (0..spans.len()).filter(|span| {
            let is_call = |parent: usize| spans[parent].service == caller;
            spans[*span].service == callee && self.now.parent(*span).is_some_and(is_call)
        });
        let call = calls.filter_map(|span| self.now.parent(span));
        call.max_by_key(|span| spans[*span].duration_ns())
    }

    /// Evidence with the trace and the span that show it.
    fn shown(&self, evidence: Evidence, span: usize) -> Evidence {
        let number = self.now.traces().partition_point(|trace| trace.first as usize <= span).saturating_sub(1);
        let trace = self.now.traces().get(number).map(|trace| trace.id.to_string());
        Evidence { trace, spans: vec![self.now.spans()[span].id.to_string()], ..evidence }
    }
}

/// A pattern as a verdict; `new_since` says what it was compared with, if it was not there.
pub(super) fn of_pattern(pattern: &Pattern, new_since: Option<&str>) -> Verdict {
    let kind = match pattern.kind {
        patterns::Kind::NPlusOne => Kind::NPlusOne,
        patterns::Kind::SerialCalls => Kind::SerialCalls,
        patterns::Kind::RetryStorm => Kind::RetryStorm,
        patterns::Kind::SwallowedError => Kind::SwallowedError,
        patterns::Kind::ChattyEdge => Kind::ChattyEdge,
        patterns::Kind::TimeoutInversion => Kind::TimeoutInversion,
        patterns::Kind::Recursion => Kind::Recursion,
        patterns::Kind::LockWait => Kind::LockWait,
    };
    let confidence = match (new_since.is_some(), pattern.traces) {
        (true, 10..) => Confidence::High,
        (_, 3..) => Confidence::Medium,
        _ => Confidence::Low,
    };
    let since = new_since.map_or(String::new(), |then| format!("; it was not so {then}"));
    let mut verdict = Verdict::new(kind, confidence, format!("{}{since}.", pattern.sentence.trim_end_matches('.')));
    verdict.service = Some(pattern.service.clone());
    verdict.operation = Some(pattern.operation.clone());
    verdict.edge.clone_from(&pattern.edge);
    verdict.statement.clone_from(&pattern.statement);
    verdict.cost_ns = Some(pattern.win.mean_ns);
    verdict.share = Some(pattern.share);
    verdict.evidence = pattern
        .examples
        .iter()
        .map(|example| Evidence {
            text: format!("{} in one request.", words::count(example.count as u64, "time")),
            filter: None,
            trace: Some(example.trace_id.to_string()),
            spans: example.span_ids.iter().map(ToString::to_string).collect(),
        })
        .collect();
    verdict
}

/// Mean duration of the requests, nanoseconds.
pub(super) fn mean_ns(traces: &Traces) -> f64 {
    let roots = traces.traces().iter().filter_map(|trace| Some((traces.main_root(trace)?, trace.weight)));
    let (sum, weights) = roots.fold((0.0, 0.0), |(sum, weights), (root, weight)| {
        (sum + weight * traces.spans()[root].duration_ns() as f64, weights + weight)
    });
    sum / f64::max(weights, 1.0)
}
