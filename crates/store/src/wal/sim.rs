//! A file system in memory that fails on demand and forgets, at a power loss, what was not synced.

use std::collections::BTreeMap;
use std::io::{self, IoSlice, Read};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use super::fs::{Fs, LogEntry, LogFile, Space};

/// How an operation fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// `ENOSPC`; a write has taken part of the bytes before.
    Full,
    /// `EIO`; a write has taken part of the bytes before, an fsync loses what it was to make durable.
    Broken,
    /// A write takes only part of the bytes and says so. Other operations succeed.
    Short,
    /// The machine stops in the middle of the operation; nothing succeeds until [`SimFs::power_loss`].
    Crash,
}

#[derive(Default)]
struct Inode {
    data: Vec<u8>,
    durable: Vec<u8>,
    /// Bytes from here on were in a failed fsync: the system calls them clean and they are not on disk.
    lost_from: Option<usize>,
}

#[derive(Default)]
struct State {
    inodes: Vec<Inode>,
    names: BTreeMap<PathBuf, usize>,
    durable_names: BTreeMap<PathBuf, usize>,
    operations: u64,
    fault: Option<(u64, Fault)>,
    crashed: bool,
    capacity: Option<u64>,
    random: u64,
}

impl State {
    fn random(&mut self, below: usize) -> usize {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        if below == 0 { 0 } else { (self.random % below as u64) as usize }
    }

    /// Counts an operation; says how it fails.
    fn step(&mut self) -> Result<Option<Fault>, io::Error> {
        if self.crashed {
            return Err(io::Error::other("the machine is off"));
        }
        let number = self.operations;
        self.operations += 1;
        let fault = self.fault.filter(|(at, _)| *at == number).map(|(_, fault)| fault);
        self.crashed = fault == Some(Fault::Crash);
        Ok(fault)
    }

    /// Counts an operation that either happens or does not.
    fn whole_step(&mut self) -> io::Result<()> {
        match self.step()? {
            None | Some(Fault::Short) => Ok(()),
            Some(fault) => Err(error(fault)),
        }
    }

    fn used(&self) -> u64 {
        self.names.values().map(|inode| self.inodes[*inode].data.len() as u64).sum()
    }
}

fn error(fault: Fault) -> io::Error {
    match fault {
        Fault::Full => io::ErrorKind::StorageFull.into(),
        Fault::Broken => io::Error::from_raw_os_error(5),
        Fault::Short | Fault::Crash => io::Error::other("the machine went off"),
    }
}

/// The file system; clones share it.
#[derive(Clone)]
pub(crate) struct SimFs(Arc<Mutex<State>>);

impl SimFs {
    pub(crate) fn new(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(State { random: seed | 1, ..State::default() })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    /// Lets operation number `at` fail.
    pub(crate) fn fail_at(&self, at: u64, fault: Fault) {
        self.state().fault = Some((at, fault));
    }

    /// Operations so far.
    pub(crate) fn operations(&self) -> u64 {
        self.state().operations
    }

    /// Bytes that fit, `None` for no bound.
    pub(crate) fn set_capacity(&self, bytes: Option<u64>) {
        self.state().capacity = bytes;
    }

    /// The process ends; the system keeps what it was told.
    pub(crate) fn kill(&self) {
        let mut state = self.state();
        state.crashed = false;
        state.fault = None;
    }

    /// The machine loses power: of what was not synced, anything or nothing is left.
    pub(crate) fn power_loss(&self) {
        let mut state = self.state();
        state.crashed = false;
        state.fault = None;
        let (mut names, newer) = (state.durable_names.clone(), state.names.clone());
        for (path, inode) in &newer {
            if !names.contains_key(path) && state.random(2) == 0 {
                names.insert(path.clone(), *inode);
            }
        }
        names.retain(|path, _| newer.contains_key(path) || state.random(2) == 0);
        for index in 0..state.inodes.len() {
            let (data, durable) = (state.inodes[index].data.clone(), state.inodes[index].durable.clone());
            let kept = if data.starts_with(&durable) {
                let mut kept = data;
                let extra = kept.len() - durable.len();
                let keep = state.random(extra + 1);
                kept.truncate(durable.len() + keep);
                // Pages reach the disk in any order: a hole of zeros before bytes that did.
                if keep > 8 && state.random(3) == 0 {
                    let hole = state.random(keep / 2);
                    kept[durable.len()..durable.len() + hole].fill(0);
                }
                kept
            } else if state.random(2) == 0 {
                data
            } else {
                durable
            };
            state.inodes[index] = Inode { data: kept.clone(), durable: kept, lost_from: None };
        }
        state.durable_names = names.clone();
        state.names = names;
    }

    /// Changes a file's bytes behind everybody's back.
    pub(crate) fn tamper(&self, path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
        let mut state = self.state();
        let inode = state.names[path];
        change(&mut state.inodes[inode].data);
        state.inodes[inode].durable = state.inodes[inode].data.clone();
    }

    /// A copy that shares nothing.
    pub(crate) fn fork(&self) -> Self {
        let state = self.state();
        let inodes = state
            .inodes
            .iter()
            .map(|inode| Inode { data: inode.data.clone(), durable: inode.durable.clone(), lost_from: inode.lost_from })
            .collect();
        let (names, durable_names) = (state.names.clone(), state.durable_names.clone());
        Self(Arc::new(Mutex::new(State { inodes, names, durable_names, random: state.random, ..State::default() })))
    }
}

struct SimFile {
    fs: SimFs,
    inode: usize,
}

impl LogFile for SimFile {
    fn write_vectored(&mut self, buffers: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut state = self.fs.state();
        let fault = state.step()?;
        let bytes: Vec<u8> = buffers.iter().flat_map(|buffer| buffer.iter().copied()).collect();
        let room = state.capacity.map_or(u64::MAX, |capacity| capacity.saturating_sub(state.used())) as usize;
        let mut taken = bytes.len().min(room);
        if fault.is_some() {
            taken = state.random(taken.max(1));
        }
        state.inodes[self.inode].data.extend_from_slice(&bytes[..taken]);
        match fault {
            Some(Fault::Short) if taken > 0 => Ok(taken),
            Some(Fault::Short) => Err(io::ErrorKind::Interrupted.into()),
            Some(fault) => Err(error(fault)),
            None if taken == 0 && !bytes.is_empty() => Err(error(Fault::Full)),
            None => Ok(taken),
        }
    }

    fn sync(&mut self) -> io::Result<()> {
        let mut state = self.fs.state();
        let fault = state.step()?;
        let inode = &mut state.inodes[self.inode];
        match fault {
            None | Some(Fault::Short) => {
                let end = inode.lost_from.unwrap_or(inode.data.len());
                inode.durable = inode.data[..end].to_vec();
                Ok(())
            }
            Some(fault) => {
                inode.lost_from = Some(inode.durable.len().min(inode.data.len()));
                Err(error(fault))
            }
        }
    }

    fn truncate(&mut self, length: u64) -> io::Result<()> {
        let mut state = self.fs.state();
        state.whole_step()?;
        let inode = &mut state.inodes[self.inode];
        inode.data.resize(length as usize, 0);
        if inode.lost_from.is_some_and(|lost| lost >= length as usize) {
            inode.lost_from = None;
        }
        Ok(())
    }
}

impl Fs for SimFs {
    fn list(&self, dir: &Path) -> io::Result<Vec<LogEntry>> {
        let state = self.state();
        let entry = |(path, inode): (&PathBuf, &usize)| {
            let name = path.file_name()?.to_str()?.to_owned();
            (path.parent() == Some(dir)).then(|| LogEntry { name, bytes: state.inodes[*inode].data.len() as u64 })
        };
        Ok(state.names.iter().filter_map(entry).collect())
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn LogFile>> {
        let mut state = self.state();
        state.whole_step()?;
        if state.names.contains_key(path) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        state.inodes.push(Inode::default());
        let inode = state.inodes.len() - 1;
        state.names.insert(path.to_owned(), inode);
        Ok(Box::new(SimFile { fs: self.clone(), inode }))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn LogFile>> {
        let mut state = self.state();
        state.whole_step()?;
        let inode = *state.names.get(path).ok_or(io::ErrorKind::NotFound)?;
        Ok(Box::new(SimFile { fs: self.clone(), inode }))
    }

    fn read(&self, path: &Path) -> io::Result<Box<dyn Read + Send>> {
        let state = self.state();
        let inode = *state.names.get(path).ok_or(io::ErrorKind::NotFound)?;
        Ok(Box::new(io::Cursor::new(state.inodes[inode].data.clone())))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.whole_step()?;
        let inode = state.names.remove(from).ok_or(io::ErrorKind::NotFound)?;
        state.names.insert(to.to_owned(), inode);
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.whole_step()?;
        state.names.remove(path).map(|_| ()).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn sync_dir(&self, _dir: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.whole_step()?;
        state.durable_names = state.names.clone();
        Ok(())
    }

    fn space(&self, _dir: &Path) -> io::Result<Space> {
        let state = self.state();
        let total = state.capacity.unwrap_or(1 << 40);
        Ok(Space { free: total.saturating_sub(state.used()), total })
    }
}
