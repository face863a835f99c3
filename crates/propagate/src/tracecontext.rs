//! W3C Trace Context, level 2: the `traceparent` and `tracestate` headers.
//!
//! ```text
//! traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-03
//!              │  trace id                         parent id        flags
//!              version
//! ```

use std::str::FromStr;

use crate::hex;
use crate::{
    Context, Decision, Extract, FLAG_RANDOM, FLAG_SAMPLED, Inject, Problem, Propagated, Propagator, SpanId, TraceId,
    TraceState, TraceStateError,
};

const TRACEPARENT: &str = "traceparent";
const TRACESTATE: &str = "tracestate";

/// Length of a version 00 header.
const HEADER_CHARS: usize = 55;

/// Why a text is not a `traceparent`. The receiver then starts a new trace (§3.2.2, §4.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TraceParentError {
    /// Neither 55 characters nor, for a future version, a continuation after them.
    #[error("traceparent has {chars} characters, expected 55 (or `-…` after them in versions above 00)")]
    Length {
        /// Characters found.
        chars: usize,
    },
    /// The version is not two lower-case hex digits.
    #[error("traceparent starts with an invalid version, expected two lower-case hex digits")]
    Version,
    /// Version `ff`, which is never used.
    #[error("traceparent has version ff, which stands for none")]
    VersionFf,
    /// The fields are not separated by `-` where they have to be.
    #[error("traceparent fields are not separated by `-`")]
    Separator,
    /// An id or the flags hold something other than lower-case hex digits.
    #[error("traceparent holds something other than lower-case hex digits")]
    Digits,
    /// An id is all zero.
    #[error("traceparent holds an id of zeros only")]
    ZeroId,
}

impl TraceParentError {
    /// What is wrong in a few fixed words, for counters.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Length { .. } => "length is not that of its version",
            Self::Version => "version is not two lower-case hex digits",
            Self::VersionFf => "version is ff",
            Self::Separator => "fields are not separated by -",
            Self::Digits => "not lower-case hex digits",
            Self::ZeroId => "an id is all zero",
        }
    }
}

impl Context {
    /// Reads a `traceparent` value; the trace state stays empty. Space and tab around it are ignored,
    /// as HTTP does. Of a version above 00 the part that 00 defines is read, and unknown flags are
    /// dropped because their meaning is not known (§3.2.2.5, §4.3).
    ///
    /// # Errors
    ///
    /// [`TraceParentError`] says what is wrong; the value must then be ignored as a whole.
    pub fn parse_traceparent(value: &str) -> Result<Self, TraceParentError> {
        let value = value.trim_matches([' ', '\t']);
        let bytes = value.as_bytes();
        let (Some(header), rest) = (bytes.get(..HEADER_CHARS), bytes.get(HEADER_CHARS..).unwrap_or_default()) else {
            return Err(TraceParentError::Length { chars: value.chars().count() });
        };
        let version = hex::lower::<1>(&header[..2]).ok_or(TraceParentError::Version)?;
        if version == [0xff] {
            return Err(TraceParentError::VersionFf);
        }
        if header[2] != b'-' || header[35] != b'-' || header[52] != b'-' {
            return Err(TraceParentError::Separator);
        }
        if !(rest.is_empty() || version > [0] && rest[0] == b'-') {
            return Err(TraceParentError::Length { chars: value.chars().count() });
        }
        let trace_id = TraceId(hex::lower(&header[3..35]).ok_or(TraceParentError::Digits)?);
        let span_id = SpanId(hex::lower(&header[36..52]).ok_or(TraceParentError::Digits)?);
        let [flags] = hex::lower(&header[53..]).ok_or(TraceParentError::Digits)?;
        let flags = flags & (FLAG_SAMPLED | FLAG_RANDOM);
        if trace_id.is_zero() || span_id.is_zero() {
            return Err(TraceParentError::ZeroId);
        }
        Ok(Self { trace_id, span_id, flags, trace_state: TraceState::default() })
    }

    /// The `traceparent` value of version 00. Reserved flags are written as zero (§3.2.2.5.3).
    pub fn to_traceparent(&self) -> String {
        self.with_traceparent(str::to_owned)
    }

    /// Hands the `traceparent` value to `act` without allocating it.
    pub(crate) fn with_traceparent<T>(&self, act: impl FnOnce(&str) -> T) -> T {
        let mut header = [b'-'; HEADER_CHARS];
        let flags = self.flags & (FLAG_SAMPLED | FLAG_RANDOM);
        hex::write(&[0], &mut header[..2]);
        hex::write(&self.trace_id.0, &mut header[3..35]);
        hex::write(&self.span_id.0, &mut header[36..52]);
        hex::write(&[flags], &mut header[53..]);
        act(std::str::from_utf8(&header).unwrap_or_default())
    }
}

impl FromStr for Context {
    type Err = TraceParentError;
    /// As [`Context::parse_traceparent`].
    fn from_str(value: &str) -> Result<Self, TraceParentError> {
        Self::parse_traceparent(value)
    }
}

/// Hands the first value of a header to `act`, and counts them all.
fn visit_counted(carrier: &dyn Extract, name: &str, mut act: impl FnMut(&str)) -> usize {
    let mut count = 0usize;
    carrier.values(name, &mut |value| {
        count += 1;
        if count == 1 {
            act(value);
        }
    });
    count
}

/// Several tracestate headers are one list in the order received (§3.3.1.1, RFC 9110 §5.3).
fn parse_trace_state(carrier: &dyn Extract) -> Result<TraceState, TraceStateError> {
    let mut first = Ok(TraceState::default());
    if visit_counted(carrier, TRACESTATE, |value| first = value.parse()) <= 1 {
        return first;
    }
    let mut combined = String::new();
    carrier.values(TRACESTATE, &mut |value| {
        combined.push_str(value);
        combined.push(',');
    });
    combined.parse()
}

/// The `tracecontext` propagator.
#[derive(Debug, Clone, Copy, Default)]
pub struct TraceContext;

impl Propagator for TraceContext {
    fn fields(&self) -> &'static [&'static str] {
        &[TRACEPARENT, TRACESTATE]
    }

    fn extract(&self, carrier: &dyn Extract, into: &mut Propagated, problem: &mut dyn FnMut(Problem)) {
        let mut tell = |header, reason| problem(Problem { header, reason });
        let mut found = None;
        let count = visit_counted(carrier, TRACEPARENT, |value| found = Some(Context::parse_traceparent(value)));
        let mut context = match found {
            // More than one traceparent means that the caller's is not known (§4.3): start anew.
            Some(_) if count > 1 => return tell(TRACEPARENT, "sent more than once"),
            Some(Err(error)) => return tell(TRACEPARENT, error.reason()),
            Some(Ok(context)) => context,
            None => return,
        };
        // An invalid tracestate must not affect the traceparent (§3.3.1.4).
        match parse_trace_state(carrier) {
            Ok(trace_state) => context.trace_state = trace_state,
            Err(error) => tell(TRACESTATE, error.reason()),
        }
        into.found(context, Decision::AsFlagged);
    }

    fn inject(&self, propagated: &Propagated, carrier: &mut dyn Inject) {
        let Some(context) = propagated.context.as_ref().filter(|context| context.is_valid()) else { return };
        context.with_traceparent(|header| carrier.set(TRACEPARENT, header));
        if !context.trace_state.is_empty() {
            carrier.set(TRACESTATE, &context.trace_state.header());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const GOOD: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn each_fault_is_named() {
        let cases = [
            ("", TraceParentError::Length { chars: 0 }),
            (&GOOD[..54], TraceParentError::Length { chars: 54 }),
            (&format!("{GOOD}-x"), TraceParentError::Length { chars: 57 }),
            (&format!("cc{}.x", &GOOD[2..]), TraceParentError::Length { chars: 57 }),
            (&format!("ff{}", &GOOD[2..]), TraceParentError::VersionFf),
            (&format!("0G{}", &GOOD[2..]), TraceParentError::Version),
            (&GOOD.replace("-00f0", "+00f0"), TraceParentError::Separator),
            (&GOOD.replace("4bf9", "4BF9"), TraceParentError::Digits),
            (&GOOD.replace("00f067aa0ba902b7", "0000000000000000"), TraceParentError::ZeroId),
            ("é0-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", TraceParentError::Version),
        ];
        for (value, expected) in cases {
            assert_eq!(Context::parse_traceparent(value), Err(expected), "{value:?}");
        }
    }

    #[test]
    fn only_flags_whose_meaning_is_known_are_kept() {
        let flags = |value: &str| Context::parse_traceparent(value).unwrap().flags;
        assert_eq!(flags(&GOOD.replace("-01", "-ff")), FLAG_SAMPLED | FLAG_RANDOM);
        assert_eq!(flags(&GOOD.replace("-01", "-02")), FLAG_RANDOM);
        assert_eq!(flags(&GOOD.replace("-01", "-08")), 0);
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_again(trace in 1u128.., span in 1u64.., flags in 0u8..4) {
            let context = Context {
                trace_id: TraceId(trace.to_be_bytes()),
                span_id: SpanId::from_u64(span),
                flags,
                trace_state: TraceState::default(),
            };
            prop_assert_eq!(Context::parse_traceparent(&context.to_traceparent()), Ok(context));
        }

        #[test]
        fn no_text_makes_it_panic(text in "\\PC{0,70}") {
            let _ = Context::parse_traceparent(&text);
        }
    }
}
