//! The threads of an open store, from start to end.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::sync_channel;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::core::{Core, Environment};
use super::inserter::{COMMANDS_MAX, Command, FromLog};
use super::lock::FolderLock;
use super::open::{OpenReport, assemble, create_dirs, replay_log, survey};
use super::status::{StoreStatus, status};
use super::{StoreError, compactor, housekeeper, inserter, sealer};
use crate::config::StoreConfig;
use crate::wal::{Wal, WalConfig};

/// Bytes of a group in the log.
const GROUP_BYTES: usize = 16 << 20;

/// An open store.
pub(crate) struct Running {
    pub core: Arc<Core>,
    opened: OpenReport,
    inserter: Mutex<Option<JoinHandle<()>>>,
    others: Mutex<Vec<JoinHandle<()>>>,
    /// Held until every thread has ended.
    lock: Mutex<Option<FolderLock>>,
}

fn spawn(name: &str, body: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, StoreError> {
    let spawned = std::thread::Builder::new().name(name.into()).spawn(body);
    spawned.map_err(|error| StoreError::io("start a thread for", std::path::Path::new(name), error))
}

impl Running {
    pub(crate) fn open(config: StoreConfig, environment: Environment) -> Result<Self, StoreError> {
        let started = Instant::now();
        create_dirs(&config)?;
        let lock = FolderLock::take(&config.data_dir)?;
        let mut report = OpenReport::default();
        let ground = survey(&config, &environment, &mut report)?;
        let (core, sealed) = assemble(config, environment, ground, &mut report);

        let mut running = Running {
            core: core.clone(),
            opened: OpenReport::default(),
            inserter: Mutex::new(None),
            others: Mutex::new(Vec::new()),
            lock: Mutex::new(Some(lock)),
        };
        for _ in 0..core.config.seal_threads.max(1) {
            let core = core.clone();
            running.others.get_mut().push(spawn("seal", move || sealer::run(&core))?);
        }
        let replayed = replay_log(&core, &sealed, &mut report)?;

        // Numbers go on behind everything that ever had one.
        let newest = sealed.values().copied().max().unwrap_or(0);
        let newest = core.view.read().rows().iter().map(|row| row.wal_to).fold(newest, u64::max);
        let next_frame = replayed.next_frame.max(newest + 1);
        core.inserted.store(next_frame - 1, Ordering::Release);

        let (sender, receiver) = sync_channel(COMMANDS_MAX);
        if core.commands.set(sender.clone()).is_err() {
            return Err(StoreError::Closing);
        }
        *running.inserter.get_mut() = Some(spawn("head", {
            let core = core.clone();
            move || inserter::run(&core, &receiver)
        })?);
        let wal = Wal::start(
            core.environment.fs.clone(),
            WalConfig {
                dir: core.wal_dir.clone(),
                group_bytes: GROUP_BYTES,
                file_bytes: core.config.wal_file_bytes,
                free_bytes_min: core.config.free_bytes_min,
            },
            replayed.files,
            next_frame,
            core.environment.now_ms.clone(),
            Box::new(random_salt),
            Box::new(FromLog { core: core.clone(), commands: sender }),
        )
        .map_err(|error| StoreError::io("start the log in", &core.wal_dir, error))?;
        if core.wal.set(wal).is_err() {
            return Err(StoreError::Closing);
        }
        for (name, body) in [("compact", compactor::run as fn(&Arc<Core>)), ("housekeeping", housekeeper::run)] {
            let core = core.clone();
            running.others.get_mut().push(spawn(name, move || body(&core))?);
        }
        core.trim_log();
        report.elapsed_ms = started.elapsed().as_millis() as u64;
        running.opened = report;
        Ok(running)
    }

    pub(crate) fn opened(&self) -> &OpenReport {
        &self.opened
    }

    pub(crate) fn status(&self) -> StoreStatus {
        self.core.collect_damage();
        status(&self.core, &self.opened)
    }

    /// Seals every head and waits for it, at most `wait_max`.
    pub(crate) fn seal_all(&self, wait_max: Duration) -> Result<(), StoreError> {
        let core = &self.core;
        let deadline = Instant::now() + wait_max;
        core.journal.lock().seal_error = None;
        core.seals.hurry();
        loop {
            let before = *core.progress.0.lock();
            core.command(Command::FreezeAll);
            let empty = core.view.read().tables().all(|(_, table)| table.heads().next().is_none());
            if empty {
                core.trim_log();
                return Ok(());
            }
            let error = core.journal.lock().seal_error.clone();
            if let Some(reason) = error {
                let source = std::io::Error::other(reason);
                return Err(StoreError::io("seal heads into", &core.segments_dir, source));
            }
            if Instant::now() >= deadline || core.cancelled.load(Ordering::Acquire) {
                return Err(StoreError::Closing);
            }
            let mut progress = core.progress.0.lock();
            if *progress == before {
                core.progress.1.wait_for(&mut progress, Duration::from_millis(50));
            }
        }
    }

    /// Ends the store: nothing more is taken, what waits is made durable, heads are sealed as far as time
    /// allows and stay in the log otherwise.
    pub(crate) fn close(&self) {
        let core = &self.core;
        if core.closing.swap(true, Ordering::AcqRel) {
            return self.end();
        }
        if let Some(wal) = core.wal.get() {
            wal.stop();
        }
        if !core.config.close_seal_max.is_zero()
            && let Err(error) = self.seal_all(core.config.close_seal_max)
        {
            tracing::info!("heads stay in the log and are replayed at the next start: {error}");
        }
        self.end();
    }

    /// Ends every thread as soon as it can.
    fn end(&self) {
        let core = &self.core;
        core.closing.store(true, Ordering::Release);
        core.cancelled.store(true, Ordering::Release);
        core.stop.set();
        core.seals.wake();
        if let Some(wal) = core.wal.get() {
            wal.stop();
        }
        core.command(Command::Stop);
        let threads = self.inserter.lock().take().into_iter().chain(std::mem::take(&mut *self.others.lock()));
        for thread in threads {
            let name = thread.thread().name().unwrap_or_default().to_owned();
            if thread.join().is_err() {
                tracing::error!("thread {name} ended in a panic");
            }
        }
        if let (Some(lock), Some(wal)) = (self.lock.lock().take(), core.wal.get()) {
            housekeeper::delete_retired(core);
            if let Err(error) = wal.close(core.needed_frame()) {
                tracing::warn!("cannot delete the log's files in {}: {error}", core.wal_dir.display());
            }
            drop(lock);
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.end();
    }
}

/// Bits that nobody can foresee; the standard library's hasher is seeded by the system.
fn random_salt() -> u32 {
    use std::hash::{BuildHasher, Hasher};
    std::hash::RandomState::new().build_hasher().finish() as u32
}
