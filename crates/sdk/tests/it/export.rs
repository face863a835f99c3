//! What the exporter does with a receiver that is slow, away, full or picky.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use tracewell_sdk::{Config, Pipeline, Resource, Sampler, Signal, SpanExt};
use tracing::{Level, info_span};

use crate::receiver::{Receiver, Step, recorded, service};

fn answer(status: u16, headers: &'static str) -> Step {
    Step::Answer(status, headers, Vec::new())
}

#[test]
fn temporary_refusals_are_tried_again_until_accepted() {
    let script = vec![
        answer(503, ""),
        answer(429, "Retry-After: 1\r\n"),
        Step::Hang,
        answer(502, "Retry-After: 0\r\n"),
        answer(504, "Retry-After: 0\r\n"),
    ];
    let receiver = Receiver::start(script);
    let (pipeline, dispatch) = service(receiver.traces_only());
    tracing::dispatcher::with_default(&dispatch, || drop(info_span!("kept")));
    assert!(pipeline.flush(Duration::from_secs(30)));
    let requests = receiver.requests();
    assert_eq!(requests.len(), 6);
    assert!(requests.iter().all(|request| request.body == requests[0].body), "the same batch each time");
    assert!(requests[2].at - requests[1].at >= Duration::from_secs(1), "Retry-After is honoured");
    let stats = pipeline.stats(Signal::Traces);
    assert_eq!((stats.exported, stats.retries, stats.failed, stats.queued), (1, 5, 0, 0));
}

#[test]
fn a_final_refusal_is_not_repeated() {
    let receiver = Receiver::start(vec![answer(400, "")]);
    let (pipeline, dispatch) = service(receiver.traces_only());
    tracing::dispatcher::with_default(&dispatch, || drop(info_span!("refused")));
    assert!(pipeline.flush(Duration::from_secs(10)));
    let stats = pipeline.stats(Signal::Traces);
    assert_eq!((stats.exported, stats.failed, receiver.requests().len()), (0, 1, 1));
}

#[test]
fn partial_success_is_counted() {
    // ExportTraceServiceResponse { partial_success { rejected_spans: 2, error_message: "old" } }
    let receiver = Receiver::start(vec![Step::Answer(200, "", b"\x0a\x07\x08\x02\x12\x03old".to_vec())]);
    let (pipeline, dispatch) = service(receiver.traces_only());
    tracing::dispatcher::with_default(&dispatch, || (0..5).for_each(|_| drop(info_span!("some"))));
    assert!(pipeline.flush(Duration::from_secs(10)));
    let stats = pipeline.stats(Signal::Traces);
    assert_eq!((stats.exported, stats.rejected), (3, 2));
}

#[test]
fn a_full_queue_drops_and_counts_and_memory_stays_bounded() {
    let receiver = Receiver::start(vec![Step::Silence]);
    let mut config = receiver.traces_only();
    config.traces.queue_records_max = 100;
    config.traces.batch_records_max = 10;
    config.shutdown_timeout = Duration::ZERO;
    let (pipeline, dispatch) = service(config);
    tracing::dispatcher::with_default(&dispatch, || (0..1000).for_each(|_| drop(info_span!("many"))));
    let stats = pipeline.stats(Signal::Traces);
    assert_eq!((stats.queued, stats.dropped), (100, 900));
}

#[test]
fn the_queue_is_bounded_in_bytes_too() {
    let receiver = Receiver::start(vec![Step::Silence]);
    let mut config = receiver.traces_only();
    config.traces.queue_bytes_max = 10_000;
    config.shutdown_timeout = Duration::ZERO;
    let (pipeline, dispatch) = service(config);
    let large = "x".repeat(1_000);
    tracing::dispatcher::with_default(&dispatch, || (0..50).for_each(|_| drop(info_span!("large", text = large))));
    let stats = pipeline.stats(Signal::Traces);
    assert!(stats.queued < 10 && stats.dropped == 50 - stats.queued, "{stats:?}");
}

#[test]
fn dropping_the_pipeline_sends_what_is_queued() {
    let receiver = Receiver::start(vec![]);
    let mut config = receiver.traces_only();
    config.traces.delay = Duration::from_secs(3600);
    let (pipeline, dispatch) = service(config);
    tracing::dispatcher::with_default(&dispatch, || (0..2000).for_each(|_| drop(info_span!("last"))));
    drop(pipeline);
    assert_eq!(receiver.spans().len(), 2000);
    let sizes: Vec<_> =
        receiver.requests().iter().map(|r| tracewell_wire::otlp::decode_traces(&r.body).unwrap().len()).collect();
    assert!(sizes.iter().all(|size| *size <= 512), "{sizes:?}");
    assert_eq!(receiver.connections(), 1, "the connection is kept");
}

#[test]
fn a_silent_receiver_holds_nobody_up_longer_than_agreed() {
    let receiver = Receiver::start(vec![Step::Silence]);
    let mut config = receiver.traces_only();
    config.shutdown_timeout = Duration::from_millis(300);
    let (pipeline, dispatch) = service(config);
    tracing::dispatcher::with_default(&dispatch, || drop(info_span!("stuck")));
    let begin = Instant::now();
    assert!(!pipeline.flush(Duration::from_millis(100)), "told that it did not work out");
    drop(pipeline);
    assert!(begin.elapsed() < Duration::from_secs(5), "{:?}", begin.elapsed());
}

#[test]
fn a_receiver_that_comes_late_gets_everything() {
    let reserved = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = reserved.local_addr().unwrap();
    drop(reserved);
    let mut config = Config::to_endpoint(&format!("http://{address}"));
    config.logs.url = None;
    config.traces.delay = Duration::from_millis(10);
    config.retry_for = Duration::from_millis(900);
    let (pipeline, dispatch) = service(config);
    tracing::dispatcher::with_default(&dispatch, || drop(info_span!("nobody there")));
    assert!(pipeline.flush(Duration::from_secs(10)));
    let stats = pipeline.stats(Signal::Traces);
    assert_eq!((stats.exported, stats.failed, stats.queued), (0, 1, 0), "given up after the agreed time");
    assert!(stats.retries >= 1);
}

#[test]
fn headers_and_compression_are_used() {
    let receiver = Receiver::start(vec![]);
    let mut config = receiver.traces_only();
    config.traces.gzip = true;
    config.traces.headers = vec![("Authorization".to_owned(), "Bearer abc".to_owned())];
    let spans = recorded(config, &receiver, || drop(info_span!("compressed")));
    assert_eq!(spans.len(), 1);
    let head = &receiver.requests()[0].head;
    for line in [
        "post /v1/traces http/1.1",
        "authorization: bearer abc",
        "content-encoding: gzip",
        "content-type: application/x-protobuf",
    ] {
        assert!(head.contains(line), "{line:?} in {head}");
    }
}

#[test]
fn services_of_one_process_share_the_exporter_and_keep_their_names() {
    let receiver = Receiver::start(vec![]);
    let pipeline = Pipeline::start_with(receiver.traces_only(), |_| {}).unwrap();
    let names = ["cart", "orders", "payment"];
    for name in names {
        let dispatch = pipeline.tracer(&Resource::new(name).with("service.version", "1")).dispatch(Level::INFO);
        tracing::dispatcher::with_default(&dispatch, || drop(info_span!("work", of = name)));
    }
    assert!(pipeline.flush(Duration::from_secs(10)), "sources whose tracer is gone are flushed as well");
    let spans = receiver.spans();
    assert_eq!(spans.len(), 3);
    for record in &spans {
        assert_eq!(record.span.attribute("of").and_then(|value| value.as_str()), Some(record.resource.service_name()));
    }
}

#[test]
fn a_switched_off_signal_opens_no_connection() {
    let receiver = Receiver::start(vec![]);
    let mut config = receiver.config();
    config.traces.url = None;
    config.logs.url = None;
    let spans = recorded(config, &receiver, || drop(info_span!("unseen")));
    assert_eq!((spans.len(), receiver.connections()), (0, 0));
}

#[test]
fn no_deadlock_on_a_current_thread_runtime() {
    let receiver = Receiver::start(vec![answer(503, "Retry-After: 0\r\n")]);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let (pipeline, dispatch) = service(receiver.traces_only());
        tracing::dispatcher::with_default(&dispatch, || drop(info_span!("inside a runtime")));
        // Blocks the only thread of the runtime: the exporter must not need it.
        assert!(pipeline.flush(Duration::from_secs(10)));
    });
    assert_eq!(receiver.spans().len(), 2, "refused once, then taken");
}

#[cfg(target_os = "linux")]
#[test]
fn an_endpoint_that_takes_only_grpc_has_its_neighbour_tried() {
    // Loopback is a whole network on Linux: the two ports are free at an address of one's own.
    let grpc = Receiver::start_at("127.43.17.18:4317", vec![Step::Hang; 10]);
    let http = Receiver::start_at("127.43.17.18:4318", vec![]);
    let variables = [("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.43.17.18:4317"), ("OTEL_LOGS_EXPORTER", "none")];
    let find = |name: &str| variables.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
    let (config, warnings) = Config::from_lookup(find);
    assert_eq!(warnings, Vec::<String>::new());
    let (pipeline, dispatch) = service(config);
    for _ in 0..2 {
        tracing::dispatcher::with_default(&dispatch, || drop(info_span!("meant for the other port")));
        assert!(pipeline.flush(Duration::from_secs(30)));
    }
    assert_eq!((grpc.requests().len(), http.requests().len(), http.spans().len()), (1, 2, 2));
    assert_eq!(pipeline.stats(Signal::Traces).retries, 0);
}

#[test]
fn a_sampling_server_is_followed_and_its_absence_is_survived() {
    let nothing = br#"{"strategyType":"PROBABILISTIC","probabilisticSampling":{"samplingRate":0}}"#.to_vec();
    let server = Receiver::start(vec![answer(500, ""), Step::Answer(200, "", nothing)]);
    let receiver = Receiver::start(vec![]);
    let mut config = receiver.traces_only();
    let sampler = Sampler::jaeger_remote(&format!("http://{}", server.address), Duration::from_secs(1), 1.0);
    config.sampler = sampler.parent_based();
    let (pipeline, dispatch) = service(config);
    let sampled = || {
        tracing::dispatcher::with_default(&dispatch, || info_span!("root").context().is_some_and(|c| c.is_sampled()))
    };
    assert!(sampled(), "what was configured holds while the server gives no answer");
    let begin = Instant::now();
    while sampled() && begin.elapsed() < Duration::from_secs(30) {
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(!sampled(), "the server said that nothing is to be recorded");
    assert!(server.requests()[1].head.starts_with("get /sampling?service=test http/1.1"));
    drop(pipeline);
}
