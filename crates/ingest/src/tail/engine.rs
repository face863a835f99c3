//! All files in turn: look, read a batch, hand it over, remember.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use serde::Serialize;
use tokio::sync::watch;
use tracewell_wire::accesslog::{Batch, Converter, Encoded, Format, Place};

use super::deliver::deliver;
use super::follow::{Change, Follower, identity};
use super::lines::Lines;
use super::source::is_compressed_name;
use super::state::State;
use super::stats::LineStats;
use super::{FILES_MAX, Log, TailConfig, glob};
use crate::sink::Sink;

/// Looks at a renamed file without news, after which its writers have let go of it.
const QUIET_LOOKS_MAX: u32 = 3;

/// Lines, and files.
#[derive(Debug, Default)]
pub struct TailStats {
    /// Of all files together.
    pub lines: LineStats,
    files: Mutex<BTreeMap<PathBuf, FileStatus>>,
}

/// How a file stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FileStatus {
    /// Its path.
    pub path: String,
    /// The service of its lines.
    pub service: String,
    /// The format of its lines, when it is known.
    pub format: Option<String>,
    /// Everything before this offset is stored.
    pub offset_bytes: u64,
    /// Why it cannot be read at the moment.
    pub error: Option<String>,
}

impl TailStats {
    /// Every file that is followed or cannot be, by path.
    pub fn files(&self) -> Vec<FileStatus> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    fn update(&self, path: &Path, change: impl FnOnce(&mut FileStatus)) {
        let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        let status = files.entry(path.to_owned()).or_insert_with(|| FileStatus {
            path: path.display().to_string(),
            service: String::new(),
            format: None,
            offset_bytes: 0,
            error: None,
        });
        change(status);
    }
}

/// Follows files until told to stop; what it cannot open it tries again at every look.
///
/// # Errors
/// When the state cannot be read; everything else is shown in `stats`.
pub async fn follow(
    config: TailConfig,
    sink: Arc<dyn Sink>,
    stats: Arc<TailStats>,
    mut stop: watch::Receiver<bool>,
) -> io::Result<()> {
    let state = State::open(config.state_file.as_deref())?;
    let mut tail = Tail { config, state, tracked: Vec::new(), stats: Arc::clone(&stats) };
    while !*stop.borrow() {
        tail = blocking(tail, Tail::look).await?.0;
        let mut progressed = false;
        let mut index = 0;
        while index < tail.tracked.len() && !*stop.borrow() {
            let (returned, filled) = blocking(tail, move |tail| tail.fill(index)).await?;
            tail = returned;
            if let Some(Filled { encoded, end, last_time_ns }) = filled {
                progressed = true;
                let tenant = Arc::clone(&tail.config.tenant);
                if deliver(sink.as_ref(), &tenant, encoded, &stats.lines, None, &mut stop).await.is_err() {
                    return Ok(());
                }
                tail = blocking(tail, move |tail| tail.stored(index, end, last_time_ns)).await?.0;
            }
            index += 1;
        }
        if !progressed {
            tokio::select! {
                () = tokio::time::sleep(tail.config.poll) => {}
                _ = stop.wait_for(|stop| *stop) => {}
            }
        }
    }
    Ok(())
}

/// Files are read where that may block.
async fn blocking<T: Send + 'static>(
    mut tail: Tail,
    work: impl FnOnce(&mut Tail) -> T + Send + 'static,
) -> io::Result<(Tail, T)> {
    let done = tokio::task::spawn_blocking(move || {
        let result = work(&mut tail);
        (tail, result)
    });
    done.await.map_err(io::Error::other)
}

struct Tail {
    config: TailConfig,
    state: State,
    tracked: Vec<Tracked>,
    stats: Arc<TailStats>,
}

struct Tracked {
    follower: Follower,
    log: usize,
    converter: Option<Converter>,
    /// The format was guessed from lines that fit none.
    guessed: bool,
    renamed: bool,
    quiet_looks: u32,
}

/// A request that is ready.
struct Filled {
    encoded: Encoded,
    end: u64,
    last_time_ns: u64,
}

impl Tail {
    /// Finds new files, and sees what became of the known ones.
    fn look(&mut self) {
        for tracked in &mut self.tracked {
            match tracked.follower.look() {
                Ok(Change::None) => {}
                Ok(Change::Truncated) => {
                    tracing::info!(path = %tracked.follower.path.display(), "emptied; read from its start")
                }
                Ok(Change::Renamed) => {
                    tracked.renamed = true;
                    tracked.quiet_looks += 1;
                }
                Err(error) => {
                    self.stats.update(&tracked.follower.path, |status| status.error = Some(error.to_string()))
                }
            }
        }
        let state = &mut self.state;
        self.tracked.retain(|tracked| {
            let over = tracked.renamed && tracked.quiet_looks > QUIET_LOOKS_MAX;
            if over {
                state.done(tracked.follower.position().identity);
            }
            !over
        });
        for index in 0..self.config.logs.len() {
            for path in glob::files(&self.config.logs[index].path, FILES_MAX) {
                if self.tracked.len() < FILES_MAX && !is_compressed_name(&path) {
                    self.open(index, &path);
                }
            }
        }
    }

    /// Begins to follow a path, unless the file that it leads to is followed or was.
    fn open(&mut self, log: usize, path: &Path) {
        let known = |found| self.tracked.iter().any(|tracked| tracked.follower.position().identity == found);
        let opened = match std::fs::File::open(path).and_then(|file| identity(&file)) {
            Ok((found, _)) if known(found) || self.state.is_done(found) => return,
            Ok(_) => self.begin(path),
            Err(error) => Err(error),
        };
        match opened {
            Ok(follower) => {
                let service = self.config.logs[log].options.service.clone();
                let offset = follower.position().offset;
                self.stats.update(path, |status| {
                    (status.service, status.offset_bytes, status.error) = (service, offset, None);
                });
                tracing::info!(path = %path.display(), offset, "following");
                let tracked =
                    Tracked { follower, log, converter: None, guessed: false, renamed: false, quiet_looks: 0 };
                self.tracked.push(tracked);
            }
            Err(error) => self.stats.update(path, |status| status.error = Some(error.to_string())),
        }
    }

    fn begin(&mut self, path: &Path) -> io::Result<Follower> {
        // Once a path is followed its position is in memory; the state is for the first time after a start.
        let first = self.tracked.iter().all(|tracked| tracked.follower.path != path);
        let resumed = match self.state.get(path).filter(|_| first) {
            Some(position) => Follower::resume(path, position)?,
            None => None,
        };
        match resumed {
            Some(follower) => Ok(follower),
            // A file that took the place of a followed one is new from its first line.
            None => Follower::open(path, self.config.from_end && first && self.state.get(path).is_none()),
        }
    }

    /// Reads the next request of a file; `None` when there is no news.
    fn fill(&mut self, index: usize) -> Option<Filled> {
        let tracked = self.tracked.get_mut(index)?;
        match tracked.fill(&self.config.logs[tracked.log], &self.stats) {
            Ok(filled) => {
                let filled = filled?;
                tracked.quiet_looks = 0;
                let path = tracked.follower.path.clone();
                let position = tracked.follower.sending(filled.end);
                self.remember(&path, position);
                Some(filled)
            }
            Err(error) => {
                self.stats.update(&tracked.follower.path, |status| status.error = Some(error.to_string()));
                None
            }
        }
    }

    fn stored(&mut self, index: usize, end: u64, last_time_ns: u64) {
        let Some(tracked) = self.tracked.get_mut(index) else { return };
        let position = tracked.follower.stored(end, last_time_ns);
        let path = tracked.follower.path.clone();
        let format = tracked.converter.as_ref().map(|converter| converter.format().name().to_owned());
        self.stats.update(&path, |status| (status.offset_bytes, status.format, status.error) = (end, format, None));
        self.remember(&path, position);
    }

    fn remember(&mut self, path: &Path, position: super::state::Position) {
        if let Err(error) = self.state.set(path, position) {
            let message = format!("its offset cannot be written down: {error}");
            self.stats.update(path, |status| status.error = Some(message));
        }
    }
}

impl Tracked {
    fn fill(&mut self, log: &Log, stats: &TailStats) -> io::Result<Option<Filled>> {
        if self.converter.is_none() || self.guessed {
            self.choose_format(log)?;
        }
        let Some(converter) = &mut self.converter else { return Ok(None) };
        let position = self.follower.position().clone();
        // A line that is taken at the end of a renamed file has no line end to wait for.
        let takes_unfinished = self.renamed && self.quiet_looks >= QUIET_LOOKS_MAX;
        let file = self.follower.path.display().to_string();
        let mut lines = self.follower.lines()?;
        let (mut batch, mut end) = (Batch::default(), position.offset);
        while position.pending_end.is_none_or(|pending| end < pending) {
            let Some(line) = lines.next_line()? else { break };
            if !line.ended && !takes_unfinished {
                break;
            }
            let outcome = converter.convert(line.bytes, Place { offset: line.offset, cut: line.cut });
            stats.lines.count(&outcome, &file, line.offset, line.bytes, line.length);
            end = line.offset + line.length;
            batch.push(outcome, line.bytes.len());
            if batch.is_full() && position.pending_end.is_none() {
                break;
            }
        }
        if end == position.offset {
            return Ok(None);
        }
        Ok(Some(Filled { encoded: batch.take(), end, last_time_ns: converter.last_time_ns() }))
    }

    /// The configured format, or that of the first lines; one that fits none is looked at again with more lines.
    fn choose_format(&mut self, log: &Log) -> io::Result<()> {
        let position = self.follower.position().clone();
        let found = match &log.format {
            Some(format) => Some(format.clone()),
            None => {
                let mut lines: Lines<_> = self.follower.lines()?;
                let mut texts = Vec::new();
                while texts.len() < tracewell_wire::accesslog::SAMPLE_LINES_MAX {
                    match lines.next_line()? {
                        Some(line) if line.ended => texts.push(String::from_utf8_lossy(line.bytes).into_owned()),
                        _ => break,
                    }
                }
                if texts.is_empty() {
                    return Ok(());
                }
                Format::detect(texts.iter().map(String::as_str))
            }
        };
        self.guessed = found.is_none();
        let format = match (found, self.converter.is_some()) {
            (Some(format), _) => format,
            (None, true) => return Ok(()),
            // Lines that fit nothing are kept as text.
            (None, false) => Format::named("nginx-combined").map_err(io::Error::other)?,
        };
        let mut options = log.options.clone();
        if options.fallback_time_ns == 0 {
            options.fallback_time_ns = modified_ns(&self.follower.path);
        }
        let mut converter = Converter::new(format, options);
        if position.last_time_ns > 0 {
            converter.set_last_time_ns(position.last_time_ns);
        }
        self.converter = Some(converter);
        Ok(())
    }
}

/// When the file was last written, for lines without a time before the first line with one.
fn modified_ns(path: &Path) -> u64 {
    let modified = std::fs::metadata(path).and_then(|metadata| metadata.modified()).ok();
    let since = modified.and_then(|time| time.duration_since(std::time::UNIX_EPOCH).ok());
    since.map_or(0, |since| since.as_nanos() as u64)
}
