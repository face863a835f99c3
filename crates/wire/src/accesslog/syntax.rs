//! Patterns as they are written in the configurations of nginx, Envoy and Apache.

use super::field::Slot;
use super::names;
use super::pattern::{Part, PatternError};

/// The parts of a pattern, whichever proxy it is for: `$name` is nginx's, `%NAME%` Envoy's, `%h` Apache's.
pub(super) fn parts(source: &str) -> Result<Vec<Part>, PatternError> {
    if source.contains('$') {
        nginx(source)
    } else if is_envoy(source) {
        envoy(source)
    } else {
        apache(source)
    }
}

/// The text of a `log_format` directive, without its name and with its quoted pieces joined; anything else as it is.
pub(super) fn directive(source: &str) -> Result<String, PatternError> {
    let source = source.trim();
    let (rest, named) = match source.strip_prefix("log_format").or_else(|| source.strip_prefix("LogFormat")) {
        Some(rest) => (rest.trim().trim_end_matches(';').trim_end(), true),
        None => (source, false),
    };
    let quoted = rest.starts_with(['\'', '"']);
    if !named && !quoted {
        return Ok(rest.to_owned());
    }
    let (mut out, mut chars) = (String::new(), rest.chars());
    while let Some(c) = chars.next() {
        // Words outside of quotes are the format's name and its options.
        if c != '\'' && c != '"' {
            continue;
        }
        let mut closed = false;
        while let Some(inner) = chars.next() {
            match inner {
                '\\' => match chars.next() {
                    Some(next @ ('\'' | '"' | '\\')) => out.push(next),
                    Some(next) => out.extend(['\\', next]),
                    None => out.push('\\'),
                },
                _ if inner == c => {
                    closed = true;
                    break;
                }
                _ => out.push(inner),
            }
        }
        if !closed {
            return Err(PatternError::NotClosed(c.to_string()));
        }
    }
    // A JSON template that was handed over without quotes of its own has only lost what was around it.
    Ok(if out.is_empty() { rest.to_owned() } else { out })
}

fn nginx(source: &str) -> Result<Vec<Part>, PatternError> {
    let mut parts = Vec::new();
    let mut rest = source;
    while let Some(at) = rest.find('$') {
        let (before, after) = rest.split_at(at);
        parts.push(Part::Text(before.to_owned()));
        let after = &after[1..];
        let (name, tail) = match after.strip_prefix('{') {
            Some(braced) => braced.split_once('}').ok_or_else(|| PatternError::NotClosed("${".to_owned()))?,
            None => after.split_at(after.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(after.len())),
        };
        if name.is_empty() {
            parts.push(Part::Text("$".to_owned()));
        } else {
            parts.push(Part::Value(names::nginx(name)));
        }
        rest = tail;
    }
    parts.push(Part::Text(rest.to_owned()));
    Ok(parts)
}

/// True when a text has Envoy's operators: `%` and at least two capitals.
fn is_envoy(source: &str) -> bool {
    source.split('%').skip(1).any(|piece| piece.bytes().take(2).filter(u8::is_ascii_uppercase).count() == 2)
}

fn envoy(source: &str) -> Result<Vec<Part>, PatternError> {
    let mut parts = Vec::new();
    let mut rest = source;
    while let Some(at) = rest.find('%') {
        let (before, after) = rest.split_at(at);
        parts.push(Part::Text(before.to_owned()));
        let after = &after[1..];
        if let Some(tail) = after.strip_prefix('%') {
            parts.push(Part::Text("%".to_owned()));
            rest = tail;
            continue;
        }
        let not_closed = || PatternError::NotClosed(format!("%{}", after.split('%').next().unwrap_or_default()));
        let name_end = after.find(['(', ':', '%']).ok_or_else(not_closed)?;
        let (name, tail) = after.split_at(name_end);
        // Formats of times hold percent signs of their own, inside the parentheses.
        let (argument, tail) = match tail.strip_prefix('(') {
            Some(inner) => inner.split_once(')').ok_or_else(not_closed)?,
            None => ("", tail),
        };
        let close = tail.find('%').ok_or_else(not_closed)?;
        parts.push(Part::Value(names::envoy(name, argument)));
        rest = &tail[close + 1..];
    }
    parts.push(Part::Text(rest.replace("\\n", "")));
    Ok(parts)
}

fn apache(source: &str) -> Result<Vec<Part>, PatternError> {
    let mut parts = Vec::new();
    let source = source.replace("\\\"", "\"");
    let mut rest = source.as_str();
    while let Some(at) = rest.find('%') {
        let (before, after) = rest.split_at(at);
        parts.push(Part::Text(before.to_owned()));
        // `%>s` is the last status; `%400,501{…}i` and `%!200…` are conditions.
        let after = after[1..].trim_start_matches(|c: char| c.is_ascii_digit() || matches!(c, '>' | '<' | '!' | ','));
        let (argument, tail) = match after.strip_prefix('{') {
            Some(inner) => inner.split_once('}').ok_or_else(|| PatternError::NotClosed("%{".to_owned()))?,
            None => ("", after),
        };
        let Some(letter) = tail.chars().next() else { break };
        rest = &tail[letter.len_utf8()..];
        if letter == '%' {
            parts.push(Part::Text("%".to_owned()));
            continue;
        }
        let value = Part::Value(names::apache(letter, argument));
        // Only a plain %t stands in brackets of its own.
        if letter == 't' && argument.is_empty() {
            parts.extend([Part::Text("[".to_owned()), value, Part::Text("]".to_owned())]);
        } else {
            parts.push(value);
        }
    }
    parts.push(Part::Text(rest.to_owned()));
    Ok(parts)
}

/// The keys of a JSON template with what their values mean; `None` when it is not a template whose every value is one
/// variable.
pub(super) fn json_template(source: &str) -> Option<Vec<(String, Slot)>> {
    let source = source.trim();
    if !source.starts_with('{') {
        return None;
    }
    let template: serde_json::Value =
        serde_json::from_str(source).or_else(|_| serde_json::from_str(&quote_bare(source))).ok()?;
    let mut mapping = Vec::new();
    collect(&template, "", &mut mapping, 0).then_some(mapping)
}

fn collect(value: &serde_json::Value, path: &str, mapping: &mut Vec<(String, Slot)>, depth: usize) -> bool {
    match value {
        serde_json::Value::Object(members) if depth < 4 => members.iter().all(|(key, value)| {
            let path = if path.is_empty() { key.to_lowercase() } else { format!("{path}.{}", key.to_lowercase()) };
            collect(value, &path, mapping, depth + 1)
        }),
        serde_json::Value::String(text) => match parts(text) {
            Ok(parts) => match parts.as_slice() {
                [Part::Text(before), Part::Value(slot), Part::Text(after)] if before.is_empty() && after.is_empty() => {
                    mapping.push((path.to_owned(), slot.clone()));
                    true
                }
                // A constant says nothing about a request.
                [Part::Text(_)] => true,
                _ => false,
            },
            Err(_) => false,
        },
        _ => true,
    }
}

/// Puts quotes around variables that stand for numbers: `{"status":$status}`.
fn quote_bare(source: &str) -> String {
    let (mut out, mut quoted, mut bare) = (String::with_capacity(source.len() + 32), false, false);
    for c in source.chars() {
        if bare && !(c.is_ascii_alphanumeric() || c == '_') {
            out.push('"');
            bare = false;
        }
        if c == '"' {
            quoted = !quoted;
        } else if c == '$' && !quoted && !bare {
            out.push('"');
            bare = true;
        }
        out.push(c);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::accesslog::field::{Field, Unit};

    fn fields(source: &str) -> Vec<String> {
        let parts = parts(&directive(source).unwrap()).unwrap();
        let name = |part: &Part| match part {
            Part::Value(Slot::Known(field, unit)) if *unit == Unit::Text => Some(field.name().to_owned()),
            Part::Value(Slot::Known(field, unit)) => Some(format!("{}:{unit:?}", field.name())),
            Part::Value(Slot::Attribute(name)) => Some(format!("@{name}")),
            Part::Text(_) => None,
        };
        parts.iter().filter_map(name).collect()
    }

    #[test]
    fn each_configuration_is_read_as_it_is_written() {
        for (source, expected) in [
            (
                "log_format main '$remote_addr - $remote_user [$time_local] \"$request\" '\n    '$status ${request_time}s $foo';",
                vec!["client", "user", "end_time", "request", "status", "duration:Seconds", "@foo"],
            ),
            (
                "'$msec' \"$http_x_request_id $http_x_tenant\"",
                vec!["end_time", "request_id", "@http.request.header.x-tenant"],
            ),
            (
                "[%START_TIME(%s.%3f)%] \"%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%\" %DURATION% %RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% %REQ(TRACEPARENT):64% 100%%\n",
                vec!["start_time", "target", "duration:Milliseconds", "upstream_time:Milliseconds", "traceparent"],
            ),
            (
                "LogFormat \"%h %l %u %t \\\"%r\\\" %>s %b %D %{ms}T %{X-Request-Id}i\" name",
                vec![
                    "client",
                    "ignored",
                    "user",
                    "start_time",
                    "request",
                    "status",
                    "body_bytes_sent",
                    "duration:Microseconds",
                    "duration:Milliseconds",
                    "request_id",
                ],
            ),
        ] {
            assert_eq!(fields(source), expected, "{source}");
        }
        for open in ["'$a", "${a", "%{X", "%REQ(X%"] {
            let failed = directive(open).and_then(|text| parts(&text)).is_err();
            assert!(failed, "{open}");
        }
    }

    #[test]
    fn json_templates_become_a_mapping() {
        let mapping =
            json_template(r#"{"t":"$time_iso8601","status":$status,"req":{"Method":"$request_method"},"v":"1"}"#);
        let mapping = mapping.unwrap();
        assert_eq!(mapping.len(), 3);
        assert!(mapping.contains(&("status".to_owned(), Slot::of(Field::Status))));
        assert!(mapping.contains(&("req.method".to_owned(), Slot::of(Field::Method))));
        assert_eq!(json_template(r#"{"a":"$scheme://$host"}"#), None);
        assert_eq!(json_template("plain $status"), None);
    }
}
