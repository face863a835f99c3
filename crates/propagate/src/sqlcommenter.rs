//! SQLCommenter: the context of a statement in a comment at its end, so that a database's log and its
//! slow query list lead to the trace (opentelemetry-sqlcommenter, "Specifications").
//!
//! ```text
//! SELECT 1 /*traceparent='00-4bf9…-01',tracestate='rojo%3D1'*/
//! ```
//!
//! A statement that has a comment already is left as it is: nobody can tell what that comment is for
//! (hints are comments too). Every statement becomes a text of its own, which costs databases that cache
//! plans by text; it is therefore the application's choice.

use std::borrow::Cow;
use std::collections::BTreeMap;

use crate::carrier::visit_values;
use crate::percent::{self, percent_decode};
use crate::{Extract, Inject};

/// Longest comment that is read.
const MAX_COMMENT_BYTES: usize = 16 << 10;

/// Key and value pairs of a comment, sorted by key as the specification wants. A carrier: formats are
/// injected into it and extracted from it.
///
/// ```
/// use tracewell_propagate::{Composite, SqlComment};
///
/// let read = SqlComment::parse("SELECT 1 /*traceparent='00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01'*/");
/// let found = Composite::default().extract(&read.unwrap_or_default());
/// assert!(found.context.is_some());
///
/// let mut comment = SqlComment::default().with("route", "/cart/{id}");
/// Composite::from_names("tracecontext").unwrap_or_default().inject(&found, &mut comment);
/// assert!(comment.append_to("SELECT 1").starts_with("SELECT 1 /*route='%2Fcart%2F%7Bid%7D',traceparent='00-"));
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SqlComment {
    pairs: BTreeMap<String, String>,
}

impl SqlComment {
    /// The comment with one more pair, such as `route`, `framework`, `db_driver`, `action`.
    #[must_use]
    pub fn with(mut self, key: &str, value: &str) -> Self {
        self.set_named(key, value);
        self
    }

    /// The pairs, sorted by key.
    pub fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        self.pairs.iter().map(|(key, value)| (key.as_str(), value.as_str()))
    }

    /// `sql` with the comment at its end, before a closing `;`. As it is where there is nothing to say,
    /// no statement, a comment already, or quotes that do not close.
    pub fn append_to<'a>(&self, sql: &'a str) -> Cow<'a, str> {
        let statement = sql.trim_end();
        let (statement, end) = match statement.strip_suffix(';') {
            Some(statement) => (statement.trim_end(), ";"),
            None => (statement, ""),
        };
        if self.pairs.is_empty() || statement.is_empty() || has_comment(sql) {
            return Cow::Borrowed(sql);
        }
        let mut text = String::with_capacity(statement.len() + 96 * self.pairs.len());
        text.push_str(statement);
        let mut separator = " /*";
        for (key, value) in &self.pairs {
            text.push_str(separator);
            separator = ",";
            // Nothing that is special to SQL is unreserved, so that no quote has to be escaped.
            percent::encode_into(&mut text, key, percent::is_unreserved);
            text.push_str("='");
            percent::encode_into(&mut text, value, percent::is_unreserved);
            text.push('\'');
        }
        text.push_str("*/");
        text.push_str(end);
        Cow::Owned(text)
    }

    /// The pairs of the comment at the end of a statement, or else at its beginning; `None` where there
    /// is none of this form.
    pub fn parse(sql: &str) -> Option<Self> {
        let sql = sql.trim_matches(|char: char| char.is_whitespace() || char == ';');
        let last = sql.strip_suffix("*/").and_then(|sql| sql.rsplit_once("/*")).map(|(_, comment)| comment);
        let first = sql.strip_prefix("/*").and_then(|sql| sql.split_once("*/")).map(|(comment, _)| comment);
        last.and_then(Self::parse_pairs).or_else(|| first.and_then(Self::parse_pairs))
    }

    fn parse_pairs(comment: &str) -> Option<Self> {
        let mut comment = Some(comment).filter(|comment| comment.len() <= MAX_COMMENT_BYTES)?.trim();
        let mut pairs = BTreeMap::new();
        loop {
            let (key, rest) = comment.split_once("='")?;
            let end = closing_quote(rest)?;
            let value = rest.get(..end)?.replace("\\'", "'");
            pairs.insert(percent_decode(key.trim()).into_owned(), percent_decode(&value).into_owned());
            comment = rest.get(end + 1..)?.trim_start();
            match comment.strip_prefix(',') {
                Some(rest) => comment = rest,
                None if comment.is_empty() => return Some(Self { pairs }),
                None => return None,
            }
        }
    }
}

/// Where the quote is that no `\` precedes.
fn closing_quote(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    (0..bytes.len()).find(|at| bytes[*at] == b'\'' && (*at == 0 || bytes[at - 1] != b'\\'))
}

impl Extract for SqlComment {
    fn values(&self, name: &str, visit: &mut dyn FnMut(&str)) {
        visit_values(self.pairs(), name, visit);
    }
}

impl Inject for SqlComment {
    fn set(&mut self, name: &'static str, value: &str) {
        self.set_named(name, value);
    }

    fn set_named(&mut self, name: &str, value: &str) {
        self.pairs.insert(name.to_owned(), value.to_owned());
    }
}

/// True where a comment may be. In doubt it says so: whether `\` escapes a quote depends on the database
/// and its settings, so both readings must find none.
fn has_comment(sql: &str) -> bool {
    scan(sql.as_bytes(), false) || sql.contains('\\') && scan(sql.as_bytes(), true)
}

fn scan(sql: &[u8], backslash_escapes: bool) -> bool {
    let mut at = 0;
    while let Some(byte) = sql.get(at) {
        let next = sql.get(at + 1);
        at = match byte {
            b'-' if next == Some(&b'-') => return true,
            b'/' if next == Some(&b'*') => return true,
            // MySQL's comment; PostgreSQL's operators #>, #>>, #- are none.
            b'#' if !matches!(next, Some(b'>' | b'-')) => return true,
            b'\'' | b'"' | b'`' => match after_quote(sql, at, backslash_escapes) {
                Some(after) => after,
                None => return true,
            },
            b'$' => match after_dollar_quote(sql, at) {
                Some(after) => after,
                None => return true,
            },
            _ => at + 1,
        };
    }
    false
}

/// The place behind a quoted text; a doubled quote is seen as the end and a new beginning.
fn after_quote(sql: &[u8], start: usize, backslash_escapes: bool) -> Option<usize> {
    let quote = *sql.get(start)?;
    let mut at = start + 1;
    loop {
        match *sql.get(at)? {
            b'\\' if backslash_escapes && quote != b'`' => at += 2,
            byte if byte == quote => return Some(at + 1),
            _ => at += 1,
        }
    }
}

/// PostgreSQL's `$tag$ … $tag$`; a `$` that opens none, such as that of `$1`, stands for itself.
fn after_dollar_quote(sql: &[u8], start: usize) -> Option<usize> {
    let rest = &sql[start + 1..];
    let tag = rest.iter().take_while(|byte| byte.is_ascii_alphanumeric() || **byte == b'_').count();
    if rest.get(tag) != Some(&b'$') || rest.first().is_some_and(u8::is_ascii_digit) {
        return Some(start + 1);
    }
    let delimiter = &sql[start..start + tag + 2];
    let body = &sql[start + delimiter.len()..];
    let end = body.windows(delimiter.len()).position(|window| window == delimiter)?;
    Some(start + delimiter.len() + end + delimiter.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn pairs_are_sorted_and_encoded() {
        let comment = SqlComment::default().with("tracestate", "congo=t61,rojo=00f").with("route", "/param first's */");
        let expected = "SELECT 1 /*route='%2Fparam%20first%27s%20%2A%2F',tracestate='congo%3Dt61%2Crojo%3D00f'*/";
        assert_eq!(comment.append_to("SELECT 1"), expected);
        assert_eq!(comment.append_to("SELECT 1 ; "), format!("{expected};"));
        assert_eq!(SqlComment::parse(expected), Some(comment));
    }

    #[test]
    fn a_statement_with_a_comment_is_left_alone() {
        let comment = SqlComment::default().with("a", "1");
        let left = [
            "",
            " ; ",
            "SELECT 1 -- one",
            "SELECT /*+ INDEX(t i) */ 1",
            "SELECT 1 # mysql",
            "SELECT 'it''s' /* x */",
            "SELECT 'open",
            "SELECT $f$ never closed",
            // A comment if `\` does not escape, part of the text if it does.
            r"SELECT 'a\' -- b'",
        ];
        for sql in left {
            assert_eq!(comment.append_to(sql), sql);
        }
        let commented = [
            "SELECT '-- no comment', '/* nor this */'",
            "SELECT \"a--b\", `c#d`",
            "SELECT 'it''s -- one'",
            "SELECT $1, $2::text, data #> '{a}'",
            "DO $body$ -- inside $body$",
            r"SELECT 'C:\\dir'",
        ];
        for sql in commented {
            assert_eq!(comment.append_to(sql), format!("{sql} /*a='1'*/"));
        }
    }

    #[test]
    fn comments_of_other_writers_are_read() {
        let pairs = |sql: &str| {
            SqlComment::parse(sql)
                .map(|found| found.pairs().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(" "))
        };
        let cases = [
            (
                r"SELECT 1 /*name='DROP%20TABLE%20FOO\'',action='%2Fparam*d'*/;",
                Some("action=/param*d name=DROP TABLE FOO'"),
            ),
            ("/* a='1' , b='2' */ SELECT 1", Some("a=1 b=2")),
            ("SELECT 1 /* a comment */", None),
            ("SELECT 1 /*a='1' b='2'*/", None),
            ("SELECT 1", None),
        ];
        for (sql, expected) in cases {
            assert_eq!(pairs(sql).as_deref(), expected, "{sql}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_again(pairs in prop::collection::btree_map("\\PC{1,8}", "\\PC{0,20}", 1..5)) {
            let comment = SqlComment { pairs };
            let sql = comment.append_to("SELECT * FROM t WHERE a = 'b'").into_owned();
            prop_assert_eq!(SqlComment::parse(&sql), Some(comment.clone()));
            prop_assert_eq!(comment.append_to(&sql), sql.as_str(), "a second comment");
        }

        #[test]
        fn no_text_makes_it_panic(sql in "[-#$/*'\"`\\\\;a=, é]{0,40}") {
            let commented = SqlComment::default().with("a", "1").append_to(&sql).into_owned();
            let _ = SqlComment::parse(&sql);
            let expected = SqlComment::default().with("a", "1");
            prop_assert!(commented == sql || SqlComment::parse(&commented) == Some(expected));
        }
    }
}
