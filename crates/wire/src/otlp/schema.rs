//! The OTLP messages as tables: field numbers, JSON names and types.
//!
//! The hot path (`view`) knows its fields by itself. Everything that treats all messages alike reads
//! these tables: JSON to protobuf, protobuf to JSON, and the merging of messages in pieces.
//! Source: `opentelemetry-proto` v1.11, `common/v1`, `resource/v1`, `trace/v1`, `logs/v1`, `collector/*/v1`.

/// A message.
pub(crate) struct Message {
    /// Protobuf name, for error messages.
    pub(crate) name: &'static str,
    /// Its fields, by rising number.
    pub(crate) fields: &'static [Field],
    /// Its fields exclude each other: the last one set wins, and a default value counts as set.
    pub(crate) is_one_of: bool,
}

/// A field of a message.
pub(crate) struct Field {
    pub(crate) number: u32,
    /// JSON name in lowerCamelCase; protobuf's own name is the same in snake_case.
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    pub(crate) repeated: bool,
}

/// What a field holds.
#[derive(Clone, Copy)]
pub(crate) enum Kind {
    /// `bytes` that OTLP/JSON writes in hexadecimal: trace and span ids.
    Id,
    /// `string`.
    Text,
    /// `bytes`, base64 in JSON.
    Bytes,
    /// An enum, with its names where they are known.
    Enum(&'static [(i32, &'static str)]),
    Bool,
    Uint32,
    Int64,
    Fixed32,
    Fixed64,
    Double,
    Message(&'static Message),
}

impl Kind {
    /// The protobuf wire type of such a field.
    pub(crate) fn wire_type(self) -> u32 {
        use super::pb::{BYTES, FIXED32, FIXED64, VARINT};
        match self {
            Kind::Id | Kind::Text | Kind::Bytes | Kind::Message(_) => BYTES,
            Kind::Enum(_) | Kind::Bool | Kind::Uint32 | Kind::Int64 => VARINT,
            Kind::Fixed32 => FIXED32,
            Kind::Fixed64 | Kind::Double => FIXED64,
        }
    }
}

impl Message {
    /// The field of a JSON name, in lowerCamelCase or in snake_case as protobuf's own parsers accept it.
    pub(crate) fn field_named(&self, name: &str) -> Option<&'static Field> {
        let exact = self.fields.iter().find(|field| field.name == name);
        if exact.is_some() || !name.contains('_') {
            return exact;
        }
        self.fields.iter().find(|field| is_snake_case_of(name, field.name))
    }

    /// A list or a map of values: what makes values nest.
    pub(crate) fn nests(&self) -> bool {
        std::ptr::eq(self, &ARRAY) || std::ptr::eq(self, &MAP)
    }
}

fn is_snake_case_of(snake: &str, camel: &str) -> bool {
    let mut rest = snake.bytes();
    camel.bytes().all(|byte| match byte {
        b'A'..=b'Z' => rest.next() == Some(b'_') && rest.next() == Some(byte.to_ascii_lowercase()),
        _ => rest.next() == Some(byte),
    }) && rest.next().is_none()
}

const fn one(number: u32, name: &'static str, kind: Kind) -> Field {
    Field { number, name, kind, repeated: false }
}

const fn many(number: u32, name: &'static str, kind: Kind) -> Field {
    Field { number, name, kind, repeated: true }
}

const fn message(name: &'static str, fields: &'static [Field]) -> Message {
    Message { name, fields, is_one_of: false }
}

pub(crate) static ANY_VALUE: Message = Message {
    name: "AnyValue",
    fields: &[
        one(1, "stringValue", Kind::Text),
        one(2, "boolValue", Kind::Bool),
        one(3, "intValue", Kind::Int64),
        one(4, "doubleValue", Kind::Double),
        one(5, "arrayValue", Kind::Message(&ARRAY)),
        one(6, "kvlistValue", Kind::Message(&MAP)),
        one(7, "bytesValue", Kind::Bytes),
    ],
    is_one_of: true,
};

pub(crate) static ARRAY: Message = message("ArrayValue", &[many(1, "values", Kind::Message(&ANY_VALUE))]);

pub(crate) static MAP: Message = message("KeyValueList", &[many(1, "values", Kind::Message(&KEY_VALUE))]);

pub(crate) static KEY_VALUE: Message =
    message("KeyValue", &[one(1, "key", Kind::Text), one(2, "value", Kind::Message(&ANY_VALUE))]);

static ENTITY_REF: Message = message(
    "EntityRef",
    &[
        one(1, "schemaUrl", Kind::Text),
        one(2, "type", Kind::Text),
        many(3, "idKeys", Kind::Text),
        many(4, "descriptionKeys", Kind::Text),
    ],
);

static RESOURCE: Message = message(
    "Resource",
    &[
        many(1, "attributes", Kind::Message(&KEY_VALUE)),
        one(2, "droppedAttributesCount", Kind::Uint32),
        many(3, "entityRefs", Kind::Message(&ENTITY_REF)),
    ],
);

static SCOPE: Message = message(
    "InstrumentationScope",
    &[
        one(1, "name", Kind::Text),
        one(2, "version", Kind::Text),
        many(3, "attributes", Kind::Message(&KEY_VALUE)),
        one(4, "droppedAttributesCount", Kind::Uint32),
    ],
);

/// The number under which a stored resource or scope carries the schema URL that stands beside it in
/// OTLP. No message of ours uses it otherwise.
pub(crate) const STORED_SCHEMA_URL: u32 = 15;

/// A `Resource` together with its schema URL, as storage keeps it.
pub(crate) static STORED_RESOURCE: Message = message(
    "Resource",
    &[
        many(1, "attributes", Kind::Message(&KEY_VALUE)),
        one(2, "droppedAttributesCount", Kind::Uint32),
        many(3, "entityRefs", Kind::Message(&ENTITY_REF)),
        one(STORED_SCHEMA_URL, "schemaUrl", Kind::Text),
    ],
);

/// An `InstrumentationScope` together with its schema URL, as storage keeps it.
pub(crate) static STORED_SCOPE: Message = message(
    "InstrumentationScope",
    &[
        one(1, "name", Kind::Text),
        one(2, "version", Kind::Text),
        many(3, "attributes", Kind::Message(&KEY_VALUE)),
        one(4, "droppedAttributesCount", Kind::Uint32),
        one(STORED_SCHEMA_URL, "schemaUrl", Kind::Text),
    ],
);

static EVENT: Message = message(
    "Event",
    &[
        one(1, "timeUnixNano", Kind::Fixed64),
        one(2, "name", Kind::Text),
        many(3, "attributes", Kind::Message(&KEY_VALUE)),
        one(4, "droppedAttributesCount", Kind::Uint32),
    ],
);

static LINK: Message = message(
    "Link",
    &[
        one(1, "traceId", Kind::Id),
        one(2, "spanId", Kind::Id),
        one(3, "traceState", Kind::Text),
        many(4, "attributes", Kind::Message(&KEY_VALUE)),
        one(5, "droppedAttributesCount", Kind::Uint32),
        one(6, "flags", Kind::Fixed32),
    ],
);

static STATUS: Message = message("Status", &[one(2, "message", Kind::Text), one(3, "code", Kind::Enum(STATUS_CODES))]);

static SPAN: Message = message(
    "Span",
    &[
        one(1, "traceId", Kind::Id),
        one(2, "spanId", Kind::Id),
        one(3, "traceState", Kind::Text),
        one(4, "parentSpanId", Kind::Id),
        one(5, "name", Kind::Text),
        one(6, "kind", Kind::Enum(SPAN_KINDS)),
        one(7, "startTimeUnixNano", Kind::Fixed64),
        one(8, "endTimeUnixNano", Kind::Fixed64),
        SPAN_ATTRIBUTES,
        one(10, "droppedAttributesCount", Kind::Uint32),
        SPAN_EVENTS,
        one(12, "droppedEventsCount", Kind::Uint32),
        SPAN_LINKS,
        one(14, "droppedLinksCount", Kind::Uint32),
        one(15, "status", Kind::Message(&STATUS)),
        one(16, "flags", Kind::Fixed32),
    ],
);

/// `Span.attributes`, also the shape of every stored list of attributes.
pub(crate) const SPAN_ATTRIBUTES: Field = many(9, "attributes", Kind::Message(&KEY_VALUE));
/// `Span.events`.
pub(crate) const SPAN_EVENTS: Field = many(11, "events", Kind::Message(&EVENT));
/// `Span.links`.
pub(crate) const SPAN_LINKS: Field = many(13, "links", Kind::Message(&LINK));

static SCOPE_SPANS: Message = message(
    "ScopeSpans",
    &[one(1, "scope", Kind::Message(&SCOPE)), many(2, "spans", Kind::Message(&SPAN)), one(3, "schemaUrl", Kind::Text)],
);

static RESOURCE_SPANS: Message = message(
    "ResourceSpans",
    &[
        one(1, "resource", Kind::Message(&RESOURCE)),
        many(2, "scopeSpans", Kind::Message(&SCOPE_SPANS)),
        one(3, "schemaUrl", Kind::Text),
    ],
);

/// `ExportTraceServiceRequest`, which is also `TracesData`.
pub(crate) static TRACES: Message =
    message("ExportTraceServiceRequest", &[many(1, "resourceSpans", Kind::Message(&RESOURCE_SPANS))]);

/// The same under the name that Tempo's API gives to its only field.
pub(crate) static BATCHES: Message = message("Trace", &[many(1, "batches", Kind::Message(&RESOURCE_SPANS))]);

static LOG_RECORD: Message = message(
    "LogRecord",
    &[
        one(1, "timeUnixNano", Kind::Fixed64),
        one(2, "severityNumber", Kind::Enum(SEVERITIES)),
        one(3, "severityText", Kind::Text),
        one(5, "body", Kind::Message(&ANY_VALUE)),
        many(6, "attributes", Kind::Message(&KEY_VALUE)),
        one(7, "droppedAttributesCount", Kind::Uint32),
        one(8, "flags", Kind::Fixed32),
        one(9, "traceId", Kind::Id),
        one(10, "spanId", Kind::Id),
        one(11, "observedTimeUnixNano", Kind::Fixed64),
        one(12, "eventName", Kind::Text),
    ],
);

static SCOPE_LOGS: Message = message(
    "ScopeLogs",
    &[
        one(1, "scope", Kind::Message(&SCOPE)),
        many(2, "logRecords", Kind::Message(&LOG_RECORD)),
        one(3, "schemaUrl", Kind::Text),
    ],
);

static RESOURCE_LOGS: Message = message(
    "ResourceLogs",
    &[
        one(1, "resource", Kind::Message(&RESOURCE)),
        many(2, "scopeLogs", Kind::Message(&SCOPE_LOGS)),
        one(3, "schemaUrl", Kind::Text),
    ],
);

/// `ExportLogsServiceRequest`, which is also `LogsData`.
pub(crate) static LOGS: Message =
    message("ExportLogsServiceRequest", &[many(1, "resourceLogs", Kind::Message(&RESOURCE_LOGS))]);

const SPAN_KINDS: &[(i32, &str)] = &[
    (0, "SPAN_KIND_UNSPECIFIED"),
    (1, "SPAN_KIND_INTERNAL"),
    (2, "SPAN_KIND_SERVER"),
    (3, "SPAN_KIND_CLIENT"),
    (4, "SPAN_KIND_PRODUCER"),
    (5, "SPAN_KIND_CONSUMER"),
];

const STATUS_CODES: &[(i32, &str)] = &[(0, "STATUS_CODE_UNSET"), (1, "STATUS_CODE_OK"), (2, "STATUS_CODE_ERROR")];

const SEVERITIES: &[(i32, &str)] = &[
    (0, "SEVERITY_NUMBER_UNSPECIFIED"),
    (1, "SEVERITY_NUMBER_TRACE"),
    (2, "SEVERITY_NUMBER_TRACE2"),
    (3, "SEVERITY_NUMBER_TRACE3"),
    (4, "SEVERITY_NUMBER_TRACE4"),
    (5, "SEVERITY_NUMBER_DEBUG"),
    (6, "SEVERITY_NUMBER_DEBUG2"),
    (7, "SEVERITY_NUMBER_DEBUG3"),
    (8, "SEVERITY_NUMBER_DEBUG4"),
    (9, "SEVERITY_NUMBER_INFO"),
    (10, "SEVERITY_NUMBER_INFO2"),
    (11, "SEVERITY_NUMBER_INFO3"),
    (12, "SEVERITY_NUMBER_INFO4"),
    (13, "SEVERITY_NUMBER_WARN"),
    (14, "SEVERITY_NUMBER_WARN2"),
    (15, "SEVERITY_NUMBER_WARN3"),
    (16, "SEVERITY_NUMBER_WARN4"),
    (17, "SEVERITY_NUMBER_ERROR"),
    (18, "SEVERITY_NUMBER_ERROR2"),
    (19, "SEVERITY_NUMBER_ERROR3"),
    (20, "SEVERITY_NUMBER_ERROR4"),
    (21, "SEVERITY_NUMBER_FATAL"),
    (22, "SEVERITY_NUMBER_FATAL2"),
    (23, "SEVERITY_NUMBER_FATAL3"),
    (24, "SEVERITY_NUMBER_FATAL4"),
];
