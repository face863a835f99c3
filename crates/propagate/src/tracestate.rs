//! The `tracestate` list (W3C Trace Context level 2, §3.3).

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// Members that a list may hold (§3.3.1.1).
pub const MAX_TRACE_STATE_MEMBERS: usize = 32;

/// Characters that every participant carries on; a longer list is shortened when it is sent (§3.3.1.5).
pub const MAX_TRACE_STATE_CHARS: usize = 512;

/// Members longer than this are the first to go when a list is shortened (§3.3.1.5).
const LARGE_MEMBER_CHARS: usize = 128;

/// Longest key and longest value (§3.3.1.3).
const MAX_PART_CHARS: usize = 256;

/// Why a text is not a `tracestate`. The receiver then drops the whole list but keeps the trace.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TraceStateError {
    /// A member's key breaks the grammar.
    #[error("tracestate key {key:?} is not a lower-case letter or digit followed by at most 255 of a-z 0-9 _ - * / @")]
    Key {
        /// The key as received.
        key: String,
    },
    /// A member's value breaks the grammar.
    #[error("tracestate value of {key:?} is not 1 to 256 printable characters without `,` and `=`")]
    Value {
        /// The key whose value it is.
        key: String,
    },
    /// A member has no `=`.
    #[error("tracestate member {member:?} has no `=`")]
    NoValue {
        /// The member as received.
        member: String,
    },
    /// More members than allowed.
    #[error("tracestate has more than 32 members")]
    TooMany,
}

impl TraceStateError {
    /// What is wrong in a few fixed words, for counters.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Key { .. } => "a key breaks the grammar",
            Self::Value { .. } => "a value breaks the grammar",
            Self::NoValue { .. } => "a member has no `=`",
            Self::TooMany => "more than 32 members",
        }
    }
}

/// Positions of a trace in other systems: an ordered list of key and value, the latest writer first.
///
/// Cloning costs one reference count; an empty list allocates nothing.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct TraceState(Option<Arc<str>>);

impl TraceState {
    /// True when it holds no member.
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// The list as normalized text: members joined by `,` without spaces, empty for an empty list.
    pub fn as_str(&self) -> &str {
        self.0.as_deref().unwrap_or_default()
    }

    /// Key and value of each member, the latest writer first.
    pub fn members(&self) -> impl Iterator<Item = (&str, &str)> {
        self.as_str().split(',').filter_map(|member| member.split_once('='))
    }

    /// The value stored under `key`.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.members().find(|(name, _)| *name == key).map(|(_, value)| value)
    }

    /// The list with `key` set to `value` and moved to the front (§3.5). When the list is full the
    /// last member makes room.
    ///
    /// # Errors
    ///
    /// [`TraceStateError::Key`] or [`TraceStateError::Value`] when one breaks the grammar.
    pub fn with(&self, key: &str, value: &str) -> Result<Self, TraceStateError> {
        check_member(key, value)?;
        let mut text = format!("{key}={value}");
        for (name, value) in self.members().filter(|(name, _)| *name != key).take(MAX_TRACE_STATE_MEMBERS - 1) {
            text.push(',');
            text.push_str(name);
            text.push('=');
            text.push_str(value);
        }
        Ok(Self(Some(text.into())))
    }

    /// The list without `key`.
    #[must_use]
    pub fn without(&self, key: &str) -> Self {
        join(self.members().filter(|(name, _)| *name != key))
    }

    /// The header to send: the list, shortened to 512 characters by leaving out members of more than
    /// 128 characters first and members at the end after them (§3.3.1.5).
    pub fn to_header(&self) -> String {
        self.header().into_owned()
    }

    /// As [`TraceState::to_header`], borrowed where nothing has to be left out.
    pub(crate) fn header(&self) -> Cow<'_, str> {
        if self.as_str().len() <= MAX_TRACE_STATE_CHARS {
            return Cow::Borrowed(self.as_str());
        }
        let mut members: Vec<&str> = self.as_str().split(',').collect();
        let mut chars = self.as_str().len();
        while chars > MAX_TRACE_STATE_CHARS {
            let victim = members
                .iter()
                .rposition(|member| member.len() > LARGE_MEMBER_CHARS)
                .unwrap_or(members.len().saturating_sub(1));
            chars -= members.remove(victim).len() + usize::from(!members.is_empty());
        }
        Cow::Owned(members.join(","))
    }
}

fn join<'a>(members: impl Iterator<Item = (&'a str, &'a str)>) -> TraceState {
    let mut text = String::new();
    for (key, value) in members {
        if !text.is_empty() {
            text.push(',');
        }
        text.push_str(key);
        text.push('=');
        text.push_str(value);
    }
    TraceState((!text.is_empty()).then(|| text.into()))
}

fn check_member(key: &str, value: &str) -> Result<(), TraceStateError> {
    let lower = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let key_is_good = key.len() <= MAX_PART_CHARS
        && key.bytes().next().is_some_and(lower)
        && key.bytes().all(|byte| lower(byte) || matches!(byte, b'_' | b'-' | b'*' | b'/' | b'@'));
    if !key_is_good {
        return Err(TraceStateError::Key { key: key.to_owned() });
    }
    let value_is_good = (1..=MAX_PART_CHARS).contains(&value.len())
        && value.bytes().all(|byte| (b' '..=b'~').contains(&byte) && byte != b',' && byte != b'=')
        && !value.ends_with(' ');
    if !value_is_good {
        return Err(TraceStateError::Value { key: key.to_owned() });
    }
    Ok(())
}

impl FromStr for TraceState {
    type Err = TraceStateError;

    /// Reads a list; the values of several headers are to be joined with `,` before. Empty members and
    /// spaces around members are allowed. Of a repeated key the first member, which is the latest
    /// written, is kept.
    fn from_str(text: &str) -> Result<Self, TraceStateError> {
        let mut members = [("", ""); MAX_TRACE_STATE_MEMBERS];
        let (mut count, mut kept, mut chars) = (0usize, 0usize, 0usize);
        for member in text.split(',').map(|member| member.trim_matches([' ', '\t'])).filter(|member| !member.is_empty())
        {
            count += 1;
            if count > MAX_TRACE_STATE_MEMBERS {
                return Err(TraceStateError::TooMany);
            }
            let (key, value) =
                member.split_once('=').ok_or_else(|| TraceStateError::NoValue { member: member.to_owned() })?;
            check_member(key, value)?;
            if !members.iter().take(kept).any(|(name, _)| *name == key) {
                members[kept] = (key, value);
                kept += 1;
                chars += member.len() + usize::from(kept > 1);
            }
        }
        if kept == 0 {
            return Ok(Self::default());
        }
        // Nothing was left out: the text is the list already.
        if chars == text.len() {
            return Ok(Self(Some(text.into())));
        }
        Ok(join(members.into_iter().take(kept)))
    }
}

impl fmt::Display for TraceState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for TraceState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> TraceState {
        text.parse().unwrap()
    }

    #[test]
    fn the_latest_writer_stands_first() {
        let state = parse("rojo=1,congo=2");
        assert_eq!(state.with("congo", "3").unwrap().as_str(), "congo=3,rojo=1");
        assert_eq!(state.with("new", "x").unwrap().as_str(), "new=x,rojo=1,congo=2");
        assert_eq!(state.without("rojo").as_str(), "congo=2");
        assert!(state.without("rojo").without("congo").is_empty());
        assert_eq!(parse("foo=1,foo=2").as_str(), "foo=1");
        assert!(state.with("Upper", "1").is_err() && state.with("a", "b=c").is_err() && state.with("a", "").is_err());
    }

    #[test]
    fn a_full_list_gives_up_its_last_member() {
        let full: Vec<String> = (0..32).map(|member| format!("k{member}=v")).collect();
        let state = parse(&full.join(",")).with("new", "1").unwrap();
        assert_eq!(state.members().count(), 32);
        assert_eq!((state.get("new"), state.get("k30"), state.get("k31")), (Some("1"), Some("v"), None));
        assert_eq!(format!("{},more=1", full.join(",")).parse::<TraceState>(), Err(TraceStateError::TooMany));
    }

    #[test]
    fn a_long_list_loses_its_large_members_first() {
        let large = format!("large={}", "v".repeat(200));
        let small: Vec<String> = (0..20).map(|member| format!("k{member:02}={}", "v".repeat(16))).collect();
        let state = parse(&format!("a=1,{large},{}", small.join(",")));
        assert_eq!(state.to_header(), format!("a=1,{}", small.join(",")));
        let many: Vec<String> = (0..32).map(|member| format!("k{member:02}={}", "v".repeat(20))).collect();
        assert_eq!(parse(&many.join(",")).to_header(), many[..20].join(","));
    }
}
