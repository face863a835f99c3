//! The W3C formats against recorded verdicts: what counts is what a receiver would carry on.

use tracewell_propagate::Composite;

use crate::load;

#[test]
fn w3c_header_sets_get_the_verdict_of_the_specification() {
    let Some(data) = load("w3c-header-validity.json") else { return };
    let propagators = Composite::default();
    let cases = data.as_array().unwrap();
    assert_eq!(cases.len(), 83);
    for case in cases {
        let headers: Vec<(String, String)> = serde_json::from_value(case["headers"].clone()).unwrap();
        let found = propagators.extract(&headers);
        assert_eq!(found.context.is_some(), case["is_traceparent_valid"].as_bool().unwrap(), "{case}");
        let Some(context) = found.context else { continue };
        let Some(mut expected) = case["is_tracestate_valid"].as_bool() else {
            assert!(context.trace_state.is_empty(), "{case}");
            continue;
        };
        let members: usize =
            headers.iter().filter(|(name, _)| name == "tracestate").map(|(_, v)| v.split(',').count()).sum();
        if members > 32 {
            // The data set only asks whether the list can be read. The specification allows 32 members
            // (§3.3.1.1), and its own test suite demands that 33 are discarded.
            expected = false;
        }
        assert_eq!(!context.trace_state.is_empty(), expected, "{case}");
    }
}

/// Where the recorded SDKs disagree with each other or the specification, what the specification says.
/// Key: the header that decides; value: the list that is carried on.
const SPECIFIED_TRACE_STATE: &[(&str, &str)] =
    &[("a=1,a=2", "a=1"), ("foo@=1", "foo@=1"), ("foo@@bar=1", "foo@@bar=1"), ("1a=1", "1a=1"), ("a=1,b", "")];

#[test]
fn tracecontext_extraction_agrees_with_the_specification() {
    let Some(data) = load("propagators.json") else { return };
    let mut checked = 0;
    for case in data["extract"].as_array().unwrap().iter().filter(|case| case["format"] == "tracecontext") {
        checked += 1;
        let headers: Vec<(String, String)> = case["headers"]
            .as_object()
            .unwrap()
            .iter()
            .map(|(k, v)| (k.clone(), v.as_str().unwrap().to_owned()))
            .collect();
        let context = Composite::default().extract(&headers).context;
        let recorded = &case["python"];
        assert_eq!(context.is_some(), recorded["valid"].as_bool().unwrap(), "{case}");
        let Some(context) = context else { continue };
        assert_eq!(context.trace_id.to_string(), recorded["trace_id"].as_str().unwrap(), "{case}");
        assert_eq!(context.span_id.to_string(), recorded["span_id"].as_str().unwrap(), "{case}");
        // Level 2 knows the two lowest flags only.
        assert_eq!(u64::from(context.flags), recorded["flags"].as_u64().unwrap() & 3, "{case}");
        let sent = headers.iter().find(|(name, _)| name == "tracestate").map_or("", |(_, value)| value);
        let expected = SPECIFIED_TRACE_STATE
            .iter()
            .find(|(header, _)| *header == sent)
            .map_or(recorded["tracestate"].as_str().unwrap(), |(_, expected)| expected);
        let header = context.trace_state.to_header();
        // Both SDKs keep keys and values of at most 256 characters each, as specified, but refuse or
        // accept the sum differently; ours follows the grammar.
        assert_eq!(header, expected, "{case}");
    }
    assert_eq!(checked, 46);
}

/// Headers where the recorded SDKs depart from W3C Baggage, and what it says instead.
const SPECIFIED_BAGGAGE: &[(&str, &[(&str, &str)])] = &[
    // Properties are not part of the value.
    ("a=1;p1;p2=x", &[("a", "1")]),
];

#[test]
fn baggage_extraction_agrees_with_the_specification() {
    let Some(data) = load("propagators.json") else { return };
    let mut checked = 0;
    for case in data["extract"].as_array().unwrap().iter().filter(|case| case["format"] == "baggage") {
        checked += 1;
        let header = case["headers"]["baggage"].as_str().unwrap();
        let found = Composite::default().extract(&vec![("Baggage", header)]).baggage;
        assert!(found.items().len() <= 64 && found.to_header().len() <= 8192);
        let recorded = case["python"]["baggage"].as_object().unwrap();
        if header.len() > 4096 || header.matches('=').count() > 64 {
            // One SDK stops at 4,096 bytes a member and neither at 64 members; the specification
            // wants everything carried up to 64 members and 8,192 bytes.
            assert_eq!(found.is_empty(), header.len() > 8192, "{} bytes", header.len());
            continue;
        }
        let mut expected: Vec<(String, String)> =
            recorded.iter().map(|(key, value)| (key.clone(), value.as_str().unwrap().to_owned())).collect();
        if let Some((_, specified)) = SPECIFIED_BAGGAGE.iter().find(|(text, _)| *text == header) {
            expected = specified.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        }
        let mut found: Vec<(String, String)> =
            found.items().iter().map(|item| (item.key.clone(), item.value.clone())).collect();
        found.sort();
        expected.sort();
        assert_eq!(found, expected, "{case}");
    }
    assert_eq!(checked, 18);
}
