//! Consistent probability sampling: the `ot` member of the trace state (OpenTelemetry specification,
//! "TraceState: Probability Sampling" and "TraceState Handling").
//!
//! ```text
//! tracestate: ot=th:c;rv:6e6d1a75832a2f
//!                │    └ randomness: 56 bits that stand for those of the trace id
//!                └ rejection threshold, trailing zeros left out: traces below it are not recorded
//! ```
//!
//! Everybody on the way compares the same 56 random bits of a trace with a threshold of their own, so
//! that a decision to record with a small probability implies that of everyone with a larger one.

use std::fmt;
use std::str::FromStr;

use crate::{TraceId, TraceState};

/// The key in the trace state under which OpenTelemetry keeps everything.
pub const OT_KEY: &str = "ot";

/// Hex digits of a threshold and of a randomness value.
const DIGITS: u32 = 14;

/// One more than the largest threshold and the largest randomness.
const RANGE: u64 = 1 << (4 * DIGITS);

/// Digits to which a threshold is rounded where nothing else is asked for ("Algorithms": recommended).
pub const DEFAULT_PRECISION: u32 = 4;

/// Longest `ot` value ("TraceState Handling").
const MAX_OT_CHARS: usize = 256;

/// Why a text is neither a threshold nor a randomness value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SamplingError {
    /// Not 1 to 14 lower-case hex digits.
    #[error("sampling threshold `th` is not 1 to 14 lower-case hex digits")]
    Threshold,
    /// Not 14 lower-case hex digits.
    #[error("sampling randomness `rv` is not 14 lower-case hex digits")]
    Randomness,
}

fn lower_hex(text: &str) -> Option<u64> {
    let lower = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    text.bytes().all(lower).then(|| u64::from_str_radix(text, 16).ok()).flatten()
}

/// A rejection threshold: of 2^56 traces, as many are not recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Threshold(u64);

impl Threshold {
    /// Rejects nothing: probability 1.
    pub const ALWAYS: Self = Self(0);

    /// The threshold for a probability from 2^-56 to 1, exact to the last bit; `None` for any other
    /// number. "Never" is not a probability.
    pub fn from_probability(probability: f64) -> Option<Self> {
        Self::with_precision(probability, DIGITS)
    }

    /// As [`Threshold::from_probability`], rounded to so many significant hex digits (at least one).
    /// Leading digits that are all `0` or all `f` do not count, so that the relative error stays the
    /// same for very large and very small probabilities.
    pub fn with_precision(probability: f64, digits: u32) -> Option<Self> {
        if !(1.0 / RANGE as f64..=1.0).contains(&probability) {
            return None;
        }
        let digits = digits.max(1) + leading_digits(probability).max(leading_digits(1.0 - probability));
        let mut threshold = RANGE - (probability * RANGE as f64).round() as u64;
        if digits < DIGITS {
            let dropped_bits = 4 * (DIGITS - digits);
            threshold = (threshold + (1 << (dropped_bits - 1))) >> dropped_bits << dropped_bits;
        }
        Some(Self(threshold.min(RANGE - 1)))
    }

    /// The threshold as a number below 2^56.
    pub fn value(self) -> u64 {
        self.0
    }

    /// The share of traces that is recorded, above 0 and at most 1.
    pub fn probability(self) -> f64 {
        (RANGE - self.0) as f64 / RANGE as f64
    }

    /// How many traces each recorded one stands for.
    pub fn adjusted_count(self) -> f64 {
        RANGE as f64 / (RANGE - self.0) as f64
    }

    /// Whether a trace of this randomness is recorded.
    pub fn accepts(self, randomness: Randomness) -> bool {
        randomness.0 >= self.0
    }

    /// The threshold that keeps this share of what `self` keeps ("Proportional downstream sampler");
    /// `None` where the product is below 2^-56: then nothing is recorded.
    pub fn proportional(self, probability: f64) -> Option<Self> {
        Self::from_probability(probability * self.probability())
    }

    /// The threshold after a stage that wants `wanted` for everything ("Equalizing downstream
    /// sampler"); `None` where the trace is not recorded. A threshold is never lowered.
    pub fn equalized(self, wanted: Self, randomness: Randomness) -> Option<Self> {
        let threshold = self.max(wanted);
        threshold.accepts(randomness).then_some(threshold)
    }
}

/// Leading zero digits of a number from 0 to 1 as hex fraction; its binary exponent tells.
fn leading_digits(fraction: f64) -> u32 {
    match fraction {
        0.0 => 0,
        _ => (-(fraction.log2().floor() + 1.0)).max(0.0) as u32 / 4,
    }
}

impl FromStr for Threshold {
    type Err = SamplingError;
    fn from_str(text: &str) -> Result<Self, SamplingError> {
        let missing = (DIGITS as usize).checked_sub(text.len()).filter(|_| !text.is_empty());
        let missing = missing.ok_or(SamplingError::Threshold)?;
        lower_hex(text).map(|number| Self(number << (4 * missing))).ok_or(SamplingError::Threshold)
    }
}

impl fmt::Display for Threshold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = format!("{:014x}", self.0);
        match digits.trim_end_matches('0') {
            "" => f.write_str("0"),
            digits => f.write_str(digits),
        }
    }
}

/// 56 random bits that everybody on a trace's way shares.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Randomness(u64);

impl Randomness {
    /// The lowest 56 bits of a number.
    pub fn new(bits: u64) -> Self {
        Self(bits & (RANGE - 1))
    }

    /// That of a trace: `rv` where the trace state has one, else the last seven bytes of the trace id.
    pub fn of(trace_id: TraceId, trace_state: &TraceState) -> Self {
        if trace_state.is_empty() {
            return Self::from(trace_id);
        }
        sub_key(trace_state, "rv").and_then(|rv| rv.parse().ok()).unwrap_or_else(|| Self::from(trace_id))
    }

    /// The bits as a number below 2^56.
    pub fn value(self) -> u64 {
        self.0
    }
}

impl From<TraceId> for Randomness {
    fn from(trace_id: TraceId) -> Self {
        Self::new(u128::from_be_bytes(trace_id.0) as u64)
    }
}

impl FromStr for Randomness {
    type Err = SamplingError;
    fn from_str(text: &str) -> Result<Self, SamplingError> {
        let complete = text.len() == DIGITS as usize;
        lower_hex(text).filter(|_| complete).map(Self).ok_or(SamplingError::Randomness)
    }
}

impl fmt::Display for Randomness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:014x}", self.0)
    }
}

fn sub_key<'a>(trace_state: &'a TraceState, key: &str) -> Option<&'a str> {
    let members = trace_state.get(OT_KEY)?.split(';').filter_map(|member| member.split_once(':'));
    members.into_iter().find(|(name, _)| *name == key).map(|(_, value)| value)
}

/// The `ot` member, taken apart.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct OtState {
    /// The threshold that everybody so far has applied; `None` where the probability is not known.
    pub threshold: Option<Threshold>,
    /// Randomness that is not that of the trace id.
    pub randomness: Option<Randomness>,
    /// Members that this version does not know, as they stood, without the ones that break the grammar.
    rest: String,
}

impl OtState {
    /// What the trace state says. A threshold or randomness that cannot be read counts as absent.
    pub fn of(trace_state: &TraceState) -> Self {
        let mut state = Self::default();
        let Some(text) = trace_state.get(OT_KEY) else { return state };
        let mut seen: Vec<&str> = Vec::new();
        for (key, value) in text.split(';').filter_map(|member| member.split_once(':')) {
            if !is_sub_member(key, value) || seen.contains(&key) {
                continue;
            }
            seen.push(key);
            match key {
                "th" => state.threshold = value.parse().ok(),
                "rv" => state.randomness = value.parse().ok(),
                _ => {
                    for part in [if state.rest.is_empty() { "" } else { ";" }, key, ":", value] {
                        state.rest.push_str(part);
                    }
                }
            }
        }
        state
    }

    /// `trace_state` with this as its `ot` member at the front. It is left alone where it says the same
    /// already; an empty one is removed; members not known here are left out where there is no room.
    #[must_use]
    pub fn written_to(&self, trace_state: &TraceState) -> TraceState {
        let text = self.to_string();
        if trace_state.get(OT_KEY).unwrap_or_default() == text {
            return trace_state.clone();
        }
        match text.is_empty() {
            true => trace_state.without(OT_KEY),
            false => trace_state.with(OT_KEY, &text).unwrap_or_else(|_| trace_state.without(OT_KEY)),
        }
    }
}

/// "TraceState Handling", Key and Value.
fn is_sub_member(key: &str, value: &str) -> bool {
    key.bytes().next().is_some_and(|byte| byte.is_ascii_lowercase())
        && key.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
        && value.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'))
}

impl fmt::Display for OtState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = String::new();
        if let Some(threshold) = self.threshold {
            text.push_str(&format!("th:{threshold}"));
        }
        if let Some(randomness) = self.randomness {
            text.push_str(if text.is_empty() { "rv:" } else { ";rv:" });
            text.push_str(&randomness.to_string());
        }
        if !self.rest.is_empty() && text.len() + 1 + self.rest.len() <= MAX_OT_CHARS {
            text.push_str(if text.is_empty() { "" } else { ";" });
            text.push_str(&self.rest);
        }
        f.write_str(&text)
    }
}

/// The trace state of a span that was recorded (`Some`) with this threshold or not recorded (`None`)
/// by a sampler of its own mind: `th` says so, everything else stays. A trace that is not recorded
/// has no threshold.
#[must_use]
pub fn with_threshold(trace_state: &TraceState, threshold: Option<Threshold>) -> TraceState {
    if trace_state.is_empty() && threshold.is_none() {
        return TraceState::default();
    }
    let mut state = OtState::of(trace_state);
    state.threshold = threshold;
    state.written_to(trace_state)
}

/// The trace state of a span that follows its parent's decision ("Parent-based threshold"): a `th`
/// that contradicts the decision is erased, because nobody could count with it.
#[must_use]
pub fn parent_based(trace_id: TraceId, trace_state: &TraceState, sampled: bool) -> TraceState {
    if sub_key(trace_state, "th").is_none() {
        return trace_state.clone();
    }
    let mut state = OtState::of(trace_state);
    let randomness = state.randomness.unwrap_or_else(|| Randomness::from(trace_id));
    if state.threshold.is_none_or(|threshold| threshold.accepts(randomness) != sampled) {
        state.threshold = None;
    }
    state.written_to(trace_state)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn state(text: &str) -> TraceState {
        text.parse().unwrap()
    }

    #[test]
    fn the_table_of_the_specification_holds() {
        let table = [
            (1.0, ["0", "0", "0"]),
            (1.0 / 3.0, ["aab", "aaab", "aaaab"]),
            (0.2, ["ccd", "cccd", "ccccd"]),
            (0.1, ["e66", "e666", "e6666"]),
            (0.01, ["fd71", "fd70a", "fd70a4"]),
            (0.001, ["ffbe7", "ffbe77", "ffbe76d"]),
            (0.000_01, ["ffff584", "ffff583a", "ffff583a5"]),
        ];
        for (probability, expected) in table {
            for (precision, expected) in (3..).zip(expected) {
                let threshold = Threshold::with_precision(probability, precision).unwrap();
                assert_eq!(threshold.to_string(), expected, "{probability} with {precision} digits");
            }
        }
        for outside in [0.0, -1.0, 1.1, f64::NAN, f64::INFINITY, 1e-20] {
            assert_eq!(Threshold::from_probability(outside), None, "{outside}");
        }
    }

    #[test]
    fn other_concerns_keep_their_place() {
        let half = Some(Threshold::from_probability(0.5).unwrap());
        let cases = [
            ("ot=p:8;r:62,other=1", half, "ot=th:8;p:8;r:62,other=1"),
            ("other=1,ot=th:c;rv:6e6d1a75832a2f;k:v", half, "ot=th:8;rv:6e6d1a75832a2f;k:v,other=1"),
            ("other=1,ot=th:c", None, "other=1"),
            ("ot=th:c;k:v", None, "ot=k:v"),
            ("ot=th:C;UP:1;k:a b", half, "ot=th:8"),
            ("ot=th:8,other=1", half, "ot=th:8,other=1"),
        ];
        for (before, threshold, after) in cases {
            assert_eq!(with_threshold(&state(before), threshold).as_str(), after, "{before}");
        }
    }

    #[test]
    fn a_threshold_that_contradicts_the_decision_is_erased() {
        let trace_id = TraceId([0xce; 16]);
        let cases = [
            ("ot=th:c,a=1", true, "ot=th:c,a=1"),
            ("ot=th:e,a=1", true, "a=1"),
            ("ot=th:c,a=1", false, "a=1"),
            ("ot=th:e,a=1", false, "ot=th:e,a=1"),
            ("ot=th:e;rv:f0000000000000", true, "ot=th:e;rv:f0000000000000"),
            ("ot=th:zz;rv:f0000000000000", true, "ot=rv:f0000000000000"),
            ("a=1", true, "a=1"),
        ];
        for (before, sampled, after) in cases {
            assert_eq!(parent_based(trace_id, &state(before), sampled).as_str(), after, "{before} {sampled}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_again(threshold in 0..RANGE, bits in 0..RANGE) {
            prop_assert_eq!(Threshold(threshold).to_string().parse(), Ok(Threshold(threshold)));
            prop_assert_eq!(Randomness(bits).to_string().parse(), Ok(Randomness(bits)));
            let ot = OtState { threshold: Some(Threshold(threshold)), randomness: Some(Randomness(bits)), ..OtState::default() };
            prop_assert_eq!(OtState::of(&ot.written_to(&state("a=1"))), ot);
        }

        #[test]
        fn a_larger_probability_records_whatever_a_smaller_one_does(a in 1e-9f64..1.0, b in 1e-9f64..1.0, bits in 0..RANGE) {
            let (low, high) = (a.min(b), a.max(b));
            let accepts = |probability| Threshold::from_probability(probability).unwrap().accepts(Randomness(bits));
            prop_assert!(!accepts(low) || accepts(high));
        }

        #[test]
        fn a_threshold_stands_for_its_probability(probability in 1e-6f64..=1.0) {
            let back = Threshold::with_precision(probability, 4).unwrap().probability();
            prop_assert!((back - probability).abs() <= probability / 2048.0, "{} became {}", probability, back);
        }

        #[test]
        fn no_text_makes_it_panic(text in "[a-z0-9:;. ]{0,60}") {
            if let Ok(parsed) = TraceState::default().with("ot", &text) {
                let ot = OtState::of(&parsed);
                prop_assert_eq!(OtState::of(&ot.written_to(&parsed)), ot);
            }
        }
    }
}
