//! Corrections for span records, which know their resource but no numbered texts.

use std::collections::HashMap;
use std::sync::Arc;

use foldhash::fast::RandomState;
use tracewell_model::{Resource, SpanRecord};

use super::{Options, for_trace};
use crate::{Builder, Span, Traces};

/// What has to be subtracted from the start and the end of each of the `records`, nanoseconds, in their order; `None`
/// where no clock is known to be off. The clocks are told by the records themselves and by `baseline`, other traces of the
/// same services (none is fine: then little is certain).
pub fn corrections(records: &[SpanRecord], baseline: &Traces) -> Option<Vec<i64>> {
    let traces = Builder::from_records(records, &[]);
    let clocks = for_trace(&traces, baseline, &Options::default());
    if clocks.agree() {
        return None;
    }
    let mut builder = Builder::new();
    let mut units: HashMap<*const Resource, Option<Span>, RandomState> = HashMap::default();
    let mut unit = |resource: &Arc<Resource>| {
        *units.entry(Arc::as_ptr(resource)).or_insert_with(|| {
            let origin = builder.origin(resource);
            let mut find = |text| traces.texts().find(builder.texts().get(text));
            let (service, instance, host) = (find(origin.service)?, find(origin.instance)?, find(origin.host)?);
            Some(Span { service, instance, host, ..Span::default() })
        })
    };
    let correction = |record: &SpanRecord| {
        // A record without a start is drawn where its trace begins.
        let start_ns = record.span.start_unix_nano;
        let span = unit(&record.resource).filter(|_| start_ns != 0);
        span.map_or(0, |span| clocks.correction_ns(&Span { start_ns, ..span }))
    };
    let corrections: Vec<i64> = records.iter().map(correction).collect();
    corrections.iter().any(|correction| *correction != 0).then_some(corrections)
}
