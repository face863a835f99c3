//! Lines as real programs write them, and any others.

use proptest::prelude::*;
use tracewell_model::{Span, SpanId, TraceId, Value};
use tracewell_wire::accesslog::{Batch, Converter, Format, Options, Outcome, PRESETS, Place, Reason};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const AT_START: Place = Place { offset: 0, cut: false };

fn converter(format: &str) -> Converter {
    Converter::new(Format::named(format).unwrap(), Options { service: "edge".into(), ..Options::default() })
}

fn spans(format: &str, line: &str) -> Vec<Span> {
    match converter(format).convert(line.as_bytes(), AT_START) {
        Outcome::Spans { spans, .. } => spans.into_iter().map(|record| record.span).collect(),
        other => panic!("{line}\nbecame {other:?}"),
    }
}

fn text(span: &Span, key: &str) -> String {
    match span.attribute(key) {
        Some(Value::Str(text)) => text.clone(),
        Some(Value::Int(number)) => number.to_string(),
        Some(other) => format!("{other:?}"),
        None => "none".to_owned(),
    }
}

/// What nginx 1.22 wrote for a request with a trace context whose first server behind was down.
const NGINX: &str = r#"1795381862.645 0.032 200 "GET /cart?item=1&token=abc HTTP/1.1" "127.0.0.1:5997" 127.0.0.1 "agent \x22quoted\x22 \xC3\xBC\x5C" 145 "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01" 3165de3ff1f452d6ad59c66f0f61e966 "127.0.0.1:5999, 127.0.0.1:5998" "502, 200" "0.001, 0.031" "-, 0.003""#;

#[test]
fn a_line_of_nginx_is_a_server_span_and_one_for_each_attempt() {
    let spans = spans("nginx-tracewell", NGINX);
    let [server, failed, answered] = spans.as_slice() else { panic!("{spans:?}") };
    assert_eq!(server.trace_id.to_string(), TRACE);
    assert_eq!(server.parent_span_id, Some(SpanId::from_u64(0x00f0_67aa_0ba9_02b7)));
    assert_eq!((server.kind, server.name.as_str(), server.flags), (2, "GET", 0x301));
    assert_eq!((server.start_unix_nano, server.end_unix_nano), (1_795_381_862_613_000_000, 1_795_381_862_645_000_000));
    for (key, value) in [
        ("http.request.method", "GET"),
        ("url.path", "/cart"),
        ("url.query", "item=1&token=REDACTED"),
        ("http.response.status_code", "200"),
        ("http.response.size", "145"),
        ("server.address", "127.0.0.1"),
        ("server.port", "5997"),
        ("client.address", "127.0.0.1"),
        ("user_agent.original", "agent \"quoted\" ü\\"),
        ("network.protocol.version", "1.1"),
        ("tracewell.request_id", "3165de3ff1f452d6ad59c66f0f61e966"),
    ] {
        assert_eq!(text(server, key), value, "{key}");
    }
    for attempt in [failed, answered] {
        assert_eq!((attempt.kind, attempt.parent_span_id), (3, Some(server.span_id)));
        assert_eq!(attempt.trace_id, server.trace_id);
    }
    assert_eq!((failed.duration_ns(), answered.duration_ns()), (1_000_000, 31_000_000));
    assert_eq!((failed.status.code, answered.status.code), (2, 0));
    assert_eq!((text(failed, "error.type"), text(answered, "server.port")), ("502".to_owned(), "5998".to_owned()));
    assert_eq!(text(answered, "http.request.resend_count"), "1");
}

#[test]
fn an_nginx_that_hands_its_span_on_is_the_parent_of_what_comes_behind() {
    let line = r#"1795381862.741 0.028 500 "GET /fail HTTP/1.1" "127.0.0.1:5997" 127.0.0.1 "curl/7.88.1" 164 trace="38e8996b8b7f08ead1fd280dbdb144e5" parent="" span="d1fd280dbdb144e5" "127.0.0.1:5998" "500" "0.028" "0.000""#;
    let spans = spans("nginx-tracewell", line);
    let [server, client] = spans.as_slice() else { panic!("{spans:?}") };
    assert_eq!((server.parent_span_id, client.span_id.to_string()), (None, "d1fd280dbdb144e5".to_owned()));
    assert_eq!((server.status.code, text(server, "error.type")), (2, "500".to_owned()));
    assert_eq!(server.attribute("tracewell.inferred"), None, "the id was handed on, not guessed");
}

#[test]
fn each_program_is_told_by_its_lines_and_read() {
    const EXPECTED: &[(&str, &str, &str)] = &[
        (
            "nginx-combined",
            r#"127.0.0.1 - - [22/Nov/2026:21:11:02 +0000] "GET /cart HTTP/1.1" 200 15 "-" "curl/7.88.1""#,
            "log",
        ),
        ("nginx-tracewell", NGINX, "3 spans of GET, 32 ms"),
        (
            "envoy-default",
            r#"[2016-04-15T20:17:00.310Z] "POST /api/v1/locations HTTP/2" 204 - 154 0 226 100 "10.0.35.28" "nsq2http" "cc21d9b0-cf5c-432b-8c7e-98aeb7988cd2" "locations" "tcp://10.0.2.1:80""#,
            "2 spans of POST, 226 ms, inferred",
        ),
        (
            "envoy-default",
            r#"[2020-11-25T21:26:18.409Z] "GET /status/418 HTTP/1.1" 418 - via_upstream - "-" 0 135 3 1 "-" "curl/7.73.0-DEV" "84961386-6d84-929d-98bd-c5aee93b5c88" "httpbin:8000" "10.44.1.27:80" outbound|8000||httpbin.foo.svc.cluster.local 10.44.1.23:37652 10.0.45.184:8000 10.44.1.23:46520 - default"#,
            "2 spans of GET, 3 ms, inferred",
        ),
        (
            "apache-combined",
            r#"::1 - frank [10/Oct/2000:13:55:36 -0700] "GET /a.gif HTTP/1.0" 200 2326 "-" "M" 1500"#,
            "log",
        ),
        ("apache-combined", r#"10.0.0.1 - - [10/Oct/2000:13:55:36 -0700] "GET /a.gif HTTP/1.0" 304 -"#, "log"),
        (
            "traefik",
            r#"10.0.0.1 - - [22/Nov/2026:21:11:02 +0000] "GET /x HTTP/1.1" 200 12 "-" "curl" 7 "web@docker" "http://10.0.0.2:80" 12ms"#,
            "log",
        ),
        (
            "haproxy",
            r#"Feb  6 12:14:14 localhost haproxy[14389]: 10.0.1.2:33317 [06/Feb/2009:12:14:14.655] http-in static/srv1 10/0/30/69/109 200 2750 - - ---- 1/1/1/1/0 0/0 {1wt.eu} {} "GET /index.html HTTP/1.1""#,
            "log",
        ),
        (
            "envoy-json",
            r#"{"start_time":"2026-11-22T21:11:02.100Z","method":"GET","path":"/x","response_code":200,"duration":12,"request_id":"r1","upstream_host":"10.0.0.2:80","upstream_service_time":"11","upstream_cluster":"orders"}"#,
            "2 spans of GET, 12 ms, inferred",
        ),
        (
            "caddy-json",
            r#"{"level":"info","ts":1646861401.5241024,"logger":"http.log.access","msg":"handled request","request":{"remote_ip":"127.0.0.1","proto":"HTTP/2.0","method":"GET","host":"localhost","uri":"/","headers":{"Traceparent":["00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"]}},"duration":0.000929675,"size":10900,"status":200}"#,
            "1 spans of GET, 0 ms",
        ),
        (
            "traefik-json",
            r#"{"ClientAddr":"10.0.0.1:1","DownstreamStatus":200,"Duration":2500000,"RequestMethod":"GET","RequestPath":"/x","StartUTC":"2026-11-22T21:11:02.1Z","request_X-Request-Id":"r1","level":"info","msg":"","time":"2026-11-22T21:11:02Z"}"#,
            "1 spans of GET, 2 ms, inferred",
        ),
        (
            "json",
            r#"{"time":"2026-11-22T21:11:02Z","level":"ERROR","message":"no stock","trace_id":"4bf92f3577b34da6a3ce929d0e0e4736","span_id":"00f067aa0ba902b7"}"#,
            "log of 4bf92f3577b34da6a3ce929d0e0e4736",
        ),
        (
            "logfmt",
            "time=2026-11-22T21:11:02Z level=info method=PUT path=/x status=200 duration=5ms request_id=r1",
            "1 spans of PUT, 5 ms, inferred",
        ),
    ];
    for (format, line, expected) in EXPECTED {
        let detected = Format::detect([*line]).unwrap_or_else(|| panic!("{format} is not told from {line}"));
        assert_eq!(detected.name(), *format, "{line}");
        let became = match converter(format).convert(line.as_bytes(), AT_START) {
            Outcome::Spans { spans, inferred } => {
                let first = &spans[0].span;
                let inferred = if inferred { ", inferred" } else { "" };
                format!("{} spans of {}, {} ms{inferred}", spans.len(), first.name, first.duration_ns() / 1_000_000)
            }
            Outcome::Log { entry, joined: true } => {
                format!("log of {}", entry.unwrap().record.trace_id.unwrap())
            }
            Outcome::Log { joined: false, .. } => "log".to_owned(),
            other => format!("{other:?}"),
        };
        assert_eq!(became, *expected, "{format}: {line}");
    }
}

#[test]
fn own_patterns_are_read_as_their_configuration_has_them() {
    let nginx = "log_format x '$remote_addr [$time_iso8601] \"$request\" $status $request_time '\n '\"$http_b3\"';";
    let line = "1.2.3.4 [2026-11-22T21:11:02+00:00] \"GET / HTTP/1.1\" 200 0.250 \"4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-1\"";
    let spans_of = spans(nginx, line);
    assert_eq!((spans_of.len(), spans_of[0].trace_id.to_string().as_str()), (1, TRACE));
    let template = r#"'{"t":"$msec","s":$status,"d":$request_time,"tp":"$http_traceparent","m":"$request_method"}'"#;
    let line = r#"{"t":"1795381862.645","s":200,"d":0.032,"tp":"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01","m":"GET"}"#;
    assert_eq!(spans(template, line)[0].duration_ns(), 32_000_000);
}

#[test]
fn lines_of_several_services_with_one_request_id_make_one_trace() {
    let id = "cc21d9b0-cf5c-432b-8c7e-98aeb7988cd2";
    let line = |service: &str| format!("time=2026-11-22T21:11:02Z service={service} duration=5ms request_id={id}");
    let traces: Vec<TraceId> = ["a", "b"].iter().map(|service| spans("logfmt", &line(service))[0].trace_id).collect();
    assert_eq!(traces[0], traces[1]);
    assert_eq!(traces[0].to_string(), id.replace('-', ""));
    let first = &spans("logfmt", &line("a"))[0];
    assert_eq!(first.attribute("tracewell.inferred"), Some(&Value::Bool(true)));
    assert_eq!(text(first, "tracewell.inferred.by"), "request_id");
}

#[test]
fn what_cannot_be_read_is_kept_as_text_and_counted_by_reason() {
    let mut converter = converter("nginx-tracewell");
    converter.convert(NGINX.as_bytes(), AT_START);
    for (line, place, expected) in [
        ("no such line", AT_START, Reason::Format),
        (NGINX, Place { offset: 0, cut: true }, Reason::TooLong),
        (&NGINX.replace("1795381862.645", "yesterday"), AT_START, Reason::Time),
    ] {
        let Outcome::Unreadable { entry, reason } = converter.convert(line.as_bytes(), place) else { panic!("{line}") };
        let record = entry.expect("it is kept").record;
        assert_eq!(reason, expected);
        assert_eq!(
            (record.body, record.observed_time_unix_nano),
            (Value::Str(line.to_owned()), 1_795_381_862_645_000_000)
        );
    }
    assert_eq!(converter.convert(b" \r", AT_START), Outcome::Blank);
}

#[test]
fn the_same_lines_make_the_same_requests_and_equal_lines_at_two_places_two_spans() {
    let encode = |offsets: [u64; 2]| {
        let (mut converter, mut batch) = (converter("nginx-tracewell"), Batch::default());
        for offset in offsets {
            batch.push(converter.convert(NGINX.as_bytes(), Place { offset, cut: false }), NGINX.len());
        }
        batch.take()
    };
    assert_eq!(encode([0, 300]), encode([0, 300]));
    assert_ne!(encode([0, 300]), encode([0, 301]));
}

proptest! {
    #![proptest_config(crate::cases(300))]

    #[test]
    fn any_bytes_are_a_line(line in prop::collection::vec(any::<u8>(), 0..300), preset in 0..PRESETS.len()) {
        let mut converter = converter(PRESETS[preset].name);
        converter.convert(&line, AT_START);
        Format::detect([String::from_utf8_lossy(&line).as_ref()]);
    }

    #[test]
    fn a_damaged_line_never_panics(at in 0..400usize, byte: u8, cut in 0..500usize, preset in 0..PRESETS.len()) {
        let mut line = NGINX.as_bytes().to_vec();
        let length = line.len();
        line[at % length] = byte;
        line.truncate(cut);
        converter(PRESETS[preset].name).convert(&line, AT_START);
    }

    #[test]
    fn any_text_is_a_pattern_or_an_error(text in "[$%{}()a-zA-Z'\" \\\\:>/-]{0,60}", line in ".{0,80}") {
        if let Ok(format) = Format::named(&text) {
            Converter::new(format, Options::default()).convert(line.as_bytes(), AT_START);
        }
    }

    #[test]
    fn spans_lie_within_their_request(duration in 0u32..5_000, times in prop::collection::vec(0u32..3_000, 1..5)) {
        let list = |of: &dyn Fn(&u32) -> String| times.iter().map(of).collect::<Vec<_>>().join(", ");
        let line = format!(
            "1795381862.645 {}.{:03} 200 \"GET / HTTP/1.1\" \"h\" 1.1.1.1 \"a\" 1 \"00-{TRACE}-00f067aa0ba902b7-01\" r \"{}\" \"{}\" \"{}\" \"-\"",
            duration / 1000, duration % 1000, list(&|_| "10.0.0.1:80".into()), list(&|_| "200".into()),
            list(&|time| format!("{}.{:03}", time / 1000, time % 1000)),
        );
        let spans = spans("nginx-tracewell", &line);
        prop_assert_eq!(spans.len(), 1 + times.len());
        let ids: std::collections::HashSet<_> = spans.iter().map(|span| span.span_id).collect();
        prop_assert_eq!(ids.len(), spans.len());
        for span in &spans {
            prop_assert!(span.start_unix_nano >= spans[0].start_unix_nano && span.end_unix_nano <= spans[0].end_unix_nano);
        }
    }
}
