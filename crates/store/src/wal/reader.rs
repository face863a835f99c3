//! Reading the log back when a store is opened.
//!
//! What is acknowledged is in a durable frame, so replay gives up nothing that can be read: past damage it
//! looks for the next frame that is whole. Only what lies at the very end of the last file, with nothing good
//! behind it, is taken for a write that was under way when the power went, and cut off.

use std::io::{self, Read};
use std::path::Path;

use super::format::{self, FRAME_HEAD_BYTES, FrameHead, Header, HeaderError, PREAMBLE_BYTES};
use super::{Fs, LogEntry, WalFile};
use crate::table::Signal;

/// How many findings a report describes; the rest are counted only.
const FINDINGS_MAX: usize = 100;
/// Bytes asked of the file at a time.
const READ_BYTES: usize = 1 << 20;

/// A frame as it lies in the log.
#[derive(Debug, Clone, Copy)]
pub struct FrameRef<'a> {
    /// Frame number.
    pub number: u64,
    /// When it was received, in milliseconds since the epoch.
    pub received_ms: u64,
    /// Tenant.
    pub tenant: &'a str,
    /// What the payload holds.
    pub signal: Signal,
    /// The request.
    pub payload: &'a [u8],
}

/// What replay read and what it could not.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct ReplayReport {
    /// Files read.
    pub files: u64,
    /// Whole frames read.
    pub frames: u64,
    /// Bytes read.
    pub bytes: u64,
    /// Bytes of an unfinished write cut off the last file. Nothing in them was acknowledged, unless the file was
    /// damaged exactly at its end.
    pub torn_bytes: u64,
    /// Bytes in the middle that are not what was written.
    pub damaged_bytes: u64,
    /// Frame numbers that should be there and are not.
    pub missing_frames: u64,
    /// What was found, in words; at most a hundred entries.
    pub findings: Vec<String>,
}

impl ReplayReport {
    fn note(&mut self, finding: String) {
        tracing::warn!("{finding}");
        if self.findings.len() < FINDINGS_MAX {
            self.findings.push(finding);
        }
    }
}

/// The outcome of [`replay`].
#[derive(Debug, Default)]
pub struct Replay {
    /// The files that are left, oldest first. None of them may be written again.
    pub files: Vec<WalFile>,
    /// One more than the highest frame number seen, 1 where there is none.
    pub next_frame: u64,
    /// What happened.
    pub report: ReplayReport,
}

/// Reads every frame of the log in `dir`, in order. Cuts an unfinished write off the last file and removes files
/// that never held a frame; touches nothing else.
pub fn replay(fs: &dyn Fs, dir: &Path, visit: &mut dyn FnMut(FrameRef<'_>)) -> io::Result<Replay> {
    let mut entries: Vec<(u64, LogEntry)> =
        fs.list(dir)?.into_iter().filter_map(|entry| Some((format::parse_file_name(&entry.name)?, entry))).collect();
    entries.sort_by_key(|(first, _)| *first);

    let mut outcome = Replay { next_frame: 1, ..Replay::default() };
    let mut expected = None;
    let count = entries.len();
    for (index, (first, entry)) in entries.into_iter().enumerate() {
        let path = dir.join(&entry.name);
        let last = index + 1 == count;
        let mut file = FileReplay {
            file: WalFile { path, first, next: first, bytes: entry.bytes, damaged: false },
            report: &mut outcome.report,
            expected,
            last,
        };
        let cut = file.read(fs, visit)?;
        let file = file.file;
        outcome.report.files += 1;
        // The name of a file that cannot be read must not be given to a new one.
        outcome.next_frame = outcome.next_frame.max(file.next.max(file.first + u64::from(file.damaged)));
        expected = Some(file.next);
        if file.next == file.first && !file.damaged {
            fs.remove(&file.path)?;
            fs.sync_dir(dir)?;
            continue;
        }
        if let Some(length) = cut {
            let mut handle = fs.open(&file.path)?;
            handle.truncate(length)?;
            handle.sync()?;
        } else if last && !file.damaged {
            // A killed process may have left the last group in the page cache: what is served must be durable.
            fs.open(&file.path)?.sync()?;
        }
        outcome.files.push(file);
    }
    Ok(outcome)
}

struct FileReplay<'r> {
    file: WalFile,
    report: &'r mut ReplayReport,
    /// Number that the first frame should have, where the files before tell.
    expected: Option<u64>,
    last: bool,
}

impl FileReplay<'_> {
    /// Visits the file's frames; returns the length to cut the file to where its end is an unfinished write.
    fn read(&mut self, fs: &dyn Fs, visit: &mut dyn FnMut(FrameRef<'_>)) -> io::Result<Option<u64>> {
        let name = self.file.path.display().to_string();
        let mut window = Window::new(fs.read(&self.file.path)?);
        let header = match Header::decode(window.peek(PREAMBLE_BYTES)?) {
            Ok(header) => header,
            Err(HeaderError::Version(version)) => {
                return Err(io::Error::new(
                    io::ErrorKind::Unsupported,
                    format!("{name} has version {version}, this program reads version 1: start the newer program"),
                ));
            }
            Err(HeaderError::Damaged) if self.last && self.file.bytes <= PREAMBLE_BYTES as u64 => {
                // Created and not yet durable: no frame can have been acknowledged in it.
                self.report.torn_bytes += self.file.bytes;
                self.file.bytes = 0;
                return Ok(None);
            }
            Err(HeaderError::Damaged) => {
                self.file.damaged = true;
                self.report.damaged_bytes += self.file.bytes;
                self.report.note(format!("{name} cannot be read: both copies of its header are damaged"));
                return Ok(None);
            }
        };
        if header.first != self.file.first {
            self.report.note(format!("{name} was renamed: its header says that it begins with {}", header.first));
            self.file.first = header.first;
        }
        if let Some(expected) = self.expected.filter(|expected| header.first > *expected) {
            self.report.missing_frames += header.first - expected;
            self.report.note(format!("frames {expected} to {} are missing before {name}", header.first - 1));
        }
        self.file.next = header.first;
        window.consume(PREAMBLE_BYTES);
        self.frames(&name, header.salt, &mut window, visit)
    }

    fn frames(
        &mut self,
        name: &str,
        salt: u32,
        window: &mut Window,
        visit: &mut dyn FnMut(FrameRef<'_>),
    ) -> io::Result<Option<u64>> {
        // Where the bytes began that are no frame.
        let mut bad: Option<u64> = None;
        loop {
            let offset = window.offset;
            let readable = match window.peek(FRAME_HEAD_BYTES) {
                Ok(bytes) => !bytes.is_empty(),
                Err(error) => {
                    self.file.damaged = true;
                    self.report.note(format!("{name} cannot be read past byte {offset}: {error}"));
                    return Ok(None);
                }
            };
            if !readable {
                return Ok(self.finish(name, bad, offset));
            }
            if let Some(total_bytes) = self.frame(salt, window, visit)? {
                if let Some(start) = bad.take() {
                    self.file.damaged = true;
                    self.report.damaged_bytes += offset - start;
                    self.report
                        .note(format!("{name} is damaged from byte {start} to {offset}; reading went on after it"));
                }
                window.consume(total_bytes);
            } else {
                bad.get_or_insert(offset);
                window.consume(1);
            }
        }
    }

    /// Visits the frame at the window's beginning and returns its size; `None` if there is none.
    fn frame(
        &mut self,
        salt: u32,
        window: &mut Window,
        visit: &mut dyn FnMut(FrameRef<'_>),
    ) -> io::Result<Option<usize>> {
        let offset = window.offset;
        let Some(head) = FrameHead::decode(window.peek(FRAME_HEAD_BYTES)?) else { return Ok(None) };
        if head.number < self.file.next || offset + head.total_bytes as u64 > self.file.bytes {
            return Ok(None);
        }
        let bytes = window.peek(head.total_bytes)?;
        let Some((tenant, payload)) = head.verify(salt, bytes) else { return Ok(None) };
        self.report.missing_frames += head.number - self.file.next;
        self.file.next = head.number + 1;
        self.report.frames += 1;
        self.report.bytes += head.total_bytes as u64;
        let FrameHead { number, received_ms, signal, .. } = head;
        visit(FrameRef { number, received_ms, tenant, signal, payload });
        Ok(Some(head.total_bytes))
    }

    /// What the end of the file means.
    fn finish(&mut self, name: &str, bad: Option<u64>, end: u64) -> Option<u64> {
        let start = bad?;
        if self.last {
            self.report.torn_bytes += end - start;
            self.report
                .note(format!("{name} ended in an unfinished write: its last {} bytes were cut off", end - start));
            self.file.bytes = start;
            return Some(start);
        }
        self.file.damaged = true;
        self.report.damaged_bytes += end - start;
        self.report.note(format!("{name} is damaged from byte {start} to its end"));
        None
    }
}

/// A stretch of a file: peek at what comes, consume what is done with.
struct Window {
    file: Box<dyn Read + Send>,
    buffer: Vec<u8>,
    start: usize,
    /// Position in the file of the first byte not consumed.
    offset: u64,
    ended: bool,
}

impl Window {
    fn new(file: Box<dyn Read + Send>) -> Self {
        Self { file, buffer: Vec::new(), start: 0, offset: 0, ended: false }
    }

    /// The next `wanted` bytes, fewer at the end of the file.
    fn peek(&mut self, wanted: usize) -> io::Result<&[u8]> {
        while self.buffer.len() - self.start < wanted && !self.ended {
            self.buffer.drain(..self.start);
            self.start = 0;
            let have = self.buffer.len();
            let ask = READ_BYTES.max(wanted - have) as u64;
            let got = (&mut self.file).take(ask).read_to_end(&mut self.buffer)?;
            self.ended = (got as u64) < ask;
        }
        let end = self.buffer.len().min(self.start + wanted);
        Ok(&self.buffer[self.start..end])
    }

    fn consume(&mut self, bytes: usize) {
        let bytes = bytes.min(self.buffer.len() - self.start);
        self.start += bytes;
        self.offset += bytes as u64;
    }
}
