//! What the parts of a line mean, and the values that one line gives them.

use std::borrow::Cow;

use tracewell_model::Value;

/// Further values of a line than this are left out.
const EXTRA_MAX: usize = 96;

macro_rules! fields {
    ($($variant:ident $name:literal $doc:literal,)*) => {
        /// A part of a line that has a meaning here.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Field {
            $(#[doc = $doc] $variant,)*
        }

        impl Field {
            /// All of them, in the order of their numbers.
            pub const ALL: &'static [Field] = &[$(Field::$variant,)*];

            /// The name by which a mapping calls it.
            pub fn name(self) -> &'static str {
                match self { $(Field::$variant => $name,)* }
            }
        }
    };
}

fields! {
    Time "time" "When the line was written, which for access logs is the end of the request.",
    StartTime "start_time" "When the request began.",
    EndTime "end_time" "When the request ended.",
    Duration "duration" "How long the request took.",
    Method "method" "HTTP method.",
    Target "target" "Path with query, or a whole URL.",
    Query "query" "Query without its question mark.",
    Request "request" "The request line, such as `GET /cart HTTP/1.1`.",
    Protocol "protocol" "Protocol and version, such as `HTTP/2.0`.",
    Scheme "scheme" "`http` or `https`.",
    Host "host" "The host that the client asked for, perhaps with a port.",
    Status "status" "Status of the response.",
    BytesSent "bytes_sent" "Bytes of the response with its head.",
    BodyBytesSent "body_bytes_sent" "Bytes of the response's body.",
    BytesReceived "bytes_received" "Bytes of the request with its head.",
    Client "client" "Address of the client, perhaps with a port.",
    ForwardedFor "forwarded_for" "The client by `X-Forwarded-For`.",
    User "user" "Name of the user.",
    Referer "referer" "The page that led here.",
    UserAgent "user_agent" "The client's program.",
    Route "route" "Template of the path.",
    Upstream "upstream" "Address of the server that answered, or several, one for each attempt.",
    UpstreamName "upstream_name" "Name of the service or cluster behind.",
    UpstreamStatus "upstream_status" "Status of each attempt.",
    UpstreamTime "upstream_time" "How long each attempt took.",
    UpstreamConnectTime "upstream_connect_time" "How long connecting took in each attempt.",
    TraceId "trace" "Trace id: 32 or 16 hexadecimal digits, or a decimal number.",
    SpanId "span" "The caller's span, or the span in which an application wrote the line.",
    ParentId "parent" "The caller's span, where the line names its own span too.",
    UpstreamSpanId "upstream_span" "The span id that was sent to the server behind.",
    Sampled "sampled" "Whether the caller records the trace.",
    Traceparent "traceparent" "W3C trace context.",
    Tracestate "tracestate" "W3C trace state.",
    B3 "b3" "B3 in one header.",
    AmazonTraceId "x-amzn-trace-id" "X-Ray's header.",
    Uber "uber-trace-id" "Jaeger's header.",
    RequestId "request_id" "An id that all services of one request write.",
    Service "service" "Name of the service that wrote the line.",
    Message "message" "What an application wrote.",
    Severity "severity" "How grave it is.",
    Ignored "ignored" "Of no use.",
}

/// The unit of a duration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Unit {
    /// As its text says (`12ms`), seconds without one.
    #[default]
    Text,
    /// Seconds.
    Seconds,
    /// Milliseconds.
    Milliseconds,
    /// Microseconds.
    Microseconds,
    /// Nanoseconds.
    Nanoseconds,
}

impl Unit {
    /// The unit by its symbol: `s`, `ms`, `us` or `µs`, `ns`.
    pub fn from_symbol(symbol: &str) -> Option<Self> {
        Some(match symbol {
            "s" => Unit::Seconds,
            "ms" => Unit::Milliseconds,
            "us" | "µs" | "μs" => Unit::Microseconds,
            "ns" => Unit::Nanoseconds,
            _ => return None,
        })
    }

    /// Nanoseconds of a number with this unit, or with its own (`1.5ms`); `None` for what is no duration, and for
    /// negative ones, by which proxies say that something did not happen.
    pub fn nanoseconds(self, text: &str) -> Option<u64> {
        let text = text.trim().trim_start_matches('+');
        let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
        let (number, symbol) = text.split_at(end);
        let unit = if symbol.trim().is_empty() { self } else { Unit::from_symbol(symbol.trim())? };
        let scale = match unit {
            Unit::Text | Unit::Seconds => 1_000_000_000u64,
            Unit::Milliseconds => 1_000_000,
            Unit::Microseconds => 1_000,
            Unit::Nanoseconds => 1,
        };
        scaled(number, scale)
    }
}

/// A decimal number times `scale`, exactly.
pub(super) fn scaled(number: &str, scale: u64) -> Option<u64> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let whole: u64 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let mut value = whole.checked_mul(scale)?;
    let mut digit_value = scale;
    for digit in fraction.bytes() {
        digit_value /= 10;
        value = value.checked_add(u64::from(digit.checked_sub(b'0').filter(|digit| *digit < 10)?) * digit_value)?;
    }
    Some(value)
}

/// Where a value of a line goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Slot {
    /// To a field, in a unit where it is a duration.
    Known(Field, Unit),
    /// To an attribute of this name.
    Attribute(String),
}

impl Slot {
    /// A field without a unit.
    pub fn of(field: Field) -> Self {
        Slot::Known(field, Unit::Text)
    }
}

/// The values of one line.
#[derive(Debug, Clone)]
pub struct Access<'a> {
    values: [Option<Cow<'a, str>>; Field::ALL.len()],
    units: [Unit; Field::ALL.len()],
    extra: Vec<(Cow<'a, str>, Value)>,
}

impl Default for Access<'_> {
    fn default() -> Self {
        Self { values: [const { None }; Field::ALL.len()], units: [Unit::Text; Field::ALL.len()], extra: Vec::new() }
    }
}

impl<'a> Access<'a> {
    /// Puts a value where it belongs. What proxies write for "nothing" (`-`, an empty text) is left out, and of two values
    /// for one field the first one stays.
    pub fn set(&mut self, slot: &Slot, value: Cow<'a, str>) {
        if value.is_empty() || value == "-" {
            return;
        }
        match slot {
            Slot::Known(field, unit) => self.set_field(*field, *unit, value),
            Slot::Attribute(name) => self.set_extra(Cow::Owned(name.clone()), Value::Str(value.into_owned())),
        }
    }

    /// Puts a value into a field, unless it has one.
    pub fn set_field(&mut self, field: Field, unit: Unit, value: Cow<'a, str>) {
        let slot = &mut self.values[field as usize];
        if slot.is_none() && !value.is_empty() && value != "-" {
            *slot = Some(value);
            self.units[field as usize] = unit;
        }
    }

    /// Adds an attribute.
    pub fn set_extra(&mut self, name: Cow<'a, str>, value: Value) {
        if self.extra.len() < EXTRA_MAX && !name.is_empty() {
            self.extra.push((name, value));
        }
    }

    /// The value of a field.
    pub fn get(&self, field: Field) -> Option<&str> {
        self.values[field as usize].as_deref()
    }

    /// The value of a field that is a duration, in nanoseconds.
    pub fn duration(&self, field: Field) -> Option<u64> {
        self.units[field as usize].nanoseconds(self.get(field)?)
    }

    /// The unit in which a field was written.
    pub fn unit(&self, field: Field) -> Unit {
        self.units[field as usize]
    }

    /// The attributes without a meaning of their own.
    pub fn take_extra(&mut self) -> Vec<(Cow<'a, str>, Value)> {
        std::mem::take(&mut self.extra)
    }

    /// True when the line gave nothing at all.
    pub fn is_empty(&self) -> bool {
        self.extra.is_empty() && self.values.iter().all(Option::is_none)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_in_their_unit() {
        for (unit, text, expected) in [
            (Unit::Seconds, "0.123", Some(123_000_000)),
            (Unit::Seconds, "1", Some(1_000_000_000)),
            (Unit::Seconds, "0.0000000019", Some(1)),
            (Unit::Milliseconds, "250", Some(250_000_000)),
            (Unit::Milliseconds, "+109", Some(109_000_000)),
            (Unit::Milliseconds, "-1", None),
            (Unit::Microseconds, "1500", Some(1_500_000)),
            (Unit::Nanoseconds, "42", Some(42)),
            (Unit::Text, "12ms", Some(12_000_000)),
            (Unit::Text, "1.5µs", Some(1_500)),
            (Unit::Text, "2", Some(2_000_000_000)),
            (Unit::Text, "2 fortnights", None),
            (Unit::Text, ".", None),
            (Unit::Text, "1.2.3", None),
            (Unit::Seconds, "99999999999999999999", None),
        ] {
            assert_eq!(unit.nanoseconds(text), expected, "{unit:?} {text}");
        }
    }

    #[test]
    fn nothing_is_no_value_and_the_first_value_stays() {
        let mut access = Access::default();
        for value in ["-", "", "a", "b"] {
            access.set(&Slot::of(Field::RequestId), value.into());
        }
        assert_eq!(access.get(Field::RequestId), Some("a"));
    }
}
