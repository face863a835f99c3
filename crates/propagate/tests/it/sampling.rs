//! The recorded vectors of consistent probability sampling.

use serde_json::Value;
use tracewell_propagate::sampling::{Randomness, Threshold};
use tracewell_propagate::{TraceId, TraceState};

use crate::load;

fn text<'a>(case: &'a Value, key: &str) -> &'a str {
    case[key].as_str().unwrap_or_else(|| panic!("{key} of {case}"))
}

/// `1`, `1/3`, `3/2^56`, `1-0x456789a/2^28`.
fn fraction(text: &str) -> f64 {
    let number = |text: &str| match (text.strip_prefix("0x"), text.split_once('^')) {
        (Some(digits), _) => u64::from_str_radix(digits, 16).unwrap() as f64,
        (_, Some((base, exponent))) => base.parse::<f64>().unwrap().powi(exponent.parse().unwrap()),
        _ => text.parse().unwrap(),
    };
    let quotient = |text: &str| match text.split_once('/') {
        Some((above, below)) => number(above) / number(below),
        None => number(text),
    };
    match text.split_once('-') {
        Some((one, rest)) => number(one) - quotient(rest),
        None => quotient(text),
    }
}

fn threshold(case: &Value, key: &str) -> Threshold {
    text(case, key).parse().unwrap_or_else(|error| panic!("{error}: {key} of {case}"))
}

#[test]
fn all_127_vectors_hold() {
    let Some(data) = load("consistent_sampling.json") else { return };
    let mut checked = 0;
    for (group, cases) in data.as_object().unwrap() {
        for case in cases.as_array().unwrap() {
            match group.as_str() {
                "threshold_encoding" => encodes(case),
                "decision" => decides(case),
                "parse" => parses(case),
                "adjusted_count" => counts(case),
                "proportional" => {
                    let out = threshold(case, "th_in").proportional(fraction(text(case, "p"))).unwrap();
                    assert_eq!(out.to_string(), text(case, "th_out"), "{case}");
                }
                "equalizing" => {
                    let randomness = text(case, "randomness").parse().unwrap();
                    let out = threshold(case, "th_in").equalized(threshold(case, "th_config"), randomness);
                    assert_eq!(out.is_some(), case["keep"], "{case}");
                    assert_eq!(out.map(|out| out.to_string()).as_deref(), case["th_out"].as_str(), "{case}");
                }
                _ => panic!("unknown group {group}"),
            }
            checked += 1;
        }
    }
    assert_eq!(checked, 127);
}

fn encodes(case: &Value) {
    let probability = fraction(text(case, "probability"));
    let threshold = match case["precision"].as_u64() {
        Some(digits) => Threshold::with_precision(probability, digits as u32),
        None => Threshold::from_probability(probability),
    };
    assert_eq!(threshold.unwrap().to_string(), text(case, "th"), "{case}");
}

fn decides(case: &Value) {
    let mut randomness: Randomness = text(case, "randomness").parse().unwrap();
    let mut wanted = case["th"].as_str().map(|th| th.parse::<Threshold>().unwrap());
    if let Some(state) = case["tracestate"].as_str() {
        let state: TraceState = state.parse().unwrap();
        let found = Randomness::of(text(case, "trace_id").parse::<TraceId>().unwrap(), &state);
        assert_eq!(found, randomness, "{case}");
        randomness = found;
        let ot = tracewell_propagate::sampling::OtState::of(&state);
        wanted = wanted.or(ot.threshold);
    }
    let threshold = wanted.or_else(|| Threshold::from_probability(0.25)).unwrap();
    assert_eq!(threshold.accepts(randomness), case["keep"], "{case}");
}

fn parses(case: &Value) {
    match case["th"].as_str() {
        Some(th) => assert_eq!(th.parse().ok().map(Threshold::value), case["value"].as_u64(), "{case}"),
        None => assert_eq!(text(case, "rv").parse::<Randomness>().is_ok(), case["valid"], "{case}"),
    }
}

fn counts(case: &Value) {
    let threshold = threshold(case, "th");
    assert_eq!(threshold.probability(), fraction(text(case, "probability")), "{case}");
    let expected = fraction(text(case, "adjusted_count"));
    assert!((threshold.adjusted_count() - expected).abs() <= expected * 1e-12, "{case}");
}
