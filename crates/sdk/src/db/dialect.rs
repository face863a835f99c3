//! What differs between SQL databases in the way that literals and names are written.

/// How `"text"` is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DoubleQuotes {
    /// A name (the SQL standard).
    Name,
    /// A string (MySQL without `ANSI_QUOTES`, Hive, Spanner).
    Text,
    /// A name, but a string where only a value makes sense (SQLite; an unknown database).
    Either,
}

/// How `[text]` is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Brackets {
    /// An array or an index.
    Array,
    /// A name.
    Name,
    /// A name if it begins like one (an unknown database).
    Either,
}

/// The lexical rules of one database system.
///
/// Where a system is not known the rules are those of the SQL standard, and whatever could be a value is
/// taken for one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dialect {
    pub(crate) double_quotes: DoubleQuotes,
    pub(crate) brackets: Brackets,
    /// A backslash in a string takes the next character as it is.
    pub(crate) backslash: bool,
    /// `$tag$ text $tag$` is a string.
    pub(crate) dollar_quotes: bool,
    /// `q'[ text ]'` is a string.
    pub(crate) q_quotes: bool,
    /// `#` begins a comment.
    pub(crate) hash_comments: bool,
    /// `--` begins a comment only before white space.
    pub(crate) dashes_need_space: bool,
    /// `/* /* */ */` is one comment.
    pub(crate) nested_comments: bool,
}

/// The SQL standard, with doubt settled in favour of literals.
const STANDARD: Dialect = Dialect {
    double_quotes: DoubleQuotes::Either,
    brackets: Brackets::Either,
    backslash: false,
    dollar_quotes: true,
    q_quotes: true,
    hash_comments: false,
    dashes_need_space: false,
    nested_comments: false,
};

const POSTGRESQL: Dialect = Dialect {
    double_quotes: DoubleQuotes::Name,
    brackets: Brackets::Array,
    q_quotes: false,
    nested_comments: true,
    ..STANDARD
};

const MYSQL: Dialect = Dialect {
    double_quotes: DoubleQuotes::Text,
    brackets: Brackets::Array,
    backslash: true,
    dollar_quotes: false,
    q_quotes: false,
    hash_comments: true,
    dashes_need_space: true,
    ..STANDARD
};

const SQLITE: Dialect = Dialect { brackets: Brackets::Name, dollar_quotes: false, q_quotes: false, ..STANDARD };

const SQL_SERVER: Dialect = Dialect {
    double_quotes: DoubleQuotes::Name,
    brackets: Brackets::Name,
    dollar_quotes: false,
    q_quotes: false,
    nested_comments: true,
    ..STANDARD
};

const ORACLE: Dialect =
    Dialect { double_quotes: DoubleQuotes::Name, brackets: Brackets::Array, dollar_quotes: false, ..STANDARD };

const CLICKHOUSE: Dialect = Dialect {
    double_quotes: DoubleQuotes::Name,
    brackets: Brackets::Array,
    backslash: true,
    hash_comments: true,
    q_quotes: false,
    ..STANDARD
};

/// Names in quotes as the standard says, and no other kind of string.
const PLAIN: Dialect = Dialect {
    double_quotes: DoubleQuotes::Name,
    brackets: Brackets::Array,
    dollar_quotes: false,
    q_quotes: false,
    ..STANDARD
};

impl Dialect {
    /// The rules of a system by its `db.system.name`; those of the standard where it is not known.
    pub fn of(system: &str) -> Self {
        match system {
            "postgresql" | "cockroachdb" | "aws.redshift" | "duckdb" => POSTGRESQL,
            "mysql" | "mariadb" | "hive" | "gcp.spanner" => MYSQL,
            "sqlite" => SQLITE,
            "microsoft.sql_server" => SQL_SERVER,
            "oracle.db" => ORACLE,
            "clickhouse" => CLICKHOUSE,
            "trino" | "ibm.db2" | "sap.hana" | "derby" | "h2database" | "hsqldb" | "firebirdsql" | "teradata"
            | "cassandra" => PLAIN,
            _ => STANDARD,
        }
    }
}
