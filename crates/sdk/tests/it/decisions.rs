//! What a caller's headers say about recording, beyond the sampled flag, and what is passed on.

use tracewell_model::{KeyValue, SpanRecord};
use tracewell_sdk::propagate::Composite;
use tracewell_sdk::{Sampler, SpanExt};
use tracing::info_span;

use crate::receiver::{Receiver, recorded};

/// The spans of a service below a request with this header, and the headers that it sends on.
fn below(sampler: Sampler, header: (&str, &str)) -> (Vec<SpanRecord>, Vec<(String, String)>) {
    let receiver = Receiver::start(vec![]);
    let mut config = receiver.traces_only();
    config.sampler = sampler;
    config.propagators = Composite::from_names("b3,jaeger").unwrap();
    let mut sent = Vec::new();
    let spans = recorded(config, &receiver, || {
        let span = info_span!("server");
        span.set_remote(&tracewell_sdk::extract(&vec![header]));
        span.in_scope(|| tracewell_sdk::inject(&info_span!("client"), &mut sent));
    });
    (spans, sent)
}

#[test]
fn orders_of_the_caller_are_followed_and_passed_on() {
    let ids = "4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7";
    let (open, debug) = (ids.to_owned(), format!("{ids}-d"));
    let off = || Sampler::always_off().parent_based();
    let on = || Sampler::always_on().parent_based();
    let cases = [
        // A decision left open is the sampler's.
        (on(), ("b3", open.as_str()), 2, "-1"),
        (off(), ("b3", &open), 0, "-0"),
        // Debug is recorded whatever the sampler says, and said to everyone below.
        (off(), ("b3", &debug), 2, "-d"),
        (Sampler::ratio(0.0).parent_based(), ("jaeger-debug-id", "checkout-17"), 2, "-d"),
        // Orders about a trace that begins here.
        (on(), ("b3", "0"), 0, "-0"),
        (off(), ("b3", "1"), 2, "-1"),
        (off(), ("b3", "d"), 2, "-d"),
    ];
    for (sampler, header, recorded, state) in cases {
        let (spans, sent) = below(sampler, header);
        assert_eq!(spans.len(), recorded, "{header:?}");
        let (_, b3) = sent.iter().find(|(name, _)| name == "b3").unwrap();
        assert!(b3.ends_with(state), "{header:?}: sent {b3}");
        if header.1.starts_with(ids) {
            assert!(b3.starts_with("4bf92f3577b34da6a3ce929d0e0e4736-"), "{header:?}: sent {b3}");
        }
    }
}

#[test]
fn a_debug_id_finds_its_trace_again() {
    let (spans, _) = below(Sampler::default(), ("jaeger-debug-id", "checkout-17"));
    let root = spans.iter().find(|record| record.span.name == "server").unwrap();
    assert_eq!(root.span.attributes, [KeyValue::new("jaeger-debug-id", "checkout-17")]);
}
