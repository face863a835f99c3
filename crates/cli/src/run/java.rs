//! Java: OpenTelemetry's agent, given, found, or downloaded.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::agent::{Agent, FOLDER, Install, ask};
use super::environment::Addition;

/// The agent's release, and the SHA-256 of its file.
const VERSION: &str = "2.33.1";
const SHA256: &str = "e43a270df53c6f423e0ab157be9c27ccc01d5dc3232e162fe54777573db2f149";
const FILE: &str = "opentelemetry-javaagent.jar";
const COORDINATES: &str = "io.opentelemetry.javaagent:opentelemetry-javaagent";

/// Where packages and images put it.
const USUAL: &[&str] = &[
    "/usr/lib/opentelemetry/javaagent.jar",
    "/usr/lib/opentelemetry/jvm/javaagent.jar",
    "/opt/opentelemetry/opentelemetry-javaagent.jar",
    "/opt/opentelemetry-javaagent.jar",
    "/otel-auto-instrumentation-java/javaagent.jar",
];

/// Finds the agent: `--java-agent`, `OTEL_JAVAAGENT_PATH`, the working directory, the usual places, our own folder.
pub fn prepare(given: Option<&Path>, command: &[OsString], here: &Path, cache: &Path) -> Agent {
    let mut agent = find(given, here, cache);
    // The agent takes `java Program.java` for a tool of the JDK, and stays out of those.
    if command.iter().any(|word| word.to_string_lossy().ends_with(".java")) {
        agent.additions.push(Addition::Set("OTEL_JAVAAGENT_ENABLED", "true".to_owned()));
    }
    agent
}

fn find(given: Option<&Path>, here: &Path, cache: &Path) -> Agent {
    let runtime = "Java".to_owned();
    let already = std::env::var("JAVA_TOOL_OPTIONS").unwrap_or_default();
    if already.contains("-javaagent:") && already.contains("opentelemetry") {
        let notes = vec!["JAVA_TOOL_OPTIONS names the agent already".to_owned()];
        return Agent { runtime, notes, ..Agent::default() };
    }
    if let Some(path) = given {
        let path = here.join(path);
        return if path.is_file() {
            with_agent(runtime, &path)
        } else {
            let unavailable = Some(format!("--java-agent names {}, which is not a file", path.display()));
            Agent { runtime, unavailable, ..Agent::default() }
        };
    }
    let folder = cache.join(format!("java-{VERSION}"));
    let mut places: Vec<PathBuf> = std::env::var_os("OTEL_JAVAAGENT_PATH").map(PathBuf::from).into_iter().collect();
    places.push(here.join(FILE));
    places.extend(USUAL.iter().map(PathBuf::from));
    places.push(folder.join(FILE));
    if let Some(home) = std::env::var_os("HOME") {
        let jar = format!("opentelemetry-javaagent-{VERSION}.jar");
        let repository = Path::new(&home).join(".m2/repository/io/opentelemetry/javaagent/opentelemetry-javaagent");
        places.push(repository.join(VERSION).join(jar));
    }
    if let Some(path) = places.iter().find(|path| path.is_file()) {
        return with_agent(runtime, path);
    }
    let url = format!(
        "https://repo1.maven.org/maven2/io/opentelemetry/javaagent/opentelemetry-javaagent/{VERSION}/opentelemetry-javaagent-{VERSION}.jar"
    );
    let target = format!("{FOLDER}/{FILE}");
    let command: Option<Vec<OsString>> = if ask(&["curl".into()], &["--version"]).is_some() {
        Some(["curl", "-fsSL", "--retry", "2", "-o", &target, &url].map(OsString::from).to_vec())
    } else if ask(&["wget".into()], &["--version"]).is_some() {
        Some(["wget", "-q", "-O", &target, &url].map(OsString::from).to_vec())
    } else {
        None
    };
    let additions = additions(&folder.join(FILE));
    let Some(command) = command else {
        let unavailable = Some(format!(
            "the agent is not there; download {COORDINATES}:{VERSION} from Maven Central and name it with --java-agent FILE"
        ));
        return Agent { runtime, unavailable, ..Agent::default() };
    };
    let install = Install {
        packages: format!(
            "{COORDINATES}:{VERSION} from Maven Central (25 MB; SHA-256 checked); or name yours with --java-agent FILE"
        ),
        folder,
        command,
        variables: vec![],
        checksum: Some((FILE, SHA256)),
    };
    Agent { runtime, additions, install: Some(install), ..Agent::default() }
}

fn with_agent(runtime: String, path: &Path) -> Agent {
    let notes = vec![format!("uses the agent {}", path.display())];
    Agent { runtime, additions: additions(path), notes, ..Agent::default() }
}

fn additions(path: &Path) -> Vec<Addition> {
    // A path with spaces has to be quoted there; the virtual machine says on standard error that it reads the variable.
    let path = path.display().to_string();
    let option = if path.contains(' ') { format!("\"-javaagent:{path}\"") } else { format!("-javaagent:{path}") };
    vec![Addition::Append("JAVA_TOOL_OPTIONS", option, ' '), Addition::Set("OTEL_JAVAAGENT_LOGGING", "none".to_owned())]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_agent_is_given_found_or_can_be_downloaded() {
        let folder = tempfile::tempdir().unwrap();
        let given = prepare(Some(Path::new("missing.jar")), &[], folder.path(), folder.path());
        assert!(given.unavailable.unwrap().contains("missing.jar"));
        std::fs::write(folder.path().join(FILE), "").unwrap();
        let found = prepare(None, &[], folder.path(), folder.path());
        let option = format!("-javaagent:{}", folder.path().join(FILE).display());
        assert!(found.additions.contains(&Addition::Append("JAVA_TOOL_OPTIONS", option, ' ')));
    }
}
