//! What a panic in a handler said, and where.
//!
//! The place of a panic is known to the process's panic hook only. A hook is put in front of the present one,
//! once; it takes notes on threads that are just polling a traced future, and passes every panic on.
//! Where the application replaces the hook later, the words of the panic are still recorded, its place is not.

use std::any::Any;
use std::backtrace::{Backtrace, BacktraceStatus};
use std::cell::{Cell, RefCell};
use std::fmt::Write;
use std::panic::{AssertUnwindSafe, PanicHookInfo, catch_unwind, set_hook, take_hook};
use std::sync::Once;

use crate::edit::Editor;
use crate::proto::ValueRef;

/// Longest description of where a panic happened, in bytes.
const STACKTRACE_BYTES_MAX: usize = 64 << 10;

/// One panic.
pub struct Panicked {
    message: String,
    /// Place and, where `RUST_BACKTRACE` asks for it, calls.
    stacktrace: String,
}

impl Panicked {
    /// Records it as OpenTelemetry's `exception` event.
    pub(crate) fn record(&self, edit: &mut Editor<'_>) {
        edit.event(
            "exception",
            &[
                ("exception.type", ValueRef::Str("panic")),
                ("exception.message", ValueRef::Str(&self.message)),
                ("exception.stacktrace", ValueRef::Str(&self.stacktrace)),
            ],
        );
    }

    pub(crate) fn message(&self) -> &str {
        &self.message
    }
}

thread_local! {
    static WATCHED: Cell<bool> = const { Cell::new(false) };
    static NOTE: RefCell<Option<Panicked>> = const { RefCell::new(None) };
}

/// Puts the hook in place; only the first call does anything.
pub(crate) fn install() {
    static INSTALLED: Once = Once::new();
    // `set_hook` panics on a thread that panics: whoever builds a layer there goes without.
    if std::thread::panicking() {
        return;
    }
    INSTALLED.call_once(|| {
        let next = take_hook();
        set_hook(Box::new(move |info| {
            if WATCHED.try_with(Cell::get).unwrap_or(false) {
                let _ = NOTE.try_with(|note| note.replace(Some(describe(info))));
            }
            next(info);
        }));
    });
}

fn describe(info: &PanicHookInfo<'_>) -> Panicked {
    let mut stacktrace = String::new();
    if let Some(location) = info.location() {
        let _ = write!(stacktrace, "at {location}");
    }
    let backtrace = Backtrace::capture();
    if backtrace.status() == BacktraceStatus::Captured {
        let _ = write!(stacktrace, "\n{backtrace}");
    }
    stacktrace.truncate(stacktrace.floor_char_boundary(STACKTRACE_BYTES_MAX));
    Panicked { message: words(info.payload()), stacktrace }
}

fn words(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().copied();
    text.or_else(|| payload.downcast_ref::<String>().map(String::as_str)).unwrap_or("not a text").to_owned()
}

/// How a watched call ended.
pub(crate) struct Outcome<T> {
    /// What it returned, or the payload to go on unwinding with.
    pub(crate) result: Result<T, Box<dyn Any + Send>>,
    /// The last panic within, one that was caught further down included.
    pub(crate) panicked: Option<Panicked>,
}

/// Calls `act` and notes a panic in it. What `act` works on must not be used after a panic.
pub(crate) fn watch<T>(act: impl FnOnce() -> T) -> Outcome<T> {
    let outer = WATCHED.replace(true);
    let result = catch_unwind(AssertUnwindSafe(act));
    WATCHED.set(outer);
    let mut panicked = NOTE.try_with(|note| note.try_borrow_mut().ok().and_then(|mut note| note.take())).ok().flatten();
    if let (Err(payload), None) = (&result, &panicked) {
        panicked = Some(Panicked { message: words(&**payload), stacktrace: String::new() });
    }
    Outcome { result, panicked }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_panic_is_noted_whether_caught_further_down_or_not() {
        install();
        let quiet = watch(|| 1);
        assert!(matches!(quiet.result, Ok(1)) && quiet.panicked.is_none());
        let caught = watch(|| catch_unwind(|| panic!("inner {}", 1)).is_err());
        assert!(matches!(caught.result, Ok(true)));
        assert_eq!(caught.panicked.unwrap().message(), "inner 1");
        let thrown = watch(|| std::panic::panic_any(3));
        assert!(thrown.result.is_err_and(|payload| payload.downcast_ref() == Some(&3)));
        let panicked = thrown.panicked.unwrap();
        assert_eq!(panicked.message(), "not a text");
        assert!(panicked.stacktrace.starts_with("at ") && panicked.stacktrace.contains("panics.rs"));
    }
}
