//! Calls between services, what changed about them, and a service over time: live, from the first span on.

use serde_json::{Value, json};

use crate::start;

const SECOND_NS: u64 = 1_000_000_000;
/// Start of a minute.
const START_NS: u64 = 1_795_343_880 * SECOND_NS;
const MS: u64 = 1_000_000;

/// Spans of one service: trace, id, parent, kind, start and duration in milliseconds from [`START_NS`].
fn spans(service: &str, of: &[(u64, u64, u64, u32, u64, u64)]) -> Value {
    let span = |(trace, id, parent, kind, start, duration): &(u64, u64, u64, u32, u64, u64)| {
        let start = START_NS + start * MS;
        json!({
            "traceId": format!("{trace:032x}"), "spanId": format!("{id:016x}"), "name": format!("{service} work"),
            "parentSpanId": if *parent > 0 { format!("{parent:016x}") } else { String::new() }, "kind": kind,
            "startTimeUnixNano": start.to_string(), "endTimeUnixNano": (start + duration * MS).to_string(),
        })
    };
    json!({"resourceSpans": [{
        "resource": {"attributes": [{"key": "service.name", "value": {"stringValue": service}}]},
        "scopeSpans": [{"spans": of.iter().map(span).collect::<Vec<_>>()}],
    }]})
}

#[test]
fn a_call_is_counted_once_whichever_side_arrives_first() {
    let server = start();
    let range = format!("start={START_NS}&end={}", START_NS + 60 * SECOND_NS);
    server.post_otlp(&spans("stock", &[(1, 2, 1, 2, 25, 40)]));
    let alone = server.get(&format!("/api/v1/hops?{range}")).json();
    let told = |edge: &Value| (edge["caller"].clone(), edge["calls"].clone(), edge["unpaired"].clone());
    assert_eq!(told(&alone["edges"][0]), (json!(""), json!(1), json!(1)), "{alone}");

    server.post_otlp(&spans("cart", &[(1, 1, 0, 3, 20, 50)]));
    let both = server.get(&format!("/api/v1/hops?{range}&service=cart")).json();
    assert_eq!(both["total"], 1, "{both}");
    let edge = &both["edges"][0];
    assert_eq!((&edge["caller"], &edge["callee"], &edge["calls"]), (&json!("cart"), &json!("stock"), &json!(1)));
    assert_eq!(edge["unpaired"], 0);
    let near = |part: &str, expected: f64| {
        let median = edge[part]["p50Ns"].as_f64().unwrap();
        assert!((median - expected).abs() <= 0.011 * expected, "{part}: {median}");
    };
    near("request", 5e6);
    near("server", 40e6);
    near("response", 5e6);
    assert_eq!(edge["steps"][0]["startUnixNano"], START_NS.to_string());
    assert_eq!(both["stepMinutes"], 1);
}

#[test]
fn what_changed_between_two_windows_is_told_with_the_place() {
    let server = start();
    let calls = |first: u64, wait: u64| {
        let (mut cart, mut stock) = (Vec::new(), Vec::new());
        for trace in first..first + 20 {
            let at = trace * 2_000;
            cart.push((trace + 1, 1, 0, 3, at, 50 + wait + trace % 3));
            stock.push((trace + 1, 2, 1, 2, at + 5 + wait, 40 + trace % 3));
        }
        server.post_otlp(&spans("cart", &cart));
        server.post_otlp(&spans("stock", &stock));
    };
    calls(0, 0);
    calls(30, 400);
    let (now, end) = (START_NS + 60 * SECOND_NS, START_NS + 120 * SECOND_NS);
    let found = server.get(&format!("/api/v1/hops/changes?start={now}&end={end}")).json();
    assert_eq!(found["against_start"], START_NS.to_string(), "{found}");
    let place = &found["locations"][0];
    assert_eq!((&place["kind"], &place["direction"]), (&json!("link"), &json!("request")), "{found}");
    assert_eq!((&place["caller"], &place["callee"]), (&json!("cart"), &json!("stock")));
    assert_eq!(found["complete"], true);
    let other = server.get(&format!("/api/v1/hops/changes?start={now}&end={end}&service=nobody")).json();
    assert_eq!(other["locations"], json!([]));

    let refused = server.get(&format!("/api/v1/hops/changes?start={now}&end={end}&againstStart={end}"));
    assert_eq!(refused.status, 400, "{}", refused.text());
    assert_eq!(server.get("/api/v1/hops?points=9999").status, 400);
}

#[test]
fn a_service_has_rate_errors_and_durations_over_time() {
    let server = start();
    let calls: Vec<_> = (0..30).map(|trace| (trace + 1, 2, 0, 2, trace * 4_000, 40)).collect();
    server.post_otlp(&spans("stock", &calls));
    let end = START_NS + 120 * SECOND_NS;
    let red = server.get(&format!("/api/v1/services/stock/red?start={START_NS}&end={end}")).json();
    assert_eq!((&red["total"]["spans"], &red["steps"][0]["spans"]), (&json!(30), &json!(15)), "{red}");
    assert_eq!(red["operations"][0]["name"], "stock work");
    let median = red["operations"][0]["total"]["duration"]["p50Ns"].as_f64().unwrap();
    assert!((median - 40e6).abs() <= 0.011 * 40e6, "{median}");
    let nobody = server.get(&format!("/api/v1/services/nobody/red?start={START_NS}&end={end}")).json();
    assert_eq!((&nobody["total"]["spans"], &nobody["operations"]), (&json!(0), &json!([])));
}
