//! Headers that the application wants to see in its spans.

use std::sync::Arc;

use http::HeaderMap;
use http::header::HeaderName;

use super::attributes::text;
use crate::Value;
use crate::edit::Editor;
use crate::proto::ValueRef;

/// Headers whose values give access: only the scheme of an `authorization` is recorded.
const SECRET_HEADERS: [&str; 8] = [
    "authorization",
    "cookie",
    "proxy-authorization",
    "set-cookie",
    "x-amz-security-token",
    "x-api-key",
    "x-auth-token",
    "x-csrf-token",
];

/// Values of one header that are recorded.
const VALUES_MAX: usize = 16;

/// The headers to be recorded, each with the key of its attribute.
#[derive(Debug, Clone, Default)]
pub(crate) struct Captured(Arc<[(HeaderName, String)]>);

impl Captured {
    /// These headers below `prefix`, such as `http.request.header.`. Names that cannot be a header's are left out.
    pub(crate) fn new(prefix: &str, names: impl IntoIterator<Item = impl AsRef<str>>) -> Self {
        let names = names.into_iter().filter_map(|name| HeaderName::from_bytes(name.as_ref().as_bytes()).ok());
        Self(names.map(|name| (name.clone(), format!("{prefix}{name}"))).collect())
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds the values of each header that is there, as a list.
    pub(crate) fn record(&self, headers: &HeaderMap, edit: &mut Editor<'_>) {
        for (name, key) in self.0.iter() {
            let shown = |value| shown(name, value);
            let values: Vec<Value> = headers.get_all(name).iter().take(VALUES_MAX).map(shown).collect();
            if !values.is_empty() {
                edit.add(key, ValueRef::Array(&values));
            }
        }
    }
}

fn shown(name: &HeaderName, value: &http::HeaderValue) -> Value {
    let secret = value.is_sensitive() || SECRET_HEADERS.contains(&name.as_str());
    if !secret {
        return text(value).into_owned().into();
    }
    let scheme = text(value).split_once(' ').map(|(scheme, _)| scheme.to_owned());
    match scheme.filter(|_| name.as_str().ends_with("authorization")) {
        Some(scheme) => format!("{scheme} REDACTED").into(),
        None => "REDACTED".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_gives_access_is_not_shown() {
        for (name, value, expected) in [
            ("authorization", "Bearer abc", "Bearer REDACTED"),
            ("authorization", "abc", "REDACTED"),
            ("set-cookie", "session=1; Secure", "REDACTED"),
            ("x-tenant", "a b", "a b"),
        ] {
            let shown = shown(&HeaderName::from_static(name), &http::HeaderValue::from_static(value));
            assert_eq!(shown, Value::from(expected), "{name}");
        }
    }
}
