//! The verdict on one trace: what made it slow, or fail, compared with its like.
//!
//! **Input.** One trace, its like (traces with the same root service and operation), and what the other modules found.
//! **Algorithm.** The critical path of the trace is summed by place ([`Place`]); so are those of its like. What a place took
//! more than in the median of the like is its excess; the place with the largest is to blame. The trace is slow if it took
//! longer than 95 in 100 of its like and noticeably longer than the median; or if one place took much of it that seldom
//! takes long, whatever its like suffer from elsewhere. Where the like are of two kinds, a fast and a slow one, the fast
//! ones are what is usual ([`Usual`]). A failure of the root is followed down to where it began. **Edge cases.** With fewer
//! than [`LIKE_MIN`] others nothing is called slow, but for a way between two services that takes much longer than the
//! trace's other ways ([`ways`]): the largest share is named, and that there is nothing to compare with. A trace without
//! its root is told by the largest piece there is.
//! **Complexity.** Linear in spans of the trace and its like.

use crate::broken::{BrokenHop, Cause};
use crate::critical_path::{Walker, errors};
use crate::patterns::{self, Pattern, Severity};
use crate::rank::{self, Suspect};
use crate::{Trace, Traces};

use super::profile::{Place, Profile, Spent, depth};
use super::usual::{LIKE_MIN, Usual};
use super::{Confidence, Evidence, Kind, Verdict, Weighed, set, telemetry, ways, words};

/// A trace is slow if it took this much longer than the median of its like …
const SLOW_FACTOR: f64 = 1.2;

/// … and this much in absolute terms: below, nobody notices.
const SLOW_NS_MIN: f64 = 1e6;

/// A place makes a trace slow by itself if it took this share of it …
const PLACE_SHARE_MIN: f64 = 0.25;

/// … and this many times what nearly all others spend there.
const PLACE_FACTOR: f64 = 2.0;

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
    /// How long its like take.
    usual: Usual,
    /// Where its time went, beside what is usual there; what took most more than usual first.
    places: Vec<Here>,
}

/// A place in a trace.
struct Here {
    place: Place,
    spent: Spent,
    usual: Usual,
}

impl Here {
    /// What was spent more than is usual, in nanoseconds; negative where it is less.
    fn more_ns(&self) -> f64 {
        self.spent.ns as f64 - self.usual.median_ns
    }
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
        let durations: Vec<u64> = like.iter().map(|like| like.total_ns).collect();
        let usual = Usual::of_wholes(&durations);
        like.retain(|like| like.total_ns <= usual.most_ns);
        let mut places: Vec<Here> = profile
            .places
            .iter()
            .map(|(place, spent)| {
                let others: Vec<u64> = like.iter().map(|like| like.ns(place)).collect();
                Here { place: *place, spent: *spent, usual: Usual::at_a_place(&others, profile.total_ns) }
            })
            .collect();
        places.sort_by(|a, b| b.more_ns().total_cmp(&a.more_ns()).then(a.place.cmp(&b.place)));
        Some(Self { traces, trace, root, profile, usual, places })
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

    /// What the trace took longer than its like in the median, if that is worth a word.
    fn excess_ns(&self) -> Option<f64> {
        let Usual { median_ns, slow_ns, .. } = self.usual;
        let total = self.total_ns();
        let is_slow = total > slow_ns && total > median_ns * SLOW_FACTOR && total > median_ns + SLOW_NS_MIN;
        (self.usual.is_known() && is_slow).then_some(total - median_ns)
    }

    /// The place that took much of the trace and seldom takes long, if there is one.
    fn slow_place(&self) -> Option<&Here> {
        let here = self.places.first()?;
        let spent = here.spent.ns as f64;
        let is_slow = here.more_ns() > (self.total_ns() * PLACE_SHARE_MIN).max(SLOW_NS_MIN)
            && spent > here.usual.slow_ns * PLACE_FACTOR;
        (here.usual.is_known() && is_slow).then_some(here)
    }

    /// What there is to explain, in nanoseconds, if the trace is slow.
    fn to_explain_ns(&self) -> Option<f64> {
        self.excess_ns().or_else(|| self.slow_place().map(Here::more_ns))
    }

    /// Who is to blame for the time, compared with the like.
    pub fn slow(&self) -> Option<Weighed> {
        let excess_ns = self.excess_ns();
        let here = if excess_ns.is_some() { self.places.first() } else { self.slow_place() }?;
        let Here { place, spent, usual } = here;
        let more = here.more_ns();
        let whole_ns = excess_ns.unwrap_or(self.total_ns());
        let share = (more / whole_ns).clamp(0.0, 1.0);
        let confidence = match (usual.count, share, spent.ns > usual.most_ns) {
            (20.., 0.6.., true) => Confidence::High,
            (_, 0.4.., _) => Confidence::Medium,
            _ if excess_ns.is_none() => Confidence::Medium,
            _ => Confidence::Low,
        };
        let like = words::count(usual.count as u64, "request");
        let compared = if usual.median_ns < 1.0 {
            "where none is usual".to_owned()
        } else {
            format!("where {} usual", is(usual.median_ns))
        };
        let (name, share, total) = (self.sentence(place, spent), words::share(share), words::duration(self.total_ns()));
        let others = |as_slow: f64, what: &str| match as_slow {
            share if share > 0.0 => format!("; {} of its like {what}", words::share(share)),
            _ => String::new(),
        };
        let sentence = match excess_ns {
            Some(_) => format!(
                "{name}, {compared}: {share} of what this request took longer than its like ({total}, against {} in the median of {}){}.",
                words::duration(self.usual.median_ns),
                words::count(self.usual.count as u64, "request"),
                others(self.usual.as_slow, "are about as slow"),
            ),
            None => format!(
                "{name}, {compared}: {share} of the {total} of this request{}.",
                others(usual.as_slow, "spend about as long there")
            ),
        };
        let mut verdict = self.blamed(place, spent, confidence, sentence);
        verdict.cost_ns = Some(more);
        verdict.evidence.push(self.evidence(
            format!(
                "{}: {} here; {} in the median of {like} like this one, {} at most.",
                place.name(self.traces),
                words::duration(spent.ns as f64),
                words::duration(usual.median_ns),
                words::duration(usual.most_ns as f64)
            ),
            spent.span,
        ));
        for here in self.places.iter().skip(1).take(3).filter(|next| next.more_ns() > whole_ns * 0.1) {
            let text = format!(
                "{}: {}, {} more than usual.",
                here.place.name(self.traces),
                words::duration(here.spent.ns as f64),
                words::duration(here.more_ns())
            );
            verdict.evidence.push(self.evidence(text, here.spent.span));
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

    /// A way between two services that takes much longer than the others of this trace, where there is nothing to
    /// compare the trace with.
    pub fn long_way(&self) -> Option<Weighed> {
        let (way, others_ns) = ways::long(self.places.iter().map(|here| (here.place, here.spent.ns)))?;
        let here = self.places.iter().find(|here| here.place == way)?;
        let share = here.spent.ns as f64 / self.total_ns().max(1.0);
        if self.usual.is_known() || share < ways::SHARE_MIN {
            return None;
        }
        let sentence = format!(
            "{}, {} of the {} of this request, where nine in ten of its other ways take {} at most; {}.",
            self.sentence(&way, &here.spent),
            words::share(share),
            words::duration(self.total_ns()),
            words::duration(others_ns as f64),
            self.too_few()
        );
        let mut verdict = self.blamed(&way, &here.spent, Confidence::Low, sentence);
        verdict.evidence.push(self.evidence(format!("{}.", way.name(self.traces)), here.spent.span));
        Some((0.5 + share, verdict))
    }

    /// How many others are known, where that is too few.
    fn too_few(&self) -> String {
        match self.usual.count {
            0 => "no other request like this one is known".to_owned(),
            1 => "only one other request like this one is known".to_owned(),
            others => format!("only {others} other requests like this one are known"),
        }
    }

    /// What can be said when nothing stands out, or there is nothing to compare with.
    pub fn calm(&self) -> Weighed {
        let total = words::duration(self.total_ns());
        let largest = self.profile.places.iter().max_by_key(|(place, spent)| (spent.ns, std::cmp::Reverse(**place)));
        let largest = largest.map(|(place, spent)| {
            let share = words::share(spent.ns as f64 / self.total_ns().max(1.0));
            (format!("{share} of it went to {}", place.name(self.traces)), spent.span)
        });
        let most = largest.as_ref().map_or(String::new(), |(text, _)| format!("; {text}"));
        let mut verdict = match self.usual {
            usual if usual.is_known() => {
                let like = words::count(usual.count as u64, "request");
                let usual = words::duration(usual.median_ns);
                let sentence = format!(
                    "Nothing stands out: it took {total}, and {usual} is usual (the median of {like} like this one){most}."
                );
                Verdict::new(Kind::Nothing, Confidence::Medium, sentence)
            }
            _ => {
                let known = self.too_few();
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
        let explains = self.to_explain_ns().is_some_and(|excess| pattern.win.mean_ns > excess * EXPLAINS_SHARE);
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
        let whole_ns = self.to_explain_ns();
        let total_ns = whole_ns.unwrap_or(self.total_ns()).max(1.0);
        let mut suspects: Vec<Suspect> = Vec::new();
        for here in &self.places {
            let Here { place, spent, usual } = here;
            let weight_ns = if whole_ns.is_some() { here.more_ns() } else { spent.ns as f64 };
            let score = weight_ns / total_ns;
            if score < RANKED_MIN {
                continue;
            }
            let blamed = self.blamed(place, spent, Confidence::Low, String::new());
            let edge = blamed.edge;
            let service = blamed.service.or(edge.as_ref().map(|edge| edge.callee.clone())).unwrap_or_default();
            let kind = if edge.is_some() { rank::Kind::Network } else { rank::Kind::Latency };
            let text = if whole_ns.is_some() {
                format!(
                    "{}: {}, {} usually",
                    place.name(self.traces),
                    words::duration(spent.ns as f64),
                    words::duration(usual.median_ns)
                )
            } else {
                format!("{}: {} of the critical path", place.name(self.traces), words::duration(spent.ns as f64))
            };
            let evidence = rank::Evidence {
                kind,
                text,
                bits: score,
                operation: blamed.operation.clone(),
                edge: edge.clone(),
                before: usual.median_ns,
                now: spent.ns as f64,
                calls_before: usual.count,
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
                let places = if deep > 1 { format!(" ({})", hop_on_the_way(deep)) } else { String::new() };
                if *back {
                    format!("Between {callee} and {caller}{places} {took} went on the way back, with the answer")
                } else {
                    format!("Between {caller} and {callee}{places} {took} went on the way there, with the request")
                }
            }
        }
    }

    /// A verdict that blames a place.
    fn blamed(&self, place: &Place, spent: &Spent, confidence: Confidence, sentence: String) -> Verdict {
        let mut verdict = Verdict::new(Kind::SlowOperation, confidence, sentence);
        place.blame(self.traces, spent.span, &mut verdict);
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

/// `the 10th and 11th service on the way`, of a call from the first of the two.
pub(super) fn hop_on_the_way(depth: u32) -> String {
    let (from, to) = (words::ordinal(depth.into()), words::ordinal((depth + 1).into()));
    format!("the {from} and {to} service on the way")
}

/// `the 30th service on the way`
pub(super) fn place_on_the_way(depth: u32) -> String {
    format!("the {} service on the way", words::ordinal(depth.into()))
}
