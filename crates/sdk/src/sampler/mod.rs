//! Which traces are recorded: decided once, at the root, and carried on by everyone below.
//!
//! ```text
//! Sampler (a value: what is wanted) ──▶ Policy (one for each service: decides)
//!                                          └ jaeger::Remote, refreshed by the exporter's thread
//! ```

pub(crate) mod jaeger;
mod policy;

use std::sync::Arc;
use std::time::Duration;

use tracewell_propagate::Context;
use tracewell_propagate::sampling::{DEFAULT_PRECISION, OtState, Randomness, Threshold, parent_based, with_threshold};

pub(crate) use policy::{Parent, Policy};

/// One past the largest random value (56 bits): a threshold that no trace reaches.
const NEVER: u64 = 1 << 56;

/// The decision whether a span is recorded (`OTEL_TRACES_SAMPLER`).
///
/// | constructor | `OTEL_TRACES_SAMPLER` | records |
/// |---|---|---|
/// | [`always_on`](Self::always_on) | `always_on` | everything |
/// | [`always_off`](Self::always_off) | `always_off` | nothing |
/// | [`ratio`](Self::ratio) | `traceidratio` | a share of traces, by their ids |
/// | [`consistent_probability`](Self::consistent_probability) | `consistent_probability` | a share of traces, told to everyone below in `tracestate` |
/// | [`jaeger_remote`](Self::jaeger_remote) | `jaeger_remote` | what a Jaeger-compatible server says, per operation |
/// | [`parent_based`](Self::parent_based) | `parentbased_…` of each | what the caller records, by the above at a root |
///
/// A trace is sampled when the 56 random bits at the end of its id reach a threshold, so that services
/// with the same or a lower ratio agree without talking to each other. Spans below a span of the same
/// process follow it.
#[derive(Debug, Clone, PartialEq)]
pub struct Sampler {
    kind: Kind,
}

#[derive(Debug, Clone, PartialEq)]
enum Kind {
    /// By the bits of the trace id.
    Ratio {
        threshold: u64,
    },
    /// By the randomness of the trace; `None` is never.
    Consistent(Option<Threshold>),
    Remote(Arc<jaeger::Remote>),
    Parent(Arc<ParentRules>),
}

/// What a parent-based sampler does where there is a parent. [`ParentRules::following`] is the specification's
/// default: do as the parent did.
#[derive(Debug, Clone, PartialEq)]
pub struct ParentRules {
    /// Decides for roots.
    pub root: Sampler,
    /// Decides below a span of another process that was recorded.
    pub remote_parent_sampled: Sampler,
    /// Decides below a span of another process that was not recorded.
    pub remote_parent_not_sampled: Sampler,
    /// Decides below a recorded span of this process.
    pub local_parent_sampled: Sampler,
    /// Decides below a span of this process that was not recorded.
    pub local_parent_not_sampled: Sampler,
}

impl ParentRules {
    /// `root` for roots, and everyone else follows their parent.
    pub fn following(root: Sampler) -> Self {
        Self {
            root,
            remote_parent_sampled: Sampler::always_on(),
            remote_parent_not_sampled: Sampler::always_off(),
            local_parent_sampled: Sampler::always_on(),
            local_parent_not_sampled: Sampler::always_off(),
        }
    }

    fn of(&self, parent: Parent) -> &Sampler {
        match parent {
            Parent::None => &self.root,
            Parent::Remote(true) => &self.remote_parent_sampled,
            Parent::Remote(false) => &self.remote_parent_not_sampled,
            Parent::Local(true) => &self.local_parent_sampled,
            Parent::Local(false) => &self.local_parent_not_sampled,
        }
    }

    fn follows(&self, parent: Parent) -> bool {
        let sampled = matches!(parent, Parent::Remote(true) | Parent::Local(true));
        let followed = if sampled { Sampler::always_on() } else { Sampler::always_off() };
        parent != Parent::None && *self.of(parent) == followed
    }
}

impl Sampler {
    /// Records everything.
    pub fn always_on() -> Self {
        Self { kind: Kind::Ratio { threshold: 0 } }
    }

    /// Records nothing; the context is carried on all the same.
    pub fn always_off() -> Self {
        Self { kind: Kind::Ratio { threshold: NEVER } }
    }

    /// Records this share of traces, from 0 to 1. Values outside are clamped, NaN is 1.
    pub fn ratio(ratio: f64) -> Self {
        let ratio = if ratio.is_nan() { 1.0 } else { ratio.clamp(0.0, 1.0) };
        // A double holds 2^56 exactly; the rounding error is far below one part in a billion.
        Self { kind: Kind::Ratio { threshold: ((1.0 - ratio) * NEVER as f64) as u64 } }
    }

    /// Records this share of traces, and says so in the trace state (`ot=th:…`), so that counts can be
    /// extrapolated exactly wherever on the way spans are counted (OpenTelemetry, "Composable probability
    /// sampler"). Unlike [`Sampler::ratio`] it honours randomness that a caller has made explicit
    /// (`ot=rv:…`), and it corrects what the trace state says below a remote parent. Values
    /// outside 0 to 1 are clamped, NaN is 1; shares below 2^-56 record nothing.
    pub fn consistent_probability(ratio: f64) -> Self {
        let ratio = if ratio.is_nan() { 1.0 } else { ratio.clamp(0.0, 1.0) };
        Self { kind: Kind::Consistent(Threshold::with_precision(ratio, DEFAULT_PRECISION)) }
    }

    /// Records what a server with Jaeger's sampling interface (`GET …/sampling?service=…`) says: a share, a
    /// number of traces per second, or either per operation (the name of the root span). Until it has
    /// answered, and for as long as it is away, what it said last holds, at first `initial_ratio`.
    ///
    /// `endpoint` is the URL of the interface; `/sampling` is added where it has no path. It is asked every
    /// `polling_interval` (at least a second), by the exporter's thread.
    pub fn jaeger_remote(endpoint: &str, polling_interval: Duration, initial_ratio: f64) -> Self {
        Self { kind: Kind::Remote(Arc::new(jaeger::Remote::new(endpoint, polling_interval, initial_ratio))) }
    }

    /// Follows the parent's decision where there is a parent, `self` otherwise.
    #[must_use]
    pub fn parent_based(self) -> Self {
        match self.kind {
            Kind::Parent(_) => self,
            _ => Self::parent_rules(ParentRules::following(self)),
        }
    }

    /// Asks another sampler for each kind of parent.
    pub fn parent_rules(rules: ParentRules) -> Self {
        Self { kind: Kind::Parent(Arc::new(rules)) }
    }

    /// The sampler that a name of `OTEL_TRACES_SAMPLER` and its argument stand for; `None` for an unknown
    /// name or an argument that is not a number from 0 to 1 (`jaeger_remote`: not
    /// `endpoint=http://…,pollingIntervalMs=…,initialSamplingRate=…`).
    pub fn from_name(name: &str, argument: Option<&str>) -> Option<Self> {
        if let Some(root) = name.strip_prefix("parentbased_") {
            return Self::from_name(root, argument).map(Self::parent_based);
        }
        let argument = argument.map(str::trim).filter(|text| !text.is_empty());
        let ratio = || match argument {
            None => Some(1.0),
            Some(text) => text.parse().ok().filter(|ratio| (0.0..=1.0).contains(ratio)),
        };
        Some(match name {
            "always_on" => Self::always_on(),
            "always_off" => Self::always_off(),
            "traceidratio" => Self::ratio(ratio()?),
            "consistent_probability" => Self::consistent_probability(ratio()?),
            "jaeger_remote" => {
                Self { kind: Kind::Remote(Arc::new(jaeger::Remote::from_argument(argument.unwrap_or_default())?)) }
            }
            _ => return None,
        })
    }

    /// True when no span is recorded, whatever its parent.
    fn never_samples(&self) -> bool {
        matches!(self.kind, Kind::Ratio { threshold: NEVER } | Kind::Consistent(None))
    }

    /// True when spans below a span of the same process are asked about one by one.
    fn asks_children(&self) -> bool {
        match &self.kind {
            Kind::Parent(rules) => ![true, false].iter().all(|sampled| rules.follows(Parent::Local(*sampled))),
            _ => false,
        }
    }

    /// A copy with a memory of its own for a service, where a part of it has one.
    fn for_service(&self, service: &str) -> Self {
        let kind = match &self.kind {
            Kind::Remote(remote) => Kind::Remote(Arc::new(remote.for_service(service))),
            Kind::Parent(rules) => Kind::Parent(Arc::new(ParentRules {
                root: rules.root.for_service(service),
                remote_parent_sampled: rules.remote_parent_sampled.for_service(service),
                remote_parent_not_sampled: rules.remote_parent_not_sampled.for_service(service),
                local_parent_sampled: rules.local_parent_sampled.for_service(service),
                local_parent_not_sampled: rules.local_parent_not_sampled.for_service(service),
            })),
            other => other.clone(),
        };
        Self { kind }
    }

    /// The parts that ask a server.
    fn remotes(&self, found: &mut Vec<Arc<jaeger::Remote>>) {
        match &self.kind {
            Kind::Remote(remote) => found.push(Arc::clone(remote)),
            Kind::Parent(rules) => {
                for sampler in [
                    &rules.root,
                    &rules.remote_parent_sampled,
                    &rules.remote_parent_not_sampled,
                    &rules.local_parent_sampled,
                    &rules.local_parent_not_sampled,
                ] {
                    sampler.remotes(found);
                }
            }
            Kind::Ratio { .. } | Kind::Consistent(_) => {}
        }
    }

    /// Whether to record a span called `name`. `context` holds its trace; its trace state, which is that of
    /// the parent, is brought up to date.
    fn decide(&self, context: &mut Context, parent: Parent, name: &str) -> bool {
        match &self.kind {
            Kind::Parent(rules) if rules.follows(parent) => {
                let sampled = matches!(parent, Parent::Remote(true) | Parent::Local(true));
                if !context.trace_state.is_empty() {
                    context.trace_state = parent_based(context.trace_id, &context.trace_state, sampled);
                }
                sampled
            }
            Kind::Parent(rules) => rules.of(parent).decide(context, parent, name),
            Kind::Ratio { threshold } => by_ratio(context, parent, *threshold),
            Kind::Remote(remote) => match remote.choose(name) {
                jaeger::Choice::Ratio(threshold) => by_ratio(context, parent, threshold),
                jaeger::Choice::Always => by_ratio(context, parent, 0),
                jaeger::Choice::Limited { threshold, limiter } => {
                    // The guaranteed minimum is used up by what the share lets through as well.
                    let allowed = limiter.allows();
                    by_ratio(context, parent, threshold) || (allowed && with_unknown_probability(context))
                }
                jaeger::Choice::PerSecond(limiter) => limiter.allows() && with_unknown_probability(context),
            },
            Kind::Consistent(threshold) => {
                let randomness = Randomness::of(context.trace_id, &context.trace_state);
                let accepted = threshold.filter(|threshold| threshold.accepts(randomness));
                context.trace_state = with_threshold(&context.trace_state, accepted);
                accepted.is_some()
            }
        }
    }
}

/// By the trace id. The threshold is told to everyone below a root; below a remote parent it replaces what
/// the trace state said of another decision.
fn by_ratio(context: &mut Context, parent: Parent, threshold: u64) -> bool {
    let sampled = threshold < NEVER && Randomness::from(context.trace_id).value() >= threshold;
    if parent == Parent::None {
        if sampled && threshold > 0 {
            context.trace_state = with_threshold(&context.trace_state, threshold_of(threshold));
        }
    } else if !context.trace_state.is_empty() {
        let honoured = OtState::of(&context.trace_state).randomness.is_none();
        let threshold = threshold_of(threshold).filter(|_| sampled && honoured);
        context.trace_state = with_threshold(&context.trace_state, threshold);
    }
    sampled
}

fn threshold_of(threshold: u64) -> Option<Threshold> {
    format!("{threshold:014x}").parse().ok().filter(|_| threshold < NEVER)
}

/// A trace that was picked for another reason than its randomness: nobody may count with a threshold.
fn with_unknown_probability(context: &mut Context) -> bool {
    if !context.trace_state.is_empty() {
        context.trace_state = with_threshold(&context.trace_state, None);
    }
    true
}

impl Default for Sampler {
    /// `parentbased_always_on`, the specification's default.
    fn default() -> Self {
        Self::always_on().parent_based()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tracewell_propagate::TraceId;

    fn context(id: u128, state: &str) -> Context {
        Context { trace_id: TraceId(id.to_be_bytes()), trace_state: state.parse().unwrap(), ..Context::default() }
    }

    #[test]
    fn names_mean_what_the_specification_says() {
        use Parent::{None as Root, Remote};
        let cases = [
            ("always_on", None, Remote(false), Some(true)),
            ("always_off", None, Remote(true), Some(false)),
            ("parentbased_always_on", None, Remote(false), Some(false)),
            ("parentbased_always_on", None, Root, Some(true)),
            ("parentbased_always_off", None, Remote(true), Some(true)),
            ("parentbased_always_off", None, Root, Some(false)),
            ("traceidratio", Some("0.5"), Root, Some(true)),
            ("traceidratio", Some("0.4"), Root, Some(false)),
            ("parentbased_traceidratio", Some("0"), Root, Some(false)),
            ("traceidratio", None, Root, Some(true)),
            ("traceidratio", Some("2"), Root, None),
            ("consistent_probability", Some("0.5"), Remote(false), Some(true)),
            ("parentbased_consistent_probability", Some("0.4"), Root, Some(false)),
            ("jaeger_remote", Some("endpoint=http://127.0.0.1:5778,initialSamplingRate=0.5"), Root, Some(true)),
            ("parentbased_jaeger_remote", Some("initialSamplingRate=0.25"), Root, Some(false)),
            ("jaeger_remote", Some("endpoint"), Root, None),
            ("mine", None, Root, None),
        ];
        for (name, argument, parent, expected) in cases {
            let sampler = Sampler::from_name(name, argument);
            let decided = sampler.map(|sampler| sampler.decide(&mut context(0x80_0000_0000_0000, ""), parent, "x"));
            assert_eq!(decided, expected, "{name} {argument:?}");
        }
    }

    #[test]
    fn the_share_is_kept() {
        for sampler in [Sampler::ratio(0.25), Sampler::consistent_probability(0.25)] {
            let one = || Context { trace_id: crate::id::trace_id(), ..Context::default() };
            let sampled = (0..20_000).filter(|_| sampler.decide(&mut one(), Parent::None, "x")).count();
            assert!((4_500..5_500).contains(&sampled), "{sampled} of 20000");
        }
    }

    #[test]
    fn the_trace_state_tells_what_the_span_stands_for() {
        let (high, low) = (0xf0_0000_0000_0000, 0x10_0000_0000_0000);
        let quarter = Sampler::consistent_probability(0.25);
        let ratio = Sampler::ratio(0.25);
        let cases = [
            (&ratio, high, "", Parent::None, true, "ot=th:c"),
            (&ratio, low, "", Parent::None, false, ""),
            (&ratio, high, "ot=th:8,a=b", Parent::Remote(true), true, "ot=th:c,a=b"),
            (&Sampler::always_on(), low, "", Parent::None, true, ""),
            (&Sampler::always_on(), low, "ot=th:8", Parent::Remote(false), true, "ot=th:0"),
            (&quarter, high, "", Parent::None, true, "ot=th:c"),
            (&quarter, low, "", Parent::None, false, ""),
            (&quarter, low, "ot=rv:f0000000000000", Parent::Remote(false), true, "ot=th:c;rv:f0000000000000"),
            (&quarter, high, "ot=th:8;rv:10000000000000,a=b", Parent::Remote(true), false, "ot=rv:10000000000000,a=b"),
            (&quarter, low, "ot=th:0,a=b", Parent::Remote(true), false, "a=b"),
            (&quarter.clone().parent_based(), low, "ot=th:0,a=b", Parent::Remote(true), true, "ot=th:0,a=b"),
            // The flag says sampled, the threshold says it cannot have been: it is not told any further.
            (&quarter.clone().parent_based(), low, "ot=th:c,a=b", Parent::Remote(true), true, "a=b"),
        ];
        for (sampler, id, state, parent, sampled, after) in cases {
            let mut context = context(id, state);
            assert_eq!(sampler.decide(&mut context, parent, "x"), sampled, "{sampler:?} {state:?}");
            assert_eq!(context.trace_state.as_str(), after, "{sampler:?} {state:?}");
        }
    }

    #[test]
    fn every_kind_of_parent_may_have_a_sampler_of_its_own() {
        let rules = ParentRules {
            remote_parent_sampled: Sampler::always_off(),
            remote_parent_not_sampled: Sampler::always_on(),
            local_parent_sampled: Sampler::always_off(),
            ..ParentRules::following(Sampler::always_off())
        };
        let sampler = Sampler::parent_rules(rules);
        let decided = |parent| sampler.decide(&mut context(1, ""), parent, "x");
        assert_eq!([Parent::None, Parent::Remote(true), Parent::Remote(false)].map(decided), [false, false, true]);
        assert_eq!([true, false].map(|sampled| decided(Parent::Local(sampled))), [false, false]);
        assert!(sampler.asks_children() && !Sampler::default().asks_children());
    }
}
