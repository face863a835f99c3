//! Where the requests come from: the generator, or a file that it wrote. Either runs in a thread of its own, a
//! bounded number of requests ahead of those who send them.

use std::fs::File;
use std::io::{BufReader, BufWriter, ErrorKind, Read, Write};
use std::path::Path;
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::Context;
use bytes::Bytes;
use tokio::sync::mpsc;

use super::generate::{Generator, Load};
use super::{GenerateArgs, LoadArgs};

/// Requests that lie ready.
const AHEAD: usize = 64;

/// A request to send.
#[derive(Clone)]
pub struct Request {
    /// Its place in the load, from 0.
    pub number: u64,
    /// Spans in it.
    pub spans: u32,
    /// An encoded `ExportTraceServiceRequest`.
    pub body: Bytes,
}

/// The thread that makes the requests.
pub struct Source {
    thread: JoinHandle<anyhow::Result<()>>,
}

/// Starts the source for a load, or for a corpus if a file is named.
pub fn start(load: &LoadArgs, corpus: Option<&Path>) -> anyhow::Result<(mpsc::Receiver<Request>, Source)> {
    let (sender, requests) = mpsc::channel(AHEAD);
    let thread = match corpus {
        Some(path) => {
            let file = File::open(path).with_context(|| format!("cannot open the corpus {}", path.display()))?;
            let spans_max = load.spans;
            let name = path.display().to_string();
            let file = BufReader::with_capacity(1 << 20, file);
            std::thread::spawn(move || read_corpus(file, spans_max, &sender).context(name))
        }
        None => {
            let generator = Generator::new(load.to_load()?);
            std::thread::spawn(move || {
                for (number, request) in generator.enumerate() {
                    let (spans, body) = (request.spans, Bytes::from(request.body));
                    // The receiver is gone when the run was given up.
                    if sender.blocking_send(Request { number: number as u64, spans, body }).is_err() {
                        break;
                    }
                }
                Ok(())
            })
        }
    };
    Ok((requests, Source { thread }))
}

/// Waits until as many requests lie ready as there may, so that the clock starts with the source at rest.
pub async fn fill(requests: &mpsc::Receiver<Request>) {
    while requests.len() < requests.max_capacity() && !requests.is_closed() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

impl Source {
    /// Waits for the end of the thread and says what went wrong in it, if anything did.
    pub fn finish(self) -> anyhow::Result<()> {
        self.thread.join().unwrap_or_else(|_| anyhow::bail!("the thread that makes the load panicked"))
    }
}

impl LoadArgs {
    fn to_load(&self) -> anyhow::Result<Load> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).context("the clock stands before 1970")?;
        Ok(Load {
            seed: self.seed,
            spans: self.spans,
            spans_per_second: self.spans_per_second.max(1),
            end_unix_nano: now.as_nanos() as u64,
            batch: self.batch as usize,
        })
    }
}

/// Sends the requests of a corpus, up to a number of spans.
fn read_corpus(mut file: impl Read, spans_max: u64, sender: &mpsc::Sender<Request>) -> anyhow::Result<()> {
    let (mut number, mut sent) = (0, 0);
    let mut head = [0; 8];
    while sent < spans_max {
        match file.read_exact(&mut head) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => break,
            Err(error) => return Err(error.into()),
        }
        let [a, b, c, d, e, f, g, h] = head;
        let (spans, len) = (u32::from_le_bytes([a, b, c, d]), u32::from_le_bytes([e, f, g, h]));
        anyhow::ensure!(
            len <= 64 << 20,
            "request {number} claims {len} bytes; is this a file of `tracewell bench generate`?"
        );
        let mut body = vec![0; len as usize];
        file.read_exact(&mut body).with_context(|| format!("request {number} is cut off"))?;
        if sender.blocking_send(Request { number, spans, body: Bytes::from(body) }).is_err() {
            break;
        }
        number += 1;
        sent += u64::from(spans);
    }
    Ok(())
}

/// Writes a load to a file and says what is in it.
pub fn write_corpus(args: &GenerateArgs) -> anyhow::Result<()> {
    let path = args.output.display();
    let file = File::create(&args.output).with_context(|| format!("cannot create {path}"))?;
    let mut out = BufWriter::with_capacity(1 << 20, file);
    let mut generator = Generator::new(args.load.to_load()?);
    let started = Instant::now();
    let (mut spans, mut bytes) = (0u64, 0u64);
    for request in generator.by_ref() {
        out.write_all(&request.spans.to_le_bytes())?;
        out.write_all(&(request.body.len() as u32).to_le_bytes())?;
        out.write_all(&request.body)?;
        spans += u64::from(request.spans);
        bytes += request.body.len() as u64;
    }
    out.flush().with_context(|| format!("cannot write {path}"))?;
    let seconds = started.elapsed().as_secs_f64();
    println!(
        "{path}: {spans} spans in {} traces, {:.1} B/span as OTLP, {:.1} attributes/span besides the resource's, {:.0} spans/s",
        generator.traces(),
        bytes as f64 / spans.max(1) as f64,
        generator.own_attributes_mean(),
        spans as f64 / seconds,
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(spans: u64) -> LoadArgs {
        LoadArgs { spans, batch: 512, seed: 1, spans_per_second: 5500 }
    }

    fn received(load: &LoadArgs, corpus: Option<&Path>) -> Vec<(u64, u32)> {
        let (mut requests, source) = start(load, corpus).unwrap();
        let requests: Vec<_> = std::iter::from_fn(|| requests.blocking_recv()).collect();
        source.finish().unwrap();
        requests.into_iter().map(|request| (request.number, request.spans)).collect()
    }

    #[test]
    fn a_corpus_gives_back_what_was_written_and_no_more_than_is_asked_for() {
        let path = std::env::temp_dir().join(format!("tracewell-corpus-{}", std::process::id()));
        write_corpus(&GenerateArgs { load: load(2000), output: path.clone() }).unwrap();
        let all = received(&load(u64::MAX), Some(&path));
        assert_eq!(all, received(&load(2000), None));
        assert_eq!(all.iter().map(|(_, spans)| spans).sum::<u32>(), 2000);
        assert_eq!(received(&load(600), Some(&path)), all[..2]);
        std::fs::remove_file(&path).unwrap();
    }
}
