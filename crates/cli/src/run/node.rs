//! Node: OpenTelemetry's automatic instrumentations, from the program's own packages or from a folder of ours.

use std::ffi::OsString;
use std::path::Path;

use super::agent::{Agent, FOLDER, Install, ask};
use super::environment::Addition;

/// Prints the version, and where the instrumentation is found from the working directory.
const PROBE: &str = r#"
const { createRequire } = require("node:module");
let own = null;
try {
  const load = createRequire(process.cwd() + "/package.json");
  load.resolve("@opentelemetry/auto-instrumentations-node/register");
  own = load("@opentelemetry/auto-instrumentations-node/package.json").version;
} catch {}
console.log(JSON.stringify({ version: process.versions.node, path: process.execPath, own }));
"#;

/// Releases of the instrumentations: the newest for each version of Node that they still run on.
struct Release {
    node: [u32; 2],
    api: &'static str,
    instrumentations: &'static str,
}

const RELEASES: &[Release] = &[
    Release { node: [22, 15], api: "1.10.0", instrumentations: "0.82.0" },
    Release { node: [20, 6], api: "1.9.0", instrumentations: "0.78.0" },
    Release { node: [18, 19], api: "1.9.0", instrumentations: "0.78.0" },
];

/// Finds the instrumentation for the Node that `words` start.
pub fn prepare(words: &[OsString], support: &Path, cache: &Path) -> Agent {
    let answer = ask(words, &["-e", PROBE]);
    let probe = answer.as_deref().and_then(|text| serde_json::from_str::<serde_json::Value>(text.trim()).ok());
    let Some(probe) = probe else {
        return Agent {
            runtime: "Node".to_owned(),
            unavailable: Some("`node` does not answer; is it on the path?".to_owned()),
            ..Agent::default()
        };
    };
    let text = |name: &str| probe[name].as_str().unwrap_or_default();
    let here = std::env::current_dir().unwrap_or_default();
    let own = probe["own"].as_str().map(|version| (version, here.as_path()));
    plan(text("version"), text("path"), own, support, cache)
}

fn plan(version: &str, path: &str, own: Option<(&str, &Path)>, support: &Path, cache: &Path) -> Agent {
    let runtime = format!("Node {version} ({path})");
    let additions = |root: &Path| {
        let register = support.join("node").join("register.cjs").display().to_string();
        vec![
            Addition::Append("NODE_OPTIONS", format!("--require {}", quoted(&register)), ' '),
            Addition::Own("TRACEWELL_RUN_NODE", root.display().to_string()),
            // The detectors of cloud providers ask addresses that do not answer elsewhere, and spans wait for them.
            Addition::Set("OTEL_NODE_RESOURCE_DETECTORS", "env,host,os,process,serviceinstance".to_owned()),
            // Its own messages would go to standard output, which belongs to the program.
            Addition::Set("OTEL_LOG_LEVEL", "none".to_owned()),
        ]
    };
    if let Some((version, folder)) = own {
        let notes =
            vec![format!("uses @opentelemetry/auto-instrumentations-node {version} of the program's own packages")];
        return Agent { runtime, additions: additions(folder), notes, ..Agent::default() };
    }
    let mut numbers = version.split('.').map(|part| part.parse().unwrap_or(0));
    let numbers = [numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)];
    let fits = |release: &&Release| numbers >= release.node && (numbers[0] != 19);
    let Some(release) = RELEASES.iter().find(fits) else {
        let unavailable = Some("OpenTelemetry's instrumentations need Node 18.19, 20.6 or later".to_owned());
        return Agent { runtime, unavailable, ..Agent::default() };
    };
    let folder = cache.join(format!("node-{}", release.instrumentations));
    let additions = additions(&folder);
    if folder.is_dir() {
        let version = release.instrumentations;
        let notes = vec![format!("uses @opentelemetry/auto-instrumentations-node {version} in {}", folder.display())];
        return Agent { runtime, additions, notes, ..Agent::default() };
    }
    let packages = [
        format!("@opentelemetry/api@{}", release.api),
        format!("@opentelemetry/auto-instrumentations-node@{}", release.instrumentations),
    ];
    let options = ["--no-audit", "--no-fund", "--ignore-scripts", "--no-save", "--loglevel=error", "--prefix", FOLDER];
    let mut command: Vec<OsString> = vec!["npm".into(), "install".into()];
    command.extend(options.map(OsString::from));
    command.extend(packages.iter().map(OsString::from));
    let install = Install {
        packages: format!("{} from npm (about 130 MB with what they need)", packages.join(" ")),
        folder,
        command,
        variables: vec![("NODE_OPTIONS", "")],
        checksum: None,
    };
    Agent { runtime, additions, install: Some(install), ..Agent::default() }
}

/// A path as `NODE_OPTIONS` takes it.
fn quoted(path: &str) -> String {
    if path.contains([' ', '"', '\\']) {
        format!("\"{}\"", path.replace('\\', "\\\\").replace('"', "\\\""))
    } else {
        path.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn planned(version: &str, own: Option<(&str, &Path)>) -> Agent {
        plan(version, "/usr/bin/node", own, Path::new("/site dir"), Path::new("/nonexistent"))
    }

    #[test]
    fn each_version_of_node_gets_the_newest_release_that_runs_on_it() {
        for (version, release) in
            [("24.1.0", "0.82.0"), ("22.15.0", "0.82.0"), ("22.14.0", "0.78.0"), ("18.19.1", "0.78.0")]
        {
            let install = planned(version, None).install.unwrap();
            assert!(install.packages.contains(&format!("node@{release}")), "{version}: {}", install.packages);
        }
        for version in ["16.20.0", "18.18.0", "19.9.0", ""] {
            assert!(planned(version, None).unavailable.is_some(), "{version}");
        }
    }

    #[test]
    fn the_programs_own_packages_come_first() {
        let agent = planned("20.1.0", Some(("0.50.0", Path::new("/srv/shop"))));
        assert!(agent.install.is_none());
        assert!(agent.additions.contains(&Addition::Own("TRACEWELL_RUN_NODE", "/srv/shop".into())));
        let require = "--require \"/site dir/node/register.cjs\"".to_owned();
        assert!(agent.additions.contains(&Addition::Append("NODE_OPTIONS", require, ' ')));
    }
}
