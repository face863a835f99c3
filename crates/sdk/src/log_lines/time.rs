//! The present, as people and programs write it.

use std::fmt::Write;

/// Appends nanoseconds since the Unix epoch as RFC 3339 in UTC, to the microsecond.
pub(super) fn rfc3339(out: &mut String, unix_nano: u64) {
    let (seconds, micros) = (unix_nano / 1_000_000_000, unix_nano % 1_000_000_000 / 1_000);
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    // Civil from days (Hinnant): eras of 400 years that begin on the first of March, so that the leap day is the last.
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
    // Writing to a string does not fail.
    let _ = write!(out, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{micros:06}Z");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_moments() {
        let cases = [
            (0, "1970-01-01T00:00:00.000000Z"),
            (951_782_400_000_000_000, "2000-02-29T00:00:00.000000Z"),
            (1_709_251_199_999_999_999, "2024-02-29T23:59:59.999999Z"),
            (1_735_689_600_000_001_000, "2025-01-01T00:00:00.000001Z"),
            (4_107_542_400_000_000_000, "2100-03-01T00:00:00.000000Z"),
        ];
        for (nanos, expected) in cases {
            let mut text = String::new();
            rfc3339(&mut text, nanos);
            assert_eq!(text, expected);
        }
    }
}
