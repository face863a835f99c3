//! Environment variables as carrier (OpenTelemetry specification, "Environment Variables as Context
//! Propagation Carriers").

use std::collections::BTreeMap;
use std::ffi::OsString;

use super::{Extract, Inject};

/// The variable for a header: capital letters, everything but letters, digits and `_` replaced by `_`,
/// and a `_` in front of a leading digit and for an empty name ("Key Name Normalization").
pub fn environment_name(header: &str) -> String {
    let mut name = String::with_capacity(header.len() + 1);
    if header.bytes().next().is_none_or(|byte| byte.is_ascii_digit()) {
        name.push('_');
    }
    let normal = |char: char| if char.is_ascii_alphanumeric() { char.to_ascii_uppercase() } else { '_' };
    name.extend(header.chars().map(normal));
    name
}

/// Environment variables of a process, read or to be given to a child.
///
/// Only variables with normalized names are seen: `TRACEPARENT` is, `traceparent` is not. Values are
/// taken and written as they are; what a format says about their length holds here too.
///
/// ```
/// use tracewell_propagate::{Composite, Environment};
///
/// let mine = Environment::new([("TRACEPARENT".into(), "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".into())]);
/// let found = Composite::default().extract(&mine);
///
/// // For a child: `Command::new("job").envs(variables.iter())`.
/// let mut variables = Environment::default();
/// Composite::default().inject(&found, &mut variables);
/// assert_eq!(variables.iter().next().map(|(name, _)| name), Some("TRACEPARENT"));
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Environment(BTreeMap<String, String>);

impl Environment {
    /// The variables given, usually `std::env::vars_os()`. Names and values that are not Unicode are
    /// left out, as are names that are not normalized.
    pub fn new(variables: impl IntoIterator<Item = (OsString, OsString)>) -> Self {
        let text = |(name, value): (OsString, OsString)| Some((name.into_string().ok()?, value.into_string().ok()?));
        let normal = |(name, _): &(String, String)| environment_name(name) == *name;
        Self(variables.into_iter().filter_map(text).filter(normal).collect())
    }

    /// Name and value of each variable.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }
}

impl Extract for Environment {
    fn values(&self, name: &str, visit: &mut dyn FnMut(&str)) {
        if let Some(value) = self.0.get(&environment_name(name)) {
            visit(value);
        }
    }

    /// The rest of a name is normalized too: `UBERCTX_USER_ID` gives `USER_ID`.
    fn prefixed(&self, prefix: &str, visit: &mut dyn FnMut(&str, &str)) {
        let prefix = environment_name(prefix);
        for (name, value) in &self.0 {
            if let Some(rest) = name.strip_prefix(&prefix) {
                visit(rest, value);
            }
        }
    }
}

impl Inject for Environment {
    fn set(&mut self, name: &'static str, value: &str) {
        self.set_named(name, value);
    }

    fn set_named(&mut self, name: &str, value: &str) {
        // A NUL ends a variable; no format writes one.
        if !value.contains('\0') {
            self.0.insert(environment_name(name), value.to_owned());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_normalized() {
        let cases = [
            ("traceparent", "TRACEPARENT"),
            ("x-b3-traceid", "X_B3_TRACEID"),
            ("uber-trace-id", "UBER_TRACE_ID"),
            ("3d.key", "_3D_KEY"),
            ("Straße", "STRA_E"),
            ("", "_"),
        ];
        for (header, variable) in cases {
            assert_eq!(environment_name(header), variable);
        }
    }

    #[test]
    fn only_normalized_names_are_seen() {
        let pair = |name: &str, value: &str| (OsString::from(name), OsString::from(value));
        let found = Environment::new([pair("traceparent", "a"), pair("TRACESTATE", "b"), pair("UBERCTX_K", "c")]);
        assert_eq!((found.single("traceparent"), found.single("tracestate").as_deref()), (None, Some("b")));
        let mut members = Vec::new();
        found.prefixed("uberctx-", &mut |name, value| members.push((name.to_owned(), value.to_owned())));
        assert_eq!(members, [("K".to_owned(), "c".to_owned())]);
    }
}
