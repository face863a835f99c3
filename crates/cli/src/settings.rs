//! From flags, environment and file to the server's configuration, and the server's log.

use anyhow::{Result, anyhow};
use tracewell_server::config::{self, FlagValue, Inputs, Loaded, Log, LogFormat};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::args::ConfigFlags;

/// Reads every layer.
pub fn load(flags: &ConfigFlags) -> Result<Loaded> {
    let named = [
        ("--data-dir", "data_dir", &flags.data_dir),
        ("--http-listen", "http.listen", &flags.http_listen),
        ("--otlp-grpc-listen", "otlp.grpc_listen", &flags.otlp_grpc_listen),
        ("--otlp-http-listen", "otlp.http_listen", &flags.otlp_http_listen),
        ("--log", "log.level", &flags.log),
        ("--log-format", "log.format", &flags.log_format),
    ];
    let mut values: Vec<FlagValue> = named
        .into_iter()
        .filter_map(|(flag, key, value)| {
            Some(FlagValue { flag: flag.to_owned(), key: key.to_owned(), value: value.clone()? })
        })
        .collect();
    for pair in &flags.set {
        let (key, value) =
            pair.split_once('=').ok_or_else(|| anyhow!("`--set {pair}` has no value; write --set KEY=VALUE"))?;
        let (key, value) = (key.trim().to_owned(), value.trim().to_owned());
        values.push(FlagValue { flag: format!("--set {key}"), key, value });
    }
    let loaded = config::load(&Inputs {
        file: flags.config.clone(),
        working_dir: std::env::current_dir()?,
        environment: std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect(),
        flags: values,
    })?;
    Ok(loaded)
}

/// Sends the log to standard error. The first call wins.
pub fn start_log(log: &Log) -> Result<()> {
    let filter = EnvFilter::try_new(&log.level).map_err(|error| anyhow!("log.level `{}`: {error}", log.level))?;
    let registry = tracing_subscriber::registry().with(filter);
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    // A second start (tests, demo beside serve) keeps the first log.
    let _ = match log.format {
        LogFormat::Text => {
            let colour = std::io::IsTerminal::is_terminal(&std::io::stderr()) && std::env::var_os("NO_COLOR").is_none();
            registry.with(lines.with_ansi(colour)).try_init()
        }
        LogFormat::Json => registry.with(lines.json().flatten_event(true)).try_init(),
    };
    Ok(())
}
