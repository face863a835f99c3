//! The input: traces in preorder, whatever order and shape they arrive in.

use crate::data;

#[test]
fn a_real_trace_stands_in_preorder() {
    let Some(traces) = data::records("traces/jaeger-genai-57-spans.json") else { return };
    assert_eq!((traces.traces().len(), traces.spans().len()), (1, 57));
    let trace = &traces.traces()[0];
    for span in trace.spans() {
        for child in traces.children(span) {
            assert_eq!(traces.parent(child), Some(span));
            assert_eq!(traces.spans()[child].depth, traces.spans()[span].depth + 1);
        }
    }
}

#[test]
fn a_recorded_case_has_its_logs_below_its_spans() {
    let Some(traces) = data::root_cause("2023-01-29_0850_NORMAL") else { return };
    let below = traces.logs().iter().filter(|log| log.span != tracewell_analysis::NO_SPAN).count();
    assert!(traces.traces().len() > 50 && below > 1_000, "{} traces, {below} logs", traces.traces().len());
}
