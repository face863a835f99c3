//! Which crate may use which, and which crates never touch the outside world.

use toml::Table;

use super::{Problem, Tree, numbered};

/// For each crate the crates of this workspace that it may use. A crate that is not listed may not exist.
const MAY_USE: &[(&str, &[&str])] = &[
    ("model", &[]),
    ("propagate", &["model"]),
    ("wire", &["model"]),
    ("analysis", &["model"]),
    ("store", &["model", "wire"]),
    ("ingest", &["model", "wire"]),
    ("query", &["model", "wire", "analysis", "store"]),
    ("server", &["model", "propagate", "wire", "analysis", "store", "ingest", "query"]),
    ("sdk", &["model", "propagate"]),
    ("demo", &["model", "propagate", "sdk"]),
    ("proxy", &["propagate", "sdk"]),
    ("testkit", &["model", "wire"]),
    ("cli", &["model", "propagate", "wire", "analysis", "store", "ingest", "query", "server", "sdk", "demo", "proxy"]),
];

/// Libraries that only some crates may use, because the knowledge behind them has one home.
const RESERVED: &[(&str, &[&str], &str)] = &[
    ("axum", &["server", "sdk", "demo"], "only the server knows HTTP routes"),
    (
        "rusqlite",
        &["store", "demo"],
        "only the store knows the catalog; the demo's services keep databases of their own",
    ),
    ("parquet", &["store", "cli"], "only the store writes segments; the bench reads their footers"),
    ("fst", &["store"], "only the store knows the index"),
    ("prost", &["wire"], "only wire knows foreign formats"),
    ("opentelemetry-proto", &["wire"], "only wire knows foreign formats"),
    ("clap", &["cli"], "only the command line parses arguments"),
];

/// Crates that do no I/O, and what they may therefore not mention outside their tests.
const PURE: &[&str] = &["model", "propagate", "analysis", "wire"];
const IMPURE: &[&str] = &[
    "std::fs",
    "std::net",
    "std::env",
    "std::process",
    "std::thread",
    "tokio::",
    "SystemTime::now",
    "Instant::now",
    "println!",
    "eprintln!",
];

/// Checks every crate's manifest against [`MAY_USE`] and [`RESERVED`].
pub fn dependencies(tree: &Tree) -> Vec<Problem> {
    let mut problems = Vec::new();
    for manifest in tree.ending("/Cargo.toml") {
        let Some(name) = manifest.path.strip_prefix("crates/").and_then(|path| path.strip_suffix("/Cargo.toml")) else {
            continue;
        };
        let Some((_, may_use)) = MAY_USE.iter().find(|(crate_name, _)| *crate_name == name) else {
            problems.push(Problem::new(
                &manifest.path,
                0,
                format!("crate {name} has no layer; add it to xtask's list"),
            ));
            continue;
        };
        let table: Table = match manifest.text.parse() {
            Ok(table) => table,
            Err(error) => {
                problems.push(Problem::new(&manifest.path, 0, format!("not TOML: {error}")));
                continue;
            }
        };
        for dependency in shipped_dependencies(&table) {
            if let Some(own) = dependency.strip_prefix("tracewell-") {
                if !may_use.contains(&own) {
                    let message = format!("{name} may not depend on {own} (allowed: {})", may_use.join(", "));
                    problems.push(Problem::new(&manifest.path, 0, message));
                }
            } else if let Some((_, users, reason)) = RESERVED.iter().find(|(reserved, ..)| *reserved == dependency)
                && !users.contains(&name)
            {
                problems.push(Problem::new(&manifest.path, 0, format!("{name} may not use {dependency}: {reason}")));
            }
        }
    }
    problems
}

/// Names of everything that ends up in a build: normal and build dependencies on any platform, not those of tests.
fn shipped_dependencies(manifest: &Table) -> Vec<String> {
    let mut scopes = vec![manifest];
    if let Some(targets) = manifest.get("target").and_then(|targets| targets.as_table()) {
        scopes.extend(targets.values().filter_map(|target| target.as_table()));
    }
    let sections = scopes.iter().flat_map(|scope| ["dependencies", "build-dependencies"].map(|key| scope.get(key)));
    sections.flatten().filter_map(|section| section.as_table()).flat_map(|section| section.keys().cloned()).collect()
}

/// Checks that the pure crates touch neither disk, network, clock nor terminal.
pub fn purity(tree: &Tree) -> Vec<Problem> {
    let mut problems = Vec::new();
    for file in tree.ending(".rs") {
        let Some(name) = PURE.iter().find(|name| file.path.starts_with(&format!("crates/{name}/src/"))) else {
            continue;
        };
        for (line, text) in numbered(shipped_code(&file.path, &file.text)) {
            let code = text.trim_start();
            let found = IMPURE.iter().find(|word| code.contains(**word) && !code.starts_with("//"));
            if let Some(word) = found {
                problems.push(Problem::new(&file.path, line, format!("{name} does no I/O, yet mentions {word}")));
            }
        }
    }
    problems
}

/// The part of a source file that is not tests, which stand last in a file or in a file of their own.
fn shipped_code<'a>(path: &str, text: &'a str) -> &'a str {
    if path.ends_with("/tests.rs") || path.contains("/tests/") {
        return "";
    }
    text.split_once("#[cfg(test)]\nmod ").map_or(text, |(code, _)| code)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn messages(problems: &[Problem]) -> Vec<String> {
        problems.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_dependency_that_points_up_is_named() {
        let tree = Tree::of(&[
            (
                "crates/ingest/Cargo.toml",
                "[dependencies]\ntracewell-model.workspace = true\ntracewell-store.workspace = true",
            ),
            ("crates/model/Cargo.toml", "[dev-dependencies]\ntracewell-testkit.workspace = true"),
            ("crates/query/Cargo.toml", "[target.'cfg(unix)'.dependencies]\naxum = '1'"),
            ("crates/news/Cargo.toml", ""),
        ]);
        assert_eq!(
            messages(&dependencies(&tree)),
            [
                "crates/ingest/Cargo.toml: ingest may not depend on store (allowed: model, wire)",
                "crates/query/Cargo.toml: query may not use axum: only the server knows HTTP routes",
                "crates/news/Cargo.toml: crate news has no layer; add it to xtask's list",
            ]
        );
    }

    #[test]
    fn input_and_output_in_a_pure_crate_is_found_outside_tests_and_comments() {
        let tree = Tree::of(&[
            (
                "crates/model/src/lib.rs",
                "//! No std::fs here.\nuse std::fs;\n#[cfg(test)]\nmod tests { use std::net; }",
            ),
            ("crates/wire/src/otlp/tests.rs", "use std::fs;"),
            ("crates/store/src/lib.rs", "use std::fs;"),
        ]);
        assert_eq!(messages(&purity(&tree)), ["crates/model/src/lib.rs:2: model does no I/O, yet mentions std::fs"]);
    }
}
