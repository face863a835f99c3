//! Laws of search, over generated spans and queries.

use std::collections::BTreeSet;
use std::sync::Arc;

use proptest::prelude::*;
use tracewell_model::SpanRecord;
use tracewell_query::traceql::Query;
use tracewell_query::{Budget, SearchRequest, SearchResponse, Total, TotalMode, search};
use tracewell_store::table::Source;

use crate::data::{head, memory, query, spans};
use crate::naive::{self, Answer};

/// The spans of the four sources: two ordered ones with different chunks and blocks, two blocks of the head.
pub fn split(spans: &[(SpanRecord, Vec<usize>)]) -> Vec<Arc<dyn Source>> {
    let of = |source: usize| -> Vec<SpanRecord> {
        spans
            .iter()
            .flat_map(|(record, places)| places.iter().filter(|place| **place == source).map(|_| record.clone()))
            .collect()
    };
    let mut sources = vec![memory(&of(0), 3, 2), memory(&of(1), 64, 1)];
    sources.extend(head(&of(2)));
    sources.extend(head(&of(3)));
    sources
}

pub fn request(text: &str, start: u64, end: u64, limit: usize) -> SearchRequest {
    let query = Query::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
    SearchRequest { start, end, limit, max_spans_per_trace: 100, ..SearchRequest::new(query) }
}

pub fn answers(response: &SearchResponse) -> Vec<Answer> {
    response
        .traces
        .iter()
        .map(|trace| {
            assert_eq!(trace.matched_spans as usize, trace.spans.len());
            assert_eq!(trace.services.iter().map(|service| service.spans).sum::<u64>(), trace.span_count);
            Answer {
                trace_id: trace.trace_id,
                start: trace.start_unix_nano,
                duration_ns: trace.duration_ns,
                root: trace.root.clone(),
                spans: trace.span_count,
                errors: trace.error_count,
                matched: trace.spans.iter().map(|span| span.span_id.to_u64()).collect(),
            }
        })
        .collect()
}

pub fn threads(threads: usize) -> Budget {
    Budget { threads, ..Budget::default() }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    /// Search over columns, postings and pieces of traces equals a plain reading of the query, for any split of the spans.
    #[test]
    fn search_equals_a_plain_reading_for_any_split(
        spans in spans(),
        text in query(),
        range in prop_oneof![2 => Just((0, u64::MAX)), 1 => (1_000u64..1_080, 0u64..60).prop_map(|(from, len)| (from, from + len))],
    ) {
        let records: Vec<SpanRecord> = spans.iter().map(|(record, _)| record.clone()).collect();
        let request = request(&text, range.0, range.1, 100);
        let expected = naive::search(&request.query, &records, range.0, range.1);
        let found = search(&split(&spans), &request, &threads(1)).unwrap();
        prop_assert_eq!(&answers(&found), &expected, "split: {}", text);
        let found = search(&[memory(&records, 5, 3)], &request, &threads(1)).unwrap();
        prop_assert_eq!(&answers(&found), &expected, "one ordered source: {}", text);
        let found = search(&head(&records), &request, &threads(1)).unwrap();
        prop_assert_eq!(&answers(&found), &expected, "one block: {}", text);
        prop_assert_eq!(found.warnings.as_slice(), request.query.warnings());
    }

    /// Pages through cursors are the list that one large page is; each page tells the same total.
    #[test]
    fn pages_equal_one_list(spans in spans(), text in query(), limit in 1usize..4) {
        let sources = split(&spans);
        let whole = answers(&search(&sources, &request(&text, 0, u64::MAX, 100), &threads(2)).unwrap());
        let mut pages = Vec::new();
        let mut cursor = None;
        loop {
            let mut request = request(&text, 0, u64::MAX, limit);
            request.cursor = cursor;
            let page = search(&sources, &request, &threads(2)).unwrap();
            prop_assert!(page.traces.len() <= limit);
            prop_assert_eq!(page.total, Some(Total { value: whole.len() as u64, exact: true }), "{}", text);
            request.total = TotalMode::None;
            let uncounted = search(&sources, &request, &threads(1)).unwrap();
            prop_assert_eq!((answers(&uncounted), uncounted.total, uncounted.next_cursor), (answers(&page), None, page.next_cursor));
            pages.extend(answers(&page));
            prop_assert!(pages.len() <= whole.len());
            match page.next_cursor {
                // A cursor survives being written down.
                Some(next) => cursor = Some(next.to_string().parse().unwrap()),
                None => break,
            }
        }
        prop_assert_eq!(pages, whole, "{}", text);
    }

    /// What arrives later and is newer does not move a page that was asked for by cursor.
    #[test]
    fn a_cursor_is_stable_while_data_arrives(spans in spans(), text in query()) {
        let records: Vec<SpanRecord> = spans.iter().map(|(record, _)| record.clone()).collect();
        let before = vec![memory(&records, 4, 2)];
        let first = search(&before, &request(&text, 0, u64::MAX, 1), &threads(1)).unwrap();
        if first.next_cursor.is_none() {
            return Ok(());
        }
        let mut rest = request(&text, 0, u64::MAX, 100);
        rest.cursor = first.next_cursor;
        let expected = answers(&search(&before, &rest, &threads(1)).unwrap());
        let newer: Vec<SpanRecord> = records
            .iter()
            .cloned()
            .map(|mut record| {
                record.span.trace_id.0[0] |= 0x80;
                record.span.start_unix_nano += 10_000;
                record.span.end_unix_nano += 10_000;
                record
            })
            .collect();
        let mut after = before;
        after.extend(head(&newer));
        prop_assert_eq!(answers(&search(&after, &rest, &threads(1)).unwrap()), expected, "{}", text);
    }
}

/// The newest page is answered from the newest chunks alone.
#[test]
fn the_newest_page_reads_a_few_chunks() {
    let spans: Vec<SpanRecord> = (0..3_000u64)
        .map(|number| {
            let mut record = crate::data::span(0, number + 1, 0, number * 1_000, "GET /");
            record.span.trace_id.0[..8].copy_from_slice(&(number + 1).to_be_bytes());
            record
        })
        .collect();
    let source = Arc::new(crate::memory::Memory::new(spans, 16, 8));
    let mut request = request("{ resource.service.name = \"svc\" && duration > 1us }", 0, u64::MAX, 20);
    request.total = TotalMode::None;
    let sources: Vec<Arc<dyn Source>> = vec![source.clone()];
    let response = search(&sources, &request, &threads(1)).unwrap();
    let ids: BTreeSet<_> = response.traces.iter().map(|trace| trace.trace_id).collect();
    assert_eq!((response.traces.len(), ids.len()), (20, 20));
    assert!(response.next_cursor.is_some());
    assert!(response.stats.inspected_spans < 200, "{:?}", response.stats);
}
