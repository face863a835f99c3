//! Text to tokens.

use super::suggest::nearest;
use super::{AttrScope, Attribute, Error, Field, Intrinsic, Pos};

/// A token and where it stands.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Token {
    pub kind: TokenKind,
    pub pos: Pos,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum TokenKind {
    /// A word that the parser gives its meaning: keyword, bare intrinsic, function.
    Word(String),
    /// An attribute, a scoped intrinsic, or anything after `parent.`.
    Field(Field),
    Str(String),
    Int(i64),
    Float(f64),
    Duration(i64),
    /// Punctuation and operators.
    Op(&'static str),
    End,
}

/// Every operator, longest first, so that the first that fits is the right one.
const OPERATORS: [&str; 38] = [
    "&>>", "&<<", "!>>", "!<<", "&&", "||", "&>", "&<", "&~", "!>", "!<", "!~", "!=", ">>", ">=", "<<", "<=", "=~",
    "{", "}", "(", ")", ",", "|", "!", ">", "<", "=", "~", "+", "-", "*", "/", "%", "^", "&", "[", "]",
];

/// What may stand in an attribute name without quotes: everything but space, brackets and the operators
/// that cannot be part of a name (Tempo, "Quoted attribute names").
fn in_attribute(c: char) -> bool {
    !c.is_whitespace() && !matches!(c, '{' | '}' | '(' | ')' | '=' | '~' | '!' | '<' | '>' | '&' | '|' | '^' | ',')
}

fn word_start(c: char) -> bool {
    c.is_alphabetic() || c == '_'
}

fn word_part(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

struct Lexer<'a> {
    text: &'a str,
    at: usize,
}

/// Cuts a query into tokens, the last of which is [`TokenKind::End`].
pub(super) fn lex(text: &str) -> Result<Vec<Token>, Error> {
    let mut lexer = Lexer { text, at: 0 };
    let mut tokens = Vec::new();
    loop {
        lexer.skip_space()?;
        let start = lexer.at;
        let kind = lexer.token()?;
        let end = kind == TokenKind::End;
        tokens.push(Token { kind, pos: Pos { start, len: lexer.at - start } });
        if end {
            return Ok(tokens);
        }
    }
}

impl Lexer<'_> {
    fn rest(&self) -> &str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn take_while(&mut self, keep: impl Fn(char) -> bool) -> &str {
        let start = self.at;
        let len = self.rest().find(|c| !keep(c)).unwrap_or(self.rest().len());
        self.at += len;
        self.text.get(start..self.at).unwrap_or_default()
    }

    fn pos_from(&self, start: usize) -> Pos {
        Pos { start, len: self.at - start }
    }

    /// Skips white space and comments (`// …` to the end of the line, `/* … */`).
    fn skip_space(&mut self) -> Result<(), Error> {
        loop {
            self.take_while(char::is_whitespace);
            if self.rest().starts_with("//") {
                self.take_while(|c| c != '\n');
            } else if self.rest().starts_with("/*") {
                let start = self.at;
                match self.rest().find("*/") {
                    Some(end) => self.at += end + 2,
                    None => {
                        self.at = self.text.len();
                        return Err(
                            Error::new(self.pos_from(start), "this comment has no end").hint("close it with */")
                        );
                    }
                }
            } else {
                return Ok(());
            }
        }
    }

    fn token(&mut self) -> Result<TokenKind, Error> {
        let Some(first) = self.peek() else { return Ok(TokenKind::End) };
        let second = self.rest().chars().nth(1);
        match first {
            '"' => self.quoted().map(TokenKind::Str),
            '`' => self.raw().map(TokenKind::Str),
            '0'..='9' => self.number(),
            '.' if second.is_some_and(|c| c.is_ascii_digit()) => self.number(),
            '.' => {
                let start = self.at;
                self.at += 1;
                self.attribute(start, false, AttrScope::Any)
            }
            c if word_start(c) => self.word(),
            _ => match OPERATORS.iter().find(|operator| self.rest().starts_with(**operator)) {
                Some(operator) => {
                    self.at += operator.len();
                    Ok(TokenKind::Op(operator))
                }
                None => {
                    let start = self.at;
                    self.at += first.len_utf8();
                    let error = Error::new(self.pos_from(start), format!("unexpected character {first:?}"));
                    Err(if first == '\'' {
                        error.hint("texts stand in \"double quotes\" or `backticks`")
                    } else {
                        error
                    })
                }
            },
        }
    }

    /// A word; with a `.` or `:` behind it, an attribute or a scoped intrinsic.
    fn word(&mut self) -> Result<TokenKind, Error> {
        let start = self.at;
        let word = self.take_while(word_part).to_owned();
        match self.peek() {
            Some('.') => {
                self.at += 1;
                if word == "parent" {
                    return self.after_parent(start);
                }
                match AttrScope::from_name(&word) {
                    Some(scope) => self.attribute(start, false, scope),
                    None => {
                        let pos = Pos { start, len: word.len() };
                        self.take_while(in_attribute);
                        let whole = self.text.get(start..self.at).unwrap_or_default();
                        Err(unknown_scope(pos, &word, whole))
                    }
                }
            }
            Some(':') => {
                self.at += 1;
                let name = self.take_while(word_part).to_owned();
                let spelling = format!("{word}:{name}");
                match Intrinsic::from_name(&spelling) {
                    Some(intrinsic) => Ok(TokenKind::Field(Field::Intrinsic { parent: false, intrinsic })),
                    None => Err(unknown_intrinsic(self.pos_from(start), &spelling)),
                }
            }
            _ => Ok(TokenKind::Word(word)),
        }
    }

    /// What stands behind `parent.`: an attribute with or without scope, or an intrinsic of the span.
    fn after_parent(&mut self, start: usize) -> Result<TokenKind, Error> {
        for scope in AttrScope::NAMED {
            let name = scope.name();
            if self.rest().starts_with(name) {
                match self.rest().as_bytes().get(name.len()) {
                    Some(b'.') => {
                        self.at += name.len() + 1;
                        return self.attribute(start, true, scope);
                    }
                    Some(b':') => {
                        let spelling = self.take_while(|c| word_part(c) || c == ':').to_owned();
                        return match Intrinsic::from_name(&spelling).filter(|intrinsic| intrinsic.of_span()) {
                            Some(intrinsic) => Ok(TokenKind::Field(Field::Intrinsic { parent: true, intrinsic })),
                            None => Err(unknown_intrinsic(self.pos_from(start), &spelling)),
                        };
                    }
                    _ => {}
                }
            }
        }
        let quoted = self.rest().starts_with('"');
        let token = self.attribute(start, true, AttrScope::Any)?;
        if !quoted
            && let TokenKind::Field(Field::Attr { attribute, .. }) = &token
            && let Some(intrinsic) = Intrinsic::from_name(&attribute.key).filter(|intrinsic| intrinsic.of_span())
        {
            return Ok(TokenKind::Field(Field::Intrinsic { parent: true, intrinsic }));
        }
        Ok(token)
    }

    /// An attribute name, parts of which may be quoted: `span.attribute."name with space"`.
    fn attribute(&mut self, start: usize, parent: bool, scope: AttrScope) -> Result<TokenKind, Error> {
        let mut key = String::new();
        while let Some(c) = self.peek() {
            if c == '"' {
                let quote = self.at;
                self.at += 1;
                loop {
                    let c = self.peek();
                    self.at += c.map_or(0, char::len_utf8);
                    match c {
                        Some('"') => break,
                        Some('\\') => match self.peek() {
                            Some(escaped @ ('"' | '\\')) => {
                                key.push(escaped);
                                self.at += 1;
                            }
                            _ => {
                                return Err(Error::new(
                                    Pos { start: self.at - 1, len: 1 },
                                    "only \\\" and \\\\ are escapes in a quoted attribute name",
                                ));
                            }
                        },
                        Some(c) => key.push(c),
                        None => {
                            return Err(Error::new(self.pos_from(quote), "this quoted attribute name has no end")
                                .hint("close it with \""));
                        }
                    }
                }
            } else if in_attribute(c) {
                key.push(c);
                self.at += c.len_utf8();
            } else {
                break;
            }
        }
        if key.is_empty() {
            return Err(Error::new(self.pos_from(start), "an attribute name is missing after the dot"));
        }
        Ok(TokenKind::Field(Field::Attr { parent, attribute: Attribute { scope, key } }))
    }

    /// `` `…` ``, taken as it stands.
    fn raw(&mut self) -> Result<String, Error> {
        let start = self.at;
        self.at += 1;
        let text = self.take_while(|c| c != '`').to_owned();
        if self.peek().is_none() {
            return Err(Error::new(self.pos_from(start), "this text has no end").hint("close it with `"));
        }
        self.at += 1;
        // As Go's raw strings, which Tempo uses: carriage returns are dropped.
        Ok(text.replace('\r', ""))
    }

    /// `"…"` with the escapes of Go's strings, which Tempo uses.
    fn quoted(&mut self) -> Result<String, Error> {
        let start = self.at;
        self.at += 1;
        let mut bytes = Vec::new();
        loop {
            let Some(c) = self.peek().filter(|c| *c != '\n') else {
                return Err(Error::new(self.pos_from(start), "this text has no end").hint("close it with \""));
            };
            self.at += c.len_utf8();
            match c {
                '"' => break,
                '\\' => self.escape(&mut bytes)?,
                c => bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
            }
        }
        String::from_utf8(bytes)
            .map_err(|_| Error::new(self.pos_from(start), "the escapes of this text do not give UTF-8"))
    }

    fn escape(&mut self, out: &mut Vec<u8>) -> Result<(), Error> {
        let start = self.at - 1;
        let bad = |end: usize| {
            Error::new(Pos { start, len: end - start }, "unknown escape")
                .hint("write \\\\ for a backslash, or put the text in `backticks`")
        };
        let Some(c) = self.peek() else { return Err(bad(self.at)) };
        self.at += c.len_utf8();
        let simple = match c {
            'a' => Some(7),
            'b' => Some(8),
            'f' => Some(12),
            'n' => Some(b'\n'),
            'r' => Some(b'\r'),
            't' => Some(b'\t'),
            'v' => Some(11),
            '\\' => Some(b'\\'),
            '"' => Some(b'"'),
            _ => None,
        };
        if let Some(byte) = simple {
            out.push(byte);
            return Ok(());
        }
        let (digits, radix, from) = match c {
            'x' => (2, 16, self.at),
            'u' => (4, 16, self.at),
            'U' => (8, 16, self.at),
            '0'..='7' => (3, 8, self.at - 1),
            _ => return Err(bad(self.at)),
        };
        let number = self
            .text
            .get(from..from + digits)
            .filter(|text| text.bytes().all(|byte| byte.is_ascii_alphanumeric()))
            .and_then(|text| u32::from_str_radix(text, radix).ok())
            .ok_or_else(|| bad(self.at))?;
        self.at = from + digits;
        if matches!(c, 'u' | 'U') {
            let c = char::from_u32(number).ok_or_else(|| bad(self.at))?;
            out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
        } else {
            out.push(u8::try_from(number).map_err(|_| bad(self.at))?);
        }
        Ok(())
    }

    /// `12`, `1.5`, `.99`, `1e9`, or a duration: numbers with units, one after the other (`1h30m`).
    fn number(&mut self) -> Result<TokenKind, Error> {
        let start = self.at;
        self.digits();
        let unit = unit_len(self.rest());
        if unit > 0 {
            return self.duration(start);
        }
        if self.rest().starts_with(['e', 'E']) {
            let mark = self.at;
            self.at += 1;
            if self.rest().starts_with(['+', '-']) {
                self.at += 1;
            }
            if self.take_while(|c| c.is_ascii_digit()).is_empty() {
                self.at = mark;
            }
        }
        let number = self.text.get(start..self.at).unwrap_or_default();
        if self.peek().is_some_and(word_part) {
            let pos = self.pos_from(start);
            let tail = self.take_while(word_part).to_owned();
            return Err(Error::new(pos.to(self.pos_from(start)), format!("{tail:?} is not a unit of time"))
                .hint("units are ns, us, ms, s, m, h, d, w and y"));
        }
        if number.contains(['.', 'e', 'E']) {
            match number.parse::<f64>() {
                Ok(value) if value.is_finite() => Ok(TokenKind::Float(value)),
                _ => Err(Error::new(self.pos_from(start), "this number is too large")),
            }
        } else {
            let value = number.parse::<i64>();
            value.map(TokenKind::Int).map_err(|_| {
                Error::new(self.pos_from(start), "this number is too large")
                    .hint("whole numbers have 64 bits with sign")
            })
        }
    }

    /// Digits with at most one point.
    fn digits(&mut self) {
        self.take_while(|c| c.is_ascii_digit());
        if self.rest().starts_with('.') && self.rest().as_bytes().get(1).is_some_and(u8::is_ascii_digit) {
            self.at += 1;
            self.take_while(|c| c.is_ascii_digit());
        }
    }

    fn duration(&mut self, start: usize) -> Result<TokenKind, Error> {
        self.at = start;
        let mut total = 0i128;
        loop {
            let number_start = self.at;
            self.digits();
            let number = self.text.get(number_start..self.at).unwrap_or_default().to_owned();
            let len = unit_len(self.rest());
            let unit = self.rest().get(..len).unwrap_or_default();
            let Some(unit_ns) = unit_ns(unit) else {
                self.take_while(word_part);
                return Err(Error::new(self.pos_from(start), "this duration ends in a number without unit")
                    .hint("units are ns, us, ms, s, m, h, d, w and y"));
            };
            self.at += len;
            total += nanoseconds(&number, unit_ns);
            if i64::try_from(total).is_err() {
                return Err(Error::new(self.pos_from(start), "this duration is longer than 292 years"));
            }
            if !self.peek().is_some_and(|c| c.is_ascii_digit() || c == '.') {
                break;
            }
        }
        if self.peek().is_some_and(word_part) {
            self.take_while(word_part);
            return Err(Error::new(self.pos_from(start), "this is not a duration")
                .hint("units are ns, us, ms, s, m, h, d, w and y"));
        }
        Ok(TokenKind::Duration(total as i64))
    }
}

/// Bytes of the unit of time at the start of a text; 0 if there is none.
fn unit_len(text: &str) -> usize {
    ["ns", "us", "µs", "μs", "ms", "s", "m", "h", "d", "w", "y"]
        .into_iter()
        .find(|unit| {
            text.strip_prefix(unit).is_some_and(|rest| !rest.starts_with(|c: char| c.is_alphabetic() || c == '_'))
        })
        .map_or(0, str::len)
}

/// Nanoseconds of a unit; days, weeks and years as Prometheus has them (24 h, 7 d, 365 d).
fn unit_ns(unit: &str) -> Option<i128> {
    const SECOND: i128 = 1_000_000_000;
    Some(match unit {
        "ns" => 1,
        "us" | "µs" | "μs" => 1_000,
        "ms" => 1_000_000,
        "s" => SECOND,
        "m" => 60 * SECOND,
        "h" => 3_600 * SECOND,
        "d" => 86_400 * SECOND,
        "w" => 7 * 86_400 * SECOND,
        "y" => 365 * 86_400 * SECOND,
        _ => return None,
    })
}

/// A decimal number of units, exactly, cut to whole nanoseconds; huge where it is out of any range.
fn nanoseconds(number: &str, unit_ns: i128) -> i128 {
    const OUT_OF_RANGE: i128 = i128::MAX / 4;
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let whole = if whole.is_empty() { Ok(0) } else { whole.parse::<u64>() };
    let Ok(whole) = whole else { return OUT_OF_RANGE };
    let mut total = i128::from(whole) * unit_ns;

    let mut rest = 0i128;
    // Sixteen digits of a year are far below a nanosecond.
    let mut divisor = 1i128;
    for digit in fraction.bytes().take(18) {
        rest = rest * 10 + i128::from(digit - b'0');
        divisor *= 10;
    }
    total += rest * unit_ns / divisor;

    total
}

fn unknown_scope(pos: Pos, word: &str, whole: &str) -> Error {
    let names = AttrScope::NAMED.map(AttrScope::name);
    let error = Error::new(pos, format!("unknown scope {word:?}"));
    match nearest(word, names) {
        Some(name) => error.hint(format!("did you mean {name}{}?", whole.get(word.len()..).unwrap_or_default())),
        None => error
            .hint(format!("attributes start with a scope: span.{whole} or resource.{whole}, or .{whole} for either")),
    }
}

pub(super) fn unknown_intrinsic(pos: Pos, spelling: &str) -> Error {
    let error = Error::new(pos, format!("unknown intrinsic {spelling:?}"));
    match nearest(spelling, super::field::INTRINSICS.iter().map(|(name, _)| *name)) {
        Some(name) => error.hint(format!("did you mean {name}?")),
        None => match spelling.split_once(':') {
            Some((scope, key)) if AttrScope::from_name(scope).is_some() => {
                error.hint(format!("for the attribute write {scope}.{key}"))
            }
            _ => error.hint(format!("attributes start with a scope: span.{spelling} or resource.{spelling}")),
        },
    }
}
