//! Reading the layers, and telling what is wrong with them: everything at once, each with its place.

use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};

use toml::de::{DeTable, DeValue};

use super::keys::{self, KEYS, Key, Raw};
use super::{Config, DEFAULT_FILE, nearest};

/// What the names of our environment variables begin with.
const PREFIX: &str = "TRACEWELL_";

/// Environment variables with our prefix that are not settings of the server.
const OTHER_VARIABLES: &[&str] = &["TRACEWELL_CONFIG", "TRACEWELL_SERVER", "TRACEWELL_SKIP_UI"];

/// Where to look. The caller hands in the environment and the flags, so that this module reads nothing but files.
#[derive(Debug, Clone, Default)]
pub struct Inputs {
    /// The file that was named with `--config` or `TRACEWELL_CONFIG`; it must exist.
    pub file: Option<PathBuf>,
    /// The folder in which [`DEFAULT_FILE`] is read when no file is named and it exists.
    pub working_dir: PathBuf,
    /// All environment variables.
    pub environment: Vec<(String, String)>,
    /// Flags that were given.
    pub flags: Vec<FlagValue>,
}

/// A setting that was given as a flag.
#[derive(Debug, Clone)]
pub struct FlagValue {
    /// The flag as the user writes it, such as `--http-listen`.
    pub flag: String,
    /// The key that it sets, such as `http.listen`.
    pub key: String,
    /// The value.
    pub value: String,
}

/// The layer that a value comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// Nobody set it.
    Default,
    /// A file, and the line in it, from 1.
    File(PathBuf, usize),
    /// An environment variable.
    Environment(String),
    /// A flag.
    Flag(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Default => write!(f, "default"),
            Origin::File(path, line) => write!(f, "{}:{line}", path.display()),
            Origin::Environment(name) => write!(f, "environment {name}"),
            Origin::Flag(flag) => write!(f, "flag {flag}"),
        }
    }
}

/// One setting's value and where it comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// The key, such as `http.listen`.
    pub key: &'static str,
    /// The value as TOML.
    pub value: String,
    /// The layer that set it.
    pub origin: Origin,
}

/// What the layers amount to.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The values.
    pub config: Config,
    /// Every setting in the order of the default file.
    pub settings: Vec<Setting>,
    /// The file that was read, if any.
    pub file: Option<PathBuf>,
    /// What was left alone and may have been meant.
    pub warnings: Vec<String>,
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Where: `tracewell.toml:3`, `environment TRACEWELL_…`, `flag --…`.
    pub place: String,
    /// What, and what to do.
    pub message: String,
}

/// Everything that is wrong with the configuration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct ConfigError {
    /// At least one problem.
    pub problems: Vec<Problem>,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.problems.as_slice() {
            [one] => write!(f, "the configuration is not valid: {}: {}", one.place, one.message),
            many => {
                write!(f, "the configuration has {} problems:", many.len())?;
                many.iter().try_for_each(|problem| write!(f, "\n  {}: {}", problem.place, problem.message))
            }
        }
    }
}

struct Layers {
    config: Config,
    values: HashMap<&'static str, (Raw, Origin)>,
    problems: Vec<Problem>,
    warnings: Vec<String>,
}

impl Layers {
    fn set(&mut self, key: &'static Key, value: Raw, origin: Origin) {
        match key.apply(&mut self.config, &value) {
            Ok(()) => drop(self.values.insert(key.path, (value, origin))),
            Err(message) => self.problem(origin.to_string(), format!("{}: {message}", key.path)),
        }
    }

    fn problem(&mut self, place: String, message: String) {
        self.problems.push(Problem { place, message });
    }

    fn file(&mut self, path: &Path, text: &str) {
        let line_of = |offset: usize| 1 + text.bytes().take(offset).filter(|byte| *byte == b'\n').count();
        let table = match DeTable::parse(text) {
            Ok(table) => table,
            Err(error) => {
                let line = line_of(error.span().map_or(0, |span| span.start));
                return self.problem(format!("{}:{line}", path.display()), format!("not TOML: {}", error.message()));
            }
        };
        let mut entries = Vec::new();
        flatten(table.get_ref(), "", &mut entries);
        entries.sort_by_key(|entry| entry.offset);
        for entry in entries {
            let origin = Origin::File(path.to_owned(), line_of(entry.offset));
            match (keys::find(&entry.path), entry.value) {
                (Some(key), Some(value)) => self.set(key, value, origin),
                (Some(_), None) => self.problem(
                    origin.to_string(),
                    format!("{}: is neither a text, a number, a truth value nor a list of texts", entry.path),
                ),
                (None, _) => self.problem(origin.to_string(), unknown_key(&entry.path)),
            }
        }
    }

    fn environment(&mut self, variables: &[(String, String)]) {
        for (name, value) in variables {
            if !name.starts_with(PREFIX) || OTHER_VARIABLES.contains(&name.as_str()) || is_service_link(name) {
                continue;
            }
            let flat = name.replace("__", "_");
            let place = Origin::Environment(name.clone());
            match KEYS.iter().find(|key| key.environment() == flat) {
                Some(key) => self.set(key, Raw::Text(value.clone()), place),
                None => self.unknown_variable(name, &flat),
            }
        }
    }

    /// A slip is an error. What resembles no setting belongs to somebody else: scripts and other tools use our prefix
    /// for variables of their own.
    fn unknown_variable(&mut self, name: &str, flat: &str) {
        let own = |name: &str| name.strip_prefix(PREFIX).unwrap_or(name).to_owned();
        let names: Vec<String> = KEYS.iter().map(|key| own(&key.environment())).collect();
        match nearest(&own(flat), names.iter().map(String::as_str)) {
            Some(near) => {
                let place = Origin::Environment(name.to_owned()).to_string();
                self.problem(place, format!("unknown setting; did you mean {PREFIX}{near}?"));
            }
            None => self.warnings.push(format!("environment {name}: not a setting; it is left alone")),
        }
    }

    fn flags(&mut self, flags: &[FlagValue]) {
        for FlagValue { flag, key, value } in flags {
            match keys::find(key) {
                Some(key) => self.set(key, Raw::Text(value.clone()), Origin::Flag(flag.clone())),
                None => self.problem(Origin::Flag(flag.clone()).to_string(), unknown_key(key)),
            }
        }
    }
}

/// Kubernetes sets these in every pod beside a service called `tracewell`; they are not ours.
fn is_service_link(name: &str) -> bool {
    let rest = name.strip_prefix(PREFIX).unwrap_or(name);
    rest == "PORT" || rest.starts_with("PORT_") || rest.starts_with("SERVICE_HOST") || rest.starts_with("SERVICE_PORT")
}

fn unknown_key(path: &str) -> String {
    // A right name in the wrong section is as common a slip as a wrong letter.
    let name = path.rsplit('.').next().unwrap_or(path);
    let elsewhere =
        KEYS.iter().map(|key| key.path).find(|known| *known == name || known.ends_with(&format!(".{name}")));
    match nearest(path, KEYS.iter().map(|key| key.path)).or(elsewhere) {
        Some(near) => format!("unknown key `{path}`; did you mean `{near}`?"),
        None => format!("unknown key `{path}`; `tracewell config default` lists every one"),
    }
}

struct Entry {
    path: String,
    value: Option<Raw>,
    offset: usize,
}

fn flatten(table: &DeTable<'_>, prefix: &str, entries: &mut Vec<Entry>) {
    for (key, value) in table {
        let path = if prefix.is_empty() { key.get_ref().to_string() } else { format!("{prefix}.{}", key.get_ref()) };
        let raw = match value.get_ref() {
            DeValue::Table(inner) => {
                let known = KEYS.iter().any(|known| known.path.starts_with(&format!("{path}.")));
                if known || inner.is_empty() {
                    flatten(inner, &path, entries);
                    continue;
                }
                None
            }
            DeValue::Array(items) => {
                items.iter().map(|item| text_of(item.get_ref())).collect::<Option<Vec<_>>>().map(Raw::List)
            }
            other => text_of(other).map(Raw::Text),
        };
        entries.push(Entry { path, value: raw, offset: key.span().start });
    }
}

fn text_of(value: &DeValue<'_>) -> Option<String> {
    match value {
        DeValue::String(text) => Some(text.to_string()),
        DeValue::Integer(number) => Some(number.to_string()),
        DeValue::Float(number) => Some(number.to_string()),
        DeValue::Boolean(truth) => Some(truth.to_string()),
        _ => None,
    }
}

/// Reads every layer; the later ones win.
///
/// # Errors
/// Every problem of every layer, each with its place.
pub fn load(inputs: &Inputs) -> Result<Loaded, ConfigError> {
    let mut layers =
        Layers { config: Config::default(), values: HashMap::new(), problems: Vec::new(), warnings: Vec::new() };
    let implied = inputs.working_dir.join(DEFAULT_FILE);
    let file = inputs.file.clone().or_else(|| implied.is_file().then_some(PathBuf::from(DEFAULT_FILE)));
    if let Some(path) = &file {
        match std::fs::read_to_string(if inputs.file.is_some() { path } else { &implied }) {
            Ok(text) => layers.file(path, &text),
            Err(error) => layers.problem(path.display().to_string(), format!("cannot be read: {error}")),
        }
    }
    layers.environment(&inputs.environment);
    layers.flags(&inputs.flags);
    if !layers.problems.is_empty() {
        return Err(ConfigError { problems: layers.problems });
    }
    let settings = KEYS.iter().map(|key| {
        let (value, origin) = layers.values.remove(key.path).unwrap_or((key.default_value(), Origin::Default));
        Setting { key: key.path, value: value.to_toml(), origin }
    });
    Ok(Loaded { settings: settings.collect(), config: layers.config, file, warnings: layers.warnings })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inputs(file: &str, environment: &[(&str, &str)], flags: &[(&str, &str)]) -> (tempfile::TempDir, Inputs) {
        let folder = tempfile::tempdir().unwrap();
        if !file.is_empty() {
            std::fs::write(folder.path().join(DEFAULT_FILE), file).unwrap();
        }
        let inputs = Inputs {
            file: None,
            working_dir: folder.path().to_owned(),
            environment: environment.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect(),
            flags: flags
                .iter()
                .map(|(key, value)| FlagValue {
                    flag: format!("--{}", key.replace(['.', '_'], "-")),
                    key: key.to_string(),
                    value: value.to_string(),
                })
                .collect(),
        };
        (folder, inputs)
    }

    #[test]
    fn later_layers_win_and_each_value_knows_where_it_comes_from() {
        let file =
            "data_dir = \"/file\"\n[http]\nlisten = \"127.0.0.1:1\"\nconnections_max = 7\n[log]\nlevel = \"warn\"\n";
        let environment =
            [("TRACEWELL_HTTP_LISTEN", "127.0.0.1:2"), ("TRACEWELL_LOG__LEVEL", "debug"), ("PATH", "/bin")];
        let (_folder, inputs) = inputs(file, &environment, &[("log.level", "error")]);
        let loaded = load(&inputs).unwrap();
        assert_eq!(loaded.config.data_dir, Path::new("/file"));
        assert_eq!(loaded.config.http.listen.port(), 2);
        assert_eq!(loaded.config.http.connections_max, 7);
        assert_eq!(loaded.config.log.level, "error");
        let origin = |key| loaded.settings.iter().find(|setting| setting.key == key).unwrap().origin.to_string();
        assert_eq!(origin("data_dir"), "tracewell.toml:1");
        assert_eq!(origin("http.connections_max"), "tracewell.toml:4");
        assert_eq!(origin("http.listen"), "environment TRACEWELL_HTTP_LISTEN");
        assert_eq!(origin("log.level"), "flag --log-level");
        assert_eq!(origin("query.time_max"), "default");
    }

    #[test]
    fn what_is_wrong_is_told_with_its_place_and_what_to_do() {
        for (file, environment, flag, expected) in [
            (
                "[http]\nlisen = \"x\"\n",
                None,
                None,
                "tracewell.toml:2: unknown key `http.lisen`; did you mean `http.listen`?",
            ),
            ("listen = \"x\"\n", None, None, "tracewell.toml:1: unknown key `listen`; did you mean `http.listen`?"),
            ("\n[kafka]\nbrokers = []\n", None, None, "tracewell.toml:2: unknown key `kafka`"),
            ("data_dir = \n", None, None, "tracewell.toml:1: not TOML"),
            ("data_dir = {}\n", None, None, ""),
            ("[otlp]\nbody_max = \"big\"\n", None, None, "tracewell.toml:2: otlp.body_max: `big` is not a size"),
            ("[otlp]\nbody_max = \"1\"\n", None, None, "out of range; write a size from 1KiB to 1024MiB"),
            ("[http]\nallowed_origins = [\"example.com\"]\n", None, None, "write scheme and host"),
            ("[http]\nlisten = [\"a\"]\n", None, None, "is a list; write one value"),
            ("", Some(("TRACEWELL_DATADIR", "x")), None, "did you mean TRACEWELL_DATA_DIR?"),
            ("", Some(("TRACEWELL_BINARY", "x")), None, ""),
            ("", Some(("TRACEWELL_LOG_LEVEL", "loud")), None, "environment TRACEWELL_LOG_LEVEL: log.level: `loud`"),
            ("", Some(("TRACEWELL_PORT_3200_TCP", "tcp://10.0.0.1:3200")), None, ""),
            ("", None, Some(("http.listen", "3200")), "flag --http-listen: http.listen: `3200` is not an address"),
        ] {
            let (_folder, inputs) = inputs(file, environment.as_slice(), flag.as_slice());
            let message = load(&inputs).map(|_| String::new()).unwrap_or_else(|error| error.to_string());
            assert_eq!(message.is_empty(), expected.is_empty(), "{file:?} {environment:?}: {message}");
            assert!(message.contains(expected), "{message:?} does not contain {expected:?}");
        }
    }

    #[test]
    fn a_named_file_must_exist_and_all_problems_are_told_at_once() {
        let (_folder, mut inputs) = inputs("", &[("TRACEWELL_LOG_LEVLE", "1")], &[("query.time_max", "0s")]);
        inputs.file = Some(PathBuf::from("/nowhere/tracewell.toml"));
        let message = load(&inputs).unwrap_err().to_string();
        for part in ["3 problems", "/nowhere/tracewell.toml: cannot be read", "TRACEWELL_LOG_LEVLE", "--query-time-max"]
        {
            assert!(message.contains(part), "{message}");
        }
    }
}
