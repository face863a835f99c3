//! The recorded inject and extract cases of the formats other than the W3C's. What two SDKs agree on is
//! taken as right unless the table says otherwise; where they differ, the table says who is right.

use serde_json::Value;
use tracewell_propagate::{Composite, Context, Decision, Propagated};

use crate::load;

/// Cases in which the recorded SDKs differ, or depart together from the specification: format, the text
/// that singles the case out, what is right (`trace id, span id, flags`), and why.
type Ruling = (&'static str, &'static str, Option<(&'static str, &'static str, u64)>, &'static str);

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const SPAN: &str = "00f067aa0ba902b7";

const RULINGS: &[Ruling] = &[
    (
        "b3",
        r#"-00f067aa0ba902b7"}"#,
        Some((TRACE, SPAN, 0)),
        "B3, Sampling State: absent means defer, not accept (Node)",
    ),
    ("b3", "0e0e473-", None, "B3, TraceId: 32 or 16 digits, not 31 (Python)"),
    ("b3", "4BF92F35", None, "B3, TraceId: lower-hex (Node)"),
    (
        "b3multi",
        r#""d""#,
        Some((TRACE, SPAN, 1)),
        "B3, Sampling State: debug implies accept, in whichever field (Python)",
    ),
    ("jaeger", "%3A", Some((TRACE, SPAN, 1)), "Jaeger, Propagation Format: the value may be URL-encoded (Node)"),
    ("jaeger", r#":0:"}"#, None, "Jaeger, Propagation Format: flags are one byte as hex digits, not nothing (Python)"),
    ("jaeger", "4BF92F35", Some((TRACE, SPAN, 1)), "Jaeger: base16; ids are written in lower case (Python)"),
    (
        "ottrace",
        r#""7b""#,
        Some(("0000000000000000000000000000007b", "00000000000001c8", 1)),
        "the basic tracers write hex without leading zeros (Python)",
    ),
    (
        "xray",
        "Sampled=?",
        Some((TRACE, SPAN, 0)),
        "X-Ray, Tracing header: ? asks the receiver to decide, the ids stand (neither)",
    ),
    (
        "xray",
        r#"Parent=00f067aa0ba902b7"}"#,
        Some((TRACE, SPAN, 0)),
        "X-Ray, Tracing header: Sampled is optional (Python)",
    ),
];

fn pairs(object: &Value) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let mut pairs: Vec<_> = object.as_object().unwrap().iter().map(|(key, value)| (key.clone(), text(value))).collect();
    pairs.sort();
    pairs
}

fn outcome(recorded: &Value) -> Option<(&str, &str, u64)> {
    let text = |key: &str| recorded[key].as_str().unwrap();
    recorded["valid"]
        .as_bool()
        .unwrap()
        .then(|| (text("trace_id"), text("span_id"), recorded["flags"].as_u64().unwrap()))
}

#[test]
fn extraction_agrees_with_the_specifications() {
    let Some(data) = load("propagators.json") else { return };
    let (mut checked, mut ruled) = (0, Vec::new());
    for case in data["extract"].as_array().unwrap() {
        let format = case["format"].as_str().unwrap();
        if matches!(format, "tracecontext" | "baggage") {
            continue;
        }
        let text = case["headers"].to_string();
        let ruling = RULINGS.iter().position(|(name, mark, ..)| *name == format && text.contains(mark));
        let expected = match ruling {
            Some(place) => {
                ruled.push(place);
                RULINGS[place].2
            }
            None => {
                assert!(case["node"].is_null() || case["node"] == case["python"], "no ruling for {case}");
                outcome(&case["python"])
            }
        };
        let found = Composite::from_names(format).unwrap().extract(&pairs(&case["headers"]));
        let ids = found.context.as_ref().map(|context| (context.trace_id.to_string(), context.span_id.to_string()));
        let flags = found.context.as_ref().map_or(0, |context| u64::from(context.flags));
        let found_outcome = ids.as_ref().map(|(trace, span)| (trace.as_str(), span.as_str(), flags));
        assert_eq!(found_outcome, expected, "{case}");
        let mut baggage: Vec<(String, String)> =
            found.baggage.items().iter().map(|item| (item.key.clone(), item.value.clone())).collect();
        baggage.sort();
        assert_eq!(baggage, pairs(&case["python"]["baggage"]), "{case}");
        checked += 1;
    }
    assert_eq!(checked, 132 - 46 - 18);
    ruled.sort_unstable();
    assert_eq!(ruled, (0..RULINGS.len()).collect::<Vec<_>>(), "each ruling decides one case");
}

/// The header where the recorded SDKs differ, or depart together from the specification; all others are
/// those of both.
fn specified(format: &str, name: &str, case: &Value) -> Option<String> {
    let text = |key: &str| case[key].as_str().unwrap();
    let sampled = case["flags"].as_u64().unwrap() & 1;
    Some(match (format, name) {
        // Jaeger, Propagation Format: 1 is sampled, 2 is debug. Python sets debug for whatever is sampled,
        // Node for what is random; the parent is 0 where it is not known.
        ("jaeger", "uber-trace-id") => format!("{}:{}:0:0{sampled}", text("trace_id"), text("span_id")),
        // 16 digits, as Node and the format's other writers have it.
        ("ottrace", "ot-tracer-traceid") => text("trace_id")[16..].to_owned(),
        ("ottrace", "ot-tracer-spanid") => text("span_id").to_owned(),
        // Python compares the flags with 1 and so forgets what is sampled and random.
        ("ottrace", "ot-tracer-sampled") => (sampled == 1).to_string(),
        // W3C Baggage §3.2.1.3: a space is %20 (Node), not + (Python).
        ("baggage", "baggage") => case["headers_node"]["baggage"].as_str().unwrap().to_owned(),
        _ => return None,
    })
}

#[test]
fn injection_agrees_with_the_specifications() {
    let Some(data) = load("propagators.json") else { return };
    let cases = data["inject"].as_array().unwrap();
    assert_eq!(cases.len(), 96);
    for case in cases {
        let format = case["format"].as_str().unwrap();
        let text = |key: &str| case[key].as_str().unwrap();
        let mut propagated = Propagated {
            context: Some(Context {
                trace_id: text("trace_id").parse().unwrap(),
                span_id: text("span_id").parse().unwrap(),
                flags: case["flags"].as_u64().unwrap() as u8,
                trace_state: text("tracestate").parse().unwrap(),
            }),
            ..Propagated::default()
        };
        for (key, value) in case["baggage"].as_object().unwrap() {
            propagated.baggage.set(key, value.as_str().unwrap()).unwrap();
        }
        let mut sent: Vec<(String, String)> = Vec::new();
        Composite::from_names(format).unwrap().inject(&propagated, &mut sent);
        sent.sort();
        let lower_case = |(name, value): (String, String)| match name.starts_with("X-") {
            true => (name.to_lowercase(), value),
            false => (name, value),
        };
        let python: Vec<_> = pairs(&case["headers"]).into_iter().map(lower_case).collect();
        let node = if case["headers_node"].is_null() { python.clone() } else { pairs(&case["headers_node"]) };
        let mut expected = Vec::new();
        for ((name, python), (_, node)) in python.into_iter().zip(node) {
            let value = specified(format, &name, case).unwrap_or_else(|| {
                assert_eq!(python, node, "no ruling for {name} of {case}");
                python
            });
            expected.push((name, value));
        }
        if format == "baggage" {
            // Baggage is a set; the recorded order is that in which it was filled.
            let sorted = |pairs: &[(String, String)]| {
                let mut members: Vec<String> = pairs[0].1.split(',').map(str::to_owned).collect();
                members.sort();
                members
            };
            assert_eq!(sorted(&sent), sorted(&expected), "{case}");
        } else {
            assert_eq!(sent, expected, "{case}");
        }
    }
}

/// What formats say beyond ids and the sampled flag.
#[test]
fn decisions_are_told_apart() {
    let ids = ("4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7");
    let multi =
        |name: &'static str, value: &'static str| vec![("x-b3-traceid", ids.0), ("x-b3-spanid", ids.1), (name, value)];
    let datadog = |value: &'static str| {
        let ids = [("x-datadog-trace-id", "7"), ("x-datadog-parent-id", "8")];
        [&ids[..], &[("x-datadog-sampling-priority", value)]].concat()
    };
    let xray = |rest: &str| format!("Root=1-4bf92f35-77b34da6a3ce929d0e0e4736;Parent=00f067aa0ba902b7{rest}");
    let (asked, open) = (xray(";Sampled=?"), xray(""));
    let b3 = |state: &str| format!("{}-{}{state}", ids.0, ids.1);
    let (b3_open, b3_debug) = (b3(""), b3("-d"));
    use Decision::{AsFlagged, Debug, Deferred, Drop, Record};
    type Headers<'a> = Vec<(&'a str, &'a str)>;
    let cases: Vec<(&str, Headers<'_>, Decision, Option<bool>)> = vec![
        ("b3", vec![("b3", &b3_open)], Deferred, None),
        ("b3", vec![("b3", &b3_debug)], Debug, Some(true)),
        ("b3", vec![("b3", "0")], Drop, Some(false)),
        ("b3", vec![("b3", "1")], Record, Some(true)),
        ("b3multi", vec![("b3", "d")], Debug, Some(true)),
        ("b3", multi("x-b3-flags", "1"), Debug, Some(true)),
        ("b3", multi("x-b3-sampled", "0"), AsFlagged, Some(false)),
        ("b3", multi("other", ""), Deferred, None),
        ("b3", vec![("x-b3-sampled", "0")], Drop, Some(false)),
        ("b3", vec![("b3", "bad"), ("x-b3-sampled", "1")], Record, Some(true)),
        ("jaeger", vec![("uber-trace-id", "7b:1c8:0:3")], Debug, Some(true)),
        ("jaeger", vec![("uber-trace-id", "7b:1c8:0:0")], AsFlagged, Some(false)),
        ("jaeger", vec![("jaeger-debug-id", "checkout")], Debug, Some(true)),
        ("jaeger", vec![("uber-trace-id", "7b:1c8:0:0"), ("jaeger-debug-id", "x")], AsFlagged, Some(false)),
        ("xray", vec![("x-amzn-trace-id", &asked)], Deferred, None),
        ("xray", vec![("x-amzn-trace-id", &open)], Deferred, None),
        ("datadog", datadog("-1"), AsFlagged, Some(false)),
        ("datadog", datadog("2"), AsFlagged, Some(true)),
        ("datadog", datadog("x"), Deferred, None),
        ("ottrace", vec![("ot-tracer-traceid", "7"), ("ot-tracer-spanid", "8")], Deferred, None),
        ("gcp", vec![("x-cloud-trace-context", "4bf92f3577b34da6a3ce929d0e0e4736/8")], Deferred, None),
        ("tracecontext", vec![], AsFlagged, None),
    ];
    for (format, headers, decision, sampled) in cases {
        let found = Composite::from_names(format).unwrap().extract(&headers);
        assert_eq!((found.decision, found.sampled()), (decision, sampled), "{format} {headers:?}");
    }
}

#[test]
fn jaeger_headers_set_by_hand_begin_a_trace() {
    let jaeger = Composite::from_names("jaeger").unwrap();
    let mut headers =
        vec![("jaeger-debug-id", "checkout"), ("jaeger-baggage", "k1=v1, k2 = v2"), ("uberctx-k1", "a%20b")];
    let found = jaeger.extract(&headers);
    assert_eq!(found.debug_id.as_deref(), Some("checkout"));
    assert_eq!((found.baggage.get("k1"), found.baggage.get("k2")), (Some("a b"), Some("v2")));
    headers.push(("uber-trace-id", "7b:1c8:0:1"));
    let found = jaeger.extract(&headers);
    assert_eq!((found.debug_id, found.baggage.get("k2")), (None, None), "there is a trace: they count for nothing");
}

/// Composite: the last format with a valid context has it; formats that name the same span complete each
/// other.
#[test]
fn later_formats_override_and_complete_earlier_ones() {
    let parent = ("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-03");
    let state = ("tracestate", "rojo=1,dd=s:1");
    let other = ("b3", "a3ce929d0e0e4736-1111111111111111-0");
    let debug = ("b3", "4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-d");
    let ottrace = [
        ("ot-tracer-traceid", "a3ce929d0e0e4736"),
        ("ot-tracer-spanid", "f067aa0ba902b7"),
        ("ot-tracer-sampled", "true"),
    ];
    let datadog = [
        ("x-datadog-trace-id", "11803532876627986230"),
        ("x-datadog-parent-id", "67667974448284343"),
        ("x-datadog-sampling-priority", "2"),
    ];
    let with = |rest: &[(&'static str, &'static str)]| [&[parent, state][..], rest].concat();
    let w3c = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-03";
    let b3 = "00-0000000000000000a3ce929d0e0e4736-1111111111111111-00";
    let cases = [
        ("tracecontext,b3", with(&[other]), b3, "", Decision::AsFlagged),
        ("b3,tracecontext", with(&[other]), w3c, "rojo=1,dd=s:1", Decision::AsFlagged),
        ("tracecontext,b3", with(&[("b3", "bad")]), w3c, "rojo=1,dd=s:1", Decision::AsFlagged),
        ("tracecontext,b3", with(&[("b3", "0")]), w3c, "rojo=1,dd=s:1", Decision::AsFlagged),
        ("tracecontext,b3", with(&[debug]), w3c, "rojo=1,dd=s:1", Decision::Debug),
        ("b3,tracecontext", with(&[debug]), w3c, "rojo=1,dd=s:1", Decision::Debug),
        ("tracecontext,ottrace", with(&ottrace), w3c, "rojo=1,dd=s:1", Decision::AsFlagged),
        ("ottrace,tracecontext", with(&ottrace), w3c, "rojo=1,dd=s:1", Decision::AsFlagged),
        ("tracecontext,datadog", with(&datadog), w3c, "dd=s:2,rojo=1", Decision::AsFlagged),
    ];
    for (names, headers, traceparent, trace_state, decision) in cases {
        let found = Composite::from_names(names).unwrap().extract(&headers);
        let context = found.context.unwrap();
        assert_eq!(context.to_traceparent(), traceparent, "{names} {headers:?}");
        assert_eq!((context.trace_state.as_str(), found.decision), (trace_state, decision), "{names} {headers:?}");
    }
}
