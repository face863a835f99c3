//! Python: the zero-code instrumentation of OpenTelemetry, in the program's own environment or in a folder of ours.

use std::ffi::OsString;
use std::path::Path;

use serde::Deserialize;

use super::agent::{Agent, FOLDER, Install, ask, short_hash};
use super::environment::Addition;

/// Asks the interpreter what it is and what it has.
const PROBE: &str = r#"
import importlib.metadata, importlib.util, json, sys
def has(name):
    try:
        return importlib.util.find_spec(name) is not None
    except Exception:
        return False
names = {}
for found in importlib.metadata.distributions():
    name = found.metadata["Name"]
    if name:
        names.setdefault(name.lower().replace("_", "-").replace(".", "-"), found.version)
print(json.dumps({
    "executable": sys.executable, "version": list(sys.version_info[:3]), "pip": has("pip"),
    "ready": has("opentelemetry.instrumentation.auto_instrumentation") and has("opentelemetry.distro")
        and has("opentelemetry.exporter.otlp.proto.http"),
    "packages": names,
}))
"#;

/// What [`PROBE`] prints.
#[derive(Debug, Default, Deserialize)]
struct Probe {
    executable: String,
    version: [u32; 3],
    pip: bool,
    ready: bool,
    packages: std::collections::BTreeMap<String, String>,
}

/// Releases of OpenTelemetry for Python: the newest for each version of Python that they still run on.
struct Release {
    python: [u32; 2],
    stable: &'static str,
    beta: &'static str,
}

const RELEASES: &[Release] = &[
    Release { python: [3, 10], stable: "1.45.1", beta: "0.66b1" },
    Release { python: [3, 9], stable: "1.41.1", beta: "0.62b1" },
    Release { python: [3, 8], stable: "1.33.1", beta: "0.54b1" },
];

/// Instrumentations that need nothing beside Python itself.
const ALWAYS: &[&str] = &["asyncio", "dbapi", "logging", "sqlite3", "threading", "urllib", "wsgi"];

/// A distribution that may be installed, and the instrumentation for it.
const LIBRARIES: &[(&str, &str)] = &[
    ("aio-pika", "aio-pika"),
    ("aiohttp", "aiohttp-client"),
    ("aiohttp", "aiohttp-server"),
    ("aiokafka", "aiokafka"),
    ("aiopg", "aiopg"),
    ("asgiref", "asgi"),
    ("asyncpg", "asyncpg"),
    ("boto3", "boto3sqs"),
    ("botocore", "botocore"),
    ("cassandra-driver", "cassandra"),
    ("celery", "celery"),
    ("confluent-kafka", "confluent-kafka"),
    ("django", "django"),
    ("falcon", "falcon"),
    ("fastapi", "fastapi"),
    ("flask", "flask"),
    ("grpcio", "grpc"),
    ("httpx", "httpx"),
    ("jinja2", "jinja2"),
    ("kafka-python", "kafka-python"),
    ("mysql-connector-python", "mysql"),
    ("mysqlclient", "mysqlclient"),
    ("pika", "pika"),
    ("psycopg", "psycopg"),
    ("psycopg2", "psycopg2"),
    ("psycopg2-binary", "psycopg2"),
    ("pymemcache", "pymemcache"),
    ("pymongo", "pymongo"),
    ("pymysql", "pymysql"),
    ("pyramid", "pyramid"),
    ("redis", "redis"),
    ("remoulade", "remoulade"),
    ("requests", "requests"),
    ("sqlalchemy", "sqlalchemy"),
    ("starlette", "starlette"),
    ("tornado", "tornado"),
    ("tortoise-orm", "tortoiseorm"),
    ("urllib3", "urllib3"),
];

/// Finds the instrumentation for the interpreter that `words` start.
pub fn prepare(words: &[OsString], command: &[OsString], support: &Path, cache: &Path) -> Agent {
    let shown = words.iter().map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ");
    let answer = ask(words, &["-c", PROBE]);
    let last_line = answer.as_deref().and_then(|text| text.lines().last());
    let Some(probe) = last_line.and_then(|line| serde_json::from_str::<Probe>(line).ok()) else {
        return Agent {
            runtime: "Python".to_owned(),
            unavailable: Some(format!("`{shown}` does not answer as Python 3.8 or later does")),
            ..Agent::default()
        };
    };
    let mut agent = plan(&probe, support, cache);
    if let Some(option) = isolating_option(command) {
        agent.install = None;
        agent.unavailable = Some(format!(
            "the option {option} makes Python ignore PYTHONPATH, by which the instrumentation is loaded; leave it out"
        ));
    }
    agent
}

fn plan(probe: &Probe, support: &Path, cache: &Path) -> Agent {
    let [major, minor, patch] = probe.version;
    let runtime = format!("Python {major}.{minor}.{patch} ({})", probe.executable);
    let mut additions = vec![
        Addition::Prepend("PYTHONPATH", support.join("python").display().to_string(), ':'),
        Addition::Own("TRACEWELL_RUN_PYTHON_VERSION", format!("{major}.{minor}")),
    ];
    if probe.ready {
        let version = probe.packages.get("opentelemetry-distro").map_or("of an unknown version", String::as_str);
        additions.extend(log_handler(version));
        let notes = vec![format!("uses opentelemetry-distro {version} of the program's own environment")];
        return Agent { runtime, additions, notes, ..Agent::default() };
    }
    let Some(release) = RELEASES.iter().find(|release| [major, minor] >= release.python) else {
        let unavailable = Some("OpenTelemetry needs Python 3.8 or later".to_owned());
        return Agent { runtime, unavailable, ..Agent::default() };
    };
    // Two versions of one library in one process can break the program.
    if let Some(own) = probe.packages.get("opentelemetry-api")
        && own.split('.').take(2).ne(release.stable.split('.').take(2))
    {
        let unavailable = Some(format!(
            "the program's environment holds opentelemetry-api {own}, and another version beside it could break the \
             program; complete that environment with `pip install opentelemetry-distro \
             opentelemetry-exporter-otlp-proto-http` and `opentelemetry-bootstrap -a install`"
        ));
        return Agent { runtime, unavailable, ..Agent::default() };
    }
    additions.extend(log_handler(release.beta));
    let requirements = requirements(probe, release);
    let hash = short_hash(&format!("{requirements:?} {}", std::env::consts::ARCH));
    let folder = cache.join(format!("python-{major}.{minor}-{hash}"));
    additions.push(Addition::Own("TRACEWELL_RUN_PYTHON_PACKAGES", folder.display().to_string()));
    if folder.is_dir() {
        let notes = vec![format!("uses OpenTelemetry {} in {}", release.beta, folder.display())];
        return Agent { runtime, additions, notes, ..Agent::default() };
    }
    let mut command: Vec<OsString> = if probe.pip {
        vec![probe.executable.clone().into(), "-m".into(), "pip".into(), "install".into()]
    } else if ask(&["uv".into()], &["--version"]).is_some() {
        ["uv", "pip", "install", "--python", &probe.executable].map(OsString::from).to_vec()
    } else {
        ["python3", "-m", "pip", "--python", &probe.executable, "install"].map(OsString::from).to_vec()
    };
    if command.first().is_some_and(|first| first != "uv") {
        command.extend(["--disable-pip-version-check", "--no-input", "--prefer-binary", "--quiet"].map(OsString::from));
    }
    command.extend(["--target".into(), FOLDER.into()]);
    command.extend(requirements.iter().map(OsString::from));
    let install = Install {
        packages: summary(&requirements, release),
        folder,
        command,
        variables: vec![("PYTHONPATH", ""), ("PIP_REQUIRE_VIRTUALENV", "0"), ("PIP_USER", "0")],
        checksum: None,
    };
    Agent { runtime, additions, install: Some(install), ..Agent::default() }
}

/// Releases before 0.63 export log records only when asked; later ones do it by their instrumentation of logging.
fn log_handler(version: &str) -> Option<Addition> {
    let minor: u32 = version.strip_prefix("0.")?.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()?;
    (minor < 63).then(|| Addition::Set("OTEL_PYTHON_LOGGING_AUTO_INSTRUMENTATION_ENABLED", "true".to_owned()))
}

fn requirements(probe: &Probe, release: &Release) -> Vec<String> {
    let mut instrumentations: Vec<&str> = ALWAYS.to_vec();
    let there = |library: &str| probe.packages.contains_key(library);
    instrumentations.extend(LIBRARIES.iter().filter(|(library, _)| there(library)).map(|(_, name)| *name));
    instrumentations.sort_unstable();
    instrumentations.dedup();
    let mut all = vec![
        format!("opentelemetry-distro=={}", release.beta),
        format!("opentelemetry-exporter-otlp-proto-http=={}", release.stable),
    ];
    all.extend(instrumentations.iter().map(|name| format!("opentelemetry-instrumentation-{name}=={}", release.beta)));
    all
}

/// The requirements as people read them.
fn summary(requirements: &[String], release: &Release) -> String {
    let version = format!("=={}", release.beta);
    let name = |requirement: &String| {
        let name = requirement.strip_prefix("opentelemetry-instrumentation-")?;
        Some(name.strip_suffix(&version).unwrap_or(name).to_owned())
    };
    let instrumentations: Vec<String> = requirements.iter().filter_map(name).collect();
    format!(
        "opentelemetry-distro {}, opentelemetry-exporter-otlp-proto-http {} and opentelemetry-instrumentation-{{{}}} {} \
         from PyPI",
        release.beta,
        release.stable,
        instrumentations.join(","),
        release.beta,
    )
}

/// An option of the interpreter with which it does not look at the environment.
fn isolating_option(command: &[OsString]) -> Option<String> {
    let words = command.iter().skip(1).map(|word| word.to_string_lossy());
    let mut options = words.take_while(|word| word.starts_with('-') && word != "-m" && word != "-c" && word != "-");
    let found =
        options.find(|word| !word.starts_with("--") && word.contains(['I', 'E', 'S']) && !word.starts_with("-X"));
    found.map(|word| word.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn probe(version: [u32; 3], packages: &[(&str, &str)]) -> Probe {
        Probe {
            executable: "/venv/bin/python".into(),
            version,
            pip: true,
            ready: false,
            packages: packages.iter().map(|(name, version)| ((*name).to_owned(), (*version).to_owned())).collect(),
        }
    }

    fn planned(probe: &Probe) -> Agent {
        plan(probe, Path::new("/site"), Path::new("/nonexistent"))
    }

    #[test]
    fn what_the_program_uses_is_instrumented_and_nothing_else() {
        let agent = planned(&probe([3, 12, 1], &[("flask", "3.1.0"), ("redis", "5.0"), ("numpy", "2.0")]));
        let install = agent.install.unwrap();
        for part in [
            "opentelemetry-distro==0.66b1",
            "opentelemetry-exporter-otlp-proto-http==1.45.1",
            "opentelemetry-instrumentation-flask==0.66b1",
            "opentelemetry-instrumentation-redis==0.66b1",
            "opentelemetry-instrumentation-logging==0.66b1",
        ] {
            assert!(install.command.contains(&part.into()), "{part} in {:?}", install.command);
        }
        assert_eq!(
            install.packages,
            "opentelemetry-distro 0.66b1, opentelemetry-exporter-otlp-proto-http 1.45.1 and opentelemetry-instrumentation-\
             {asyncio,dbapi,flask,logging,redis,sqlite3,threading,urllib,wsgi} 0.66b1 from PyPI"
        );
        assert!(install.folder.to_string_lossy().starts_with("/nonexistent/python-3.12-"));
        let command = install.command_into(Path::new("/there"));
        assert!(command.windows(2).any(|pair| pair[0] == "--target" && pair[1] == "/there"), "{command:?}");
        assert!(agent.additions.contains(&Addition::Prepend("PYTHONPATH", "/site/python".into(), ':')));
    }

    #[test]
    fn old_interpreters_get_the_last_release_that_runs_on_them() {
        for (version, distro) in [([3, 9, 2], "distro 0.62b1,"), ([3, 8, 0], "distro 0.54b1,")] {
            let install = planned(&probe(version, &[])).install.unwrap();
            assert!(install.packages.contains(distro), "{}", install.packages);
        }
        assert!(planned(&probe([3, 7, 9], &[])).unavailable.unwrap().contains("3.8"));
    }

    #[test]
    fn an_environment_of_the_users_own_is_used_or_left_alone() {
        let packages = [("opentelemetry-distro", "0.50b0"), ("opentelemetry-api", "1.29.0")];
        let complete = planned(&Probe { ready: true, ..probe([3, 11, 7], &packages) });
        assert!(complete.install.is_none() && complete.unavailable.is_none());
        assert!(complete.notes[0].contains("0.50b0"));
        let handler = Addition::Set("OTEL_PYTHON_LOGGING_AUTO_INSTRUMENTATION_ENABLED", "true".into());
        assert!(complete.additions.contains(&handler), "that release exports logs only when asked");
        let incomplete = planned(&probe([3, 11, 7], &packages));
        assert!(incomplete.install.is_none());
        assert!(incomplete.unavailable.unwrap().contains("opentelemetry-api 1.29.0"));
    }

    #[test]
    fn options_that_switch_the_environment_off_are_noticed() {
        let words = |line: &str| line.split_whitespace().map(OsString::from).collect::<Vec<_>>();
        for (line, option) in [
            ("python -I app.py", Some("-I")),
            ("python -uE app.py", Some("-uE")),
            ("python -u app.py -I", None),
            ("python -m pytest -S", None),
            ("python --version", None),
        ] {
            assert_eq!(isolating_option(&words(line)).as_deref(), option, "{line}");
        }
    }
}
