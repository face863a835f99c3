//! Real segment files: what blocks answered, the segments made of them answer too.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use proptest::prelude::*;
use tracewell_model::SpanRecord;
use tracewell_query::{Budget, search, trace};
use tracewell_store::cache::Cache;
use tracewell_store::merge::{Target, write};
use tracewell_store::segment::Segment;
use tracewell_store::table::Source;
use tracewell_wire::otlp::encode_traces;

use crate::data::{head, query, spans, trace_id};
use crate::laws::{answers, request, threads};
use crate::naive;

/// Merges sources into segments in `dir`.
pub fn merged(sources: &[Arc<dyn Source>], dir: &Path) -> Vec<Arc<dyn Source>> {
    let cancelled = AtomicBool::new(false);
    let mut last = 0;
    let mut next_id = || {
        last += 1;
        last
    };
    let mut target = Target {
        dir,
        next_id: &mut next_id,
        tenant: "default",
        partition_ns: 3_600_000_000_000,
        max_partitions: 4,
        max_rows: 8,
        wal_range: (1, 1),
        replaces: Vec::new(),
        zstd_level: 1,
        cancelled: &cancelled,
    };
    let metas = write(sources, &mut target).unwrap();
    let cache = Cache::new(1 << 20);
    metas.iter().map(|meta| Segment::open(dir, meta, &cache).unwrap() as Arc<dyn Source>).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn segments_answer_as_the_blocks_that_they_were_made_of(
        spans in spans(),
        texts in proptest::collection::vec(query(), 8),
        range in prop_oneof![2 => Just((0, u64::MAX)), 1 => (1_000u64..1_080, 0u64..60).prop_map(|(from, len)| (from, from + len))],
    ) {
        let records: Vec<SpanRecord> = spans.iter().map(|(record, _)| record.clone()).collect();
        let of = |low: usize, high: usize| -> Vec<SpanRecord> {
            let held = spans.iter().filter(|(_, places)| places.iter().any(|place| (low..high).contains(place)));
            held.map(|(record, _)| record.clone()).collect()
        };
        let dir = tempfile::tempdir().unwrap();
        // Half of the sources become segments, what is twice in them stands once; the rest stays in the head.
        let mut sources = merged(&[head(&of(0, 1)), head(&of(1, 2)), head(&of(0, 2))].concat(), dir.path());
        sources.extend(head(&of(2, 4)));
        for text in &texts {
            let request = request(text, range.0, range.1, 100);
            let expected = naive::search(&request.query, &records, range.0, range.1);
            let found = search(&sources, &request, &threads(1)).unwrap();
            prop_assert_eq!(answers(&found), expected, "{}", text);
        }
        for number in 1..6 {
            let mut expected: Vec<SpanRecord> =
                records.iter().filter(|record| record.span.trace_id == trace_id(number)).cloned().collect();
            expected.sort_by_key(|record| (record.span.start_unix_nano, record.span.span_id));
            for record in &mut expected {
                record.span.attributes.sort_by(|left, right| left.key.cmp(&right.key));
            }
            let found = trace(&sources, &trace_id(number), &Budget::default()).unwrap().unwrap_or_default();
            prop_assert_eq!(encode_traces(&found.spans), encode_traces(&expected));
        }
    }
}
