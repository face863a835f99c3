//! Finds or builds the user interface and writes the table of its files that `api/ui.rs` embeds.
//!
//! 1. `TRACEWELL_SKIP_UI=1`: nothing is embedded; the server shows a page that says how to build it.
//! 2. `ui/dist` is there and no older than the sources (in debug builds: is there): it is embedded.
//! 3. npm is installed: `npm ci` where `ui/node_modules` is missing or older than the lock file, then
//!    `npm run build` into Cargo's own output folder; the source tree gets nothing but `node_modules`.
//! 4. Otherwise: the page that says how to build it, and a warning.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

/// What the interface is made from, below `ui/`.
const SOURCES: &[&str] = &[
    "src",
    "public",
    "index.html",
    "package.json",
    "package-lock.json",
    "vite.config.ts",
    "svelte.config.js",
    "tsconfig.json",
];

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=TRACEWELL_SKIP_UI");
    println!("cargo::rustc-env=TRACEWELL_TARGET={}", std::env::var("TARGET").unwrap_or_default());
    println!("cargo::rustc-env=TRACEWELL_PROFILE={}", std::env::var("PROFILE").unwrap_or_default());
    println!("cargo::rustc-env=TRACEWELL_RUSTC={}", rustc_version());
    let out_dir = PathBuf::from(std::env::var_os("OUT_DIR").unwrap_or_default());
    let root = PathBuf::from(std::env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default());
    let ui = root.join("../../ui");
    let files = match find_or_build(&ui, &out_dir).and_then(|dist| copy(&dist, &out_dir.join("embedded"))) {
        Ok(files) => files,
        Err(reason) => {
            if !reason.is_empty() {
                println!("cargo::warning=the user interface is not embedded: {reason}");
            }
            Vec::new()
        }
    };
    let mut table = String::from("pub(super) const FILES: &[(&str, &[u8])] = &[\n");
    for (path, file) in files {
        let _ = writeln!(table, "    ({path:?}, include_bytes!({:?})),", file.display().to_string());
    }
    table.push_str("];\n");
    if let Err(error) = std::fs::write(out_dir.join("ui_files.rs"), table) {
        println!("cargo::error=cannot write the list of interface files: {error}");
    }
}

/// The compiler in its own words, without the date.
fn rustc_version() -> String {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = Command::new(rustc).arg("--version").output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    text.split_whitespace().nth(1).unwrap_or("unknown").to_owned()
}

/// The folder with the built interface, or why there is none.
fn find_or_build(ui: &Path, out_dir: &Path) -> Result<PathBuf, String> {
    if std::env::var_os("TRACEWELL_SKIP_UI").is_some_and(|value| value != "0" && !value.is_empty()) {
        return Err(String::new());
    }
    let dist = ui.join("dist");
    let is_debug = std::env::var("PROFILE").is_ok_and(|profile| profile == "debug");
    let has_dist = dist.join("index.html").is_file();
    if has_dist {
        println!("cargo::rerun-if-changed={}", dist.display());
        if is_debug {
            // Whoever changes the interface builds it; a Rust build must not run npm for every edit.
            return Ok(dist);
        }
    }
    if !ui.join("package.json").is_file() {
        return Err("ui/package.json is missing".to_owned());
    }
    for source in SOURCES.iter().map(|source| ui.join(source)).filter(|source| source.exists()) {
        println!("cargo::rerun-if-changed={}", source.display());
    }
    let sources_changed = SOURCES.iter().filter_map(|source| newest(&ui.join(source))).max();
    if has_dist && newest(&dist) >= sources_changed {
        return Ok(dist);
    }
    match build(ui, &out_dir.join("ui")) {
        Ok(built) => Ok(built),
        Err(reason) if has_dist => {
            println!("cargo::warning=ui/dist is older than its sources and was embedded all the same: {reason}");
            Ok(dist)
        }
        Err(reason) => Err(reason),
    }
}

fn build(ui: &Path, target: &Path) -> Result<PathBuf, String> {
    let modules = modified(&ui.join("node_modules/.package-lock.json"));
    if modules.is_none() || modules < modified(&ui.join("package-lock.json")) {
        npm(ui, &["ci", "--no-audit", "--no-fund"])?;
    }
    npm(ui, &["run", "build", "--", "--outDir", &target.display().to_string(), "--emptyOutDir"])?;
    if target.join("index.html").is_file() {
        Ok(target.to_owned())
    } else {
        Err("npm run build wrote no index.html".to_owned())
    }
}

fn npm(ui: &Path, arguments: &[&str]) -> Result<(), String> {
    let output = Command::new("npm").args(arguments).current_dir(ui).output();
    let output = output
        .map_err(|error| format!("npm cannot be started ({error}); install Node.js, or build ui/dist elsewhere"))?;
    if output.status.success() {
        return Ok(());
    }
    let log = String::from_utf8_lossy(&output.stderr);
    let telling = log.lines().map(str::trim).find(|line| line.to_ascii_lowercase().contains("error"));
    Err(format!("npm {} failed: {}", arguments.join(" "), telling.unwrap_or("no message")))
}

fn modified(path: &Path) -> Option<SystemTime> {
    path.metadata().ok()?.modified().ok()
}

/// The latest change of a file, or of any file below a folder.
fn newest(path: &Path) -> Option<SystemTime> {
    if path.is_file() {
        return modified(path);
    }
    let entries = std::fs::read_dir(path).ok()?;
    entries.filter_map(|entry| newest(&entry.ok()?.path())).max()
}

/// Copies the files to where nobody changes them while they are compiled in.
fn copy(dist: &Path, target: &Path) -> Result<Vec<(String, PathBuf)>, String> {
    let _ = std::fs::remove_dir_all(target);
    list(dist)
        .into_iter()
        .map(|(path, file)| {
            let to = target.join(&path);
            let folder = to.parent().unwrap_or(target);
            std::fs::create_dir_all(folder)
                .and_then(|()| std::fs::copy(&file, &to))
                .map_err(|error| error.to_string())?;
            Ok((path, to))
        })
        .collect()
}

/// Every file below the folder, with its path as a URL has it.
fn list(dist: &Path) -> Vec<(String, PathBuf)> {
    let mut files = Vec::new();
    let mut folders = vec![dist.to_owned()];
    while let Some(folder) = folders.pop() {
        let Ok(entries) = std::fs::read_dir(&folder) else { continue };
        for path in entries.filter_map(|entry| Some(entry.ok()?.path())) {
            if path.is_dir() {
                folders.push(path);
            } else if let Ok(relative) = path.strip_prefix(dist) {
                let parts: Vec<_> = relative.iter().map(|part| part.to_string_lossy()).collect();
                files.push((parts.join("/"), path));
            }
        }
    }
    files.sort();
    files
}
