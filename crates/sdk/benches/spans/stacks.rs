//! What is compared: the bare registry, this crate, and `tracing-opentelemetry`.

use std::net::SocketAddr;
use std::time::Duration;

use opentelemetry::trace::{SpanContext, SpanId, TraceContextExt, TraceFlags, TraceId, TraceState, TracerProvider};
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{
    BatchConfigBuilder, BatchSpanProcessor, Sampler as OtelSampler, SdkTracerProvider, SpanData, SpanExporter,
};
use tracewell_sdk::propagate::Context;
use tracewell_sdk::{Config, Pipeline, Resource, Sampler, Signal, SpanExt, Tracer};
use tracing::level_filters::LevelFilter;
use tracing::{Dispatch, Level, Span};
use tracing_opentelemetry::OpenTelemetrySpanExt;
use tracing_subscriber::Registry;
use tracing_subscriber::layer::SubscriberExt;

/// Records that a queue may hold, in both stacks: large enough for a burst.
const QUEUE: usize = 1 << 16;

/// What is recorded.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Sampling {
    On,
    Off,
    /// On, but the span around everything has a remote parent that is not sampled.
    RemoteOff,
}

enum Running {
    Nothing,
    Ours(Pipeline),
    Otel(SdkTracerProvider),
}

/// One way to have spans recorded, while it runs.
pub struct Stack {
    pub dispatch: Dispatch,
    sampling: Sampling,
    running: Running,
}

impl Stack {
    /// Gives the outermost span the parent that the case asks for.
    pub fn claim(&self, span: &Span) {
        if self.sampling != Sampling::RemoteOff {
            return;
        }
        let (trace_id, span_id) = (0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736_u128, 0x00f0_67aa_0ba9_02b7_u64);
        match &self.running {
            Running::Nothing => {}
            Running::Ours(_) => SpanExt::set_parent(
                span,
                &Context {
                    trace_id: tracewell_sdk::propagate::TraceId(trace_id.to_be_bytes()),
                    span_id: tracewell_sdk::propagate::SpanId::from_u64(span_id),
                    ..Context::default()
                },
            ),
            Running::Otel(_) => {
                let remote = SpanContext::new(
                    TraceId::from(trace_id),
                    SpanId::from(span_id),
                    TraceFlags::default(),
                    true,
                    TraceState::default(),
                );
                let parent = opentelemetry::Context::new().with_remote_span_context(remote);
                OpenTelemetrySpanExt::set_parent(span, parent).expect("the span takes a parent");
            }
        }
    }

    /// Spans that did not get into the queue, where the stack tells.
    pub fn lost(&self) -> Option<u64> {
        match &self.running {
            Running::Ours(pipeline) => Some(pipeline.stats(Signal::Traces).dropped),
            Running::Nothing | Running::Otel(_) => None,
        }
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        if let Running::Otel(provider) = &self.running {
            let _ = provider.shutdown();
        }
    }
}

type Make = fn(Sampling, SocketAddr) -> Stack;

/// The columns of the table.
pub const ALL: &[(&str, Make)] = &[
    ("registry alone", registry),
    ("TraceSubscriber", subscriber),
    ("TraceLayer", layer),
    ("tracing-opentelemetry", opentelemetry),
];

fn registry(sampling: Sampling, _: SocketAddr) -> Stack {
    let dispatch = Dispatch::new(Registry::default().with(LevelFilter::INFO));
    Stack { dispatch, sampling, running: Running::Nothing }
}

fn subscriber(sampling: Sampling, sink: SocketAddr) -> Stack {
    ours(sampling, sink, |tracer| tracer.dispatch(Level::INFO))
}

fn layer(sampling: Sampling, sink: SocketAddr) -> Stack {
    ours(sampling, sink, |tracer| Dispatch::new(Registry::default().with(LevelFilter::INFO).with(tracer.layer())))
}

fn ours(sampling: Sampling, sink: SocketAddr, dispatch: fn(&Tracer) -> Dispatch) -> Stack {
    let mut config = Config::to_endpoint(&format!("http://{sink}"));
    config.logs.url = None;
    config.sampler = match sampling {
        Sampling::Off => Sampler::always_off().parent_based(),
        Sampling::On | Sampling::RemoteOff => Sampler::always_on().parent_based(),
    };
    config.traces.queue_records_max = QUEUE;
    config.traces.delay = Duration::from_millis(100);
    let pipeline = Pipeline::start_with(config, |problem| println!("{problem}")).expect("a thread");
    let dispatch = dispatch(&pipeline.tracer(&Resource::new("bench")));
    Stack { dispatch, sampling, running: Running::Ours(pipeline) }
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

fn opentelemetry(sampling: Sampling, _: SocketAddr) -> Stack {
    let sampler = match sampling {
        Sampling::Off => OtelSampler::AlwaysOff,
        Sampling::On | Sampling::RemoteOff => OtelSampler::AlwaysOn,
    };
    let batches = BatchConfigBuilder::default()
        .with_max_queue_size(QUEUE)
        .with_scheduled_delay(Duration::from_millis(100))
        .build();
    let provider = SdkTracerProvider::builder()
        .with_span_processor(BatchSpanProcessor::builder(Swallow).with_batch_config(batches).build())
        .with_sampler(OtelSampler::ParentBased(Box::new(sampler)))
        .build();
    let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("bench"));
    let dispatch = Dispatch::new(Registry::default().with(LevelFilter::INFO).with(layer));
    Stack { dispatch, sampling, running: Running::Otel(provider) }
}
