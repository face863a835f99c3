//! The server as a process: starting it, reading its CPU time and memory, ending it.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

/// Kernel ticks in a second as `/proc` counts them: 100 on every Linux (`USER_HZ` is part of its ABI).
const TICKS_PER_SECOND: f64 = 100.0;
/// Longest wait for a server to end after SIGTERM, before it is killed.
const STOP_MAX: Duration = Duration::from_secs(30);

/// Where a server listens, each as `host:port`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Addresses {
    /// HTTP API.
    pub api: String,
    /// OTLP/gRPC.
    pub otlp_grpc: String,
    /// OTLP/HTTP.
    pub otlp_http: String,
}

/// A `tracewell serve` that this program started; it ends with it.
pub struct Server {
    child: Child,
    /// Where it listens.
    pub addresses: Addresses,
    /// How long it took until the ready line.
    pub startup: Duration,
    /// Its log.
    pub log: PathBuf,
}

impl Server {
    /// Starts this very program as a server over `data_dir`, on free ports, and waits until it is ready.
    pub fn start(data_dir: &Path, further: &[String]) -> anyhow::Result<Self> {
        fs::create_dir_all(data_dir).with_context(|| format!("cannot create {}", data_dir.display()))?;
        let log = data_dir.with_extension("log");
        let errors = File::options().create(true).append(true).open(&log);
        let errors = errors.with_context(|| format!("cannot write {}", log.display()))?;
        let program = std::env::current_exe().context("cannot tell the path of this program")?;
        let started = Instant::now();
        let mut child = Command::new(&program)
            .arg("serve")
            .arg("--data-dir")
            .arg(data_dir)
            .args(["--http-listen", "127.0.0.1:0"])
            .args(["--otlp-grpc-listen", "127.0.0.1:0", "--otlp-http-listen", "127.0.0.1:0"])
            .args(further)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(errors)
            .spawn()
            .with_context(|| format!("cannot start {}", program.display()))?;
        let mut out = BufReader::new(child.stdout.take().context("the server has no standard output")?);
        let mut line = String::new();
        let addresses = loop {
            line.clear();
            if out.read_line(&mut line).unwrap_or(0) == 0 {
                let status = child.wait()?;
                bail!("the server ended before it was ready ({status}); its log is {}", log.display());
            }
            if let Some(addresses) = Addresses::from_ready_line(&line) {
                break addresses;
            }
        };
        let startup = started.elapsed();
        // Whatever else it says must not fill the pipe.
        std::thread::spawn(move || std::io::copy(&mut out, &mut std::io::sink()));
        Ok(Self { child, addresses, startup, log })
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Asks it to end and waits; returns how long that took.
    pub fn stop(mut self) -> anyhow::Result<Duration> {
        let started = Instant::now();
        if let Some(pid) = rustix::process::Pid::from_raw(self.child.id() as i32) {
            rustix::process::kill_process(pid, rustix::process::Signal::TERM).context("cannot signal the server")?;
        }
        while started.elapsed() < STOP_MAX {
            if let Some(status) = self.child.try_wait()? {
                anyhow::ensure!(status.success(), "the server ended with {status}; its log is {}", self.log.display());
                return Ok(started.elapsed());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        bail!("the server did not end within {} s of SIGTERM", STOP_MAX.as_secs());
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Fails only where the process has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Addresses {
    /// Reads `tracewell is ready: ui http://… otlp-grpc … otlp-http http://…`; `None` for any other line.
    fn from_ready_line(line: &str) -> Option<Self> {
        let (_, rest) = line.split_once("is ready:")?;
        let after = |name: &str| {
            let mut words = rest.split_ascii_whitespace().skip_while(|word| *word != name);
            words.nth(1).map(|address| address.trim_start_matches("http://").trim_end_matches('/').to_owned())
        };
        Some(Self { api: after("ui")?, otlp_grpc: after("otlp-grpc")?, otlp_http: after("otlp-http")? })
    }
}

/// CPU time of a process so far, user and system, in seconds.
pub fn cpu_seconds(pid: u32) -> anyhow::Result<f64> {
    let path = format!("/proc/{pid}/stat");
    let stat = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    parse_cpu_seconds(&stat).with_context(|| format!("{path} is not as proc(5) says"))
}

fn parse_cpu_seconds(stat: &str) -> Option<f64> {
    // The second field is the command in brackets, which may hold anything, brackets too.
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_ascii_whitespace().skip(11);
    let user: f64 = fields.next()?.parse().ok()?;
    let system: f64 = fields.next()?.parse().ok()?;
    Some((user + system) / TICKS_PER_SECOND)
}

/// Largest resident memory of a process so far, in bytes.
pub fn memory_peak_bytes(pid: u32) -> anyhow::Result<u64> {
    let path = format!("/proc/{pid}/status");
    let status = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok());
    kib.map(|kib| kib * 1024).with_context(|| format!("{path} has no VmHWM"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_time_is_found_behind_any_command_name() {
        let stat = "42 (a) b (c)) S 1 42 42 0 -1 4194560 1 0 0 0 150 50 0 0 20 0 3 0 100 0 0";
        assert_eq!(parse_cpu_seconds(stat), Some(2.0));
        assert_eq!(parse_cpu_seconds("42 (a) S"), None);
    }

    #[test]
    fn the_own_process_has_used_memory_and_can_be_asked_for_its_time() {
        assert!(memory_peak_bytes(std::process::id()).unwrap() > 1 << 20);
        assert!(cpu_seconds(std::process::id()).unwrap() >= 0.0);
    }

    #[test]
    fn the_ready_line_names_all_addresses() {
        let line =
            "tracewell is ready: ui http://127.0.0.1:1 otlp-grpc 127.0.0.1:2 otlp-http http://127.0.0.1:3 data /d\n";
        let [api, otlp_grpc, otlp_http] = ["127.0.0.1:1", "127.0.0.1:2", "127.0.0.1:3"].map(str::to_owned);
        assert_eq!(Addresses::from_ready_line(line), Some(Addresses { api, otlp_grpc, otlp_http }));
        assert_eq!(Addresses::from_ready_line("replaying the log\n"), None);
    }
}
