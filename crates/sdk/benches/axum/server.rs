//! The servers: the same router under each stack, each in a process of its own.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use axum::extract::Path;
use axum::routing::{get, post};
use axum::{Json, Router};
use axum_tracing_opentelemetry::middleware::OtelAxumLayer;
use opentelemetry::trace::TracerProvider;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{BatchConfigBuilder, BatchSpanProcessor, SdkTracerProvider, SpanData, SpanExporter};
use serde_json::{Value, json};
use tracewell_sdk::http::ServerLayer;
use tracewell_sdk::{Config, Pipeline, Resource, Signal};
use tracing::Level;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::Registry;
use tracing_subscriber::layer::SubscriberExt;

/// Names the stack to a server process.
pub const STACK_VARIABLE: &str = "TRACEWELL_BENCH_STACK";

/// Where a server process sends its spans.
const SINK_VARIABLE: &str = "TRACEWELL_BENCH_SINK";

const OURS: &str = "tracewell-sdk";
const THEIRS: &str = "axum-tracing-opentelemetry";

/// The first one is what the others are measured against.
pub const STACKS: [&str; 3] = ["no tracing", OURS, THEIRS];

/// Records that a queue may hold, in both stacks: no span is dropped.
const QUEUE: usize = 1 << 16;

const DELAY: Duration = Duration::from_millis(100);

/// An order of ten lines.
pub fn order_json() -> String {
    let line =
        |number: u32| json!({"sku": format!("sku-{number}"), "name": "a thing", "quantity": number, "cents": 1999});
    json!({"customer": "c-1", "currency": "EUR", "lines": (0..10).map(line).collect::<Vec<_>>()}).to_string()
}

async fn order(Json(order): Json<Value>) -> Json<Value> {
    let lines = order["lines"].as_array().cloned().unwrap_or_default();
    let cents = |line: &Value| line["cents"].as_u64().unwrap_or(0) * line["quantity"].as_u64().unwrap_or(0);
    Json(json!({"id": "o-1", "total_cents": lines.iter().map(cents).sum::<u64>(), "lines": lines}))
}

/// A page of a list: read from text as a database or a cache would give it, sorted, and written.
async fn catalog(Path(page): Path<u64>) -> Json<Value> {
    let stored: Vec<String> = (0..100)
        .map(|number| {
            let sku = (number * 7919 + page) % 1000;
            json!({"sku": sku, "name": format!("a thing, number {sku}"), "cents": 1999, "tags": ["new", "blue"]})
                .to_string()
        })
        .collect();
    let mut items: Vec<Value> = stored.iter().filter_map(|text| serde_json::from_str(text).ok()).collect();
    items.sort_by_key(|item| item["sku"].as_u64());
    Json(json!({"page": page, "items": items}))
}

fn router() -> Router {
    Router::new()
        .route("/items/{id}", get(|Path(_): Path<String>| async { "hello" }))
        .route("/orders", post(order))
        .route("/catalog/{page}", get(catalog))
}

/// Throws everything away.
#[derive(Debug)]
struct Swallow;

impl SpanExporter for Swallow {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        drop(std::hint::black_box(batch));
        Ok(())
    }
}

/// Spans of a batch of every request go to `sink`.
fn ours() -> Pipeline {
    let sink = std::env::var(SINK_VARIABLE).expect("the address of the sink");
    let mut config = Config::to_endpoint(&format!("http://{sink}"));
    config.logs.url = None;
    config.traces.queue_records_max = QUEUE;
    config.traces.delay = DELAY;
    let pipeline = Pipeline::start(config).expect("a thread");
    let dispatch = pipeline.tracer(&Resource::new("bench")).dispatch(Level::INFO);
    tracing::dispatcher::set_global_default(dispatch).expect("the first one");
    pipeline
}

fn theirs() -> SdkTracerProvider {
    let batches = BatchConfigBuilder::default().with_max_queue_size(QUEUE).with_scheduled_delay(DELAY).build();
    let provider = SdkTracerProvider::builder()
        .with_span_processor(BatchSpanProcessor::builder(Swallow).with_batch_config(batches).build())
        .build();
    opentelemetry::global::set_text_map_propagator(TraceContextPropagator::new());
    let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("bench"));
    // Its spans are of level TRACE, of a target of its own.
    let filter =
        tracing_subscriber::filter::Targets::new().with_default(LevelFilter::INFO).with_target("otel", Level::TRACE);
    let subscriber = Registry::default().with(filter).with(layer);
    tracing::subscriber::set_global_default(subscriber).expect("the first one");
    provider
}

/// Serves until stdin ends, then says on stdout what became of the spans.
pub fn serve(stack: &str) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let run = |router: Router| {
        runtime.block_on(async {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a loopback socket");
            println!("{}", listener.local_addr().expect("its address"));
            std::io::stdout().flush().expect("somebody reads");
            let ended = async {
                let wait = || std::io::stdin().read_to_end(&mut Vec::new());
                tokio::task::spawn_blocking(wait).await.expect("no panic").expect("stdin");
            };
            tokio::select! {
                served = async { axum::serve(listener, router).await } => served.expect("serving"),
                () = ended => {}
            }
        });
    };
    match stack {
        OURS => {
            let pipeline = ours();
            run(router().layer(ServerLayer::new()));
            assert!(pipeline.flush(Duration::from_secs(30)), "the sink is slow");
            let stats = pipeline.stats(Signal::Traces);
            println!("{OURS}: {} spans exported, {} dropped, {} failed", stats.exported, stats.dropped, stats.failed);
        }
        THEIRS => {
            let provider = theirs();
            run(router().layer(OtelAxumLayer::default()));
            let _ = provider.shutdown();
            println!("{THEIRS}: spans thrown away");
        }
        stack => {
            run(router());
            println!("{stack}: no spans");
        }
    }
}

/// A server process.
pub struct Served {
    pub stack: &'static str,
    pub address: SocketAddr,
    child: Child,
    stdout: BufReader<std::process::ChildStdout>,
}

impl Served {
    pub fn start(stack: &'static str, sink: SocketAddr) -> Self {
        let program = std::env::current_exe().expect("the path of this program");
        let mut child = Command::new(program)
            .env(STACK_VARIABLE, stack)
            .env(SINK_VARIABLE, sink.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a process");
        let mut stdout = BufReader::new(child.stdout.take().expect("a pipe"));
        let mut line = String::new();
        stdout.read_line(&mut line).expect("a line");
        Self { stack, address: line.trim().parse().expect("an address"), child, stdout }
    }

    /// Time that all threads of the process have been running, exporter included; 0 where Linux does not tell.
    pub fn cpu_ns(&self) -> u64 {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.child.id())).into_iter().flatten().flatten();
        let running = |path: std::path::PathBuf| {
            let text = std::fs::read_to_string(path.join("schedstat")).ok()?;
            text.split(' ').next()?.parse::<u64>().ok()
        };
        tasks.filter_map(|task| running(task.path())).sum()
    }

    /// Ends the process; what it says of its spans.
    pub fn stop(mut self) -> String {
        drop(self.child.stdin.take());
        let mut line = String::new();
        self.stdout.read_line(&mut line).expect("a line");
        self.child.wait().expect("its end");
        line.trim().to_owned()
    }
}
