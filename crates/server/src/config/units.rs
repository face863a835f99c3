//! Reading the values that people write into configuration: sizes, durations, addresses, choices.
//!
//! Every error says what was expected and gives an example; the caller adds where the value came from.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

/// The word that switches an optional limit off.
pub(crate) const OFF: &str = "off";

/// Splits `12.5 MiB` into its number and its unit.
fn number_and_unit(text: &str) -> Option<(f64, &str)> {
    let text = text.trim();
    let end = text.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let number: f64 = number.parse().ok()?;
    number.is_finite().then_some((number, unit.trim_start()))
}

/// Bytes: a number with `B`, `kB`, `MB`, `GB`, `TB` (powers of 1000) or `KiB`, `MiB`, `GiB`, `TiB` (of 1024); a plain
/// number is bytes.
pub(crate) fn size(text: &str) -> Result<u64, String> {
    let error = || format!("`{text}` is not a size; write a number with a unit, for example 64MiB or 20GB");
    let (number, unit) = number_and_unit(text).ok_or_else(error)?;
    let factor: f64 = match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 1.0,
        "k" | "kb" => 1e3,
        "m" | "mb" => 1e6,
        "g" | "gb" => 1e9,
        "t" | "tb" => 1e12,
        "kib" => 1024.0,
        "mib" => 1024.0 * 1024.0,
        "gib" => 1024.0 * 1024.0 * 1024.0,
        "tib" => 1024.0 * 1024.0 * 1024.0 * 1024.0,
        _ => return Err(error()),
    };
    let bytes = number * factor;
    if bytes > 9e18 {
        return Err(format!("`{text}` is larger than any disk"));
    }
    Ok(bytes.round() as u64)
}

/// A duration as one or more numbers with `ns`, `us`, `ms`, `s`, `m`, `h`, `d`, `w`: `30s`, `1h30m`, `1.5s`.
pub fn duration(text: &str) -> Result<Duration, String> {
    let error =
        || format!("`{text}` is not a duration; write a number with a unit, for example 30s, 15m, 1h30m or 14d");
    let mut rest = text.trim();
    let mut total_ns = 0f64;
    if rest.is_empty() {
        return Err(error());
    }
    while !rest.is_empty() {
        let end = rest.find(|c: char| !(c.is_ascii_digit() || c == '.')).ok_or_else(error)?;
        let number: f64 = rest[..end].parse().map_err(|_| error())?;
        rest = &rest[end..];
        let unit_end = rest.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(rest.len());
        let factor = match rest[..unit_end].trim() {
            "ns" => 1.0,
            "us" | "µs" | "μs" => 1e3,
            "ms" => 1e6,
            "s" => 1e9,
            "m" | "min" => 60e9,
            "h" => 3600e9,
            "d" => 86_400e9,
            "w" => 7.0 * 86_400e9,
            _ => return Err(error()),
        };
        total_ns += number * factor;
        rest = rest[unit_end..].trim_start();
    }
    if total_ns > 9e18 {
        return Err(format!("`{text}` is longer than 290 years"));
    }
    Ok(Duration::from_nanos(total_ns.round() as u64))
}

/// A duration, or `off` for none.
pub(crate) fn optional_duration(text: &str) -> Result<Option<Duration>, String> {
    if text.trim() == OFF { Ok(None) } else { duration(text).map(Some).map_err(|error| format!("{error}, or off")) }
}

/// A size, or `off` for none.
pub(crate) fn optional_size(text: &str) -> Result<Option<u64>, String> {
    if text.trim() == OFF { Ok(None) } else { size(text).map(Some).map_err(|error| format!("{error}, or off")) }
}

/// `host:port` with a literal address or `localhost`. Port 0 means any free port.
pub(crate) fn address(text: &str) -> Result<SocketAddr, String> {
    let text = text.trim();
    if let Ok(address) = text.parse() {
        return Ok(address);
    }
    if let Some(port) = text.strip_prefix("localhost:").and_then(|port| port.parse().ok()) {
        return Ok(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port));
    }
    let hint = match text.strip_prefix(':').or(Some(text)).and_then(|port| port.parse::<u16>().ok()) {
        Some(port) => {
            format!("name the interface: 127.0.0.1:{port} for this machine only, 0.0.0.0:{port} for every interface")
        }
        None => "write address:port, for example 127.0.0.1:3200 (port 0 picks a free one)".to_owned(),
    };
    Err(format!("`{text}` is not an address to listen on; {hint}"))
}

/// An address, or `off` for none.
pub(crate) fn optional_address(text: &str) -> Result<Option<SocketAddr>, String> {
    if text.trim() == OFF { Ok(None) } else { address(text).map(Some).map_err(|error| format!("{error}, or off")) }
}

/// A whole number in a range, both ends included.
pub(crate) fn count(text: &str, range: std::ops::RangeInclusive<usize>) -> Result<usize, String> {
    let cleaned = text.trim().replace('_', "");
    cleaned.parse().ok().filter(|number| range.contains(number)).ok_or_else(|| {
        format!("`{text}` is not allowed here; write a whole number from {} to {}", range.start(), range.end())
    })
}

/// One of a few words.
pub(crate) fn choice<T: Copy>(text: &str, choices: &[(&str, T)]) -> Result<T, String> {
    choices.iter().find(|(word, _)| *word == text.trim()).map(|(_, value)| *value).ok_or_else(|| {
        let words: Vec<&str> = choices.iter().map(|(word, _)| *word).collect();
        format!("`{text}` is not one of {}", words.join(", "))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        for (text, expected) in [
            ("0", Some(0)),
            ("512", Some(512)),
            ("64MiB", Some(64 << 20)),
            ("64 mib", Some(64 << 20)),
            ("1.5kB", Some(1500)),
            ("20GB", Some(20_000_000_000)),
            ("2TiB", Some(2 << 40)),
            ("", None),
            ("MiB", None),
            ("-1", None),
            ("1 parsec", None),
            ("99999999TB", None),
        ] {
            assert_eq!(size(text).ok(), expected, "{text:?}");
        }
    }

    #[test]
    fn durations() {
        for (text, expected_ns) in [
            ("30s", Some(30_000_000_000)),
            ("1h30m", Some(5_400_000_000_000)),
            ("1.5s", Some(1_500_000_000)),
            ("250 ms", Some(250_000_000)),
            ("10us", Some(10_000)),
            ("7ns", Some(7)),
            ("14d", Some(14 * 86_400_000_000_000)),
            ("0s", Some(0)),
            ("", None),
            ("30", None),
            ("s", None),
            ("1 fortnight", None),
            ("1h-1m", None),
        ] {
            assert_eq!(duration(text).ok(), expected_ns.map(Duration::from_nanos), "{text:?}");
        }
    }

    #[test]
    fn addresses_name_the_interface() {
        assert_eq!(address("127.0.0.1:0").unwrap().to_string(), "127.0.0.1:0");
        assert_eq!(address("localhost:3200").unwrap().to_string(), "127.0.0.1:3200");
        assert_eq!(address("[::1]:4317").unwrap().to_string(), "[::1]:4317");
        for bad in [":3200", "3200"] {
            assert!(address(bad).unwrap_err().contains("0.0.0.0:3200 for every interface"), "{bad}");
        }
        assert!(address("example.com").unwrap_err().contains("write address:port"));
    }
}
