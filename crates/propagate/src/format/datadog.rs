//! Datadog's headers, and the `dd` member of the trace state in which Datadog's own tracers keep what
//! `traceparent` cannot carry (Datadog documentation, "Trace Context Propagation").
//!
//! ```text
//! x-datadog-trace-id: 11803532876627986230      lower 64 bits, decimal
//! x-datadog-parent-id: 67667974448284343
//! x-datadog-sampling-priority: 1                -1 user drop, 0 drop, 1 keep, 2 user keep; absent: not decided
//! x-datadog-origin: rum
//! x-datadog-tags: _dd.p.tid=4bf92f3577b34da6,_dd.p.dm=-1
//!                           upper 64 bits, hex
//! tracestate: dd=s:1;o:rum;t.dm:-1
//! ```

use std::fmt::Write;

use super::google::decimal;
use super::{Sampling, context, first, from_halves, low, valid};
use crate::{Decision, Extract, Inject, Problem, Propagated, Propagator, SpanId, TraceId, TraceState, hex};

const TRACE_ID: &str = "x-datadog-trace-id";
const PARENT_ID: &str = "x-datadog-parent-id";
const PRIORITY: &str = "x-datadog-sampling-priority";
const ORIGIN: &str = "x-datadog-origin";
const TAGS: &str = "x-datadog-tags";
const TAG_PREFIX: &str = "_dd.p.";

/// The member of the trace state.
const MEMBER: &str = "dd";

/// Longest value of a member of the trace state.
const MAX_MEMBER_CHARS: usize = 256;

/// Longest `x-datadog-tags`.
const MAX_TAGS_CHARS: usize = 512;

/// The propagator `datadog`. Origin, tags and the exact priority travel on in the trace state's member
/// `dd`, so that they survive services that speak another format.
#[derive(Debug, Clone, Copy, Default)]
pub struct Datadog;

impl Propagator for Datadog {
    fn fields(&self) -> &'static [&'static str] {
        &[TRACE_ID, PARENT_ID, PRIORITY, ORIGIN, TAGS]
    }

    fn extract(&self, carrier: &dyn Extract, into: &mut Propagated, problem: &mut dyn FnMut(Problem)) {
        let mut tell = |header, reason| problem(Problem { header, reason });
        let lower = match first(carrier, TRACE_ID, decimal) {
            None => return,
            Some(None) => return tell(TRACE_ID, "not a decimal number of 64 bits"),
            Some(Some(lower)) => lower,
        };
        let span_id = match first(carrier, PARENT_ID, decimal) {
            None => return tell(PARENT_ID, "missing beside the trace id"),
            Some(None) => return tell(PARENT_ID, "not a decimal number of 64 bits"),
            Some(Some(span_id)) => span_id,
        };
        let priority = first(carrier, PRIORITY, |value| value.parse::<i8>().ok());
        if priority == Some(None) {
            tell(PRIORITY, "not a small number");
        }
        let priority = priority.flatten();
        let mut member = MemberText::default();
        if let Some(priority) = priority {
            member.add(&["s"], &priority.to_string());
        }
        first(carrier, ORIGIN, |value| member.add(&["o"], value));
        let mut high = 0;
        first(carrier, TAGS, |value| match value.len() > MAX_TAGS_CHARS {
            true => tell(TAGS, "more than 512 characters"),
            false => high = member.read_tags(value, &mut |reason| tell(TAGS, reason)),
        });
        let trace_id = from_halves(high, lower);
        let sampling = match priority {
            None => Sampling::Deferred,
            Some(priority) if priority > 0 => Sampling::Accept,
            Some(_) => Sampling::Deny,
        };
        let found = (lower != 0).then(|| context(trace_id, SpanId(span_id.to_be_bytes()), sampling.is_sampled()));
        let Some(mut context) = found.flatten() else { return tell(TRACE_ID, "an id is zero") };
        context.trace_state = TraceState::default().with(MEMBER, &member.0).unwrap_or_default();
        into.found(context, sampling.decision());
    }

    fn inject(&self, propagated: &Propagated, carrier: &mut dyn Inject) {
        // A trace id whose lower half is zero cannot be told from an invalid one.
        let Some(context) = valid(propagated).filter(|context| low(context.trace_id) != 0) else { return };
        let member = context.trace_state.get(MEMBER).unwrap_or_default();
        let mut text = String::with_capacity(64);
        let mut set = |name, value: &dyn std::fmt::Display| {
            text.clear();
            // Writing to a string cannot fail.
            let _ = write!(text, "{value}");
            carrier.set(name, &text);
        };
        set(TRACE_ID, &low(context.trace_id));
        set(PARENT_ID, &context.span_id.to_u64());
        if let Some(priority) = priority(member, propagated.decision, context.is_sampled()) {
            set(PRIORITY, &priority);
        }
        if let Some((_, origin)) = members(member).find(|(key, _)| *key == "o") {
            set(ORIGIN, &origin.replace('~', "="));
        }
        let tags = tags_header(member, context.trace_id);
        if !tags.is_empty() {
            carrier.set(TAGS, &tags);
        }
    }
}

/// The member of the trace state, as it is written.
#[derive(Default)]
struct MemberText(String);

impl MemberText {
    /// Adds a pair; what does not fit is left out.
    fn add(&mut self, key: &[&str], value: &str) {
        let before = self.0.len();
        self.0.push_str(if before == 0 { "" } else { ";" });
        for part in key {
            self.0.extend(part.chars().map(|char| if is_key_char(char) { char } else { '_' }));
        }
        self.0.push(':');
        self.0.extend(value.chars().map(escape));
        if self.0.len() > MAX_MEMBER_CHARS {
            self.0.truncate(before);
        }
    }

    /// Reads `x-datadog-tags`; the result is the upper half of the trace id.
    fn read_tags(&mut self, header: &str, problem: &mut dyn FnMut(&'static str)) -> u64 {
        let mut high = 0;
        for pair in header.split(',').filter(|pair| !pair.trim().is_empty()) {
            match pair.trim().split_once('=').and_then(|(key, value)| Some((key.strip_prefix(TAG_PREFIX)?, value))) {
                None => problem("a tag is not _dd.p.…=…"),
                Some(("tid", value)) => match hex::lower(value.as_bytes()) {
                    Some(bytes) => high = u64::from_be_bytes(bytes),
                    None => problem("_dd.p.tid is not 16 lower-case hex digits"),
                },
                Some((key, value)) => self.add(&["t.", key], value),
            }
        }
        high
    }
}

/// The number that says both what the caller said and what is decided now.
fn priority(member: &str, decision: Decision, sampled: bool) -> Option<i8> {
    match decision {
        Decision::Deferred => None,
        Decision::Debug => Some(2),
        _ => {
            let said = members(member).find(|(key, _)| *key == "s").and_then(|(_, value)| value.parse().ok());
            Some(said.filter(|priority: &i8| (*priority > 0) == sampled).unwrap_or(i8::from(sampled)))
        }
    }
}

fn tags_header(member: &str, trace_id: TraceId) -> String {
    let mut header = String::new();
    let high = &trace_id.0[..8];
    if high != [0; 8] {
        let mut digits = [0; 16];
        hex::write(high, &mut digits);
        header.push_str("_dd.p.tid=");
        header.push_str(std::str::from_utf8(&digits).unwrap_or_default());
    }
    for (key, value) in members(member).filter_map(|(key, value)| Some((key.strip_prefix("t.")?, value))) {
        let before = header.len();
        header.push_str(if before == 0 { "" } else { "," });
        header.push_str(TAG_PREFIX);
        header.push_str(key);
        header.push('=');
        header.extend(value.chars().map(|char| if char == '~' { '=' } else { char }));
        if header.len() > MAX_TAGS_CHARS {
            header.truncate(before);
        }
    }
    header
}

fn members(value: &str) -> impl Iterator<Item = (&str, &str)> {
    value.split(';').filter_map(|member| member.split_once(':'))
}

fn is_key_char(char: char) -> bool {
    matches!(char, '!'..='~') && !matches!(char, ',' | ';' | ':' | '=')
}

/// A character of a value as the trace state's member holds it: `=` is written as `~`, what is not
/// allowed as `_`.
fn escape(char: char) -> char {
    match char {
        '=' => '~',
        ',' | ';' | '~' => '_',
        ' '..='~' => char,
        _ => '_',
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Context;

    #[test]
    fn origin_tags_and_priority_outlive_another_format() {
        let headers = vec![
            ("x-datadog-trace-id", "11803532876627986230"),
            ("x-datadog-parent-id", "67667974448284343"),
            ("x-datadog-sampling-priority", "2"),
            ("x-datadog-origin", "rum=a;b"),
            ("x-datadog-tags", "_dd.p.tid=4bf92f3577b34da6,_dd.p.dm=-4,_dd.p.usr.id=YQ==,other=1"),
        ];
        let (mut found, mut problems) = (Propagated::default(), Vec::new());
        Datadog.extract(&headers, &mut found, &mut |problem| problems.push(problem));
        assert_eq!(problems, [Problem { header: TAGS, reason: "a tag is not _dd.p.…=…" }]);
        let context = found.context.clone().unwrap();
        assert_eq!(context.to_traceparent(), "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01");
        assert_eq!(context.trace_state.as_str(), "dd=s:2;o:rum~a_b;t.dm:-4;t.usr.id:YQ~~");

        let mut sent: Vec<(String, String)> = Vec::new();
        Datadog.inject(&found, &mut sent);
        let header = |name: &str| sent.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
        assert_eq!((header(PRIORITY), header(ORIGIN)), (Some("2"), Some("rum=a_b")));
        assert_eq!(header(TAGS), Some("_dd.p.tid=4bf92f3577b34da6,_dd.p.dm=-4,_dd.p.usr.id=YQ=="));

        let dropped = Context { flags: 0, ..context };
        Datadog.inject(&Propagated { context: Some(dropped), ..found }, &mut sent);
        assert_eq!(sent.iter().find(|(key, _)| key == PRIORITY).map(|(_, value)| value.as_str()), Some("0"));
    }

    #[test]
    fn limits_hold() {
        let tags: Vec<String> = (0..40).map(|tag| format!("_dd.p.t{tag:02}={}", "v".repeat(20))).collect();
        let mut member = MemberText::default();
        member.read_tags(&tags.join(","), &mut |reason| panic!("{reason}"));
        assert!(member.0.len() <= MAX_MEMBER_CHARS && member.0.starts_with("t.t00:vvv"));
        let header = tags_header(&member.0, TraceId([1; 16]));
        assert!(header.len() <= MAX_TAGS_CHARS && header.starts_with("_dd.p.tid=0101010101010101,_dd.p.t00=vvv"));
    }
}
