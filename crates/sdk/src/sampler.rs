//! Which traces are recorded: decided once, at the root, and carried on by everyone below.

use tracewell_propagate::{TraceId, TraceState};

/// Random bits of a trace id that a decision looks at (OpenTelemetry, "Consistent probability sampling").
const RANDOM_BITS: u32 = 56;

/// One past the largest random value: a threshold that no trace reaches.
const NEVER: u64 = 1 << RANDOM_BITS;

/// The decision whether a span is recorded (`OTEL_TRACES_SAMPLER`).
///
/// A trace is sampled when the 56 random bits at the end of its id reach a threshold, so that services
/// with the same or a lower ratio agree without talking to each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sampler {
    parent_based: bool,
    threshold: u64,
}

impl Sampler {
    /// Records everything.
    pub fn always_on() -> Self {
        Self { parent_based: false, threshold: 0 }
    }

    /// Records nothing; the context is carried on all the same.
    pub fn always_off() -> Self {
        Self { parent_based: false, threshold: NEVER }
    }

    /// Records this share of traces, from 0 to 1. Values outside are clamped, NaN is 1.
    pub fn ratio(ratio: f64) -> Self {
        let ratio = if ratio.is_nan() { 1.0 } else { ratio.clamp(0.0, 1.0) };
        // A double holds 2^56 exactly; the rounding error is far below one part in a billion.
        Self { parent_based: false, threshold: ((1.0 - ratio) * NEVER as f64) as u64 }
    }

    /// Follows the parent's decision where there is a parent, `self` otherwise.
    #[must_use]
    pub fn parent_based(self) -> Self {
        Self { parent_based: true, ..self }
    }

    /// The sampler that a name of `OTEL_TRACES_SAMPLER` and its argument stand for; `None` for an unknown
    /// name or an argument that is not a number from 0 to 1.
    pub fn from_name(name: &str, argument: Option<&str>) -> Option<Self> {
        let ratio = || match argument.map(str::trim).filter(|text| !text.is_empty()) {
            None => Some(Self::always_on()),
            Some(text) => text.parse().ok().filter(|ratio| (0.0..=1.0).contains(ratio)).map(Self::ratio),
        };
        Some(match name {
            "always_on" => Self::always_on(),
            "always_off" => Self::always_off(),
            "traceidratio" => ratio()?,
            "parentbased_always_on" => Self::always_on().parent_based(),
            "parentbased_always_off" => Self::always_off().parent_based(),
            "parentbased_traceidratio" => ratio()?.parent_based(),
            _ => return None,
        })
    }

    /// Whether to record a span of this trace; `parent_sampled` is `None` for a root.
    pub(crate) fn samples(&self, trace_id: TraceId, parent_sampled: Option<bool>) -> bool {
        match parent_sampled {
            Some(sampled) if self.parent_based => sampled,
            _ => self.threshold < NEVER && randomness(trace_id) >= self.threshold,
        }
    }

    /// True when no span is recorded, whatever its parent.
    pub(crate) fn never_samples(&self) -> bool {
        self.threshold >= NEVER && !self.parent_based
    }

    /// The trace state of a sampled root: `ot=th:…` tells everyone below how many traces this one stands for.
    pub(crate) fn root_state(&self) -> TraceState {
        if self.threshold == 0 || self.threshold >= NEVER {
            return TraceState::default();
        }
        let digits = format!("{:014x}", self.threshold);
        TraceState::default().with("ot", &format!("th:{}", digits.trim_end_matches('0'))).unwrap_or_default()
    }
}

impl Default for Sampler {
    /// `parentbased_always_on`, the specification's default.
    fn default() -> Self {
        Self::always_on().parent_based()
    }
}

fn randomness(trace_id: TraceId) -> u64 {
    u128::from_be_bytes(trace_id.0) as u64 & (NEVER - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_mean_what_the_specification_says() {
        let trace = TraceId(u128::to_be_bytes(0x80_0000_0000_0000));
        let cases = [
            ("always_on", None, Some(false), Some(true)),
            ("always_off", None, Some(true), Some(false)),
            ("parentbased_always_on", None, Some(false), Some(false)),
            ("parentbased_always_on", None, None, Some(true)),
            ("parentbased_always_off", None, Some(true), Some(true)),
            ("parentbased_always_off", None, None, Some(false)),
            ("traceidratio", Some("0.5"), None, Some(true)),
            ("traceidratio", Some("0.4"), None, Some(false)),
            ("parentbased_traceidratio", Some("0"), None, Some(false)),
            ("traceidratio", None, None, Some(true)),
            ("traceidratio", Some("2"), None, None),
            ("jaeger_remote", None, None, None),
        ];
        for (name, argument, parent, expected) in cases {
            let sampler = Sampler::from_name(name, argument);
            assert_eq!(sampler.map(|sampler| sampler.samples(trace, parent)), expected, "{name} {argument:?}");
        }
    }

    #[test]
    fn the_share_is_kept_and_told() {
        let sampler = Sampler::ratio(0.25);
        let sampled = (0..20_000).filter(|_| sampler.samples(crate::id::trace_id(), None)).count();
        assert!((4_500..5_500).contains(&sampled), "{sampled} of 20000");
        assert_eq!(sampler.root_state().as_str(), "ot=th:c");
        assert!(Sampler::always_on().root_state().is_empty());
    }
}
