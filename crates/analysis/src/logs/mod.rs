//! Log templates: the place in the code that wrote a record, told from the record's text.
//!
//! It is: the part of a message that does not vary from record to record, so that records can be counted by who wrote
//! them. It is not: a store of messages, nor a learner; the same text has the same site everywhere, at once, without
//! having seen others.
//!
//! ```text
//! 16:49:25.049 INFO  o.c.OrderController#39 TraceID: f1c3dd7a… [pay][Pay][PaymentId: null, user: "bo"]
//!   *          INFO  o.c.OrderController#39 TraceID: *         [pay][Pay][PaymentId: *, user: *]
//! ```
//!
//! **Input**: the text of a record. **Algorithm**: one pass over the first line (a stack trace follows on others) with
//! the masks that log parsers apply before they cluster (He et al., *Drain: an online log parsing approach with fixed
//! depth tree*, ICWS 2017; Zhu et al., *Tools and benchmarks for automated log parsing*, ICSE-SEIP 2019): numbers, times,
//! hexadecimal and universally unique ids, quoted text, addresses, values behind `=`, and, within brackets, values behind
//! a colon and lists. Where such parsers then build a tree of what they have seen, this stops: code locations
//! (`OrderController#39`, `cart.go:117`) are kept as they are, and tell sites apart better than any tree. **Output**: the
//! template, at most [`SITE_CHARACTERS_MAX`] characters, variable parts as `*`. **Edge cases**: an empty text has an
//! empty site; brackets and quotes that are never closed (a message that was cut) run to the end; names that vary without
//! any of these marks (`user bo logged in`) stay, and make a site each. **Cost**: linear in the characters looked at, of
//! which there are at most [`READ_BYTES_MAX`].

mod words;

pub use words::severity;

/// The longest site, in characters.
pub const SITE_CHARACTERS_MAX: usize = 160;

/// How much of a text is looked at.
pub const READ_BYTES_MAX: usize = 1_024;

/// The part of a log record's text that does not vary: the record's site.
///
/// ```
/// use tracewell_analysis::logs::site;
///
/// assert_eq!(site("took 31 ms for order 9f2c44d1a0b3"), "took * ms for order *");
/// assert_eq!(site("cart.go:117 user=bo [items: 3, 4]"), "cart.go:117 user=* [items: *]");
/// ```
pub fn site(text: &str) -> String {
    let line = text.trim_start().lines().next().unwrap_or_default();
    let mut end = line.len().min(READ_BYTES_MAX);
    while !line.is_char_boundary(end) {
        end -= 1;
    }
    let mut masker = Masker { rest: &line[..end], out: String::with_capacity(SITE_CHARACTERS_MAX), depth: 0 };
    while !masker.rest.is_empty() && masker.out.len() < SITE_CHARACTERS_MAX {
        masker.step();
    }
    let mut out = masker.out;
    let length = out.char_indices().nth(SITE_CHARACTERS_MAX).map_or(out.len(), |(at, _)| at);
    out.truncate(length);
    out.truncate(out.trim_end().len());
    out
}

/// Reads a line from its front, writes its template.
struct Masker<'a> {
    rest: &'a str,
    out: String,
    /// How many brackets are open.
    depth: usize,
}

impl Masker<'_> {
    /// Takes one quoted text, bracket, sign or word.
    fn step(&mut self) {
        let Some(first) = self.rest.chars().next() else { return };
        match first {
            '"' | '`' => self.quoted(first),
            '\'' if !self.out.ends_with(char::is_alphanumeric) => self.quoted(first),
            '[' | '(' | '{' | '<' => {
                self.depth += 1;
                self.sign(first);
                if is_list(self.rest) {
                    self.skip_value();
                }
            }
            ']' | ')' | '}' | '>' => {
                self.depth = self.depth.saturating_sub(1);
                self.sign(first);
            }
            '=' => {
                self.sign(first);
                self.skip_value();
            }
            ':' if self.depth > 0 => {
                self.sign(first);
                if self.rest.starts_with(' ') {
                    self.sign(' ');
                }
                self.skip_value();
            }
            first if words::is_word(first) => {
                let end = self.rest.find(|character| !words::is_word(character)).unwrap_or(self.rest.len());
                let end = words::with_location(self.rest, end);
                let (word, rest) = self.rest.split_at(end);
                self.rest = rest;
                words::mask(word, &mut self.out);
            }
            first => self.sign(first),
        }
    }

    /// Copies one character; white space once.
    fn sign(&mut self, sign: char) {
        self.rest = &self.rest[sign.len_utf8()..];
        if sign.is_whitespace() {
            if !self.out.is_empty() && !self.out.ends_with(' ') {
                self.out.push(' ');
            }
        } else if sign == '-' || sign == '.' || sign == ':' || sign == '/' || sign == ',' {
            // Between two masked parts, signs are part of one varying value: a date, a time, an address.
            let next = self.rest.chars().next();
            if !(self.out.ends_with('*') && next.is_some_and(|next| next.is_ascii_digit())) {
                self.out.push(sign);
            }
        } else {
            self.out.push(sign);
        }
    }

    fn quoted(&mut self, quote: char) {
        let inside = &self.rest[quote.len_utf8()..];
        self.rest = inside.find(quote).map_or("", |end| &inside[end + quote.len_utf8()..]);
        words::star(&mut self.out);
    }

    /// Leaves out a value: up to a comma or the end of the bracket where it began, or to white space outside brackets.
    fn skip_value(&mut self) {
        let mut depth = 0_usize;
        let mut quote = None;
        for (at, character) in self.rest.char_indices() {
            let ends = match (quote, character) {
                (Some(open), close) => {
                    if open == close {
                        quote = None;
                    }
                    false
                }
                (None, '"') => {
                    quote = Some('"');
                    false
                }
                (None, '[' | '(' | '{') => {
                    depth += 1;
                    false
                }
                (None, ']' | ')' | '}') if depth == 0 => true,
                (None, ']' | ')' | '}') => {
                    depth -= 1;
                    false
                }
                (None, ',' | ';') => depth == 0 && self.depth == 0,
                (None, other) => depth == 0 && self.depth == 0 && other.is_whitespace(),
            };
            if ends {
                if at > 0 {
                    words::star(&mut self.out);
                }
                self.rest = &self.rest[at..];
                return;
            }
        }
        if !self.rest.is_empty() {
            words::star(&mut self.out);
        }
        self.rest = "";
    }
}

/// True when what follows an opening bracket is a list of values: it holds a comma before its end.
fn is_list(rest: &str) -> bool {
    let inside = rest.split([']', ')', '}', '>', '[', '(', '{', ':', '=']).next().unwrap_or_default();
    inside.len() < rest.len() && inside.contains(',')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_varies_is_masked_and_what_tells_sites_apart_is_kept() {
        let cases = [
            ("", ""),
            ("started", "started"),
            ("took 31 ms", "took * ms"),
            ("2023-01-29 16:49:25.049 INFO ready", "* INFO ready"),
            ("16:49:25.049 INFO  o.c.OrderController#39 start", "* INFO o.c.OrderController#39 start"),
            ("TraceID: f1c3dd7a644ef185a57e6a1023b6a91d done", "TraceID: * done"),
            ("order 8fef43f8-31cb-40d4-ac06-2b90108fe1b6 paid", "order * paid"),
            ("user \"bo\" isn't known", "user * isn't known"),
            ("[pay][Pay][PaymentId: null]", "[pay][Pay][PaymentId: *]"),
            ("[stations: [shanghai, suzhou] distances: [1, 2]]", "[stations: *]"),
            ("got Config(name=Direct, value=0.5) back", "got Config(name=*) back"),
            ("cart.go:117 level=warn msg=hello", "cart.go:117 level=* msg=*"),
            ("GET /api/v1/users/42 HTTP/1.1 from 10.0.0.7:5123", "GET /api/v*/users/* HTTP/* from *"),
            ("boom\n  at a.b.C(C.java:3)", "boom"),
            ("never closed [list: a, b", "never closed [list: *"),
            ("café 3 ☕", "café * ☕"),
        ];
        for (text, expected) in cases {
            assert_eq!(site(text), expected, "{text}");
        }
    }

    #[test]
    fn a_site_is_bounded() {
        assert!(site(&"word ".repeat(10_000)).chars().count() <= SITE_CHARACTERS_MAX);
        assert!(site(&"é".repeat(10_000)).chars().count() <= SITE_CHARACTERS_MAX);
        assert!(site(&"[".repeat(10_000)).chars().count() <= SITE_CHARACTERS_MAX);
    }
}
