//! Figures in words: durations, shares, places.

/// A duration in nanoseconds with three significant digits and the unit that suits: `840 ns`, `3.1 ms`, `1.24 s`.
pub fn duration(ns: f64) -> String {
    let sign = if ns < 0.0 { "−" } else { "" };
    let ns = ns.abs();
    let (value, unit) = match ns {
        ns if ns < 999.5 => return format!("{sign}{ns:.0} ns"),
        ns if ns < 999.5e3 => (ns / 1e3, "µs"),
        ns if ns < 999.5e6 => (ns / 1e6, "ms"),
        ns if ns < 119.5e9 => (ns / 1e9, "s"),
        ns => (ns / 60e9, "min"),
    };
    let digits = match value {
        value if value < 9.995 => 2,
        value if value < 99.95 => 1,
        _ => 0,
    };
    let text = format!("{value:.digits$}");
    let text = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    format!("{sign}{text} {unit}")
}

/// A share between 0 and 1 as a percentage without pretence: `97 %`, `0.4 %`, `all`.
pub fn share(share: f64) -> String {
    match share {
        share if share >= 0.9995 => "all".to_owned(),
        share if share >= 0.995 => "over 99 %".to_owned(),
        share if share >= 0.095 => format!("{:.0} %", share * 100.0),
        share => format!("{:.1} %", share * 100.0),
    }
}

/// How many times more: `12 times`, `1.4 times`.
pub fn times(factor: f64) -> String {
    if factor >= 9.95 { format!("{factor:.0} times") } else { format!("{factor:.1} times") }
}

/// A number with its noun: `1 call`, `24 calls`.
pub fn count(number: u64, noun: &str) -> String {
    if number == 1 { format!("1 {noun}") } else { format!("{} {noun}s", grouped(number)) }
}

/// A number with separated thousands: `24,000`.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A place in a row: `1st`, `22nd`, `30th`.
pub fn ordinal(number: u64) -> String {
    let ending = match (number % 10, number % 100) {
        (_, 11..=13) => "th",
        (1, _) => "st",
        (2, _) => "nd",
        (3, _) => "rd",
        _ => "th",
    };
    format!("{number}{ending}")
}

/// Names in a row: `a`, `a and b`, `a, b and c`.
pub fn list<S: AsRef<str>>(names: &[S]) -> String {
    match names {
        [] => String::new(),
        [only] => only.as_ref().to_owned(),
        [first @ .., last] => {
            let first: Vec<&str> = first.iter().map(AsRef::as_ref).collect();
            format!("{} and {}", first.join(", "), last.as_ref())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_told_with_the_digits_that_matter() {
        for (ns, expected) in [
            (0.0, "0 ns"),
            (999.4, "999 ns"),
            (1_000.0, "1 µs"),
            (3_140_000.0, "3.14 ms"),
            (48_000_000.0, "48 ms"),
            (999_600_000.0, "1 s"),
            (1_236_000_000.0, "1.24 s"),
            (306_000_000_000.0, "5.1 min"),
            (-180e6, "−180 ms"),
        ] {
            assert_eq!(duration(ns), expected, "{ns}");
        }
        for (value, expected) in [(1.0, "all"), (0.997, "over 99 %"), (0.97, "97 %"), (0.004, "0.4 %")] {
            assert_eq!(share(value), expected);
        }
        for (value, expected) in
            [(1, "1st"), (2, "2nd"), (3, "3rd"), (11, "11th"), (12, "12th"), (22, "22nd"), (30, "30th"), (111, "111th")]
        {
            assert_eq!(ordinal(value), expected);
        }
        assert_eq!(
            (grouped(999), grouped(24_000), grouped(1_234_567)),
            ("999".into(), "24,000".into(), "1,234,567".into())
        );
        assert_eq!(list(&["a", "b", "c"]), "a, b and c");
        assert_eq!((count(1, "call"), count(2, "call")), ("1 call".into(), "2 calls".into()));
    }
}
