//! Patterns in sentences.

use super::{Kind, Pattern};

/// A time as people read it.
pub(crate) fn time(ns: f64) -> String {
    let (value, unit) = match ns {
        ns if ns >= 1e9 => (ns / 1e9, "s"),
        ns if ns >= 1e6 => (ns / 1e6, "ms"),
        ns => (ns / 1e3, "µs"),
    };
    let digits = if value < 10.0 { 1 } else { 0 };
    format!("{value:.digits$} {unit}")
}

/// A number of times, without a fraction where there is none worth it.
fn times(mean: f64, max: usize) -> String {
    if (mean - max as f64).abs() < 0.05 {
        return format!("{max} times");
    }
    let digits = if mean < 10.0 { 1 } else { 0 };
    format!("{mean:.digits$} times on average (at most {max})")
}

fn percent(share: f64) -> String {
    match share * 100.0 {
        percent if percent > 0.0 && percent < 1.0 => "less than 1 %".to_owned(),
        percent => format!("{percent:.0} %"),
    }
}

/// In how many traces.
fn often(pattern: &Pattern) -> String {
    match (pattern.traces, pattern.of_traces) {
        (_, 1) => String::new(),
        (some, all) if some == all => format!(", in all {all} traces"),
        (some, all) => format!(", in {some} of {all} traces"),
    }
}

fn win(pattern: &Pattern, how: &str) -> String {
    if pattern.win.mean_ns < 1e3 {
        return format!("; {how} would save no time that anyone waits for");
    }
    let (mean, share) = (time(pattern.win.mean_ns), percent(pattern.win.share));
    format!("; {how} would save up to {mean} of each, {share} of its time")
}

/// What is found, where, how often, and what it costs.
pub(super) fn sentence(pattern: &Pattern) -> String {
    let (service, operation, within) = (&pattern.service, &pattern.operation, &pattern.within);
    let callee = pattern.edge.as_ref().map_or("", |edge| edge.callee.as_str());
    let caller = pattern.edge.as_ref().map_or("", |edge| edge.caller.as_str());
    let (often, count) = (often(pattern), times(pattern.count_mean, pattern.count_max));
    let nobody_else = callee.is_empty() || callee == caller;
    let named = |word: &str| if nobody_else { String::new() } else { format!(" {word} {callee}") };
    let on = named("on");
    match pattern.kind {
        Kind::NPlusOne => format!(
            "{} in {service} calls {operation}{on} {count}, one after the other{often}{}",
            within.operation,
            win(pattern, "one call for all, or all side by side,")
        ),
        Kind::SerialCalls => format!(
            "{operation} in {service} makes {} calls one after the other that do not seem to need each other ({}){often}{}",
            number(pattern.parts.len()),
            list(pattern.parts.iter().map(|part| part.operation.as_str())),
            win(pattern, "side by side they")
        ),
        Kind::RetryStorm => {
            let levels: Vec<String> = pattern
                .parts
                .iter()
                .map(|part| format!("{} up to {} attempts at {}", part.caller, part.calls_max, part.callee))
                .collect();
            format!(
                "{operation}{on} fails and is repeated: up to {} calls for one request ({}){often}{}",
                pattern.count_max,
                list(levels.iter().map(String::as_str)),
                win(pattern, "letting it fail at once")
            )
        }
        Kind::SwallowedError => format!(
            "{operation}{on} fails{often}, and {} in {caller} answers as if nothing had happened{}",
            within.operation,
            if pattern.win.mean_ns >= 1e6 { win(pattern, "leaving the call out") } else { String::new() }
        ),
        Kind::ChattyEdge => format!(
            "{operation} in {service} calls {callee} {count} for one request{often}{}",
            win(pattern, "one round trip for all")
        ),
        Kind::TimeoutInversion => format!(
            "{caller} gives up {operation}{on} after {}, and {callee} works {} longer for nothing{often}{}",
            time(pattern.parts.first().map_or(0.0, |part| part.duration_ns)),
            time(pattern.wasted_ns),
            match pattern.parts.get(1) {
                Some(inner) => format!(" (it waits {} for {})", time(inner.duration_ns), inner.operation),
                None => String::new(),
            }
        ),
        Kind::Recursion => {
            let mut way = vec![service.as_str()];
            way.extend(pattern.parts.iter().map(|part| part.callee.as_str()));
            format!(
                "{service} calls itself through others ({}): {operation} below its own {}{often}{}",
                way.join(" → "),
                within.operation,
                win(pattern, "doing without")
            )
        }
        Kind::LockWait => format!(
            "{service} waits for a lock for {} in {}{often}{}",
            time(pattern.win.mean_ns),
            within.operation,
            if pattern.win.share > 0.0 {
                format!(", {} of their time", percent(pattern.win.share))
            } else {
                String::new()
            }
        ),
    }
}

/// Small numbers as words.
fn number(count: usize) -> String {
    const WORDS: [&str; 13] =
        ["no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"];
    WORDS.get(count).map_or_else(|| count.to_string(), |word| (*word).to_owned())
}

/// `a, b and c`, the first six.
fn list<'a>(items: impl Iterator<Item = &'a str>) -> String {
    const SHOWN: usize = 6;
    let items: Vec<&str> = items.collect();
    match items.as_slice() {
        [] => String::new(),
        [one] => (*one).to_owned(),
        [first @ .., last] if items.len() <= SHOWN => format!("{} and {last}", first.join(", ")),
        items => format!("{} and {} more", items[..SHOWN].join(", "), items.len() - SHOWN),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_short() {
        for (ns, shown) in [(1_500.0, "1.5 µs"), (41e6, "41 ms"), (2.345e9, "2.3 s"), (9.96e6, "10.0 ms")] {
            assert_eq!(time(ns), shown);
        }
        assert_eq!(
            (times(24.0, 24), times(7.5, 12)),
            ("24 times".to_owned(), "7.5 times on average (at most 12)".to_owned())
        );
        assert_eq!((percent(0.004), percent(0.123)), ("less than 1 %".to_owned(), "12 %".to_owned()));
    }

    #[test]
    fn lists_end_with_and() {
        assert_eq!(list(["a"].into_iter()), "a");
        assert_eq!(list(["a", "b", "c"].into_iter()), "a, b and c");
        assert_eq!(list(["a", "b", "c", "d", "e", "f", "g", "h"].into_iter()), "a, b, c, d, e, f and 2 more");
    }
}
