//! What a language's instrumentation needs: variables, and packages in a private folder.

use std::ffi::OsString;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, anyhow, bail};
use sha2::{Digest, Sha256};

use super::environment::Addition;

/// The file that every Python process loads.
const SITECUSTOMIZE: &str = include_str!("python/sitecustomize.py");

/// The file that every Node process loads.
const REGISTER: &str = include_str!("node/register.cjs");

/// An instrumentation that was found, or can be installed.
#[derive(Debug, Default)]
pub struct Agent {
    /// What it is, such as `Python 3.11.7 (/srv/venv/bin/python)`.
    pub runtime: String,
    /// Variables that switch it on; used when nothing has to be installed first.
    pub additions: Vec<Addition>,
    /// What has to be installed first.
    pub install: Option<Install>,
    /// Why there is no instrumentation, and what to do; the environment alone is set.
    pub unavailable: Option<String>,
    /// What is worth knowing.
    pub notes: Vec<String>,
}

/// Packages to be installed into a folder of our own.
#[derive(Debug)]
pub struct Install {
    /// What, from where: names with versions.
    pub packages: String,
    /// The folder that holds them afterwards, and nothing before.
    pub folder: PathBuf,
    /// The command; [`FOLDER`] stands for the folder.
    pub command: Vec<OsString>,
    /// Variables for the command; an empty value removes one.
    pub variables: Vec<(&'static str, &'static str)>,
    /// A file in the folder and its SHA-256, where the command does not check what it downloads.
    pub checksum: Option<(&'static str, &'static str)>,
}

/// Stands for the folder in [`Install::command`].
pub const FOLDER: &str = "{folder}";

impl Install {
    /// The command with a folder in its place.
    pub fn command_into(&self, folder: &Path) -> Vec<OsString> {
        let put = |word: &OsString| match word.to_str().and_then(|text| text.strip_prefix(FOLDER)) {
            Some(rest) => OsString::from(format!("{}{rest}", folder.display())),
            None => word.clone(),
        };
        self.command.iter().map(put).collect()
    }

    /// Installs, unless it is there by now: two runs at the same time install once, and a run that is killed leaves
    /// nothing that looks complete.
    ///
    /// # Errors
    /// What the installer said, in its last lines.
    pub fn perform(&self) -> Result<()> {
        let parent = self.folder.parent().ok_or_else(|| anyhow!("{} has no parent", self.folder.display()))?;
        std::fs::create_dir_all(parent).with_context(|| format!("cannot create {}", parent.display()))?;
        let lock = std::fs::File::create(self.folder.with_extension("lock"))?;
        lock.lock()?;
        if self.folder.is_dir() {
            return Ok(());
        }
        let partial = self.folder.with_extension("partial");
        let _ = std::fs::remove_dir_all(&partial);
        std::fs::create_dir_all(&partial).with_context(|| format!("cannot create {}", partial.display()))?;
        let outcome = self.fill(&partial);
        if outcome.is_err() {
            let _ = std::fs::remove_dir_all(&partial);
            return outcome;
        }
        std::fs::rename(&partial, &self.folder).with_context(|| format!("cannot rename {}", partial.display()))
    }

    fn fill(&self, folder: &Path) -> Result<()> {
        let words = self.command_into(folder);
        let (program, arguments) = words.split_first().ok_or_else(|| anyhow!("no command to install with"))?;
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::null());
        for (name, value) in &self.variables {
            if value.is_empty() {
                command.env_remove(name)
            } else {
                command.env(name, value)
            };
        }
        let output = command.output().with_context(|| format!("cannot start {}", program.to_string_lossy()))?;
        if !output.status.success() {
            let text = String::from_utf8_lossy(&output.stderr);
            let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
            let last = lines[lines.len().saturating_sub(3)..].join("; ");
            bail!("{} failed ({}): {last}", program.to_string_lossy(), output.status);
        }
        if let Some((name, expected)) = self.checksum {
            let found = sha256(&folder.join(name))?;
            if found != expected {
                bail!("{name} has the SHA-256 {found}, expected {expected}; it is not kept");
            }
        }
        Ok(())
    }
}

fn sha256(file: &Path) -> Result<String> {
    let mut reader = std::fs::File::open(file).with_context(|| format!("{} was not downloaded", file.display()))?;
    let mut hash = Sha256::new();
    let mut chunk = vec![0; 1 << 16];
    loop {
        match reader.read(&mut chunk)? {
            0 => break,
            read => hash.update(&chunk[..read]),
        }
    }
    Ok(hex(&hash.finalize()))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A few letters that change with a text.
pub fn short_hash(text: &str) -> String {
    hex(&Sha256::digest(text.as_bytes())[..6])
}

/// Where private packages are kept: `$XDG_CACHE_HOME/tracewell/run`, or below `~/.cache`.
pub fn cache_folder() -> PathBuf {
    let absolute = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let base = absolute("XDG_CACHE_HOME").or_else(|| Some(absolute("HOME")?.join(".cache")));
    base.unwrap_or_else(std::env::temp_dir).join("tracewell").join("run")
}

/// Writes the two files that the programs load, and returns the folder. Its name changes with their text, and it stays:
/// what a program has started may load them long after the run.
///
/// # Errors
/// When the folder cannot be written.
pub fn support_files(cache: &Path) -> Result<PathBuf> {
    let folder = cache.join(format!("site-{}", short_hash(&format!("{SITECUSTOMIZE}{REGISTER}"))));
    for (name, text) in [("python/sitecustomize.py", SITECUSTOMIZE), ("node/register.cjs", REGISTER)] {
        let file = folder.join(name);
        if std::fs::read_to_string(&file).is_ok_and(|there| there == text) {
            continue;
        }
        let parent = file.parent().unwrap_or(&folder);
        std::fs::create_dir_all(parent).with_context(|| format!("cannot create {}", parent.display()))?;
        // Another run may be reading it: it changes in one step.
        let partial = file.with_extension(format!("partial-{}", std::process::id()));
        std::fs::write(&partial, text).with_context(|| format!("cannot write {}", partial.display()))?;
        std::fs::rename(&partial, &file).with_context(|| format!("cannot write {}", file.display()))?;
    }
    Ok(folder)
}

/// Runs a short command of the language's own and returns what it prints; nothing when it fails or takes too long.
pub fn ask(words: &[OsString], arguments: &[&str]) -> Option<String> {
    let (program, first) = words.split_first()?;
    let mut command = Command::new(program);
    command.args(first).args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    // A run within a run asks the plain interpreter.
    command.env_remove("NODE_OPTIONS").env_remove("PYTHONSTARTUP").env_remove("TRACEWELL_RUN_STATUS");
    let mut child = command.spawn().ok()?;
    let mut out = child.stdout.take()?;
    let reader = std::thread::spawn(move || {
        let mut text = Vec::new();
        out.by_ref().take(1 << 20).read_to_end(&mut text).map(|_| text)
    });
    let give_up = std::time::Instant::now() + std::time::Duration::from_secs(20);
    loop {
        match child.try_wait().ok()? {
            Some(status) if status.success() => break,
            Some(_) => return None,
            None if std::time::Instant::now() > give_up => {
                let _ = child.kill();
                let _ = child.wait();
                return None;
            }
            None => std::thread::sleep(std::time::Duration::from_millis(10)),
        }
    }
    Some(String::from_utf8_lossy(&reader.join().ok()?.ok()?).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn install(folder: &Path, script: &str) -> Install {
        Install {
            packages: "a test".into(),
            folder: folder.to_owned(),
            command: ["sh", "-c", script, "sh", FOLDER].map(OsString::from).to_vec(),
            variables: vec![],
            checksum: None,
        }
    }

    #[test]
    fn an_installation_appears_whole_or_not_at_all() {
        let home = tempfile::tempdir().unwrap();
        let folder = home.path().join("deep/python-3.11-abc");
        let error = install(&folder, "touch $1/half; echo no such version >&2; exit 3").perform().unwrap_err();
        assert!(error.to_string().contains("no such version"), "{error}");
        assert!(!folder.exists());
        install(&folder, "echo 1 > $1/file").perform().unwrap();
        install(&folder, "exit 1").perform().expect("what is there is not installed again");
        assert_eq!(std::fs::read_to_string(folder.join("file")).unwrap(), "1\n");
    }

    #[test]
    fn a_download_must_be_what_was_pinned() {
        let home = tempfile::tempdir().unwrap();
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        let right = Install { checksum: Some(("jar", abc)), ..install(&home.path().join("a"), "printf abc > $1/jar") };
        right.perform().unwrap();
        let folder = home.path().join("b");
        let wrong = Install { checksum: Some(("jar", abc)), ..install(&folder, "printf abd > $1/jar") };
        assert!(wrong.perform().unwrap_err().to_string().contains("SHA-256"));
        assert!(!folder.exists());
    }

    #[test]
    fn the_files_that_programs_load_are_written_once() {
        let home = tempfile::tempdir().unwrap();
        let folder = support_files(home.path()).unwrap();
        assert!(folder.join("python/sitecustomize.py").is_file());
        assert_eq!(support_files(home.path()).unwrap(), folder);
    }

    #[test]
    fn a_question_that_fails_has_no_answer() {
        assert_eq!(ask(&["echo".into(), "a".into()], &["b"]).as_deref(), Some("a b\n"));
        assert_eq!(ask(&["false".into()], &[]), None);
        assert_eq!(ask(&["/nonexistent".into()], &[]), None);
    }
}
