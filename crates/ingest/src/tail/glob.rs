//! Files by a pattern: `*` and `?` within the parts of a path.

use std::path::{Component, Path, PathBuf};

/// The files that a pattern names now, in order, at most `most`. What cannot be listed names none.
pub fn files(pattern: &Path, most: usize) -> Vec<PathBuf> {
    let mut found = vec![PathBuf::new()];
    for component in pattern.components() {
        let text = component.as_os_str().to_string_lossy();
        let is_pattern = matches!(component, Component::Normal(_)) && text.contains(['*', '?']);
        if !is_pattern {
            found.iter_mut().for_each(|path| path.push(component));
            continue;
        }
        let mut next = Vec::new();
        for folder in &found {
            let listed = std::fs::read_dir(if folder.as_os_str().is_empty() { Path::new(".") } else { folder });
            let names = listed.into_iter().flatten().flatten().map(|entry| entry.file_name());
            // Hidden files are meant only when the pattern says so.
            let fits = |name: &str| matches(&text, name) && (text.starts_with('.') || !name.starts_with('.'));
            next.extend(names.filter(|name| fits(&name.to_string_lossy())).map(|name| folder.join(name)));
        }
        next.sort();
        next.truncate(most);
        found = next;
    }
    found.retain(|path| path.is_file());
    found
}

/// True when `*` (any characters) and `?` (one) make the pattern the name.
fn matches(pattern: &str, name: &str) -> bool {
    let (pattern, name): (Vec<char>, Vec<char>) = (pattern.chars().collect(), name.chars().collect());
    let (mut at, mut from) = (0, 0);
    // Where the last star was, and how much of the name it has taken.
    let mut star: Option<(usize, usize)> = None;
    while from < name.len() {
        match pattern.get(at) {
            Some('*') => {
                star = Some((at, from));
                at += 1;
            }
            Some(c) if *c == '?' || *c == name[from] => (at, from) = (at + 1, from + 1),
            _ => match star {
                Some((star_at, taken)) => {
                    star = Some((star_at, taken + 1));
                    (at, from) = (star_at + 1, taken + 1);
                }
                None => return false,
            },
        }
    }
    pattern[at..].iter().all(|c| *c == '*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_and_question_marks_stand_for_characters() {
        for (pattern, name, expected) in [
            ("*.log", "access.log", true),
            ("*.log", "access.log.1", false),
            ("a?c*", "abcd", true),
            ("a?c", "ac", false),
            ("*a*b*", "xxaxxb", true),
            ("*a*b", "xxaxx", false),
            ("", "", true),
        ] {
            assert_eq!(matches(pattern, name), expected, "{pattern} {name}");
        }
    }

    #[test]
    fn patterns_name_files_in_folders() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["a/x.log", "b/x.log", "b/y.txt", "b/.h.log"] {
            let file = folder.path().join(name);
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(file, "").unwrap();
        }
        let found = |pattern: &str| files(&folder.path().join(pattern), 10);
        assert_eq!(found("*/*.log"), [folder.path().join("a/x.log"), folder.path().join("b/x.log")]);
        assert_eq!(found("b/x.log"), [folder.path().join("b/x.log")]);
        assert!(found("c/*.log").is_empty() && found("a").is_empty());
    }
}
