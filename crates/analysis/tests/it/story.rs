//! Traces written down as stories, for tests.

use tracewell_analysis::{Attribute, Builder, Span, Status, Traces};
use tracewell_model::{SpanId, TraceId};

pub const SERVER: u8 = 2;
pub const CLIENT: u8 = 3;
pub const CONSUMER: u8 = 5;
pub const MS: u64 = 1_000_000;

/// Writes traces span by span, in milliseconds.
pub struct Story {
    builder: Builder,
    traces: u64,
    spans: u64,
}

/// A span of a story that others can be below.
pub type At = Option<SpanId>;

impl Story {
    pub fn new() -> Self {
        Self { builder: Builder::new(), traces: 0, spans: 0 }
    }

    pub fn span(&mut self, (below, kind, service, operation): (At, u8, &str, &str), (start, end): (u64, u64)) -> At {
        self.told(below, kind, service, operation, (start, end), |_, _| Vec::new())
    }

    pub fn told(
        &mut self,
        parent_id: At,
        kind: u8,
        service: &str,
        operation: &str,
        (start, end): (u64, u64),
        more: impl FnOnce(&mut Builder, &mut Span) -> Vec<Attribute>,
    ) -> At {
        self.spans += 1;
        let id = SpanId::from_u64(self.spans);
        let texts = self.builder.texts();
        let mut span = Span {
            id,
            parent_id,
            kind,
            service: texts.number(service),
            operation: texts.number(operation),
            start_ns: 1_000 * MS + start * MS,
            end_ns: 1_000 * MS + end * MS,
            ..Span::default()
        };
        let attributes = more(&mut self.builder, &mut span);
        self.builder.span(span, &attributes);
        Some(id)
    }

    /// A client span with the server span that it called, at the same time.
    pub fn call(&mut self, below: At, (caller, callee): (&str, &str), operation: &str, (start, end): (u64, u64)) -> At {
        let client = self.span((below, CLIENT, caller, operation), (start, end));
        self.span((client, SERVER, callee, operation), (start, end))
    }

    pub fn failing(&mut self, below: At, (caller, callee): (&str, &str), operation: &str, times: (u64, u64)) -> At {
        let client = self.failed(below, CLIENT, caller, operation, times);
        self.failed(client, SERVER, callee, operation, times)
    }

    pub fn failed(&mut self, below: At, kind: u8, service: &str, operation: &str, times: (u64, u64)) -> At {
        self.told(below, kind, service, operation, times, |_, span| {
            span.status = Status::Error;
            Vec::new()
        })
    }

    /// Ends the trace under way.
    pub fn end(&mut self) {
        self.end_for(1.0);
    }

    /// Ends the trace under way, which stands for so many.
    pub fn end_for(&mut self, weight: f64) {
        self.traces += 1;
        let id = [self.traces.to_be_bytes(), [0; 8]].concat();
        self.builder.finish_trace(TraceId::from_slice(&id).unwrap(), weight);
    }

    pub fn traces(self) -> Traces {
        self.builder.finish()
    }
}
