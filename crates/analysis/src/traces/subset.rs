//! Some of many traces.

use super::{Link, Log, NO_SPAN, Span, Trace, Traces};

impl Traces {
    /// The traces whose number `keep` accepts, with everything that is theirs. Linear in what is kept, and in the texts.
    pub fn subset(&self, mut keep: impl FnMut(usize) -> bool) -> Traces {
        let mut kept = Traces { texts: self.texts.clone(), resources: self.resources.clone(), ..Traces::default() };
        for (_, trace) in self.traces.iter().enumerate().filter(|(number, _)| keep(*number)) {
            let first = kept.spans.len() as u32;
            let moved = |span: u32| if span == NO_SPAN { NO_SPAN } else { span - trace.first + first };
            for span in self.spans_of(trace) {
                let attributes =
                    span.attributes_first as usize..(span.attributes_first + span.attributes_count) as usize;
                let attributes_first = kept.attributes.len() as u32;
                kept.attributes.extend_from_slice(&self.attributes[attributes]);
                kept.spans.push(Span { parent: moved(span.parent), attributes_first, ..*span });
            }
            let logs_first = kept.logs.len() as u32;
            kept.logs.extend(self.logs_of(trace).iter().map(|log| Log { span: moved(log.span), ..*log }));
            let from = self.links.partition_point(|link| link.span < trace.first);
            let links = self.links[from..].iter().take_while(|link| link.span < trace.end);
            kept.links.extend(links.map(|link| Link { span: moved(link.span), ..*link }));
            kept.traces.push(Trace {
                first,
                end: kept.spans.len() as u32,
                logs_first,
                logs_end: kept.logs.len() as u32,
                ..*trace
            });
        }
        kept
    }
}
