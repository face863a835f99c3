//! The verdict on one trace: what made it slow, or fail, compared with its like.
//!
//! **Input.** One trace, its like (traces with the same root service and operation), and what the other modules found.
//! **Algorithm.** The critical path of the trace is summed by place ([`Place`]); so are those of its like. The trace is slow
//! if it took longer than 95 in 100 of them and noticeably longer than the median; where its like are of two kinds, a fast and
//! a slow one, than the fast ones. What a place took more than in the
//! median of the like is its excess; the place with the largest is to blame. A failure of the root is followed down to
//! where it began. **Edge cases.** With fewer than [`LIKE_MIN`] others nothing is called slow: the largest share is named,
//! and that there is nothing to compare with. A trace without its root is told by the largest piece there is.
//! **Complexity.** Linear in spans of the trace and its like.

use crate::broken::{BrokenHop, Cause};
use crate::critical_path::{Walker, errors};
use crate::patterns::{self, Pattern, Severity};
use crate::rank::{self, Suspect};
use crate::{Trace, Traces};

use super::profile::{Place, Profile, Spent, depth};
use super::{Confidence, Direction, Edge, Evidence, Kind, Verdict, Weighed, set, telemetry, words};

/// Fewer others than this are no yardstick.
pub const LIKE_MIN: usize = 5;

/// A trace is slow if it took this much longer than the median of its like …
const SLOW_FACTOR: f64 = 1.2;

/// … and this much in absolute terms: below, nobody notices.
const SLOW_NS_MIN: f64 = 1e6;

/// Like are of two kinds if the slow one takes this many times as long.
const KINDS_FACTOR: f64 = 1.4;

/// A smaller share than this of what there is to explain makes nobody a suspect.
const RANKED_MIN: f64 = 0.005;

/// A pattern explains a slow trace if it accounts for more than this share of what the trace took longer.
const EXPLAINS_SHARE: f64 = 0.3;

/// One trace, and what it is compared with.
pub(super) struct Subject<'a> {
    traces: &'a Traces,
    trace: Trace,
    root: usize,
    profile: Profile,
    /// Profiles of its like; where these are of two kinds, of the fast ones.
    like: Vec<Profile>,
    /// Share of its like that are of the slow kind.
    as_slow: f64,
}

impl<'a> Subject<'a> {
    /// The trace with the number `of` among `traces`, and others; `None` for a trace without spans.
    pub fn new(traces: &'a Traces, of: usize) -> Option<Self> {
        let trace = *traces.traces().get(of)?;
        let root = traces.main_root(&trace)?;
        let key = |root: usize| {
            let span = &traces.spans()[root];
            (span.service, span.operation, span.is_orphan())
        };
        let mut walker = Walker::new(traces);
        let profile = Profile::of(&mut walker, traces, root);
        let others = traces.traces().iter().enumerate().filter(|(number, other)| *number != of && other.id != trace.id);
        let roots = others.filter_map(|(_, other)| traces.main_root(other)).filter(|other| key(*other) == key(root));
        // A like that failed at once is no yardstick for one that succeeded, and the other way round.
        let failed = traces.spans()[root].is_error();
        let (same, different): (Vec<usize>, Vec<usize>) =
            roots.partition(|other| traces.spans()[*other].is_error() == failed);
        let roots = if same.len() >= LIKE_MIN || different.is_empty() { same } else { [same, different].concat() };
        let mut like: Vec<Profile> = roots.into_iter().map(|root| Profile::of(&mut walker, traces, root)).collect();
        // During an incident most others are slow as well: of two kinds of like, the fast ones tell what is usual.
        let all = like.len();
        if let Some(fast_ns) = fast_kind_ns(like.iter().map(|like| like.total_ns)) {
            like.retain(|like| like.total_ns <= fast_ns);
        }
        let as_slow = (all - like.len()) as f64 / all.max(1) as f64;
        Some(Self { traces, trace, root, profile, like, as_slow })
    }

    fn text(&self, text: crate::Text) -> String {
        self.traces.text(text).to_owned()
    }

    fn id(&self, span: usize) -> String {
        self.traces.spans()[span].id.to_string()
    }

    /// Duration of the root, in nanoseconds.
    pub fn total_ns(&self) -> f64 {
        self.profile.total_ns as f64
    }

    /// The median duration of its like, if there are enough.
    pub fn usual_ns(&self) -> Option<f64> {
        (self.like.len() >= LIKE_MIN).then(|| quantile(self.like.iter().map(|like| like.total_ns), 0.5))
    }

    /// What the trace took longer than its like in the median, if that is worth a word.
    pub fn excess_ns(&self) -> Option<f64> {
        let usual = self.usual_ns()?;
        let slow = quantile(self.like.iter().map(|like| like.total_ns), 0.95);
        let total = self.total_ns();
        (total > slow && total > usual * SLOW_FACTOR && total > usual + SLOW_NS_MIN).then_some(total - usual)
    }

    /// Places with what they took, what is usual there, and the difference; the largest difference first.
    fn excesses(&self) -> Vec<(Place, Spent, f64, f64)> {
        let mut all: Vec<(Place, Spent, f64, f64)> = self
            .profile
            .places
            .iter()
            .map(|(place, spent)| {
                let usual = quantile(self.like.iter().map(|like| like.ns(place)), 0.5);
                (*place, *spent, usual, spent.ns as f64 - usual)
            })
            .collect();
        all.sort_by(|a, b| b.3.total_cmp(&a.3).then(a.0.cmp(&b.0)));
        all
    }

    /// Who is to blame for the time, compared with the like.
    pub fn slow(&self) -> Option<Weighed> {
        let excess_ns = self.excess_ns()?;
        let usual_ns = self.usual_ns()?;
        let excesses = self.excesses();
        let (place, spent, usual, more) = *excesses.first()?;
        let share = (more / excess_ns).clamp(0.0, 1.0);
        let most = self.like.iter().map(|like| like.ns(&place)).max().unwrap_or(0);
        let confidence = match (self.like.len(), share, spent.ns > most) {
            (20.., 0.6.., true) => Confidence::High,
            (_, 0.4.., _) => Confidence::Medium,
            _ => Confidence::Low,
        };
        let like = words::count(self.like.len() as u64, "request");
        let compared =
            if usual < 1.0 { "where none is usual".to_owned() } else { format!("where {} usual", is(usual)) };
        let others = match self.as_slow {
            share if share > 0.0 => format!("; {} of its like are about as slow", words::share(share)),
            _ => String::new(),
        };
        let sentence = format!(
            "{}, {compared}: {} of what this request took longer than its like ({}, against {} in the median of {like}){others}.",
            self.sentence(&place, &spent),
            words::share(share),
            words::duration(self.total_ns()),
            words::duration(usual_ns),
        );
        let mut verdict = self.blamed(&place, &spent, confidence, sentence);
        verdict.cost_ns = Some(more);
        verdict.evidence.push(self.evidence(
            format!(
                "{}: {} here; {} in the median of {like} like this one, {} at most.",
                self.name(&place),
                words::duration(spent.ns as f64),
                words::duration(usual),
                words::duration(most as f64)
            ),
            spent.span,
        ));
        for (place, spent, _, more) in excesses.iter().skip(1).take(3).filter(|next| next.3 > excess_ns * 0.1) {
            let text = format!(
                "{}: {}, {} more than usual.",
                self.name(place),
                words::duration(spent.ns as f64),
                words::duration(*more)
            );
            verdict.evidence.push(self.evidence(text, spent.span));
        }
        Some((0.5 + more / self.total_ns().max(1.0), verdict))
    }

    /// Why the root failed.
    pub fn failed(&self) -> Option<Weighed> {
        let failures = errors::of(self.traces, self.root);
        let origin = failures.origin()?;
        let span = &self.traces.spans()[origin];
        let (service, operation) = (self.text(span.service), self.text(span.operation));
        let said = match self.traces.text(span.status_message) {
            "" => String::new(),
            message => format!(": {message}"),
        };
        let deep = depth(self.traces, origin);
        let way: Vec<String> = failures.way.iter().map(|span| self.text(self.traces.spans()[*span].service)).collect();
        let mut services = way.clone();
        services.dedup();
        let sentence = match deep {
            1 => format!("It failed in {service} itself, in {operation}{said}."),
            _ => format!("It failed because {service}, {}, failed in {operation}{said}.", place_on_the_way(deep)),
        };
        let mut verdict = Verdict::new(Kind::Error, Confidence::High, sentence);
        (verdict.service, verdict.operation, verdict.depth) = (Some(service), Some(operation), Some(deep));
        verdict.statement = (!span.statement.is_empty()).then(|| self.text(span.statement));
        verdict.evidence.push(self.evidence(format!("The failure went up: {}.", services.join(" ← ")), origin));
        Some((2.0, verdict))
    }

    /// What can be said when nothing stands out, or there is nothing to compare with.
    pub fn calm(&self) -> Weighed {
        let total = words::duration(self.total_ns());
        let largest = self.profile.places.iter().max_by_key(|(place, spent)| (spent.ns, std::cmp::Reverse(**place)));
        let largest = largest.map(|(place, spent)| {
            let share = words::share(spent.ns as f64 / self.total_ns().max(1.0));
            (format!("{share} of it went to {}", self.name(place)), spent.span)
        });
        let most = largest.as_ref().map_or(String::new(), |(text, _)| format!("; {text}"));
        let mut verdict = match self.usual_ns() {
            Some(usual) => {
                let like = words::count(self.like.len() as u64, "request");
                let usual = words::duration(usual);
                let sentence = format!(
                    "Nothing stands out: it took {total}, and {usual} is usual (the median of {like} like this one){most}."
                );
                Verdict::new(Kind::Nothing, Confidence::Medium, sentence)
            }
            None => {
                let known = match self.like.len() {
                    0 => "no other request like this one is known".to_owned(),
                    1 => "only one other request like this one is known".to_owned(),
                    others => format!("only {others} other requests like this one are known"),
                };
                let sentence = format!("Too little to say whether {total} are unusual: {known}{most}.");
                Verdict::new(Kind::NotEnough, Confidence::Low, sentence)
            }
        };
        if let Some((text, span)) = largest {
            verdict.evidence.push(self.evidence(format!("{text}."), span));
        }
        (0.0, verdict)
    }

    /// A way of calling in this trace: to blame if it explains what the trace took longer, or why it failed.
    pub fn pattern(&self, pattern: &Pattern) -> Option<Weighed> {
        let total_ns = self.total_ns().max(1.0);
        let share = (pattern.win.mean_ns / total_ns).clamp(0.0, 1.0);
        let is_failed = self.traces.spans()[self.root].is_error();
        let explains = self.excess_ns().is_some_and(|excess| pattern.win.mean_ns > excess * EXPLAINS_SHARE);
        let weight = match (pattern.kind, pattern.severity) {
            (_, Severity::Minor) => return None,
            (patterns::Kind::RetryStorm, Severity::Major) if is_failed => 2.5,
            (_, Severity::Major) if explains => 1.5 + share,
            (patterns::Kind::SwallowedError, _) => 0.3,
            _ => share * 0.5,
        };
        Some((weight, set::of_pattern(pattern, None)))
    }

    /// A hop that loses calls, where this trace shows it.
    pub fn broken(&self, hop: &BrokenHop) -> Option<Weighed> {
        let id = self.trace.id.to_string();
        let is_here = hop
            .examples
            .iter()
            .any(|example| example.trace_id == id || example.fragment_trace_id.as_ref() == Some(&id));
        (is_here && hop.cause != Cause::Late).then(|| (0.25, telemetry::of_hop(hop)))
    }

    /// Services by what they took longer than is usual; by what they took where nothing is.
    pub fn ranking(&self) -> Vec<Suspect> {
        let whole_ns = self.excess_ns();
        let total_ns = whole_ns.unwrap_or(self.total_ns()).max(1.0);
        let mut suspects: Vec<Suspect> = Vec::new();
        for (place, spent, usual, more) in self.excesses() {
            let weight_ns = if whole_ns.is_some() { more } else { spent.ns as f64 };
            let score = weight_ns / total_ns;
            if score < RANKED_MIN {
                continue;
            }
            let blamed = self.blamed(&place, &spent, Confidence::Low, String::new());
            let edge = blamed.edge;
            let service = blamed.service.or(edge.as_ref().map(|edge| edge.callee.clone())).unwrap_or_default();
            let kind = if edge.is_some() { rank::Kind::Network } else { rank::Kind::Latency };
            let text = if whole_ns.is_some() {
                format!(
                    "{}: {}, {} usually",
                    self.name(&place),
                    words::duration(spent.ns as f64),
                    words::duration(usual)
                )
            } else {
                format!("{}: {} of the critical path", self.name(&place), words::duration(spent.ns as f64))
            };
            let evidence = rank::Evidence {
                kind,
                text,
                bits: score,
                operation: blamed.operation.clone(),
                edge: edge.clone(),
                before: usual,
                now: spent.ns as f64,
                calls_before: self.like.len(),
                calls_now: 1,
            };
            match suspects.iter_mut().find(|suspect| suspect.service == service) {
                Some(suspect) => {
                    suspect.score += score;
                    suspect.evidence.push(evidence);
                }
                None => suspects.push(Suspect {
                    service,
                    operation: blamed.operation,
                    edge,
                    instance: None,
                    kind,
                    score,
                    evidence: vec![evidence],
                    parts: [0.0; 4],
                }),
            }
        }
        suspects.sort_by(|a, b| b.score.total_cmp(&a.score).then_with(|| a.service.cmp(&b.service)));
        suspects
    }

    /// A span of this trace as evidence.
    pub fn evidence(&self, text: String, span: usize) -> Evidence {
        Evidence { text, filter: None, trace: Some(self.trace.id.to_string()), spans: vec![self.id(span)] }
    }

    /// A place as the subject of a sentence: what it did and how long.
    fn sentence(&self, place: &Place, spent: &Spent) -> String {
        let took = words::duration(spent.ns as f64);
        let deep = depth(self.traces, spent.span);
        match place {
            Place::Work { service, operation, .. } => {
                let (service, operation) = (self.traces.text(*service), self.traces.text(*operation));
                format!("{service}{} spent {took} in {operation}", apposition(deep))
            }
            Place::Wait { service, operation, peer, .. } => {
                let (service, operation) = (self.traces.text(*service), self.traces.text(*operation));
                let peer = match self.traces.text(*peer) {
                    // A database within the service, called by the service's name.
                    peer if peer == service => {
                        return format!("{service}{} spent {took} in {operation}", apposition(deep));
                    }
                    "" => "for an answer to".to_owned(),
                    peer => format!("for {peer} to answer"),
                };
                format!("{service}{} waited {took} {peer} {operation}", apposition(deep))
            }
            Place::Hop { caller, callee, back } => {
                let (caller, callee) = (self.traces.text(*caller), self.traces.text(*callee));
                let places = if deep > 1 {
                    format!(
                        " (the {} and {} service on the way)",
                        words::ordinal(deep.into()),
                        words::ordinal((deep + 1).into())
                    )
                } else {
                    String::new()
                };
                if *back {
                    format!("Between {callee} and {caller}{places} {took} went on the way back, with the answer")
                } else {
                    format!("Between {caller} and {callee}{places} {took} went on the way there, with the request")
                }
            }
        }
    }

    /// A place as a noun.
    fn name(&self, place: &Place) -> String {
        match place {
            Place::Work { service, operation, .. } => {
                format!("{}: {}", self.traces.text(*service), self.traces.text(*operation))
            }
            Place::Wait { service, operation, peer, .. } => match self.traces.text(*peer) {
                peer if peer.is_empty() || peer == self.traces.text(*service) => {
                    format!("{}: {}", self.traces.text(*service), self.traces.text(*operation))
                }
                peer => {
                    format!("{}: {} (waiting for {peer})", self.traces.text(*service), self.traces.text(*operation))
                }
            },
            Place::Hop { caller, callee, back: false } => {
                format!("the way from {} to {}", self.traces.text(*caller), self.traces.text(*callee))
            }
            Place::Hop { caller, callee, back: true } => {
                format!("the way back from {} to {}", self.traces.text(*callee), self.traces.text(*caller))
            }
        }
    }

    /// A verdict that blames a place.
    fn blamed(&self, place: &Place, spent: &Spent, confidence: Confidence, sentence: String) -> Verdict {
        let mut verdict = Verdict::new(Kind::SlowOperation, confidence, sentence);
        verdict.depth = Some(depth(self.traces, spent.span));
        match place {
            Place::Work { service, operation, statement } | Place::Wait { service, operation, statement, .. } => {
                verdict.service = Some(self.text(*service));
                verdict.operation = Some(self.text(*operation));
                verdict.statement = (!statement.is_empty()).then(|| self.text(*statement));
            }
            Place::Hop { caller, callee, back } => {
                verdict.kind = Kind::Network;
                verdict.edge = Some(Edge { caller: self.text(*caller), callee: self.text(*callee) });
                verdict.direction = Some(if *back { Direction::Response } else { Direction::Request });
            }
        }
        verdict
    }
}

/// `2.1 ms is`, for the usual.
fn is(ns: f64) -> String {
    format!("{} is", words::duration(ns))
}

/// Where a service stands, as an apposition, where that is worth saying.
fn apposition(depth: u32) -> String {
    if depth < 3 { String::new() } else { format!(", {},", place_on_the_way(depth)) }
}

/// `the 30th service on the way`
pub(super) fn place_on_the_way(depth: u32) -> String {
    format!("the {} service on the way", words::ordinal(depth.into()))
}

/// Where durations are of two kinds, the longest of the fast kind.
///
/// The split is that with the largest variance between the two (Otsu, "A threshold selection method from gray-level
/// histograms", 1979), of logarithms. It counts if the slow kind takes [`KINDS_FACTOR`] times as long, the two lie further
/// apart than twice their spreads, and there are enough of the fast kind to tell what is usual.
fn fast_kind_ns(durations: impl Iterator<Item = u64>) -> Option<u64> {
    let mut durations: Vec<u64> = durations.collect();
    durations.sort_unstable();
    let logs: Vec<f64> = durations.iter().map(|ns| (*ns as f64 + 1.0).ln()).collect();
    let count = logs.len();
    let (sum, squares) = logs.iter().fold((0.0, 0.0), |(sum, squares), log| (sum + log, squares + log * log));
    let moments = |n: f64, sum: f64, squares: f64| (sum / n, (squares / n - (sum / n).powi(2)).max(0.0).sqrt());
    let (mut below, mut below_squares) = (0.0, 0.0);
    let mut best: Option<(f64, usize)> = None;
    for at in 1..count {
        below += logs[at - 1];
        below_squares += logs[at - 1] * logs[at - 1];
        let (fast, slow) = (at as f64, (count - at) as f64);
        let between = fast * slow * (below / fast - (sum - below) / slow).powi(2);
        let enough = at >= LIKE_MIN && at * 10 >= count;
        let ((fast_mean, fast_spread), (slow_mean, slow_spread)) =
            (moments(fast, below, below_squares), moments(slow, sum - below, squares - below_squares));
        let apart =
            slow_mean - fast_mean > KINDS_FACTOR.ln() && slow_mean - fast_mean > 2.0 * (fast_spread + slow_spread);
        if enough && apart && best.is_none_or(|(most, _)| between > most) {
            best = Some((between, at));
        }
    }
    best.map(|(_, at)| durations[at - 1])
}

/// A quantile of some numbers by the nearest rank; 0 of none.
fn quantile(values: impl Iterator<Item = u64>, q: f64) -> f64 {
    let mut values: Vec<u64> = values.collect();
    if values.is_empty() {
        return 0.0;
    }
    let rank = ((values.len() as f64 * q).ceil() as usize).clamp(1, values.len()) - 1;
    *values.select_nth_unstable(rank).1 as f64
}
