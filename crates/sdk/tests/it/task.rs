//! Work that goes on elsewhere stays in its trace, and does not hold its span open.

use std::sync::mpsc;
use std::time::Duration;

use tracewell_model::{SpanRecord, StatusCode};
use tracewell_sdk::propagate::{Baggage, Propagated};
use tracewell_sdk::task::{self, Here, JoinSet};
use tracewell_sdk::{SpanExt, current_context};
use tracing::{info, info_span};

use crate::receiver::{Receiver, recorded};

fn span<'a>(spans: &'a [SpanRecord], name: &str) -> &'a tracewell_model::Span {
    let found = spans.iter().find(|record| record.span.name == name);
    &found.unwrap_or_else(|| panic!("no span {name:?} in {spans:#?}")).span
}

/// Runs `work` below a span `request` on a runtime with one thread.
fn below_request<F: Future<Output = ()>>(work: impl FnOnce() -> F) -> Vec<SpanRecord> {
    let receiver = Receiver::start(vec![]);
    recorded(receiver.traces_only(), &receiver, || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let work = info_span!("request").in_scope(work);
            work.await;
        });
    })
}

fn assert_below_request(spans: &[SpanRecord], names: &[&str]) {
    let request = span(spans, "request");
    for name in names {
        let child = span(spans, name);
        assert_eq!((child.trace_id, child.parent_span_id), (request.trace_id, Some(request.span_id)), "{name}");
    }
}

#[test]
fn every_way_to_go_elsewhere_keeps_the_parent() {
    let spans = below_request(|| {
        let make = |name: &'static str| move || drop(info_span!("span", otel.name = name));
        let spawned = task::spawn(async move { make("spawned")() });
        let named = task::spawn_named("named", async move { make("within named")() });
        let blocking = task::spawn_blocking(make("blocking"));
        let mut set = JoinSet::new();
        set.spawn(async move { make("of a set")() });
        set.spawn_blocking(make("blocking of a set"));
        let thread = task::thread("worker", make("thread")).unwrap();
        task::scope(|scope| {
            scope.spawn(make("scoped"));
        });
        let (send, receive) = mpsc::channel::<Box<dyn FnOnce() + Send>>();
        send.send(Box::new(task::in_context(make("pool")))).unwrap();
        drop(send);
        std::thread::spawn(move || receive.iter().for_each(|job| job())).join().unwrap();
        async move {
            assert!(current_context().is_none(), "the request is over");
            spawned.await.unwrap();
            named.await.unwrap();
            blocking.await.unwrap();
            while set.join_next().await.is_some() {}
            thread.join().unwrap();
        }
    });
    let direct = ["spawned", "named", "blocking", "of a set", "blocking of a set", "thread", "scoped", "pool"];
    assert_below_request(&spans, &direct);
    assert_eq!(span(&spans, "within named").parent_span_id, Some(span(&spans, "named").span_id));
    assert_eq!(spans.len(), direct.len() + 2, "nothing but what was asked for");
}

#[test]
fn a_task_that_goes_on_does_not_make_its_request_longer() {
    let spans = below_request(|| {
        let job = task::spawn_named("job", async { tokio::time::sleep(Duration::from_millis(300)).await });
        async move { job.await.unwrap() }
    });
    let (request, job) = (span(&spans, "request"), span(&spans, "job"));
    assert!(request.end_unix_nano < job.end_unix_nano - 200_000_000, "{request:#?} {job:#?}");
    assert!(job.end_unix_nano - job.start_unix_nano >= 300_000_000);
}

#[test]
fn a_panic_in_a_task_is_an_error_of_its_span() {
    let spans = below_request(|| {
        let named = task::spawn_named("named", async { panic!("broken {}", 1) });
        let spawned = task::spawn(async { panic!("broken too") });
        let blocking = task::spawn_blocking(|| panic!("and this"));
        async move {
            assert!(named.await.unwrap_err().is_panic(), "the caller learns of it as ever");
            assert!(spawned.await.unwrap_err().is_panic());
            assert!(blocking.await.unwrap_err().is_panic());
        }
    });
    assert_below_request(&spans, &["named", "task"]);
    let failed: Vec<_> = spans.iter().filter(|record| record.span.status.code == StatusCode::Error as i32).collect();
    let mut messages: Vec<_> = failed.iter().map(|record| record.span.status.message.as_str()).collect();
    messages.sort_unstable();
    assert_eq!(messages, ["and this", "broken 1", "broken too"]);
    for record in failed {
        assert_eq!(record.span.attribute("error.type").and_then(|value| value.as_str()), Some("panic"));
    }
}

#[test]
fn baggage_and_cancellation_come_along() {
    let spans = below_request(|| {
        let mut baggage = Baggage::default();
        baggage.set("tenant", "7").unwrap();
        let context = current_context();
        let span = info_span!("with baggage");
        span.set_remote(&Propagated { context, baggage, ..Propagated::default() });
        let task = span.in_scope(|| {
            task::spawn_named("cancelled", async {
                let here = tracing::Span::current().propagated();
                assert_eq!(here.baggage.get("tenant"), Some("7"));
                let _ends_too = info_span!("waiting");
                std::future::pending::<()>().await;
            })
        });
        async move {
            tokio::task::yield_now().await;
            task.abort();
            assert!(task.await.unwrap_err().is_cancelled());
        }
    });
    let cancelled = span(&spans, "cancelled");
    assert_eq!(span(&spans, "waiting").parent_span_id, Some(cancelled.span_id));
}

#[test]
fn a_stream_runs_where_it_was_made() {
    /// Two items, each with a span.
    struct Counting(u8);
    impl futures_core::Stream for Counting {
        type Item = u8;
        fn poll_next(
            mut self: std::pin::Pin<&mut Self>,
            _: &mut std::task::Context<'_>,
        ) -> std::task::Poll<Option<u8>> {
            drop(info_span!("item"));
            self.0 += 1;
            std::task::Poll::Ready((self.0 < 3).then_some(self.0))
        }
    }
    let spans = below_request(|| {
        let mut stream = Here::named("stream").carry(Counting(0));
        async move {
            let next = |stream: &mut task::Carried<Counting>| {
                let mut context = std::task::Context::from_waker(std::task::Waker::noop());
                futures_core::Stream::poll_next(std::pin::Pin::new(stream), &mut context)
            };
            let items: Vec<_> = (0..4).map(|_| next(&mut stream)).collect();
            info!(?items);
            assert!(matches!(items[3], std::task::Poll::Ready(None)), "asked again after the end");
        }
    });
    let stream = span(&spans, "stream");
    let items: Vec<_> = spans.iter().filter(|record| record.span.name == "item").collect();
    assert_eq!(items.len(), 3);
    assert!(items.iter().all(|record| record.span.parent_span_id == Some(stream.span_id)));
    assert_below_request(&spans, &["stream"]);
}

#[test]
fn without_a_subscriber_work_is_just_done() {
    assert_eq!(task::in_context(|| 7)(), 7);
    assert_eq!(Here::named("unseen").run(|| 8), 8);
    let caught = std::panic::catch_unwind(|| Here::capture().run(|| panic!("as ever")));
    assert!(caught.is_err());
}
