//! One event is one line with the ids of its trace, whatever is in it.

use std::fmt;
use std::io::{self, Write};
use std::sync::{Arc, Mutex};

use proptest::prelude::*;
use serde_json::Value;
use tracewell_sdk::log_lines::{LogFormat, LogLines};
use tracewell_sdk::{Config, Pipeline, Resource, SpanExt, current_context};
use tracing::{Dispatch, info, info_span};
use tracing_subscriber::Layer;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::Registry;

/// Keeps what is written.
#[derive(Clone, Default)]
struct Kept(Arc<Mutex<Vec<u8>>>);

impl Kept {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl Write for Kept {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Kept {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

/// A subscriber that records, sends nowhere, and writes lines.
fn lines(format: LogFormat) -> (Kept, Dispatch) {
    let kept = Kept::default();
    let layer = LogLines::new(kept.clone()).format(format);
    (kept.clone(), subscriber(layer))
}

type Recorded = tracing_subscriber::layer::Layered<tracewell_sdk::TraceLayer, Registry>;

fn subscriber(lines: impl Layer<Recorded> + Send + Sync) -> Dispatch {
    let mut config = Config::default();
    (config.traces.url, config.logs.url) = (None, None);
    let pipeline = Pipeline::start(config).unwrap();
    let layer = pipeline.tracer(&Resource::new("lines")).layer();
    Dispatch::new(tracing_subscriber::registry().with(layer).with(lines))
}

/// Only ever formatted by `Debug`.
struct Raw<'a>(&'a str);

impl fmt::Debug for Raw<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_text_is_one_json_object_and_comes_back(message in any::<String>(), field in any::<String>(), number in any::<f64>()) {
        let (kept, dispatch) = lines(LogFormat::Json);
        tracing::dispatcher::with_default(&dispatch, || {
            info_span!("span", of = field).in_scope(|| info!(text = field, raw = ?Raw(&field), number, "{message}"));
        });
        let text = kept.text();
        prop_assert_eq!(text.matches('\n').count(), 1);
        let line: Value = serde_json::from_str(&text).unwrap();
        prop_assert_eq!(line["message"].as_str(), Some(&*message));
        for value in [&line["fields"]["text"], &line["fields"]["raw"], &line["spans"][0]["fields"]["of"]] {
            prop_assert_eq!(value.as_str(), Some(&*field));
        }
        prop_assert!(line["fields"]["number"].is_number() == number.is_finite());
    }

    #[test]
    fn any_text_is_one_line_without_control_characters(message in any::<String>(), field in any::<String>()) {
        let (kept, dispatch) = lines(LogFormat::Text);
        tracing::dispatcher::with_default(&dispatch, || {
            info_span!("span", of = ?Raw(&field)).in_scope(|| info!(text = field, raw = ?Raw(&field), "{message}"));
        });
        let text = kept.text();
        let line = text.strip_suffix('\n').unwrap();
        prop_assert!(!line.contains(|each: char| each.is_control() && each != '\t'), "{:?}", line);
        prop_assert!(line.contains(" trace_id=") && line.contains(" span_id="));
    }
}

#[test]
fn outside_a_span_there_are_no_ids_and_colours_only_where_wanted() {
    let (kept, dispatch) = lines(LogFormat::Text);
    tracing::dispatcher::with_default(&dispatch, || info!(target: "shop::cart", items = 3, "added"));
    let text = kept.text();
    let (time, rest) = text.split_once(' ').unwrap();
    assert!(time.ends_with('Z') && time.len() == 27, "{time}");
    assert_eq!(rest, " INFO shop::cart: added items=3\n");

    let kept = Kept::default();
    let dispatch = subscriber(LogLines::new(kept.clone()).colour(true));
    tracing::dispatcher::with_default(&dispatch, || info!("red"));
    assert!(kept.text().contains("\u{1b}[32m INFO"), "{}", kept.text());
}

#[test]
fn fields_that_come_later_and_names_alone() {
    let span = || info_span!("request", route = "/cart", user = tracing::field::Empty);
    let (kept, dispatch) = lines(LogFormat::Text);
    tracing::dispatcher::with_default(&dispatch, || {
        let span = span();
        span.record("user", 7);
        span.in_scope(|| info!("here"));
    });
    assert!(kept.text().contains(r#"request{route="/cart" user=7}: "#), "{}", kept.text());

    let kept = Kept::default();
    let dispatch = subscriber(LogLines::new(kept.clone()).span_fields(false));
    tracing::dispatcher::with_default(&dispatch, || span().in_scope(|| info!("here")));
    assert!(kept.text().contains(" request: "), "{}", kept.text());
}

#[test]
fn values_may_use_tracing_while_they_are_formatted() {
    struct Talks;
    impl fmt::Debug for Talks {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            info!("from within");
            tracing::Span::current().record("late", 1);
            write!(f, "{}", current_context().is_some())
        }
    }
    for format in [LogFormat::Text, LogFormat::Json] {
        let (kept, dispatch) = lines(format);
        tracing::dispatcher::with_default(&dispatch, || {
            let span = info_span!("span", value = tracing::field::Empty, late = tracing::field::Empty);
            let _entered = span.enter();
            span.record("value", tracing::field::debug(Talks));
            info!(value = ?Talks, "done");
        });
        assert_eq!(kept.text().lines().count(), 3, "{}", kept.text());
        assert!(kept.text().lines().last().is_some_and(|line| line.contains("true")), "{}", kept.text());
    }
}

#[test]
fn the_formatter_of_tracing_subscriber_writes_the_same_ids() {
    for format in [LogFormat::Text, LogFormat::Json] {
        let kept = Kept::default();
        let fmt = tracing_subscriber::fmt::layer().with_writer(kept.clone()).with_ansi(false).event_format(format);
        let dispatch = subscriber(fmt);
        let ids = tracing::dispatcher::with_default(&dispatch, || {
            let span = info_span!("request", route = "/cart");
            span.in_scope(|| info!(items = 3, "added"));
            span.context().unwrap()
        });
        let text = kept.text();
        match format {
            LogFormat::Text => {
                let expected = format!("added items=3 trace_id={} span_id={}\n", ids.trace_id, ids.span_id);
                assert!(text.ends_with(&expected) && text.contains(r#"request{route="/cart"}:"#), "{text}");
            }
            LogFormat::Json => {
                let line: Value = serde_json::from_str(&text).unwrap();
                assert_eq!(line["trace_id"], ids.trace_id.to_string());
                assert_eq!(line["spans"][0]["name"], "request");
            }
        }
    }
}
