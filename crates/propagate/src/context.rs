//! The identity of a request at one point of its way.

use crate::{SpanId, TraceId, TraceState};

/// The `sampled` flag (W3C Trace Context level 2, §3.2.2.5.1).
pub const FLAG_SAMPLED: u8 = 0x01;

/// The `random` flag: at least the seven rightmost bytes of the trace id are random (level 2, §3.2.2.5.2).
pub const FLAG_RANDOM: u8 = 0x02;

/// Which trace a request belongs to, and which span caused what comes next.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Context {
    /// The trace.
    pub trace_id: TraceId,
    /// The span that is the parent of whatever follows.
    pub span_id: SpanId,
    /// W3C trace flags: [`FLAG_SAMPLED`], [`FLAG_RANDOM`]; other bits are reserved.
    pub flags: u8,
    /// Positions of the trace in other systems.
    pub trace_state: TraceState,
}

impl Context {
    /// True when both ids are set. An invalid context is treated as absent.
    pub fn is_valid(&self) -> bool {
        !self.trace_id.is_zero() && !self.span_id.is_zero()
    }

    /// True when the caller recorded its part of the trace.
    pub fn is_sampled(&self) -> bool {
        self.flags & FLAG_SAMPLED != 0
    }

    /// True when the trace id's seven rightmost bytes are known to be random.
    pub fn is_random(&self) -> bool {
        self.flags & FLAG_RANDOM != 0
    }
}
