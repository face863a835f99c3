//! What was sent is found again, in every API's own shape.

use serde_json::{Value, json};
use tracewell_testkit::server::{otlp_trace, percent};

use crate::{TRACE, builder, checkout, start};

#[test]
fn a_trace_is_found_by_search_and_read_in_full_as_soon_as_it_is_acknowledged() {
    let server = start();
    server.post_otlp(&checkout());

    let page = server.search("{ resource.service.name = \"orders\" }");
    assert_eq!(page["total"], 1, "{page}");
    assert_eq!(page["totalRelation"], "eq");
    let found = &page["traces"][0];
    assert_eq!(found["traceId"], TRACE);
    assert_eq!((&found["rootService"], &found["rootName"]), (&json!("gateway"), &json!("GET /checkout")));
    assert_eq!((&found["spanCount"], &found["errorCount"]), (&json!(4), &json!(0)));
    assert_eq!(found["rootMissing"], false);
    assert_eq!(found["matchedSpans"], 1);
    assert_eq!(found["spans"][0]["name"], "POST /orders");
    assert_eq!(found["services"].as_array().map(Vec::len), Some(3));
    assert!(page.get("nextCursor").is_none_or(Value::is_null), "{page}");
    assert_eq!(server.search("{ name = \"nothing\" }")["total"], 0);

    let trace = server.get(&format!("/api/v1/traces/{TRACE}")).json();
    let spans: usize = trace["resourceSpans"]
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|resource| resource["scopeSpans"].as_array().unwrap())
        .map(|scope| scope["spans"].as_array().unwrap().len())
        .sum();
    assert_eq!(spans, 4, "{trace}");

    let span = server.get(&format!("/api/v1/traces/{TRACE}/spans/00f067aa0ba902b9")).json();
    assert_eq!(span["spans"][0]["service"], "orders");
    assert_eq!(span["spans"][0]["attributes"], json!([{"key": "test.index", "value": {"intValue": "2"}}]));
    assert_eq!(span["spans"][0]["scope"]["name"], "testkit");
}

#[test]
fn the_columns_for_drawing_hold_the_tree() {
    let server = start();
    server.post_otlp(&checkout());
    let answer = server.get(&format!("/api/v1/traces/{TRACE}/columns"));
    assert_eq!(answer.header("content-type"), Some("application/vnd.tracewell.trace-columns"));
    assert_eq!(&answer.body[..8], b"TWCOLS1\n");
    let length = u32::from_le_bytes(answer.body[8..12].try_into().unwrap()) as usize;
    let header: Value = serde_json::from_slice(&answer.body[16..16 + length]).unwrap();
    assert_eq!(header["spanCount"], 4);
    assert_eq!(header["services"], json!(["gateway", "orders", "orders-db"]));
    let parents = header["columns"].as_array().unwrap().iter().find(|column| column["name"] == "parent").unwrap();
    let at = parents["offset"].as_u64().unwrap() as usize;
    let parent = |row: usize| i32::from_le_bytes(answer.body[at + 4 * row..at + 4 * row + 4].try_into().unwrap());
    assert_eq!((0..4).map(parent).collect::<Vec<_>>(), [-1, 0, 1, 2]);
}

#[test]
fn services_operations_and_attributes_are_listed_with_their_counts() {
    let server = start();
    server.post_otlp(&checkout());
    let services = server.get("/api/v1/services").json();
    assert_eq!(services["services"][0], json!({"name": "gateway", "spans": 2, "errors": 0, "operations": 2}));
    assert_eq!(services["services"].as_array().map(Vec::len), Some(3));
    let operations = server.get("/api/v1/operations?service=orders-db").json();
    assert_eq!(operations["operations"].as_array().map(Vec::len), Some(1), "{operations}");
    assert_eq!(operations["operations"][0]["name"], "INSERT orders");
    assert_eq!(operations["operations"][0]["kind"], "client");
    let attributes = server.get("/api/v1/attributes?scope=span").json();
    let key = attributes["attributes"].as_array().unwrap().iter().find(|entry| entry["key"] == "test.index");
    assert_eq!(key.unwrap()["types"], json!(["int"]), "{attributes}");
    let values = server.get("/api/v1/attributes/resource/service.name/values?prefix=ord").json();
    let names: Vec<_> = values["values"].as_array().unwrap().iter().map(|entry| entry["value"].clone()).collect();
    assert!(names.contains(&json!("orders")) && names.contains(&json!("orders-db")) && names.len() == 2, "{values}");
    assert_eq!(values["complete"], true);
}

#[test]
fn logs_are_joined_to_their_trace_and_found_by_text() {
    let server = start();
    server.post_otlp(&checkout());
    let record = |trace: &str, span: &str, body: &str| {
        json!({"timeUnixNano": "1795343881398540597", "severityNumber": 17, "severityText": "ERROR",
               "body": {"stringValue": body}, "traceId": trace, "spanId": span})
    };
    server.post_otlp_logs(&json!({"resourceLogs": [{
        "resource": {"attributes": [{"key": "service.name", "value": {"stringValue": "orders"}}]},
        "scopeLogs": [{"scope": {"name": "log"}, "logRecords": [
            record(TRACE, "00f067aa0ba902b9", "payment was declined"),
            record("", "", "the disk is full"),
        ]}],
    }]}));
    let logs = server.get(&format!("/api/v1/traces/{TRACE}/logs")).json();
    assert_eq!(logs["logs"].as_array().map(Vec::len), Some(1), "{logs}");
    assert_eq!(logs["logs"][0]["body"], json!({"stringValue": "payment was declined"}));
    assert_eq!(logs["logs"][0]["spanId"], "00f067aa0ba902b9");
    let found = server.get("/api/v1/logs?q=disk&service=orders").json();
    assert_eq!(found["logs"].as_array().map(Vec::len), Some(1), "{found}");
    assert_eq!(found["logs"][0]["traceId"], "");
}

#[test]
fn pages_follow_each_other_by_cursor_without_gap_or_repetition() {
    let server = start();
    for index in 1..=7u64 {
        server.post_otlp(&otlp_trace(&format!("{index:032x}"), &[("00f067aa0ba902b7", "", "gateway", "GET /")]));
    }
    let mut seen = Vec::new();
    let mut cursor = String::new();
    loop {
        let page = server.get(&format!("/api/v1/search?limit=3{cursor}")).json();
        assert_eq!(page["total"], 7, "{page}");
        let traces = page["traces"].as_array().unwrap();
        assert!(traces.len() <= 3);
        seen.extend(traces.iter().map(|trace| trace["traceId"].as_str().unwrap().to_owned()));
        match page["nextCursor"].as_str() {
            Some(next) => cursor = format!("&cursor={}", percent(next)),
            None => break,
        }
    }
    let newest_first: Vec<String> = (1..=7u64).rev().map(|index| format!("{index:032x}")).collect();
    assert_eq!(seen, newest_first);
}

#[test]
fn tempo_clients_find_what_they_expect() {
    let server = start();
    server.post_otlp(&checkout());
    assert_eq!(server.get("/api/echo").text(), "echo");
    assert!(server.get("/api/status/buildinfo").json()["version"].is_string());

    let found = server.get(&format!("/api/search?q={}&limit=5&spss=2", percent("{ name =~ \".*orders\" }"))).json();
    let trace = &found["traces"][0];
    assert_eq!(trace["traceID"], TRACE);
    assert_eq!((&trace["rootServiceName"], &trace["rootTraceName"]), (&json!("gateway"), &json!("GET /checkout")));
    assert_eq!(trace["spanSets"][0]["matched"], 3, "{trace}");
    assert_eq!(trace["spanSets"][0]["spans"].as_array().map(Vec::len), Some(2));
    assert_eq!(trace["spanSet"], trace["spanSets"][0]);
    assert_eq!(trace["serviceStats"]["orders-db"]["spanCount"], 1);
    assert!(trace["durationMs"].is_u64() && trace["startTimeUnixNano"].is_string());
    assert!(found["metrics"].is_object());
    let by_tag = server.get(&format!("/api/search?tags={}&minDuration=1ms", percent("service.name=orders-db"))).json();
    assert_eq!(by_tag["traces"].as_array().map(Vec::len), Some(1), "{by_tag}");

    let v1 = server.get(&format!("/api/traces/{TRACE}")).json();
    assert_eq!(v1["batches"].as_array().map(Vec::len), Some(3));
    let span = &v1["batches"][0]["scopeSpans"][0]["spans"][0];
    assert_eq!((&span["spanId"], &span["kind"]), (&json!("APBnqgupArc="), &json!("SPAN_KIND_SERVER")));
    let v2 = server.get(&format!("/api/v2/traces/{TRACE}")).json();
    assert_eq!(v2["trace"]["resourceSpans"].as_array().map(Vec::len), Some(3));
    let protobuf = server.get_with(&format!("/api/traces/{TRACE}"), &[("accept", "application/protobuf")]);
    assert_eq!(protobuf.header("content-type"), Some("application/protobuf"));
    assert!(protobuf.body.windows(13).any(|window| window == b"GET /checkout"));
    let v2 = server.get_with(&format!("/api/v2/traces/{TRACE}"), &[("accept", "application/protobuf")]);
    assert_eq!(v2.body[0], 0x0a, "TraceByIDResponse.trace comes first");
    assert_eq!(server.get("/api/traces/1").status, 404);
    assert_eq!(server.get("/api/traces/xyz").status, 400);

    let tags = server.get("/api/v2/search/tags").json();
    let scope = |name: &str| {
        let scopes = tags["scopes"].as_array().unwrap();
        scopes.iter().find(|scope| scope["name"] == name).map(|scope| scope["tags"].clone()).unwrap_or_default()
    };
    assert_eq!(scope("span"), json!(["test.index"]));
    assert_eq!(scope("resource"), json!(["service.name"]));
    assert!(scope("intrinsic").as_array().unwrap().contains(&json!("status")));
    let v1_tags = server.get("/api/search/tags").json();
    assert!(v1_tags["tagNames"].as_array().unwrap().contains(&json!("service.name")));
    let values = server.get("/api/v2/search/tag/resource.service.name/values").json();
    assert!(
        values["tagValues"].as_array().unwrap().contains(&json!({"type": "string", "value": "orders"})),
        "{values}"
    );
    let values = server.get("/api/search/tag/service.name/values").json();
    assert!(values["tagValues"].as_array().unwrap().contains(&json!("orders")), "{values}");
    let values = server.get("/api/v2/search/tag/status/values").json();
    assert!(values["tagValues"].as_array().unwrap().contains(&json!({"type": "keyword", "value": "error"})));
}

#[test]
fn tenants_cannot_read_each_other() {
    let server = start();
    let body = checkout().to_string();
    let headers = [("content-type", "application/json"), ("x-scope-orgid", "red")];
    let sent =
        tracewell_testkit::server::request(server.otlp_http.unwrap(), "POST", "/v1/traces", &headers, body.as_bytes());
    assert_eq!(sent.status, 200, "{}", sent.text());
    assert_eq!(server.search("{}")["total"], 0);
    assert_eq!(server.get(&format!("/api/v1/traces/{TRACE}")).status, 404);
    let as_red = server.get_with("/api/v1/search", &[("x-scope-orgid", "red")]).json();
    assert_eq!(as_red["total"], 1);
    assert_eq!(server.get_with("/api/v1/search", &[("x-scope-orgid", "a/b")]).status, 400);
}

#[test]
fn what_is_asked_wrongly_is_answered_with_the_place_and_a_remedy() {
    let server = start();
    for (path, status, code, hint) in [
        (format!("/api/v1/search?q={}", percent("{ nmae = \"x\" }")), 400, "invalid_query", true),
        ("/api/v1/search?limit=0".to_owned(), 400, "invalid_parameter", false),
        ("/api/v1/search?limt=5".to_owned(), 400, "invalid_parameter", true),
        ("/api/v1/search?start=yesterday".to_owned(), 400, "invalid_parameter", false),
        ("/api/v1/search?cursor=nonsense".to_owned(), 400, "invalid_cursor", false),
        ("/api/v1/traces/xyz".to_owned(), 400, "invalid_trace_id", false),
        (format!("/api/v1/traces/{TRACE}"), 404, "trace_not_found", true),
        (format!("/api/v1/traces/{TRACE}/columns"), 404, "trace_not_found", true),
        ("/api/v1/attributes/nowhere/key/values".to_owned(), 400, "invalid_parameter", false),
        ("/api/v1/nothing".to_owned(), 404, "no_such_route", true),
    ] {
        let answer = server.get(&path);
        let error = &answer.json()["error"];
        assert_eq!((answer.status, error["code"].as_str()), (status, Some(code)), "{path}: {error}");
        assert!(error["message"].as_str().is_some_and(|message| !message.is_empty()), "{path}");
        assert!(!hint || error["hint"].is_string(), "{path}: {error}");
    }
    let error = server.get(&format!("/api/v1/search?q={}", percent("{ name = }"))).json();
    assert_eq!(error["error"]["position"], 9, "{error}");
}

#[test]
fn answers_are_compressed_for_those_who_accept_it() {
    let server = start();
    let spans: Vec<(String, String)> =
        (1..60).map(|n| (format!("{n:016x}"), if n == 1 { String::new() } else { format!("{:016x}", 1) })).collect();
    let spans: Vec<_> = spans.iter().map(|(id, parent)| (id.as_str(), parent.as_str(), "gateway", "GET /")).collect();
    server.post_otlp(&otlp_trace(TRACE, &spans));
    let path = format!("/api/v1/traces/{TRACE}");
    let plain = server.get(&path);
    assert_eq!(plain.header("content-encoding"), None);
    assert!(plain.header("vary").unwrap().contains("accept-encoding"));
    for coding in ["gzip", "zstd"] {
        let packed = server.get_with(&path, &[("accept-encoding", coding)]);
        assert_eq!(packed.header("content-encoding"), Some(coding));
        assert!(packed.body.len() * 4 < plain.body.len());
    }
}

#[test]
fn web_pages_of_others_reach_nothing_unless_they_are_allowed() {
    let server = builder().arg("--set").arg("http.allowed_origins=https://grafana.example.com").start();
    let rebound = server.get_with("/api/v1/search", &[("host", "evil.example.com")]);
    assert_eq!((rebound.status, rebound.json()["error"]["code"].as_str()), (421, Some("unknown_host")));
    assert_eq!(server.get_with("/api/v1/search", &[("host", "localhost:3200")]).status, 200);
    let allowed = server.get_with("/api/v1/search", &[("origin", "https://grafana.example.com")]);
    assert_eq!(allowed.header("access-control-allow-origin"), Some("https://grafana.example.com"));
    let stranger = server.get_with("/api/v1/search", &[("origin", "https://evil.example.com")]);
    assert_eq!(stranger.header("access-control-allow-origin"), None);
}

#[test]
fn the_page_is_served_with_its_guards_and_for_every_address_of_its_own() {
    let server = start();
    for path in ["/", "/traces", &format!("/trace/{TRACE}")] {
        let page = server.get(path);
        assert_eq!(page.status, 200);
        assert_eq!(page.header("content-type"), Some("text/html; charset=utf-8"));
        assert!(page.header("content-security-policy").unwrap().contains("default-src 'self'"));
        assert_eq!(page.header("x-content-type-options"), Some("nosniff"));
        let tag = page.header("etag").unwrap();
        assert_eq!(server.get_with(path, &[("if-none-match", tag)]).status, 304);
    }
    assert_eq!(server.get("/assets/nothing.js").status, 404);
}

#[test]
fn one_port_is_enough_for_everything() {
    let server = start();
    let sent = server.post(server.http, "/v1/traces", "application/json", checkout().to_string().as_bytes());
    assert_eq!(sent.status, 200, "{}", sent.text());
    assert_eq!(server.search("{}")["total"], 1);
}

#[test]
fn the_server_says_how_it_is() {
    let server = start();
    server.post_otlp(&checkout());
    let refused = server.post(server.otlp_http.unwrap(), "/v1/traces", "application/json", b"{\"resourceSpans\":7}");
    assert_eq!(refused.status, 400);
    assert_eq!(server.get("/healthz").text(), "ok\n");
    assert_eq!(server.get("/readyz").text(), "ready\n");
    let status = server.get("/api/v1/status").json();
    assert_eq!(status["ready"], true);
    let receiver =
        status["receivers"].as_array().unwrap().iter().find(|receiver| receiver["name"] == "otlp_http").unwrap();
    assert_eq!(receiver["signals"][0]["itemsAccepted"], 4, "{receiver}");
    assert!(receiver["signals"][0]["refused"].as_object().is_some_and(|reasons| !reasons.is_empty()), "{receiver}");
    assert!(receiver["lastError"]["message"].is_string(), "{receiver}");
    let metrics = server.get("/metrics").text();
    let line = "tracewell_receiver_items_accepted_total{receiver=\"otlp_http\",signal=\"traces\"} 4";
    assert!(metrics.lines().any(|own| own == line), "{metrics}");
    for line in metrics.lines().filter(|line| !line.starts_with('#')) {
        assert!(line.rsplit_once(' ').is_some_and(|(_, value)| value.parse::<f64>().is_ok()), "{line:?}");
    }
    assert_eq!(server.get("/api/v1/openapi.json").json()["openapi"], "3.1.0");
}
