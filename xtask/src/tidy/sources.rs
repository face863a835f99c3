//! Rules for source files: how long, how they open, what may not stay in them.

use super::{File, Problem, Tree, numbered};

/// Past this a file probably holds two ideas.
const LONG: usize = 500;
/// Past this it has to be split.
const TOO_LONG: usize = 600;

/// Files that may be longer, with the reason.
const MAY_BE_LONG: &[(&str, &str)] = &[];

fn is_source(file: &File) -> bool {
    [".rs", ".ts", ".svelte", ".css", ".py", ".mjs"].iter().any(|suffix| file.path.ends_with(suffix))
}

/// Files above the limit.
pub fn length(tree: &Tree) -> Vec<Problem> {
    let too_long = |file: &&File| file.text.lines().count() > TOO_LONG;
    let excused = |file: &&File| MAY_BE_LONG.iter().any(|(path, _)| *path == file.path);
    tree.files
        .iter()
        .filter(|file| is_source(file) && too_long(file) && !excused(file))
        .map(|file| {
            let lines = file.text.lines().count();
            Problem::new(&file.path, 0, format!("{lines} lines, at most {TOO_LONG}; split it by idea"))
        })
        .collect()
}

/// Files that come near the limit, for the reader's information.
pub fn long(tree: &Tree) -> Vec<String> {
    tree.files
        .iter()
        .filter(|file| is_source(file))
        .map(|file| (file.text.lines().count(), &file.path))
        .filter(|(lines, _)| (LONG + 1..=TOO_LONG).contains(lines))
        .map(|(lines, path)| format!("{path} has {lines} lines"))
        .collect()
}

/// Every crate says first what it is.
pub fn crate_documentation(tree: &Tree) -> Vec<Problem> {
    tree.files
        .iter()
        .filter(|file| file.path.ends_with("/src/lib.rs") || file.path.ends_with("/src/main.rs"))
        .filter(|file| !file.text.starts_with("//! "))
        .map(|file| Problem::new(&file.path, 1, "open with `//!`: what the crate is, what it is not"))
        .collect()
}

/// Marks of unfinished work. Written in halves so that this file does not find itself.
const LEFTOVERS: &[(&str, &str)] = &[
    (concat!("TO", "DO"), "finish it or leave it out"),
    (concat!("FIX", "ME"), "repair it"),
    (concat!("dbg", "!("), "debugging output"),
    (concat!("to", "do!("), "finish it"),
    (concat!("unimple", "mented!("), "finish it"),
    (concat!("#[ig", "nore]"), "give the reason: #[ignore = \"…\"]"),
];

/// Unfinished work and tests switched off without a reason.
pub fn leftovers(tree: &Tree) -> Vec<Problem> {
    let mut problems = Vec::new();
    for file in tree.files.iter().filter(|file| is_source(file)) {
        for (line, text) in numbered(&file.text) {
            if let Some((mark, advice)) = LEFTOVERS.iter().find(|(mark, _)| has_word(text, mark)) {
                problems.push(Problem::new(&file.path, line, format!("{mark}: {advice}")));
            }
        }
    }
    problems
}

/// True when `mark` stands in `text` and is not part of a longer word.
fn has_word(text: &str, mark: &str) -> bool {
    let is_letter = |character: char| character.is_alphanumeric() || character == '_';
    text.match_indices(mark).any(|(at, _)| {
        let before = text[..at].chars().next_back().is_some_and(is_letter);
        let after = text[at + mark.len()..].chars().next().is_some_and(is_letter);
        !before && (!after || mark.ends_with('('))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_above_the_limit_is_a_problem_and_one_near_it_a_note() {
        let (fine, near, above) = ("a\n".repeat(500), "a\n".repeat(501), "a\n".repeat(601));
        let tree = Tree::of(&[("fine.rs", &fine), ("near.ts", &near), ("above.rs", &above), ("data.json", &above)]);
        assert_eq!(long(&tree), ["near.ts has 501 lines"]);
        let problems = length(&tree);
        assert_eq!(problems.len(), 1);
        assert_eq!(problems[0].path, "above.rs");
    }

    #[test]
    fn crates_open_with_what_they_are() {
        let tree = Tree::of(&[("crates/a/src/lib.rs", "//! A.\n"), ("crates/b/src/lib.rs", "mod x;\n//! B.")]);
        let paths: Vec<_> = crate_documentation(&tree).into_iter().map(|problem| problem.path).collect();
        assert_eq!(paths, ["crates/b/src/lib.rs"]);
    }

    #[test]
    fn leftovers_are_found_as_words() {
        let cases = [
            (concat!("// TO", "DO: later"), true),
            (concat!("// MASTO", "DON"), false),
            (concat!("    dbg", "!(x);"), true),
            (concat!("    #[ig", "nore]"), true),
            ("    #[ignore = \"needs a disk that can fill up\"]", false),
        ];
        for (line, found) in cases {
            assert_eq!(!leftovers(&Tree::of(&[("x.rs", line)])).is_empty(), found, "{line}");
        }
    }
}
