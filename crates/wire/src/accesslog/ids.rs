//! Trace contexts as logs hold them: whole headers, or bare ids.
//!
//! This reads what a proxy has written down. It is more lenient than the extraction of headers, which decides whether a
//! request joins a trace: here the decision has been taken, and an id in capitals is an id.

use tracewell_model::{SpanId, TraceId};

use super::field::{Access, Field};

/// The trace that a line belongs to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Context {
    pub(super) trace_id: TraceId,
    /// The span that caused the request.
    pub(super) parent: Option<SpanId>,
    /// The span that the line describes, where it names one.
    pub(super) own: Option<SpanId>,
    /// The span that the request to the server behind was given.
    pub(super) upstream: Option<SpanId>,
    /// W3C flags.
    pub(super) flags: u8,
    pub(super) trace_state: String,
    /// The trace was made from a request id.
    pub(super) inferred: bool,
}

/// What the ids of a line say; `None` when there are none. Broken ones count as absent.
pub(super) fn context(access: &Access<'_>) -> Option<Context> {
    let mut context = bare(access)
        .or_else(|| access.get(Field::Traceparent).and_then(traceparent))
        .or_else(|| access.get(Field::B3).and_then(b3))
        .or_else(|| access.get(Field::AmazonTraceId).and_then(amazon))
        .or_else(|| access.get(Field::Uber).and_then(uber))
        .or_else(|| access.get(Field::RequestId).and_then(request_id))?;
    context.upstream = access.get(Field::UpstreamSpanId).and_then(span_id);
    context.trace_state = access.get(Field::Tracestate).unwrap_or_default().to_owned();
    Some(context)
}

fn bare(access: &Access<'_>) -> Option<Context> {
    let trace_id = trace_id(access.get(Field::TraceId)?)?;
    let span = access.get(Field::SpanId).and_then(span_id);
    let parent = access.get(Field::ParentId).and_then(span_id);
    // With both, the line knows its own span; with one, it is the caller's or that of the code that wrote the line.
    let (own, parent) = match access.get(Field::ParentId) {
        Some(_) => (span, parent),
        None => (None, span),
    };
    let sampled = access.get(Field::Sampled).is_none_or(|text| matches!(text, "1" | "01" | "true" | "d" | "True"));
    Some(Context { trace_id, parent, own, flags: u8::from(sampled), ..Context::default() })
}

/// 32 or 16 hexadecimal digits, perhaps with dashes, or the decimal number of Datadog.
fn trace_id(text: &str) -> Option<TraceId> {
    let text = text.trim();
    let digits: String = text.chars().filter(|c| *c != '-').collect();
    let id = match digits.len() {
        32 => digits.parse().ok()?,
        16 => format!("{digits:0>32}").parse().ok()?,
        1..=20 if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
            TraceId(u128::from(digits.parse::<u64>().ok()?).to_be_bytes())
        }
        // Jaeger leaves out zeros in front.
        1..=31 => format!("{digits:0>32}").parse().ok()?,
        _ => return None,
    };
    Some(id).filter(|id| !id.is_zero())
}

fn span_id(text: &str) -> Option<SpanId> {
    let text = text.trim();
    let id = match text.len() {
        16 => text.parse().ok()?,
        17..=20 if text.bytes().all(|byte| byte.is_ascii_digit()) => SpanId::from_u64(text.parse().ok()?),
        1..=15 => format!("{text:0>16}").parse().ok()?,
        _ => return None,
    };
    Some(id).filter(|id| !id.is_zero())
}

/// `00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01`
fn traceparent(text: &str) -> Option<Context> {
    let mut parts = text.trim().split('-');
    let version = parts.next().filter(|version| version.len() == 2 && !version.eq_ignore_ascii_case("ff"))?;
    let trace_id: TraceId = parts.next()?.parse().ok()?;
    let parent: SpanId = parts.next()?.parse().ok()?;
    let flags = u8::from_str_radix(parts.next().filter(|flags| flags.len() == 2)?, 16).ok()?;
    if u8::from_str_radix(version, 16).is_err() || trace_id.is_zero() || parent.is_zero() {
        return None;
    }
    Some(Context { trace_id, parent: Some(parent), flags, ..Context::default() })
}

/// `4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-1`
fn b3(text: &str) -> Option<Context> {
    let mut parts = text.trim().split('-');
    let trace_id = trace_id(parts.next().filter(|id| matches!(id.len(), 16 | 32))?)?;
    let parent = span_id(parts.next()?)?;
    let flags = u8::from(parts.next().is_none_or(|sampled| matches!(sampled, "1" | "d" | "true")));
    Some(Context { trace_id, parent: Some(parent), flags, ..Context::default() })
}

/// `Root=1-67891233-abcdef012345678912345678;Parent=463ac35c9f6413ad;Sampled=1`
fn amazon(text: &str) -> Option<Context> {
    let mut context = Context { flags: 1, ..Context::default() };
    for pair in text.split(';') {
        let (name, value) = pair.trim().split_once('=')?;
        match name {
            "Root" => context.trace_id = trace_id(value.strip_prefix("1-").filter(|rest| rest.len() == 33)?)?,
            "Parent" => context.parent = span_id(value),
            "Sampled" => context.flags = u8::from(value == "1"),
            _ => {}
        }
    }
    (!context.trace_id.is_zero()).then_some(context)
}

/// `4bf92f3577b34da6:00f067aa0ba902b7:0:1`
fn uber(text: &str) -> Option<Context> {
    let text = text.replace("%3A", ":").replace("%3a", ":");
    let mut parts = text.trim().split(':');
    let (trace_id, parent) = (trace_id(parts.next()?)?, span_id(parts.next()?)?);
    let flags = u8::from_str_radix(parts.nth(1)?, 16).ok()? & 1;
    Some(Context { trace_id, parent: Some(parent), flags, ..Context::default() })
}

fn request_id(text: &str) -> Option<Context> {
    let trace_id = TraceId::from_request_id(text)?;
    Some(Context { trace_id, flags: 1, inferred: true, ..Context::default() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::accesslog::field::Slot;

    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

    fn of(values: &[(Field, &'static str)]) -> Option<Context> {
        let mut access = Access::default();
        values.iter().for_each(|(field, value)| access.set(&Slot::of(*field), (*value).into()));
        context(&access)
    }

    #[test]
    fn every_form_of_context_is_read() {
        let trace: TraceId = TRACE.parse().unwrap();
        let parent = Some(SpanId::from_u64(0x00f0_67aa_0ba9_02b7));
        let short: TraceId = "0000000000000000a3ce929d0e0e4736".parse().unwrap();
        for (field, text, trace_id, parent, flags) in [
            (Field::Traceparent, "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", trace, parent, 1),
            (Field::Traceparent, "00-4BF92F3577B34DA6A3CE929D0E0E4736-00F067AA0BA902B7-00", trace, parent, 0),
            (Field::B3, "4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7", trace, parent, 1),
            (Field::B3, "a3ce929d0e0e4736-00f067aa0ba902b7-0-00f067aa0ba902b8", short, parent, 0),
            (
                Field::AmazonTraceId,
                "Root=1-4bf92f35-77b34da6a3ce929d0e0e4736;Parent=00f067aa0ba902b7;Sampled=1",
                trace,
                parent,
                1,
            ),
            (Field::AmazonTraceId, "Self=1-x;Root=1-4bf92f35-77b34da6a3ce929d0e0e4736", trace, None, 1),
            (Field::Uber, "a3ce929d0e0e4736:f067aa0ba902b7:0:1", short, parent, 1),
            (Field::TraceId, "a3ce929d0e0e4736", short, None, 1),
            (Field::TraceId, "11803532876627986230", "0000000000000000a3ce929d0e0e4736".parse().unwrap(), None, 1),
        ] {
            let found = of(&[(field, text)]).unwrap_or_else(|| panic!("{text}"));
            assert_eq!((found.trace_id, found.parent, found.flags), (trace_id, parent, flags), "{text}");
        }
        for (field, text) in [
            (Field::Traceparent, "00-00000000000000000000000000000000-00f067aa0ba902b7-01"),
            (Field::Traceparent, "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
            (Field::Traceparent, "00-4bf9-00f067aa0ba902b7-01"),
            (Field::B3, "0"),
            (Field::AmazonTraceId, "Root=2-4bf92f35-77b34da6a3ce929d0e0e4736"),
            (Field::Uber, "::"),
            (Field::TraceId, "no id at all"),
            (Field::RequestId, "-"),
        ] {
            assert_eq!(of(&[(field, text)]), None, "{text}");
        }
    }

    #[test]
    fn a_context_is_stronger_than_a_request_id() {
        let found = of(&[(Field::RequestId, "r1"), (Field::B3, "broken")]).unwrap();
        assert!(found.inferred);
        let found = of(&[(Field::RequestId, "r1"), (Field::TraceId, TRACE)]).unwrap();
        assert!(!found.inferred);
    }

    #[test]
    fn a_line_that_knows_its_parent_knows_its_own_span() {
        let both = of(&[(Field::TraceId, TRACE), (Field::SpanId, "1"), (Field::ParentId, "2")]).unwrap();
        assert_eq!((both.own, both.parent), (Some(SpanId::from_u64(1)), Some(SpanId::from_u64(2))));
        let one = of(&[(Field::TraceId, TRACE), (Field::SpanId, "1")]).unwrap();
        assert_eq!((one.own, one.parent), (None, Some(SpanId::from_u64(1))));
    }
}
