//! The one thread that writes the log.
//!
//! It takes everything that waits, writes it, makes it durable once, hands it on and takes what has come
//! meanwhile: the slower the disk, the larger the groups. Failures follow one rule: a file whose write or fsync
//! failed is never written again. Its unacknowledged tail is cut off through a new handle, so that no later replay
//! takes it for acknowledged. After a full disk a new file is begun as soon as there is room; after any other
//! failure the log stays closed until the store is opened anew.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use super::format::{self, FRAME_HEAD_BYTES, Header, PREAMBLE_BYTES};
use super::{Consumer, Frame, Fs, LogFile, Refusal, Submission, WalConfig, WalFile, WalStatus};

/// Buffers handed to the system in one call (POSIX lets it take 1,024).
const SLICES_MAX: usize = 1000;
/// How often is looked whether the disk has room again.
const PROBE: Duration = Duration::from_secs(1);
/// A file of this size is ended when a head has been sealed.
const ROTATE_BYTES: u64 = 64 << 20;
/// A file smaller than this is not worth a new one.
const ROTATE_BYTES_MIN: u64 = 1 << 20;

struct Inbox<T> {
    queue: VecDeque<Submission<T>>,
    closed: bool,
}

struct Shared<T> {
    inbox: Mutex<Inbox<T>>,
    arrived: Condvar,
    rotate: AtomicBool,
    /// Oldest first.
    files: Mutex<Vec<WalFile>>,
    /// The last of them is being written. Becomes true only with `files` locked.
    writing: AtomicBool,
    status: Mutex<WalStatus>,
}

/// A log that is open for writing.
pub struct Wal<T> {
    shared: Arc<Shared<T>>,
    fs: Arc<dyn Fs>,
    dir: PathBuf,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl<T: Send + 'static> Wal<T> {
    /// Starts the writer behind the files that [`super::replay`] left. `now_ms` is the clock, `salt` the source of
    /// randomness for file headers.
    pub fn start(
        fs: Arc<dyn Fs>,
        config: WalConfig,
        files: Vec<WalFile>,
        next_frame: u64,
        now_ms: Arc<dyn Fn() -> u64 + Send + Sync>,
        salt: Box<dyn FnMut() -> u32 + Send>,
        consumer: Box<dyn Consumer<T>>,
    ) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            inbox: Mutex::new(Inbox { queue: VecDeque::new(), closed: false }),
            arrived: Condvar::new(),
            rotate: AtomicBool::new(false),
            files: Mutex::new(files),
            writing: AtomicBool::new(false),
            status: Mutex::new(WalStatus::default()),
        });
        let dir = config.dir.clone();
        let mut writer = Writer {
            shared: shared.clone(),
            fs: fs.clone(),
            config,
            next_frame,
            now_ms,
            salt,
            consumer,
            current: None,
            cut: None,
            poisoned: None,
            refusing: false,
        };
        let guard = CloseOnEnd(shared.clone());
        let thread = std::thread::Builder::new().name("wal".into()).spawn(move || {
            let _guard = guard;
            writer.run();
        })?;
        Ok(Self { shared, fs, dir, thread: Mutex::new(Some(thread)) })
    }

    /// Queues a request; gives it back when the log is closed. The caller bounds what it queues.
    pub fn submit(&self, submission: Submission<T>) -> Result<(), Submission<T>> {
        let mut inbox = self.shared.inbox.lock();
        if inbox.closed {
            return Err(submission);
        }
        inbox.queue.push_back(submission);
        drop(inbox);
        self.shared.arrived.notify_one();
        Ok(())
    }

    /// Asks for a new file when the current one is large, or all its frames are below `needed`, so that it can be
    /// given up once its frames are stored elsewhere.
    pub fn rotate_behind(&self, needed: u64) {
        let worth_it =
            self.shared.files.lock().last().is_some_and(|file| {
                file.bytes >= ROTATE_BYTES || (file.bytes >= ROTATE_BYTES_MIN && file.next <= needed)
            });
        if worth_it {
            let guard = self.shared.inbox.lock();
            self.shared.rotate.store(true, Ordering::Release);
            drop(guard);
            self.shared.arrived.notify_one();
        }
    }

    /// Gives up the files all of whose frames are below `needed`: deletes them, or renames them to `*.damaged` where
    /// they could not be read in full. Oldest first, each durably before the next, so that no gap can appear.
    pub fn trim(&self, needed: u64) -> io::Result<()> {
        let mut files = self.shared.files.lock();
        loop {
            let Some(first) = files.first() else { return Ok(()) };
            // A file that cannot be read may hold any frame up to the next file.
            let end = match files.get(1) {
                Some(second) => second.first,
                None if self.shared.writing.load(Ordering::Acquire) || first.damaged => return Ok(()),
                None => first.next,
            };
            if first.next > needed || end > needed {
                return Ok(());
            }
            let file = files.remove(0);
            if let Err(error) = give_up(self.fs.as_ref(), &self.dir, &file) {
                files.insert(0, file);
                return Err(error);
            }
        }
    }

    /// Ends the writer after what is queued, and gives up every file when all frames are below `needed`.
    pub fn close(&self, needed: u64) -> io::Result<()> {
        self.stop();
        let mut files = self.shared.files.lock();
        while files.first().is_some_and(|file| file.next <= needed) {
            let file = files.remove(0);
            give_up(self.fs.as_ref(), &self.dir, &file)?;
        }
        Ok(())
    }

    /// Ends the writer after what is queued.
    pub fn stop(&self) {
        self.shared.inbox.lock().closed = true;
        self.shared.arrived.notify_one();
        let thread = self.thread.lock().take();
        if thread.is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the log's writer ended in a panic");
        }
    }

    /// What there is to know.
    pub fn status(&self) -> WalStatus {
        let mut status = self.shared.status.lock().clone();
        let files = self.shared.files.lock();
        status.files = files.len() as u64;
        status.bytes = files.iter().map(|file| file.bytes).sum();
        status
    }
}

/// However the writer ends, nobody may wait for it afterwards: what is queued is dropped.
struct CloseOnEnd<T>(Arc<Shared<T>>);

impl<T> Drop for CloseOnEnd<T> {
    fn drop(&mut self) {
        let mut inbox = self.0.inbox.lock();
        inbox.closed = true;
        inbox.queue.clear();
    }
}

fn give_up(fs: &dyn Fs, dir: &Path, file: &WalFile) -> io::Result<()> {
    let gone = if file.damaged {
        let mut aside = file.path.clone().into_os_string();
        aside.push(".damaged");
        fs.rename(&file.path, Path::new(&aside))
    } else {
        fs.remove(&file.path)
    };
    match gone {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => fs.sync_dir(dir),
    }
}

/// The file being written.
struct Current {
    handle: Box<dyn LogFile>,
    path: PathBuf,
    salt: u32,
    /// Bytes known to be durable.
    durable: u64,
}

struct Writer<T> {
    shared: Arc<Shared<T>>,
    fs: Arc<dyn Fs>,
    config: WalConfig,
    next_frame: u64,
    now_ms: Arc<dyn Fn() -> u64 + Send + Sync>,
    salt: Box<dyn FnMut() -> u32 + Send>,
    consumer: Box<dyn Consumer<T>>,
    current: Option<Current>,
    /// A file that must be cut to this length before anything is written anywhere.
    cut: Option<(PathBuf, u64)>,
    poisoned: Option<Refusal>,
    /// The last requests were refused.
    refusing: bool,
}

impl<T: Send + 'static> Writer<T> {
    fn run(&mut self) {
        while let Some(group) = self.take() {
            if self.shared.rotate.swap(false, Ordering::AcqRel)
                && self.current.as_ref().is_some_and(|current| current.durable >= ROTATE_BYTES_MIN)
            {
                self.end_file();
                if let Err(refusal) = self.ready() {
                    tracing::warn!("{}", refusal.reason);
                }
            }
            if !group.is_empty() {
                self.store(group);
            } else if self.refusing && self.room(0).and_then(|()| self.ready()).is_ok() {
                // Found out without waiting for the next request, which may be waiting for this.
                self.resume();
            }
        }
    }

    /// Waits for requests; an empty group means that something else is due, `None` that the log is closed.
    fn take(&self) -> Option<Vec<Submission<T>>> {
        let mut inbox = self.shared.inbox.lock();
        while inbox.queue.is_empty() && !inbox.closed && !self.shared.rotate.load(Ordering::Acquire) {
            if !self.refusing {
                self.shared.arrived.wait(&mut inbox);
            } else if self.shared.arrived.wait_for(&mut inbox, PROBE).timed_out() {
                break;
            }
        }
        let mut group = Vec::new();
        let mut bytes = 0;
        while bytes < self.config.group_bytes
            && let Some(submission) = inbox.queue.pop_front()
        {
            bytes += FRAME_HEAD_BYTES + submission.tenant.len() + submission.payload.len();
            group.push(submission);
        }
        (!group.is_empty() || !inbox.closed).then_some(group)
    }

    fn store(&mut self, group: Vec<Submission<T>>) {
        match self.try_store(&group) {
            Ok((first, received_ms)) => {
                let frames = (first..)
                    .zip(group)
                    .map(|(number, submission)| Frame { number, received_ms, submission })
                    .collect();
                self.consumer.durable(frames);
            }
            Err(refusal) => {
                if !self.refusing {
                    tracing::error!("requests are refused: {}", refusal.reason);
                }
                self.refusing = true;
                {
                    let mut status = self.shared.status.lock();
                    status.refused += group.len() as u64;
                    status.refusal = Some(refusal.reason.clone());
                    status.poisoned = !refusal.passing;
                }
                self.consumer.refused(group, &refusal);
            }
        }
    }

    /// Makes the group durable; returns its first frame number and its time.
    fn try_store(&mut self, group: &[Submission<T>]) -> Result<(u64, u64), Refusal> {
        self.room(group.iter().map(|submission| submission.payload.len() as u64).sum())?;
        self.ready()?;
        let Some(current) = &mut self.current else {
            return Err(Refusal { reason: "the log has no file".into(), passing: true });
        };

        let first = self.next_frame;
        let received_ms = (self.now_ms)();
        let mut heads = Vec::with_capacity(group.len() * (FRAME_HEAD_BYTES + 16));
        let mut ends = Vec::with_capacity(group.len());
        for (number, request) in (first..).zip(group) {
            let Submission { tenant, signal, payload, .. } = request;
            format::encode_head(&mut heads, current.salt, number, received_ms, *signal, tenant, payload);
            ends.push(heads.len());
        }
        let mut slices = Vec::with_capacity(2 * group.len());
        let mut start = 0;
        for (end, request) in ends.iter().zip(group) {
            slices.push(IoSlice::new(&heads[start..*end]));
            slices.push(IoSlice::new(&request.payload));
            start = *end;
        }
        let bytes: u64 = slices.iter().map(|slice| slice.len() as u64).sum();
        let result = write_all(current.handle.as_mut(), &mut slices).and_then(|()| {
            let started = Instant::now();
            current.handle.sync()?;
            Ok(started.elapsed().as_nanos() as u64)
        });
        match result {
            Ok(sync_ns) => {
                current.durable += bytes;
                let full = current.durable >= self.config.file_bytes;
                self.next_frame += group.len() as u64;
                self.note_durable(group.len() as u64, bytes, sync_ns);
                if full {
                    self.end_file();
                }
                Ok((first, received_ms))
            }
            Err(error) => Err(self.failed(&error)),
        }
    }

    fn note_durable(&mut self, frames: u64, bytes: u64, sync_ns: u64) {
        if let Some(file) = self.shared.files.lock().last_mut() {
            file.bytes += bytes;
            file.next = self.next_frame;
        }
        {
            let mut status = self.shared.status.lock();
            status.groups += 1;
            status.frames += frames;
            status.sync_ns += sync_ns;
            status.sync_ns_max = status.sync_ns_max.max(sync_ns);
        }
        self.resume();
    }

    fn resume(&mut self) {
        if std::mem::take(&mut self.refusing) {
            tracing::info!("requests are taken again");
            self.shared.status.lock().refusal = None;
        }
    }

    /// Refuses when the disk is nearly full, before it is.
    fn room(&self, bytes: u64) -> Result<(), Refusal> {
        if let Some(refusal) = &self.poisoned {
            return Err(refusal.clone());
        }
        // Where the system does not tell, the write will.
        let Ok(space) = self.fs.space(&self.config.dir) else { return Ok(()) };
        let reserve = self.config.free_bytes_min.min(space.total / 10);
        if space.free >= reserve.saturating_add(bytes) {
            return Ok(());
        }
        let reason = format!(
            "the disk of {} is full: {} MiB are free and {} MiB are kept in reserve; free some space or shorten the retention",
            self.config.dir.display(),
            space.free >> 20,
            reserve >> 20,
        );
        Err(Refusal { reason, passing: true })
    }

    /// Sees to it that there is a file to write: finishes the cut that a failure left, then begins a new file.
    fn ready(&mut self) -> Result<(), Refusal> {
        if let Some(refusal) = &self.poisoned {
            return Err(refusal.clone());
        }
        if let Some((path, length)) = self.cut.clone() {
            if let Err(error) = self.cut_back(&path, length) {
                return Err(self.failed(&error));
            }
            self.cut = None;
        }
        if self.current.is_some() {
            return Ok(());
        }
        match self.begin() {
            Ok(current) => {
                self.current = Some(current);
                Ok(())
            }
            Err(error) => Err(self.failed(&error)),
        }
    }

    /// Begins a new file, durable with its name before a frame goes into it.
    fn begin(&mut self) -> io::Result<Current> {
        let first = self.next_frame;
        let path = self.config.dir.join(format::file_name(first));
        // A file of this name can only be one that was begun here, never became durable and holds no frame.
        match self.fs.remove(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let salt = (self.salt)();
        let header = Header { salt, first }.encode();
        let mut handle = self.fs.create(&path)?;
        write_all(handle.as_mut(), &mut [IoSlice::new(&header)])?;
        handle.sync()?;
        self.fs.sync_dir(&self.config.dir)?;
        let bytes = PREAMBLE_BYTES as u64;
        let mut files = self.shared.files.lock();
        files.retain(|file| file.path != path);
        files.push(WalFile { path: path.clone(), first, next: first, bytes, damaged: false });
        self.shared.writing.store(true, Ordering::Release);
        Ok(Current { handle, path, salt, durable: bytes })
    }

    fn end_file(&mut self) -> Option<Current> {
        self.shared.writing.store(false, Ordering::Release);
        self.current.take()
    }

    fn cut_back(&self, path: &Path, length: u64) -> io::Result<()> {
        let mut handle = match self.fs.open(path) {
            // Given up meanwhile: all that was acknowledged in it is stored elsewhere.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            opened => opened?,
        };
        handle.truncate(length)?;
        handle.sync()
    }

    /// Abandons the current file and decides whether the log can go on.
    fn failed(&mut self, error: &io::Error) -> Refusal {
        let full = matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded);
        if let Some(current) = self.end_file() {
            self.cut = Some((current.path, current.durable));
        }
        // At once, so that even if the process ends now no replay finds what was not acknowledged.
        if let Some((path, length)) = self.cut.clone()
            && self.cut_back(&path, length).is_ok()
        {
            self.cut = None;
        }
        let dir = self.config.dir.display();
        if full {
            let reason = format!("the disk of {dir} is full ({error}): free some space; writing resumes by itself");
            return Refusal { reason, passing: true };
        }
        let reason = format!(
            "writing the log in {dir} failed ({error}): check the disk, then restart; what was acknowledged is safe"
        );
        let refusal = Refusal { reason, passing: false };
        self.poisoned = Some(refusal.clone());
        refusal
    }
}

/// Writes every byte of the buffers.
fn write_all(file: &mut dyn LogFile, mut slices: &mut [IoSlice<'_>]) -> io::Result<()> {
    IoSlice::advance_slices(&mut slices, 0);
    while !slices.is_empty() {
        let batch = &slices[..slices.len().min(SLICES_MAX)];
        match file.write_vectored(batch) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => IoSlice::advance_slices(&mut slices, written),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
