//! Reading points in time as the APIs accept them, and writing RFC 3339.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::config::duration;

/// Nanoseconds since the Unix epoch, now.
pub fn now_ns() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as u64)
}

/// Reads a point in time and returns nanoseconds since the Unix epoch.
///
/// Accepted are: Unix time, whose unit follows from the number of digits (up to 11 seconds, with a fraction if there is
/// one; 12 to 14 milliseconds; 15 to 17 microseconds; more nanoseconds), RFC 3339 (`2026-11-22T17:04:05.123Z`), `now`,
/// and `now` less a duration (`now-15m`).
///
/// # Errors
/// A sentence that says what is accepted.
pub fn parse(text: &str, now_ns: u64) -> Result<u64, String> {
    let text = text.trim();
    let error = || {
        format!(
            "`{text}` is not a time; write Unix seconds, milliseconds, microseconds or nanoseconds, RFC 3339, now, or now-15m"
        )
    };
    if let Some(rest) = text.strip_prefix("now") {
        let rest = rest.trim();
        return match rest.split_at_checked(1) {
            None => Ok(now_ns),
            Some(("-", span)) => Ok(now_ns.saturating_sub(duration(span)?.as_nanos() as u64)),
            Some(("+", span)) => Ok(now_ns.saturating_add(duration(span)?.as_nanos() as u64)),
            Some(_) => Err(error()),
        };
    }
    if text.starts_with(|c: char| c.is_ascii_digit()) && text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.')
    {
        return unix(text).ok_or_else(error);
    }
    rfc3339(text).ok_or_else(error)
}

fn unix(text: &str) -> Option<u64> {
    if let Some((whole, fraction)) = text.split_once('.') {
        // Only seconds are written with a fraction.
        if fraction.is_empty() || fraction.contains('.') {
            return None;
        }
        let digits: String = fraction.chars().chain("000000000".chars()).take(9).collect();
        let seconds: u64 = whole.parse().ok()?;
        return seconds.checked_mul(1_000_000_000)?.checked_add(digits.parse().ok()?);
    }
    let number: u64 = text.parse().ok()?;
    let unit_ns = match text.trim_start_matches('0').len() {
        0..=11 => 1_000_000_000,
        12..=14 => 1_000_000,
        15..=17 => 1_000,
        _ => 1,
    };
    number.checked_mul(unit_ns)
}

/// RFC 3339 §5.6, from 1970 on: date, `T` or a space, time, optional fraction, `Z` or an offset.
fn rfc3339(text: &str) -> Option<u64> {
    let number = |range: std::ops::Range<usize>| -> Option<i64> {
        let digits = text.get(range)?;
        digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok())?
    };
    let mark = |at: usize, allowed: &str| text.get(at..at + 1).is_some_and(|mark| allowed.contains(mark));
    if !(mark(4, "-") && mark(7, "-") && mark(10, "Tt ") && mark(13, ":") && mark(16, ":")) {
        return None;
    }
    let (year, month, day) = (number(0..4)?, number(5..7)?, number(8..10)?);
    let (hour, minute, second) = (number(11..13)?, number(14..16)?, number(17..19)?);
    let valid = (1..=12).contains(&month) && (1..=days_in_month(year, month)).contains(&day);
    if !valid || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let mut rest = text.get(19..)?;
    let mut fraction_ns = 0;
    if let Some(after) = rest.strip_prefix('.') {
        let end = after.find(|c: char| !c.is_ascii_digit()).unwrap_or(after.len());
        if end == 0 {
            return None;
        }
        let digits: String = after[..end].chars().chain("000000000".chars()).take(9).collect();
        fraction_ns = digits.parse::<i64>().ok()?;
        rest = &after[end..];
    }
    let offset_s = match rest {
        "Z" | "z" => 0,
        _ => {
            let sign = if rest.starts_with('+') {
                1
            } else if rest.starts_with('-') {
                -1
            } else {
                return None;
            };
            let at = text.len() - rest.len();
            if rest.len() != 6 || !mark(at + 3, ":") {
                return None;
            }
            sign * (number(at + 1..at + 3)? * 3600 + number(at + 4..at + 6)? * 60)
        }
    };
    let seconds = days_from_civil(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second - offset_s;
    u64::try_from(seconds.checked_mul(1_000_000_000)?.checked_add(fraction_ns)?).ok()
}

fn days_in_month(year: i64, month: i64) -> i64 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days since 1970-01-01 of a date in the Gregorian calendar, counted in years that begin in March.
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

/// Writes `2026-11-22T17:04:05.123Z` for nanoseconds since the Unix epoch.
pub fn format_rfc3339_ms(time_ns: u64) -> String {
    let (seconds, ms) = (time_ns / 1_000_000_000, time_ns / 1_000_000 % 1000);
    let (days, second_of_day) = ((seconds / 86_400) as i64, seconds % 86_400);
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let (hour, minute, second) = (second_of_day / 3600, second_of_day / 60 % 60, second_of_day % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{ms:03}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_accepted_form_means_the_same_moment() {
        let now = 1_795_343_881_398_540_597;
        for (text, expected) in [
            ("1795343881398540597", Some(now)),
            ("1795343881398540", Some(1_795_343_881_398_540_000)),
            ("1795343881398", Some(1_795_343_881_398_000_000)),
            ("1795343881", Some(1_795_343_881_000_000_000)),
            ("1795343881.5", Some(1_795_343_881_500_000_000)),
            ("2026-11-22T11:58:01Z", Some(1_795_348_681_000_000_000)),
            ("2026-11-22 11:58:01.25Z", Some(1_795_348_681_250_000_000)),
            ("2026-11-22T12:58:01+01:00", Some(1_795_348_681_000_000_000)),
            ("2026-11-22T09:28:01-02:30", Some(1_795_348_681_000_000_000)),
            ("1970-01-01T00:00:00Z", Some(0)),
            ("0", Some(0)),
            ("now", Some(now)),
            ("now-15m", Some(now - 900_000_000_000)),
            ("now - 1h", Some(now - 3_600_000_000_000)),
            ("now+1s", Some(now + 1_000_000_000)),
            ("", None),
            ("yesterday", None),
            ("nowish", None),
            ("2026-13-01T00:00:00Z", None),
            ("2026-02-29T00:00:00Z", None),
            ("2026-11-22T11:58:01", None),
            ("2026-11-22", None),
            ("1795343881.", None),
            ("-5", None),
            ("99999999999999999999999", None),
        ] {
            assert_eq!(parse(text, now).ok(), expected, "{text:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn what_is_written_is_read_again(ms in 0u64..9_000_000_000_000) {
            proptest::prop_assert_eq!(rfc3339(&format_rfc3339_ms(ms * 1_000_000)), Some(ms * 1_000_000));
        }
    }
}
