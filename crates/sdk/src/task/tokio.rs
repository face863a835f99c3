//! Tasks of tokio that keep their context.

use std::future::Future;
use std::ops::{Deref, DerefMut};

use tokio::runtime::Handle;
use tokio::task::{AbortHandle, JoinHandle, LocalSet};

use super::{Here, Name};

/// As `tokio::spawn`, in the context of the caller.
///
/// # Panics
///
/// As `tokio::spawn`, outside a runtime.
#[track_caller]
pub fn spawn<F>(future: F) -> JoinHandle<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    tokio::spawn(Here::capture().carry(future))
}

/// As [`spawn`], with a span of that name for the task.
///
/// # Panics
///
/// As `tokio::spawn`, outside a runtime.
#[track_caller]
pub fn spawn_named<F>(name: impl Into<Name>, future: F) -> JoinHandle<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    tokio::spawn(Here::named(name).carry(future))
}

/// As `tokio::task::spawn_local`, in the context of the caller.
///
/// # Panics
///
/// As `tokio::task::spawn_local`, outside a `LocalSet`.
#[track_caller]
pub fn spawn_local<F>(future: F) -> JoinHandle<F::Output>
where
    F: Future + 'static,
    F::Output: 'static,
{
    tokio::task::spawn_local(Here::capture().carry(future))
}

/// As `tokio::task::spawn_blocking`, in the context of the caller.
///
/// # Panics
///
/// As `tokio::task::spawn_blocking`, outside a runtime.
#[track_caller]
pub fn spawn_blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
    let here = Here::capture();
    tokio::task::spawn_blocking(move || here.run(work))
}

/// As [`spawn_blocking`], with a span of that name for the work.
///
/// # Panics
///
/// As `tokio::task::spawn_blocking`, outside a runtime.
#[track_caller]
pub fn spawn_blocking_named<T: Send + 'static>(
    name: impl Into<Name>,
    work: impl FnOnce() -> T + Send + 'static,
) -> JoinHandle<T> {
    let here = Here::named(name);
    tokio::task::spawn_blocking(move || here.run(work))
}

/// `tokio::task::JoinSet` whose tasks begin in the context of whoever spawns them. Everything but spawning
/// is that of tokio's set.
#[derive(Debug)]
pub struct JoinSet<T>(tokio::task::JoinSet<T>);

impl<T> Default for JoinSet<T> {
    fn default() -> Self {
        Self(tokio::task::JoinSet::new())
    }
}

impl<T: 'static> JoinSet<T> {
    /// An empty set.
    pub fn new() -> Self {
        Self::default()
    }

    /// As `tokio::task::JoinSet::spawn`, in the context of the caller.
    #[track_caller]
    pub fn spawn(&mut self, future: impl Future<Output = T> + Send + 'static) -> AbortHandle
    where
        T: Send,
    {
        self.0.spawn(Here::capture().carry(future))
    }

    /// As [`JoinSet::spawn`], with a span of that name for the task.
    #[track_caller]
    pub fn spawn_named(
        &mut self,
        name: impl Into<Name>,
        future: impl Future<Output = T> + Send + 'static,
    ) -> AbortHandle
    where
        T: Send,
    {
        self.0.spawn(Here::named(name).carry(future))
    }

    /// As `tokio::task::JoinSet::spawn_on`, in the context of the caller.
    #[track_caller]
    pub fn spawn_on(&mut self, future: impl Future<Output = T> + Send + 'static, handle: &Handle) -> AbortHandle
    where
        T: Send,
    {
        self.0.spawn_on(Here::capture().carry(future), handle)
    }

    /// As `tokio::task::JoinSet::spawn_local`, in the context of the caller.
    #[track_caller]
    pub fn spawn_local(&mut self, future: impl Future<Output = T> + 'static) -> AbortHandle {
        self.0.spawn_local(Here::capture().carry(future))
    }

    /// As `tokio::task::JoinSet::spawn_local_on`, in the context of the caller.
    #[track_caller]
    pub fn spawn_local_on(&mut self, future: impl Future<Output = T> + 'static, local: &LocalSet) -> AbortHandle {
        self.0.spawn_local_on(Here::capture().carry(future), local)
    }

    /// As `tokio::task::JoinSet::spawn_blocking`, in the context of the caller.
    #[track_caller]
    pub fn spawn_blocking(&mut self, work: impl FnOnce() -> T + Send + 'static) -> AbortHandle
    where
        T: Send,
    {
        let here = Here::capture();
        self.0.spawn_blocking(move || here.run(work))
    }
}

impl<T> Deref for JoinSet<T> {
    type Target = tokio::task::JoinSet<T>;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl<T> DerefMut for JoinSet<T> {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.0
    }
}
