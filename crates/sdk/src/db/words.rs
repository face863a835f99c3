//! The vocabulary of SQL, as far as a summary needs it.

/// What the words behind an operation mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rule {
    /// Targets stand behind `FROM` and `JOIN`.
    Read,
    /// The first name is the target; a query may follow.
    Write,
    /// A procedure follows.
    Call,
    /// One target follows.
    One,
    /// Targets follow, separated by commas.
    List,
    /// The kind of an object follows, then its name.
    Define,
    /// A whole statement follows.
    Prefix,
    /// The target stands behind `INTO TABLE`.
    Load,
    /// Nothing of interest follows.
    Ignore,
    /// What follows looks like operations but names rights.
    Rights,
}

/// A word that begins a statement.
pub(super) struct Operation {
    pub(super) word: &'static str,
    pub(super) rule: Rule,
    /// Words that belong to the operation if they follow at once.
    pub(super) second: &'static [&'static str],
}

const fn of(word: &'static str, rule: Rule) -> Operation {
    Operation { word, rule, second: &[] }
}

const fn with(word: &'static str, second: &'static [&'static str], rule: Rule) -> Operation {
    Operation { word, rule, second }
}

const TABLE: &[&str] = &["TABLE", "TABLES"];
const TRANSACTION: &[&str] = &["TRANSACTION", "WORK", "TRAN"];

/// In the order of their frequency.
const OPERATIONS: &[Operation] = &[
    of("SELECT", Rule::Read),
    of("INSERT", Rule::Write),
    of("UPDATE", Rule::Write),
    of("DELETE", Rule::Write),
    with("BEGIN", &["TRANSACTION", "WORK", "TRAN", "IMMEDIATE", "EXCLUSIVE", "DEFERRED"], Rule::Ignore),
    with("COMMIT", TRANSACTION, Rule::Ignore),
    with("ROLLBACK", TRANSACTION, Rule::Ignore),
    of("MERGE", Rule::Write),
    of("REPLACE", Rule::Write),
    of("UPSERT", Rule::Write),
    of("CALL", Rule::Call),
    of("EXEC", Rule::Call),
    with("EXECUTE", &["IMMEDIATE"], Rule::Call),
    of("CREATE", Rule::Define),
    of("ALTER", Rule::Define),
    of("DROP", Rule::Define),
    with("TRUNCATE", TABLE, Rule::List),
    with("LOCK", TABLE, Rule::List),
    with("UNLOCK", TABLE, Rule::Ignore),
    with("RENAME", TABLE, Rule::One),
    with("OPTIMIZE", TABLE, Rule::List),
    with("REPAIR", TABLE, Rule::List),
    of("REFRESH", Rule::Define),
    of("REINDEX", Rule::Define),
    with("EXPLAIN", &["ANALYZE", "ANALYSE"], Rule::Prefix),
    of("DESCRIBE", Rule::One),
    of("DESC", Rule::One),
    of("VACUUM", Rule::List),
    of("ANALYZE", Rule::List),
    of("ANALYSE", Rule::List),
    of("USE", Rule::One),
    of("TABLE", Rule::One),
    of("COPY", Rule::One),
    of("PRAGMA", Rule::One),
    of("FROM", Rule::Read),
    with("LOAD", &["DATA"], Rule::Load),
    with("START", &["TRANSACTION"], Rule::Ignore),
    with("END", TRANSACTION, Rule::Ignore),
    with("ABORT", TRANSACTION, Rule::Ignore),
    with("SAVE", TRANSACTION, Rule::Ignore),
    with("RELEASE", &["SAVEPOINT"], Rule::Ignore),
    of("SAVEPOINT", Rule::Ignore),
    of("SET", Rule::Ignore),
    of("RESET", Rule::Ignore),
    of("SHOW", Rule::Rights),
    of("GRANT", Rule::Rights),
    of("REVOKE", Rule::Rights),
    of("DENY", Rule::Rights),
    of("COMMENT", Rule::Rights),
    of("VALUES", Rule::Ignore),
    of("PREPARE", Rule::Ignore),
    of("DEALLOCATE", Rule::Ignore),
    of("DECLARE", Rule::Ignore),
    of("OPEN", Rule::Ignore),
    of("FETCH", Rule::Rights),
    of("MOVE", Rule::Rights),
    of("CLOSE", Rule::Ignore),
    of("LISTEN", Rule::Ignore),
    of("UNLISTEN", Rule::Ignore),
    of("NOTIFY", Rule::Ignore),
    of("DISCARD", Rule::Ignore),
    of("CHECKPOINT", Rule::Ignore),
    of("ATTACH", Rule::Ignore),
    of("DETACH", Rule::Ignore),
    of("FLUSH", Rule::Ignore),
    of("KILL", Rule::Ignore),
    of("DO", Rule::Ignore),
    of("PURGE", Rule::Ignore),
];

fn any(word: &str, words: &[&str]) -> bool {
    words.iter().any(|known| known.eq_ignore_ascii_case(word))
}

/// The operation that a word begins.
pub(super) fn operation(word: &str) -> Option<&'static Operation> {
    OPERATIONS.iter().find(|operation| operation.word.eq_ignore_ascii_case(word))
}

/// Words between `CREATE`, `ALTER`, `DROP` and the kind of the object.
pub(super) fn is_modifier_of_object(word: &str) -> bool {
    const WORDS: &[&str] = &[
        "OR",
        "REPLACE",
        "TEMP",
        "TEMPORARY",
        "GLOBAL",
        "LOCAL",
        "UNLOGGED",
        "UNIQUE",
        "VIRTUAL",
        "EXTERNAL",
        "FOREIGN",
        "FULLTEXT",
        "SPATIAL",
        "RECURSIVE",
        "CLUSTERED",
        "NONCLUSTERED",
        "COLUMNSTORE",
        "BITMAP",
        "EDITIONABLE",
        "NONEDITIONABLE",
        "TRANSIENT",
        "PUBLIC",
        "PRIVATE",
        "CONSTRAINT",
        "EVENT",
        "AGGREGATE",
        "ONLINE",
        "OFFLINE",
        "IGNORE",
        "FORCE",
        "NO",
        "SECURE",
        "SNAPSHOT",
        "HYBRID",
        "DYNAMIC",
        "DEFINER",
        "ALGORITHM",
        "UNDEFINED",
        "MERGE",
        "TEMPTABLE",
        "SQL",
        "SECURITY",
        "INVOKER",
    ];
    any(word, WORDS)
}

/// Kinds of objects whose name is a target. Names of others may be many.
pub(super) fn has_name(word: &str) -> bool {
    const WORDS: &[&str] = &[
        "TABLE",
        "VIEW",
        "INDEX",
        "PROCEDURE",
        "PROC",
        "FUNCTION",
        "TRIGGER",
        "SCHEMA",
        "DATABASE",
        "SEQUENCE",
        "TYPE",
        "DOMAIN",
        "EXTENSION",
        "PACKAGE",
        "SYNONYM",
        "STREAM",
        "STAGE",
        "PIPE",
        "TASK",
        "DICTIONARY",
        "USER",
        "ROLE",
    ];
    any(word, WORDS)
}

/// Words that may stand between an operation and its target.
pub(super) fn is_before_target(word: &str, rule: Rule) -> bool {
    let words: &[&str] = match rule {
        Rule::Read => &["ONLY", "LATERAL"],
        Rule::Write => &[
            "INTO",
            "OVERWRITE",
            "TABLE",
            "ONLY",
            "IGNORE",
            "LOW_PRIORITY",
            "HIGH_PRIORITY",
            "DELAYED",
            "QUICK",
            "OR",
            "REPLACE",
            "ABORT",
            "FAIL",
            "ROLLBACK",
            "TOP",
        ],
        Rule::Load => &["TABLE"],
        Rule::Define => &["IF", "NOT", "EXISTS", "CONCURRENTLY", "ONLY", "ON"],
        Rule::Call => &["NEXT", "VALUE", "FOR"],
        _ => &["ONLY", "TABLE", "IF", "EXISTS", "FULL", "FREEZE", "VERBOSE", "ANALYZE", "EXTENDED", "FORMATTED"],
    };
    any(word, words)
}

/// Words that go on with the statement behind a target.
pub(super) fn is_behind_target(word: &str) -> bool {
    any(word, &["SET", "VALUES", "VALUE", "SELECT", "DEFAULT", "USING", "ON", "AS", "JOIN", "RETURNING"])
        || ends_targets(word)
}

/// Words after which a comma separates no tables.
pub(super) fn ends_targets(word: &str) -> bool {
    const WORDS: &[&str] = &[
        "WHERE",
        "GROUP",
        "ORDER",
        "HAVING",
        "LIMIT",
        "SET",
        "WINDOW",
        "QUALIFY",
        "RETURNING",
        "VALUES",
        "FOR",
        "OFFSET",
        "FETCH",
        "PREWHERE",
        "SETTINGS",
        "CONNECT",
        "CLUSTER",
        "DISTRIBUTE",
        "SORT",
        "PIVOT",
    ];
    any(word, WORDS)
}
