//! A line as texts and values in turn, and reading a line by it.

use std::borrow::Cow;

use super::field::{Access, Field, Slot};

/// Parts of a pattern.
const PARTS_MAX: usize = 200;

/// One part of a pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Part {
    /// This text.
    Text(String),
    /// A value, which ends where the next text begins.
    Value(Slot),
}

/// Why a pattern cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// It names no variable.
    #[error("`{0}` names no variable; write nginx's $variables, Envoy's %OPERATORS% or Apache's %directives")]
    NoVariable(String),
    /// Nobody can tell where one ends and the other begins.
    #[error("{0} and {1} stand side by side; put a space or another text between them")]
    SideBySide(String, String),
    /// It goes on and on.
    #[error("the pattern has more than {PARTS_MAX} parts")]
    TooLong,
    /// A quote or a bracket is not closed.
    #[error("`{0}` is not closed")]
    NotClosed(String),
}

/// A line as texts and values in turn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pattern {
    parts: Vec<Part>,
}

impl Pattern {
    /// Checks parts, and joins neighbouring texts.
    pub(super) fn new(parts: Vec<Part>, source: &str) -> Result<Self, PatternError> {
        let mut joined: Vec<Part> = Vec::with_capacity(parts.len());
        for part in parts {
            match (joined.last_mut(), part) {
                (_, Part::Text(text)) if text.is_empty() => {}
                (Some(Part::Text(before)), Part::Text(text)) => before.push_str(&text),
                (Some(Part::Value(before)), Part::Value(value)) if !begins_with_slash(&value) => {
                    return Err(PatternError::SideBySide(shown(before), shown(&value)));
                }
                (_, part) => joined.push(part),
            }
        }
        if joined.len() > PARTS_MAX {
            return Err(PatternError::TooLong);
        }
        if !joined.iter().any(|part| matches!(part, Part::Value(_))) {
            return Err(PatternError::NoVariable(source.to_owned()));
        }
        Ok(Self { parts: joined })
    }

    pub(super) fn parts_mut(&mut self) -> &mut [Part] {
        &mut self.parts
    }

    /// The values of a line; `None` when it is not written like this. Linear in the line's length times the parts.
    pub(super) fn read<'a>(&self, line: &'a str) -> Option<Access<'a>> {
        let mut access = Access::default();
        let mut rest = line;
        let mut quoted = false;
        let mut parts = self.parts.iter().peekable();
        while let Some(part) = parts.next() {
            match part {
                Part::Text(text) => {
                    rest = strip(rest, text)?;
                    quoted = text.ends_with('"');
                }
                Part::Value(slot) => {
                    let end = match parts.peek() {
                        None => rest.len(),
                        Some(Part::Value(_)) => rest.find('/')?,
                        Some(Part::Text(text)) if quoted && text.starts_with('"') => end_of_quoted(rest)?,
                        Some(Part::Text(text)) if is_list(slot) => end_of_list(rest, text)?,
                        Some(Part::Text(text)) => rest.find(text.as_str()).or_else(|| at_the_end(rest, text))?,
                    };
                    let (value, after) = rest.split_at(end);
                    access.set(slot, if quoted { unescaped(value) } else { Cow::Borrowed(value) });
                    rest = after;
                    quoted = false;
                }
            }
        }
        rest.trim_end().is_empty().then_some(access)
    }
}

fn begins_with_slash(slot: &Slot) -> bool {
    matches!(slot, Slot::Known(Field::Target | Field::Query, _))
}

fn shown(slot: &Slot) -> String {
    match slot {
        Slot::Known(field, _) => format!("the variable for `{}`", field.name()),
        Slot::Attribute(name) => format!("`{name}`"),
    }
}

/// Takes a text off the front. A line that ends early has lost the spaces at its end, no more.
fn strip<'a>(rest: &'a str, text: &str) -> Option<&'a str> {
    rest.strip_prefix(text).or_else(|| (rest == text.trim_end()).then_some(""))
}

fn at_the_end(rest: &str, text: &str) -> Option<usize> {
    let text = text.trim_end();
    rest.ends_with(text).then(|| rest.len() - text.len())
}

/// nginx writes one value for each server that it tried, with `, ` and ` : ` between them.
fn is_list(slot: &Slot) -> bool {
    matches!(
        slot,
        Slot::Known(Field::Upstream | Field::UpstreamStatus | Field::UpstreamTime | Field::UpstreamConnectTime, _)
    )
}

fn end_of_list(rest: &str, text: &str) -> Option<usize> {
    let mut from = 0;
    loop {
        let end = from + rest.get(from..)?.find(text).or_else(|| at_the_end(&rest[from..], text))?;
        let (value, after) = rest.split_at(end);
        let goes_on = value.ends_with(',') || value.ends_with(" :") || after.starts_with(" : ");
        if !goes_on || text.is_empty() {
            return Some(end);
        }
        from = end + text.len();
    }
}

/// The next quote that is not escaped.
fn end_of_quoted(rest: &str) -> Option<usize> {
    let mut bytes = rest.bytes().enumerate();
    while let Some((at, byte)) = bytes.next() {
        match byte {
            b'"' => return Some(at),
            b'\\' => drop(bytes.next()),
            _ => {}
        }
    }
    None
}

/// Undoes the escapes of nginx and Apache (`\x22`, `\"`, `\\`) and of JSON (`\u0022`, `\n`).
pub(super) fn unescaped(text: &str) -> Cow<'_, str> {
    if !text.contains('\\') {
        return Cow::Borrowed(text);
    }
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        if *first != b'\\' {
            out.push(*first);
            continue;
        }
        let digits = |count: usize, from: &[u8]| {
            let digits = from.get(1..=count).and_then(|digits| std::str::from_utf8(digits).ok())?;
            digits.bytes().all(|byte| byte.is_ascii_hexdigit()).then(|| u32::from_str_radix(digits, 16).ok()).flatten()
        };
        let Some(kind) = rest.first() else {
            out.push(b'\\');
            break;
        };
        let taken = match kind {
            b'x' => digits(2, rest).map(|code| {
                out.push(code as u8);
                3
            }),
            b'u' => digits(4, rest).map(|code| {
                out.extend(char::from_u32(code).unwrap_or('\u{fffd}').to_string().into_bytes());
                5
            }),
            b'n' => Some(b'\n').map(|byte| push(&mut out, byte)),
            b't' => Some(b'\t').map(|byte| push(&mut out, byte)),
            b'r' => Some(b'\r').map(|byte| push(&mut out, byte)),
            b'"' | b'\\' | b'/' | b'\'' => Some(push(&mut out, *kind)),
            _ => None,
        };
        match taken {
            Some(taken) => rest = rest.get(taken..).unwrap_or_default(),
            None => out.push(b'\\'),
        }
    }
    match String::from_utf8(out) {
        Ok(text) => Cow::Owned(text),
        Err(error) => Cow::Owned(String::from_utf8_lossy(error.as_bytes()).into_owned()),
    }
}

fn push(out: &mut Vec<u8>, byte: u8) -> usize {
    out.push(byte);
    1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Part {
        Part::Text(text.to_owned())
    }

    fn value(field: Field) -> Part {
        Part::Value(Slot::of(field))
    }

    fn read<'a>(parts: Vec<Part>, line: &'a str) -> Option<Access<'a>> {
        Pattern::new(parts, "").unwrap().read(line)
    }

    #[test]
    fn values_end_where_the_next_text_begins() {
        let parts = || {
            vec![text("["), value(Field::Time), text("] \""), value(Field::Request), text("\" "), value(Field::Status)]
        };
        let access = read(parts(), "[a b] \"GET /\\x22\\\" x\" 200").unwrap();
        assert_eq!(access.get(Field::Time), Some("a b"));
        assert_eq!(access.get(Field::Request), Some("GET /\"\" x"));
        assert_eq!(access.get(Field::Status), Some("200"));
        for other in ["", "[a b", "[a] GET / 200", "[a] \"GET / 200", "x[a] \"b\" 1"] {
            assert!(read(parts(), other).is_none(), "{other}");
        }
    }

    #[test]
    fn lists_of_attempts_stay_together() {
        let parts =
            || vec![value(Field::Upstream), text(" "), value(Field::UpstreamTime), text(" "), value(Field::Status)];
        let line = "10.0.0.1:80, 10.0.0.2:80 : unix:/tmp/s 0.001, 0.002 : - 200";
        let access = read(parts(), line).unwrap();
        assert_eq!(access.get(Field::Upstream), Some("10.0.0.1:80, 10.0.0.2:80 : unix:/tmp/s"));
        assert_eq!(access.get(Field::UpstreamTime), Some("0.001, 0.002 : -"));
        assert_eq!(access.get(Field::Status), Some("200"));
    }

    #[test]
    fn a_host_and_its_path_may_touch_and_nothing_else() {
        let access =
            read(vec![value(Field::Scheme), text("://"), value(Field::Host), value(Field::Target)], "http://a:1/b?c");
        let access = access.unwrap();
        assert_eq!((access.get(Field::Host), access.get(Field::Target)), (Some("a:1"), Some("/b?c")));
        let error = Pattern::new(vec![value(Field::Status), value(Field::Host)], "").unwrap_err();
        assert!(matches!(error, PatternError::SideBySide(..)), "{error}");
        assert!(matches!(Pattern::new(vec![text("a")], "a"), Err(PatternError::NoVariable(_))));
    }

    #[test]
    fn escapes_are_undone() {
        for (escaped, plain) in [
            ("a", "a"),
            ("\\x22\\x5C", "\"\\"),
            ("\\u00e9\\n", "é\n"),
            ("\\xC3\\xA9", "é"),
            ("\\", "\\"),
            ("\\xZZ", "\\xZZ"),
            ("\\q", "\\q"),
        ] {
            assert_eq!(unescaped(escaped), plain);
        }
    }
}
