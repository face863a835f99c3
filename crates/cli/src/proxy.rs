//! `tracewell proxy`: spans and context for services that nobody instruments.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use clap::{Args, ValueEnum};
use serde_json::json;
use tracewell_proxy::{Backend, Config, Egress, Infer, Protocol, Route, Routes, Running};
use tracewell_sdk::propagate::Composite;
use tracewell_sdk::{Pipeline, Sampler, Signal, Tracer};
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::{Dispatch, Event, Level, Subscriber};
use tracing_subscriber::layer::{self, Layer, SubscriberExt};

use crate::signals::Ends;
use crate::{output, runtime};

/// Where spans go when nothing else is said.
const DEFAULT_OTLP: &str = "http://127.0.0.1:4318";

/// `proxy`
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    tracewell proxy --listen 127.0.0.1:8080 --to http://127.0.0.1:9000 --service checkout\n                                        \
    in front of an application on port 9000\n  \
    … --outbound 127.0.0.1:15001            and carry its own calls too; start the application with\n                                        \
    http_proxy=http://127.0.0.1:15001\n  \
    … --egress 127.0.0.1:15002=h2c://payments:50051\n                                        \
    the same for gRPC: the application calls 127.0.0.1:15002\n  \
    tracewell proxy --listen 127.0.0.1:8080 --route /api=http://127.0.0.1:9000 \\\n      \
    --route shop.example=http://127.0.0.1:9001 --to http://127.0.0.1:9002 --service gateway\n                                        \
    several backends, by host and path\n  \
    … --admin 127.0.0.1:15000               health on /healthz, figures on /stats\n\n\
    An application that forwards traceparent, or only x-request-id, gives whole traces; --infer single helps one\n\
    that forwards nothing and serves one request at a time. What was inferred is marked as such on the span.\n\
    When every listener answers, one line on standard output says so. SIGTERM lets requests finish.\n\
    More: docs/proxy.md")]
pub struct ProxyArgs {
    /// Where requests for the application arrive. Port 0 picks a free one.
    #[arg(long, value_name = "ADDRESS:PORT", requires = "backend")]
    listen: Option<SocketAddr>,
    /// Where they go: http://, https://, or h2c:// for cleartext HTTP/2 whatever the client speaks.
    #[arg(long, value_name = "URL", requires = "listen", group = "backend")]
    to: Option<Backend>,
    /// Where those for this host or below this path go; may be repeated, the most specific wins.
    #[arg(long, value_name = "/PREFIX=URL | HOST=URL", requires = "listen", group = "backend")]
    route: Vec<Route>,
    /// Where the application's own calls arrive, as to a forward proxy (http_proxy, CONNECT).
    #[arg(long, value_name = "ADDRESS:PORT")]
    outbound: Option<SocketAddr>,
    /// A listener whose requests all go to one backend, for calls that cannot use a forward proxy; may be repeated.
    #[arg(long, value_name = "ADDRESS:PORT=URL", value_parser = egress)]
    egress: Vec<Egress>,
    /// The name of the application in traces.
    #[arg(long, value_name = "NAME", env = "OTEL_SERVICE_NAME")]
    service: Option<String>,
    /// Where spans are sent, by OTLP over HTTP [default: http://127.0.0.1:4318].
    #[arg(long, value_name = "URL", env = "OTEL_EXPORTER_OTLP_ENDPOINT")]
    otlp: Option<String>,
    /// Header formats that are read and written: tracecontext, baggage, b3, b3multi, jaeger, xray, datadog, ottrace, gcp
    /// [default: tracecontext,baggage].
    #[arg(long, value_name = "NAMES", env = "OTEL_PROPAGATORS")]
    propagators: Option<String>,
    /// Headers that hold a request id, the first one being added where all are missing.
    #[arg(long, value_name = "NAMES", value_delimiter = ',', default_value = "x-request-id")]
    request_id_header: Vec<http::HeaderName>,
    /// How a call of the application without context finds the request that it belongs to.
    #[arg(long, value_name = "HOW", value_enum, default_value_t = InferArg::RequestId)]
    infer: InferArg,
    /// How long a request that has ended is remembered for calls that come late.
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = duration)]
    linger: Duration,
    /// Share of traces to record, from 0 to 1, where the caller has not decided; OTEL_TRACES_SAMPLER without it.
    #[arg(long, value_name = "SHARE", value_parser = share)]
    sample: Option<f64>,
    /// HTTP version towards backends in cleartext: as the client's, or always the same.
    #[arg(long, value_name = "VERSION", value_enum, default_value_t = ProtocolArg::Mirror)]
    backend_protocol: ProtocolArg,
    /// Send the backend's own name as Host instead of the client's.
    #[arg(long)]
    rewrite_host: bool,
    /// Do not add X-Forwarded-For, -Proto and -Host.
    #[arg(long)]
    no_forwarded: bool,
    /// Do not add Via.
    #[arg(long)]
    no_via: bool,
    /// Longest time until an answer begins; without it a client waits as long as it likes.
    #[arg(long, value_name = "TIME", value_parser = duration)]
    timeout: Option<Duration>,
    /// Longest time for a connection to a backend.
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = duration)]
    connect_timeout: Duration,
    /// How long requests may go on after SIGTERM.
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = duration)]
    drain: Duration,
    /// Connections at the same time; above, a client is answered 503.
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..))]
    max_connections: u32,
    /// Certificates (PEM) that https:// backends are trusted by, beside the system's.
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,
    /// Where health (/healthz) and figures (/stats) can be asked for.
    #[arg(long, value_name = "ADDRESS:PORT")]
    admin: Option<SocketAddr>,
    /// What to log: error, warn, info.
    #[arg(long, value_name = "LEVEL", default_value = "info")]
    log: Level,
}

/// `--infer`
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum InferArg {
    /// Not at all.
    Off,
    /// By the request id that both carry.
    RequestId,
    /// By the request id; else the only request in flight, where there is exactly one.
    Single,
}

/// `--backend-protocol`
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum ProtocolArg {
    /// As the client's.
    Mirror,
    /// HTTP/1.1.
    Http1,
    /// HTTP/2 by prior knowledge.
    Http2,
}

/// Runs the command.
pub fn run(args: ProxyArgs) -> Result<ExitCode> {
    if args.listen.is_none() && args.outbound.is_none() && args.egress.is_empty() {
        return Err(anyhow!(
            "nothing to carry; write for example\n  tracewell proxy --listen 127.0.0.1:8080 --to http://127.0.0.1:9000 --service checkout"
        ));
    }
    let sdk = sdk_config(&args)?;
    let (service, spans_to) = (service_name(&sdk), sdk.traces.url.clone());
    let resource = sdk.resource.clone();
    let propagators = sdk.propagators.clone();
    let pipeline = Arc::new(Pipeline::start(sdk).context("spans cannot be exported")?);
    let dispatch = dispatch(&pipeline.tracer(&resource), args.log);
    let flushes = Arc::clone(&pipeline);
    let config = config(&args, propagators, Arc::clone(&pipeline));
    let runtime = runtime()?;
    let clean = runtime.block_on(async {
        // Before anything is opened: a signal that comes early must still end it in order.
        let mut ends = Ends::new()?;
        let running = tracewell_proxy::start(config, dispatch.clone()).await?;
        output::tell(&format!("{}\n", ready_line(&running, &service, spans_to.as_deref())));
        tracing::dispatcher::with_default(&dispatch, || warn_of_open_doors(&running));
        let signal = ends.next().await;
        tracing::dispatcher::with_default(&dispatch, || tracing::info!(signal, "ending"));
        let clean = tokio::select! {
            clean = running.shutdown() => clean,
            // A second signal means now.
            _ = ends.next() => false,
        };
        anyhow::Ok(clean)
    });
    runtime.shutdown_timeout(Duration::from_millis(200));
    flushes.shutdown(Duration::from_secs(5));
    clean?;
    Ok(ExitCode::SUCCESS)
}

/// The exporter's settings: the environment's, and the flags'.
fn sdk_config(args: &ProxyArgs) -> Result<tracewell_sdk::Config> {
    let lookup = |name: &str| {
        let flag = match name {
            "OTEL_EXPORTER_OTLP_ENDPOINT" => Some(args.otlp.clone().unwrap_or_else(|| DEFAULT_OTLP.to_owned())),
            "OTEL_SERVICE_NAME" => args.service.clone(),
            _ => None,
        };
        // Spans of all requests of a service come from here: more than one application's own.
        let default = match name {
            "OTEL_BSP_MAX_QUEUE_SIZE" => Some("32768"),
            "OTEL_BSP_MAX_EXPORT_BATCH_SIZE" => Some("2048"),
            "OTEL_BSP_SCHEDULE_DELAY" => Some("1000"),
            _ => None,
        };
        flag.or_else(|| std::env::var(name).ok()).or_else(|| default.map(str::to_owned))
    };
    let (mut config, warnings) = tracewell_sdk::Config::from_lookup(lookup);
    for warning in warnings {
        eprintln!("tracewell: ignored {warning}");
    }
    if let Some(names) = &args.propagators {
        config.propagators = Composite::from_names(names).with_context(|| format!("--propagators {names}"))?;
    }
    if let Some(share) = args.sample {
        config.sampler = Sampler::ratio(share).parent_based();
    }
    let named = std::env::var("OTEL_RESOURCE_ATTRIBUTES").is_ok_and(|pairs| pairs.contains("service.name="));
    if args.service.is_none() && !named {
        config.resource = config.resource.with("service.name", "unknown_service:proxy");
        eprintln!("tracewell: no --service, so that its spans are those of unknown_service:proxy");
    }
    Ok(config)
}

fn service_name(config: &tracewell_sdk::Config) -> String {
    let name = config.resource.attributes().iter().find(|(key, _)| key == "service.name");
    match name {
        Some((_, tracewell_sdk::Value::Str(name))) => name.to_string(),
        _ => "unknown_service".to_owned(),
    }
}

/// Spans and warnings as OTLP; warnings to standard error, too.
fn dispatch(tracer: &Tracer, level: Level) -> Dispatch {
    Dispatch::new(tracer.subscriber().with_max_level(LevelFilter::INFO).with(Lines { level }))
}

/// Writes events to standard error. The formatter of `tracing-subscriber` wants a registry of spans, which costs more
/// than all that the proxy does.
struct Lines {
    level: Level,
}

impl<S: Subscriber> Layer<S> for Lines {
    fn on_event(&self, event: &Event<'_>, _: layer::Context<'_, S>) {
        if *event.metadata().level() <= self.level {
            let mut line = Line(event.metadata().level().to_string());
            event.record(&mut line);
            eprintln!("tracewell proxy: {}", line.0);
        }
    }
}

/// An event in one line: what it says, and its fields.
struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        let text = if field.name() == "message" { format!(" {value:?}") } else { format!(" {field}={value:?}") };
        self.0.push_str(&text);
    }
}

fn config(args: &ProxyArgs, propagators: Composite, pipeline: Arc<Pipeline>) -> Config {
    let mut config = Config {
        inbound: args.listen,
        routes: Routes::new(args.route.clone(), args.to.clone()),
        outbound: args.outbound,
        egress: args.egress.clone(),
        admin: args.admin,
        propagators,
        request_id_headers: args.request_id_header.clone(),
        infer: match args.infer {
            InferArg::Off => Infer::Off,
            InferArg::RequestId => Infer::RequestId,
            InferArg::Single => Infer::Single,
        },
        linger: args.linger,
        protocol: match args.backend_protocol {
            ProtocolArg::Mirror => Protocol::Mirror,
            ProtocolArg::Http1 => Protocol::Http1,
            ProtocolArg::Http2 => Protocol::Http2,
        },
        rewrite_host: args.rewrite_host,
        forwarded: !args.no_forwarded,
        via: !args.no_via,
        connect_time: args.connect_timeout,
        answer_time: args.timeout,
        drain_time: args.drain,
        ca_file: args.ca_file.clone(),
        ..Config::default()
    };
    config.limits.connections_max = args.max_connections as usize;
    config.figures = Some(Arc::new(move || {
        let stats = pipeline.stats(Signal::Traces);
        json!({
            "exported": stats.exported, "queued": stats.queued, "dropped": stats.dropped,
            "failed": stats.failed, "rejected": stats.rejected, "retries": stats.retries,
        })
    }));
    config
}

/// The one line on standard output that says that every listener answers, and where.
fn ready_line(running: &Running, service: &str, spans_to: Option<&str>) -> String {
    let addresses = running.addresses();
    let mut line = "tracewell proxy is ready:".to_owned();
    let named = [("inbound", addresses.inbound), ("outbound", addresses.outbound)];
    let egress = addresses.egress.iter().map(|address| ("egress", Some(*address)));
    for (what, address) in named.into_iter().chain(egress).chain([("admin", addresses.admin)]) {
        if let Some(address) = address {
            line.push_str(&format!(" {what} http://{address}"));
        }
    }
    line.push_str(&format!(" service {service} spans {}", spans_to.unwrap_or("none")));
    line
}

/// Whoever reaches the outbound listener reaches everything that this machine reaches.
fn warn_of_open_doors(running: &Running) {
    let addresses = running.addresses();
    let doors = addresses.outbound.iter().chain(&addresses.egress).chain(&addresses.admin);
    for address in doors.filter(|address| !address.ip().is_loopback()) {
        tracing::warn!(%address, "open to other machines: anybody there can send requests through this one");
    }
}

fn duration(text: &str) -> Result<Duration, String> {
    tracewell_server::config::duration(text)
}

fn share(text: &str) -> Result<f64, String> {
    let share = text.parse().ok().filter(|share| (0.0..=1.0).contains(share));
    share.ok_or_else(|| "expected a number from 0 to 1".to_owned())
}

fn egress(text: &str) -> Result<Egress, String> {
    let (listen, to) =
        text.split_once('=').ok_or("expected ADDRESS:PORT=URL, such as 127.0.0.1:15002=http://payments:8080")?;
    let listen =
        listen.parse().map_err(|_| format!("`{listen}` is not an address; write for example 127.0.0.1:15002"))?;
    let to = to.parse().map_err(|error: tracewell_proxy::BackendError| error.to_string())?;
    Ok(Egress { listen, to })
}
