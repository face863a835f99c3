//! Files of spans and log records, into memory, where queries find them.
//!
//! ```text
//! file or - ─▶ zstd? gzip? ─▶ lines? ─ batches ─▶ parse, parse, … ─ in order ─▶ Head of spans
//!                               └ no ─ whole file ───────▶ parse ───────────▶ Head of log records
//! ```
//!
//! A file of lines is never in memory as a whole: a few batches are, and what is in the columns of the heads.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use anyhow::{Context, Result, anyhow, bail};
use tracewell_store::head::Head;
use tracewell_store::table::{Signal, Source};
use tracewell_wire::file::{Contents, FileError, is_line, read, read_line};

use super::progress::Progress;

/// Largest file, decompressed, that is read as a whole because it is not one of lines; also the longest line.
const WHOLE_BYTES_MAX: u64 = 4 << 30;

/// Lines of about this size together go to a thread.
const BATCH_BYTES: usize = 4 << 20;

/// Spans and log records in memory.
pub struct Loaded {
    spans: Head,
    logs: Head,
    /// Spans that could not be used.
    pub rejected: u64,
}

impl Loaded {
    /// Reads files.
    pub fn of(files: &[PathBuf]) -> Result<Self> {
        let (spans, logs) = (Head::new(Signal::Traces), Head::new(Signal::Logs));
        let mut loaded = Self { spans, logs, rejected: 0 };
        let mut progress = Progress::new();
        for file in files {
            let name = if file.as_os_str() == "-" { "standard input".to_owned() } else { file.display().to_string() };
            progress.file(&name);
            loaded.file(file, &mut progress).with_context(|| format!("cannot read {name}"))?;
        }
        Ok(loaded)
    }

    /// The spans, for queries.
    pub fn spans(&self) -> Vec<Arc<dyn Source>> {
        self.spans.sources()
    }

    /// The log records, for queries.
    pub fn logs(&self) -> Vec<Arc<dyn Source>> {
        self.logs.sources()
    }

    /// How many spans there are.
    pub fn span_count(&self) -> u64 {
        self.spans.rows()
    }

    fn file(&mut self, file: &Path, progress: &mut Progress) -> Result<()> {
        let counted = AtomicU64::new(0);
        let mut input = open(file, &counted)?;
        let mut first = Vec::new();
        (&mut input).take(WHOLE_BYTES_MAX).read_until(b'\n', &mut first)?;
        if is_line(&first) {
            return self.lines(first, input, &counted, progress);
        }
        let mut whole = first;
        (&mut input).take(WHOLE_BYTES_MAX - whole.len() as u64).read_to_end(&mut whole)?;
        if !input.fill_buf()?.is_empty() {
            bail!("it has more than {} and is not one of lines", crate::table::size(WHOLE_BYTES_MAX));
        }
        progress.tell(counted.load(Ordering::Relaxed), self.spans.rows());
        self.take(&read(&whole)?);
        Ok(())
    }

    fn take(&mut self, contents: &Contents) {
        self.spans.append(&contents.traces);
        self.logs.append(&contents.logs);
        self.rejected += contents.rejected;
    }

    /// Batches are dealt to the threads in turn, and taken back in turn, so that the order stays.
    fn lines(
        &mut self,
        first: Vec<u8>,
        input: impl BufRead + Send,
        counted: &AtomicU64,
        progress: &mut Progress,
    ) -> Result<()> {
        let threads = std::thread::available_parallelism().map_or(1, usize::from).min(8);
        std::thread::scope(|scope| {
            let mut dealers = Vec::new();
            let mut takers = Vec::new();
            for _ in 0..threads {
                let (deal, dealt) = sync_channel::<Batch>(1);
                let (give, taken) = sync_channel(1);
                scope.spawn(move || work(&dealt, &give));
                dealers.push(deal);
                takers.push(taken);
            }
            let reading = scope.spawn(move || deal(first, input, &dealers));
            'all: loop {
                for taken in &takers {
                    let Ok(contents) = taken.recv() else { break 'all };
                    for contents in contents? {
                        self.take(&contents);
                    }
                    progress.tell(counted.load(Ordering::Relaxed), self.spans.rows());
                }
            }
            reading.join().map_err(|_| anyhow!("reading broke off"))?
        })
    }
}

/// Whole lines, and the number of the first.
struct Batch {
    first: usize,
    lines: Vec<u8>,
}

/// Cuts the input into batches. Ends early when a thread has found an error and is gone.
fn deal(first: Vec<u8>, mut input: impl BufRead, dealers: &[SyncSender<Batch>]) -> Result<()> {
    let mut batch = Batch { first: 1, lines: first };
    let mut number = 2;
    for dealer in dealers.iter().cycle() {
        let mut ended = false;
        while batch.lines.len() < BATCH_BYTES && !ended {
            let before = batch.lines.len();
            let read = (&mut input).take(WHOLE_BYTES_MAX).read_until(b'\n', &mut batch.lines)?;
            if read as u64 == WHOLE_BYTES_MAX && batch.lines.get(before + read - 1) != Some(&b'\n') {
                bail!("line {number} has more than {}", crate::table::size(WHOLE_BYTES_MAX));
            }
            ended = read == 0;
            number += usize::from(read > 0);
        }
        let full = std::mem::replace(&mut batch, Batch { first: number, lines: Vec::new() });
        if dealer.send(full).is_err() || ended {
            break;
        }
    }
    Ok(())
}

fn work(dealt: &Receiver<Batch>, give: &SyncSender<Result<Vec<Contents>, FileError>>) {
    for batch in dealt {
        let lines = batch.lines.split(|byte| *byte == b'\n').enumerate();
        let lines = lines.filter(|(_, line)| !line.iter().all(u8::is_ascii_whitespace));
        let contents = lines.map(|(index, line)| read_line(line, batch.first + index)).collect();
        if give.send(contents).is_err() {
            break;
        }
    }
}

/// Opens a file, or standard input for `-`, and undoes the compression that its first bytes tell of.
fn open<'c>(file: &Path, counted: &'c AtomicU64) -> Result<Box<dyn BufRead + Send + 'c>> {
    let raw: Box<dyn Read + Send> = match file.as_os_str() == "-" {
        true => Box::new(std::io::stdin()),
        false => Box::new(std::fs::File::open(file)?),
    };
    let mut raw = BufReader::with_capacity(1 << 16, Counting { raw, counted });
    let start = raw.fill_buf()?;
    if start.starts_with(b"\x28\xb5\x2f\xfd") {
        return Ok(Box::new(BufReader::with_capacity(1 << 18, zstd::stream::read::Decoder::with_buffer(raw)?)));
    }
    if start.starts_with(b"\x1f\x8b") {
        return Ok(Box::new(BufReader::with_capacity(1 << 18, flate2::bufread::MultiGzDecoder::new(raw))));
    }
    Ok(Box::new(raw))
}

/// Counts what was read of a file.
struct Counting<'c, R> {
    raw: R,
    counted: &'c AtomicU64,
}

impl<R: Read> Read for Counting<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let read = self.raw.read(buffer)?;
        self.counted.fetch_add(read as u64, Ordering::Relaxed);
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    const LINE: &str = r#"{"resourceSpans":[{"scopeSpans":[{"spans":[{"traceId":"5b8efff798038103d269b633813fc60c","spanId":"eee19b7ec3c1b174","name":"x"}]}]}]}"#;
    const LOGS: &str = r#"{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"body":{"stringValue":"x"},"traceId":"5b8efff798038103d269b633813fc60c"}]}]}]}"#;

    fn load(bytes: &[u8]) -> Result<(u64, u64)> {
        let mut file = tempfile::NamedTempFile::new()?;
        file.write_all(bytes)?;
        let loaded = Loaded::of(&[file.path().to_owned()])?;
        let logs = loaded.logs().iter().map(|source| u64::from(source.rows())).sum();
        Ok((loaded.span_count(), logs))
    }

    #[test]
    fn files_are_read_whatever_their_shape_and_compression() {
        let lines = format!("{LINE}\n{LOGS}\n\n{LINE}");
        let gzip = {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            encoder.write_all(lines.as_bytes()).unwrap();
            encoder.finish().unwrap()
        };
        let zstd = zstd::encode_all(lines.as_bytes(), 1).unwrap();
        // Pretty: the first line is not a request by itself.
        let pretty = LINE.replacen(':', ":\n", 1);
        for (name, bytes, expected) in [
            ("lines", lines.as_bytes(), (2, 1)),
            ("lines, Windows", lines.replace('\n', "\r\n").as_bytes(), (2, 1)),
            ("gzip", &gzip, (2, 1)),
            ("gzip, twice", &[gzip.clone(), b"".to_vec(), gzip.clone()].concat(), (3, 2)),
            ("zstd", &zstd, (2, 1)),
            ("one line", LINE.as_bytes(), (1, 0)),
            ("several lines make one document", pretty.as_bytes(), (1, 0)),
            ("documents of several lines", format!("{pretty}\n{pretty}").as_bytes(), (2, 0)),
        ] {
            let read = load(bytes).unwrap_or_else(|error| panic!("{name}: {error:#}"));
            // Two gzip members without a line feed between them join the last and the first line.
            let expected = if name == "gzip, twice" { (4, 2) } else { expected };
            assert_eq!(read, expected, "{name}");
        }
    }

    #[test]
    fn many_batches_stay_in_order_and_errors_name_their_line() {
        let one = format!("{LINE}\n");
        let count = 3 * BATCH_BYTES / one.len();
        assert_eq!(load(one.repeat(count).as_bytes()).unwrap(), (count as u64, 0));
        let broken = format!("{}{{\"resourceSpans\":7}}\n{}", one.repeat(count - 1), one.repeat(count));
        let error = format!("{:#}", load(broken.as_bytes()).unwrap_err());
        assert!(error.contains(&format!("line {count} column")), "{error}");
        assert!(load(b"hello").is_err() && load(b"").is_err());
    }
}
