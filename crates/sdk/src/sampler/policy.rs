//! One service's sampler, at work: the common cases by a look at one number.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use tracewell_propagate::sampling::Randomness;
use tracewell_propagate::{Context, TraceId};

use super::{Kind, NEVER, Sampler, jaeger};

/// What is above a span.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Parent {
    /// Nothing: it is a root.
    None,
    /// A span of this process, recorded or not.
    Local(bool),
    /// A span of another process, recorded or not.
    Remote(bool),
}

/// Bits of [`Policy::summary`]: what is known without asking the sampler.
const ROOTS_SAMPLED: u64 = 1;
const ROOTS_NOT_SAMPLED: u64 = 1 << 1;
const FOLLOWS_REMOTE: u64 = 1 << 2;
const NEVER_SAMPLES: u64 = 1 << 3;
const ASKS_CHILDREN: u64 = 1 << 4;

/// Decides for one service; its sampler may be replaced while it runs.
pub(crate) struct Policy {
    service: String,
    summary: AtomicU64,
    /// Roots whose randomness is below are not recorded.
    threshold: AtomicU64,
    sampler: RwLock<Sampler>,
}

impl Policy {
    pub(crate) fn new(sampler: &Sampler, service: &str) -> Self {
        let sampler = sampler.for_service(service);
        Self {
            service: service.to_owned(),
            summary: AtomicU64::new(summary(&sampler)),
            threshold: AtomicU64::new(root_threshold(&sampler)),
            sampler: RwLock::new(sampler),
        }
    }

    pub(crate) fn set(&self, sampler: &Sampler) {
        let sampler = sampler.for_service(&self.service);
        let mut current = self.sampler.write().unwrap_or_else(PoisonError::into_inner);
        self.summary.store(summary(&sampler), Ordering::Relaxed);
        self.threshold.store(root_threshold(&sampler), Ordering::Relaxed);
        *current = sampler;
    }

    fn has(&self, bit: u64) -> bool {
        self.summary.load(Ordering::Relaxed) & bit != 0
    }

    /// True when no span is recorded, whatever its parent.
    pub(crate) fn never_samples(&self) -> bool {
        self.has(NEVER_SAMPLES)
    }

    /// True when a root of that trace is not recorded; false where that is not known without asking.
    pub(crate) fn rejects_root(&self, trace_id: TraceId) -> bool {
        Randomness::from(trace_id).value() < self.threshold.load(Ordering::Relaxed)
    }

    /// True when spans below a span of the same process are asked about one by one.
    pub(crate) fn asks_children(&self) -> bool {
        self.has(ASKS_CHILDREN)
    }

    /// Whether to record a span called `name`. `context` holds its trace; its trace state, which is that of
    /// the parent, is brought up to date.
    pub(crate) fn decide(&self, context: &mut Context, parent: Parent, name: &str) -> bool {
        if context.trace_state.is_empty() {
            match parent {
                Parent::None if self.has(ROOTS_SAMPLED) => return true,
                Parent::None if self.has(ROOTS_NOT_SAMPLED) => return false,
                Parent::Remote(sampled) if self.has(FOLLOWS_REMOTE) => return sampled,
                _ => {}
            }
        }
        self.sampler.read().unwrap_or_else(PoisonError::into_inner).decide(context, parent, name)
    }

    /// The parts that ask a server.
    pub(crate) fn remotes(&self) -> Vec<Arc<jaeger::Remote>> {
        let mut found = Vec::new();
        self.sampler.read().unwrap_or_else(PoisonError::into_inner).remotes(&mut found);
        found
    }
}

fn root_of(sampler: &Sampler) -> &Sampler {
    match &sampler.kind {
        Kind::Parent(rules) => root_of(&rules.root),
        _ => sampler,
    }
}

fn root_threshold(sampler: &Sampler) -> u64 {
    match &root_of(sampler).kind {
        Kind::Ratio { threshold } => *threshold,
        Kind::Consistent(threshold) => threshold.map_or(NEVER, |threshold| threshold.value()),
        Kind::Remote(_) | Kind::Parent(_) => 0,
    }
}

fn summary(sampler: &Sampler) -> u64 {
    let mut bits = match &root_of(sampler).kind {
        Kind::Ratio { threshold: 0 } => ROOTS_SAMPLED,
        Kind::Ratio { threshold: NEVER } | Kind::Consistent(None) => ROOTS_NOT_SAMPLED,
        _ => 0,
    };
    if let Kind::Parent(rules) = &sampler.kind
        && [true, false].iter().all(|sampled| rules.follows(Parent::Remote(*sampled)))
    {
        bits |= FOLLOWS_REMOTE;
    }
    if sampler.never_samples() {
        bits |= NEVER_SAMPLES;
    }
    if sampler.asks_children() {
        bits |= ASKS_CHILDREN;
    }
    bits
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sampler::ParentRules;

    #[test]
    fn the_short_cut_decides_as_the_sampler_does() {
        let odd = ParentRules {
            remote_parent_sampled: Sampler::always_off(),
            ..ParentRules::following(Sampler::always_on())
        };
        let samplers = [
            Sampler::always_on(),
            Sampler::always_off(),
            Sampler::always_on().parent_based(),
            Sampler::always_off().parent_based(),
            Sampler::ratio(0.5),
            Sampler::consistent_probability(0.0).parent_based(),
            Sampler::parent_rules(odd),
        ];
        for sampler in samplers {
            let policy = Policy::new(&Sampler::ratio(0.1), "service");
            policy.set(&sampler);
            for parent in [Parent::None, Parent::Remote(true), Parent::Remote(false)] {
                for id in [1u128, u128::MAX] {
                    let context =
                        || Context { trace_id: tracewell_propagate::TraceId(id.to_be_bytes()), ..Context::default() };
                    let (mut short, mut long) = (context(), context());
                    let decided = policy.decide(&mut short, parent, "x");
                    assert_eq!(decided, sampler.decide(&mut long, parent, "x"), "{sampler:?} {parent:?}");
                    assert_eq!(short.trace_state, long.trace_state);
                    assert!(parent != Parent::None || decided != policy.rejects_root(short.trace_id));
                    assert!(!(policy.never_samples() && decided));
                }
            }
        }
    }
}
