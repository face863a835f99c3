//! The command line: what can be asked for, and the texts that teach it.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

/// Where commands look for a server when none is named.
pub const DEFAULT_SERVER: &str = "http://127.0.0.1:3200";

/// Follows a request through every service that it touches, and says which hop is to blame.
#[derive(Debug, Parser)]
#[command(
    name = "tracewell",
    version,
    long_version = long_version(),
    after_help = "Start here:\n  \
        tracewell demo                        a shop of many services, traced, in your browser\n  \
        tracewell serve                       receive OTLP on 4317 and 4318, show it on http://127.0.0.1:3200\n  \
        tracewell query '{ status = error }'  the newest failed traces\n  \
        tracewell explain TRACE_ID            what happened in one, and who is to blame\n  \
        tracewell doctor                      what is wrong, and what to do",
    max_term_width = 110
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

fn long_version() -> &'static str {
    tracewell_server::build::LONG
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Receive, keep and show traces.
    Serve(ServeArgs),
    /// Run a shop of fifty services, let things go wrong in it, and look at its traces.
    Demo(DemoArgs),
    /// Find traces, or draw one, in the terminal.
    Query(QueryArgs),
    /// Say what happened in a trace, or in many, and who is to blame; from a server or from files.
    Explain(crate::explain::ExplainArgs),
    /// Open trace files (OTLP JSON or protobuf, Jaeger JSON).
    View(ViewArgs),
    /// Check ports, disk, clock and the server, and send a test span through.
    Doctor(DoctorArgs),
    /// Make spans for a service that nobody instruments, by standing beside it.
    Proxy(crate::proxy::ProxyArgs),
    /// Start a program with its language's instrumentation, and say what arrived.
    Run(crate::run::RunArgs),
    /// Turn access logs and application logs with ids into spans and log records.
    IngestLogs(crate::ingest_logs::IngestLogsArgs),
    /// Show or write the configuration.
    Config(ConfigArgs),
    /// Measure ingest and queries on this machine.
    Bench(crate::bench::BenchArgs),
    /// Print a completion script for a shell.
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
}

/// Flags that set something of the configuration.
#[derive(Debug, Args, Default)]
pub struct ConfigFlags {
    /// Read this file instead of ./tracewell.toml.
    #[arg(long, value_name = "FILE", env = "TRACEWELL_CONFIG", hide_env_values = true)]
    pub config: Option<PathBuf>,
    /// Folder for everything that is kept [default: ./tracewell-data].
    #[arg(long, value_name = "FOLDER")]
    pub data_dir: Option<String>,
    /// Address of the user interface and the APIs [default: 127.0.0.1:3200]. Port 0 picks a free one.
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub http_listen: Option<String>,
    /// Address for OTLP/gRPC [default: 127.0.0.1:4317], or off.
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub otlp_grpc_listen: Option<String>,
    /// Address for OTLP/HTTP [default: 127.0.0.1:4318], or off.
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub otlp_http_listen: Option<String>,
    /// What to log: error, warn, info, debug, trace, or directives such as info,tracewell_store=debug.
    #[arg(long, value_name = "LEVEL")]
    pub log: Option<String>,
    /// How to log: text or json.
    #[arg(long, value_name = "FORMAT")]
    pub log_format: Option<String>,
    /// Set any key of the configuration; may be repeated.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub set: Vec<String>,
}

/// `serve`
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    tracewell serve\n  \
    tracewell serve --data-dir /var/lib/tracewell --set retention.age=14d\n  \
    tracewell serve --http-listen 127.0.0.1:0      any free port; the ready line says which\n  \
    tracewell serve --print-config                 what is in effect, and where each value comes from\n\n\
    When every listener answers, one line on standard output says so; logs are on standard error. Point your\n\
    applications at it:\n  \
    OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:4318 your-application")]
pub struct ServeArgs {
    /// Configuration.
    #[command(flatten)]
    pub config: ConfigFlags,
    /// Print the configuration that would be used, each value with where it comes from, and end.
    #[arg(long)]
    pub print_config: bool,
}

/// `demo`
#[derive(Debug, Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "Examples:\n  \
    tracewell demo                        the shop, under a steady load\n  \
    tracewell demo --slow-database        one database is slow; find out which\n  \
    tracewell demo --rate 50 --duration 1m\n  \
    tracewell demo fault list             what can go wrong in the demo that runs, and what does\n  \
    tracewell demo fault slow-database on"
)]
pub struct DemoArgs {
    /// What to do with a demo that runs.
    #[command(subcommand)]
    pub command: Option<DemoCommand>,
    /// Begin with these faults (`tracewell demo fault list`), separated by commas.
    #[arg(long = "fault", value_name = "NAME[=SETTING]", value_delimiter = ',')]
    pub faults: Vec<tracewell_demo::Switch>,
    /// Make a database slow: inventory-db, or --slow-database=orders-db. Short for --fault slow-database=NAME.
    #[arg(long, value_name = "NAME", num_args = 0..=1, require_equals = true, default_missing_value = "inventory-db")]
    pub slow_database: Option<String>,
    /// Requests per second.
    #[arg(long, value_name = "N", default_value_t = 5.0)]
    pub rate: f64,
    /// End after this time, such as 30s or 5m; until Ctrl-C without it.
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub duration: Option<std::time::Duration>,
    /// Keep the traces in this folder; a temporary one, deleted at the end, without it.
    #[arg(long, value_name = "FOLDER")]
    pub data_dir: Option<PathBuf>,
    /// Address of the user interface.
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub http_listen: Option<String>,
    /// What to log.
    #[arg(long, value_name = "LEVEL", default_value = "warn")]
    pub log: String,
}

/// What to do with a demo that runs.
#[derive(Debug, Subcommand)]
pub enum DemoCommand {
    /// Switch a fault on or off, describe it, or list all.
    Fault(FaultArgs),
}

/// `demo fault`
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    tracewell demo fault list\n  \
    tracewell demo fault slow-query               what it does, and what to look for\n  \
    tracewell demo fault slow-query on\n  \
    tracewell demo fault slow-database=orders-db on\n  \
    tracewell demo fault slow-query off")]
pub struct FaultArgs {
    /// The fault, with its setting where it has some; or `list`.
    #[arg(value_name = "NAME[=SETTING] | list")]
    pub name: String,
    /// Switch it on or off.
    #[arg(value_name = "on | off", hide_possible_values = true)]
    pub state: Option<OnOff>,
    /// The server beside the demo.
    #[arg(long, value_name = "URL", env = "TRACEWELL_SERVER", default_value = DEFAULT_SERVER)]
    pub server: String,
}

/// On or off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum OnOff {
    /// It happens.
    On,
    /// It does not.
    Off,
}

/// `query`
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    tracewell query                                             the newest traces of the last hour\n  \
    tracewell query '{ status = error }' --since 24h\n  \
    tracewell query '{ resource.service.name = \"gateway\" && duration > 1s }' --limit 50\n  \
    tracewell query '{ span.http.response.status_code >= 500 }' --json | jq\n  \
    tracewell query trace 4bf92f3577b34da6a3ce929d0e0e4736      draw one trace")]
pub struct QueryArgs {
    /// A TraceQL query, or `trace` and the id of one.
    #[arg(value_name = "TRACEQL | trace ID", num_args = 0..=2)]
    pub query: Vec<String>,
    /// The server.
    #[arg(long, value_name = "URL", env = "TRACEWELL_SERVER", default_value = DEFAULT_SERVER)]
    pub server: String,
    /// How far back to look, or from when on; `all` for everything.
    #[arg(long, value_name = "TIME", default_value = "1h")]
    pub since: String,
    /// Until when; now without it. Both take 15m (ago), RFC 3339 and Unix time.
    #[arg(long, value_name = "TIME")]
    pub until: Option<String>,
    /// Traces at most.
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub limit: u32,
    /// Print the server's answer as JSON.
    #[arg(long)]
    pub json: bool,
    /// Tenant.
    #[arg(long, value_name = "NAME")]
    pub tenant: Option<String>,
}

/// `view`
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    tracewell view trace.json             open it: a server on free ports, until Ctrl-C\n  \
    tracewell view a.json b.json          several files together\n  \
    tracewell view --print trace.json     draw it in the terminal instead\n\n\
    Reads OTLP as JSON (an export request, a line per request, or Tempo's and Tracewell's answers) and as protobuf, and\n\
    Jaeger's JSON.")]
pub struct ViewArgs {
    /// The files.
    #[arg(value_name = "FILE", required = true)]
    pub files: Vec<PathBuf>,
    /// Draw the traces in the terminal and end.
    #[arg(long)]
    pub print: bool,
}

/// `doctor`
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    tracewell doctor                                     this machine, with its configuration\n  \
    tracewell doctor --server http://10.0.0.7:3200       a server elsewhere\n\n\
    Ends with 0 when everything is well, with 1 when something is not.")]
pub struct DoctorArgs {
    /// Configuration.
    #[command(flatten)]
    pub config: ConfigFlags,
    /// The server; the configured one on this machine without it.
    #[arg(long, value_name = "URL", env = "TRACEWELL_SERVER")]
    pub server: Option<String>,
    /// Do not send test spans.
    #[arg(long)]
    pub no_span: bool,
}

/// `config`
#[derive(Debug, Args)]
pub struct ConfigArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: ConfigCommand,
}

/// What to do with the configuration.
#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Print the documented default file: `tracewell config default > tracewell.toml`.
    Default,
    /// Check the configuration and print what is in effect, as `serve --print-config` does.
    Check(ConfigFlags),
}

fn duration(text: &str) -> Result<std::time::Duration, String> {
    tracewell_server::config::duration(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
