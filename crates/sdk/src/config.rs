//! Settings, by builder or by the environment variables of the OpenTelemetry specification.

use std::path::PathBuf;
use std::time::Duration;

use tracewell_propagate::{Composite, Propagated, percent_decode};

use crate::{Resource, Sampler};

/// What is exported; indexes per-signal settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// Spans, to `/v1/traces`.
    Traces = 0,
    /// Log records, to `/v1/logs`.
    Logs = 1,
}

impl Signal {
    pub(crate) const ALL: [Signal; 2] = [Signal::Traces, Signal::Logs];

    fn path(self) -> &'static str {
        match self {
            Signal::Traces => "/v1/traces",
            Signal::Logs => "/v1/logs",
        }
    }
}

/// Where and how one signal is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Destination {
    /// Full URL; `None` switches the signal off.
    pub url: Option<String>,
    /// Headers of each request.
    pub headers: Vec<(String, String)>,
    /// Longest time for one attempt.
    pub timeout: Duration,
    /// Whether bodies are compressed with gzip.
    pub gzip: bool,
    /// Certificates of the authorities that receivers behind `https` are checked against, as PEM; without it
    /// those of the public web (`OTEL_EXPORTER_OTLP_CERTIFICATE`).
    pub certificate: Option<PathBuf>,
    /// The chain and the key by which this process shows who it is, as PEM
    /// (`OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE`, `OTEL_EXPORTER_OTLP_CLIENT_KEY`).
    pub client_certificate: Option<(PathBuf, PathBuf)>,
    /// Records that may wait, those being sent included (`OTEL_BSP_MAX_QUEUE_SIZE`).
    pub queue_records_max: usize,
    /// Encoded bytes that may wait, those being sent included.
    pub queue_bytes_max: usize,
    /// Records in one request (`OTEL_BSP_MAX_EXPORT_BATCH_SIZE`).
    pub batch_records_max: usize,
    /// Longest time that a record waits for others (`OTEL_BSP_SCHEDULE_DELAY`).
    pub delay: Duration,
}

impl Destination {
    fn new(base: &str, signal: Signal) -> Self {
        Self {
            url: Some(signal_url(base, signal)),
            headers: Vec::new(),
            timeout: Duration::from_secs(10),
            gzip: false,
            certificate: None,
            client_certificate: None,
            queue_records_max: 2048,
            queue_bytes_max: 16 << 20,
            batch_records_max: 512,
            delay: Duration::from_millis(if signal == Signal::Traces { 5000 } else { 1000 }),
        }
    }
}

/// The URL of one signal stands as it is, but for one that was meant for gRPC, which has no paths.
fn with_path(url: &str, signal: Signal) -> String {
    match url.trim_end_matches('/').strip_suffix(":4317") {
        Some(_) => signal_url(url, signal),
        None => url.to_owned(),
    }
}

pub(crate) fn signal_url(base: &str, signal: Signal) -> String {
    format!("{}{}", base.trim_end_matches('/'), signal.path())
}

/// How much one span may hold (OpenTelemetry specification, "Span limits").
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Attributes of a span, event or link.
    pub attributes_max: u32,
    /// Events of a span.
    pub events_max: u32,
    /// Links of a span.
    pub links_max: u32,
    /// Bytes of a text value; longer ones are cut at a character.
    pub value_bytes_max: usize,
    /// Encoded bytes of all attributes, of all events and of all links; what comes after is dropped and counted.
    pub part_bytes_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            attributes_max: 128,
            events_max: 128,
            links_max: 128,
            value_bytes_max: usize::MAX,
            part_bytes_max: 1 << 20,
        }
    }
}

/// Everything that can be set. [`Config::default`] is the specification's default,
/// [`Config::from_env`] reads the environment.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where spans go.
    pub traces: Destination,
    /// Where log records go.
    pub logs: Destination,
    /// Limits of a span.
    pub limits: Limits,
    /// Which traces are recorded.
    pub sampler: Sampler,
    /// Header formats.
    pub propagators: Composite,
    /// The service, where a pipeline has only one.
    pub resource: Resource,
    /// Longest time that one batch is retried before it is given up and counted as failed.
    pub retry_for: Duration,
    /// Longest time that dropping the guard waits for what is queued.
    pub shutdown_timeout: Duration,
    /// The span in another process that started this one: parent of spans that have none, unless they are
    /// roots on purpose (`parent: None`).
    pub parent: Propagated,
    /// Switches everything off (`OTEL_SDK_DISABLED`).
    pub disabled: bool,
    /// Adds `code.file.path`, `code.line.number` and `code.function.name` to spans and records.
    pub code_attributes: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            traces: Destination::new("http://localhost:4318", Signal::Traces),
            logs: Destination::new("http://localhost:4318", Signal::Logs),
            limits: Limits::default(),
            sampler: Sampler::default(),
            propagators: Composite::default(),
            resource: Resource::new(default_service_name()),
            retry_for: Duration::from_secs(60),
            shutdown_timeout: Duration::from_secs(5),
            parent: Propagated::default(),
            disabled: false,
            code_attributes: false,
        }
    }
}

fn default_service_name() -> String {
    let executable = std::env::current_exe().ok();
    match executable.as_deref().and_then(|path| path.file_stem()) {
        Some(name) => format!("unknown_service:{}", name.to_string_lossy()),
        None => "unknown_service".to_owned(),
    }
}

/// A setting that was ignored: `OTEL_BSP_SCHEDULE_DELAY="soon": expected milliseconds`.
pub type Warning = String;

impl Config {
    /// The default with both signals sent to `base`, such as `http://127.0.0.1:4318`.
    pub fn to_endpoint(base: &str) -> Self {
        Self {
            traces: Destination::new(base, Signal::Traces),
            logs: Destination::new(base, Signal::Logs),
            ..Self::default()
        }
    }

    /// The settings in the process's environment. What cannot be understood is left at its default and
    /// named in the warnings.
    pub fn from_env() -> (Self, Vec<Warning>) {
        Self::from_lookup(|name| std::env::var(name).ok())
    }

    /// As [`Config::from_env`], from any source of variables. Empty values count as unset.
    pub fn from_lookup(lookup: impl Fn(&str) -> Option<String>) -> (Self, Vec<Warning>) {
        let mut env = Env { lookup: &lookup, warnings: Vec::new() };
        let mut config = Self::default();
        env.destination(&mut config.traces, Signal::Traces, "TRACES", "BSP");
        env.destination(&mut config.logs, Signal::Logs, "LOGS", "BLRP");
        if env.get("OTEL_SDK_DISABLED").is_some_and(|text| text.eq_ignore_ascii_case("true")) {
            config.disabled = true;
            config.traces.url = None;
            config.logs.url = None;
        }
        env.limits(&mut config.limits);
        if let Some(name) = env.get("OTEL_TRACES_SAMPLER") {
            let argument = env.get("OTEL_TRACES_SAMPLER_ARG");
            match Sampler::from_name(name.trim(), argument.as_deref()) {
                Some(sampler) => config.sampler = sampler,
                None => env.warn("OTEL_TRACES_SAMPLER", &name, "a sampler's name, its ratio from 0 to 1"),
            }
        }
        if let Some(names) = env.get("OTEL_PROPAGATORS") {
            match Composite::from_names_in(&names, |name| std::env::var(name).ok()) {
                Ok(propagators) => config.propagators = propagators,
                Err(error) => env.warnings.push(format!("OTEL_PROPAGATORS={names:?}: {error}")),
            }
        }
        if let Some(pairs) = env.get("OTEL_RESOURCE_ATTRIBUTES") {
            for (key, value) in key_values(&pairs) {
                config.resource = config.resource.with(key, value);
            }
        }
        if let Some(name) = env.get("OTEL_SERVICE_NAME") {
            config.resource = config.resource.with("service.name", name);
        }
        (config, env.warnings)
    }

    pub(crate) fn destination(&self, signal: Signal) -> &Destination {
        match signal {
            Signal::Traces => &self.traces,
            Signal::Logs => &self.logs,
        }
    }
}

/// `k=v,k2=v2` with percent-encoded values. Unlike baggage, values may hold spaces: many deployments
/// write `authorization=Bearer …` as it is.
fn key_values(text: &str) -> Vec<(String, String)> {
    text.split(',')
        .filter_map(|pair| pair.split_once('='))
        .map(|(key, value)| (key.trim().to_owned(), percent_decode(value.trim()).into_owned()))
        .filter(|(key, _)| !key.is_empty())
        .collect()
}

struct Env<'a> {
    lookup: &'a dyn Fn(&str) -> Option<String>,
    warnings: Vec<Warning>,
}

impl Env<'_> {
    fn get(&self, name: &str) -> Option<String> {
        (self.lookup)(name).filter(|value| !value.trim().is_empty())
    }

    fn warn(&mut self, name: &str, value: &str, expected: &str) {
        self.warnings.push(format!("{name}={value:?}: expected {expected}"));
    }

    fn number(&mut self, name: &str, expected: &str) -> Option<u64> {
        let text = self.get(name)?;
        let number = text.trim().parse().ok();
        if number.is_none() {
            self.warn(name, &text, expected);
        }
        number
    }

    /// The variable of the signal, else the one for all.
    fn specific(&self, infix: &str, suffix: &str) -> Option<(String, String)> {
        [format!("OTEL_EXPORTER_OTLP_{infix}_{suffix}"), format!("OTEL_EXPORTER_OTLP_{suffix}")]
            .into_iter()
            .find_map(|name| self.get(&name).map(|value| (name, value)))
    }

    fn destination(&mut self, to: &mut Destination, signal: Signal, infix: &str, batch: &str) {
        if let Some(base) = self.get("OTEL_EXPORTER_OTLP_ENDPOINT") {
            to.url = Some(signal_url(base.trim(), signal));
        }
        if let Some(url) = self.get(&format!("OTEL_EXPORTER_OTLP_{infix}_ENDPOINT")) {
            to.url = Some(with_path(url.trim(), signal));
        }
        let exporter = format!("OTEL_{infix}_EXPORTER");
        match self.get(&exporter) {
            Some(name) if name.trim() == "none" => to.url = None,
            Some(name) if name.trim() != "otlp" => self.warn(&exporter, &name, "otlp or none"),
            _ => {}
        }
        if let Some((name, protocol)) = self.specific(infix, "PROTOCOL")
            && protocol.trim() != "http/protobuf"
        {
            self.warn(
                &name,
                &protocol,
                "http/protobuf, which is sent instead (where port 4317 takes only gRPC, to port 4318)",
            );
        }
        if let Some((_, headers)) = self.specific(infix, "HEADERS") {
            to.headers = key_values(&headers);
        }
        let path = |found: Option<(String, String)>| found.map(|(_, path)| PathBuf::from(path.trim()));
        to.certificate = path(self.specific(infix, "CERTIFICATE"));
        let chain = path(self.specific(infix, "CLIENT_CERTIFICATE"));
        to.client_certificate = chain.zip(path(self.specific(infix, "CLIENT_KEY")));
        if let Some((name, text)) = self.specific(infix, "TIMEOUT") {
            match text.trim().parse() {
                Ok(milliseconds) => to.timeout = Duration::from_millis(milliseconds),
                Err(_) => self.warn(&name, &text, "milliseconds"),
            }
        }
        if let Some((name, text)) = self.specific(infix, "COMPRESSION") {
            match text.trim() {
                "gzip" => to.gzip = true,
                "none" => to.gzip = false,
                _ => self.warn(&name, &text, "gzip or none"),
            }
        }
        if let Some(delay) = self.number(&format!("OTEL_{batch}_SCHEDULE_DELAY"), "milliseconds") {
            to.delay = Duration::from_millis(delay);
        }
        if let Some(records) = self.number(&format!("OTEL_{batch}_MAX_QUEUE_SIZE"), "a number of records") {
            to.queue_records_max = usize::try_from(records).unwrap_or(usize::MAX).max(1);
        }
        if let Some(records) = self.number(&format!("OTEL_{batch}_MAX_EXPORT_BATCH_SIZE"), "a number of records") {
            to.batch_records_max = usize::try_from(records).unwrap_or(usize::MAX).max(1);
        }
        to.batch_records_max = to.batch_records_max.min(to.queue_records_max);
        if let Some(timeout) = self.number(&format!("OTEL_{batch}_EXPORT_TIMEOUT"), "milliseconds")
            && timeout > 0
        {
            to.timeout = to.timeout.min(Duration::from_millis(timeout));
        }
    }

    fn limits(&mut self, limits: &mut Limits) {
        let count = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
        for name in ["OTEL_ATTRIBUTE_COUNT_LIMIT", "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT"] {
            if let Some(number) = self.number(name, "a number of attributes") {
                limits.attributes_max = count(number);
            }
        }
        for name in ["OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT", "OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT"] {
            if let Some(number) = self.number(name, "a number of bytes") {
                limits.value_bytes_max = usize::try_from(number).unwrap_or(usize::MAX);
            }
        }
        if let Some(number) = self.number("OTEL_SPAN_EVENT_COUNT_LIMIT", "a number of events") {
            limits.events_max = count(number);
        }
        if let Some(number) = self.number("OTEL_SPAN_LINK_COUNT_LIMIT", "a number of links") {
            limits.links_max = count(number);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variables: &[(&str, &str)]) -> (Config, Vec<Warning>) {
        Config::from_lookup(|name| variables.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned()))
    }

    #[test]
    fn the_environment_is_honoured() {
        let (config, warnings) = read(&[
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318/base/"),
            ("OTEL_EXPORTER_OTLP_LOGS_ENDPOINT", "http://logs:1/x"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer%20abc, x-tenant=a b"),
            ("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "1500"),
            ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip"),
            ("OTEL_BSP_SCHEDULE_DELAY", "100"),
            ("OTEL_BSP_MAX_QUEUE_SIZE", "100"),
            ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "700"),
            ("OTEL_RESOURCE_ATTRIBUTES", "service.name=from-attributes,deployment.environment.name=pro%20d"),
            ("OTEL_SERVICE_NAME", "cart"),
            ("OTEL_TRACES_SAMPLER", "traceidratio"),
            ("OTEL_TRACES_SAMPLER_ARG", "0.25"),
            ("OTEL_SPAN_EVENT_COUNT_LIMIT", "3"),
            ("OTEL_LOGS_EXPORTER", ""),
            ("OTEL_EXPORTER_OTLP_CERTIFICATE", "/etc/ca.pem"),
            ("OTEL_EXPORTER_OTLP_LOGS_CLIENT_CERTIFICATE", "/etc/me.pem"),
            ("OTEL_EXPORTER_OTLP_CLIENT_KEY", "/etc/me.key"),
        ]);
        assert_eq!(warnings, Vec::<String>::new());
        assert_eq!(config.traces.url.as_deref(), Some("http://collector:4318/base/v1/traces"));
        assert_eq!(config.logs.url.as_deref(), Some("http://logs:1/x"));
        assert_eq!(config.traces.headers[0], ("authorization".to_owned(), "Bearer abc".to_owned()));
        assert_eq!(config.traces.timeout, Duration::from_millis(1500));
        assert_eq!(config.logs.timeout, Duration::from_secs(10));
        assert!(config.traces.gzip && config.logs.gzip);
        assert_eq!((config.traces.queue_records_max, config.traces.batch_records_max), (100, 100));
        assert_eq!(config.traces.delay, Duration::from_millis(100));
        assert_eq!(config.sampler, Sampler::ratio(0.25));
        assert_eq!(config.limits.events_max, 3);
        assert_eq!((config.traces.certificate, config.traces.client_certificate), (Some("/etc/ca.pem".into()), None));
        assert_eq!(config.logs.client_certificate, Some(("/etc/me.pem".into(), "/etc/me.key".into())));
        let resource = config.resource.attributes();
        assert!(resource.contains(&("service.name".to_owned(), "cart".to_owned().into())));
        assert!(resource.contains(&("deployment.environment.name".to_owned(), "pro d".to_owned().into())));
    }

    #[test]
    fn an_endpoint_meant_for_grpc_gets_the_path_of_its_signal() {
        for (variable, url) in [
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4317"),
            ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://collector:4317/"),
        ] {
            let (config, _) = read(&[(variable, url)]);
            assert_eq!(config.traces.url.as_deref(), Some("http://collector:4317/v1/traces"), "{variable}");
        }
    }

    #[test]
    fn what_is_not_understood_is_named_and_left_at_its_default() {
        let (config, warnings) = read(&[
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
            ("OTEL_BSP_SCHEDULE_DELAY", "soon"),
            ("OTEL_TRACES_SAMPLER", "mine"),
            ("OTEL_PROPAGATORS", "tracecontext,b9"),
            ("OTEL_TRACES_EXPORTER", "none"),
        ]);
        assert_eq!(warnings.len(), 5, "{warnings:#?}");
        assert!(
            warnings.iter().any(|warning| warning.contains("OTEL_BSP_SCHEDULE_DELAY=\"soon\": expected milliseconds"))
        );
        assert_eq!((config.traces.url, config.traces.delay), (None, Duration::from_secs(5)));
        assert_eq!(config.sampler, Sampler::default());
    }
}
