//! What names say: shapes without what varies, reading or writing, access checks, waiting for a lock.
//!
//! Every answer is worked out once for each text and remembered by its number, so that asking costs an index.

use crate::traces::{Text, Texts};

/// The number of a shape: a name or a statement without what varies from call to call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub(super) struct Shape(pub(super) u32);

/// What a call does to the one that it calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Effect {
    /// It changes nothing (safe, RFC 9110 §9.2.1).
    Reads,
    /// It changes something: its order matters.
    Writes,
    /// The name does not say.
    Unknown,
}

/// First words of operations and statements that change nothing.
const READING: &[&str] = &[
    "get",
    "head",
    "options",
    "select",
    "list",
    "find",
    "search",
    "fetch",
    "read",
    "query",
    "lookup",
    "look",
    "count",
    "check",
    "exists",
    "describe",
    "show",
    "load",
    "resolve",
    "convert",
    "calculate",
    "estimate",
    "quote",
    "recommend",
    "mget",
    "hget",
    "hgetall",
    "hmget",
    "lrange",
    "smembers",
    "zrange",
    "scan",
    "ttl",
    "aggregate",
    "compute",
    "match",
    "suggest",
    "retrieve",
    "view",
    "peek",
    "explain",
    "supported",
    "is",
    "has",
    "can",
];

/// First words of those that do.
const WRITING: &[&str] = &[
    "post", "put", "patch", "delete", "insert", "update", "upsert", "merge", "replace", "create", "add", "append",
    "remove", "set", "setex", "setnx", "hset", "hmset", "mset", "del", "hdel", "expire", "incr", "decr", "lpush",
    "rpush", "lpop", "rpop", "sadd", "srem", "zadd", "zrem", "publish", "send", "emit", "enqueue", "produce", "write",
    "save", "store", "place", "charge", "pay", "ship", "confirm", "reserve", "book", "cancel", "refund", "empty",
    "clear", "reset", "register", "sign", "submit", "commit", "begin", "start", "rollback", "lock", "unlock", "drop",
    "truncate", "alter", "grant", "revoke", "notify", "process", "execute", "apply", "allocate", "release", "move",
    "transfer", "upload", "call", "do",
];

/// Words of calls that decide whether anything else may happen at all.
const GUARDING: &[&str] = &[
    "auth",
    "authn",
    "authz",
    "authenticate",
    "authentication",
    "authorize",
    "authorise",
    "authorization",
    "verify",
    "login",
    "session",
    "sessions",
    "token",
    "introspect",
    "permission",
    "permissions",
    "acl",
];

const LOCKS: &[&str] = &["lock", "locks", "mutex", "latch", "semaphore", "rwlock"];
const WAITS: &[&str] =
    &["wait", "waits", "waiting", "await", "acquire", "acquiring", "acquisition", "blocked", "contention", "obtain"];

/// Names of HTTP methods that stand alone as the name of a span.
const METHODS: &[&str] = &["get", "head", "options", "post", "put", "patch", "delete", "http", "trace", "connect"];

/// What is remembered of one text.
#[derive(Debug, Clone, Copy)]
struct Known {
    shape: Shape,
    effect: Effect,
    guards: bool,
    waits_for_lock: bool,
    bare: bool,
}

/// Memory of what names say.
#[derive(Debug, Default)]
pub(super) struct Names {
    known: Vec<Option<Known>>,
    shapes: Texts,
    /// For each shape the text that it was made of, while there is only one.
    originals: Vec<Option<Text>>,
}

impl Names {
    fn known(&mut self, texts: &Texts, text: Text) -> Known {
        let place = text.0 as usize;
        if let Some(Some(known)) = self.known.get(place) {
            return *known;
        }
        let known = self.work_out(texts.get(text), text);
        if self.known.len() <= place {
            self.known.resize(place + 1, None);
        }
        self.known[place] = Some(known);
        known
    }

    fn work_out(&mut self, name: &str, text: Text) -> Known {
        let shape = Shape(self.shapes.number(&shape_of(name)).0);
        let place = shape.0 as usize;
        if self.originals.len() <= place {
            self.originals.resize(place + 1, None);
            self.originals[place] = Some(text);
        } else if self.originals[place] != Some(text) {
            self.originals[place] = None;
        }
        let words = words(name);
        let any = |list: &[&str]| words.iter().any(|word| list.contains(&word.as_str()));
        Known {
            shape,
            effect: effect_of(name),
            guards: any(GUARDING),
            waits_for_lock: any(LOCKS) && any(WAITS),
            bare: words.len() <= 2 && !words.is_empty() && words.iter().all(|word| METHODS.contains(&word.as_str())),
        }
    }

    /// The shape of a name or statement.
    pub(super) fn shape(&mut self, texts: &Texts, text: Text) -> Shape {
        self.known(texts, text).shape
    }

    /// The shape with a text, if there is one.
    pub(super) fn find(&self, text: &str) -> Option<Shape> {
        self.shapes.find(text).map(|text| Shape(text.0))
    }

    /// The text of a shape.
    pub(super) fn text(&self, shape: Shape) -> &str {
        self.shapes.get(Text(shape.0))
    }

    /// What a call of that name does.
    pub(super) fn effect(&mut self, texts: &Texts, text: Text) -> Effect {
        self.known(texts, text).effect
    }

    /// Whether a call of that name decides about all others.
    pub(super) fn guards(&mut self, texts: &Texts, text: Text) -> bool {
        self.known(texts, text).guards
    }

    /// Whether a span of that name waits for a lock.
    pub(super) fn waits_for_lock(&mut self, texts: &Texts, text: Text) -> bool {
        self.known(texts, text).waits_for_lock
    }

    /// Whether the name is that of a method alone, such as `GET` or `HTTP POST`.
    pub(super) fn is_bare(&mut self, texts: &Texts, text: Text) -> bool {
        self.known(texts, text).bare
    }

    /// The shape as people see it: the text itself where only one has that shape.
    pub(super) fn shown(&self, texts: &Texts, shape: Shape) -> String {
        match self.originals.get(shape.0 as usize) {
            Some(Some(text)) => texts.get(*text).to_owned(),
            _ => self.text(shape).to_owned(),
        }
    }
}

/// Lower-case words of a name; capitals begin words.
fn words(name: &str) -> Vec<String> {
    let (mut words, mut word, mut before) = (Vec::new(), String::new(), false);
    for character in name.chars().take(200) {
        let begins = character.is_uppercase() && before;
        if (begins || !character.is_alphanumeric()) && !word.is_empty() {
            words.push(std::mem::take(&mut word));
        }
        if character.is_alphanumeric() {
            word.extend(character.to_lowercase());
        }
        before = character.is_lowercase();
    }
    if !word.is_empty() {
        words.push(word);
    }
    words
}

/// What the first word says; for methods such as `shop.Catalog/GetProduct` that of the last part.
fn effect_of(name: &str) -> Effect {
    let says = |word: &str| match word {
        word if READING.contains(&word) => Effect::Reads,
        word if WRITING.contains(&word) => Effect::Writes,
        _ => Effect::Unknown,
    };
    let first = words(name.split_whitespace().next().unwrap_or_default());
    let mut found = match first.as_slice() {
        [word] => says(word),
        _ => Effect::Unknown,
    };
    if matches!(first.as_slice(), [word] if word == "http") {
        let method = name.split_whitespace().nth(1).unwrap_or_default().to_lowercase();
        found = says(&method);
    }
    if found == Effect::Unknown {
        let last = name.rsplit(['/', '.', ':']).find(|part| !part.is_empty()).unwrap_or_default();
        found = words(last).first().map_or(Effect::Unknown, |word| says(word));
    }
    found
}

/// The text without literals: numbers, quoted texts and long hexadecimal ids become `?`, lists of them one `?`.
pub(super) fn shape_of(text: &str) -> String {
    if !text.bytes().any(|byte| byte.is_ascii_digit() || byte == b'\'') {
        return text.to_owned();
    }
    let mut shape = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(character) = rest.chars().next() {
        let word_end = rest.find(|c: char| !(c.is_alphanumeric() || c == '_' || c == '-')).unwrap_or(rest.len());
        if character == '\'' {
            let end = rest[1..].find('\'').map_or(rest.len(), |place| place + 2);
            shape.push('?');
            rest = &rest[end..];
        } else if word_end > 0 {
            let word = &rest[..word_end];
            shape.push_str(if is_literal(word) { "?" } else { word });
            rest = &rest[word_end..];
        } else {
            shape.push(character);
            rest = &rest[character.len_utf8()..];
        }
        for list in ["?, ?", "?,?"] {
            if shape.ends_with(list) {
                shape.truncate(shape.len() - list.len() + 1);
            }
        }
    }
    shape
}

/// A number, or an id: hexadecimal of eight digits and more with a decimal one among them.
fn is_literal(word: &str) -> bool {
    let digits = word.bytes().filter(u8::is_ascii_digit).count();
    let is_number = digits > 0 && word.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-');
    let is_id = digits > 0 && word.len() >= 8 && word.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-');
    is_number || is_id
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_differ_in_literals_have_one_shape() {
        for (text, shape) in [
            ("SELECT stock_levels", "SELECT stock_levels"),
            ("SELECT * FROM t WHERE id = 42", "SELECT * FROM t WHERE id = ?"),
            ("SELECT * FROM t WHERE name = 'O 1' AND a IN (1, 2, 3)", "SELECT * FROM t WHERE name = ? AND a IN (?)"),
            ("GET /users/8341/orders", "GET /users/?/orders"),
            ("GET /v2/users/4bf92f3577b34da6", "GET /v2/users/?"),
            ("GET /o/9d30676c-ed12-49d6-59ed-f8dd091a4e85", "GET /o/?"),
            ("open 'without end", "open ?"),
            ("wms.v3.Slotting/Locate", "wms.v3.Slotting/Locate"),
        ] {
            assert_eq!(shape_of(text), shape);
        }
    }

    #[test]
    fn first_words_tell_reading_from_writing() {
        for (name, effect) in [
            ("GET /products/{id}", Effect::Reads),
            ("HTTP POST", Effect::Writes),
            ("hipstershop.ProductCatalogService/GetProduct", Effect::Reads),
            ("hipstershop.CheckoutService/PlaceOrder", Effect::Writes),
            ("UPDATE stock_levels", Effect::Writes),
            ("HGETALL cart-store", Effect::Reads),
            ("shop.recommendations.v1.Recommendations/ForProduct", Effect::Unknown),
            ("sql.conn.query", Effect::Reads),
        ] {
            assert_eq!(effect_of(name), effect, "{name}");
        }
    }

    #[test]
    fn words_of_names_are_understood() {
        let (mut texts, mut names) = (Texts::default(), Names::default());
        for (name, guards, waits, bare) in [
            ("GET /verify", true, false, false),
            ("shop.Auth/CheckToken", true, false, false),
            ("wait for lock", false, true, false),
            ("Mutex.acquire", false, true, false),
            ("GET", false, false, true),
            ("HTTP GET", false, false, true),
            ("unlock doors", false, false, false),
            ("", false, false, false),
        ] {
            let text = texts.number(name);
            let said = (names.guards(&texts, text), names.waits_for_lock(&texts, text), names.is_bare(&texts, text));
            assert_eq!(said, (guards, waits, bare), "{name}");
        }
    }

    #[test]
    fn a_shape_of_one_text_is_shown_as_the_text() {
        let (mut texts, mut names) = (Texts::default(), Names::default());
        let one = texts.number("SELECT a FROM t WHERE id = 1");
        let shape = names.shape(&texts, one);
        assert_eq!(names.shown(&texts, shape), "SELECT a FROM t WHERE id = 1");
        let other = texts.number("SELECT a FROM t WHERE id = 2");
        assert_eq!(names.shape(&texts, other), shape);
        assert_eq!(names.shown(&texts, shape), "SELECT a FROM t WHERE id = ?");
    }
}
