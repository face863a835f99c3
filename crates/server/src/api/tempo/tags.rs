//! Tag names as Tempo spells them, and the TraceQL that its older search parameters stand for.

use crate::config::duration;

/// Intrinsics that can be asked for, as `/api/v2/search/tags` lists them.
pub(crate) const INTRINSICS: &[&str] = &[
    "duration",
    "event:name",
    "event:timeSinceStart",
    "instrumentation:name",
    "instrumentation:version",
    "kind",
    "name",
    "rootName",
    "rootServiceName",
    "span:duration",
    "span:kind",
    "span:name",
    "span:status",
    "span:statusMessage",
    "status",
    "statusMessage",
    "trace:duration",
    "trace:rootName",
    "trace:rootService",
    "traceDuration",
];

/// What a tag's name refers to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Tag {
    /// An attribute in one scope.
    Attribute(&'static str, String),
    /// An attribute of the span or its resource.
    Anywhere(String),
    /// The span's name.
    Name,
    /// The status, whose values are known.
    Status,
    /// The kind, whose values are known.
    Kind,
    /// Service of the root span.
    RootService,
    /// Name of the root span.
    RootName,
    /// An intrinsic whose values are not listed.
    Unlisted,
}

/// The attribute scopes.
pub(crate) const SCOPES: &[&str] = &["span", "resource", "event", "link", "instrumentation"];

impl Tag {
    /// Reads `resource.service.name`, `.service.name`, `span:name`, `status`; in Tempo's first API also a bare
    /// `service.name`.
    pub(crate) fn parse(text: &str) -> Self {
        match text {
            "name" | "span:name" => return Tag::Name,
            "status" | "span:status" => return Tag::Status,
            "kind" | "span:kind" => return Tag::Kind,
            "rootServiceName" | "trace:rootService" => return Tag::RootService,
            "rootName" | "trace:rootName" => return Tag::RootName,
            _ if INTRINSICS.contains(&text) => return Tag::Unlisted,
            _ => {}
        }
        let unquoted = |key: &str| match key.strip_prefix('"').and_then(|key| key.strip_suffix('"')) {
            Some(inner) => inner.replace("\\\"", "\"").replace("\\\\", "\\"),
            None => key.to_owned(),
        };
        for scope in SCOPES {
            if let Some(key) = text.strip_prefix(scope).and_then(|rest| rest.strip_prefix('.')) {
                return Tag::Attribute(scope, unquoted(key));
            }
        }
        Tag::Anywhere(unquoted(text.strip_prefix('.').unwrap_or(text)))
    }
}

/// Turns `tags` (logfmt), `minDuration` and `maxDuration` into TraceQL. As in Tempo, a tag's value is looked for as a
/// substring, whatever its case, in the span and its resource.
pub(crate) fn to_traceql(tags: &str, min: Option<&str>, max: Option<&str>) -> Result<String, String> {
    let mut conditions = Vec::new();
    for (key, value) in logfmt(tags)? {
        let pattern = format!("(?is).*{}.*", escape_regex(&value));
        conditions.push(match key.as_str() {
            "name" => format!("name =~ {}", quote(&pattern)),
            "root.name" => format!("rootName =~ {}", quote(&pattern)),
            "root.service.name" => format!("rootServiceName =~ {}", quote(&pattern)),
            "error" if value == "true" => "status = error".to_owned(),
            "error" if value == "false" => "status != error".to_owned(),
            "status" | "status.code" if ["error", "ok", "unset"].contains(&value.as_str()) => {
                format!("status = {value}")
            }
            "service" => format!("resource.service.name =~ {}", quote(&pattern)),
            key => {
                // Numbers and truth values are not text: they are compared as what they are.
                let field = format!(".{}", quote_key(key));
                let matches = format!("{field} =~ {}", quote(&pattern));
                match value.as_str() {
                    "true" | "false" => format!("({matches} || {field} = {value})"),
                    number if number.parse::<i64>().is_ok() => format!("({matches} || {field} = {number})"),
                    _ => matches,
                }
            }
        });
    }
    for (name, text, operator) in [("minDuration", min, ">="), ("maxDuration", max, "<=")] {
        if let Some(text) = text {
            let duration = duration(text).map_err(|error| format!("{name}: {error}"))?;
            conditions.push(format!("traceDuration {operator} {}ns", duration.as_nanos()));
        }
    }
    Ok(if conditions.is_empty() { "{}".to_owned() } else { format!("{{ {} }}", conditions.join(" && ")) })
}

/// Reads `key=value key="a value"`.
fn logfmt(text: &str) -> Result<Vec<(String, String)>, String> {
    let mut pairs = Vec::new();
    let mut chars = text.chars().peekable();
    loop {
        while chars.next_if(|c| c.is_whitespace()).is_some() {}
        if chars.peek().is_none() {
            return Ok(pairs);
        }
        let key: String = std::iter::from_fn(|| chars.next_if(|c| *c != '=' && !c.is_whitespace())).collect();
        if key.is_empty() || chars.next_if_eq(&'=').is_none() {
            return Err(format!("tags: `{text}` is not logfmt; write key=value pairs separated by spaces"));
        }
        let mut value = String::new();
        if chars.next_if_eq(&'"').is_some() {
            loop {
                match chars.next() {
                    Some('"') => break,
                    Some('\\') => value.extend(chars.next()),
                    Some(c) => value.push(c),
                    None => return Err("tags: a quote is not closed".to_owned()),
                }
            }
        } else {
            value.extend(std::iter::from_fn(|| chars.next_if(|c| !c.is_whitespace())));
        }
        pairs.push((key, value));
    }
}

fn quote(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n"))
}

fn quote_key(key: &str) -> String {
    let plain = key.chars().all(|c| c.is_ascii_alphanumeric() || "._-/".contains(c));
    if plain && !key.is_empty() { key.to_owned() } else { quote(key) }
}

fn escape_regex(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        if "\\.+*?()|[]{}^$#&-~ ".contains(c) && c != ' ' {
            out.push('\\');
        }
        out.push(c);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tag_names_are_understood_in_every_spelling() {
        for (text, expected) in [
            ("resource.service.name", Tag::Attribute("resource", "service.name".into())),
            ("span.http.route", Tag::Attribute("span", "http.route".into())),
            (".service.name", Tag::Anywhere("service.name".into())),
            ("service.name", Tag::Anywhere("service.name".into())),
            ("span.\"a key\"", Tag::Attribute("span", "a key".into())),
            ("event.exception.type", Tag::Attribute("event", "exception.type".into())),
            ("name", Tag::Name),
            ("span:status", Tag::Status),
            ("kind", Tag::Kind),
            ("trace:rootService", Tag::RootService),
            ("traceDuration", Tag::Unlisted),
        ] {
            assert_eq!(Tag::parse(text), expected, "{text}");
        }
    }

    #[test]
    fn older_search_parameters_become_valid_traceql() {
        for (tags, min, max, expected) in [
            ("", None, None, Some("{}")),
            ("", Some("100ms"), Some("1s"), Some("{ traceDuration >= 100000000ns && traceDuration <= 1000000000ns }")),
            ("service.name=cart", None, None, Some("{ .service.name =~ \"(?is).*cart.*\" }")),
            ("name=\"GET /\" error=true", None, None, Some("{ name =~ \"(?is).*GET /.*\" && status = error }")),
            (
                "http.status_code=500",
                None,
                None,
                Some("{ (.http.status_code =~ \"(?is).*500.*\" || .http.status_code = 500) }"),
            ),
            ("a=b.c", None, None, Some("{ .a =~ \"(?is).*b\\\\.c.*\" }")),
            ("nonsense", None, None, None),
            ("a=\"open", None, None, None),
            ("", Some("long"), None, None),
        ] {
            let query = to_traceql(tags, min, max);
            assert_eq!(query.as_deref().ok(), expected, "{tags:?}");
            if let Ok(query) = query {
                let parsed = tracewell_query::traceql::parse(&query);
                assert!(parsed.is_ok(), "{query}: {parsed:?}");
            }
        }
    }
}
