//! Which spans and events there are: `RUST_LOG`, read so that fewer log lines do not mean fewer spans.

use tracing::level_filters::LevelFilter;
use tracing::subscriber::Interest;
use tracing::{Metadata, Subscriber};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::Context;
use tracing_subscriber::{EnvFilter, Layer};

/// What is let through where nothing else is said.
const DEFAULT: &str = "info";

/// Static directives, decided once for each place in the code. `RUST_LOG=error` is said to have fewer lines,
/// `RUST_LOG=my_app=debug` to have some in detail; neither means a trace without its HTTP spans. So spans of
/// level `INFO` and above stay unless a directive names their target, or everything is `off`.
pub(super) struct Levels {
    events: Targets,
    spans: Targets,
}

impl Levels {
    fn new(events: Targets) -> Self {
        let default = events.default_level();
        let spans = match default {
            Some(LevelFilter::OFF) => events.clone(),
            _ => events.clone().with_default(default.unwrap_or(LevelFilter::INFO).max(LevelFilter::INFO)),
        };
        Self { events, spans }
    }

    fn allows(&self, metadata: &Metadata<'_>) -> bool {
        let targets = if metadata.is_span() { &self.spans } else { &self.events };
        targets.would_enable(metadata.target(), metadata.level())
    }

    fn max_level(&self) -> LevelFilter {
        let named = [&self.events, &self.spans].into_iter().flat_map(Targets::iter).map(|(_, level)| level);
        let defaults = [&self.events, &self.spans].into_iter().filter_map(Targets::default_level);
        named.chain(defaults).max().unwrap_or(LevelFilter::OFF)
    }
}

impl<S: Subscriber> Layer<S> for Levels {
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        if self.allows(metadata) { Interest::always() } else { Interest::never() }
    }

    fn enabled(&self, metadata: &Metadata<'_>, _: Context<'_, S>) -> bool {
        self.allows(metadata)
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(self.max_level())
    }
}

/// One of the two: directives about fields and spans (`[…]`) need more work for each span.
pub(super) struct Filter {
    pub(super) levels: Option<Levels>,
    pub(super) directives: Option<EnvFilter>,
}

impl Filter {
    /// The filter that these directives stand for, and what of them was not understood.
    pub(super) fn parse(text: Option<&str>) -> (Self, Vec<String>) {
        let text = text.unwrap_or(DEFAULT);
        let mut warnings = Vec::new();
        if text.contains('[') {
            match EnvFilter::try_new(text) {
                Ok(filter) => return (Self { levels: None, directives: Some(filter) }, warnings),
                Err(error) => warnings.push(format!("RUST_LOG={text:?}: {error}")),
            }
        }
        // One wrong directive must not silence the others.
        let known = |directive: &&str| match directive.parse::<Targets>() {
            // Without a target and a level this would mean "errors of everybody".
            Ok(_) if directive.starts_with('=') => {
                warnings.push(format!("{directive:?} in RUST_LOG: no target before `=`"));
                false
            }
            Ok(_) => true,
            Err(error) => {
                warnings.push(format!("{directive:?} in RUST_LOG: {error}"));
                false
            }
        };
        let directives: Vec<&str> =
            text.split(',').map(str::trim).filter(|part| !part.is_empty()).filter(known).collect();
        let directives = if directives.is_empty() { DEFAULT.to_owned() } else { directives.join(",") };
        let targets = directives.parse().unwrap_or_else(|_| Targets::new().with_default(LevelFilter::INFO));
        (Self { levels: Some(Levels::new(targets)), directives: None }, warnings)
    }

    /// The most detailed level that may get through.
    pub(super) fn max_level(&self) -> LevelFilter {
        self.levels.as_ref().map_or(LevelFilter::TRACE, Levels::max_level)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tracing::Level;

    #[test]
    fn fewer_lines_are_not_fewer_spans() {
        // directives, target, level, events, spans
        let cases = [
            ("info", "app", Level::INFO, true, true),
            ("info", "app", Level::DEBUG, false, false),
            ("error", "app", Level::INFO, false, true),
            ("app=debug", "app", Level::DEBUG, true, true),
            ("app=debug", "tracewell_sdk::http", Level::INFO, false, true),
            ("info,h2=off", "h2::client", Level::INFO, false, false),
            ("debug", "app", Level::DEBUG, true, true),
            ("off", "app", Level::ERROR, false, false),
            ("info,=,app=lots", "app", Level::INFO, true, true),
            ("", "app", Level::INFO, true, true),
        ];
        for (text, target, level, events, spans) in cases {
            let levels = Filter::parse(Some(text)).0.levels.expect("static directives");
            let seen = [&levels.events, &levels.spans].map(|targets| targets.would_enable(target, &level));
            assert_eq!(seen, [events, spans], "{text:?} {target} {level}");
        }
        assert_eq!(Filter::parse(Some("info,app=lots")).1.len(), 1);
        assert!(Filter::parse(Some("app[request{id=7}]=debug")).0.directives.is_some());
        assert_eq!(Filter::parse(Some("error,app=debug")).0.max_level(), LevelFilter::DEBUG);
    }
}
