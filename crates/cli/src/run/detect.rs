//! Which language a command is, from its words and the first line of the file that it names.

use std::ffi::OsString;
use std::io::Read;
use std::path::{Path, PathBuf};

/// What runs the program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Runtime {
    /// Python; the words that start the very interpreter that will run the program.
    Python(Vec<OsString>),
    /// Node; the words that start it.
    Node(Vec<OsString>),
    /// A Java virtual machine, or a tool that starts one.
    Java,
    /// A language whose instrumentation has to be built in or set up by its own means; what to do.
    Unsupported(&'static str, &'static str),
    /// The command already starts an instrumentation of its own.
    Instrumented(&'static str),
    /// A compiled program or a script of a shell: it gets the environment.
    Other,
}

/// What was found out about a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Detected {
    /// What runs it.
    pub runtime: Runtime,
    /// A name for its service.
    pub service: String,
}

/// Where programs are looked for.
#[derive(Debug, Clone, Default)]
pub struct Surroundings {
    /// The value of `PATH`.
    pub path: OsString,
    /// The working directory.
    pub working_dir: PathBuf,
}

/// Programs that start another one: their name and how many words of their own follow their options.
const LAUNCHERS: &[(&str, usize)] = &[
    ("env", 0),
    ("nice", 0),
    ("ionice", 0),
    ("nohup", 0),
    ("time", 0),
    ("timeout", 1),
    ("stdbuf", 0),
    ("setsid", 0),
    ("exec", 0),
    ("dumb-init", 0),
    ("tini", 0),
    ("strace", 0),
];

/// Options of launchers that take a word of their own.
const LAUNCHER_OPTIONS: &[&str] = &["-n", "-k", "-s", "-u", "-o", "-e", "-i0", "-c"];

/// Python's tools that run a program in an environment of their own with `TOOL run PROGRAM`.
const PYTHON_TOOLS: &[&str] = &["poetry", "uv", "pdm", "pipenv", "hatch", "rye"];

const NODE_PROGRAMS: &[&str] = &[
    "node",
    "nodejs",
    "npm",
    "npx",
    "yarn",
    "pnpm",
    "corepack",
    "tsx",
    "ts-node",
    "nodemon",
    "next",
    "nest",
    "pm2-runtime",
];

const JAVA_PROGRAMS: &[&str] =
    &["java", "mvn", "mvnw", "gradle", "gradlew", "sbt", "kotlin", "scala", "jshell", "catalina.sh"];

/// Says what a command is. Reads at most the first lines of files that it names; changes nothing.
pub fn detect(command: &[OsString], around: &Surroundings) -> Detected {
    let command = behind_launchers(command);
    let name = command.first().map(base_name).unwrap_or_default();
    let runtime = match unsupported(&name).or_else(|| by_name(&name, command)) {
        Some(runtime) => runtime,
        None => by_file(command, around),
    };
    let service = service_name(&name, command, around);
    Detected { runtime, service }
}

/// The words behind `env A=B`, `nice -n 5`, `timeout 30` and the like.
fn behind_launchers(command: &[OsString]) -> &[OsString] {
    let mut rest = command;
    while let Some((first, mut words)) = rest.split_first() {
        let Some((_, own)) = LAUNCHERS.iter().find(|(name, _)| *name == base_name(first)) else { break };
        let mut own = *own;
        while let Some((word, after)) = words.split_first() {
            let text = word.to_string_lossy();
            if LAUNCHER_OPTIONS.contains(&text.as_ref()) {
                words = after.get(1..).unwrap_or_default();
            } else if text.starts_with('-') || (base_name(first) == "env" && text.contains('=')) {
                words = after;
            } else if own > 0 {
                own -= 1;
                words = after;
            } else {
                break;
            }
        }
        if words.is_empty() {
            break;
        }
        rest = words;
    }
    rest
}

fn unsupported(name: &str) -> Option<Runtime> {
    let (language, advice) = match name {
        "php" | "php-fpm" | "composer" => (
            "PHP",
            "install the extension `opentelemetry` (pecl install opentelemetry) and the composer packages \
             open-telemetry/sdk, open-telemetry/exporter-otlp and one open-telemetry/opentelemetry-auto-* per library, \
             and set OTEL_PHP_AUTOLOAD_ENABLED=true; the address and the service's name are set already",
        ),
        "dotnet" => (
            ".NET",
            "install opentelemetry-dotnet-instrumentation and start the program through its instrument.sh; the address \
             and the service's name are set already",
        ),
        "ruby" | "rails" | "bundle" | "rackup" | "puma" => (
            "Ruby",
            "add the gems opentelemetry-sdk, opentelemetry-exporter-otlp and opentelemetry-instrumentation-all, and call \
             OpenTelemetry::SDK.configure { |c| c.use_all }; the address and the service's name are set already",
        ),
        "bun" | "deno" => (
            "Bun and Deno",
            "Deno exports by itself with OTEL_DENO=true; for Bun start the OpenTelemetry SDK in the program; the address \
             and the service's name are set already",
        ),
        _ => return None,
    };
    Some(Runtime::Unsupported(language, advice))
}

fn by_name(name: &str, command: &[OsString]) -> Option<Runtime> {
    let first = command.first()?;
    if name == "opentelemetry-instrument" {
        return Some(Runtime::Instrumented("opentelemetry-instrument"));
    }
    if is_python(name) {
        return Some(Runtime::Python(vec![first.clone()]));
    }
    if PYTHON_TOOLS.contains(&name) && command.get(1).is_some_and(|word| word == "run") {
        return Some(Runtime::Python(vec![first.clone(), "run".into(), "python".into()]));
    }
    if matches!(name, "node" | "nodejs") {
        return Some(Runtime::Node(vec![first.clone()]));
    }
    if NODE_PROGRAMS.contains(&name) {
        return Some(Runtime::Node(vec!["node".into()]));
    }
    JAVA_PROGRAMS.contains(&name).then_some(Runtime::Java)
}

/// `python`, `python3`, `python3.12`, `pypy3`.
fn is_python(name: &str) -> bool {
    let rest = name.strip_prefix("python").or_else(|| name.strip_prefix("pypy"));
    rest.is_some_and(|rest| rest.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.'))
}

/// Asks the file itself: its first line, or what its name ends with.
fn by_file(command: &[OsString], around: &Surroundings) -> Runtime {
    let Some(file) = command.first().and_then(|word| find(word, around)) else { return Runtime::Other };
    let words = shebang(&file);
    let Some(interpreter) = words.first() else { return Runtime::Other };
    let name = base_name(interpreter);
    if is_python(&name) {
        return Runtime::Python(vec![interpreter.clone()]);
    }
    if matches!(name.as_str(), "node" | "nodejs") {
        return Runtime::Node(vec![interpreter.clone()]);
    }
    unsupported(&name).unwrap_or(Runtime::Other)
}

/// The file that a word starts, as `execvp` finds it.
pub fn find(word: &OsString, around: &Surroundings) -> Option<PathBuf> {
    let path = Path::new(word);
    if path.components().count() > 1 || word.to_string_lossy().contains('/') {
        let file = around.working_dir.join(path);
        return file.is_file().then_some(file);
    }
    std::env::split_paths(&around.path).map(|folder| folder.join(path)).find(|file| is_executable(file))
}

fn is_executable(file: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    file.metadata().is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
}

/// The interpreter of a script and its options: `#!/usr/bin/env -S python3 -u` is `python3 -u`.
fn shebang(file: &Path) -> Vec<OsString> {
    let mut head = Vec::new();
    // The kernel reads 256 bytes; installers of Python write a second line when the path is longer.
    let read = std::fs::File::open(file).and_then(|file| file.take(2048).read_to_end(&mut head));
    if read.is_err() || !head.starts_with(b"#!") {
        return Vec::new();
    }
    let text = String::from_utf8_lossy(&head);
    let mut lines = text.lines();
    let mut words: Vec<&str> = lines.next().unwrap_or_default().trim_start_matches("#!").split_whitespace().collect();
    if let Some(long) = lines.next().and_then(|line| line.strip_prefix("'''exec' ")) {
        let path = match long.strip_prefix('"') {
            Some(quoted) => quoted.split('"').next(),
            None => long.split_whitespace().next(),
        };
        return path.map(OsString::from).into_iter().collect();
    }
    if words.first().is_some_and(|word| base_name(&OsString::from(*word)) == "env") {
        let behind = words.iter().skip(1).position(|word| !word.starts_with('-') && !word.contains('='));
        words = behind.map_or(Vec::new(), |at| words.split_off(at + 1));
    }
    words.into_iter().map(OsString::from).collect()
}

/// The last part of a path, without the ending that a wrapper for Windows would have.
fn base_name(word: &OsString) -> String {
    let name = Path::new(word).file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    name.strip_suffix(".exe").map(str::to_owned).unwrap_or(name)
}

/// Names of files that say nothing about the program; the folder does.
const PLAIN_STEMS: &[&str] = &["__main__", "manage", "index"];

fn service_name(name: &str, command: &[OsString], around: &Surroundings) -> String {
    let words: Vec<String> = command.iter().skip(1).map(|word| word.to_string_lossy().into_owned()).collect();
    let guess = if is_python(name) {
        python_program(&words, around)
    } else if PYTHON_TOOLS.contains(&name) {
        let inner: Vec<OsString> = command.iter().skip(2).cloned().collect();
        inner.first().map(|first| service_name(&base_name(first), &inner, around))
    } else if matches!(name, "node" | "nodejs" | "tsx" | "ts-node" | "nodemon") {
        words.iter().find(|word| !word.starts_with('-')).map(|script| stem(script, around))
    } else if NODE_PROGRAMS.contains(&name) {
        package_name(&around.working_dir).or_else(|| folder_name(&around.working_dir))
    } else if JAVA_PROGRAMS.contains(&name) {
        java_program(&words).or_else(|| folder_name(&around.working_dir))
    } else if matches!(name, "uvicorn" | "gunicorn" | "hypercorn" | "daphne") {
        // `gunicorn -w 4 shop.wsgi:app`: the module, from its package.
        words
            .iter()
            .find_map(|word| word.split_once(':').filter(|(module, _)| is_module(module)))
            .map(|(module, _)| module.split('.').next().unwrap_or(module).to_owned())
    } else {
        None
    };
    let guess = guess.unwrap_or_else(|| stem(command.first().map_or("program", |_| name), around));
    if guess.is_empty() { "program".to_owned() } else { guess }
}

fn is_module(text: &str) -> bool {
    let starts_as_a_name = text.starts_with(|c: char| c.is_alphabetic() || c == '_');
    starts_as_a_name && text.chars().all(|c| c.is_alphanumeric() || c == '_' || c == '.') && text != "localhost"
}

fn python_program(words: &[String], around: &Surroundings) -> Option<String> {
    let mut words = words.iter();
    while let Some(word) = words.next() {
        match word.as_str() {
            "-m" => {
                let module = words.next()?;
                let inner: Vec<OsString> = std::iter::once(module).chain(words).map(OsString::from).collect();
                let first = module.split('.').next().unwrap_or(module);
                return Some(service_name(first, &inner, around));
            }
            "-c" => return Some("python".to_owned()),
            "-W" | "-X" => drop(words.next()),
            option if option.starts_with('-') => {}
            script => return Some(stem(script, around)),
        }
    }
    None
}

fn java_program(words: &[String]) -> Option<String> {
    let mut words = words.iter();
    while let Some(word) = words.next() {
        match word.as_str() {
            "-jar" => {
                let jar = Path::new(words.next()?).file_stem()?.to_string_lossy().into_owned();
                // `shop-1.2.0.jar` and `shop-1.2.0-SNAPSHOT.jar` are the shop.
                let version =
                    jar.match_indices('-').find(|(at, _)| jar[at + 1..].starts_with(|c: char| c.is_ascii_digit()));
                return Some(version.map_or(jar.clone(), |(at, _)| jar[..at].to_owned()));
            }
            "-cp" | "-classpath" | "--class-path" | "-p" | "--module-path" => drop(words.next()),
            "-m" | "--module" => return words.next()?.rsplit(['/', '.']).next().map(str::to_owned),
            option if option.starts_with('-') => {}
            class if class.contains('.') => return class.rsplit('.').find(|part| *part != "java").map(str::to_owned),
            class if class.starts_with(|c: char| c.is_ascii_uppercase()) => return Some(class.to_owned()),
            _ => return None,
        }
    }
    None
}

fn stem(script: &str, around: &Surroundings) -> String {
    let path = Path::new(script);
    let stem = path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
    if PLAIN_STEMS.contains(&stem.as_str())
        && let Some(folder) = around.working_dir.join(path).parent().and_then(folder_name)
    {
        return folder;
    }
    stem
}

fn folder_name(folder: &Path) -> Option<String> {
    let folder = folder.canonicalize().unwrap_or_else(|_| folder.to_owned());
    folder.file_name().map(|name| name.to_string_lossy().into_owned())
}

fn package_name(folder: &Path) -> Option<String> {
    let text = std::fs::read(folder.join("package.json")).ok()?;
    let package: serde_json::Value = serde_json::from_slice(&text).ok()?;
    // A scope is the owner, not the program.
    package["name"].as_str().and_then(|name| name.rsplit('/').next()).filter(|name| !name.is_empty()).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn words(line: &str) -> Vec<OsString> {
        line.split_whitespace().map(OsString::from).collect()
    }

    fn python(words_: &str) -> Runtime {
        Runtime::Python(words(words_))
    }

    fn folder_with(files: &[(&str, &str)]) -> (tempfile::TempDir, Surroundings) {
        let folder = tempfile::tempdir().unwrap();
        let bin = folder.path().join("bin");
        std::fs::create_dir_all(&bin).unwrap();
        for (name, text) in files {
            let file = folder.path().join(name);
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(&file, text).unwrap();
            std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).unwrap();
        }
        let around = Surroundings { path: bin.into_os_string(), working_dir: folder.path().to_owned() };
        (folder, around)
    }

    #[test]
    fn languages_are_told_by_the_name_of_the_program() {
        let nowhere = Surroundings { path: OsString::new(), working_dir: "/nonexistent".into() };
        let node = |program: &str| Runtime::Node(words(program));
        for (line, runtime, service) in [
            ("python app.py", python("python"), "app"),
            ("/opt/venv/bin/python3.12 -u src/shop.py --port 1", python("/opt/venv/bin/python3.12"), "shop"),
            ("pypy3 -X dev -m shop.web", python("pypy3"), "shop"),
            ("python3 -m uvicorn --port 80 orders.main:app", python("python3"), "orders"),
            ("python -m flask run", python("python"), "flask"),
            ("python -c pass", python("python"), "python"),
            ("poetry run python app.py", python("poetry run python"), "app"),
            ("uv run gunicorn -b 0.0.0.0:80 shop.wsgi:app", python("uv run python"), "shop"),
            ("env A=1 B=2 python app.py", python("python"), "app"),
            ("timeout 30 nice -n 5 python3 app.py", python("python3"), "app"),
            ("node --enable-source-maps server.js", node("node"), "server"),
            ("npx ts-node x.ts", node("node"), "nonexistent"),
            ("tsx watch.ts", node("node"), "watch"),
            ("java -Xmx1g -jar target/shop-1.2.0-SNAPSHOT.jar --x", Runtime::Java, "shop"),
            ("java -cp a:b com.example.Main arg", Runtime::Java, "Main"),
            ("./gradlew bootRun", Runtime::Java, "nonexistent"),
            (
                "opentelemetry-instrument python a.py",
                Runtime::Instrumented("opentelemetry-instrument"),
                "opentelemetry-instrument",
            ),
            ("./a.out --python", Runtime::Other, "a"),
            ("pythonic", Runtime::Other, "pythonic"),
            ("env", Runtime::Other, "env"),
        ] {
            let found = detect(&words(line), &nowhere);
            assert_eq!((found.runtime, found.service.as_str()), (runtime, service), "{line}");
        }
        for (line, language) in [("php -S :80", "PHP"), ("dotnet run", ".NET"), ("bundle exec puma", "Ruby")] {
            let found = detect(&words(line), &nowhere).runtime;
            assert!(matches!(found, Runtime::Unsupported(name, _) if name == language), "{line}");
        }
    }

    #[test]
    fn scripts_are_run_by_the_interpreter_of_their_first_line() {
        let long = "#!/bin/sh\n'''exec' \"/a very long/path/bin/python3\" \"$0\" \"$@\"\n' '''\n";
        let (_folder, around) = folder_with(&[
            ("bin/uvicorn", "#!/srv/venv/bin/python3.11\nimport sys\n"),
            ("bin/flask", long),
            ("bin/tool", "#!/usr/bin/env node\n"),
            ("bin/split", "#!/usr/bin/env -S python3 -u\n"),
            ("bin/script", "#!/bin/bash\npython app.py\n"),
            ("bin/binary", "\x7fELF"),
            ("run.py", "#! /usr/bin/env python3\n"),
        ]);
        let spaced = Runtime::Python(vec!["/a very long/path/bin/python3".into()]);
        for (line, runtime, service) in [
            ("uvicorn orders:app", python("/srv/venv/bin/python3.11"), "orders"),
            ("flask run", spaced, "flask"),
            ("tool", Runtime::Node(words("node")), "tool"),
            ("split", python("python3"), "split"),
            ("./run.py", python("python3"), "run"),
            ("script", Runtime::Other, "script"),
            ("binary", Runtime::Other, "binary"),
            ("missing", Runtime::Other, "missing"),
        ] {
            let found = detect(&words(line), &around);
            assert_eq!((found.runtime, found.service.as_str()), (runtime, service), "{line}");
        }
    }

    #[test]
    fn names_that_say_nothing_give_way_to_the_folder_or_the_package() {
        let (folder, around) = folder_with(&[
            ("package.json", r#"{"name":"@acme/checkout"}"#),
            ("shop/manage.py", ""),
            ("web/index.js", ""),
        ]);
        for (line, service) in
            [("npm start", "checkout"), ("python shop/manage.py runserver", "shop"), ("node web/index.js", "web")]
        {
            assert_eq!(detect(&words(line), &around).service, service, "{line}");
        }
        drop(folder);
    }
}
