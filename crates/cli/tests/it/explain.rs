//! `tracewell explain`, from a server and from files, and the API beside it.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};
use tracewell_testkit::server::{otlp_trace, percent};

use crate::commands::{run, stdout};
use crate::{BINARY, TRACE, checkout, start};

/// Every key of an explanation.
const KEYS: [&str; 12] = [
    "version",
    "scope",
    "verdict",
    "also",
    "ranking",
    "critical_path",
    "hops",
    "clock_offsets",
    "outliers",
    "broken",
    "patterns",
    "gathered",
];

fn explanation(output: &Output) -> Value {
    let document: Value = serde_json::from_str(&stdout(output)).expect("an explanation is JSON");
    for key in KEYS {
        assert!(!document[key].is_null(), "{key} is missing in {document:#}");
    }
    assert_eq!(document["version"], 1);
    document
}

/// A line of log records of a trace.
fn log_line(trace: &str, span: &str, body: &str) -> Value {
    let record = json!({"timeUnixNano": "1795343881398540597", "severityNumber": 17, "body": {"stringValue": body}, "traceId": trace, "spanId": span});
    let service = json!([{"key": "service.name", "value": {"stringValue": "orders"}}]);
    json!({"resourceLogs": [{"resource": {"attributes": service}, "scopeLogs": [{"logRecords": [record]}]}]})
}

fn write(folder: &Path, name: &str, lines: &[String]) -> String {
    let file = folder.join(name);
    std::fs::write(&file, lines.join("\n")).expect("a file can be written");
    file.display().to_string()
}

/// A request with a slow or a quick database, as one line.
fn request(number: u64, slow: bool) -> String {
    let mut trace = otlp_trace(
        &format!("{number:032x}"),
        &[
            ("00f067aa0ba902b7", "", "gateway", "GET /checkout"),
            ("00f067aa0ba902b8", "00f067aa0ba902b7", "gateway", "POST orders"),
            ("00f067aa0ba902b9", "00f067aa0ba902b8", "orders", "POST /orders"),
            ("00f067aa0ba902ba", "00f067aa0ba902b9", "orders-db", "INSERT orders"),
        ],
    );
    let base = 1_795_343_880_000_000_000u64 + number * 1_000_000_000;
    let work = if slow { 900_000_000 } else { 20_000_000 } + number % 7 * 1_000_000;
    for group in trace["resourceSpans"].as_array_mut().expect("spans of some services") {
        for span in group["scopeSpans"][0]["spans"].as_array_mut().expect("spans") {
            let depth = match span["spanId"].as_str() {
                Some("00f067aa0ba902b7") => 0,
                Some("00f067aa0ba902b8") => 1,
                Some("00f067aa0ba902b9") => 2,
                _ => 3,
            };
            let start = base + depth * 1_000_000;
            span["startTimeUnixNano"] = json!(start.to_string());
            span["endTimeUnixNano"] = json!((start + work + 2 * (3 - depth) * 1_000_000).to_string());
        }
    }
    trace.to_string()
}

#[test]
fn a_server_explains_a_trace_and_a_set() {
    let server = start();
    server.post_otlp(&checkout());
    let url = format!("http://{}", server.http);
    let one = explanation(&run(&["explain", TRACE, "--server", &url, "--format", "json"]));
    assert_eq!(one["scope"]["trace"], TRACE);
    let path = one["critical_path"].as_array().unwrap();
    assert!(path.iter().any(|step| step["service"] == "orders-db"), "{one:#}");
    for key in ["span", "service", "operation", "start", "duration", "kind"] {
        assert!(!path[0][key].is_null(), "{key}");
    }
    let text = stdout(&run(&["explain", TRACE, "--server", &url]));
    assert!(text.contains("critical path:") && text.contains("looked at 1 trace (4 spans)"), "{text}");
    assert!(!text.contains('\x1b'), "colours are for terminals");

    let set = explanation(&run(&["explain", "--server", &url, "--format", "json", "--since", "all"]));
    assert_eq!((&set["gathered"]["matched"], &set["gathered"]["sampled"]), (&json!(1), &json!(false)));
    let none =
        explanation(&run(&["explain", "--where", "{ name = \"nothing\" }", "--server", &url, "--format", "json"]));
    assert_eq!((&none["gathered"]["traces"], &none["verdict"]["kind"]), (&json!(0), &json!("not-enough")));

    let wrong = run(&["explain", "--where", "{ nmae = 1 }", "--server", &url]);
    let error = String::from_utf8_lossy(&wrong.stderr);
    assert!(wrong.status.code() == Some(1) && error.contains("^^^^"), "{error}");
    let wrong = run(&["explain", "--against", "{ nmae = 1 }", "--where", "{}", "--server", &url]);
    assert!(String::from_utf8_lossy(&wrong.stderr).contains("{ nmae = 1 }"));
    let missing = run(&["explain", "0123", "--server", &url]);
    assert!(String::from_utf8_lossy(&missing.stderr).contains("there is no trace"), "{missing:?}");
    assert_eq!(run(&["explain", "--format", "xml"]).status.code(), Some(2));
}

#[test]
fn each_analysis_has_a_route_and_errors_name_the_parameter() {
    let server = start();
    server.post_otlp(&checkout());
    for (route, key) in [
        ("ranking", "ranking"),
        ("blame", "blame"),
        ("outliers", "outliers"),
        ("patterns", "patterns"),
        ("broken", "broken"),
        ("clocks", "clock_offsets"),
    ] {
        let filter = percent("{ resource.service.name = \"orders\" }");
        let answer = server.get(&format!("/api/v1/{route}?start=0&end=now%2B1h&where={filter}"));
        assert_eq!(answer.status, 200, "{route}: {}", answer.text());
        let document = answer.json();
        assert!(!document[key].is_null(), "{route}: {document}");
        assert_eq!(document["gathered"]["traces"], 1, "{route}: {document}");
        assert_eq!(document["warnings"], json!([]), "{route}");
    }
    let path = server.get(&format!("/api/v1/traces/{TRACE}/critical-path?span=00f067aa0ba902ba&factor=0")).json();
    let total: u64 =
        path["critical_path"].as_array().unwrap().iter().filter_map(|step| step["duration"].as_u64()).sum();
    assert_eq!(Some(total), path["duration_ns"].as_u64(), "{path}");
    assert!(path["what_if"]["duration_ns"].as_u64() <= path["duration_ns"].as_u64(), "{path}");
    assert_eq!(path["room"].as_array().map(Vec::len), Some(4));

    for (request, status, code) in [
        ("explain?where=%7B".to_owned(), 400, "invalid_query"),
        ("explain?wehre=%7B%7D".to_owned(), 400, "invalid_parameter"),
        ("clocks?against=%7B%7D".to_owned(), 400, "invalid_parameter"),
        ("explain?limit=0".to_owned(), 400, "invalid_parameter"),
        ("explain?start=now&end=now-1h".to_owned(), 400, "invalid_parameter"),
        ("traces/xyz/explain".to_owned(), 400, "invalid_trace_id"),
        ("traces/0abc/explain".to_owned(), 404, "trace_not_found"),
        ("traces/0abc/critical-path".to_owned(), 404, "trace_not_found"),
        (format!("traces/{TRACE}/critical-path?span=1"), 404, "span_not_found"),
        (format!("traces/{TRACE}/critical-path?factor=-1"), 400, "invalid_parameter"),
    ] {
        let answer = server.get(&format!("/api/v1/{request}"));
        assert_eq!((answer.status, answer.json()["error"]["code"].as_str().unwrap()), (status, code), "{request}");
    }
}

#[test]
fn files_are_explained_without_a_server() {
    let folder = tempfile::tempdir().unwrap();
    let checkout = checkout().to_string();
    let one = write(
        folder.path(),
        "one.json",
        &[checkout.clone(), log_line(TRACE, "00f067aa0ba902b9", "declined").to_string()],
    );
    let alone = explanation(&run(&["explain", "--file", &one, "--format", "json"]));
    assert_eq!((&alone["scope"]["trace"], &alone["scope"]["traces"]), (&json!(TRACE), &json!(1)));

    let normal: Vec<String> = (1..=60).map(|number| request(number, false)).collect();
    let ill: Vec<String> = (101..=160).map(|number| request(number, true)).collect();
    let (normal, ill) = (write(folder.path(), "normal.json", &normal), write(folder.path(), "ill.json", &ill));
    let against = explanation(&run(&["explain", "--file", &ill, "--against-file", &normal, "--format", "json"]));
    assert_eq!((&against["gathered"]["traces"], &against["against"]["traces"]), (&json!(60), &json!(60)));
    assert_eq!(against["ranking"][0]["service"], "orders-db", "{:#}", against["ranking"]);

    // The same by time, by filter, and with one trace among its like.
    let by_time = [
        "--since",
        "1795343975",
        "--until",
        "1795344100",
        "--against-since",
        "1795343800",
        "--against-until",
        "1795343975",
    ];
    let files = ["explain", "--format", "json", "--file", ill.as_str(), normal.as_str()];
    let timed = explanation(&run(&[&files[..], &by_time].concat()));
    assert_eq!((&timed["gathered"]["traces"], &timed["against"]["traces"]), (&json!(60), &json!(60)));
    assert_eq!(timed["ranking"][0]["service"], "orders-db");
    let filters = ["--where", "{ duration > 500ms }", "--against", "{ duration < 500ms }"];
    let filtered = explanation(&run(&[&files[..], &filters].concat()));
    assert_eq!((&filtered["gathered"]["traces"], &filtered["against"]["traces"]), (&json!(60), &json!(60)));
    let single = format!("{:032x}", 101);
    let single = explanation(&run(&[&files[..], &[&single]].concat()));
    assert_eq!(single["against"]["traces"], 119);
    let text = stdout(&run(&["explain", "--file", &ill, "--against-file", &normal]));
    assert!(text.contains("suspects") && text.contains("compared with 60 traces"), "{text}");

    // Compressed, from standard input.
    let mut reading = Command::new(BINARY)
        .args(["explain", "--file", "-", "--format", "json"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let compressed = zstd::encode_all(checkout.as_bytes(), 1).unwrap();
    reading.stdin.take().unwrap().write_all(&compressed).unwrap();
    assert_eq!(explanation(&reading.wait_with_output().unwrap())["scope"]["trace"], TRACE);
}

#[test]
fn what_is_wrong_with_files_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let broken = write(folder.path(), "broken.json", &[checkout().to_string(), "{\"resourceSpans\":7}".to_owned()]);
    let other = write(folder.path(), "other.json", &["{\"hello\":1}".to_owned()]);
    let logs = write(folder.path(), "logs.json", &[log_line(TRACE, "01", "x").to_string()]);
    let one = write(folder.path(), "one.json", &[checkout().to_string()]);
    for (arguments, expected) in [
        (vec!["--file", broken.as_str()], "line 2 column 18"),
        (vec!["--file", &other], "found JSON with the fields hello"),
        (vec!["--file", &logs], "there is no span in these files"),
        (vec!["--file", "missing.json"], "cannot read missing.json"),
        (vec!["--file", &one, "abcdef"], "there is no trace 00000000000000000000000000abcdef in these files"),
        (vec!["--file", &one, "--where", "{ nmae = 1 }"], "^^^^"),
    ] {
        let output = run(&[&["explain"], &arguments[..]].concat());
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code() == Some(1) && error.contains(expected), "{arguments:?}: {error}");
    }
}

/// A folder of the shared data.
fn data(folder: &str) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data").join(folder);
    if !path.is_dir() {
        println!("skipped: {} is missing", path.display());
        return None;
    }
    Some(path)
}

#[test]
fn recorded_critical_paths_are_those_of_the_document() {
    let Some(folder) = data("critical-path") else { return };
    for name in ["crisp-1", "crisp-10", "crisp-15", "crisp-21", "crisp-err_pattern1+err1"] {
        let file = folder.join(format!("{name}.json"));
        let document: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
        let testing = document["testing"].get(0).unwrap_or(&document["testing"]);
        let testing = testing.get("opTimeExclusive").unwrap_or(testing);
        let expected: BTreeMap<String, u64> = serde_json::from_value(testing.clone()).unwrap();
        let found = explanation(&run(&["explain", "--file", &file.display().to_string(), "--format", "json"]));
        let mut sums: BTreeMap<String, u64> = BTreeMap::new();
        for step in found["critical_path"].as_array().unwrap() {
            let name = format!("[{}] {}", step["service"].as_str().unwrap(), step["operation"].as_str().unwrap());
            *sums.entry(name).or_default() += step["duration"].as_u64().unwrap() / 1000;
        }
        let expected: BTreeMap<String, u64> = expected.into_iter().filter(|(_, us)| *us > 0).collect();
        assert_eq!(sums, expected, "{name}");
    }
}

/// A case of `root-cause` as OTLP JSON, a trace a line.
fn otlp_lines(folder: &Path, name: &str, to: &Path) -> String {
    let file = std::fs::File::open(folder.join(format!("{name}.csv.zst"))).expect("the case is there");
    let text = zstd::decode_all(file).expect("the case is compressed with zstd");
    let text = String::from_utf8(text).expect("the case is text");
    let mut traces: BTreeMap<String, BTreeMap<(String, String), Vec<Value>>> = BTreeMap::new();
    for line in text.lines().skip(1) {
        let row: Vec<&str> = line.split(',').map(|field| field.trim_matches('"')).collect();
        let [trace, span, parent, service, instance, name, kind, start, end] = row[..] else { continue };
        let kind = match kind {
            "server" => 2,
            "client" => 3,
            "producer" => 4,
            "consumer" => 5,
            _ => 1,
        };
        let span = json!({"traceId": trace, "spanId": span, "parentSpanId": parent, "name": name, "kind": kind,
            "startTimeUnixNano": start, "endTimeUnixNano": end});
        let origin = (service.to_owned(), instance.to_owned());
        traces.entry(trace.to_owned()).or_default().entry(origin).or_default().push(span);
    }
    let attribute = |key: &str, value: &str| json!({"key": key, "value": {"stringValue": value}});
    let lines: Vec<String> = traces
        .values()
        .map(|groups| {
            let groups = groups.iter().map(|((service, instance), spans)| {
                json!({"resource": {"attributes": [attribute("service.name", service), attribute("service.instance.id", instance)]},
                    "scopeSpans": [{"spans": spans}]})
            });
            json!({"resourceSpans": groups.collect::<Vec<_>>()}).to_string()
        })
        .collect();
    write(to, &format!("{name}.json"), &lines)
}

#[test]
fn a_recorded_fault_is_found_in_files() {
    let Some(folder) = data("root-cause") else { return };
    let to = tempfile::tempdir().unwrap();
    let normal = otlp_lines(&folder, "2022-08-23_1700_NORMAL", to.path());
    for (case, service) in [
        ("2022-08-23_1412_paymentservice_network_delay", "paymentservice"),
        ("2022-08-23_1521_recommendationservice_cpu_contention", "recommendationservice"),
    ] {
        let ill = otlp_lines(&folder, case, to.path());
        let found = explanation(&run(&["explain", "--file", &ill, "--against-file", &normal, "--format", "json"]));
        assert!(found["gathered"]["spans"].as_u64() > Some(5_000), "{}", found["gathered"]);
        let first = &found["ranking"][0];
        assert_eq!(first["service"], service, "{case}: {first:#}");
        assert!(first["score"].is_number() && !first["evidence"].as_array().unwrap().is_empty());
    }
}

#[test]
fn recorded_clocks_are_told_apart() {
    let Some(folder) = data("clock-skew") else { return };
    let file = folder.join("hotel-load25.json.zst").display().to_string();
    let found = explanation(&run(&["explain", "--file", &file, "--format", "json"]));
    assert_eq!(found["gathered"]["traces"], 1000);
    let clocks = found["clock_offsets"].as_array().unwrap();
    let most = clocks.iter().filter_map(|clock| clock["offset_ns"].as_i64()).map(i64::abs).max();
    // The hosts of these recordings are up to three milliseconds apart.
    assert!(most.is_some_and(|ns| (500_000..6_000_000).contains(&ns)), "{clocks:#?}");
}
