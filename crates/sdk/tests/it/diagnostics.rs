//! Problems of instrumentation reach the server as log records.
//!
//! The table is the process's, and the tests of this binary share it: each looks for words of its own.

use std::time::Duration;

use tracewell_model::LogEntry;
use tracewell_sdk::diagnostics;
use tracing::info_span;

use crate::receiver::{Receiver, Step, service};

fn text<'a>(entry: &'a LogEntry, key: &str) -> Option<&'a str> {
    entry.record.attributes.iter().find(|attribute| attribute.key == key)?.value.as_str()
}

/// The reports about one kind; other tests' problems may travel in the same request.
fn reports(receiver: &Receiver, kind: &str) -> Vec<LogEntry> {
    receiver.all_logs().into_iter().filter(|entry| text(entry, "tracewell.problem.kind") == Some(kind)).collect()
}

#[test]
fn a_counted_problem_becomes_one_log_record() {
    let receiver = Receiver::start(vec![]);
    let mut found = Vec::new();
    // Another test's exporter may be the one that reports, so this one counts until it is its turn.
    for _ in 0..20 {
        let (pipeline, _dispatch) = service(receiver.config());
        (0..3).for_each(|_| diagnostics::count("x-test-header", "not text"));
        assert!(pipeline.flush(Duration::from_secs(10)));
        found = reports(&receiver, "x-test-header");
        if !found.is_empty() {
            break;
        }
    }
    let entry = &found[0];
    let record = &entry.record;
    assert_eq!(record.event_name, "tracewell.sdk.problem");
    assert_eq!((record.severity_number, record.severity_text.as_str()), (13, "WARN"));
    assert_eq!(entry.scope.name, "tracewell.sdk");
    assert_eq!(entry.resource.service_name(), "test");
    assert_eq!(text(entry, "tracewell.problem.reason"), Some("not text"));
    let body = record.body.as_str().unwrap();
    assert!(body.starts_with("instrumentation problem: x-test-header: not text, "), "{body}");
    assert!(diagnostics::snapshot().iter().any(|problem| problem.kind == "x-test-header" && problem.count >= 3));
}

#[test]
fn a_report_that_fails_comes_again_and_holds_nobody_up() {
    let receiver = Receiver::start(vec![Step::Answer(503, "Retry-After: 60\r\n", Vec::new())]);
    let mut found = Vec::new();
    for _ in 0..20 {
        let (pipeline, _dispatch) = service(receiver.config());
        diagnostics::count("x-test-again", "once");
        assert!(pipeline.flush(Duration::from_secs(10)), "an unsent report is not waited for");
        assert!(pipeline.flush(Duration::from_secs(10)));
        found = reports(&receiver, "x-test-again");
        if receiver.requests().len() > 1 && !found.is_empty() {
            break;
        }
    }
    assert!(!found.is_empty());
}

#[test]
fn lost_spans_are_reported() {
    let receiver = Receiver::start(vec![Step::Answer(400, "", Vec::new())]);
    let (pipeline, dispatch) = service(receiver.config());
    tracing::dispatcher::with_default(&dispatch, || drop(info_span!("refused")));
    assert!(pipeline.flush(Duration::from_secs(10)));
    let lost = diagnostics::snapshot().into_iter().find(|problem| problem.kind == "spans").expect("a count");
    assert_eq!((lost.reason, lost.count > 0), ("given up, because the receiver took none", true));
}
