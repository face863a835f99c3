//! `tracewell ingest-logs`: access logs and application logs with ids, sent as spans and log records.
//!
//! ```text
//! file │ - ─▶ decompressed ─▶ lines ─▶ Converter ─▶ Batch ─┐ (a thread)
//!                                                         ├─▶ bounded channel ─▶ senders ─▶ server
//! --follow: ingest::tail ─────────────────────────────────┘
//! ```

mod dry_run;
mod read;
mod send;
mod summary;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use clap::Args;
use tokio::sync::watch;
use tracewell_ingest::tail::{self, Log, TailConfig, TailStats};
use tracewell_server::time::now_ns;
use tracewell_wire::accesslog::{self, Format, Options, PRESETS};

use crate::args::DEFAULT_SERVER;
use crate::client::Client;
use crate::signals::Ends;
use crate::{output, runtime};
use send::HttpSink;

/// `ingest-logs`
#[derive(Debug, Args)]
#[command(after_help = format!("Formats (told from the first lines without --format):\n{}\n\
    Examples:\n  \
    tracewell ingest-logs access.log                          what is in it, into the server\n  \
    tracewell ingest-logs --dry-run access.log                how the first lines are understood\n  \
    zcat old.gz | tracewell ingest-logs - --service edge      .gz and .zst files can also be named\n  \
    tracewell ingest-logs app.json --field trace=ctx.id --field duration=took:ms\n  \
    tracewell ingest-logs a.log --format '$remote_addr [$time_local] \"$request\" $status $request_time $http_traceparent'\n  \
    tracewell ingest-logs --follow /var/log/nginx/access.log  as it grows, through rotation\n\n\
    A line with a trace context (traceparent, B3, X-Ray, Jaeger, bare ids) and a duration becomes a server span, and a\n\
    client span for each attempt at the server behind. With only a request id, lines of several services that have the\n\
    same one become one trace, marked tracewell.inferred. Without a duration a line becomes a log record of its trace,\n\
    without any id a log record by itself; so does a line that cannot be read. The same file sent twice within an hour is\n\
    stored once. docs/logs.md has what to paste into the configuration of nginx and Envoy.", formats()))]
pub struct IngestLogsArgs {
    /// The files; - for standard input.
    #[arg(value_name = "FILE", required = true)]
    pub files: Vec<PathBuf>,
    /// Name of a format, or a pattern as nginx (log_format), Envoy or Apache (LogFormat) have it.
    #[arg(long, value_name = "NAME|PATTERN")]
    pub format: Option<String>,
    /// What a key means: trace=ctx.id, duration=took:ms; may be repeated.
    #[arg(long = "field", value_name = "FIELD=KEY[:UNIT]")]
    pub fields: Vec<String>,
    /// Service of lines that name none [default: nginx, envoy, … by the format, or the file's name].
    #[arg(long, value_name = "NAME")]
    pub service: Option<String>,
    /// Zone of times that name none, such as +02:00.
    #[arg(long, value_name = "OFFSET", default_value = "Z", allow_hyphen_values = true)]
    pub time_zone: String,
    /// Leave out lines that cannot be read; they are counted all the same.
    #[arg(long)]
    pub skip_unreadable: bool,
    /// Leave out lines that belong to no trace.
    #[arg(long)]
    pub skip_unjoined: bool,
    /// Show how the first lines are understood, and send nothing.
    #[arg(long)]
    pub dry_run: bool,
    /// Go on as the files grow, through rotation, until Ctrl-C; patterns such as '/var/log/nginx/*.log' work.
    #[arg(long, short)]
    pub follow: bool,
    /// With --follow: begin with the lines that come from now on.
    #[arg(long, requires = "follow")]
    pub from_end: bool,
    /// With --follow: keep offsets in this file, so that the next start goes on where this one stops.
    #[arg(long, value_name = "FILE", requires = "follow")]
    pub state: Option<PathBuf>,
    /// The server; its HTTP port or an OTLP/HTTP port.
    #[arg(long, value_name = "URL", env = "TRACEWELL_SERVER", default_value = DEFAULT_SERVER)]
    pub server: String,
    /// How long to go on trying when the server does not take a request.
    #[arg(long, value_name = "TIME", default_value = "1m", value_parser = |text: &str| tracewell_server::config::duration(text))]
    pub retry_for: Duration,
    /// Tenant.
    #[arg(long, value_name = "NAME")]
    pub tenant: Option<String>,
    /// No progress and no summary.
    #[arg(long, short)]
    pub quiet: bool,
}

fn formats() -> String {
    PRESETS.iter().map(|preset| format!("  {:<16} {}\n", preset.name, preset.about)).collect()
}

/// Runs the command.
pub fn run(args: IngestLogsArgs) -> Result<ExitCode> {
    let options = options(&args)?;
    let format = format(&args)?;
    if args.dry_run {
        for file in &args.files {
            output::print(&dry_run::show(file, format.as_ref(), &options, args.service.is_some())?);
        }
        return Ok(ExitCode::SUCCESS);
    }
    let runtime = runtime()?;
    let code = runtime.block_on(async {
        if args.follow { follow(&args, format, options).await } else { once(&args, format, options).await }
    });
    runtime.shutdown_timeout(Duration::from_millis(200));
    code
}

fn options(args: &IngestLogsArgs) -> Result<Options> {
    let zone_s = accesslog::time::parse_zone(&args.time_zone)
        .ok_or_else(|| anyhow!("--time-zone `{}` is not an offset; write for example +02:00 or Z", args.time_zone))?;
    Ok(Options {
        service: args.service.clone().unwrap_or_default(),
        zone_s,
        keep_unreadable: !args.skip_unreadable,
        keep_unjoined: !args.skip_unjoined,
        fallback_time_ns: 0,
    })
}

fn format(args: &IngestLogsArgs) -> Result<Option<Format>> {
    let mut format = match &args.format {
        Some(text) => Some(Format::named(text).context("--format")?),
        // A mapping is for lines whose values have names.
        None if !args.fields.is_empty() => Some(Format::named("json")?),
        None => None,
    };
    for mapping in &args.fields {
        format.iter_mut().try_for_each(|format| format.map(mapping)).context("--field")?;
    }
    Ok(format)
}

/// The service by the format's program, else by the file's name.
fn service_of(format: &Format, file: &Path) -> String {
    let program = format.name().split('-').next().unwrap_or_default();
    if ["nginx", "envoy", "apache", "caddy", "traefik", "haproxy"].contains(&program) {
        return program.to_owned();
    }
    let name = file.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    match name.split('.').next() {
        Some(stem) if !stem.is_empty() && stem != "-" => stem.to_owned(),
        _ => "access-log".to_owned(),
    }
}

async fn once(args: &IngestLogsArgs, format: Option<Format>, options: Options) -> Result<ExitCode> {
    let sink = Arc::new(HttpSink::new(Client::new(&args.server, args.tenant.clone())?));
    let stats = Arc::new(TailStats::default());
    let started = std::time::Instant::now();
    let (stop, stopping) = watch::channel(false);
    let mut ends = Ends::new()?;
    let work = async {
        for file in &args.files {
            let job = read::Job {
                file: file.clone(),
                format: format.clone(),
                options: options.clone(),
                named_service: args.service.is_some(),
                retry_for: args.retry_for,
                progress: !args.quiet && std::io::IsTerminal::is_terminal(&std::io::stderr()),
            };
            let shown = file.display().to_string();
            read::run(job, &sink, &stats, &stopping).await.with_context(|| shown)?;
        }
        anyhow::Ok(())
    };
    let result = tokio::select! {
        result = work => result,
        signal = ends.next() => {
            stop.send_replace(true);
            Err(anyhow!("{signal}: stopped before the end; the same command again stores each line once"))
        }
    };
    let snapshot = stats.lines.snapshot();
    if !args.quiet {
        output::print(&summary::draw(&snapshot, started.elapsed()));
    }
    result?;
    let unreadable: u64 = snapshot.unreadable.values().sum();
    let nothing_read = unreadable > 0 && unreadable + snapshot.blank_lines == snapshot.lines;
    if nothing_read {
        bail!("no line could be read; name the format with --format, and look at it with --dry-run");
    }
    Ok(ExitCode::SUCCESS)
}

async fn follow(args: &IngestLogsArgs, format: Option<Format>, options: Options) -> Result<ExitCode> {
    let client = Client::new(&args.server, args.tenant.clone())?;
    let mut logs = Vec::new();
    for file in &args.files {
        if file.as_os_str() == "-" {
            bail!("--follow is for files; standard input is read to its end without it");
        }
        let mut options = options.clone();
        if args.service.is_none() {
            let guess = format.clone().or_else(|| read::format_of(file).ok().flatten());
            options.service = guess.map_or_else(|| "access-log".to_owned(), |format| service_of(&format, file));
        }
        options.fallback_time_ns = now_ns();
        let path = std::path::absolute(file).unwrap_or_else(|_| file.clone());
        logs.push(Log { path, format: format.clone(), options });
    }
    let config = TailConfig {
        logs,
        state_file: args.state.clone(),
        poll: Duration::from_millis(500),
        from_end: args.from_end,
        tenant: args.tenant.clone().unwrap_or_else(|| "default".to_owned()).into(),
    };
    let stats = Arc::new(TailStats::default());
    let started = std::time::Instant::now();
    let (stop, stopping) = watch::channel(false);
    let mut ends = Ends::new()?;
    let sink = Arc::new(HttpSink::new(client));
    let refused = Arc::clone(&sink);
    let following = tokio::spawn(tail::follow(config, sink, Arc::clone(&stats), stopping));
    let result = tokio::select! {
        _ = ends.next() => Ok(()),
        reason = refused.refused() => Err(anyhow!("the server refuses what is sent: {reason}")),
    };
    stop.send_replace(true);
    following.await??;
    if !args.quiet {
        output::print(&summary::draw(&stats.lines.snapshot(), started.elapsed()));
        for file in stats.files() {
            let error = file.error.map(|error| format!(": {error}")).unwrap_or_default();
            let format = file.format.unwrap_or_else(|| "no line yet".to_owned());
            output::line(&format!("{} ({format}): stored up to byte {}{error}", file.path, file.offset_bytes));
        }
    }
    result.map(|()| ExitCode::SUCCESS)
}
