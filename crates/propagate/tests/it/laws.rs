//! What holds for every format: what is written is read again as far as the format can carry it, a second
//! pass changes nothing, and no bytes make a reader panic or a limit break.

use std::collections::BTreeMap;

use proptest::prelude::*;
use tracewell_propagate::{
    ByteValues, Composite, Context, Decision, Environment, FLAG_RANDOM, FLAG_SAMPLED, GrpcMetadata, MAX_BAGGAGE_BYTES,
    MAX_BAGGAGE_MEMBERS, NAMES, Propagated, SpanId, TraceId,
};

/// What a format can carry.
struct Carries {
    name: &'static str,
    /// The upper half of the trace id.
    high: bool,
    deferred: bool,
    debug: bool,
    baggage: bool,
}

const fn carries(name: &'static str, high: bool, deferred: bool, debug: bool, baggage: bool) -> Carries {
    Carries { name, high, deferred, debug, baggage }
}

const FORMATS: &[Carries] = &[
    carries("tracecontext", true, false, false, false),
    carries("b3", true, true, true, false),
    carries("b3multi", true, true, true, false),
    carries("jaeger", true, false, true, true),
    carries("xray", true, true, false, false),
    carries("datadog", true, true, false, false),
    carries("ottrace", false, true, false, true),
    carries("gcp", true, true, false, false),
    carries("grpc-trace-bin", true, false, false, false),
];

impl Carries {
    fn composite(&self) -> Composite {
        Composite::from_names(self.name).unwrap()
    }

    /// What is left of `sent` on the other side, without the trace state.
    fn project(&self, sent: &Propagated) -> (Option<Context>, Decision, Vec<(String, String)>) {
        let mut context = sent.context.clone().unwrap();
        let decision = match sent.decision {
            Decision::Deferred if self.deferred => Decision::Deferred,
            Decision::Debug if self.debug => Decision::Debug,
            _ => Decision::AsFlagged,
        };
        if !self.high {
            context.trace_id.0[..8].fill(0);
        }
        context.flags &= if self.name == "tracecontext" { FLAG_SAMPLED | FLAG_RANDOM } else { FLAG_SAMPLED };
        context.trace_state = Default::default();
        let items = sent.baggage.items().iter().filter(|_| self.baggage);
        let mut baggage: Vec<_> = items.map(|item| (item.key.clone(), item.value.clone())).collect();
        baggage.sort();
        (Some(context), decision, baggage)
    }
}

fn seen(found: Propagated) -> (Option<Context>, Decision, Vec<(String, String)>) {
    let mut baggage: Vec<_> = found.baggage.items().iter().map(|item| (item.key.clone(), item.value.clone())).collect();
    baggage.sort();
    (found.context.map(|context| Context { trace_state: Default::default(), ..context }), found.decision, baggage)
}

prop_compose! {
    fn anything()(
        // Formats of 64 bits cannot carry a trace id whose lower half is zero.
        high in any::<u64>(), low in 1u64.., span in 1u64..,
        flags in 0u8..4,
        decision in prop_oneof![Just(Decision::AsFlagged), Just(Decision::Deferred), Just(Decision::Debug)],
        state in prop_oneof![Just(""), Just("rojo=1"), Just("dd=s:2;o:rum;t.dm:-4,ot=th:8")],
        // A member that has a header of its own loses the case of its name; OT trace sends values as they are,
        // so that spaces at the ends are lost.
        pairs in prop::collection::btree_map("[a-z0-9_-]{1,8}", "[!-~é][ -~é]{0,12}[!-~é]", 0..5),
    ) -> Propagated {
        let flags = match decision {
            Decision::Deferred => flags & !FLAG_SAMPLED,
            Decision::Debug => flags | FLAG_SAMPLED,
            _ => flags,
        };
        let mut propagated = Propagated {
            context: Some(Context {
                trace_id: TraceId((u128::from(high) << 64 | u128::from(low)).to_be_bytes()),
                span_id: SpanId::from_u64(span),
                flags,
                trace_state: state.parse().unwrap(),
            }),
            decision,
            ..Propagated::default()
        };
        for (key, value) in &pairs {
            propagated.baggage.set(key, value).unwrap();
        }
        propagated
    }
}

proptest! {
    #[test]
    fn what_is_written_is_read_again(sent in anything()) {
        for format in FORMATS {
            let composite = format.composite();
            let expected = format.project(&sent);
            let mut pairs: Vec<(String, String)> = Vec::new();
            composite.inject(&sent, &mut pairs);
            prop_assert_eq!(&seen(composite.extract(&pairs)), &expected, "{} as pairs", format.name);

            let mut bytes: Vec<(String, Vec<u8>)> = Vec::new();
            composite.inject(&sent, &mut ByteValues(&mut bytes));
            let (context, decision, _) = seen(composite.extract(&ByteValues(bytes.as_slice())));
            prop_assert_eq!((&context, decision), (&expected.0, expected.1), "{} as bytes", format.name);

            let mut metadata: Vec<(String, Vec<u8>)> = Vec::new();
            composite.inject(&sent, &mut GrpcMetadata(&mut metadata));
            let (context, decision, _) = seen(composite.extract(&GrpcMetadata(metadata.as_slice())));
            prop_assert_eq!((&context, decision), (&expected.0, expected.1), "{} as gRPC metadata", format.name);

            let mut variables = Environment::default();
            composite.inject(&sent, &mut variables);
            let again = Environment::new(variables.iter().map(|(name, value)| (name.into(), value.into())));
            let (context, decision, _) = seen(composite.extract(&again));
            prop_assert_eq!((&context, decision), (&expected.0, expected.1), "{} as variables", format.name);
        }
    }

    /// All formats at once: each survives the others, and the trace id is never cut.
    #[test]
    fn all_formats_together_lose_nothing(sent in anything()) {
        let all = Composite::from_names("tracecontext,baggage,b3,b3multi,jaeger,xray,datadog,ottrace,gcp,grpc-trace-bin").unwrap();
        let mut headers = BTreeMap::new();
        all.inject(&sent, &mut headers);
        let found = all.extract(&headers);
        let (context, expected) = (found.context.unwrap(), sent.context.clone().unwrap());
        prop_assert_eq!(context.to_traceparent(), expected.to_traceparent());
        let state = |context: &Context| context.trace_state.members().filter(|(key, _)| *key != "dd").count();
        prop_assert_eq!(state(&context), state(&expected));
        prop_assert_eq!(found.baggage.items().len(), sent.baggage.items().len());
    }

    #[test]
    fn a_second_pass_changes_nothing(headers in near_valid()) {
        for format in FORMATS {
            let composite = format.composite();
            let found = composite.extract(&headers);
            let mut once: Vec<(String, String)> = Vec::new();
            composite.inject(&found, &mut once);
            let mut twice: Vec<(String, String)> = Vec::new();
            composite.inject(&composite.extract(&once), &mut twice);
            prop_assert_eq!(once, twice, "{}", format.name);
        }
    }

    #[test]
    fn no_bytes_make_it_panic_or_break_a_limit(values in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..80), 24)) {
        let composite = Composite::from_names(&NAMES.join(",")).unwrap();
        let names: Vec<&str> = composite.fields().chain(["uberctx-a", "ot-baggage-b", "jaeger-debug-id", "jaeger-baggage"]).collect();
        let headers: Vec<(&str, Vec<u8>)> = names.into_iter().zip(values).collect();
        for found in [composite.extract(&ByteValues(headers.as_slice())), composite.extract(&GrpcMetadata(headers.as_slice()))] {
            prop_assert!(found.baggage.items().len() <= MAX_BAGGAGE_MEMBERS && found.baggage.to_header().len() <= MAX_BAGGAGE_BYTES);
        }
    }

    #[test]
    fn what_is_sent_are_headers(headers in near_valid()) {
        let composite = Composite::from_names(&NAMES.join(",")).unwrap();
        let mut sent: Vec<(String, String)> = Vec::new();
        composite.inject(&composite.extract(&headers), &mut sent);
        for (name, value) in sent {
            prop_assert!(name.bytes().all(|byte| byte.is_ascii_graphic()), "{}", name);
            prop_assert!(!value.contains(char::is_control), "{}: {:?}", name, value);
        }
    }
}

/// Headers that are valid but for one character, or not even that.
fn near_valid() -> impl Strategy<Value = Vec<(String, String)>> {
    const VALID: &[(&str, &str)] = &[
        ("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
        ("tracestate", "rojo=1,dd=s:2;o:rum,ot=th:c;rv:6e6d1a75832a2f"),
        ("baggage", "a=1;p,b=%20%C3%A9"),
        ("b3", "4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-1-05e3ac9a4f6e3b90"),
        ("x-b3-traceid", "a3ce929d0e0e4736"),
        ("x-b3-spanid", "00f067aa0ba902b7"),
        ("x-b3-sampled", "1"),
        ("x-b3-flags", "1"),
        ("uber-trace-id", "7b:1c8:0:1"),
        ("uberctx-user", "a%20b"),
        ("jaeger-debug-id", "x"),
        ("jaeger-baggage", "k=v, l=w"),
        (
            "x-amzn-trace-id",
            "Root=1-4bf92f35-77b34da6a3ce929d0e0e4736;Parent=00f067aa0ba902b7;Sampled=1;Lineage=a:0|b:1",
        ),
        ("x-datadog-trace-id", "11803532876627986230"),
        ("x-datadog-parent-id", "67667974448284343"),
        ("x-datadog-sampling-priority", "-1"),
        ("x-datadog-origin", "rum=a~b"),
        ("x-datadog-tags", "_dd.p.tid=4bf92f3577b34da6,_dd.p.dm=-4"),
        ("ot-tracer-traceid", "a3ce929d0e0e4736"),
        ("ot-tracer-spanid", "1c8"),
        ("ot-tracer-sampled", "true"),
        ("ot-baggage-k", "alice é\u{7f}"),
        ("x-cloud-trace-context", "4bf92f3577b34da6a3ce929d0e0e4736/67667974448284343;o=1"),
        ("grpc-trace-bin", "AABL+S81d7NNpqPOkp0ODkc2AQDwZ6oLqQK3AgE"),
    ];
    let change = (0..VALID.len(), 0usize..60, any::<char>(), 0u8..4);
    prop::collection::vec(change, 0..4).prop_map(|changes| {
        let mut headers: Vec<(String, String)> =
            VALID.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        for (header, place, char, kind) in changes {
            let value = &mut headers[header].1;
            let mut chars: Vec<char> = value.chars().collect();
            let place = place % (chars.len() + 1);
            match kind {
                0 => chars.insert(place, char),
                1 => chars.truncate(place),
                2 if place < chars.len() => chars[place] = char,
                _ => chars.clear(),
            }
            *value = chars.into_iter().collect();
        }
        headers
    })
}

#[cfg(feature = "http")]
#[test]
fn an_http_header_map_carries_every_format() {
    let context = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".parse().unwrap();
    let mut sent = Propagated { context: Some(context), ..Propagated::default() };
    sent.baggage.set("user", "alice é").unwrap();
    for format in FORMATS {
        let mut headers = http::HeaderMap::new();
        format.composite().inject(&sent, &mut headers);
        assert_eq!(seen(format.composite().extract(&headers)), format.project(&sent), "{}", format.name);
    }
}
