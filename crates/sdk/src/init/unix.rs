//! The end of the process on Unix: signals, `abort` and `exit`.
//!
//! ```text
//! signal ─▶ handler: one byte into a pipe ─▶ watching thread: flush, then what would have happened anyway
//!                 └─▶ the handler that was there before
//! exit() ─▶ flush
//! ```
//!
//! The application's own handling goes first. A handler that was there before is called; one that is set
//! later (by tokio, for example) takes our place and calls us. In both cases the application decides when
//! the process ends, and all we do is flush. Only where nobody else handles a signal is its default action
//! taken after the flush, so that the parent sees the same exit status as without us. A second signal
//! does not wait for the first one's flush. What is ignored (`nohup`) stays ignored.
//!
//! A crate for signal handlers cannot do this: none tells whether somebody else handles a signal too.

#![expect(unsafe_code, reason = "the standard library knows neither signal handlers nor atexit")]

use std::io::{PipeReader, PipeWriter, Read, Write};
use std::os::fd::AsRawFd;
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, AtomicUsize, Ordering};
use std::time::Duration;

use libc::{c_int, c_void, siginfo_t};

use super::flush_running;

/// A stack for little more than waiting.
const STACK_BYTES: usize = 128 << 10;

/// Longest time that `abort` is held up, in milliseconds.
const ABORT_WAIT_MS: c_int = 2_000;

/// What is known of one signal. Everything in here is read by the handler: atomics only.
struct Watched {
    signal: c_int,
    /// Address of the handler that was there before: [`libc::SIG_DFL`], or a function.
    previous: AtomicUsize,
    previous_flags: AtomicI32,
    /// True from the signal until it was dealt with.
    pending: AtomicBool,
}

impl Watched {
    const fn new(signal: c_int) -> Self {
        Self {
            signal,
            previous: AtomicUsize::new(libc::SIG_DFL),
            previous_flags: AtomicI32::new(0),
            pending: AtomicBool::new(false),
        }
    }
}

/// The signals that end a process from outside, and the one by which it aborts.
static WATCHED: [Watched; 5] = [
    Watched::new(libc::SIGTERM),
    Watched::new(libc::SIGINT),
    Watched::new(libc::SIGHUP),
    Watched::new(libc::SIGQUIT),
    Watched::new(libc::SIGABRT),
];

/// Written by the handler, read by the watching thread.
static WAKE: AtomicI32 = AtomicI32::new(-1);
/// Read by the handler of `SIGABRT`, written by the watching thread.
static DONE: AtomicI32 = AtomicI32::new(-1);
/// The process that the watching thread lives in: not that of a child between `fork` and `exec`.
static PROCESS: AtomicU32 = AtomicU32::new(0);

/// Sets everything up; to be called once. Where something cannot be had the rest works without it.
pub(super) fn install() {
    // SAFETY: `on_exit` is a function without captures that lives as long as the program and does not
    // unwind; see there for what it may do. A failure means that it is not called.
    unsafe { libc::atexit(on_exit) };
    let (Ok((wake, waker)), Ok((done, doer))) = (std::io::pipe(), std::io::pipe()) else { return };
    WAKE.store(waker.as_raw_fd(), Ordering::Release);
    DONE.store(done.as_raw_fd(), Ordering::Release);
    PROCESS.store(std::process::id(), Ordering::Release);
    let watching = std::thread::Builder::new().name("tracewell-signals".to_owned()).stack_size(STACK_BYTES);
    if watching.spawn(move || watch(wake, doer)).is_ok() {
        // The handler needs its ends for as long as the process lives.
        std::mem::forget((waker, done));
        WATCHED.iter().for_each(take_over);
    }
}

/// Runs at `exit`, or after `main` has returned.
extern "C" fn on_exit() {
    // Other threads still run at this point, the exporter among them, so that waiting for it is waiting for
    // a thread that makes progress; the wait is bounded. No lock that is taken here is held by whoever calls
    // `exit`: the SDK never does while it holds one. No thread-local value with a destructor is used, and a
    // panic is caught, because it must not cross into C.
    let _ = std::panic::catch_unwind(flush_running);
}

fn disposition(signal: c_int) -> Option<libc::sigaction> {
    // SAFETY: all bytes zero is a value of this plain C structure.
    let mut current: libc::sigaction = unsafe { std::mem::zeroed() };
    // SAFETY: with no new action this only writes to `current`, which is valid for the call.
    let result = unsafe { libc::sigaction(signal, ptr::null(), &mut current) };
    (result == 0).then_some(current)
}

fn set_handler(signal: c_int, handler: usize, flags: c_int) {
    // SAFETY: all bytes zero is a value of this plain C structure, with an empty mask.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = handler;
    action.sa_flags = flags;
    // SAFETY: `action` is valid for the call; `handler` is SIG_DFL or `handle`, which is written for
    // SA_SIGINFO and does only what a signal handler may.
    unsafe { libc::sigaction(signal, &action, ptr::null_mut()) };
}

fn take_over(watched: &Watched) {
    let Some(before) = disposition(watched.signal) else { return };
    if before.sa_sigaction == libc::SIG_IGN {
        return;
    }
    // Known before the handler can run.
    watched.previous.store(before.sa_sigaction, Ordering::Release);
    watched.previous_flags.store(before.sa_flags, Ordering::Release);
    set_handler(watched.signal, our_handler(), libc::SA_SIGINFO | libc::SA_RESTART | libc::SA_ONSTACK);
}

fn our_handler() -> usize {
    handle as extern "C" fn(c_int, *mut siginfo_t, *mut c_void) as usize
}

/// The signal handler. It does only what POSIX allows in one: reads and writes of atomics, and the functions
/// `write`, `poll`, `sigaction`, `raise` and `getpid`. It allocates nothing, locks nothing, cannot panic.
extern "C" fn handle(signal: c_int, info: *mut siginfo_t, data: *mut c_void) {
    let Some(watched) = WATCHED.iter().find(|watched| watched.signal == signal) else { return };
    let errno = errno();
    let previous = watched.previous.load(Ordering::Acquire);
    let again = watched.pending.swap(true, Ordering::AcqRel);
    if std::process::id() != PROCESS.load(Ordering::Acquire) || (again && decided_by_us(watched)) {
        // A child that has not yet become another program, or somebody who does not want to wait.
        set_handler(signal, libc::SIG_DFL, 0);
        // SAFETY: `raise` may be called in a handler; the signal is delivered when this one returns.
        unsafe { libc::raise(signal) };
    } else if !again {
        let byte = [signal as u8];
        // SAFETY: the descriptor is that of a pipe that is never closed, `byte` lives for the call. There is
        // at most one byte for each watched signal in the pipe: this does not block.
        unsafe { libc::write(WAKE.load(Ordering::Acquire), byte.as_ptr().cast(), 1) };
        if signal == libc::SIGABRT {
            let mut done = libc::pollfd { fd: DONE.load(Ordering::Acquire), events: libc::POLLIN, revents: 0 };
            // SAFETY: `done` is one valid structure and lives for the call, which is bounded in time.
            unsafe { libc::poll(&mut done, 1, ABORT_WAIT_MS) };
        }
    }
    if previous != libc::SIG_DFL {
        if watched.previous_flags.load(Ordering::Acquire) & libc::SA_SIGINFO != 0 {
            // SAFETY: the system reported this address as the handler of this signal, set with SA_SIGINFO:
            // it is a function of this type, and it gets what a handler gets.
            let function: extern "C" fn(c_int, *mut siginfo_t, *mut c_void) = unsafe { std::mem::transmute(previous) };
            function(signal, info, data);
        } else {
            // SAFETY: as above; without SA_SIGINFO a handler takes the number alone.
            let function: extern "C" fn(c_int) = unsafe { std::mem::transmute(previous) };
            function(signal);
        }
    }
    set_errno(errno);
}

/// True when nobody else handles the signal, before us or after us.
fn decided_by_us(watched: &Watched) -> bool {
    watched.previous.load(Ordering::Acquire) == libc::SIG_DFL
        && disposition(watched.signal).is_some_and(|current| current.sa_sigaction == our_handler())
}

/// The watching thread.
fn watch(mut wake: PipeReader, mut doer: PipeWriter) {
    let mut byte = [0u8];
    loop {
        match wake.read(&mut byte) {
            Ok(1) => {}
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            // The writing end is never closed; should reading fail all the same, there is nothing to watch.
            _ => return,
        }
        let Some(watched) = WATCHED.iter().find(|watched| watched.signal == c_int::from(byte[0])) else { continue };
        flush_running();
        if watched.signal == libc::SIGABRT {
            let _ = doer.write(&[1]);
        } else if decided_by_us(watched) {
            end_by(watched.signal);
        }
        watched.pending.store(false, Ordering::Release);
    }
}

/// Ends the process as the signal would have ended it.
fn end_by(signal: c_int) {
    set_handler(signal, libc::SIG_DFL, 0);
    // SAFETY: all bytes zero is an empty set; `set` lives for the calls, and this thread's mask is its own.
    unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigaddset(&mut set, signal);
        libc::pthread_sigmask(libc::SIG_UNBLOCK, &set, ptr::null_mut());
        libc::raise(signal);
    }
    // The default action has ended the process. Should it not, then this does.
    std::thread::sleep(Duration::from_millis(100));
    // SAFETY: takes a number and does not return.
    unsafe { libc::_exit(128 + signal) }
}

fn errno() -> c_int {
    std::io::Error::last_os_error().raw_os_error().unwrap_or(0)
}

/// The code that was interrupted must find `errno` as it was.
fn set_errno(value: c_int) {
    #[cfg(any(target_os = "linux", target_os = "emscripten", target_os = "l4re"))]
    // SAFETY: the address of this thread's `errno`, always valid.
    unsafe {
        *libc::__errno_location() = value;
    }
    #[cfg(any(target_os = "macos", target_os = "ios", target_os = "freebsd"))]
    // SAFETY: as above.
    unsafe {
        *libc::__error() = value;
    }
    let _ = value;
}
