//! Words of a log message: which are code locations, ids, numbers, severities.

/// The last parts of names of source files.
const SOURCE_ENDINGS: [&str; 20] = [
    ".java", ".kt", ".scala", ".py", ".go", ".js", ".mjs", ".ts", ".rb", ".rs", ".cs", ".cpp", ".cc", ".c", ".h",
    ".php", ".ex", ".erl", ".swift", ".fs",
];

/// Words that name a severity, with their OTLP `SeverityNumber`.
const SEVERITIES: [(&str, u8); 14] = [
    ("TRACE", 1),
    ("DEBUG", 5),
    ("INFO", 9),
    ("INFORMATION", 9),
    ("NOTICE", 10),
    ("WARN", 13),
    ("WARNING", 13),
    ("ERR", 17),
    ("ERROR", 17),
    ("SEVERE", 17),
    ("CRIT", 21),
    ("CRITICAL", 21),
    ("FATAL", 21),
    ("PANIC", 21),
];

/// True for what words are made of. Dots and dashes within a word are seen to by [`mask`].
pub fn is_word(character: char) -> bool {
    character.is_alphanumeric() || matches!(character, '_' | '.' | '-' | '$' | '@' | '#')
}

/// Where a word ends that is a code location with a line: `cart.go:117`.
pub fn with_location(rest: &str, end: usize) -> usize {
    let lower = rest[..end].to_ascii_lowercase();
    if !SOURCE_ENDINGS.iter().any(|ending| lower.ends_with(ending)) {
        return end;
    }
    let Some(line) = rest[end..].strip_prefix(':') else { return end };
    let digits = line.bytes().take_while(u8::is_ascii_digit).count();
    if digits == 0 { end } else { end + 1 + digits }
}

/// Writes a word without what varies in it.
pub fn mask(word: &str, out: &mut String) {
    if is_location(word) {
        out.push_str(word);
    } else if word.contains('@') || is_id(word) {
        star(out);
    } else {
        // Digits vary, names do not: `node-7` and `node-8` are one.
        let mut digits = false;
        for character in word.chars() {
            let numeric = character.is_ascii_digit() || (digits && matches!(character, '.' | '-'));
            if character.is_ascii_digit() {
                star(out);
            } else if !(numeric && out.ends_with('*')) {
                out.push(character);
            }
            digits = numeric;
        }
    }
}

/// Writes `*`, once for parts that follow each other.
pub fn star(out: &mut String) {
    let end = out.trim_end_matches(' ').len();
    if out[..end].ends_with('*') {
        out.truncate(end);
    } else {
        out.push('*');
    }
}

/// `Class#39`, `o.c.OrderController#39`, `cart.go:117`.
fn is_location(word: &str) -> bool {
    let (name, line) = match (word.rsplit_once('#'), word.rsplit_once(':')) {
        (Some(parts), _) | (None, Some(parts)) => parts,
        (None, None) => return false,
    };
    name.chars().any(char::is_alphabetic)
        && !line.is_empty()
        && line.len() <= 6
        && line.bytes().all(|b| b.is_ascii_digit())
}

/// Hexadecimal of at least eight digits, some of them numerals; with dashes too, as UUIDs have them.
fn is_id(word: &str) -> bool {
    let hex = word.bytes().filter(u8::is_ascii_hexdigit).count();
    let dashes = word.bytes().filter(|byte| *byte == b'-').count();
    hex >= 8 && hex + dashes == word.len() && word.bytes().any(|byte| byte.is_ascii_digit())
}

/// The severity that a message names among its first words, as OTLP `SeverityNumber`; 0 if it names none.
///
/// ```
/// use tracewell_analysis::logs::severity;
///
/// assert_eq!((severity("* ERROR o.c.Cart#3 no"), severity("[warn] full"), severity("an error")), (17, 13, 0));
/// ```
pub fn severity(text: &str) -> u8 {
    let mut words = text.split(|character: char| !character.is_ascii_alphabetic()).filter(|word| !word.is_empty());
    words
        .by_ref()
        .take(3)
        .find_map(|word| {
            let upper = word.bytes().all(|byte| byte.is_ascii_uppercase());
            let bracketed = text.trim_start().starts_with('[') || text.trim_start().starts_with("level=");
            let found = SEVERITIES.iter().find(|(name, _)| name.eq_ignore_ascii_case(word))?;
            (upper || bracketed).then_some(found.1)
        })
        .unwrap_or(0)
}
