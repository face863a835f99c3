//! Traces that were built apart, put together.

use super::{Attribute, NO_SPAN, Scalar, Span, Text, Texts, Traces};

impl Traces {
    /// Puts other traces behind these. A trace that is in both stays in both. Linear in what is added.
    pub fn append(&mut self, other: Traces) {
        if self.traces.is_empty() && self.resources.len() <= 1 {
            *self = other;
            return;
        }
        let numbers = renumbered(&mut self.texts, &other.texts);
        let text = |text: Text| numbers.get(text.0 as usize).copied().unwrap_or(Text::EMPTY);
        let attribute = |attribute: &Attribute| {
            let value = match attribute.value {
                Scalar::Text(value) => Scalar::Text(text(value)),
                other => other,
            };
            Attribute { key: text(attribute.key), value }
        };
        let spans = self.spans.len() as u32;
        let (attributes, logs) = (self.attributes.len() as u32, self.logs.len() as u32);
        // Resource 0 is the one that says nothing, in both.
        let resources = (self.resources.len() as u32).saturating_sub(1);
        let moved = |span: u32| if span == NO_SPAN { NO_SPAN } else { span + spans };
        self.spans.extend(other.spans.iter().map(|span| Span {
            parent: moved(span.parent),
            service: text(span.service),
            operation: text(span.operation),
            instance: text(span.instance),
            host: text(span.host),
            version: text(span.version),
            peer: text(span.peer),
            statement: text(span.statement),
            trace_state: text(span.trace_state),
            status_message: text(span.status_message),
            resource: if span.resource == 0 { 0 } else { span.resource + resources },
            attributes_first: span.attributes_first + attributes,
            ..*span
        }));
        self.attributes.extend(other.attributes.iter().map(attribute));
        self.resources.extend(other.resources.iter().skip(1).map(|all| all.iter().map(attribute).collect()));
        self.logs.extend(other.logs.iter().map(|log| super::Log {
            span: moved(log.span),
            service: text(log.service),
            site: text(log.site),
            ..*log
        }));
        self.links.extend(other.links.iter().map(|link| super::Link { span: moved(link.span), ..*link }));
        self.traces.extend(other.traces.iter().map(|trace| super::Trace {
            first: trace.first + spans,
            end: trace.end + spans,
            logs_first: trace.logs_first + logs,
            logs_end: trace.logs_end + logs,
            ..*trace
        }));
    }
}

/// The number that each of `other`'s texts has in `texts`.
fn renumbered(texts: &mut Texts, other: &Texts) -> Vec<Text> {
    (0..other.len() as u32).map(|number| texts.number(other.get(Text(number)))).collect()
}
