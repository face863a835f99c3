//! `tracewell run -- CMD`: starts a program with its language's zero-code instrumentation against a server.
//!
//! ```text
//! command ─▶ detect ─▶ python │ node │ java ─▶ agent (found, or installed into a folder of ours when asked)
//! server  ─▶ where OTLP goes ─┐                 │
//! environment now ────────────┴─▶ environment ◀─┘ ─▶ child (its streams, signals, exit code) ─▶ report
//! ```
//!
//! Whatever fails on the way, the program is started: it must never be worse off with us than without.

mod agent;
mod child;
mod detect;
mod environment;
mod java;
mod node;
mod python;
mod report;
mod server;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{BufRead, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::{ExitCode, ExitStatus};

use anyhow::{Context, Result};
use clap::{Args, ValueEnum};
use serde_json::Value;
use tracewell_server::time::now_ns;

use crate::args::DEFAULT_SERVER;
use crate::client::Client;
use crate::{output, runtime};
use agent::Agent;
use detect::{Detected, Runtime, Surroundings};
use environment::{Plan, Wanted, shell_quoted};
use server::{Found, Temporary};

/// `run`
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    tracewell run -- python app.py                what would have to be installed is said first\n  \
    tracewell run --install -- flask run          Python's instrumentation, into a folder of its own\n  \
    tracewell run --install -- npm start\n  \
    tracewell run --java-agent agent.jar -- java -jar shop.jar\n  \
    tracewell run --serve --install -- pytest     with a server for the time of the run\n  \
    tracewell run --dry-run -- python app.py      the environment and the commands, as lines for a shell\n\n\
    Nothing is installed unless you say so, and never into the program's own environment. What you have set in the\n\
    environment stays. The program keeps its streams, gets every signal, and its exit code is the command's; 125 means\n\
    that the command itself failed, 126 and 127 that the program cannot be started. docs/run.md says more.")]
pub struct RunArgs {
    /// The server, by its HTTP address; it says where spans go.
    #[arg(long, value_name = "URL", env = "TRACEWELL_SERVER", default_value = DEFAULT_SERVER)]
    pub server: String,
    /// Send spans and logs to this OTLP/HTTP address instead, such as http://127.0.0.1:4318.
    #[arg(long, value_name = "URL")]
    pub otlp: Option<String>,
    /// Name of the service; the program's name without it.
    #[arg(long, value_name = "NAME")]
    pub service: Option<String>,
    /// Install what is missing, into ~/.cache/tracewell/run.
    #[arg(long)]
    pub install: bool,
    /// Start a server for the time of the run.
    #[arg(long, conflicts_with = "otlp")]
    pub serve: bool,
    /// The agent for Java (opentelemetry-javaagent.jar).
    #[arg(long, value_name = "FILE")]
    pub java_agent: Option<PathBuf>,
    /// The language, where it is not seen from the command.
    #[arg(long, value_enum, default_value_t = Language::Auto)]
    pub language: Language,
    /// Print the environment and the commands, and end.
    #[arg(long)]
    pub dry_run: bool,
    /// Say nothing; the program's own output is never touched.
    #[arg(long, short)]
    pub quiet: bool,
    /// The program and its arguments.
    #[arg(value_name = "CMD", required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    pub command: Vec<OsString>,
}

/// A language to be instrumented.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Language {
    /// From the command.
    Auto,
    /// Python.
    Python,
    /// Node.
    Node,
    /// Java.
    Java,
    /// None: the environment alone.
    None,
}

/// The exit code when the command itself fails, as `env` and `timeout` have it.
const OWN_FAILURE: u8 = 125;

/// Runs the command.
pub fn run(args: RunArgs) -> Result<ExitCode> {
    let code = runtime().and_then(|runtime| {
        let code = runtime.block_on(whole_run(&args));
        runtime.shutdown_timeout(std::time::Duration::from_millis(200));
        code
    });
    match code {
        Ok(code) => Ok(ExitCode::from(code)),
        Err(error) => {
            crate::report(&error);
            Ok(ExitCode::from(OWN_FAILURE))
        }
    }
}

/// Where our own lines go: standard error, each with a prefix.
struct Voice {
    quiet: bool,
}

impl Voice {
    fn say(&self, line: impl AsRef<str>) {
        if !self.quiet {
            // A closed standard error is no reason to end.
            let _ = writeln!(std::io::stderr().lock(), "tracewell run: {}", line.as_ref());
        }
    }
}

async fn whole_run(args: &RunArgs) -> Result<u8> {
    let voice = Voice { quiet: args.quiet };
    let here = std::env::current_dir().unwrap_or_default();
    let around = Surroundings { path: std::env::var_os("PATH").unwrap_or_default(), working_dir: here.clone() };
    let detected = detect::detect(&args.command, &around);
    let temporary = if args.serve && !args.dry_run { Some(Temporary::start().await?) } else { None };
    let found = find_server(args, temporary.as_ref(), &voice).await;
    let endpoint = args.otlp.clone().or_else(|| found.as_ref().map(|found| found.otlp.clone()));

    let now: BTreeMap<String, String> = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect();
    let has_address = now.keys().any(|name| name.starts_with("OTEL_EXPORTER_OTLP_") && name.ends_with("ENDPOINT"));
    let cache = agent::cache_folder();
    let mut agent = if endpoint.is_some() || has_address || args.dry_run {
        prepare(args, &detected, &here, &cache, &voice)
    } else {
        Agent::default()
    };
    if !args.dry_run {
        install(&mut agent, args, &voice).await;
    }
    let status = tempfile::Builder::new().prefix("tracewell-run-").tempdir().ok();
    let run_id = new_id();
    let active = agent.install.is_none() || args.dry_run;
    let mut additions = if active { agent.additions.clone() } else { Vec::new() };
    if let Some(folder) = &status
        && !args.dry_run
    {
        additions.push(environment::Addition::Own("TRACEWELL_RUN_STATUS", folder.path().display().to_string()));
    }
    let wanted = Wanted {
        service_flag: args.service.clone(),
        service_guess: detected.service.clone(),
        endpoint: endpoint.clone(),
        endpoint_flag: args.otlp.is_some(),
        run_id: run_id.clone(),
        agent: additions,
    };
    // Without a server the program runs as if we were not there: exporters that fail would only write to its streams.
    let plan = if endpoint.is_some() || has_address || args.dry_run {
        environment::plan(&now, &wanted)
    } else {
        Plan::default()
    };
    if args.dry_run {
        output::print(&dry_run(args, &agent, &plan));
        return Ok(0);
    }
    tell_plan(&agent, &plan, &detected, &voice);

    let started_ns = now_ns();
    let code = match child::start(&args.command, &plan.set) {
        Err(not_started) => {
            let program = args.command.first().map(|word| word.to_string_lossy().into_owned()).unwrap_or_default();
            // Even when quiet: nobody else says it.
            Voice { quiet: false }.say(format!("cannot start {program}: {}", not_started.reason));
            not_started.code
        }
        Ok(running) => {
            let ended = child::wait(running).await?;
            let loaded = status.as_ref().map(|folder| report::loaded(folder.path())).unwrap_or_default();
            let outcome = Outcome { ended, loaded, run_id: &run_id, started_ns, plan: &plan, agent: &agent };
            if let (Some(found), false) = (&found, args.quiet) {
                tell_arrived(found, &outcome, &voice).await;
            }
            child::exit_code(ended)
        }
    };
    if let Some(temporary) = temporary {
        if !args.quiet && std::io::stdin().is_terminal() && std::io::stderr().is_terminal() {
            voice.say(format!("the server at {} stays until Ctrl-C", temporary.url()));
            crate::signals::Ends::new()?.next().await;
        }
        temporary.stop().await;
    }
    Ok(code)
}

/// The server, or what to do about there being none.
async fn find_server(args: &RunArgs, temporary: Option<&Temporary>, voice: &Voice) -> Option<Found> {
    let url = temporary.map_or_else(|| args.server.clone(), Temporary::url);
    match server::find(&url).await {
        Ok(found) => Some(found),
        Err(_) if args.otlp.is_some() => None,
        Err(error) => {
            voice.say(format!("no server answers at {url}: {}", error.root_cause()));
            voice.say(
                "the program runs without instrumentation; start `tracewell serve` before it, name a server with \
                 --server URL, or take one for the time of the run with --serve",
            );
            None
        }
    }
}

/// Finds the instrumentation for what was detected.
fn prepare(args: &RunArgs, detected: &Detected, here: &Path, cache: &Path, voice: &Voice) -> Agent {
    let support = match agent::support_files(cache) {
        Ok(folder) => folder,
        Err(error) => {
            voice.say(format!("no instrumentation: {error:#}"));
            return Agent::default();
        }
    };
    let runtime = match args.language {
        Language::Auto => detected.runtime.clone(),
        Language::Python => match &detected.runtime {
            found @ Runtime::Python(_) => found.clone(),
            _ => Runtime::Python(vec!["python3".into()]),
        },
        Language::Node => Runtime::Node(vec!["node".into()]),
        Language::Java => Runtime::Java,
        Language::None => Runtime::Other,
    };
    match runtime {
        Runtime::Python(words) => python::prepare(&words, &args.command, &support, cache),
        Runtime::Node(words) => node::prepare(&words, &support, cache),
        Runtime::Java => java::prepare(args.java_agent.as_deref(), &args.command, here, cache),
        Runtime::Unsupported(language, advice) => {
            let notes = vec![format!("{language} has no instrumentation that can be put in from outside: {advice}")];
            Agent { notes, ..Agent::default() }
        }
        Runtime::Instrumented(by) => {
            let notes = vec![format!("{by} brings the instrumentation; the environment is set for it")];
            Agent { notes, ..Agent::default() }
        }
        Runtime::Other => {
            let notes = vec![
                "the command is not seen to be Python, Node or Java: the environment alone is set, for programs with an \
                 OpenTelemetry SDK of their own (--language says it otherwise)"
                    .to_owned(),
            ];
            Agent { notes, ..Agent::default() }
        }
    }
}

/// Installs what is missing if the user says so; otherwise says what would be.
async fn install(agent: &mut Agent, args: &RunArgs, voice: &Voice) {
    let Some(install) = agent.install.take() else { return };
    let what = format!("{} needs {}", agent.runtime, install.packages);
    let into = format!("into {} (never into the program's own environment)", install.folder.display());
    if !args.install && !asked(&what, &into, args.quiet) {
        voice.say(&what);
        voice.say(format!("nothing was installed; --install puts it {into}"));
        agent.install = Some(install);
        return;
    }
    if args.install {
        voice.say(format!("{what}; installing {into}"));
    }
    let folder = install.folder.clone();
    let started = std::time::Instant::now();
    let performed = tokio::task::spawn_blocking(move || (install.perform(), install)).await;
    match performed {
        Ok((Ok(()), _)) => {
            voice.say(format!("installed in {:.1} s", started.elapsed().as_secs_f64()));
            agent.notes.push(format!("uses what is in {}", folder.display()));
        }
        Ok((Err(error), install)) => {
            voice.say(format!("cannot install: {error:#}; the program runs without instrumentation"));
            agent.install = Some(install);
        }
        Err(_) => voice.say("cannot install; the program runs without instrumentation"),
    }
}

/// Asks a person; nobody there means no.
fn asked(what: &str, into: &str, quiet: bool) -> bool {
    if quiet || !std::io::stdin().is_terminal() || !std::io::stderr().is_terminal() {
        return false;
    }
    let mut stderr = std::io::stderr().lock();
    if write!(stderr, "tracewell run: {what}\ntracewell run: install it {into}? [y/N] ").is_err() {
        return false;
    }
    let mut answer = String::new();
    let read = std::io::stdin().lock().read_line(&mut answer);
    read.is_ok() && matches!(answer.trim(), "y" | "Y" | "yes")
}

fn tell_plan(agent: &Agent, plan: &Plan, detected: &Detected, voice: &Voice) {
    if plan.set.is_empty() {
        return;
    }
    let runtime = if agent.runtime.is_empty() { String::new() } else { format!("{}: ", agent.runtime) };
    agent.notes.iter().for_each(|note| voice.say(format!("{runtime}{note}")));
    if let Some(reason) = &agent.unavailable {
        voice.say(format!("{runtime}no instrumentation: {reason}"));
    }
    let service = plan.value("OTEL_SERVICE_NAME").unwrap_or(&detected.service);
    let address = plan.value("OTEL_EXPORTER_OTLP_ENDPOINT").unwrap_or("the address that you have set");
    voice.say(format!("service {service}, spans and logs to {address}"));
    for (name, value) in &plan.kept {
        voice.say(format!("{name}={value} stays as you have set it"));
    }
}

/// Everything as lines for a shell.
fn dry_run(args: &RunArgs, agent: &Agent, plan: &Plan) -> String {
    let line = |words: &[OsString]| {
        words.iter().map(|word| shell_quoted(&word.to_string_lossy())).collect::<Vec<_>>().join(" ")
    };
    let mut out = String::new();
    if !agent.runtime.is_empty() {
        out.push_str(&format!("# {}\n", agent.runtime));
    }
    for note in agent.notes.iter().chain(&agent.unavailable) {
        out.push_str(&format!("# {note}\n"));
    }
    if let Some(install) = &agent.install {
        out.push_str(&format!("# would install {}\n", install.packages));
        out.push_str(&format!("{}\n", line(&install.command_into(&install.folder))));
    }
    for (name, value) in &plan.kept {
        out.push_str(&format!("# {name}={} stays as it is\n", shell_quoted(value)));
    }
    for (name, value) in &plan.set {
        out.push_str(&format!("export {name}={}\n", shell_quoted(value)));
    }
    out.push_str(&format!("{}\n", line(&args.command)));
    out
}

/// A run that has ended.
struct Outcome<'a> {
    ended: ExitStatus,
    loaded: Vec<report::Loaded>,
    run_id: &'a str,
    started_ns: u64,
    plan: &'a Plan,
    agent: &'a Agent,
}

async fn tell_arrived(found: &Found, outcome: &Outcome<'_>, voice: &Voice) {
    let instrumented = !outcome.agent.additions.is_empty() && outcome.agent.install.is_none();
    let expects = !outcome.loaded.is_empty() || instrumented;
    let arrived = match report::arrived(found, outcome.run_id, outcome.started_ns, expects).await {
        Ok(arrived) => arrived,
        Err(error) => return voice.say(format!("cannot ask what arrived: {error:#}")),
    };
    if !arrived.is_empty() {
        arrived.lines(&found.client.url(), outcome.run_id).iter().for_each(|line| voice.say(line));
        return;
    }
    voice.say("nothing arrived");
    let now: Value = status_of(&found.client).await.unwrap_or_default();
    let address = outcome.plan.kept.iter().find(|(name, _)| name == "OTEL_EXPORTER_OTLP_ENDPOINT");
    let killed = std::os::unix::process::ExitStatusExt::signal(&outcome.ended).is_some();
    let nothing = report::Nothing {
        loaded: &outcome.loaded,
        runtime: instrumented.then(|| outcome.agent.runtime.split(' ').next().unwrap_or_default()),
        status: Some((&found.status, &now)),
        elsewhere: address.map(|(_, value)| value.as_str()),
        disabled: std::env::var("OTEL_SDK_DISABLED").is_ok_and(|value| value.eq_ignore_ascii_case("true")),
        killed,
    };
    report::reasons(&nothing).iter().for_each(|reason| voice.say(format!("  {reason}")));
}

async fn status_of(client: &Client) -> Result<Value> {
    client.get_json("/api/v1/status").await.context("the server no longer answers")
}

/// An id for the run: the time and our process make it unlike any other.
fn new_id() -> String {
    agent::short_hash(&format!("{} {}", now_ns(), std::process::id()))
}
