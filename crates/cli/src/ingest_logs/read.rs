//! One file from its start to its end.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, UNIX_EPOCH};

use anyhow::{Context, Result, anyhow};
use tokio::sync::{Mutex, mpsc, watch};
use tokio::task::JoinSet;
use tracewell_ingest::tail::{self, Lines, TailStats};
use tracewell_server::time::now_ns;
use tracewell_wire::accesslog::{Batch, Converter, Encoded, Format, Options, Place};

use super::send::HttpSink;
use super::service_of;
use crate::table::size;

/// Requests that are on their way at one time.
const SENDERS: usize = 3;

/// Requests that wait for a sender.
const WAITING: usize = 2;

/// What is to be read.
pub struct Job {
    pub file: PathBuf,
    pub format: Option<Format>,
    pub options: Options,
    /// The service was named; it does not follow from the format.
    pub named_service: bool,
    pub retry_for: Duration,
    pub progress: bool,
}

/// Reads a file and sends what is in it.
pub async fn run(job: Job, sink: &Arc<HttpSink>, stats: &Arc<TailStats>, stop: &watch::Receiver<bool>) -> Result<()> {
    let (sender, receiver) = mpsc::channel::<Encoded>(WAITING);
    let retry_for = job.retry_for;
    let reading = {
        let (stats, stop) = (Arc::clone(stats), stop.clone());
        tokio::task::spawn_blocking(move || read(&job, &stats, &sender, &stop))
    };
    let receiver = Arc::new(Mutex::new(receiver));
    let mut senders = JoinSet::new();
    for _ in 0..SENDERS {
        let (receiver, sink, stats) = (Arc::clone(&receiver), Arc::clone(sink), Arc::clone(stats));
        let mut stop = stop.clone();
        senders.spawn(async move {
            let tenant: Arc<str> = "default".into();
            loop {
                let Some(encoded) = receiver.lock().await.recv().await else { return anyhow::Ok(()) };
                let sending = tail::deliver(sink.as_ref(), &tenant, encoded, &stats.lines, Some(retry_for), &mut stop);
                tokio::select! {
                    sent = sending => sent?,
                    reason = sink.refused() => return Err(anyhow!("the server refuses what is sent: {reason}")),
                }
            }
        });
    }
    let mut result = Ok(());
    while let Some(ended) = senders.join_next().await {
        let ended = ended.map_err(anyhow::Error::from).and_then(|ended| ended);
        if ended.is_err() && result.is_ok() {
            // The reader ends when nobody takes what it makes.
            senders.abort_all();
            receiver.lock().await.close();
            result = ended;
        }
    }
    drop(receiver);
    let read = reading.await?;
    result.and(read)
}

/// Opens a file, or standard input, and decompresses it.
pub fn open(file: &Path) -> Result<Box<dyn Read + Send>> {
    if file.as_os_str() == "-" {
        return Ok(tail::decompressed(std::io::stdin())?);
    }
    let opened = std::fs::File::open(file).context("cannot open it")?;
    if opened.metadata()?.is_dir() {
        return Err(anyhow!("it is a folder; name files"));
    }
    Ok(tail::decompressed(opened)?)
}

/// The format of a file by its first lines.
pub fn format_of(file: &Path) -> Result<Option<Format>> {
    let (begin, _) = tail::sample(open(file)?)?;
    Ok(detect(&begin))
}

/// The format of a sample, whose last line may be cut off.
pub fn detect(sample: &str) -> Option<Format> {
    let whole = sample.rsplit_once('\n').map_or(sample, |(lines, _)| lines);
    Format::detect(whole.lines())
}

/// A converter for a file: with the format that was named, or that its first lines have.
pub fn converter(
    file: &Path,
    sample: &str,
    format: Option<&Format>,
    options: &Options,
    named: bool,
) -> Result<Converter> {
    let format = match format {
        Some(format) => format.clone(),
        // Lines that fit nothing are kept as text.
        None => detect(sample).map_or_else(|| Format::named("nginx-combined"), Ok)?,
    };
    let mut options = options.clone();
    if !named {
        options.service = service_of(&format, file);
    }
    let modified = std::fs::metadata(file).and_then(|metadata| metadata.modified()).ok();
    let modified = modified.and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    options.fallback_time_ns = modified.map_or_else(now_ns, |since| since.as_nanos() as u64);
    Ok(Converter::new(format, options))
}

fn read(job: &Job, stats: &TailStats, sender: &mpsc::Sender<Encoded>, stop: &watch::Receiver<bool>) -> Result<()> {
    let (begin, reader) = tail::sample(open(&job.file)?)?;
    let mut converter = converter(&job.file, &begin, job.format.as_ref(), &job.options, job.named_service)?;
    let name = job.file.display().to_string();
    let mut lines = Lines::new(reader, 0);
    let mut batch = Batch::default();
    let mut progress = Progress { shown: Instant::now(), started: Instant::now(), on: job.progress };
    loop {
        // What was read before a file turned out to be damaged is kept.
        let (line, damage) = match lines.next_line() {
            Ok(line) => (line, None),
            Err(error) => (None, Some(error)),
        };
        let ended = line.is_none();
        if let Some(line) = line {
            let outcome = converter.convert(line.bytes, Place { offset: line.offset, cut: line.cut });
            stats.lines.count(&outcome, &name, line.offset, line.bytes, line.length);
            batch.push(outcome, line.bytes.len());
        }
        if batch.is_full() || (ended && !batch.is_empty()) {
            if *stop.borrow() || sender.blocking_send(batch.take()).is_err() {
                return Ok(());
            }
            progress.show(stats);
        }
        if let Some(error) = damage {
            return Err(anyhow::Error::from(error).context("cannot be read to its end"));
        }
        if ended {
            progress.clear();
            return Ok(());
        }
    }
}

/// A line on a terminal that is written over.
struct Progress {
    shown: Instant,
    started: Instant,
    on: bool,
}

impl Progress {
    fn show(&mut self, stats: &TailStats) {
        if self.on && self.shown.elapsed() > Duration::from_millis(500) {
            self.shown = Instant::now();
            let counts = stats.lines.snapshot();
            let rate = counts.lines as f64 / self.started.elapsed().as_secs_f64().max(0.001);
            eprint!("\r\x1b[K{} lines, {}, {rate:.0} lines/s", counts.lines, size(counts.bytes));
        }
    }

    fn clear(&self) {
        if self.on {
            eprint!("\r\x1b[K");
        }
    }
}
