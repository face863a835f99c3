//! Who the data belongs to: the `X-Scope-OrgID` header that Tempo, Loki and Mimir clients send.

use std::sync::{Arc, LazyLock};

use http::HeaderMap;

/// Header (HTTP) or metadata key (gRPC).
pub(crate) const HEADER: &str = "x-scope-orgid";

/// Longest tenant name, in bytes, as in the Grafana databases.
const NAME_BYTES_MAX: usize = 150;

static DEFAULT: LazyLock<Arc<str>> = LazyLock::new(|| Arc::from("default"));

/// The request's tenant, `default` where it names none; the error says what is wrong with the name.
pub(crate) fn of(headers: &HeaderMap) -> Result<Arc<str>, String> {
    let mut values = headers.get_all(HEADER).iter();
    let Some(value) = values.next() else {
        return Ok(Arc::clone(&DEFAULT));
    };
    if values.any(|other| other != value) {
        return Err("X-Scope-OrgID is given twice with different values; send one tenant per request".into());
    }
    let name = value.to_str().map_err(|_| "X-Scope-OrgID is not ASCII".to_string())?;
    check(name)?;
    Ok(if name == &**DEFAULT { Arc::clone(&DEFAULT) } else { Arc::from(name) })
}

fn check(name: &str) -> Result<(), String> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"!-_.*'()".contains(&byte);
    if name.is_empty() || name.len() > NAME_BYTES_MAX {
        return Err(format!("X-Scope-OrgID has {} characters; a tenant has 1 to {NAME_BYTES_MAX}", name.len()));
    }
    // Names become folder names: nothing may climb out of them.
    if name == "." || name == ".." {
        return Err("X-Scope-OrgID must not be \".\" or \"..\"".into());
    }
    match name.bytes().find(|byte| !allowed(*byte)) {
        None => Ok(()),
        Some(byte) => Err(format!(
            "X-Scope-OrgID contains {:?}; a tenant consists of letters, digits and ! - _ . * ' ( )",
            char::from(byte)
        )),
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn names() {
        let long = "a".repeat(150);
        for good in ["default", "team-a", "A.b_c*(d)'!", &long] {
            assert_eq!(check(good), Ok(()), "{good}");
        }
        let too_long = "a".repeat(151);
        for bad in ["", ".", "..", "a/b", "a\\b", "a|b", "a b", "é", "a:b", &too_long] {
            assert!(check(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn header() {
        let mut headers = HeaderMap::new();
        assert_eq!(&*of(&headers).unwrap(), "default");
        headers.append(HEADER, HeaderValue::from_static("a"));
        headers.append(HEADER, HeaderValue::from_static("a"));
        assert_eq!(&*of(&headers).unwrap(), "a");
        headers.append(HEADER, HeaderValue::from_static("b"));
        assert!(of(&headers).unwrap_err().contains("twice"));
    }
}
