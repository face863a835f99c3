//! A panic is recorded on the span in which it happens, before anything else learns of it.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::panic::PanicHookInfo;
use std::thread;

use tracing::Span;

use crate::access::{self, Exception};

/// Panics after which the process aborts, whatever it was compiled for: the standard library's own words.
const FINAL: [&str; 2] = ["panic in a function that cannot unwind", "panic in a destructor during cleanup"];

/// Puts the recording before the hook that is in place, which is called as before.
pub(super) fn install() {
    let previous = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        record(info);
        previous(info);
    }));
}

fn record(info: &PanicHookInfo<'_>) {
    let message = info.payload_as_str().unwrap_or("the payload is not text");
    let place = info.location().map(ToString::to_string);
    let backtrace = Backtrace::capture();
    let mut stacktrace = place.as_ref().map(|place| format!("at {place}")).unwrap_or_default();
    if backtrace.status() == BacktraceStatus::Captured {
        stacktrace.push_str(&format!("\n{backtrace}"));
    }
    let place = place.unwrap_or_else(|| "an unknown place".to_owned());
    let thread = thread::current();
    let name = thread.name().unwrap_or("unnamed");
    if tracing::event_enabled!(target: "tracewell_sdk::panic", tracing::Level::ERROR) {
        // A line, a log record, and an event of the current span at once.
        tracing::error!(
            target: "tracewell_sdk::panic",
            {
                exception.message = message,
                { "exception.type" } = "panic",
                exception.stacktrace = stacktrace,
                thread.name = name,
            },
            "panicked at {place}: {message}",
        );
        access::mark_failed(&Span::current(), "panic", message);
    } else {
        access::record_exception(&Span::current(), &Exception { kind: "panic", message, stacktrace: &stacktrace });
    }
    if cfg!(panic = "abort") || FINAL.contains(&message) {
        // Nothing will unwind: the spans that are open here end now or never.
        access::end_all(&Span::current());
        super::flush_running();
    }
}
