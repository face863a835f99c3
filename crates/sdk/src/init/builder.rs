//! What a program may decide about its telemetry; the environment decides the rest.

use std::sync::{Arc, Once};

use tracewell_propagate::{Composite, Problem};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::{Layer, Registry};

use super::filter::Filter;
use super::{Guard, RUNNING, detect, panics};
use crate::config::{Config, Warning, signal_url};
use crate::log_lines::{LogFormat, LogLines};
use crate::process;
use crate::queue::lock;
use crate::{Pipeline, Resource, Sampler, Signal, StartError, TraceLayer, Tracer, Value, diagnostics};

/// Why nothing was started.
#[derive(Debug, thiserror::Error)]
pub enum InitError {
    /// The operating system gave no thread.
    #[error(transparent)]
    Start(#[from] StartError),
    /// There can be only one for the process.
    #[error(
        "another global subscriber is in place: call `init` before anything else that sets one, or add the layer of \
         `builder().build()` to yours"
    )]
    OtherSubscriber(#[from] tracing::subscriber::SetGlobalDefaultError),
}

type AnyLayer = Box<dyn Layer<Registry> + Send + Sync>;

/// How much the SDK says about itself on stderr (`OTEL_LOG_LEVEL`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd)]
enum Own {
    Nothing,
    Problems,
    Everything,
}

/// Settings of [`init`](crate::init). It begins with the environment; what is set here wins over it, except
/// that `OTEL_SDK_DISABLED=true` always switches the SDK off.
#[must_use = "nothing happens before `init`"]
pub struct Builder {
    config: Config,
    warnings: Vec<Warning>,
    own: Own,
    filter: Option<String>,
    lines: Option<LogLines>,
    format: Option<LogFormat>,
    layers: Vec<AnyLayer>,
    detect: bool,
    environment_parent: bool,
    endings: bool,
}

impl Builder {
    pub(super) fn from_env() -> Self {
        let lookup = |name: &str| std::env::var(name).ok().filter(|value| !value.trim().is_empty());
        let (config, mut warnings) = Config::from_env();
        let own = match lookup("OTEL_LOG_LEVEL").map(|level| level.trim().to_ascii_lowercase()).as_deref() {
            None | Some("info" | "warn" | "warning") => Own::Problems,
            Some("none" | "off" | "error" | "fatal") => Own::Nothing,
            Some("debug" | "trace" | "verbose" | "all") => Own::Everything,
            Some(other) => {
                warnings.push(format!("OTEL_LOG_LEVEL={other:?}: expected none, error, warn, info or debug"));
                Own::Problems
            }
        };
        let format = lookup("TRACEWELL_LOG_FORMAT").and_then(|name| {
            let format = LogFormat::from_name(&name);
            if format.is_none() {
                warnings.push(format!("TRACEWELL_LOG_FORMAT={name:?}: expected text or json"));
            }
            format
        });
        Self {
            config,
            warnings,
            own,
            filter: lookup("RUST_LOG"),
            lines: Some(LogLines::stderr()),
            format,
            layers: Vec::new(),
            detect: true,
            environment_parent: true,
            endings: true,
        }
    }

    /// The name of the service (`OTEL_SERVICE_NAME`).
    pub fn service_name(self, name: impl Into<String>) -> Self {
        let name = name.into();
        self.resource_attribute("service.name", name)
    }

    /// One more attribute of the resource, such as `service.version`.
    pub fn resource_attribute(mut self, key: impl Into<String>, value: impl Into<Value>) -> Self {
        self.config.resource = self.config.resource.clone().with(key, value);
        self
    }

    /// The whole resource, instead of what the environment says. Detected attributes are still added.
    pub fn resource(mut self, resource: Resource) -> Self {
        self.config.resource = resource;
        self
    }

    /// Leaves out what would be found out about process, host and operating system.
    pub fn without_detection(mut self) -> Self {
        self.detect = false;
        self
    }

    /// Where spans and log records go, such as `http://collector:4318`.
    pub fn endpoint(mut self, base: &str) -> Self {
        for (signal, to) in [(Signal::Traces, &mut self.config.traces), (Signal::Logs, &mut self.config.logs)] {
            to.url = Some(signal_url(base, signal));
        }
        self
    }

    /// Which traces are recorded.
    pub fn sampler(mut self, sampler: Sampler) -> Self {
        self.config.sampler = sampler;
        self
    }

    /// The header formats.
    pub fn propagators(mut self, propagators: Composite) -> Self {
        self.config.propagators = propagators;
        self
    }

    /// Everything else that a [`Config`] holds.
    pub fn configure(mut self, change: impl FnOnce(&mut Config)) -> Self {
        change(&mut self.config);
        self
    }

    /// Which spans and events, in the syntax of `RUST_LOG`, instead of that variable.
    pub fn filter(mut self, directives: impl Into<String>) -> Self {
        self.filter = Some(directives.into());
        self
    }

    /// Text or JSON, instead of `TRACEWELL_LOG_FORMAT`.
    pub fn log_format(mut self, format: LogFormat) -> Self {
        self.format = Some(format);
        self
    }

    /// Where log lines go, instead of stderr.
    pub fn log_writer<W>(mut self, writer: W) -> Self
    where
        W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
    {
        self.lines = Some(LogLines::new(writer));
        self
    }

    /// Log lines of one's own making.
    pub fn log_lines(mut self, lines: LogLines) -> Self {
        self.lines = Some(lines);
        self
    }

    /// No log lines at all; events still become records and events of spans. Without further layers this is
    /// the fastest way: spans are kept by [`TraceSubscriber`](crate::TraceSubscriber).
    pub fn without_log_lines(mut self) -> Self {
        self.lines = None;
        self
    }

    /// One more layer, below the filter.
    pub fn layer(mut self, layer: impl Layer<Registry> + Send + Sync) -> Self {
        self.layers.push(Box::new(layer));
        self
    }

    /// Does not take up the trace that the environment (`TRACEPARENT`) hands to this process.
    pub fn without_environment_parent(mut self) -> Self {
        self.environment_parent = false;
        self
    }

    /// Leaves signals, panics and `exit` alone: what is queued is sent when the guard is dropped, and only then.
    pub fn without_hooks(mut self) -> Self {
        self.endings = false;
        self
    }

    /// Sets everything up for the whole process. What is wrong is told on stderr.
    pub fn init(self) -> Guard {
        let own = self.own;
        self.try_init().unwrap_or_else(|error| {
            if own >= Own::Problems {
                eprintln!("tracewell: nothing is exported: {error}");
            }
            Guard { running: None }
        })
    }

    /// As [`Builder::init`], for a program that wants to know.
    ///
    /// # Errors
    ///
    /// [`InitError`] says what was in the way; nothing is changed then.
    pub fn try_init(mut self) -> Result<Guard, InitError> {
        let text = self.filter.take();
        let (filter, warnings) = Filter::parse(text.as_deref());
        self.warnings.extend(warnings);
        let lines = self.lines.take().map(|lines| match self.format {
            Some(format) => lines.format(format),
            None => lines,
        });
        let layers = std::mem::take(&mut self.layers);
        let endings = self.endings;
        let (tracer, guard) = self.start()?;
        let levels = filter.max_level();
        if lines.is_none() && layers.is_empty() {
            // Nobody needs the registry.
            let subscriber = tracer.subscriber().with(filter.levels).with(filter.directives);
            tracing::subscriber::set_global_default(subscriber)?;
        } else {
            let subscriber = tracing_subscriber::registry()
                .with((!layers.is_empty()).then_some(layers))
                .with(tracer.layer())
                .with(lines)
                .with(filter.levels)
                .with(filter.directives);
            tracing::subscriber::set_global_default(subscriber)?;
        }
        records_of_log(levels);
        #[cfg(feature = "opentelemetry")]
        crate::bridge::install();
        if endings {
            guard.watch();
        }
        Ok(guard)
    }

    /// The layer, for a subscriber of one's own. Hooks are set, unless they were declined; filter, log lines
    /// and further layers are the caller's.
    ///
    /// # Errors
    ///
    /// [`InitError::Start`] where no thread can be had.
    pub fn build(self) -> Result<(TraceLayer, Guard), InitError> {
        let endings = self.endings;
        let (tracer, guard) = self.start()?;
        if endings {
            guard.watch();
        }
        Ok((tracer.layer(), guard))
    }

    fn start(self) -> Result<(Tracer, Guard), InitError> {
        let Self { mut config, mut warnings, own, .. } = self;
        if self.detect {
            config.resource = detect::complete(config.resource);
        }
        if config.disabled {
            config.traces.url = None;
            config.logs.url = None;
        }
        if self.environment_parent {
            let count = &mut |problem: Problem| diagnostics::count(problem.header, problem.reason);
            config.parent = config.propagators.extract_reporting(&process::inherited(), count);
        }
        if own >= Own::Problems {
            warnings.drain(..).for_each(|warning| eprintln!("tracewell: ignored {warning}"));
        }
        if own >= Own::Everything {
            let to = |signal| config.destination(signal).url.as_deref().unwrap_or("nowhere");
            eprintln!("tracewell: spans go to {}, log records to {}", to(Signal::Traces), to(Signal::Logs));
            eprintln!("tracewell: resource {:?}", config.resource.attributes());
        }
        let resource = config.resource.clone();
        let limit = config.shutdown_timeout;
        let pipeline = Pipeline::start_with(config, move |problem| {
            if own >= Own::Problems {
                eprintln!("tracewell: {problem}");
            }
        })?;
        let tracer = pipeline.tracer(&resource);
        Ok((tracer, Guard { running: Some((Arc::new(pipeline), limit)) }))
    }
}

impl Guard {
    /// From now on the process does not end without sending what is queued.
    fn watch(&self) {
        static ONCE: Once = Once::new();
        *lock(&RUNNING) = self.running.as_ref().map(|(pipeline, limit)| (Arc::downgrade(pipeline), *limit));
        ONCE.call_once(|| {
            panics::install();
            #[cfg(all(unix, feature = "signals"))]
            super::unix::install();
        });
    }
}

/// Records of the `log` crate become events.
#[cfg(feature = "log")]
fn records_of_log(max: tracing::level_filters::LevelFilter) {
    use tracing_log::AsLog;
    // Where the program has a logger of its own, that one stays.
    let _ = tracing_log::LogTracer::builder().with_max_level(max.as_log()).init();
}

#[cfg(not(feature = "log"))]
fn records_of_log(_: tracing::level_filters::LevelFilter) {}
