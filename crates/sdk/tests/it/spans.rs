//! What becomes of spans, fields and events.

use std::fmt;
use std::time::Duration;

use tracewell_model::{KeyValue, Span, SpanKind, SpanRecord, Status, StatusCode, Value};
use tracewell_sdk::propagate::{Composite, Context, Propagated, SpanId, TraceId};
use tracewell_sdk::{Pipeline, Resource, Sampler, SpanExt, current_context};
use tracing::field::Empty;
use tracing::{Instrument, Span as TracingSpan, error, error_span, info, info_span, warn};

use crate::receiver::{Receiver, recorded, service};

fn named<'a>(spans: &'a [SpanRecord], name: &str) -> &'a Span {
    let found = spans.iter().find(|record| record.span.name == name);
    &found.unwrap_or_else(|| panic!("no span {name:?} in {spans:#?}")).span
}

fn remote() -> Context {
    Context {
        trace_id: "4bf92f3577b34da6a3ce929d0e0e4736".parse().unwrap(),
        span_id: "00f067aa0ba902b7".parse().unwrap(),
        flags: 1,
        trace_state: "congo=t61rcWkgMzE".parse().unwrap(),
    }
}

#[test]
fn fields_keep_their_types() {
    let receiver = Receiver::start(vec![]);
    let spans = recorded(receiver.traces_only(), &receiver, || {
        let span = info_span!(
            "typed",
            text = "a",
            debug = ?Some(1),
            whole = -3i64,
            unsigned = 7u64,
            huge = u64::MAX,
            share = 0.5,
            yes = true,
            no = false,
            raw = &b"\x00\xff"[..],
            late = Empty,
            twice = 1,
        );
        span.record("late", 9);
        span.record("twice", "second");
        span.set_attribute("list", tracewell_sdk::Value::Array(vec!["a".into(), 2i64.into()]));
    });
    let expected = [
        ("text", Value::Str("a".into())),
        ("debug", Value::Str("Some(1)".into())),
        ("whole", Value::Int(-3)),
        ("unsigned", Value::Int(7)),
        ("huge", Value::Str("18446744073709551615".into())),
        ("share", Value::Double(0.5)),
        ("yes", Value::Bool(true)),
        ("no", Value::Bool(false)),
        ("raw", Value::Bytes(vec![0, 255])),
        ("late", Value::Int(9)),
        ("twice", Value::Str("second".into())),
        ("list", Value::Array(vec![Value::Str("a".into()), Value::Int(2)])),
    ];
    let attributes = &named(&spans, "typed").attributes;
    assert_eq!(*attributes, expected.map(|(key, value)| KeyValue { key: key.to_owned(), value }));
    let resource = &spans[0].resource;
    assert_eq!(resource.service_name(), "test");
    assert!(resource.attributes.iter().any(|attribute| attribute.key == "telemetry.sdk.name"));
    assert_eq!(spans[0].scope.name, "tracewell-sdk");
}

#[test]
fn otel_fields_set_name_kind_and_status() {
    let receiver = Receiver::start(vec![]);
    let spans = recorded(receiver.traces_only(), &receiver, || {
        let _ = info_span!("a", otel.name = "GET /cart", otel.kind = "SERVER", otel.status_code = "ok");
        let _ = info_span!("b", otel.kind = "client", otel.status_code = "ERROR", otel.status_message = "refused");
        let _ = info_span!("c", error = true);
        let failure = std::io::Error::other("disk full");
        let _ = info_span!("d", error = &failure as &dyn std::error::Error);
        let late = info_span!("e", otel.status_code = Empty, otel.status_message = Empty);
        late.record("otel.status_message", "timed out");
        late.record("otel.status_code", "error");
    });
    let status = |code: StatusCode, message: &str| Status { code: code as i32, message: message.to_owned() };
    let server = named(&spans, "GET /cart");
    assert_eq!((server.kind, &server.status), (SpanKind::Server as i32, &status(StatusCode::Ok, "")));
    assert_eq!(server.attributes, []);
    let client = named(&spans, "b");
    assert_eq!((client.kind, &client.status), (SpanKind::Client as i32, &status(StatusCode::Error, "refused")));
    assert_eq!(named(&spans, "c").status, status(StatusCode::Error, ""));
    let failed = named(&spans, "d");
    assert_eq!(failed.status, status(StatusCode::Error, "disk full"));
    assert_eq!(failed.events[0].name, "exception");
    assert_eq!(named(&spans, "e").status, status(StatusCode::Error, "timed out"));
    assert_eq!(named(&spans, "e").kind, SpanKind::Internal as i32);
}

#[test]
fn the_tree_follows_the_spans_and_not_the_calls() {
    let receiver = Receiver::start(vec![]);
    let spans = recorded(receiver.traces_only(), &receiver, || {
        let root = info_span!("root").entered();
        let child = info_span!("child");
        let _ = info_span!(parent: &child, "grandchild");
        let _ = info_span!(parent: None, "other root");
        let follower = info_span!("follower");
        follower.follows_from(&child);
        drop(child);
        drop(root);
    });
    let (root, child, grandchild) = (named(&spans, "root"), named(&spans, "child"), named(&spans, "grandchild"));
    assert_eq!(root.parent_span_id, None);
    assert_eq!((child.parent_span_id, grandchild.parent_span_id), (Some(root.span_id), Some(child.span_id)));
    assert!(child.trace_id == root.trace_id && grandchild.trace_id == root.trace_id);
    let other = named(&spans, "other root");
    assert!(other.parent_span_id.is_none() && other.trace_id != root.trace_id);
    let link = &named(&spans, "follower").links[0];
    assert_eq!((link.trace_id, link.span_id), (child.trace_id, child.span_id));
    assert_eq!(root.flags, 0x103, "sampled, random, parent known not to be remote");
    for span in [root, child, grandchild] {
        assert!(span.start_unix_nano > 1_700_000_000_000_000_000 && span.end_unix_nano >= span.start_unix_nano);
    }
}

#[test]
fn a_remote_parent_gives_trace_state_and_baggage() {
    let receiver = Receiver::start(vec![]);
    let mut sent = Vec::new();
    let spans = recorded(receiver.traces_only(), &receiver, || {
        let mut came = Propagated { context: Some(remote()), ..Propagated::default() };
        came.baggage.set("tenant", "a").unwrap();
        let server = info_span!("server");
        server.set_remote(&came);
        let _entered = server.enter();
        let client = info_span!("client");
        client.add_link(&remote(), &[("why", "batch".into())]);
        tracewell_sdk::inject(&client, &mut sent);
        assert_eq!(client.context(), client.in_scope(current_context));
    });
    let (server, client) = (named(&spans, "server"), named(&spans, "client"));
    assert_eq!(server.parent_span_id, Some(remote().span_id));
    assert_eq!((server.trace_id, server.trace_state.as_str()), (remote().trace_id, "congo=t61rcWkgMzE"));
    assert_eq!(server.flags, 0x301, "sampled; the parent is remote; its id is not known to be random");
    assert_eq!((client.parent_span_id, client.trace_id), (Some(server.span_id), remote().trace_id));
    assert_eq!(client.links[0].attributes, [KeyValue::new("why", "batch")]);

    let arrived = Composite::default().extract(&sent);
    let context = arrived.context.unwrap();
    assert_eq!((context.trace_id, context.span_id), (remote().trace_id, client.span_id));
    assert_eq!((context.trace_state.as_str(), arrived.baggage.get("tenant")), ("congo=t61rcWkgMzE", Some("a")));
}

#[test]
fn events_and_errors_become_events_of_the_span() {
    let receiver = Receiver::start(vec![]);
    let spans = recorded(receiver.traces_only(), &receiver, || {
        info_span!("work").in_scope(|| {
            info!(items = 3, "loaded");
            info!(event.name = "cache.miss", key = "a");
            warn!(error = "slow disk", "retrying");
        });
        error_span!("broken").in_scope(|| error!("gave up after {} attempts", 3));
        error!("outside of any span");
    });
    let work = named(&spans, "work");
    let names: Vec<_> = work.events.iter().map(|event| event.name.as_str()).collect();
    assert_eq!(names, ["loaded", "cache.miss", "exception"]);
    let attribute = |index: usize, key: &str| {
        work.events[index].attributes.iter().find(|attribute| attribute.key == key).map(|found| found.value.clone())
    };
    assert_eq!(attribute(0, "items"), Some(Value::Int(3)));
    assert_eq!(attribute(0, "level"), Some(Value::Str("INFO".into())));
    assert_eq!(attribute(2, "exception.message"), Some(Value::Str("slow disk".into())));
    assert_eq!(attribute(2, "message"), Some(Value::Str("retrying".into())));
    assert_eq!(work.status, Status::default(), "a warning is not a failure");
    let status = &named(&spans, "broken").status;
    assert_eq!((status.code, status.message.as_str()), (StatusCode::Error as i32, "gave up after 3 attempts"));
}

#[test]
fn events_become_log_records_with_the_ids_of_their_span() {
    let receiver = Receiver::start(vec![]);
    let spans = recorded(receiver.config(), &receiver, || {
        info_span!("work").in_scope(|| {
            info!(items = 3, "loaded");
            info!(event.name = "cache.miss", "not cached");
            error!(error = "disk full", "failed");
        });
        warn!("outside");
    });
    let work = named(&spans, "work");
    let names: Vec<_> = work.events.iter().map(|event| event.name.as_str()).collect();
    assert_eq!(names, ["cache.miss", "exception"], "annotations stay with the span, messages go to the log");
    let logs = receiver.logs();
    let bodies: Vec<_> = logs.iter().filter_map(|entry| entry.record.body.as_str()).collect();
    assert_eq!(bodies, ["loaded", "failed", "outside"]);
    let loaded = &logs[0].record;
    assert_eq!((loaded.trace_id, loaded.span_id), (Some(work.trace_id), Some(work.span_id)));
    assert_eq!((loaded.severity_number, loaded.severity_text.as_str()), (9, "INFO"));
    assert!(loaded.attributes.contains(&KeyValue::new("items", 3i64)));
    assert!(loaded.time_unix_nano > 0 && loaded.observed_time_unix_nano > 0);
    assert_eq!((logs[2].record.trace_id, logs[2].record.severity_number), (None, 13));
    assert!(logs[1].record.attributes.contains(&KeyValue::new("exception.message", "disk full")));
}

#[test]
fn what_does_not_fit_is_dropped_and_counted() {
    let receiver = Receiver::start(vec![]);
    let mut config = receiver.traces_only();
    config.limits.attributes_max = 2;
    config.limits.events_max = 1;
    config.limits.links_max = 1;
    config.limits.value_bytes_max = 5;
    let spans = recorded(config, &receiver, || {
        let span = info_span!("full", a = "0123456", b = "äöü", c = 3, d = 4);
        span.in_scope(|| (0..3).for_each(|number| info!(number, "event")));
        (0..2).for_each(|_| span.add_link(&remote(), &[]));
    });
    let span = named(&spans, "full");
    assert_eq!(span.attributes, [KeyValue::new("a", "01234"), KeyValue::new("b", "äö")]);
    assert_eq!((span.dropped_attributes_count, span.dropped_events_count, span.dropped_links_count), (2, 2, 1));
    assert_eq!((span.events.len(), span.links.len()), (1, 1));
}

#[test]
fn sampling_is_decided_at_the_root_and_carried_on() {
    let receiver = Receiver::start(vec![]);
    let mut config = receiver.traces_only();
    config.sampler = Sampler::always_off().parent_based();
    let spans = recorded(config, &receiver, || {
        let unsampled = info_span!("unsampled").entered();
        let context = current_context().unwrap();
        assert!(!context.is_sampled() && context.is_valid(), "the context is carried on all the same");
        let _ = info_span!("below unsampled");
        drop(unsampled);
        let claimed = info_span!("claimed", kept = 1);
        claimed.set_parent(&remote());
        claimed.in_scope(|| info_span!("below claimed").in_scope(|| info!("seen")));
        let refused = info_span!("refused");
        refused.set_parent(&Context { flags: 0, ..remote() });
    });
    let mut names: Vec<_> = spans.iter().map(|record| record.span.name.as_str()).collect();
    names.sort_unstable();
    assert_eq!(names, ["below claimed", "claimed"]);
    assert_eq!(named(&spans, "claimed").attributes, [KeyValue::new("kept", 1i64)], "fields from before are kept");
}

#[test]
fn a_service_of_several_has_a_clock_and_a_sampler_of_its_own() {
    let receiver = Receiver::start(vec![]);
    let pipeline = Pipeline::start_with(receiver.config(), |_| {}).unwrap();
    let (late, quiet) = (pipeline.tracer(&Resource::new("late")), pipeline.tracer(&Resource::new("quiet")));
    late.set_clock_offset(-3_600_000_000_000);
    quiet.set_sampler(Sampler::always_off());
    for tracer in [&late, &quiet] {
        tracing::dispatcher::with_default(&tracer.dispatch(tracing::Level::INFO), || {
            info_span!("first").in_scope(|| info!("said"));
        });
    }
    quiet.set_sampler(Sampler::always_on());
    tracing::dispatcher::with_default(&quiet.dispatch(tracing::Level::INFO), || drop(info_span!("second")));
    assert!(pipeline.flush(Duration::from_secs(10)));
    let spans = receiver.spans();
    let (first, second) = (named(&spans, "first"), named(&spans, "second"));
    assert_eq!(spans.len(), 2, "{spans:#?}");
    let behind = second.start_unix_nano - first.start_unix_nano;
    assert!((3_600_000_000_000..3_700_000_000_000).contains(&behind), "{behind}");
    assert!(first.duration_ns() < 60_000_000_000, "a span ends by the clock it began with");
    let times: Vec<_> = receiver.logs().iter().map(|entry| entry.record.time_unix_nano).collect();
    assert!(times.len() == 2 && times[1] - times[0] > 3_599_000_000_000, "log records too: {times:?}");
}

#[test]
fn a_root_that_nobody_expected_to_be_claimed_says_what_it_lacks() {
    let receiver = Receiver::start(vec![]);
    let mut config = receiver.traces_only();
    config.sampler = Sampler::ratio(0.0).parent_based();
    let spans = recorded(config, &receiver, || {
        for number in 0..1_002 {
            let span = info_span!(parent: None, "seldom claimed", number);
            if number >= 1_000 {
                span.set_parent(&remote());
            }
        }
    });
    let attributes: Vec<_> = spans.iter().map(|r| (r.span.attributes.len(), r.span.dropped_attributes_count)).collect();
    assert_eq!(attributes, [(0, 1), (1, 0)], "the first claim is a surprise, the second is not");
    assert!(spans.iter().all(|record| record.span.parent_span_id == Some(remote().span_id)));
}

#[test]
fn an_invalid_remote_parent_starts_a_new_trace() {
    let receiver = Receiver::start(vec![]);
    let spans = recorded(receiver.traces_only(), &receiver, || {
        info_span!("a").set_parent(&Context { trace_id: TraceId::default(), ..remote() });
        info_span!("b").set_parent(&Context { span_id: SpanId::default(), ..remote() });
    });
    assert_eq!(spans.len(), 2);
    assert!(spans.iter().all(|record| record.span.parent_span_id.is_none() && !record.span.trace_id.is_zero()));
}

#[test]
fn the_end_may_come_before_the_last_handle_goes() {
    let receiver = Receiver::start(vec![]);
    let spans = recorded(receiver.traces_only(), &receiver, || {
        let span = info_span!("ended", late = Empty);
        span.end();
        span.record("late", 1);
        span.in_scope(|| info_span!("below").in_scope(|| info!("seen")));
        std::thread::sleep(Duration::from_millis(30));
        drop(span);
    });
    let ended = named(&spans, "ended");
    assert!(ended.duration_ns() < 30_000_000 && ended.attributes.is_empty());
    assert_eq!((spans.len(), named(&spans, "below").parent_span_id), (2, Some(ended.span_id)), "sent once");
}

#[test]
fn a_cancelled_task_closes_the_spans_of_its_own_service() {
    let receiver = Receiver::start(vec![]);
    let (pipeline, ours) = service(receiver.traces_only());
    let (_other_pipeline, theirs) = service(receiver.traces_only());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let stuck = async {
        let parent = info_span!("parent").entered();
        let child = info_span!("child");
        drop(parent);
        std::future::pending::<()>().instrument(child).await;
    };
    runtime.block_on(async {
        // Dropped by the timeout under the other subscriber, which has no such spans.
        let cancelled = tokio::time::timeout(Duration::from_millis(20), tracewell_sdk::under(&ours, stuck));
        assert!(tracewell_sdk::under(&theirs, cancelled).await.is_err());
    });
    assert!(pipeline.flush(Duration::from_secs(10)));
    let spans = receiver.spans();
    assert_eq!(named(&spans, "child").parent_span_id, Some(named(&spans, "parent").span_id));
}

/// A value whose formatting uses tracing itself.
struct Talkative;

impl fmt::Debug for Talkative {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        info!("being formatted");
        let inner = info_span!("formatting").entered();
        let context = TracingSpan::current().context();
        drop(inner);
        write!(f, "{}", context.is_some())
    }
}

#[test]
fn formatting_that_uses_tracing_does_not_deadlock() {
    let receiver = Receiver::start(vec![]);
    let spans = recorded(receiver.traces_only(), &receiver, || {
        // A callsite that is met for the first time while another is dispatched is switched off by `tracing`.
        assert_eq!(format!("{Talkative:?}"), "true");
        let span = info_span!("outer", value = ?Talkative, late = Empty);
        let _entered = span.enter();
        span.record("late", tracing::field::debug(Talkative));
        info!(value = ?Talkative, "event");
    });
    assert!(
        named(&spans, "outer")
            .attributes
            .iter()
            .all(|attribute| attribute.value == Value::Str("true".into())
                || attribute.value == Value::Str("false".into()))
    );
    // `tracing` itself silences what happens while a new span or an event is dispatched, but not `record`.
    assert_eq!(spans.iter().filter(|record| record.span.name == "formatting").count(), 2);
}

#[test]
fn without_a_subscriber_everything_is_a_quiet_no() {
    let span = info_span!("nobody listens");
    span.set_parent(&remote());
    span.set_attribute("a", 1i64);
    span.end();
    let mut headers: Vec<(String, String)> = Vec::new();
    tracewell_sdk::inject(&span, &mut headers);
    assert_eq!((span.context(), current_context(), headers.len()), (None, None, 0));
}
