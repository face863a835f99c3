//! Query parameters: typed, checked, with errors that name the parameter.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use tracewell_model::{SpanId, TraceId};

use super::error::ApiError;
use crate::config::nearest;
use crate::time;

/// The tenant of requests that name none.
pub(crate) const DEFAULT_TENANT: &str = "default";

/// The parameters behind the `?`, decoded.
#[derive(Debug, Clone, Default)]
pub(crate) struct Params(Vec<(String, String)>);

impl<S: Sync> FromRequestParts<S> for Params {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        Ok(Self::parse(parts.uri.query().unwrap_or_default()))
    }
}

impl Params {
    pub(crate) fn parse(query: &str) -> Self {
        Self(form_urlencoded::parse(query.as_bytes()).into_owned().collect())
    }

    /// Refuses parameters that do not exist, so that a slip does not silently change the question.
    pub(crate) fn only(&self, known: &[&str]) -> Result<(), ApiError> {
        for (name, _) in &self.0 {
            if !known.contains(&name.as_str()) {
                let error = ApiError::invalid_parameter(format!("there is no parameter `{name}` here"));
                return Err(match nearest(name, known.iter().copied()) {
                    Some(near) => error.with_hint(format!("did you mean `{near}`?")),
                    None if known.is_empty() => error.with_hint("this request takes none"),
                    None => error.with_hint(format!("it takes {}", known.join(", "))),
                });
            }
        }
        Ok(())
    }

    /// The parameter's value; nothing where it is missing or empty.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(own, _)| own == name).map(|(_, value)| value.as_str()).filter(|value| !value.is_empty())
    }

    /// A whole number in a range.
    pub(crate) fn number(
        &self,
        name: &str,
        default: usize,
        range: std::ops::RangeInclusive<usize>,
    ) -> Result<usize, ApiError> {
        let Some(text) = self.text(name) else { return Ok(default) };
        text.parse().ok().filter(|number| range.contains(number)).ok_or_else(|| {
            let (least, most) = (range.start(), range.end());
            ApiError::invalid_parameter(format!(
                "`{name}` is `{text}`; it must be a whole number from {least} to {most}"
            ))
        })
    }

    /// `start` and `end` in nanoseconds since the epoch, both inclusive; all of time where they are missing.
    pub(crate) fn time_range(&self) -> Result<(u64, u64), ApiError> {
        let now = time::now_ns();
        let read = |name: &str, default: u64| match self.text(name) {
            Some(text) => {
                time::parse(text, now).map_err(|error| ApiError::invalid_parameter(format!("`{name}`: {error}")))
            }
            None => Ok(default),
        };
        let (start, end) = (read("start", 0)?, read("end", u64::MAX)?);
        if start > end {
            return Err(ApiError::invalid_parameter("`start` lies after `end`"));
        }
        Ok((start, end))
    }
}

/// Reads a trace id: up to 32 hexadecimal digits; shorter ones are filled up with zeros on the left, as 64-bit ids and
/// those of systems that drop leading zeros need it.
pub(crate) fn trace_id(text: &str) -> Result<TraceId, ApiError> {
    let valid = (1..=32).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let padded = format!("{text:0>32}");
    padded.parse().ok().filter(|id: &TraceId| valid && !id.is_zero()).ok_or_else(|| {
        ApiError::new(
            axum::http::StatusCode::BAD_REQUEST,
            "invalid_trace_id",
            format!("`{}` is not a trace id; it has up to 32 hexadecimal digits, not all of them zero", clip(text)),
        )
    })
}

/// Reads a span id of up to 16 hexadecimal digits.
pub(crate) fn span_id(text: &str) -> Result<SpanId, ApiError> {
    let valid = (1..=16).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let padded = format!("{text:0>16}");
    padded.parse().ok().filter(|_| valid).ok_or_else(|| {
        ApiError::new(
            axum::http::StatusCode::BAD_REQUEST,
            "invalid_span_id",
            format!("`{}` is not a span id; it has up to 16 hexadecimal digits", clip(text)),
        )
    })
}

fn clip(text: &str) -> String {
    if text.chars().count() > 48 { text.chars().take(48).chain(['…']).collect() } else { text.to_owned() }
}

/// The tenant that a request names in `X-Scope-OrgID`.
#[derive(Debug, Clone)]
pub(crate) struct Tenant(pub(crate) std::sync::Arc<str>);

impl<S: Sync> FromRequestParts<S> for Tenant {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        let Some(header) = parts.headers.get("x-scope-orgid") else { return Ok(Self(DEFAULT_TENANT.into())) };
        let name = header.to_str().unwrap_or_default();
        let valid = |byte: u8| byte.is_ascii_alphanumeric() || b"!-_.*'()".contains(&byte);
        if name.is_empty() || name.len() > 150 || !name.bytes().all(valid) || name == "." || name == ".." {
            return Err(ApiError::new(
                axum::http::StatusCode::BAD_REQUEST,
                "invalid_tenant",
                "X-Scope-OrgID must have 1 to 150 letters, digits or any of !-_.*'()",
            ));
        }
        Ok(Self(name.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_filled_up_on_the_left() {
        for (text, expected) in [
            ("4BF92F3577B34DA6A3CE929D0E0E4736", Some("4bf92f3577b34da6a3ce929d0e0e4736")),
            ("a3ce929d0e0e4736", Some("0000000000000000a3ce929d0e0e4736")),
            ("abc", Some("00000000000000000000000000000abc")),
            ("", None),
            ("0", None),
            ("xyz", None),
            ("4bf92f3577b34da6a3ce929d0e0e47361", None),
            ("ä", None),
        ] {
            assert_eq!(trace_id(text).ok().map(|id| id.to_string()).as_deref(), expected, "{text:?}");
        }
        assert_eq!(span_id("1").unwrap().to_string(), "0000000000000001");
    }

    #[test]
    fn parameters_are_decoded_and_strangers_refused() {
        let params = Params::parse("q=%7B%20name%3D%22a%20b%22%20%7D&limit=5&start=10&end=");
        assert_eq!(params.text("q"), Some("{ name=\"a b\" }"));
        assert_eq!(params.number("limit", 20, 1..=1000), Ok(5));
        assert_eq!(params.number("other", 20, 1..=1000), Ok(20));
        assert_eq!(params.time_range(), Ok((10_000_000_000, u64::MAX)));
        let error = Params::parse("limits=5").only(&["q", "limit"]).unwrap_err();
        assert_eq!(error.hint.as_deref(), Some("did you mean `limit`?"));
        for bad in ["limit=0", "limit=1001", "limit=x"] {
            assert!(Params::parse(bad).number("limit", 20, 1..=1000).is_err(), "{bad}");
        }
        assert!(Params::parse("start=now&end=now-1h").time_range().is_err());
    }
}
