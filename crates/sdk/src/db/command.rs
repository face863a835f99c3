//! Commands of Redis and its relatives as text, without their values (OpenTelemetry semantic conventions
//! 1.44, "Redis", `db.query.text`).

use super::QUERY_TEXT_BYTES_MAX;

/// Arguments that are shown; more become `…`.
const ARGUMENTS_MAX: usize = 64;

/// Longest argument, in bytes.
const ARGUMENT_BYTES_MAX: usize = 128;

/// Which arguments are no values: keys, fields, numbers of the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shown {
    /// All.
    All,
    /// The first few.
    First(usize),
    /// The first few, and every second one behind them.
    Fields(usize),
}

const SHOWN: &[(Shown, &[&str])] = &[
    (
        Shown::All,
        &[
            "GET",
            "DEL",
            "UNLINK",
            "EXISTS",
            "MGET",
            "TTL",
            "PTTL",
            "TYPE",
            "EXPIRE",
            "PEXPIRE",
            "EXPIREAT",
            "PEXPIREAT",
            "PERSIST",
            "TOUCH",
            "RENAME",
            "RENAMENX",
            "COPY",
            "MOVE",
            "INCR",
            "DECR",
            "INCRBY",
            "DECRBY",
            "STRLEN",
            "GETRANGE",
            "GETDEL",
            "HGET",
            "HMGET",
            "HGETALL",
            "HDEL",
            "HEXISTS",
            "HKEYS",
            "HVALS",
            "HLEN",
            "HSTRLEN",
            "HINCRBY",
            "LLEN",
            "LPOP",
            "RPOP",
            "LRANGE",
            "LINDEX",
            "LTRIM",
            "RPOPLPUSH",
            "LMOVE",
            "BLPOP",
            "BRPOP",
            "SCARD",
            "SMEMBERS",
            "SPOP",
            "SRANDMEMBER",
            "SINTER",
            "SUNION",
            "SDIFF",
            "SINTERSTORE",
            "SUNIONSTORE",
            "SDIFFSTORE",
            "ZCARD",
            "ZRANGE",
            "ZREVRANGE",
            "ZPOPMIN",
            "ZPOPMAX",
            "ZCOUNT",
            "ZREMRANGEBYRANK",
            "PFCOUNT",
            "PFMERGE",
            "XLEN",
            "XRANGE",
            "XREVRANGE",
            "XREAD",
            "XREADGROUP",
            "XACK",
            "XDEL",
            "XTRIM",
            "BITCOUNT",
            "GETBIT",
            "SETBIT",
            "WATCH",
            "UNWATCH",
            "MULTI",
            "EXEC",
            "DISCARD",
            "SELECT",
            "DBSIZE",
            "FLUSHDB",
            "FLUSHALL",
            "PING",
            "TIME",
            "INFO",
            "SUBSCRIBE",
            "UNSUBSCRIBE",
            "PSUBSCRIBE",
            "PUNSUBSCRIBE",
            "SSUBSCRIBE",
            "OBJECT",
            "KEYS",
            "SCAN",
            "WAIT",
            "READONLY",
            "READWRITE",
        ],
    ),
    (
        Shown::First(1),
        &[
            "SET",
            "SETNX",
            "GETSET",
            "GETEX",
            "APPEND",
            "LPUSH",
            "RPUSH",
            "LPUSHX",
            "RPUSHX",
            "LINSERT",
            "SADD",
            "SREM",
            "SISMEMBER",
            "SMISMEMBER",
            "ZADD",
            "ZREM",
            "ZSCORE",
            "ZMSCORE",
            "ZRANK",
            "ZREVRANK",
            "ZINCRBY",
            "ZRANGEBYSCORE",
            "ZREVRANGEBYSCORE",
            "ZREMRANGEBYSCORE",
            "PFADD",
            "GEOADD",
            "GEODIST",
            "GEOPOS",
            "GEOHASH",
            "PUBLISH",
            "SPUBLISH",
            "HSCAN",
            "SSCAN",
            "ZSCAN",
            "RESTORE",
            "DUMP",
            "SORT",
            "EVALSHA",
            "EVALSHA_RO",
            "FCALL",
            "FCALL_RO",
            "JSON.GET",
            "JSON.SET",
            "LPOS",
            "CLIENT",
            "CONFIG",
            "CLUSTER",
            "SCRIPT",
            "XGROUP",
            "XINFO",
            "MEMORY",
            "ACL",
            "FUNCTION",
            "PUBSUB",
            "COMMAND",
            "BITFIELD",
        ],
    ),
    (Shown::First(2), &["SETEX", "PSETEX", "SETRANGE", "LSET", "LREM", "SMOVE", "XADD", "HSETNX", "HINCRBYFLOAT"]),
    (Shown::Fields(1), &["HSET", "HMSET"]),
    (Shown::Fields(0), &["MSET", "MSETNX"]),
];

/// Looks a command up; one that is not known shows nothing.
fn shown(command: &str) -> Shown {
    let known = SHOWN.iter().find(|(_, commands)| commands.iter().any(|known| known.eq_ignore_ascii_case(command)));
    known.map_or(Shown::First(0), |(shown, _)| *shown)
}

/// A command and its arguments as one would type them, with `?` for each value: `HSET cart:7 items ?`. Keys and
/// fields stay. Of a command that is not known, and of one that carries passwords (`AUTH`), no argument is
/// shown. Bounded in the number and length of arguments.
///
/// ```
/// use tracewell_sdk::db::obfuscate_command;
///
/// assert_eq!(obfuscate_command(["SET", "user:7", "secret"].map(str::as_bytes)), "SET user:7 ?");
/// assert_eq!(obfuscate_command(["AUTH", "secret"].map(str::as_bytes)), "AUTH ?");
/// ```
pub fn obfuscate_command<'a>(command: impl IntoIterator<Item = &'a [u8]>) -> String {
    let mut arguments = command.into_iter();
    let mut text = command_name(arguments.next().unwrap_or_default());
    let shown = shown(&text);
    for (index, argument) in arguments.enumerate() {
        if index >= ARGUMENTS_MAX || text.len() >= QUERY_TEXT_BYTES_MAX - 2 * ARGUMENT_BYTES_MAX {
            text.push_str(" …");
            break;
        }
        text.push(' ');
        let visible = match shown {
            Shown::All => true,
            Shown::First(first) => index < first,
            Shown::Fields(first) => index < first || (index - first) % 2 == 0,
        };
        if visible { push(&mut text, argument) } else { text.push('?') }
    }
    text
}

/// The name of a command, as the application writes it.
pub(crate) fn command_name(name: &[u8]) -> String {
    let mut text = String::new();
    push(&mut text, name.get(..name.len().min(64)).unwrap_or_default());
    text
}

/// An argument, with quotes where it would not be one word.
fn push(text: &mut String, argument: &[u8]) {
    let cut = argument.len() > ARGUMENT_BYTES_MAX;
    let argument = String::from_utf8_lossy(argument.get(..ARGUMENT_BYTES_MAX).unwrap_or(argument));
    let plain = |char: char| !char.is_control() && !char.is_whitespace() && char != '"';
    if argument.chars().all(plain) && !argument.is_empty() {
        text.push_str(&argument);
    } else {
        text.push('"');
        text.extend(argument.chars().flat_map(char::escape_debug));
        text.push('"');
    }
    if cut {
        text.push('…');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_stay_and_values_go() {
        let cases = [
            ("GET a", "GET a"),
            ("set a secret EX 10", "set a ? ? ?"),
            ("HMSET h f1 Hello f2 World", "HMSET h f1 ? f2 ?"),
            ("MSET a 1 b 2", "MSET a ? b ?"),
            ("SETEX a 10 secret", "SETEX a 10 ?"),
            ("EVAL script 1 key arg", "EVAL ? ? ? ?"),
            ("EVALSHA abc 1 key", "EVALSHA abc ? ?"),
            ("CONFIG SET requirepass secret", "CONFIG SET ? ?"),
            ("AUTH user secret", "AUTH ? ?"),
            ("HELLO 3 AUTH user secret", "HELLO ? ? ? ?"),
            ("MY.COMMAND secret", "MY.COMMAND ?"),
            ("PING", "PING"),
        ];
        for (command, expected) in cases {
            assert_eq!(obfuscate_command(command.split(' ').map(str::as_bytes)), expected);
        }
    }

    #[test]
    fn any_bytes_make_a_bounded_text() {
        assert_eq!(obfuscate_command([&b"GET"[..], b"a b\"\n\xff"]), "GET \"a b\\\"\\n\u{fffd}\"");
        assert_eq!(obfuscate_command([]), "\"\"");
        let long = vec![b'x'; 100_000];
        let text = obfuscate_command(std::iter::once(&b"DEL"[..]).chain(std::iter::repeat_n(long.as_slice(), 100_000)));
        assert!(text.len() <= QUERY_TEXT_BYTES_MAX && text.ends_with('…'), "{}", text.len());
    }
}
