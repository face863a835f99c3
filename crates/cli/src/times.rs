//! Points in time as flags take them.

use anyhow::{Result, anyhow};
use tracewell_server::config::duration;
use tracewell_server::time;

/// A point in time, in nanoseconds since the epoch: a time ago (`15m`), or what the API takes (RFC 3339, Unix time, `now`).
pub fn moment(flag: &str, text: &str, now_ns: u64) -> Result<u64> {
    if let Ok(ago) = duration(text) {
        return Ok(now_ns.saturating_sub(u64::try_from(ago.as_nanos()).unwrap_or(u64::MAX)));
    }
    time::parse(text, now_ns).map_err(|_| {
        anyhow!("{flag}: `{text}` is not a time; write 15m or 24h (ago), 2026-11-22T17:04:05Z, or Unix time in s, ms, µs or ns")
    })
}

/// As [`moment`]; `None` for `all`.
pub fn since(flag: &str, text: &str, now_ns: u64) -> Result<Option<u64>> {
    if text == "all" { Ok(None) } else { moment(flag, text, now_ns).map(Some) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_take_times_ago_and_moments() {
        let now_ns = 1_795_343_881_000_000_000;
        for (text, expected) in [
            ("15m", Some(now_ns - 900_000_000_000)),
            ("1h30m", Some(now_ns - 5_400_000_000_000)),
            ("now", Some(now_ns)),
            ("now-15m", Some(now_ns - 900_000_000_000)),
            ("1795343880", Some(1_795_343_880_000_000_000)),
            ("1795343880123456789", Some(1_795_343_880_123_456_789)),
            ("2026-11-22T11:58:01Z", Some(1_795_348_681_000_000_000)),
            ("yesterday", None),
            ("all", None),
        ] {
            assert_eq!(moment("--until", text, now_ns).ok(), expected, "{text}");
        }
        assert_eq!(since("--since", "all", now_ns).ok(), Some(None));
    }
}
