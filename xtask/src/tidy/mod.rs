//! Checks of what people forget: the invariants of `docs/ARCHITECTURE.md`, file sizes, documentation.
//!
//! Each check is a pure function from the [`Tree`] (every tracked text file, read once) to problems, so
//! that its tests are a few lines of text and no disk.

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, bail};

mod documents;
mod layers;
mod sources;

/// The text files of the repository, by path from its root with `/` between folders.
#[derive(Default)]
pub struct Tree {
    files: Vec<File>,
}

/// One file.
pub struct File {
    /// Path from the root.
    pub path: String,
    /// Content.
    pub text: String,
}

impl Tree {
    /// All files whose path ends in `suffix`.
    pub fn ending<'a>(&'a self, suffix: &'a str) -> impl Iterator<Item = &'a File> {
        self.files.iter().filter(move |file| file.path.ends_with(suffix))
    }

    /// The file at `path`, if there is one.
    pub fn get(&self, path: &str) -> Option<&File> {
        self.files.iter().find(|file| file.path == path)
    }

    /// True when `path` is a file or a folder with files in it.
    pub fn exists(&self, path: &str) -> bool {
        let folder = format!("{}/", path.trim_end_matches('/'));
        path.is_empty() || self.files.iter().any(|file| file.path == path || file.path.starts_with(&folder))
    }

    #[cfg(test)]
    fn of(files: &[(&str, &str)]) -> Self {
        let files = files.iter().map(|(path, text)| File { path: (*path).into(), text: (*text).into() }).collect();
        Self { files }
    }

    /// Reads what git tracks or would track. Files that are not UTF-8 have an empty text.
    fn read(root: &Path) -> anyhow::Result<Self> {
        let output = Command::new("git")
            .args(["ls-files", "--cached", "--others", "--exclude-standard", "-z"])
            .current_dir(root)
            .output()
            .context("cannot run git, which lists the files to check")?;
        if !output.status.success() {
            bail!("git ls-files failed: {}", String::from_utf8_lossy(&output.stderr).trim());
        }
        let mut files = Vec::new();
        for path in String::from_utf8(output.stdout)?.split('\0').filter(|path| !path.is_empty()) {
            // A file that git tracks may be deleted in the working tree.
            if let Ok(bytes) = std::fs::read(root.join(path)) {
                files.push(File { path: path.to_owned(), text: String::from_utf8(bytes).unwrap_or_default() });
            }
        }
        files.sort_by(|a, b| a.path.cmp(&b.path));
        files.dedup_by(|a, b| a.path == b.path);
        Ok(Self { files })
    }
}

/// Something to repair.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// File, from the root.
    pub path: String,
    /// Line, from 1; 0 for the file as a whole.
    pub line: usize,
    /// What is wrong and what to do.
    pub message: String,
}

impl Problem {
    fn new(path: &str, line: usize, message: impl Into<String>) -> Self {
        Self { path: path.to_owned(), line, message: message.into() }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "{}: {}", self.path, self.message),
            line => write!(f, "{}:{line}: {}", self.path, self.message),
        }
    }
}

/// Lines of a text with their numbers from 1.
fn numbered(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines().enumerate().map(|(index, line)| (index + 1, line))
}

/// Runs every check on the repository and prints the problems.
pub fn run() -> anyhow::Result<ExitCode> {
    let root: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("xtask lies in the root")?.into();
    let tree = Tree::read(&root)?;
    let checks: [fn(&Tree) -> Vec<Problem>; 9] = [
        layers::dependencies,
        layers::purity,
        sources::length,
        sources::crate_documentation,
        sources::leftovers,
        documents::licence,
        documents::links,
        documents::architecture_names_every_crate,
        documents::commands_exist,
    ];
    let mut problems: Vec<Problem> = checks.iter().flat_map(|check| check(&tree)).collect();
    problems.extend(documents::outside_references(&tree));
    problems.sort();
    for file in sources::long(&tree) {
        println!("note: {file}");
    }
    for problem in &problems {
        eprintln!("tidy: {problem}");
    }
    println!("tidy: {} files, {} problems", tree.files.len(), problems.len());
    Ok(if problems.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
