//! `tracewell view`: trace files, in the browser or in the terminal.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tracewell_model::{SpanRecord, TraceId};
use tracewell_server::config::{Config, Log, LogFormat};
use tracewell_wire::file::read_traces;

use crate::args::ViewArgs;
use crate::signals::Ends;
use crate::table::counted;
use crate::waterfall::{Style, draw};
use crate::{output, runtime, settings};

/// Largest file that is read.
const FILE_BYTES_MAX: u64 = 2 << 30;

/// Traces that are listed with their address.
const LISTED_MAX: usize = 20;

/// Runs the command.
pub fn run(args: ViewArgs) -> Result<ExitCode> {
    let mut spans = Vec::new();
    for file in &args.files {
        spans.extend(read(file)?);
    }
    let traces = by_trace(spans);
    if traces.is_empty() {
        bail!("there is no span in {}", names(&args.files));
    }
    if args.print {
        let style = Style::of_stdout();
        let drawn: Vec<String> = traces.iter().map(|(_, spans)| draw(spans, style)).collect();
        output::print(&drawn.join("\n"));
        return Ok(ExitCode::SUCCESS);
    }
    settings::start_log(&Log { level: "warn".to_owned(), format: LogFormat::Text })?;
    let runtime = runtime()?;
    let result = runtime.block_on(serve(&args.files, &traces));
    runtime.shutdown_timeout(Duration::from_millis(200));
    Ok(if result? { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

fn read(file: &Path) -> Result<Vec<SpanRecord>> {
    let name = file.display();
    let size = std::fs::metadata(file).with_context(|| format!("cannot read {name}"))?.len();
    if size > FILE_BYTES_MAX {
        bail!("{name} has {}; `tracewell serve` takes such loads over OTLP", crate::table::size(size));
    }
    let bytes = std::fs::read(file).with_context(|| format!("cannot read {name}"))?;
    let traces = read_traces(&bytes).with_context(|| format!("cannot read {name}"))?;
    Ok(traces)
}

/// The spans of each trace, the earliest trace first.
fn by_trace(spans: Vec<SpanRecord>) -> Vec<(TraceId, Vec<SpanRecord>)> {
    let mut traces: BTreeMap<TraceId, Vec<SpanRecord>> = BTreeMap::new();
    for span in spans {
        traces.entry(span.span.trace_id).or_default().push(span);
    }
    let mut traces: Vec<_> = traces.into_iter().collect();
    traces.sort_by_key(|(id, spans)| (spans.iter().map(|record| record.span.start_unix_nano).min(), *id));
    traces
}

async fn serve(files: &[PathBuf], traces: &[(TraceId, Vec<SpanRecord>)]) -> Result<bool> {
    let mut ends = Ends::new()?;
    let folder = tempfile::Builder::new().prefix("tracewell-view-").tempdir()?;
    let mut config = Config { data_dir: folder.path().to_owned(), ..Config::default() };
    config.http.listen = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    config.otlp.grpc_listen = None;
    config.otlp.http_listen = None;
    let running = tracewell_server::start(config).await?;
    for (_, spans) in traces {
        running.import(spans).await.context("the file could not be loaded")?;
    }
    let url = format!("http://{}", running.addresses().http);
    let spans: usize = traces.iter().map(|(_, spans)| spans.len()).sum();
    let mut text = format!("{} in {} of {}\n\n", counted(spans, "span"), counted(traces.len(), "trace"), names(files));
    for (id, spans) in traces.iter().take(LISTED_MAX) {
        text.push_str(&format!("  {url}/trace/{id}  {}\n", counted(spans.len(), "span")));
    }
    if traces.len() > LISTED_MAX {
        text.push_str(&format!("  {url}/  and {} more\n", traces.len() - LISTED_MAX));
    }
    text.push_str("\nEnd it with Ctrl-C.\n");
    output::tell(&text);
    ends.next().await;
    Ok(running.shutdown().await)
}

fn names(files: &[PathBuf]) -> String {
    if files.len() > 3 {
        return format!("{} files", files.len());
    }
    files.iter().map(|file| file.display().to_string()).collect::<Vec<_>>().join(", ")
}
