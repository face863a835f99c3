//! Tells the crate which compiler builds it: `process.runtime.version`.

use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let compiler = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let Ok(output) = Command::new(compiler).arg("--version").output() else { return };
    // `rustc 1.95.0 (59807616e 2026-04-14)`
    if let Some(version) = String::from_utf8_lossy(&output.stdout).split_whitespace().nth(1) {
        println!("cargo::rustc-env=TRACEWELL_RUSTC_VERSION={version}");
    }
}
