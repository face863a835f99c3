//! `tracewell serve`: the server, until a signal ends it.

use std::process::ExitCode;

use anyhow::Result;
use tracewell_server::{Running, config};

use crate::args::ServeArgs;
use crate::signals::Ends;
use crate::{output, runtime, settings};

/// Runs the command.
pub fn run(args: ServeArgs) -> Result<ExitCode> {
    let loaded = settings::load(&args.config)?;
    if args.print_config {
        output::print(&config::effective(&loaded));
        return Ok(ExitCode::SUCCESS);
    }
    settings::start_log(&loaded.config.log)?;
    loaded.warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
    let runtime = runtime()?;
    let clean = runtime.block_on(async {
        // Before anything is opened: a signal that comes early must still end it in order.
        let mut ends = Ends::new()?;
        let starting = tracewell_server::start(loaded.config);
        let running = tokio::select! {
            running = starting => running?,
            signal = ends.next() => {
                tracing::info!(signal, "ended while starting");
                return Ok(true);
            }
        };
        output::tell(&format!("{}\n", ready_line(&running)));
        let signal = tokio::select! {
            signal = ends.next() => signal,
            reason = running.failed() => {
                tracing::error!(%reason, "a listener ended");
                "failure"
            }
        };
        tracing::info!(signal, "stopping");
        let clean = tokio::select! {
            clean = running.shutdown() => clean,
            // A second signal means now.
            signal = ends.next() => {
                tracing::warn!(signal, "ended at once");
                false
            }
        };
        anyhow::Ok(clean && signal != "failure")
    });
    // A query that does not listen must not hold the process.
    runtime.shutdown_timeout(std::time::Duration::from_millis(200));
    Ok(if clean? { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

/// The one line on standard output that says that every listener answers, and where.
pub fn ready_line(running: &Running) -> String {
    let addresses = running.addresses();
    let mut line = format!("tracewell is ready: ui http://{}", addresses.http);
    if let Some(grpc) = addresses.otlp_grpc {
        line.push_str(&format!(" otlp-grpc {grpc}"));
    }
    if let Some(http) = addresses.otlp_http {
        line.push_str(&format!(" otlp-http http://{http}"));
    }
    line.push_str(&format!(" data {}", running.data_dir().display()));
    line
}
