//! Rules for documentation: links lead somewhere, commands exist, every crate is on the map.

use super::{File, Problem, Tree, numbered};

/// The licence that the manifests name must lie in the root.
pub fn licence(tree: &Tree) -> Vec<Problem> {
    let found = tree.get("LICENSE").is_some_and(|file| file.text.contains("Apache License"));
    let missing = Problem::new("LICENSE", 0, "the text of the Apache License 2.0 is missing");
    if found { Vec::new() } else { vec![missing] }
}

/// Lines outside fenced code.
fn prose(text: &str) -> impl Iterator<Item = (usize, &str)> {
    fenced(text).filter(|(_, _, in_code)| !in_code).map(|(number, line, _)| (number, line))
}

/// Lines with their number and whether they are inside fenced code.
fn fenced(text: &str) -> impl Iterator<Item = (usize, &str, bool)> {
    let mut in_code = false;
    numbered(text).map(move |(number, line)| {
        let fence = line.trim_start().starts_with("```");
        let inside = in_code || fence;
        in_code ^= fence;
        (number, line, inside)
    })
}

/// Relative links must lead to a file of the repository and, with `#`, to a heading in it.
pub fn links(tree: &Tree) -> Vec<Problem> {
    let mut problems = Vec::new();
    for file in tree.ending(".md") {
        for (number, line) in prose(&file.text) {
            for target in link_targets(line) {
                if let Err(reason) = resolve(tree, file, target) {
                    problems.push(Problem::new(&file.path, number, format!("link to {target}: {reason}")));
                }
            }
        }
    }
    problems
}

/// What stands in the round brackets of `[text](target)`.
fn link_targets(line: &str) -> impl Iterator<Item = &str> {
    line.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|(target, _)| target)
}

fn resolve(tree: &Tree, from: &File, target: &str) -> Result<(), String> {
    if target.contains("://") || target.starts_with("mailto:") {
        return Ok(());
    }
    let (path, anchor) = target.split_once('#').map_or((target, None), |(path, anchor)| (path, Some(anchor)));
    let path = if path.is_empty() { from.path.clone() } else { join(&from.path, path) };
    if !tree.exists(&path) {
        return Err(format!("there is no {path}"));
    }
    match anchor {
        Some(anchor) if tree.get(&path).is_some_and(|file| !headings(&file.text).any(|slug| slug == anchor)) => {
            Err(format!("{path} has no heading #{anchor}"))
        }
        _ => Ok(()),
    }
}

/// `target` as seen from the folder of the file `from`.
fn join(from: &str, target: &str) -> String {
    let mut parts: Vec<&str> = from.split('/').collect();
    parts.pop();
    for part in target.split('/') {
        match part {
            "." | "" => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    parts.join("/")
}

/// Headings as anchors: lower case, words joined by hyphens, other characters left out.
fn headings(text: &str) -> impl Iterator<Item = String> {
    prose(text).filter_map(|(_, line)| line.strip_prefix('#')).map(|line| {
        let title = line.trim_start_matches('#').trim().to_lowercase();
        let kept = title.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
        kept.map(|c| if c == ' ' { '-' } else { c }).collect()
    })
}

/// The code map must name every crate.
pub fn architecture_names_every_crate(tree: &Tree) -> Vec<Problem> {
    const PATH: &str = "docs/ARCHITECTURE.md";
    let Some(document) = tree.get(PATH) else {
        return vec![Problem::new(PATH, 0, "missing")];
    };
    tree.ending("/Cargo.toml")
        .filter_map(|manifest| manifest.path.strip_suffix("/Cargo.toml"))
        .filter(|folder| !document.text.contains(&format!("`{folder}`")))
        .map(|folder| Problem::new(PATH, 0, format!("the code map does not name `{folder}`")))
        .collect()
}

/// The project speaks of itself alone: no numbers of issues or pull requests, which mean nothing to a reader.
pub fn outside_references(tree: &Tree) -> Vec<Problem> {
    let mut problems = Vec::new();
    for file in tree.ending(".md") {
        for (number, line) in prose(&file.text) {
            let reference = line.split('#').skip(1).find(|rest| {
                let digits = rest.chars().take_while(char::is_ascii_digit).count();
                digits > 0 && !rest[digits..].starts_with(|c: char| c.is_alphanumeric() || c == '-')
            });
            if reference.is_some() {
                problems.push(Problem::new(&file.path, number, "refers to a number outside the repository"));
            }
        }
    }
    problems
}

/// Commands in the README's code blocks must exist: scripts, npm scripts, xtasks, subcommands.
pub fn commands_exist(tree: &Tree) -> Vec<Problem> {
    let Some(readme) = tree.get("README.md") else {
        return vec![Problem::new("README.md", 0, "missing")];
    };
    let mut problems = Vec::new();
    for (number, line, in_code) in fenced(&readme.text) {
        let command = line.trim().trim_start_matches("$ ");
        if in_code && let Some(missing) = missing_command(tree, command) {
            problems.push(Problem::new(&readme.path, number, format!("{missing} does not exist")));
        }
    }
    problems
}

/// The part of `command` that does not exist, if it is one that this repository defines.
fn missing_command(tree: &Tree, command: &str) -> Option<String> {
    let words: Vec<&str> = command.split_whitespace().collect();
    match *words.first()? {
        "cargo" if words.get(1) == Some(&"xtask") => {
            let main = &tree.get("xtask/src/main.rs")?.text;
            let task = words.get(2)?;
            (!main.contains(&format!("Some(\"{task}\")"))).then(|| format!("xtask {task}"))
        }
        "cargo" if words.get(1) == Some(&"run") => {
            let after = words.iter().position(|word| *word == "--")?;
            missing_subcommand(tree, words.get(after + 1)?)
        }
        "tracewell" | "./target/release/tracewell" => missing_subcommand(tree, words.get(1)?),
        "npm" => {
            let script = words.iter().position(|word| *word == "run").and_then(|at| words.get(at + 1))?;
            let package = tree.get("ui/package.json").map_or("", |file| &file.text);
            (!package.contains(&format!("\"{script}\":"))).then(|| format!("npm script {script}"))
        }
        script if script.starts_with("./") || script.starts_with('.') => {
            let path = script.trim_start_matches("./");
            (!tree.exists(path)).then(|| path.to_owned())
        }
        _ => None,
    }
}

/// Subcommands are the variants of an enum of the command line's crate.
fn missing_subcommand(tree: &Tree, name: &str) -> Option<String> {
    if name.starts_with('-') {
        return None;
    }
    let variant: String = name.split('-').map(capitalised).collect();
    let defines = |line: &str| {
        let rest = line.trim_start().strip_prefix(variant.as_str());
        rest.is_some_and(|rest| rest.starts_with(['(', '{', ',', ' ']))
    };
    let found = tree.ending(".rs").filter(|file| file.path.starts_with("crates/cli/src/"));
    let found = found.flat_map(|file| file.text.lines()).any(defines);
    (!found).then(|| format!("tracewell {name}"))
}

fn capitalised(word: &str) -> String {
    let mut characters = word.chars();
    characters.next().map(|first| first.to_uppercase().chain(characters).collect()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn messages(problems: &[Problem]) -> Vec<String> {
        problems.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn links_lead_to_files_and_headings() {
        let tree = Tree::of(&[
            (
                "docs/a.md",
                "[b](b.md#the-second-part) [up](../README.md) [web](https://x.y) [gone](c.md) [no](b.md#third)",
            ),
            ("docs/b.md", "# B\n## The second part\n```\n## Third [not a link](d.md)\n```\n"),
            ("README.md", "[folder](docs)"),
        ]);
        assert_eq!(
            messages(&links(&tree)),
            [
                "docs/a.md:1: link to c.md: there is no docs/c.md",
                "docs/a.md:1: link to b.md#third: docs/b.md has no heading #third",
            ]
        );
    }

    #[test]
    fn the_code_map_names_every_crate() {
        let tree = Tree::of(&[
            ("docs/ARCHITECTURE.md", "| `crates/a` | first |"),
            ("crates/a/Cargo.toml", ""),
            ("crates/b/Cargo.toml", ""),
        ]);
        assert_eq!(
            messages(&architecture_names_every_crate(&tree)),
            ["docs/ARCHITECTURE.md: the code map does not name `crates/b`"]
        );
    }

    #[test]
    fn numbers_of_issues_are_found_but_colours_and_anchors_are_not() {
        for (line, found) in
            [("see #12", true), ("(#3)", true), ("#12ab34", false), ("a.md#1-first", false), ("# 1", false)]
        {
            assert_eq!(!outside_references(&Tree::of(&[("a.md", line)])).is_empty(), found, "{line}");
        }
    }

    #[test]
    fn commands_of_the_readme_exist() {
        let readme = "run `this`:\n```sh\ncargo run --release -- demo\ntracewell serve --x\ncargo xtask tidy\n\
                      npm --prefix ui run check\n.ci/run\ncargo xtask fly\ncargo run -- fly\n```\n";
        let tree = Tree::of(&[
            ("README.md", readme),
            ("crates/cli/src/main.rs", "enum Command {\n    Demo(DemoArgs),\n    Serve {\n"),
            ("xtask/src/main.rs", "Some(\"tidy\")"),
            ("ui/package.json", "{\"scripts\":{\"check\": \"x\"}}"),
            (".ci/run", ""),
        ]);
        assert_eq!(
            messages(&commands_exist(&tree)),
            ["README.md:8: xtask fly does not exist", "README.md:9: tracewell fly does not exist"]
        );
    }
}
