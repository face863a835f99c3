//! The trace goes on in a program that this one starts (OpenTelemetry, "Environment Variables as Context
//! Propagation Carriers").
//!
//! ```no_run
//! use std::process::Command;
//! use tracewell_sdk::process::CommandExt;
//!
//! # fn main() -> std::io::Result<()> {
//! // `TRACEPARENT`, `TRACESTATE` and `BAGGAGE`, or what other formats are called, in capitals.
//! Command::new("make-thumbnails").in_trace().status()?;
//! # Ok(())
//! # }
//! ```
//!
//! A program that is started so and calls [`init`](crate::init) goes on with the trace: its spans that have
//! no parent are children of the caller's. What a server receives later belongs to its own callers all the
//! same: a span that is made a root on purpose (`parent: None`), as the middleware does, stays one.

use tracewell_propagate::{Environment, environment_name};
use tracing::Span;

use crate::access;

/// What the starter of this process handed over.
pub(crate) fn inherited() -> Environment {
    Environment::new(std::env::vars_os())
}

/// What a process started now needs to know, as environment variables: for other ways to start one.
pub fn environment() -> Environment {
    let mut variables = Environment::default();
    crate::inject(&Span::current(), &mut variables);
    variables
}

/// Hands the current span's identity and its baggage to the program that a command will start.
pub trait CommandExt {
    /// The command with the variables of the current span. Without one it is left as it is, so that the
    /// program goes on with whatever trace this process was started in.
    fn in_trace(&mut self) -> &mut Self;
}

macro_rules! in_trace {
    ($command:ty) => {
        impl CommandExt for $command {
            fn in_trace(&mut self) -> &mut Self {
                let variables = environment();
                if variables.iter().next().is_some() {
                    // Those that this process was started with name its caller, not it.
                    for header in access::header_names() {
                        self.env_remove(environment_name(header));
                    }
                    self.envs(variables.iter());
                }
                self
            }
        }
    };
}

in_trace!(std::process::Command);
#[cfg(feature = "tokio")]
in_trace!(tokio::process::Command);
