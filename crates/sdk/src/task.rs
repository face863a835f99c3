//! Work that goes on elsewhere, in the same trace: tasks, threads, closures, streams.
//!
//! `tracing` keeps the current span for each thread, so that work handed to another one loses it. The usual
//! remedy, to carry the span along, keeps that span open until the last task is done: a request that is
//! answered after 5 ms but starts a job of a minute lasts a minute. What is started here belongs to the
//! span that started it and does not hold it open.
//!
//! ```text
//! request ├──────┤               ends when it is over
//!   job      └──────────────┤    spans of the task: children of `request`
//! ```
//!
//! | with the context of here | |
//! |---|---|
//! | [`in_context`] | a closure for any pool: rayon, a channel, a callback |
//! | [`thread`], [`scope`] | threads of the standard library |
//! | [`Here::carry`] | futures and streams |
//! | `spawn`, `spawn_blocking`, `JoinSet` (feature `tokio`) | tasks of tokio |
//!
//! A task that panics is recorded as an error: on its own span where it has one (`spawn_named`), else as a
//! span of that moment below the one that started it. Baggage comes along in every case.

mod here;
#[cfg(feature = "tokio")]
mod tokio;

pub use here::{Carried, Here};

#[cfg(feature = "tokio")]
pub use tokio::{JoinSet, spawn, spawn_blocking, spawn_blocking_named, spawn_local, spawn_named};

use std::borrow::Cow;
use std::io;
use std::thread::{Builder, JoinHandle, Scope, ScopedJoinHandle};

/// A closure that runs in the context of the caller, wherever it is called.
///
/// ```
/// # let pool = |job: Box<dyn FnOnce() + Send>| job();
/// pool(Box::new(tracewell_sdk::task::in_context(|| tracing::info!("belongs to the span that asked for it"))));
/// ```
pub fn in_context<T>(work: impl FnOnce() -> T) -> impl FnOnce() -> T {
    let here = Here::capture();
    move || here.run(work)
}

/// A thread that begins in the context of the caller, as `std::thread::Builder::spawn`. `name` is that of
/// the thread.
///
/// # Errors
///
/// Where the operating system gives no thread.
pub fn thread<T>(name: impl Into<String>, work: impl FnOnce() -> T + Send + 'static) -> io::Result<JoinHandle<T>>
where
    T: Send + 'static,
{
    Builder::new().name(name.into()).spawn(in_context(work))
}

/// As `std::thread::scope`: threads of the scope begin in the context of whoever spawns them.
///
/// ```
/// let mut numbers = [1, 2, 3];
/// tracewell_sdk::task::scope(|scope| {
///     for number in &mut numbers {
///         scope.spawn(|| *number += 1);
///     }
/// });
/// assert_eq!(numbers, [2, 3, 4]);
/// ```
pub fn scope<'env, F, T>(work: F) -> T
where
    F: for<'scope> FnOnce(&ContextScope<'scope, 'env>) -> T,
{
    std::thread::scope(|scope| work(&ContextScope { scope }))
}

/// What [`scope`] hands to its closure.
#[derive(Clone, Copy)]
pub struct ContextScope<'scope, 'env: 'scope> {
    scope: &'scope Scope<'scope, 'env>,
}

impl<'scope> ContextScope<'scope, '_> {
    /// A thread of the scope.
    pub fn spawn<T>(&self, work: impl FnOnce() -> T + Send + 'scope) -> ScopedJoinHandle<'scope, T>
    where
        T: Send + 'scope,
    {
        self.scope.spawn(in_context(work))
    }
}

/// Text for the name of a span.
type Name = Cow<'static, str>;
