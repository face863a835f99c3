//! Writing the configuration: the default file, the effective one, and the reference page.

use super::keys::{KEYS, SECTIONS};
use super::{Loaded, Origin};

/// The documented default file, valid TOML with every key at its default.
pub fn default_file() -> String {
    let mut out = String::from(
        "# Tracewell's configuration. Every key is shown with its default; delete what you do not change.\n\
         #\n\
         # The layers, later ones win: these defaults, this file (tracewell.toml in the working directory, or\n\
         # --config FILE), the environment (TRACEWELL_HTTP_LISTEN for http.listen), flags (--http-listen).\n\
         # `tracewell serve --print-config` prints what is in effect and where each value comes from.\n",
    );
    for (section, about) in SECTIONS {
        out.push('\n');
        if !section.is_empty() {
            out.push_str(&format!("# {about}\n[{section}]\n"));
        }
        let keys: Vec<_> = KEYS.iter().filter(|key| key.section().0 == *section).collect();
        for (index, key) in keys.iter().enumerate() {
            if index > 0 {
                out.push('\n');
            }
            key.doc.lines().for_each(|line| out.push_str(&format!("# {line}\n")));
            out.push_str(&format!("{} = {}\n", key.section().1, key.default_value().to_toml()));
        }
    }
    out
}

/// What is in effect, as TOML, each value with the layer that it comes from.
pub fn effective(loaded: &Loaded) -> String {
    let mut out = String::new();
    let mut section = "";
    let width = loaded.settings.iter().map(|setting| name(setting.key).len() + setting.value.len()).max().unwrap_or(0);
    for setting in &loaded.settings {
        let own = setting.key.split_once('.').map_or("", |(section, _)| section);
        if own != section {
            out.push_str(&format!("\n[{own}]\n"));
            section = own;
        }
        let assignment = format!("{} = {}", name(setting.key), setting.value);
        let mark = if setting.origin == Origin::Default { "" } else { "← " };
        out.push_str(&format!("{assignment:<width$}  # {mark}{}\n", setting.origin, width = width + 3));
    }
    out
}

fn name(key: &str) -> &str {
    key.split_once('.').map_or(key, |(_, name)| name)
}

/// The reference of all settings in Markdown, which `docs/config.md` holds.
pub fn reference() -> String {
    let mut out = String::from("| key | default | environment | meaning |\n|---|---|---|---|\n");
    for key in KEYS {
        let default = key.default_value().to_toml();
        let doc = key.doc.replace('\n', " ").replace('|', "\\|");
        out.push_str(&format!("| `{}` | `{default}` | `{}` | {doc} |\n", key.path, key.environment()));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::super::{Config, DEFAULT_FILE, Inputs, load};
    use super::*;

    #[test]
    fn the_default_file_says_what_the_defaults_are() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(DEFAULT_FILE), default_file()).unwrap();
        let loaded = load(&Inputs { working_dir: folder.path().to_owned(), ..Inputs::default() }).unwrap();
        assert_eq!(loaded.config, Config::default());
        assert!(loaded.settings.iter().all(|setting| matches!(setting.origin, Origin::File(..))));
    }

    #[test]
    fn what_is_printed_can_be_read_again() {
        let loaded = load(&Inputs {
            environment: vec![("TRACEWELL_HTTP_ALLOWED_HOSTS".into(), "a.example,b.example".into())],
            ..Inputs::default()
        })
        .unwrap();
        let text = effective(&loaded);
        assert!(text.contains("# ← environment TRACEWELL_HTTP_ALLOWED_HOSTS"), "{text}");
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(DEFAULT_FILE), text).unwrap();
        let again = load(&Inputs { working_dir: folder.path().to_owned(), ..Inputs::default() }).unwrap();
        assert_eq!(again.config, loaded.config);
    }

    /// The page is made by the code; `TRACEWELL_WRITE_DOCS=1 cargo test -p tracewell-server reference` writes it.
    #[test]
    fn the_reference_page_is_up_to_date() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/config.md");
        let page = std::fs::read_to_string(path).unwrap_or_default();
        let (before, after) = ("<!-- settings -->\n", "<!-- end of settings -->\n");
        let (head, rest) = page.split_once(before).expect("docs/config.md has the mark of the settings");
        let (current, tail) = rest.split_once(after).expect("docs/config.md has the mark of their end");
        if std::env::var_os("TRACEWELL_WRITE_DOCS").is_some() {
            std::fs::write(path, format!("{head}{before}{}{after}{tail}", reference())).unwrap();
        } else {
            assert!(current == reference(), "docs/config.md is out of date; write it with TRACEWELL_WRITE_DOCS=1");
        }
    }
}
