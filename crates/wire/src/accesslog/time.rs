//! Points in time as logs write them.

/// Reads a time and returns nanoseconds since the Unix epoch; `zone_s` is the offset, in seconds east of UTC, of times that
/// do not name one.
///
/// Accepted are: Unix time, whose unit follows from the number of digits (up to 11 seconds, with a fraction; 12–14
/// milliseconds; 15–17 microseconds; more nanoseconds); the common log format (`10/Oct/2000:13:55:36 -0700`), with a
/// fraction as HAProxy has it; RFC 3339 and ISO 8601 with their usual liberties (`2026-11-22 17:04:05,123`,
/// `2026/11/22 17:04:05`).
pub fn parse(text: &str, zone_s: i64) -> Option<u64> {
    let text = text.trim().trim_matches(['[', ']']);
    let bytes = text.as_bytes();
    match bytes.get(2) {
        Some(b'/') if bytes.first().is_some_and(u8::is_ascii_digit) => common_log(text, zone_s),
        _ if bytes.get(4).is_some_and(|byte| matches!(byte, b'-' | b'/')) => iso(text, zone_s),
        _ => unix(text),
    }
}

fn unix(text: &str) -> Option<u64> {
    let (whole, _) = text.split_once('.').unwrap_or((text, ""));
    if whole.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') {
        return None;
    }
    let unit_ns = match whole.trim_start_matches('0').len() {
        0..=11 => 1_000_000_000,
        12..=14 => 1_000_000,
        15..=17 => 1_000,
        _ => 1,
    };
    super::field::scaled(text, unit_ns)
}

fn common_log(text: &str, zone_s: i64) -> Option<u64> {
    let (date, rest) = text.split_at_checked(11)?;
    let (day, month_year) = date.split_once('/')?;
    let (month, year) = month_year.split_once('/')?;
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let month = MONTHS.iter().position(|name| name.eq_ignore_ascii_case(month))? as i64 + 1;
    moment(number(year)?, month, number(day)?, rest.strip_prefix(':')?, zone_s)
}

fn iso(text: &str, zone_s: i64) -> Option<u64> {
    let (date, rest) = text.split_at_checked(10)?;
    let mut parts = date.split(['-', '/']);
    let (year, month, day) = (number(parts.next()?)?, number(parts.next()?)?, number(parts.next()?)?);
    if parts.next().is_some() {
        return None;
    }
    moment(year, month, day, rest.strip_prefix(['T', ' ', 't', '_'])?, zone_s)
}

/// A date and `17:04:05.123 +0100`.
fn moment(year: i64, month: i64, day: i64, rest: &str, zone_s: i64) -> Option<u64> {
    let (clock, rest) = rest.split_at_checked(8)?;
    let mut parts = clock.split(':');
    let (hour, minute, second) = (number(parts.next()?)?, number(parts.next()?)?, number(parts.next()?)?);
    // A leap second is the second after.
    if parts.next().is_some() || !(1..=12).contains(&month) || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    if day < 1 || day > days_of(year, month) {
        return None;
    }
    let (fraction, zone) = match rest.strip_prefix(['.', ',']) {
        Some(rest) => rest.split_at(rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len())),
        None => ("", rest),
    };
    let fraction_ns =
        if fraction.is_empty() { 0 } else { super::field::scaled(&format!("0.{fraction}"), 1_000_000_000)? };
    let offset_s = offset(zone.trim(), zone_s)?;
    let seconds =
        (days_since_epoch(year, month, day) * 86_400 + hour * 3_600 + minute * 60 + second).checked_sub(offset_s)?;
    u64::try_from(seconds).ok()?.checked_mul(1_000_000_000)?.checked_add(fraction_ns)
}

fn offset(zone: &str, zone_s: i64) -> Option<i64> {
    match zone {
        "" => return Some(zone_s),
        "Z" | "z" | "UTC" | "GMT" => return Some(0),
        _ => {}
    }
    let (sign, digits) = zone.split_at_checked(1)?;
    let sign = match sign {
        "+" => 1,
        "-" => -1,
        _ => return None,
    };
    let digits: String = digits.chars().filter(|c| *c != ':').collect();
    let (hours, minutes) = digits.split_at_checked(2)?;
    let minutes = if minutes.is_empty() { 0 } else { number(minutes)? };
    let hours = number(hours)?;
    (hours <= 15 && minutes < 60 && digits.len() <= 4).then_some(sign * (hours * 3_600 + minutes * 60))
}

/// A number of at most four plain digits.
fn number(text: &str) -> Option<i64> {
    if text.is_empty() || text.len() > 4 || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    text.parse().ok()
}

fn days_of(year: i64, month: i64) -> i64 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        _ => 31,
    }
}

/// Days from 1970-01-01 in the Gregorian calendar, by counting years from March.
fn days_since_epoch(year: i64, month: i64, day: i64) -> i64 {
    let shifted_year = if month > 2 { year } else { year - 1 };
    let shifted_month = (month + 9) % 12;
    let leap_days = shifted_year / 4 - shifted_year / 100 + shifted_year / 400;
    shifted_year * 365 + leap_days + (shifted_month * 306 + 5) / 10 + day - 1 - 719_468
}

/// An offset such as `+01:00`, `-0700`, `Z`, in seconds east of UTC.
pub fn parse_zone(text: &str) -> Option<i64> {
    offset(Some(text.trim()).filter(|text| !text.is_empty())?, 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_logs_write_them() {
        const AT: u64 = 1_795_367_045;
        for (text, expected_ns) in [
            ("22/Nov/2026:17:04:05 +0000", AT * 1_000_000_000),
            ("[22/Nov/2026:18:04:05 +0100]", AT * 1_000_000_000),
            ("22/Nov/2026:17:04:05.250", AT * 1_000_000_000 + 250_000_000),
            ("2026-11-22T17:04:05Z", AT * 1_000_000_000),
            ("2026-11-22T10:04:05.5-07:00", AT * 1_000_000_000 + 500_000_000),
            ("2026-11-22 17:04:05,123", AT * 1_000_000_000 + 123_000_000),
            ("2026/11/22 17:04:05", AT * 1_000_000_000),
            ("1795367045", AT * 1_000_000_000),
            ("1795367045.123", AT * 1_000_000_000 + 123_000_000),
            ("1795367045123", AT * 1_000_000_000 + 123_000_000),
            ("1795367045123456", AT * 1_000_000_000 + 123_456_000),
            ("1795367045123456789", AT * 1_000_000_000 + 123_456_789),
            ("2000-02-29T00:00:00Z", 951_782_400 * 1_000_000_000),
            ("1970-01-01T00:00:00Z", 0),
        ] {
            assert_eq!(parse(text, 0), Some(expected_ns), "{text}");
        }
        assert_eq!(parse("2026-11-22T17:04:05", 3600), Some((AT - 3600) * 1_000_000_000), "a zone that is not named");
        for bad in [
            "",
            "-",
            "yesterday",
            "2026-13-01T00:00:00Z",
            "2026-02-30T00:00:00Z",
            "22/Nox/2026:17:04:05 +0000",
            "1969-12-31T00:00:00Z",
            "2026-11-22T17:04:05 CEST",
            "é2/Nov/2026:1",
            "9999999999999999999999",
        ] {
            assert_eq!(parse(bad, 0), None, "{bad}");
        }
    }
}
