//! `bench ingest`: sends a load and measures the server meanwhile.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use serde_json::Value;
use tokio::sync::{Mutex, mpsc};
use tokio::task::JoinSet;

use super::api::Api;
use super::load::{self, Request};
use super::process::{self, Server};
use super::report::{Acknowledgements, Background, Report, Visibility};
use super::send::{Client, Outcome};
use super::{IngestArgs, Protocol, disk};

/// First wait before a request is sent again; doubles up to [`RETRY_MAX`].
const RETRY_MIN: Duration = Duration::from_millis(50);
const RETRY_MAX: Duration = Duration::from_secs(2);
/// Tries for one request.
const TRIES_MAX: u32 = 60;
/// Longest wait until all acknowledged spans are counted.
const VISIBLE_MAX: Duration = Duration::from_secs(30);
/// The server counts as quiet when for this long it used less than [`QUIET_SHARE`] of a core and no file changed.
const QUIET_FOR: Duration = Duration::from_secs(20);
const QUIET_SHARE: f64 = 0.03;

/// Runs the command.
pub fn run(args: &IngestArgs) -> anyhow::Result<()> {
    // One thread is plenty for a client, and leaves the other core to the server.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let temporary = std::env::temp_dir().join(format!("tracewell-bench-{}", std::process::id()));
    let started = args.server.is_none() && args.endpoint.is_none();
    let data_dir = started.then(|| args.data_dir.clone().unwrap_or_else(|| temporary.clone()));
    let outcome = runtime.block_on(measure(args, data_dir.as_deref()));
    if data_dir.as_ref() == Some(&temporary) {
        std::fs::remove_dir_all(&temporary).ok();
        if outcome.is_ok() {
            std::fs::remove_file(temporary.with_extension("log")).ok();
        }
    }
    let report = outcome?;
    if args.json {
        println!("{:#}", report.json())
    } else {
        print!("{report}")
    }
    report.verdict()
}

/// Where spans go.
struct Target {
    server: Option<Server>,
    pid: Option<u32>,
    api: Option<String>,
    endpoint: String,
}

impl Target {
    async fn prepare(args: &IngestArgs, data_dir: Option<&Path>) -> anyhow::Result<Self> {
        if let Some(endpoint) = &args.endpoint {
            return Ok(Self { server: None, pid: args.pid, api: None, endpoint: endpoint.clone() });
        }
        let server = match data_dir {
            Some(folder) => {
                if folder.exists() && !disk::files(folder)?.is_empty() {
                    bail!("{} is not empty; name a new folder for --data-dir", folder.display());
                }
                Some(Server::start(folder, &args.serve_args)?)
            }
            None => None,
        };
        if let Some(server) = server {
            let addresses = server.addresses.clone();
            let endpoint = match args.protocol {
                Protocol::Grpc => addresses.otlp_grpc,
                Protocol::Http => addresses.otlp_http,
            };
            return Ok(Self { pid: Some(server.pid()), server: Some(server), api: Some(addresses.api), endpoint });
        }
        let api = args.server.clone().context("no server to send to")?;
        let status = Api::connect(&api).await?.json("/api/v1/status").await?;
        let endpoint = listener(&status, args.protocol)?;
        Ok(Self { server: None, pid: args.pid, api: Some(api), endpoint })
    }

    fn cpu_seconds(&self) -> anyhow::Result<f64> {
        self.pid.map_or(Ok(f64::NAN), process::cpu_seconds)
    }
}

/// Address of the OTLP listener in the answer of `/api/v1/status`.
fn listener(status: &Value, protocol: Protocol) -> anyhow::Result<String> {
    let name = match protocol {
        Protocol::Grpc => "otlpGrpc",
        Protocol::Http => "otlpHttp",
    };
    let address = status["listeners"][name].as_str();
    address.map(str::to_owned).with_context(|| format!("the server has no listener {name}: {}", status["listeners"]))
}

async fn measure(args: &IngestArgs, data_dir: Option<&Path>) -> anyhow::Result<Report> {
    let target = Target::prepare(args, data_dir).await?;
    let mut api = match &target.api {
        Some(address) => Some(Api::connect(address).await?),
        None => None,
    };
    let before = match &mut api {
        Some(api) => api.spans_stored().await?,
        None => 0,
    };
    let (requests, source) = load::start(&args.load, args.corpus.as_deref())?;
    load::fill(&requests).await;
    let cpu_idle = target.cpu_seconds()?;
    let started = Instant::now();
    let tally = send_all(args, &target.endpoint, requests, started).await?;
    source.finish()?;
    let last = tally.last.context("nothing was sent")?;
    let cpu_loaded = target.cpu_seconds()?;
    let memory_loading_bytes = target.pid.map(process::memory_peak_bytes).transpose()?;
    let visibility = match &mut api {
        Some(api) => Some(wait_until_visible(api, before + tally.spans - tally.rejected, last).await?),
        None => None,
    };
    let background = match (target.pid, data_dir) {
        (Some(pid), Some(folder)) => Some(wait_until_quiet(pid, folder, cpu_loaded, args.settle_seconds).await?),
        _ => None,
    };
    let memory_peak_bytes = target.pid.map(process::memory_peak_bytes).transpose()?;
    // Ending seals what is still in memory, so that the files then hold everything.
    let shutdown = target.server.map(Server::stop).transpose()?;
    let usage = data_dir.map(disk::usage).transpose()?;
    Ok(Report {
        protocol: args.protocol,
        connections: args.connections,
        in_flight: args.in_flight,
        rate: args.rate,
        spans: tally.spans,
        requests: tally.latencies_us.len() as u64,
        bytes: tally.bytes,
        rejected: tally.rejected,
        retries: tally.retries,
        remarks: tally.remarks,
        seconds: (last - started).as_secs_f64(),
        cpu_seconds: cpu_loaded - cpu_idle,
        acknowledgements: Acknowledgements::new(tally.latencies_us),
        visibility,
        background,
        memory_loading_bytes,
        memory_peak_bytes,
        usage,
        shutdown,
    })
}

/// What the workers count.
#[derive(Default)]
struct Tally {
    latencies_us: Vec<u32>,
    spans: u64,
    bytes: u64,
    rejected: u64,
    retries: u64,
    remarks: Vec<String>,
    last: Option<Instant>,
}

impl Tally {
    fn add(&mut self, other: Tally) {
        self.latencies_us.extend(other.latencies_us);
        self.spans += other.spans;
        self.bytes += other.bytes;
        self.rejected += other.rejected;
        self.retries += other.retries;
        self.remarks.extend(other.remarks);
        self.last = self.last.max(other.last);
    }
}

/// Sends everything, `connections` × `in_flight` requests at a time.
async fn send_all(
    args: &IngestArgs,
    endpoint: &str,
    requests: mpsc::Receiver<Request>,
    started: Instant,
) -> anyhow::Result<Tally> {
    let requests = Arc::new(Mutex::new(requests));
    let spans_per_request = f64::from(args.load.batch);
    let interval = args.rate.map(|rate| Duration::from_secs_f64(spans_per_request / rate.max(1) as f64));
    let mut workers = JoinSet::new();
    for _ in 0..args.connections {
        let client = Client::connect(args.protocol, endpoint).await?;
        for _ in 0..args.in_flight {
            workers.spawn(work(client.clone(), Arc::clone(&requests), interval, started));
        }
    }
    drop(requests);
    let mut tally = Tally::default();
    while let Some(worker) = workers.join_next().await {
        tally.add(worker??);
    }
    Ok(tally)
}

/// Takes requests and sends them, one at a time, until there are none left.
async fn work(
    mut client: Client,
    requests: Arc<Mutex<mpsc::Receiver<Request>>>,
    interval: Option<Duration>,
    started: Instant,
) -> anyhow::Result<Tally> {
    let mut tally = Tally::default();
    loop {
        let Some(request) = requests.lock().await.recv().await else { return Ok(tally) };
        let due = match interval {
            // Timed from when it was due: a server that stalls must not be excused by a client that waits for it.
            Some(interval) => {
                let due = started + interval.mul_f64(request.number as f64);
                tokio::time::sleep_until(due.into()).await;
                due
            }
            None => Instant::now(),
        };
        let mut wait = RETRY_MIN;
        let mut tries = 1;
        loop {
            match client.export(request.body.clone()).await? {
                Outcome::Accepted { rejected, message } => {
                    let now = Instant::now();
                    tally.latencies_us.push((now - due).as_micros().try_into().unwrap_or(u32::MAX));
                    tally.spans += u64::from(request.spans);
                    tally.bytes += request.body.len() as u64;
                    tally.rejected += rejected;
                    if !message.is_empty() && tally.remarks.len() < 3 {
                        tally.remarks.push(message);
                    }
                    tally.last = Some(now);
                    break;
                }
                Outcome::Busy { after } if tries < TRIES_MAX => {
                    tally.retries += 1;
                    tries += 1;
                    tokio::time::sleep(after.unwrap_or(wait)).await;
                    wait = (wait * 2).min(RETRY_MAX);
                }
                Outcome::Busy { .. } => bail!("the server was busy {TRIES_MAX} times in a row"),
                Outcome::Refused { reason } => bail!("the server refused a request: {reason}"),
            }
        }
    }
}

/// Asks until the listing by service counts what was acknowledged.
async fn wait_until_visible(api: &mut Api, expected: u64, last: Instant) -> anyhow::Result<Visibility> {
    loop {
        let counted = api.spans_stored().await?;
        let after = last.elapsed();
        if counted == expected || after > VISIBLE_MAX {
            return Ok(Visibility { expected, counted, after });
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Waits until the server has finished what it does in the background: sealing, compaction.
async fn wait_until_quiet(pid: u32, folder: &Path, cpu_loaded: f64, seconds_max: u64) -> anyhow::Result<Background> {
    let started = Instant::now();
    let mut quiet_since = started;
    let mut last = (process::cpu_seconds(pid)?, disk::files(folder)?);
    loop {
        tokio::time::sleep(Duration::from_millis(500)).await;
        let now = (process::cpu_seconds(pid)?, disk::files(folder)?);
        if now.0 - last.0 > 0.5 * QUIET_SHARE || now.1 != last.1 {
            quiet_since = Instant::now();
        }
        last = now;
        let ended = quiet_since.elapsed() >= QUIET_FOR;
        if ended || started.elapsed().as_secs() >= seconds_max {
            let seconds = (quiet_since - started).as_secs_f64();
            return Ok(Background { seconds, cpu_seconds: last.0 - cpu_loaded, ended });
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_listener_for_a_protocol_is_found_by_its_name() {
        let status =
            json!({"listeners": {"http": "127.0.0.1:1", "otlpGrpc": "127.0.0.1:2", "otlpHttp": "127.0.0.1:3"}});
        assert_eq!(listener(&status, Protocol::Grpc).unwrap(), "127.0.0.1:2");
        assert_eq!(listener(&status, Protocol::Http).unwrap(), "127.0.0.1:3");
        let error = listener(&json!({"listeners": {"http": "x"}}), Protocol::Grpc).unwrap_err();
        assert!(error.to_string().contains("no listener otlpGrpc"), "{error}");
    }
}
