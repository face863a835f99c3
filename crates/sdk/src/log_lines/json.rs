//! Text inside a line (RFC 8259 §7).

use std::fmt::Write;

/// Appends `text` as a JSON string.
pub(super) fn string(out: &mut String, text: &str) {
    out.push('"');
    let mut rest = text;
    // Most text needs no escape: it is copied in one piece.
    while let Some(at) = rest.find(|found: char| found == '"' || found == '\\' || found < ' ') {
        let (plain, from) = rest.split_at(at);
        out.push_str(plain);
        let mut characters = from.chars();
        match characters.next() {
            Some('"') => out.push_str("\\\""),
            Some('\\') => out.push_str("\\\\"),
            Some('\n') => out.push_str("\\n"),
            Some('\r') => out.push_str("\\r"),
            Some('\t') => out.push_str("\\t"),
            Some(other) => {
                let _ = write!(out, "\\u{:04x}", u32::from(other));
            }
            None => {}
        }
        rest = characters.as_str();
    }
    out.push_str(rest);
    out.push('"');
}

/// Appends `text` with control characters escaped, so that it stays on its line and does not steer terminals.
pub(super) fn one_line(out: &mut String, text: &str) {
    for character in text.chars() {
        if character.is_control() && character != '\t' {
            out.extend(character.escape_default());
        } else {
            out.push(character);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_text_is_a_json_string() {
        let cases = [
            ("", r#""""#),
            ("plain ünï", r#""plain ünï""#),
            ("a\"b\\c", r#""a\"b\\c""#),
            ("line\r\n\ttab", r#""line\r\n\ttab""#),
            ("\u{0}\u{1b}[31m\u{7f}", "\"\\u0000\\u001b[31m\u{7f}\""),
        ];
        for (text, expected) in cases {
            let mut out = String::new();
            string(&mut out, text);
            assert_eq!(out, expected);
        }
    }

    #[test]
    fn a_line_break_cannot_be_smuggled_in() {
        let mut out = String::new();
        one_line(&mut out, "ok\n2026 ERROR forged\u{1b}[2J\u{85}");
        assert_eq!(out, "ok\\n2026 ERROR forged\\u{1b}[2J\\u{85}");
    }
}
