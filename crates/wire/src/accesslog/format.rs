//! Formats by name, by pattern, or by looking at a few lines.

use super::field::{Access, Field, Slot, Unit};
use super::pattern::{Part, Pattern, PatternError};
use super::structured::{self, Keys};
use super::syntax;

/// Lines that are looked at to tell a format.
pub const SAMPLE_LINES_MAX: usize = 50;

/// How the lines of a log are written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Format {
    name: String,
    kind: Kind,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Kind {
    /// Tried in this order.
    Patterns(Vec<Pattern>),
    Json(Keys),
    Logfmt(Keys),
}

/// Why there is no such format.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FormatError {
    /// No preset has this name.
    #[error("there is no format `{name}`; write one of {known}, or a pattern as nginx, Envoy or Apache have it")]
    Unknown {
        /// The name.
        name: String,
        /// Those that exist.
        known: String,
    },
    /// The pattern cannot be used.
    #[error(transparent)]
    Pattern(#[from] PatternError),
    /// A mapping cannot be used.
    #[error(
        "the mapping `{0}` is not FIELD=KEY or FIELD=KEY:UNIT with one of the fields {1} and a unit s, ms, us or ns"
    )]
    Mapping(String, String),
}

/// A format with a name.
#[derive(Debug, Clone, Copy)]
pub struct Preset {
    /// Its name.
    pub name: &'static str,
    /// What writes such lines.
    pub about: &'static str,
    source: Source,
}

#[derive(Debug, Clone, Copy)]
enum Source {
    Patterns(&'static [&'static str]),
    Json(&'static [(&'static str, Field, Unit)]),
    Logfmt,
}

/// nginx's lines for us, as `docs/logs.md` has them: without and with the ids that it hands on.
pub const NGINX_TRACEWELL: &str = r#"$msec $request_time $status "$request" "$http_host" $remote_addr "$http_user_agent" $bytes_sent "$http_traceparent" $request_id "$upstream_addr" "$upstream_status" "$upstream_response_time" "$upstream_connect_time""#;

/// As [`NGINX_TRACEWELL`], for an nginx that takes part in traces.
pub const NGINX_TRACEWELL_SPANS: &str = r#"$msec $request_time $status "$request" "$http_host" $remote_addr "$http_user_agent" $bytes_sent trace="$tracewell_trace_id" parent="$tracewell_parent_id" span="$tracewell_upstream_span_id" "$upstream_addr" "$upstream_status" "$upstream_response_time" "$upstream_connect_time""#;

const NGINX_COMBINED: &str = r#"$remote_addr - $remote_user [$time_local] "$request" $status $body_bytes_sent "$http_referer" "$http_user_agent""#;

const NGINX_MAIN: &str = r#"$remote_addr - $remote_user [$time_local] "$request" $status $body_bytes_sent "$http_referer" "$http_user_agent" "$http_x_forwarded_for""#;

/// Envoy's own default, and Istio's.
const ENVOY: &[&str] = &[
    r#"[%START_TIME%] "%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%" %RESPONSE_CODE% %RESPONSE_FLAGS% %BYTES_RECEIVED% %BYTES_SENT% %DURATION% %RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% "%REQ(X-FORWARDED-FOR)%" "%REQ(USER-AGENT)%" "%REQ(X-REQUEST-ID)%" "%REQ(:AUTHORITY)%" "%UPSTREAM_HOST%""#,
    r#"[%START_TIME%] "%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%" %RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %CONNECTION_TERMINATION_DETAILS% "%UPSTREAM_TRANSPORT_FAILURE_REASON%" %BYTES_RECEIVED% %BYTES_SENT% %DURATION% %RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% "%REQ(X-FORWARDED-FOR)%" "%REQ(USER-AGENT)%" "%REQ(X-REQUEST-ID)%" "%REQ(:AUTHORITY)%" "%UPSTREAM_HOST%" %UPSTREAM_CLUSTER_RAW% %UPSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_REMOTE_ADDRESS% %REQUESTED_SERVER_NAME% %ROUTE_NAME%"#,
];

const APACHE: &[&str] = &[
    r#"%h %l %u %t "%r" %>s %b "%{Referer}i" "%{User-Agent}i" %D"#,
    r#"%h %l %u %t "%r" %>s %b "%{Referer}i" "%{User-Agent}i""#,
    r#"%h %l %u %t "%r" %>s %b"#,
];

const TRAEFIK: &str = r#"$remote_addr - $remote_user [$start_time] "$request" $status $bytes_sent "$http_referer" "$http_user_agent" $traefik_request_count "$traefik_router" "$upstream_addr" ${traefik_duration}ms"#;

/// HAProxy's HTTP log, with captured headers of request and response, of one of them, of none.
const HAPROXY: &[&str] = &[
    r#"$remote [$start_time] $haproxy_frontend $haproxy_backend/$haproxy_server $haproxy_request_ms/$haproxy_queue_ms/$haproxy_connect/$haproxy_response/$haproxy_total $status $bytes_sent $haproxy_skip $haproxy_skip $haproxy_termination_state $haproxy_connections $haproxy_queues {$haproxy_captured_request} {$haproxy_captured_response} "$request""#,
    r#"$remote [$start_time] $haproxy_frontend $haproxy_backend/$haproxy_server $haproxy_request_ms/$haproxy_queue_ms/$haproxy_connect/$haproxy_response/$haproxy_total $status $bytes_sent $haproxy_skip $haproxy_skip $haproxy_termination_state $haproxy_connections $haproxy_queues {$haproxy_captured_request} "$request""#,
    r#"$remote [$start_time] $haproxy_frontend $haproxy_backend/$haproxy_server $haproxy_request_ms/$haproxy_queue_ms/$haproxy_connect/$haproxy_response/$haproxy_total $status $bytes_sent $haproxy_skip $haproxy_skip $haproxy_termination_state $haproxy_connections $haproxy_queues "$request""#,
];

/// Every format with a name, in the order in which they are tried.
pub const PRESETS: &[Preset] = &[
    Preset {
        name: "nginx-tracewell",
        about: "nginx with the log_format of docs/logs.md: durations, upstreams, trace context",
        source: Source::Patterns(&[NGINX_TRACEWELL, NGINX_TRACEWELL_SPANS]),
    },
    Preset {
        name: "nginx-combined",
        about: "nginx's default, and `main` of its packages",
        source: Source::Patterns(&[NGINX_COMBINED, NGINX_MAIN]),
    },
    Preset { name: "envoy-default", about: "Envoy's default text, and Istio's", source: Source::Patterns(ENVOY) },
    Preset {
        name: "apache-combined",
        about: "Apache's combined and common, also with %D behind it",
        source: Source::Patterns(APACHE),
    },
    Preset { name: "traefik", about: "Traefik's text", source: Source::Patterns(&[TRAEFIK]) },
    Preset { name: "haproxy", about: "HAProxy's `option httplog`", source: Source::Patterns(HAPROXY) },
    Preset {
        name: "envoy-json",
        about: "Envoy and Istio as JSON: `duration` in milliseconds",
        source: Source::Json(&[
            ("duration", Field::Duration, Unit::Milliseconds),
            ("start_time", Field::StartTime, Unit::Text),
        ]),
    },
    Preset {
        name: "caddy-json",
        about: "Caddy: `ts` and `duration` in seconds",
        source: Source::Json(&[("duration", Field::Duration, Unit::Seconds), ("msg", Field::Ignored, Unit::Text)]),
    },
    Preset {
        name: "traefik-json",
        about: "Traefik as JSON: durations in nanoseconds",
        source: Source::Json(&[
            ("duration", Field::Duration, Unit::Nanoseconds),
            ("originduration", Field::UpstreamTime, Unit::Nanoseconds),
            ("msg", Field::Ignored, Unit::Text),
        ]),
    },
    Preset { name: "json", about: "one JSON object a line, keys by their usual names", source: Source::Json(&[]) },
    Preset { name: "logfmt", about: "key=value pairs, keys by their usual names", source: Source::Logfmt },
];

/// Why a line is not written in a format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mismatch {
    /// It does not follow the pattern.
    Pattern,
    /// It is not a JSON object.
    Json,
}

impl Format {
    /// A format by its name, or by a pattern: anything with a `$variable`, an `%OPERATOR%` or a `%directive` in it, with
    /// or without its directive (`log_format name '…';`), or a JSON template of such.
    ///
    /// # Errors
    /// What is wrong with it, and which names there are.
    pub fn named(text: &str) -> Result<Self, FormatError> {
        if let Some(preset) = PRESETS.iter().find(|preset| preset.name == text.trim()) {
            return preset.format();
        }
        if !text.contains(['$', '%']) {
            let known = PRESETS.iter().map(|preset| preset.name).collect::<Vec<_>>().join(", ");
            return Err(FormatError::Unknown { name: text.to_owned(), known });
        }
        let source = syntax::directive(text)?;
        if let Some(mapping) = syntax::json_template(&source) {
            return Ok(Self { name: "own json".to_owned(), kind: Kind::Json(Keys::new(mapping, false)) });
        }
        let pattern = Pattern::new(syntax::parts(&source)?, &source)?;
        Ok(Self { name: "own pattern".to_owned(), kind: Kind::Patterns(vec![pattern]) })
    }

    /// Says what a key (or a variable without a meaning) means: `trace=trace_id`, `duration=took:ms`.
    ///
    /// # Errors
    /// When there is no such field or unit.
    pub fn map(&mut self, mapping: &str) -> Result<(), FormatError> {
        let wrong = || {
            let fields: Vec<&str> = Field::ALL.iter().map(|field| field.name()).collect();
            FormatError::Mapping(mapping.to_owned(), fields.join(", "))
        };
        let (name, key) = mapping.split_once('=').ok_or_else(wrong)?;
        let field = *Field::ALL.iter().find(|field| field.name() == name.trim()).ok_or_else(wrong)?;
        let (key, unit) = match key.rsplit_once(':') {
            Some((key, symbol)) => (key, Unit::from_symbol(symbol.trim()).ok_or_else(wrong)?),
            None => (key, Unit::Text),
        };
        let (key, slot) = (key.trim(), Slot::Known(field, unit));
        if key.is_empty() {
            return Err(wrong());
        }
        match &mut self.kind {
            Kind::Json(keys) | Kind::Logfmt(keys) => keys.add(key, slot),
            Kind::Patterns(patterns) => patterns.iter_mut().for_each(|pattern| pattern.map(key, &slot)),
        }
        Ok(())
    }

    /// The preset's name, or what kind of an own pattern this is.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The values of a line.
    ///
    /// # Errors
    /// When the line is written otherwise.
    pub fn read<'a>(&self, line: &'a str) -> Result<Access<'a>, Mismatch> {
        match &self.kind {
            Kind::Patterns(patterns) => {
                let read = |line: &'a str| patterns.iter().find_map(|pattern| pattern.read(line));
                read(line).or_else(|| read(behind_syslog(line)?)).ok_or(Mismatch::Pattern)
            }
            Kind::Json(keys) => {
                let object = if line.starts_with('{') { Some(line) } else { behind_syslog(line) };
                structured::json(object.unwrap_or(line), keys).map_err(|_| Mismatch::Json)
            }
            Kind::Logfmt(keys) => structured::logfmt(line, keys).ok_or(Mismatch::Pattern),
        }
    }

    /// The format of lines, by which most of them can be read; `None` when none reads half of them. Empty lines count for
    /// nothing. At most [`SAMPLE_LINES_MAX`] lines are looked at.
    pub fn detect<'a>(lines: impl IntoIterator<Item = &'a str>) -> Option<Self> {
        let lines: Vec<&str> =
            lines.into_iter().filter(|line| !line.trim().is_empty()).take(SAMPLE_LINES_MAX).collect();
        let mut best: Option<(usize, Self)> = None;
        for preset in PRESETS {
            let Ok(format) = preset.format() else { continue };
            let fitting = lines.iter().filter(|line| preset.fits(&format, line)).count();
            if fitting * 2 >= lines.len().max(1) && best.as_ref().is_none_or(|(most, _)| fitting > *most) {
                best = Some((fitting, format));
            }
        }
        best.map(|(_, format)| format)
    }
}

impl Preset {
    fn format(&self) -> Result<Format, FormatError> {
        let kind = match self.source {
            Source::Patterns(sources) => {
                let patterns = sources.iter().map(|source| Pattern::new(syntax::parts(source)?, source));
                Kind::Patterns(patterns.collect::<Result<_, _>>()?)
            }
            Source::Json(keys) => {
                let own = keys.iter().map(|(key, field, unit)| ((*key).to_owned(), Slot::Known(*field, *unit)));
                Kind::Json(Keys::new(own, false))
            }
            Source::Logfmt => Kind::Logfmt(Keys::default()),
        };
        Ok(Format { name: self.name.to_owned(), kind })
    }

    /// True when a line looks like this preset and no other.
    fn fits(&self, format: &Format, line: &str) -> bool {
        let Ok(access) = format.read(line) else { return false };
        let has = |key: &str| line.contains(key);
        match self.name {
            // JSON is told apart by keys that only one program writes.
            "envoy-json" => has("\"response_code\"") || has("\"upstream_cluster\""),
            "caddy-json" => has("\"request\":{") && has("\"duration\""),
            "traefik-json" => has("\"DownstreamStatus\""),
            "json" | "logfmt" => !access.is_empty(),
            // The last value of a short pattern takes whatever else a longer line has.
            _ => [Field::Status, Field::BytesSent, Field::BodyBytesSent, Field::BytesReceived, Field::Duration]
                .iter()
                .all(|field| access.get(*field).is_none_or(|text| text.parse::<f64>().is_ok())),
        }
    }
}

impl Pattern {
    fn map(&mut self, key: &str, slot: &Slot) {
        for part in self.parts_mut() {
            if let Part::Value(Slot::Attribute(name)) = part
                && name == key
            {
                *part = Part::Value(slot.clone());
            }
        }
    }
}

/// What stands behind `Feb  6 12:14:14 host haproxy[14389]: ` or `<190>Nov 22 20:11:03 host nginx: `.
fn behind_syslog(line: &str) -> Option<&str> {
    let at = line.find(": ").filter(|at| *at < 160)?;
    let (header, rest) = line.split_at(at);
    let program = header.rsplit(' ').next()?;
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.[]/".contains(c);
    (!program.is_empty() && program.chars().all(plain)).then(|| &rest[2..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_preset_is_a_format_and_is_found_by_its_name() {
        for preset in PRESETS {
            assert_eq!(Format::named(preset.name).unwrap().name(), preset.name);
        }
        let error = Format::named("ngnix").unwrap_err().to_string();
        assert!(error.contains("nginx-combined"), "{error}");
        assert!(Format::named("$a$b").is_err());
    }

    #[test]
    fn a_mapping_says_what_a_variable_means() {
        let mut format = Format::named("$my_id $status").unwrap();
        format.map("request_id=my_id").unwrap();
        assert_eq!(format.read("r1 200").unwrap().get(Field::RequestId), Some("r1"));
        for wrong in ["request_id", "nothing=x", "duration=x:weeks", "trace="] {
            assert!(matches!(format.map(wrong), Err(FormatError::Mapping(..))), "{wrong}");
        }
    }
}
