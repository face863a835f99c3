//! From the text of a statement to its tokens, for every SQL dialect and for text that is no SQL at all.
//!
//! One pass over the bytes; no token is looked at more than a bounded number of times. Whatever does not
//! end (a string, a quoted name, a comment) ends with the text.

use super::dialect::{Brackets, Dialect, DoubleQuotes};

/// What a piece of a statement is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// White space.
    Space,
    /// A comment, without the end of its line.
    Comment,
    /// A keyword or a name without quotes.
    Word,
    /// A name in quotes, backquotes or brackets.
    Quoted,
    /// A string in single quotes, with its prefix, or in a form that only this dialect knows.
    Text,
    /// A string in double quotes, or what may be one.
    DoubleQuoted,
    /// A number, with its sign.
    Number,
    /// A placeholder for a value: `?`, `?1`, `$1`, `:name`, `@name`, `%s`.
    Parameter,
    /// Anything else; one character, or an operator of two.
    Punctuation,
}

/// A piece of a statement.
#[derive(Debug, Clone, Copy)]
pub(super) struct Token<'a> {
    pub(super) kind: Kind,
    pub(super) text: &'a str,
    /// True for a quoted piece whose end is missing.
    pub(super) open: bool,
}

impl Token<'_> {
    /// True for this keyword, whatever its case.
    pub(super) fn is(&self, keyword: &str) -> bool {
        self.kind == Kind::Word && self.text.eq_ignore_ascii_case(keyword)
    }

    /// True for this character.
    pub(super) fn is_mark(&self, mark: &str) -> bool {
        self.kind == Kind::Punctuation && self.text == mark
    }
}

/// Longest name in brackets, in bytes: SQL Server allows 128 characters.
const BRACKETED_BYTES_MAX: usize = 512;

/// Reads tokens one after the other. A clone reads ahead.
#[derive(Debug, Clone)]
pub(super) struct Lexer<'a> {
    text: &'a str,
    at: usize,
    dialect: Dialect,
    /// True where a sign would stand between two values.
    after_value: bool,
    /// True right behind a literal.
    after_literal: bool,
}

impl<'a> Lexer<'a> {
    pub(super) fn new(text: &'a str, dialect: Dialect) -> Self {
        Self { text, at: 0, dialect, after_value: false, after_literal: false }
    }

    /// Where the next token begins.
    pub(super) fn position(&self) -> usize {
        self.at
    }

    fn byte(&self, ahead: usize) -> u8 {
        self.text.as_bytes().get(self.at + ahead).copied().unwrap_or(0)
    }

    fn rest(&self) -> &'a [u8] {
        self.text.as_bytes().get(self.at..).unwrap_or_default()
    }

    /// How many bytes from the position plus `from` on satisfy `holds`, `from` included.
    fn run(&self, from: usize, holds: impl Fn(u8) -> bool) -> usize {
        let rest = self.rest().get(from..).unwrap_or_default();
        from + rest.iter().position(|byte| !holds(*byte)).unwrap_or(rest.len())
    }

    /// The length of a piece that opens at `open` bytes from here and closes with `quote`, doubled inside.
    /// The second value is true where the end is missing.
    fn quoted(&self, open: usize, quote: u8, backslash: bool) -> (usize, bool) {
        let rest = self.rest();
        let mut at = open;
        while let Some(byte) = rest.get(at) {
            if backslash && *byte == b'\\' {
                at += 2;
            } else if *byte == quote {
                if rest.get(at + 1) == Some(&quote) {
                    at += 2;
                } else {
                    return (at + 1, false);
                }
            } else {
                at += 1;
            }
        }
        (rest.len(), true)
    }

    /// The length up to and with `end`, looked for from `open` bytes on.
    fn up_to(&self, open: usize, end: &[u8]) -> (usize, bool) {
        let rest = self.rest();
        let Some(inside) = rest.get(open..) else { return (rest.len(), true) };
        match inside.windows(end.len().max(1)).position(|window| window == end) {
            Some(found) => (open + found + end.len(), false),
            None => (rest.len(), true),
        }
    }

    fn block_comment(&self) -> usize {
        let rest = self.rest();
        let (mut depth, mut at) = (0usize, 0);
        while at < rest.len() {
            match (rest.get(at), rest.get(at + 1)) {
                (Some(b'/'), Some(b'*')) if depth == 0 || self.dialect.nested_comments => {
                    depth += 1;
                    at += 2;
                }
                (Some(b'*'), Some(b'/')) => {
                    depth -= 1;
                    at += 2;
                    if depth == 0 {
                        return at;
                    }
                }
                _ => at += 1,
            }
        }
        rest.len()
    }

    /// The tag of a dollar-quoted string that opens here, with its dollars.
    fn dollar_tag(&self) -> Option<&'a [u8]> {
        if !self.dialect.dollar_quotes {
            return None;
        }
        let length = self.run(1, is_name);
        (self.byte(length) == b'$' && !self.byte(1).is_ascii_digit()).then(|| self.rest().get(..=length)).flatten()
    }

    /// The length of a string that begins with a prefix, such as `N'…'`; `None` where no such string begins.
    fn prefixed(&self, word: &[u8]) -> Option<(usize, bool)> {
        let quote_at = word.len();
        if self.byte(quote_at) == b'&' && word.eq_ignore_ascii_case(b"u") && self.byte(quote_at + 1) == b'\'' {
            return Some(self.quoted(quote_at + 2, b'\'', false));
        }
        if self.byte(quote_at) != b'\'' {
            return None;
        }
        let one_of = |prefixes: &[&str]| prefixes.iter().any(|prefix| word.eq_ignore_ascii_case(prefix.as_bytes()));
        if self.dialect.q_quotes && one_of(&["q", "nq"]) {
            let close: &[u8] = match self.byte(quote_at + 1) {
                b'[' => b"]'",
                b'{' => b"}'",
                b'(' => b")'",
                b'<' => b">'",
                _ => self.rest().get(quote_at + 1..quote_at + 2).unwrap_or_default(),
            };
            if close.len() == 2 {
                return Some(self.up_to(quote_at + 2, close));
            }
            return Some(self.up_to(quote_at + 2, &[close.first().copied().unwrap_or(b'\''), b'\'']));
        }
        if one_of(&["e"]) {
            return Some(self.quoted(quote_at + 1, b'\'', true));
        }
        one_of(&["n", "b", "x", "r", "rb", "br"]).then(|| self.quoted(quote_at + 1, b'\'', self.dialect.backslash))
    }

    /// The length of a number that begins here, without sign.
    fn number(&self) -> usize {
        let based = self.byte(0) == b'0' && matches!(self.byte(1) | 0x20, b'x' | b'b' | b'o');
        if based {
            return self.run(2, is_word);
        }
        let mut end = self.run(0, |byte| byte.is_ascii_digit() || byte == b'_');
        // `1..10` is a range of two numbers.
        if self.byte(end) == b'.' && self.byte(end + 1) != b'.' {
            end = self.run(end + 1, |byte| byte.is_ascii_digit() || byte == b'_');
        }
        if self.byte(end) | 0x20 == b'e' {
            let sign = usize::from(matches!(self.byte(end + 1), b'+' | b'-'));
            if self.byte(end + 1 + sign).is_ascii_digit() {
                end = self.run(end + 1 + sign, |byte| byte.is_ascii_digit());
            }
        }
        // A suffix of the type, or a name that begins with a digit.
        self.run(end, is_word)
    }

    fn begins_number(&self, ahead: usize) -> bool {
        self.byte(ahead).is_ascii_digit() || (self.byte(ahead) == b'.' && self.byte(ahead + 1).is_ascii_digit())
    }

    /// Kind and length of the token that begins here, and whether its end is missing.
    fn read(&self, first: u8) -> (Kind, usize, bool) {
        let whole = |kind, length| (kind, length, false);
        let dialect = &self.dialect;
        let quoted = |kind, (length, open)| (kind, length, open);
        match first {
            byte if byte.is_ascii_whitespace() || byte == 0x0b => {
                whole(Kind::Space, self.run(0, |byte| byte.is_ascii_whitespace() || byte == 0x0b))
            }
            b'-' if self.byte(1) == b'-' && (!dialect.dashes_need_space || self.byte(2) <= b' ') => {
                whole(Kind::Comment, self.run(0, |byte| !matches!(byte, b'\n' | b'\r')))
            }
            b'#' if dialect.hash_comments => whole(Kind::Comment, self.run(0, |byte| !matches!(byte, b'\n' | b'\r'))),
            b'/' if self.byte(1) == b'*' => whole(Kind::Comment, self.block_comment()),
            b'\'' => quoted(Kind::Text, self.quoted(1, b'\'', dialect.backslash)),
            b'"' => match dialect.double_quotes {
                DoubleQuotes::Name => quoted(Kind::Quoted, self.quoted(1, b'"', false)),
                DoubleQuotes::Text => quoted(Kind::DoubleQuoted, self.quoted(1, b'"', dialect.backslash)),
                DoubleQuotes::Either => quoted(Kind::DoubleQuoted, self.quoted(1, b'"', false)),
            },
            b'`' => quoted(Kind::Quoted, self.quoted(1, b'`', false)),
            b'[' => self.bracket(),
            b'$' if let Some(tag) = self.dollar_tag() => quoted(Kind::Text, self.up_to(tag.len(), tag)),
            b'+' | b'-' if self.begins_number(1) && !self.after_value => {
                let number = Lexer { at: self.at + 1, ..self.clone() }.number();
                whole(Kind::Number, 1 + number)
            }
            byte if byte.is_ascii_digit() => whole(Kind::Number, self.number()),
            b'.' if self.begins_number(0) && !self.after_value => whole(Kind::Number, self.number()),
            b'?' => whole(Kind::Parameter, self.run(1, |byte| byte.is_ascii_digit())),
            b'$' | b'@' if is_name(self.byte(1)) || self.byte(1) == b'@' => {
                whole(Kind::Parameter, self.run(1, |byte| is_name(byte) || byte == b'@'))
            }
            b':' if self.byte(1) == b':' => whole(Kind::Punctuation, 2),
            b':' if is_name(self.byte(1)) && !self.after_value && !self.after_literal => {
                whole(Kind::Parameter, self.run(1, is_name))
            }
            b'%' if self.byte(1) == b's' && !is_word(self.byte(2)) => whole(Kind::Parameter, 2),
            byte if is_word(byte) => {
                let length = self.run(0, is_word);
                match self.rest().get(..length).and_then(|word| self.prefixed(word)) {
                    Some(text) => quoted(Kind::Text, text),
                    None => whole(Kind::Word, length),
                }
            }
            _ => whole(Kind::Punctuation, 1),
        }
    }

    fn bracket(&self) -> (Kind, usize, bool) {
        let begins_name = self.byte(1).is_ascii_alphabetic() || self.byte(1) == b'_';
        let name = match self.dialect.brackets {
            Brackets::Array => false,
            Brackets::Name => true,
            Brackets::Either => begins_name && !self.after_value,
        };
        let rest = self.rest();
        let near = rest.get(..rest.len().min(BRACKETED_BYTES_MAX)).unwrap_or_default();
        match near.iter().position(|byte| *byte == b']') {
            Some(end) if name => (Kind::Quoted, end + 1, false),
            _ => (Kind::Punctuation, 1, false),
        }
    }
}

impl<'a> Iterator for Lexer<'a> {
    type Item = Token<'a>;

    fn next(&mut self) -> Option<Token<'a>> {
        let first = *self.text.as_bytes().get(self.at)?;
        let (kind, length, open) = self.read(first);
        let end = (self.at + length.max(1)).min(self.text.len());
        // A byte of a longer character is never a token of its own.
        let end = self.text.ceil_char_boundary(end);
        let text = self.text.get(self.at..end)?;
        self.at = end;
        self.after_literal = matches!(kind, Kind::Text | Kind::Number);
        self.after_value = match kind {
            Kind::Word | Kind::Quoted | Kind::DoubleQuoted | Kind::Parameter => true,
            Kind::Punctuation => matches!(text, ")" | "]"),
            _ => false,
        };
        Some(Token { kind, text, open })
    }
}

/// A byte of the name of a placeholder or of a tag. Bytes of characters beyond ASCII count as letters.
fn is_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte >= 0x80
}

/// A byte of a word.
fn is_word(byte: u8) -> bool {
    is_name(byte) || byte == b'$'
}
