//! `db.query.text`: the statement without its values (OpenTelemetry semantic conventions 1.44, database
//! spans, "Sanitization of `db.query.text`").

use super::dialect::{Dialect, DoubleQuotes};
use super::lex::{Kind, Lexer, Token};

/// Longest `db.query.text`, in bytes.
pub const QUERY_TEXT_BYTES_MAX: usize = 16 << 10;

/// Of a statement no more than this is read, in bytes.
pub(super) const STATEMENT_BYTES_MAX: usize = 64 << 10;

/// Stands at the end of a text that was cut.
const CUT: &str = "…";

/// The longest prefix of at most `bytes_max` bytes that ends between characters.
pub(super) fn prefix(text: &str, bytes_max: usize) -> &str {
    text.get(..text.floor_char_boundary(bytes_max)).unwrap_or(text)
}

/// A text that is kept as it is, but for its length.
pub(super) fn bounded(text: &str) -> String {
    let mut kept = prefix(text, QUERY_TEXT_BYTES_MAX).to_owned();
    if kept.len() < text.len() {
        kept.push_str(CUT);
    }
    kept
}

/// The statement with `?` for each literal: numbers with their sign, strings in every notation of the
/// dialect, hexadecimal and binary values, truth values, and passwords that need no quotes
/// (`IDENTIFIED BY secret`). Comments are left out, and a list of values behind `IN` becomes `(?)`.
/// Everything else, white space included, stays as it is, so that two statements that differ only in
/// their values have the same text (and lists of `IN` may differ in length).
///
/// What does not end, such as a string without its second quote, counts as a literal. The result is no
/// longer than [`QUERY_TEXT_BYTES_MAX`] and a `…` where the statement was longer.
///
/// ```
/// use tracewell_sdk::db::{Dialect, obfuscate};
///
/// let text = "SELECT * FROM users WHERE name = 'O''Brien' AND id IN (1, 2, 3) -- nightly";
/// assert_eq!(obfuscate(text, Dialect::of("postgresql")), "SELECT * FROM users WHERE name = ? AND id IN (?) ");
/// ```
pub fn obfuscate(statement: &str, dialect: Dialect) -> String {
    let read = prefix(statement, STATEMENT_BYTES_MAX);
    let mut state = State::default();
    let mut out = String::with_capacity(read.len().min(QUERY_TEXT_BYTES_MAX));
    let mut tokens = Lexer::new(read, dialect);
    let mut comment = false;
    while let Some(token) = tokens.next() {
        if token.kind == Kind::Comment {
            comment = true;
            continue;
        }
        let text = if state.is_literal(&token, &tokens, dialect) { "?" } else { token.text };
        if out.len() + text.len() > QUERY_TEXT_BYTES_MAX {
            out.push_str(CUT);
            return out;
        }
        // Two pieces that only a comment kept apart.
        let joins = |byte: Option<&u8>| byte.is_some_and(|byte| !byte.is_ascii_whitespace());
        if comment && joins(out.as_bytes().last()) && joins(text.as_bytes().first()) {
            out.push(' ');
        }
        comment = false;
        out.push_str(text);
        if token.is_mark("(")
            && state.after_in
            && let Some(behind) = behind_values(&tokens, dialect)
        {
            out.push('?');
            tokens = behind;
        }
        state.follow(&token);
    }
    if read.len() < statement.len() {
        out.push_str(CUT);
    }
    out
}

/// What came before, as far as it decides whether a token is a value.
#[derive(Default)]
struct State {
    /// The last token was `IN`.
    after_in: bool,
    /// The last token compares with what follows.
    after_comparison: bool,
    /// The last token was a dot.
    after_dot: bool,
    /// Within the rows of `VALUES`.
    in_values: bool,
    /// The statement has said `IDENTIFIED`.
    identified: bool,
    /// The statement is one that defines a user.
    defines_user: bool,
    /// The next token is a password.
    password_next: bool,
    /// Number of words and names of this statement, up to three.
    words: u8,
}

impl State {
    fn is_literal(&self, token: &Token<'_>, rest: &Lexer<'_>, dialect: Dialect) -> bool {
        match token.kind {
            Kind::Text | Kind::Number => true,
            Kind::Word | Kind::Quoted if self.password_next => true,
            Kind::Quoted => token.open,
            Kind::DoubleQuoted => {
                let qualified = self.after_dot || rest.clone().next().is_some_and(|next| next.is_mark("."));
                token.open
                    || self.password_next
                    || dialect.double_quotes == DoubleQuotes::Text
                    || (!qualified && (self.after_comparison || self.in_values))
            }
            Kind::Word => {
                let truth = token.is("true") || token.is("false");
                truth && !self.after_dot && !rest.clone().next().is_some_and(|next| next.is_mark("."))
            }
            _ => false,
        }
    }

    fn follow(&mut self, token: &Token<'_>) {
        if token.kind == Kind::Space {
            return;
        }
        self.after_in = token.is("in");
        self.after_dot = token.is_mark(".");
        self.after_comparison = match token.kind {
            Kind::Punctuation => matches!(token.text, "=" | "<" | ">" | "~"),
            Kind::Word => ["like", "ilike", "glob", "regexp", "match"].iter().any(|word| token.is(word)),
            _ => false,
        };
        let was_password_next = std::mem::take(&mut self.password_next);
        if token.is_mark(";") {
            *self = Self::default();
        }
        if was_password_next || token.kind != Kind::Word {
            // `PASSWORD = secret`
            self.password_next = was_password_next && token.is_mark("=");
            // The name of the user.
            self.words += u8::from(self.words == 2 && token.kind != Kind::Punctuation);
            return;
        }
        match self.words {
            0 => self.defines_user = token.is("create") || token.is("alter"),
            1 => self.defines_user &= ["user", "role", "login", "group"].iter().any(|word| token.is(word)),
            2 if self.defines_user => {}
            _ => {
                self.password_next = (self.defines_user && token.is("password"))
                    || (self.identified && (token.is("by") || token.is("replace")));
            }
        }
        self.words = (self.words + 1).min(3);
        self.identified |= token.is("identified");
        if token.is("values") || token.is("value") {
            self.in_values = true;
        } else if self.in_values
            && ["on", "returning", "select", "from", "as", "where"].iter().any(|word| token.is(word))
        {
            self.in_values = false;
        }
    }
}

/// If nothing but values and placeholders follows up to `)`, what comes from there on.
fn behind_values<'a>(list: &Lexer<'a>, dialect: Dialect) -> Option<Lexer<'a>> {
    let mut ahead = list.clone();
    let mut values = 0usize;
    loop {
        let here = ahead.clone();
        let token = ahead.next()?;
        match token.kind {
            Kind::Space | Kind::Comment => {}
            Kind::Text | Kind::Number | Kind::Parameter => values += 1,
            Kind::DoubleQuoted if dialect.double_quotes != DoubleQuotes::Name => values += 1,
            Kind::Word if ["null", "true", "false"].iter().any(|word| token.is(word)) => values += 1,
            Kind::Punctuation if token.text == "," => {}
            Kind::Punctuation if token.text == ")" && values > 0 => return Some(here),
            _ => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(system: &str, cases: &[(&str, &str)]) {
        for (statement, expected) in cases {
            assert_eq!(obfuscate(statement, Dialect::of(system)), *expected, "{system}: {statement}");
        }
    }

    #[test]
    fn literals_of_every_notation_are_replaced() {
        check(
            "postgresql",
            &[
                ("SELECT E'it\\'s', U&'d\\0061t', B'101', X'1F', N'n'", "SELECT ?, ?, ?, ?, ?"),
                ("SELECT $$a 'b' $1$$, $tag$ $$ $tag$, $1", "SELECT ?, ?, $1"),
                ("SELECT 'C:\\', secret", "SELECT ?, secret"),
                ("SELECT DATE '2024-01-01', INTERVAL '1 day', TRUE", "SELECT DATE ?, INTERVAL ?, ?"),
                ("SELECT \"a \"\"b\"\"\" FROM \"T 1\"", "SELECT \"a \"\"b\"\"\" FROM \"T 1\""),
                ("SELECT a[1], '{1,2}'::int[] /* x /* y */ z */ FROM t", "SELECT a[?], ?::int[]  FROM t"),
                ("SELECT 1_000, 0b11, 0o17, 1.5e3, 5., .5", "SELECT ?, ?, ?, ?, ?, ?"),
                ("SELECT doc->>'name' FROM d WHERE doc @> '{\"a\": 1}'", "SELECT doc->>? FROM d WHERE doc @> ?"),
                ("UPDATE t SET seat=seat-1, n = n - 2, b = -3", "UPDATE t SET seat=seat-?, n = n - ?, b = ?"),
            ],
        );
        check(
            "mysql",
            &[
                ("SELECT \"it's\", 'it\\'s', `a``b` FROM t # tail", "SELECT ?, ?, `a``b` FROM t "),
                ("SELECT 5--3, 1 -- rest", "SELECT ?-?, ? "),
                ("SELECT _utf8mb4'x', 0xCAFE, x'00'", "SELECT _utf8mb4?, ?, ?"),
                ("SELECT /*+ MAX_EXECUTION_TIME(1000) */ a", "SELECT  a"),
            ],
        );
        check(
            "sqlite",
            &[
                ("SELECT [a b], \"c\" FROM t WHERE name = \"secret\"", "SELECT [a b], \"c\" FROM t WHERE name = ?"),
                (
                    "INSERT INTO t(\"a\") VALUES (\"x\", ?1, :b, @c, $d)",
                    "INSERT INTO t(\"a\") VALUES (?, ?1, :b, @c, $d)",
                ),
                (
                    "SELECT 1 FROM \"a\" JOIN \"b\" ON \"a\".\"x\" = \"b\".\"x\"",
                    "SELECT ? FROM \"a\" JOIN \"b\" ON \"a\".\"x\" = \"b\".\"x\"",
                ),
            ],
        );
        check(
            "microsoft.sql_server",
            &[(
                "SELECT [Order Details].[Id] FROM [Order Details] WHERE n = N'x'",
                "SELECT [Order Details].[Id] FROM [Order Details] WHERE n = ?",
            )],
        );
        check("oracle.db", &[("SELECT q'[it's]', nq'!a'b!' FROM dual", "SELECT ?, ? FROM dual")]);
    }

    #[test]
    fn lists_of_values_behind_in_become_one() {
        check(
            "postgresql",
            &[
                (
                    "SELECT a FROM t WHERE b IN (1, 'x', $3 /* c */) AND c in(4)",
                    "SELECT a FROM t WHERE b IN (?) AND c in(?)",
                ),
                ("WHERE a IN (SELECT 1)", "WHERE a IN (SELECT ?)"),
                ("WHERE a IN (b, 1)", "WHERE a IN (b, ?)"),
                ("WHERE (a, b) IN ((1, 2), (3, 4))", "WHERE (a, b) IN ((?, ?), (?, ?))"),
                ("WHERE a IN (", "WHERE a IN ("),
                ("WHERE a IN ()", "WHERE a IN ()"),
            ],
        );
    }

    #[test]
    fn passwords_need_no_quotes_to_be_hidden() {
        check(
            "other_sql",
            &[
                ("CREATE USER a IDENTIFIED BY Pa55", "CREATE USER a IDENTIFIED BY ?"),
                ("ALTER USER a IDENTIFIED BY \"x\" REPLACE y", "ALTER USER a IDENTIFIED BY ? REPLACE ?"),
                ("CREATE USER password PASSWORD Pa55", "CREATE USER password PASSWORD ?"),
                ("ALTER LOGIN a WITH PASSWORD = Pa55", "ALTER LOGIN a WITH PASSWORD = ?"),
                ("CREATE USER 'a' PASSWORD Pa55", "CREATE USER ? PASSWORD ?"),
                ("SELECT password FROM users", "SELECT password FROM users"),
            ],
        );
    }

    #[test]
    fn words_stay_apart_without_their_comment() {
        check(
            "mysql",
            &[("SELECT/**/a/**/FROM t", "SELECT a FROM t"), ("SELECT a/**/, 1/**/2 -/**/- 3", "SELECT a , ? ? - - ?")],
        );
    }

    #[test]
    fn what_does_not_end_is_a_literal() {
        check(
            "postgresql",
            &[
                ("SELECT 'secret", "SELECT ?"),
                ("SELECT \"a WHERE b = 'secret'", "SELECT ?"),
                ("SELECT $x$secret$y$", "SELECT ?"),
                ("SELECT 1 /* secret", "SELECT ? "),
                ("SELECT `secret", "SELECT ?"),
            ],
        );
    }

    #[test]
    fn long_statements_are_cut() {
        let long = format!("SELECT {}1", "a, ".repeat(100_000));
        let text = obfuscate(&long, Dialect::of("mysql"));
        assert!(text.len() <= QUERY_TEXT_BYTES_MAX + CUT.len() && text.ends_with(CUT), "{}", text.len());
        let list = format!("SELECT * FROM t WHERE id IN ({}2)", "1, ".repeat(20_000));
        assert_eq!(obfuscate(&list, Dialect::of("mysql")), "SELECT * FROM t WHERE id IN (?)");
        let value = format!("INSERT INTO t VALUES ('{}')", "x".repeat(200_000));
        assert_eq!(obfuscate(&value, Dialect::of("mysql")), "INSERT INTO t VALUES (?…");
    }
}
