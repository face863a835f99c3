//! `tracewell demo`: the shop and a server to look at it with.

mod control;
mod fault;

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use tracewell_demo::{DemoConfig, Switch};
use tracewell_server::Running;
use tracewell_server::config::{Config, Log, LogFormat};

use crate::args::{DemoArgs, DemoCommand};
use crate::signals::Ends;
use crate::{output, runtime, settings};

/// Runs the command.
pub fn run(args: DemoArgs) -> Result<ExitCode> {
    match &args.command {
        Some(DemoCommand::Fault(args)) => fault::run(args),
        None => open(&args),
    }
}

fn open(args: &DemoArgs) -> Result<ExitCode> {
    let faults = faults(args)?;
    settings::start_log(&Log { level: args.log.clone(), format: LogFormat::Text })?;
    let folder = Folder::new(args.data_dir.clone())?;
    let config = config(args, &folder)?;
    let runtime = runtime()?;
    let result: Result<bool> = runtime.block_on(async {
        let mut ends = Ends::new()?;
        let running = tracewell_server::start(config).await?;
        let otlp = running.addresses().otlp_http.context("OTLP/HTTP does not listen")?;
        let mut shop = DemoConfig::new(format!("http://{otlp}"));
        shop.requests_per_second = args.rate;
        shop.faults = faults.clone();
        let shop = match tracewell_demo::run(shop).await {
            Ok(shop) => shop,
            Err(error) => {
                running.shutdown().await;
                return Err(error.into());
            }
        };
        running.with_demo(Arc::new(control::Shop(shop.control())));
        let ready = crate::serve::ready_line(&running);
        output::tell(&format!("{ready}\n{}", invitation(&running, args, &faults, &folder)));
        let limit = async {
            match args.duration {
                Some(duration) => tokio::time::sleep(duration).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = ends.next() => {}
            () = limit => {}
        }
        shop.stop().await;
        Ok(running.shutdown().await)
    });
    runtime.shutdown_timeout(Duration::from_millis(200));
    Ok(if result? { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

/// Where the traces are kept.
struct Folder {
    path: PathBuf,
    /// Deleted at the end.
    temporary: Option<tempfile::TempDir>,
}

impl Folder {
    fn new(named: Option<PathBuf>) -> Result<Self> {
        match named {
            Some(path) => Ok(Self { path, temporary: None }),
            None => {
                let temporary = tempfile::Builder::new().prefix("tracewell-demo-").tempdir()?;
                Ok(Self { path: temporary.path().to_owned(), temporary: Some(temporary) })
            }
        }
    }
}

/// The usual ports where they are free, any others where they are not.
fn config(args: &DemoArgs, folder: &Folder) -> Result<Config> {
    let mut config = Config { data_dir: folder.path.clone(), ..Config::default() };
    config.http.listen = match &args.http_listen {
        Some(address) => {
            address.parse().map_err(|_| anyhow!("`{address}` is not an address; write for example 127.0.0.1:3200"))?
        }
        None => free_or_any("the user interface", config.http.listen),
    };
    config.otlp.grpc_listen = config.otlp.grpc_listen.map(|address| free_or_any("OTLP/gRPC", address));
    config.otlp.http_listen = config.otlp.http_listen.map(|address| free_or_any("OTLP/HTTP", address));
    Ok(config)
}

fn free_or_any(who: &str, wanted: SocketAddr) -> SocketAddr {
    if TcpListener::bind(wanted).is_ok() {
        return wanted;
    }
    eprintln!("port {} is taken; {who} uses a free one instead", wanted.port());
    SocketAddr::from((Ipv4Addr::LOCALHOST, 0))
}

/// The faults asked for, in either way.
fn faults(args: &DemoArgs) -> Result<Vec<Switch>> {
    let mut faults = args.faults.clone();
    if let Some(database) = &args.slow_database {
        faults.push(Switch::new("slow-database", Some(database))?);
    }
    Ok(faults)
}

fn invitation(running: &Running, args: &DemoArgs, faults: &[Switch], folder: &Folder) -> String {
    let url = format!("http://{}", running.addresses().http);
    let kept = if folder.temporary.is_some() { "deleted at the end; --data-dir FOLDER keeps them" } else { "kept" };
    let server = if running.addresses().http.port() == 3200 { String::new() } else { format!(" --server {url}") };
    let mut look = String::new();
    for switch in faults {
        let fault = switch.fault();
        look.push_str(&format!(
            "  On: {switch} ({}). Look for {}:\n    tracewell query '{}'{server}\n",
            fault.title, fault.look, fault.query
        ));
    }
    if faults.is_empty() {
        look = format!(
            "  Some requests fail, most do not. The failed ones:\n\
             \x20   tracewell query '{{ status = error }}'{server}\n\
             \x20 Make something go wrong, and see what it does:\n\
             \x20   tracewell demo fault list{server}\n"
        );
    }
    format!(
        "\n  Open {url}\n\n\
         \x20 The shop answers {} requests per second; the first traces are there in a few seconds.\n{look}\
         \x20 Traces: {} ({kept})\n\
         \x20 End it with Ctrl-C.\n\n",
        args.rate,
        folder.path.display(),
    )
}
