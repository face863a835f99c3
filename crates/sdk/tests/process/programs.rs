//! The programs: each makes spans and ends in its own way.

use std::io::Write;
use std::process::Command;
use std::time::Duration;

use tracewell_sdk::process::CommandExt;
use tracewell_sdk::{Sampler, SpanExt, current_context, task};
use tracing::{Instrument, info, info_span, warn};

/// Spans that each program ends before it ends itself.
pub const SPANS: usize = 100;

fn work() {
    for number in 0..SPANS {
        info_span!("work", number).in_scope(|| info!("done"));
    }
}

/// Tells the test that it may go on.
fn ready() {
    println!("ready");
    std::io::stdout().flush().unwrap();
}

fn wait_for_ever() -> ! {
    loop {
        std::thread::sleep(Duration::from_secs(3600));
    }
}

fn one_thread() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

pub fn run(name: &str) {
    match name {
        "signal" => {
            let _guard = tracewell_sdk::init();
            work();
            ready();
            wait_for_ever();
        }
        "signal in a runtime" => {
            one_thread().block_on(async {
                let _guard = tracewell_sdk::init();
                work();
                ready();
                std::future::pending::<()>().await;
            });
        }
        "signal of the application" => {
            one_thread().block_on(async {
                let _guard = tracewell_sdk::init();
                let mut ends = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()).unwrap();
                ready();
                ends.recv().await;
                // A graceful end takes its time: nobody may cut it short.
                tokio::time::sleep(Duration::from_millis(700)).await;
                work();
            });
            println!("ended by itself");
        }
        "signal handled before" => {
            one_thread().block_on(async {
                let mut ends = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()).unwrap();
                let _guard = tracewell_sdk::init();
                ready();
                ends.recv().await;
                tokio::time::sleep(Duration::from_millis(700)).await;
                work();
            });
            println!("ended by itself");
        }
        "panic in main" => {
            let _guard = tracewell_sdk::init();
            work();
            let _open = info_span!("open").entered();
            panic!("nothing works");
        }
        "panic without a guard" => {
            std::mem::forget(tracewell_sdk::init());
            work();
            panic!("nothing works");
        }
        "panic in a task" => {
            one_thread().block_on(async {
                let _guard = tracewell_sdk::init();
                let failing = async { panic!("only this one: {}", 7) };
                let _ = tokio::spawn(failing.instrument(info_span!("task"))).await;
                work();
            });
        }
        "panic behind a filter" => {
            let _guard = tracewell_sdk::builder().filter("off,process=info").init();
            let _ = std::panic::catch_unwind(|| info_span!("quiet").in_scope(|| panic!("unseen")));
            work();
        }
        "panic while panicking" => {
            struct Bad;
            impl Drop for Bad {
                fn drop(&mut self) {
                    panic!("again");
                }
            }
            std::mem::forget(tracewell_sdk::init());
            work();
            let _open = info_span!("open").entered();
            let _bad = Bad;
            panic!("first");
        }
        "abort" => {
            std::mem::forget(tracewell_sdk::init());
            work();
            std::process::abort();
        }
        "exit" => {
            let _guard = tracewell_sdk::init();
            work();
            std::process::exit(7);
        }
        "exit in a task" => {
            one_thread().block_on(async {
                let _guard = tracewell_sdk::init();
                tokio::spawn(async {
                    work();
                    std::process::exit(7);
                })
                .await
                .unwrap();
            });
        }
        "flush in a task" => {
            one_thread().block_on(async {
                let guard = tracewell_sdk::init();
                work();
                assert!(guard.flush(Duration::from_secs(20)), "flushed on the only thread");
                println!("flushed");
                drop(guard);
            });
        }
        "drop in a task" => {
            one_thread().block_on(async {
                let guard = tracewell_sdk::init();
                task::spawn(async move {
                    work();
                    drop(guard);
                })
                .await
                .unwrap();
            });
        }
        "parent" => {
            let _guard = tracewell_sdk::init();
            let span = info_span!("parent");
            let _entered = span.enter();
            let context = current_context().unwrap();
            println!("trace {} span {}", context.trace_id, context.span_id);
            let mut command = Command::new(std::env::current_exe().unwrap());
            command.env(crate::PROGRAM, "child").env("OTEL_SERVICE_NAME", "child").in_trace();
            assert!(command.status().unwrap().success());
        }
        "child" => {
            let _guard = tracewell_sdk::init();
            info_span!("child").in_scope(|| info_span!("grandchild").in_scope(|| ()));
            drop(info_span!(parent: None, "request of its own"));
        }
        "lines" => {
            let _guard = tracewell_sdk::init();
            let span = info_span!("request", route = "/cart", user = "a\"b\nc");
            let _entered = span.enter();
            let context = span.context().unwrap();
            println!("trace {} span {}", context.trace_id, context.span_id);
            info!(items = 3u64, share = f64::NAN, "two\nlines");
            log::warn!(target: "old::library", "through the log crate");
            warn!(error = &std::io::Error::other("disk") as &(dyn std::error::Error + 'static), "failed");
        }
        "nothing" => {
            let _guard = tracewell_sdk::init();
            let mut headers = Vec::<(String, String)>::new();
            let span = info_span!("unseen");
            tracewell_sdk::inject(&span, &mut headers);
            println!("headers {}", headers.len());
            let remote = tracewell_sdk::extract(&vec![(
                "traceparent",
                "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            )]);
            let span = info_span!(parent: None, "passed on");
            span.set_remote(&remote);
            tracewell_sdk::inject(&span, &mut headers);
            println!("{headers:?}");
        }
        "bridge" => bridge(),
        "builder" => {
            let _guard = tracewell_sdk::builder()
                .service_name("built")
                .resource_attribute("service.version", "2")
                .sampler(Sampler::always_off())
                .filter("debug")
                .without_log_lines()
                .init();
            drop(info_span!("unsampled"));
            info!("kept all the same");
            tracing::debug!("and this");
            let again = tracewell_sdk::builder().try_init();
            println!("again {}", again.err().map(|error| error.to_string()).unwrap_or_default());
        }
        other => panic!("no program {other:?}"),
    }
}

/// A library that knows nothing but the API of OpenTelemetry.
mod library {
    use opentelemetry::trace::{Span, SpanKind, Status, TraceContextExt, Tracer};
    use opentelemetry::{Context, KeyValue, global};

    /// Makes a span and calls `inside` within it.
    pub fn call(name: &'static str, inside: impl FnOnce()) {
        let tracer = global::tracer("library");
        let mut span = tracer.span_builder(name).with_kind(SpanKind::Client).start(&tracer);
        span.set_attribute(KeyValue::new("peer", "other"));
        span.add_event("sent", vec![KeyValue::new("bytes", 7)]);
        span.set_status(Status::error("slow"));
        let _attached = Context::current_with_span(span).attach();
        inside();
    }

    /// The header that a request made here would carry.
    pub fn header() -> String {
        let mut headers = std::collections::HashMap::new();
        global::get_text_map_propagator(|propagator| propagator.inject(&mut headers));
        headers.get("traceparent").cloned().unwrap_or_default()
    }

    /// Handles a request with this header.
    pub fn serve(traceparent: &str, inside: impl FnOnce()) {
        let headers = std::collections::HashMap::from([("traceparent".to_owned(), traceparent.to_owned())]);
        let context = global::get_text_map_propagator(|propagator| propagator.extract(&headers));
        let tracer = global::tracer("library");
        let span = tracer.span_builder("served").with_kind(SpanKind::Server).start_with_context(&tracer, &context);
        let _attached = context.with_span(span).attach();
        inside();
    }
}

/// Spans of `tracing` and of the API in turn.
pub fn bridge() {
    let _guard = tracewell_sdk::init();
    info_span!("outer").in_scope(|| {
        library::call("of the api", || {
            println!("header {}", library::header());
            info_span!("inner").in_scope(|| library::call("innermost", || info!("deep")));
            drop(info_span!("second"));
        });
        drop(info_span!("after"));
    });
    library::serve("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", || drop(info_span!("handler")));
    library::call("alone", || {
        info!("lonely");
        drop(info_span!("below alone"));
    });
}
