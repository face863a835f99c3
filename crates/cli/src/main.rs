//! The `tracewell` command: the only place that talks to the terminal.
//!
//! Each subcommand is one module. Libraries return typed errors; here they are printed once, with their causes, and with
//! what to do about them.

mod args;
mod bench;
mod client;
mod demo;
mod doctor;
mod explain;
mod ingest_logs;
mod output;
mod proxy;
mod query;
mod run;
mod serve;
mod settings;
mod signals;
mod table;
mod times;
mod view;
mod waterfall;

use std::process::ExitCode;

use anyhow::Result;
use clap::{CommandFactory, Parser};

use args::{Cli, Command, ConfigCommand};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    match dispatch(Cli::parse().command) {
        Ok(code) => code,
        Err(error) => {
            report(&error);
            ExitCode::from(1)
        }
    }
}

fn dispatch(command: Command) -> Result<ExitCode> {
    match command {
        Command::Serve(args) => serve::run(args),
        Command::Demo(args) => demo::run(args),
        Command::Query(args) => query::run(args),
        Command::Explain(args) => explain::run(args),
        Command::View(args) => view::run(args),
        Command::Doctor(args) => doctor::run(args),
        Command::Proxy(args) => proxy::run(args),
        Command::Bench(args) => bench::run(args),
        Command::Run(args) => run::run(args),
        Command::IngestLogs(args) => ingest_logs::run(args),
        Command::Config(args) => {
            match args.command {
                ConfigCommand::Default => output::print(&tracewell_server::config::default_file()),
                ConfigCommand::Check(flags) => {
                    output::print(&tracewell_server::config::effective(&settings::load(&flags)?));
                }
            }
            Ok(ExitCode::SUCCESS)
        }
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "tracewell", &mut script);
            output::print(&String::from_utf8_lossy(&script));
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// Starts the threads that a command with a server or a client needs.
fn runtime() -> Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_multi_thread().enable_all().build()?)
}

/// Prints an error once, with its causes and a hint.
fn report(error: &anyhow::Error) {
    let mut text = format!("error: {error}\n");
    let mut last = error.to_string();
    for cause in error.chain().skip(1) {
        let cause = cause.to_string();
        // Some errors already say their cause.
        if !last.contains(&cause) {
            text.push_str(&format!("  because: {cause}\n"));
        }
        last = cause;
    }
    if let Some(hint) = hint(error) {
        text.push_str(&format!("  hint: {hint}\n"));
    }
    eprint!("{text}");
}

fn hint(error: &anyhow::Error) -> Option<String> {
    for cause in error.chain() {
        if let Some(server) = cause.downcast_ref::<client::ServerError>() {
            return server.hint.clone();
        }
        if let Some(start) = cause.downcast_ref::<tracewell_server::StartError>() {
            return start.hint();
        }
        if let Some(io) = cause.downcast_ref::<std::io::Error>()
            && io.kind() == std::io::ErrorKind::ConnectionRefused
        {
            return Some("start a server with `tracewell serve`, or name one with --server URL".to_owned());
        }
    }
    None
}
