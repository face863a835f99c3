//! `db.query.summary`: what a statement does to what (OpenTelemetry semantic conventions 1.44, database
//! spans, "Generating a summary of the query").
//!
//! No parser of a dialect: a walk over the tokens that knows which words begin an operation and behind
//! which words a target stands. Parentheses have a frame of their own, so that `EXTRACT(YEAR FROM t)` names
//! no table and a sub-query does.

use super::dialect::Dialect;
use super::lex::{Kind, Lexer, Token};
use super::obfuscate::{STATEMENT_BYTES_MAX, prefix};
use super::words::{self, Operation, Rule};

/// Longest `db.query.summary`, in characters.
pub const QUERY_SUMMARY_CHARS_MAX: usize = 255;

/// Parentheses that are followed; deeper ones are skipped.
const DEPTH_MAX: usize = 64;

/// Names of common table expressions that are remembered.
const CTES_MAX: usize = 64;

/// Operations and targets in the order of the statement, such as `INSERT shipping_details SELECT orders`;
/// `None` where no operation is found. Words are kept as they are written; several statements are
/// separated by `;`. Names of common table expressions are no targets, tables in sub-queries are.
///
/// Cut before the first operation or target that does not fit into [`QUERY_SUMMARY_CHARS_MAX`].
///
/// ```
/// use tracewell_sdk::db::{Dialect, summarize};
///
/// let text = "SELECT * FROM songs JOIN artists USING (artist_id) WHERE id = ?";
/// assert_eq!(summarize(text, Dialect::of("postgresql")).as_deref(), Some("SELECT songs artists"));
/// ```
pub fn summarize(statement: &str, dialect: Dialect) -> Option<String> {
    let mut walk = Walk::new(prefix(statement, STATEMENT_BYTES_MAX), dialect);
    while walk.step() {}
    (!walk.out.is_empty()).then_some(walk.out)
}

/// What the next word or name means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Expect {
    /// The word that begins a statement.
    Operation,
    /// A target.
    Target,
    /// What is deleted from, unless `FROM` follows.
    Deleted,
    /// The kind of object that is created, changed or dropped.
    Object,
    /// The name of a common table expression.
    Cte,
    /// Nothing of interest.
    Nothing,
}

/// One level of parentheses.
#[derive(Debug, Clone, Copy)]
struct Frame {
    expect: Expect,
    rule: Rule,
    /// A comma brings the next target.
    list: bool,
    /// Between `WITH` and the statement that follows.
    with: bool,
}

impl Frame {
    const NOTHING: Frame = Frame { expect: Expect::Nothing, rule: Rule::Ignore, list: false, with: false };
    const STATEMENT: Frame = Frame { expect: Expect::Operation, ..Frame::NOTHING };
}

struct Walk<'a> {
    text: &'a str,
    tokens: Lexer<'a>,
    frame: Frame,
    outer: Vec<Frame>,
    /// Parentheses beyond [`DEPTH_MAX`].
    deeper: usize,
    ctes: Vec<&'a str>,
    last: Option<Token<'a>>,
    out: String,
    chars: usize,
    /// A statement has ended; the next operation begins another.
    ended: bool,
    full: bool,
}

impl<'a> Walk<'a> {
    fn new(text: &'a str, dialect: Dialect) -> Self {
        Self {
            text,
            tokens: Lexer::new(text, dialect),
            frame: Frame::STATEMENT,
            outer: Vec::new(),
            deeper: 0,
            ctes: Vec::new(),
            last: None,
            out: String::new(),
            chars: 0,
            ended: false,
            full: false,
        }
    }

    /// The next token that means something.
    fn next(&mut self) -> Option<Token<'a>> {
        self.tokens.find(|token| !matches!(token.kind, Kind::Space | Kind::Comment))
    }

    fn peek(&self) -> Option<Token<'a>> {
        self.tokens.clone().find(|token| !matches!(token.kind, Kind::Space | Kind::Comment))
    }

    fn last_is(&self, word: &str) -> bool {
        self.last.is_some_and(|last| last.is(word))
    }

    /// Adds an operation or a target.
    fn push(&mut self, piece: &str) {
        let between = if self.out.is_empty() {
            ""
        } else if self.ended {
            "; "
        } else {
            " "
        };
        let chars = between.len() + piece.chars().count();
        self.full |= self.chars + chars > QUERY_SUMMARY_CHARS_MAX;
        if !self.full {
            self.out.push_str(between);
            self.out.push_str(piece);
            self.chars += chars;
        }
        self.ended = false;
    }

    /// Takes one token; false at the end.
    fn step(&mut self) -> bool {
        let start = self.tokens.position();
        let Some(token) = self.next() else { return false };
        debug_assert!(self.tokens.position() > start, "the lexer moves on");
        match token.kind {
            Kind::Punctuation => self.mark(&token),
            Kind::Word | Kind::Quoted | Kind::DoubleQuoted | Kind::Text if self.deeper == 0 => self.word(&token),
            Kind::Parameter | Kind::Number if self.frame.expect == Expect::Target && self.frame.rule != Rule::Call => {
                self.frame.expect = Expect::Nothing;
            }
            _ => {}
        }
        self.last = Some(token);
        !self.full
    }

    fn mark(&mut self, token: &Token<'a>) {
        match token.text {
            "(" if self.deeper > 0 || self.outer.len() >= DEPTH_MAX => self.deeper += 1,
            "(" => {
                let inner = self.inner();
                self.outer.push(self.frame);
                if self.frame.rule != Rule::Prefix
                    && matches!(self.frame.expect, Expect::Target | Expect::Operation | Expect::Deleted)
                    && let Some(outer) = self.outer.last_mut()
                {
                    outer.expect = Expect::Nothing;
                }
                self.frame = inner;
            }
            ")" if self.deeper > 0 => self.deeper -= 1,
            ")" => {
                if let Some(outer) = self.outer.pop() {
                    self.frame = outer;
                }
            }
            ";" => {
                self.frame = Frame::STATEMENT;
                self.outer.clear();
                self.ctes.clear();
                self.deeper = 0;
                self.ended = true;
            }
            "," if self.frame.with => self.frame.expect = Expect::Cte,
            "," if self.frame.list => self.frame.expect = Expect::Target,
            _ => {}
        }
    }

    /// The frame of a parenthesis that opens now.
    fn inner(&self) -> Frame {
        let body_of_cte = self.frame.with && (self.last_is("as") || self.last_is("materialized"));
        match self.frame.expect {
            // The options of `EXPLAIN`.
            Expect::Operation if self.frame.rule == Rule::Prefix => Frame::NOTHING,
            Expect::Operation => Frame::STATEMENT,
            _ if body_of_cte => Frame::STATEMENT,
            // A table or a join in parentheses; a sub-query begins with a word that is seen there.
            Expect::Target if self.frame.rule == Rule::Read => Frame { with: false, ..self.frame },
            _ => Frame::NOTHING,
        }
    }

    fn word(&mut self, token: &Token<'a>) {
        let keyword = token.kind == Kind::Word && !self.last.is_some_and(|last| last.is_mark("."));
        if keyword && self.always(token) {
            return;
        }
        match self.frame.expect {
            Expect::Operation if keyword => self.operation(token),
            Expect::Object if keyword => self.object(token),
            Expect::Cte => self.cte(token),
            Expect::Target | Expect::Deleted => self.target(token),
            _ if keyword => self.clause(token),
            _ => {}
        }
    }

    /// Words that mean the same wherever they stand; true where `token` was one.
    fn always(&mut self, token: &Token<'a>) -> bool {
        if self.frame.rule == Rule::Rights {
            return true;
        }
        if token.is("select") && !(self.frame.expect == Expect::Target && self.frame.rule == Rule::Define) {
            self.push(token.text);
            self.frame = Frame { expect: Expect::Nothing, rule: Rule::Read, list: false, with: false };
            return true;
        }
        let opens = self.last.is_some_and(|last| last.is_mark("("));
        let embeds = matches!(self.frame.rule, Rule::Write | Rule::Define) && self.frame.expect == Expect::Nothing;
        let begins = self.frame.expect == Expect::Operation || opens || embeds;
        if token.is("with") && begins && !self.peek().is_some_and(|next| next.is_mark("(")) {
            self.frame.with = true;
            self.frame.expect = Expect::Cte;
            return true;
        }
        if ["union", "intersect", "except", "minus"].iter().any(|word| token.is(word))
            && self.frame.expect != Expect::Target
            && !self.columns_follow()
        {
            self.frame = Frame::STATEMENT;
            return true;
        }
        false
    }

    /// True for the list of `SELECT * EXCEPT (a, b)`.
    fn columns_follow(&self) -> bool {
        let mut ahead = self.tokens.clone().filter(|token| !matches!(token.kind, Kind::Space | Kind::Comment));
        let opens = ahead.next().is_some_and(|next| next.is_mark("("));
        opens
            && ahead.next().is_some_and(|next| {
                !next.is_mark("(") && !["select", "with", "values", "table", "from"].iter().any(|word| next.is(word))
            })
    }

    /// The first word of a statement.
    fn operation(&mut self, token: &Token<'a>) {
        let Some(Operation { word, rule, second }) = words::operation(token.text) else {
            // `ALL` or `DISTINCT` behind `UNION`, a label, or no statement at all.
            let between = token.is("all") || token.is("distinct") || token.is("go");
            if !between && self.frame.rule != Rule::Prefix {
                self.frame.expect = Expect::Nothing;
            }
            return;
        };
        if *word == "VALUES" && !self.outer.is_empty() {
            // Rows of constants in place of a table.
            self.frame = Frame::NOTHING;
            return;
        }
        let mut piece = token.text;
        if let Some(next) = self.peek()
            && second.iter().any(|second| next.is(second))
            && let Some(next) = self.next()
        {
            // One space between them, whatever the statement has.
            self.push(piece);
            piece = next.text;
        }
        if !self.full {
            self.push(piece);
        }
        self.frame = Frame { rule: *rule, ..Frame::NOTHING };
        self.frame.expect = match rule {
            Rule::Write | Rule::Read if *word == "DELETE" => Expect::Deleted,
            Rule::Read if *word == "SELECT" => Expect::Nothing,
            Rule::Read | Rule::Write | Rule::Call | Rule::One | Rule::List => Expect::Target,
            Rule::Define => Expect::Object,
            Rule::Prefix => Expect::Operation,
            Rule::Load | Rule::Ignore | Rule::Rights => Expect::Nothing,
        };
        self.frame.list = *word == "UPDATE" || *word == "FROM" || *rule == Rule::List;
    }

    /// The kind of an object: `TABLE` of `CREATE TEMPORARY TABLE`.
    fn object(&mut self, token: &Token<'a>) {
        if words::is_modifier_of_object(token.text) {
            return;
        }
        self.push(token.text);
        if token.is("materialized") {
            return;
        }
        self.frame.expect = if words::has_name(token.text) { Expect::Target } else { Expect::Nothing };
        self.frame.list = self.last.is_some_and(|last| last.is("drop") || last.is("truncate") || last.is("lock"));
    }

    fn cte(&mut self, token: &Token<'a>) {
        if token.is("recursive") {
            return;
        }
        if self.ctes.len() < CTES_MAX {
            self.ctes.push(bare(token.text));
        }
        self.frame.expect = Expect::Nothing;
    }

    /// A name where a target is expected, or one of the words that may stand before it.
    fn target(&mut self, token: &Token<'a>) {
        let rule = self.frame.rule;
        if token.kind == Kind::Word {
            if self.frame.expect == Expect::Deleted && token.is("from") {
                self.frame.expect = Expect::Target;
                self.frame.rule = Rule::Read;
                self.frame.list = true;
                return;
            }
            if words::is_before_target(token.text, rule) && self.name_follows(token) {
                return;
            }
            if token.is("set") || token.is("values") || token.is("default") || token.is("where") {
                self.frame.expect = Expect::Nothing;
                self.frame.list = false;
                return;
            }
        }
        // A string names a table where one is read (`FROM 'artists'`); elsewhere it is a value.
        let names = token.kind != Kind::Text || matches!(rule, Rule::Read | Rule::Write);
        let name = self.name(token);
        let deleted_later = self.frame.expect == Expect::Deleted
            && self.peek().is_some_and(|next| next.is("from") || next.is_mark(",") || next.is_mark("."));
        if deleted_later {
            if self.peek().is_some_and(|next| !next.is("from")) {
                let _ = self.next();
            }
            return;
        }
        self.frame.expect = Expect::Nothing;
        if names && !self.is_cte(name) {
            self.push(name);
        }
        if rule == Rule::Write && self.frame.list {
            self.frame.rule = Rule::Read;
        }
    }

    /// True unless `word` is itself the name, because the statement goes on behind it.
    fn name_follows(&self, word: &Token<'a>) -> bool {
        self.peek().is_some_and(|next| match next.kind {
            Kind::Word => !words::is_behind_target(next.text),
            Kind::Quoted | Kind::DoubleQuoted | Kind::Text => true,
            _ => next.is_mark("(") && ["lateral", "only", "top"].iter().any(|before| word.is(before)),
        })
    }

    /// The whole of a name with its qualifiers: `db.schema.table`, `users@remote`.
    fn name(&mut self, first: &Token<'a>) -> &'a str {
        let mut end = self.tokens.position();
        let start = end - first.text.len();
        loop {
            let mut ahead = self.tokens.clone();
            match ahead.next() {
                Some(dot) if dot.is_mark(".") => {
                    let Some(part) = ahead.next() else { break };
                    if !matches!(part.kind, Kind::Word | Kind::Quoted | Kind::DoubleQuoted) && !part.is_mark(".") {
                        break;
                    }
                }
                Some(link) if link.kind == Kind::Parameter && link.text.starts_with('@') => {}
                _ => break,
            }
            end = ahead.position();
            self.tokens = ahead;
        }
        self.text.get(start..end).unwrap_or(first.text)
    }

    fn is_cte(&self, name: &str) -> bool {
        let name = bare(name);
        self.ctes.iter().any(|cte| cte.eq_ignore_ascii_case(name))
    }

    /// A keyword in the middle of a statement.
    fn clause(&mut self, token: &Token<'a>) {
        if self.frame.with {
            if words::operation(token.text).is_some() {
                self.frame.with = false;
                self.operation(token);
            }
            return;
        }
        let reads = matches!(self.frame.rule, Rule::Read | Rule::Write);
        if token.is("from") {
            // `IS DISTINCT FROM` compares.
            if reads && !self.last_is("distinct") {
                self.frame.rule = Rule::Read;
                self.frame.expect = Expect::Target;
                self.frame.list = true;
            }
        } else if token.is("join") || token.is("apply") || token.is("straight_join") {
            if reads {
                self.frame.expect = Expect::Target;
            }
        } else if token.is("using") {
            if reads && !self.peek().is_some_and(|next| next.is_mark("(")) {
                self.frame.expect = Expect::Target;
            }
        } else if token.is("into") {
            let file = self.peek().is_some_and(|next| next.is("outfile") || next.is("dumpfile"));
            if (reads || self.frame.rule == Rule::Load) && !file {
                self.frame.expect = Expect::Target;
                self.frame.list = false;
            }
        } else if token.is("as") && self.frame.rule == Rule::Define {
            self.frame.expect = Expect::Operation;
        } else if words::ends_targets(token.text) {
            self.frame.list = false;
        }
    }
}

/// A name without its quotes.
fn bare(name: &str) -> &str {
    name.trim_matches(|mark| matches!(mark, '"' | '`' | '[' | ']'))
}
