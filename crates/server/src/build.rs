//! What this binary is.

/// The version.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The version with what the binary was built for.
pub const LONG: &str = concat!(
    env!("CARGO_PKG_VERSION"),
    "\ntarget: ",
    env!("TRACEWELL_TARGET"),
    "\nprofile: ",
    env!("TRACEWELL_PROFILE"),
    "\nrust: ",
    env!("TRACEWELL_RUSTC")
);
