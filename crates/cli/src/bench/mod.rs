//! `tracewell bench`: how fast, how small, how soon.
//!
//! It is: a deterministic load, a client that sends it over loopback like any exporter, a stopwatch around the
//! real server process, and a set of questions to ask it afterwards. It is not: a benchmark of functions; every
//! figure is what a user of the binary would see, durability included.
//!
//! ```text
//! generate ─▶ load ─▶ send (gRPC or HTTP) ─▶ tracewell serve ─▶ process, disk, api ─▶ report
//!                                                 ▲
//!                                   query ────────┘  warm, and cold after a restart
//! ```

mod api;
mod cold;
mod disk;
mod generate;
mod ingest;
mod load;
mod process;
mod query;
mod questions;
mod report;
mod send;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand, ValueEnum};

/// Measure this machine: ingest, storage, queries.
#[derive(Debug, Args)]
pub struct BenchArgs {
    #[command(subcommand)]
    command: BenchCommand,
}

#[derive(Debug, Subcommand)]
enum BenchCommand {
    /// Send a load to a server and report speed, acknowledgement times, memory and bytes per span.
    Ingest(IngestArgs),
    /// Ask a server with a load in it the ten questions, warm and cold.
    Query(QueryArgs),
    /// Write a load to a file, to send the same bytes more than once.
    Generate(GenerateArgs),
}

/// The load.
#[derive(Debug, Clone, Args)]
struct LoadArgs {
    /// Spans altogether.
    #[arg(long, default_value_t = 10_000_000)]
    spans: u64,
    /// Spans in a request.
    #[arg(long, default_value_t = 512, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    batch: u32,
    /// The same seed gives the same traces (their times end now).
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Spans for each second of the time that the load covers: 10 million cover half an hour.
    #[arg(long, default_value_t = 5_500)]
    spans_per_second: u64,
}

/// Arguments of `bench generate`.
#[derive(Debug, Args)]
struct GenerateArgs {
    #[command(flatten)]
    load: LoadArgs,
    /// File to write; each request is preceded by its number of spans and of bytes (u32, little-endian).
    #[arg(long)]
    output: PathBuf,
}

/// How spans are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Protocol {
    /// OTLP/gRPC.
    Grpc,
    /// OTLP/HTTP with protobuf.
    Http,
}

/// Arguments of `bench ingest`.
#[derive(Debug, Args)]
struct IngestArgs {
    #[command(flatten)]
    load: LoadArgs,
    /// Send this file of `bench generate` and generate nothing.
    #[arg(long, conflicts_with_all = ["seed", "batch", "spans_per_second"])]
    corpus: Option<PathBuf>,
    /// How to send.
    #[arg(long, value_enum, default_value = "grpc")]
    protocol: Protocol,
    /// Connections.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=1024))]
    connections: u32,
    /// Requests on their way at the same time on each connection.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=1024))]
    in_flight: u32,
    /// Spans a second; as fast as possible without. Acknowledgement is then timed from when a request was due.
    #[arg(long)]
    rate: Option<u64>,
    /// Folder for the data of the server that is started; a temporary one, removed afterwards, without.
    #[arg(long)]
    data_dir: Option<PathBuf>,
    /// Send to a server that runs already, named by the address of its HTTP API (`127.0.0.1:3200`).
    #[arg(long, conflicts_with = "data_dir")]
    server: Option<String>,
    /// Send to any OTLP receiver at this address; nothing is checked afterwards.
    #[arg(long, conflicts_with_all = ["data_dir", "server"])]
    endpoint: Option<String>,
    /// Process whose CPU time and memory to report with `--server` or `--endpoint`.
    #[arg(long)]
    pid: Option<u32>,
    /// Longest wait, in seconds, for the background work after the load (sealing, compaction) to end.
    #[arg(long, default_value_t = 300)]
    settle_seconds: u64,
    /// Print the report as JSON.
    #[arg(long)]
    json: bool,
    /// Further arguments for the `tracewell serve` that is started.
    #[arg(last = true)]
    serve_args: Vec<String>,
}

/// Arguments of `bench query`.
#[derive(Debug, Args)]
struct QueryArgs {
    /// Start a server over this folder, which `bench ingest --data-dir` filled.
    #[arg(long, required_unless_present = "server")]
    data_dir: Option<PathBuf>,
    /// Ask a server that runs already (address of its HTTP API); there are no cold figures then.
    #[arg(long, conflicts_with = "data_dir")]
    server: Option<String>,
    /// How often each question is asked, warm and cold; the median counts.
    #[arg(long, default_value_t = 7, value_parser = clap::value_parser!(u32).range(1..=1000))]
    repeat: u32,
    /// Leave out the cold runs.
    #[arg(long)]
    warm_only: bool,
    /// Print the results as JSON.
    #[arg(long)]
    json: bool,
    /// Further arguments for the `tracewell serve` that is started.
    #[arg(last = true)]
    serve_args: Vec<String>,
}

/// Runs the benchmark. Blocks; must not be called from within an asynchronous runtime.
pub fn run(args: BenchArgs) -> anyhow::Result<ExitCode> {
    match &args.command {
        BenchCommand::Ingest(args) => ingest::run(args)?,
        BenchCommand::Query(args) => query::run(args)?,
        BenchCommand::Generate(args) => load::write_corpus(args)?,
    }
    Ok(ExitCode::SUCCESS)
}
