//! Which Parquet column holds which field.

use std::sync::Arc;

use parquet::basic::{LogicalType, Repetition, TimeUnit, Type as Physical};
use parquet::errors::ParquetError;
use parquet::schema::types::{Type, TypePtr};
use serde::{Deserialize, Serialize};

use crate::table::{AttrType, Field, Signal};

/// One column of a segment file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    /// Name in the file, as other programs see it.
    pub name: String,
    /// What it holds; `None` for the trace id, which has no field of its own.
    pub field: Option<Field>,
}

/// How a column's values lie in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// 16 bytes each, by dictionary.
    TraceId,
    /// 8 bytes each, big-endian, as they are: random bytes neither repeat nor compress.
    Id,
    /// Text, by dictionary where texts repeat.
    Text,
    /// Nanoseconds since the epoch, ascending for the most part.
    Time,
    /// Numbers, by dictionary where few are distinct.
    Number,
    /// Doubles, by dictionary where few are distinct.
    Double,
    /// Truth values.
    Truth,
}

/// The entry of the file's own list of columns, kept as JSON under the key `tracewell.columns`.
#[derive(Debug, Serialize, Deserialize)]
struct Described {
    name: String,
    key: String,
    #[serde(rename = "type")]
    kind: String,
}

/// Names of the fixed columns. Their order here is their order in the file.
const FIXED: [(Field, &str); 26] = [
    (Field::SpanId, "span_id"),
    (Field::ParentDistance, "parent_distance"),
    (Field::ParentSpanId, "parent_span_id"),
    (Field::Start, "start_unix_nano"),
    (Field::Duration, "duration_ns"),
    (Field::Name, "name"),
    (Field::Service, "service"),
    (Field::Kind, "kind"),
    (Field::StatusCode, "status_code"),
    (Field::StatusMessage, "status_message"),
    (Field::Resource, "resource"),
    (Field::Scope, "scope"),
    (Field::Flags, "flags"),
    (Field::TraceState, "trace_state"),
    (Field::DroppedAttributes, "dropped_attributes_count"),
    (Field::DroppedEvents, "dropped_events_count"),
    (Field::DroppedLinks, "dropped_links_count"),
    (Field::Events, "events"),
    (Field::Links, "links"),
    (Field::Remainder, "attributes_other"),
    (Field::LogTime, "time_unix_nano"),
    (Field::ObservedTime, "observed_time_unix_nano"),
    (Field::SeverityNumber, "severity_number"),
    (Field::SeverityText, "severity_text"),
    (Field::Body, "body"),
    (Field::BodyValue, "body_value"),
];

/// The name of the trace id's column.
pub const TRACE_ID: &str = "trace_id";

const TYPES: [(AttrType, &str); 4] =
    [(AttrType::Str, "string"), (AttrType::Int, "int"), (AttrType::Double, "double"), (AttrType::Bool, "bool")];

/// The columns of a file that holds these fields, in the order of the file.
pub fn columns(signal: Signal, fields: impl IntoIterator<Item = Field>) -> Vec<Column> {
    let mut fields: Vec<Field> = fields.into_iter().collect();
    fields.sort();
    fields.dedup();
    let prefix = match signal {
        Signal::Traces => "span.",
        Signal::Logs => "log.",
    };
    let mut columns = vec![Column { name: TRACE_ID.to_owned(), field: None }];
    for (field, name) in FIXED.iter().cloned().chain([(Field::EventName, "event_name")]) {
        if fields.contains(&field) {
            columns.push(Column { name: name.to_owned(), field: Some(field) });
        }
    }
    let mut last_key: Option<Arc<str>> = None;
    for field in fields {
        if let Field::Attr { key, kind } = &field {
            // A key with values of several types has a column for each; all but the first say so.
            let again = last_key.as_ref() == Some(key);
            let suffix = TYPES.iter().find(|(known, _)| again && known == kind).map_or("", |(_, name)| *name);
            let mark = if suffix.is_empty() { "" } else { "#" };
            last_key = Some(Arc::clone(key));
            let mut name = format!("{prefix}{key}{mark}{suffix}");
            while columns.iter().any(|column| column.name == name) {
                name.push('#');
            }
            columns.push(Column { name, field: Some(field) });
        }
    }
    columns
}

impl Column {
    /// How the values lie in the file.
    pub fn layout(&self) -> Layout {
        match &self.field {
            None => Layout::TraceId,
            Some(Field::SpanId | Field::ParentSpanId) => Layout::Id,
            Some(Field::Start | Field::LogTime | Field::ObservedTime) => Layout::Time,
            Some(Field::Attr { kind: AttrType::Double, .. }) => Layout::Double,
            Some(Field::Attr { kind: AttrType::Bool, .. }) => Layout::Truth,
            Some(
                Field::Duration
                | Field::ParentDistance
                | Field::Kind
                | Field::StatusCode
                | Field::Flags
                | Field::DroppedAttributes
                | Field::DroppedEvents
                | Field::DroppedLinks
                | Field::SeverityNumber
                | Field::Attr { kind: AttrType::Int, .. },
            ) => Layout::Number,
            Some(_) => Layout::Text,
        }
    }

    fn parquet_type(&self) -> Result<TypePtr, ParquetError> {
        let timestamp = || LogicalType::timestamp(true, TimeUnit::NANOS);
        let (physical, logical, length) = match self.layout() {
            Layout::TraceId => (Physical::FIXED_LEN_BYTE_ARRAY, None, 16),
            Layout::Id => (Physical::FIXED_LEN_BYTE_ARRAY, None, 8),
            Layout::Time => (Physical::INT64, Some(timestamp()), 0),
            Layout::Number => (Physical::INT64, None, 0),
            Layout::Double => (Physical::DOUBLE, None, 0),
            Layout::Truth => (Physical::BOOLEAN, None, 0),
            Layout::Text => {
                let json = matches!(
                    self.field,
                    Some(
                        Field::Resource
                            | Field::Scope
                            | Field::Events
                            | Field::Links
                            | Field::Remainder
                            | Field::BodyValue
                    )
                );
                (Physical::BYTE_ARRAY, Some(if json { LogicalType::Json } else { LogicalType::String }), 0)
            }
        };
        let kind = Type::primitive_type_builder(&self.name, physical)
            .with_repetition(Repetition::OPTIONAL)
            .with_logical_type(logical)
            .with_length(length)
            .build()?;
        Ok(Arc::new(kind))
    }
}

/// The Parquet schema of some columns.
pub fn parquet_schema(columns: &[Column]) -> Result<TypePtr, ParquetError> {
    let fields = columns.iter().map(Column::parquet_type).collect::<Result<_, _>>()?;
    Ok(Arc::new(Type::group_type_builder("row").with_fields(fields).build()?))
}

/// The list of attribute columns as JSON, to be kept in the file: names alone do not tell a key that ends in `#int`
/// from a column of integers.
pub fn describe(columns: &[Column]) -> String {
    let described: Vec<Described> = columns
        .iter()
        .filter_map(|column| match &column.field {
            Some(Field::Attr { key, kind }) => {
                let kind = TYPES.iter().find(|(known, _)| known == kind).map_or("", |(_, name)| *name);
                Some(Described { name: column.name.clone(), key: key.to_string(), kind: kind.to_owned() })
            }
            _ => None,
        })
        .collect();
    serde_json::to_string(&described).unwrap_or_default()
}

/// The columns of a file from their names and the file's own list; `None` where the two do not fit.
pub fn read(names: &[String], described: &str) -> Option<Vec<Column>> {
    let described: Vec<Described> = serde_json::from_str(described).ok()?;
    names
        .iter()
        .map(|name| {
            if name == TRACE_ID {
                return Some(Column { name: name.clone(), field: None });
            }
            if let Some(attribute) = described.iter().find(|attribute| attribute.name == *name) {
                let (kind, _) = TYPES.iter().find(|(_, known)| *known == attribute.kind)?;
                return Some(Column { name: name.clone(), field: Some(Field::attr(&attribute.key, *kind)) });
            }
            let fixed = FIXED.iter().cloned().chain([(Field::EventName, "event_name")]);
            let (field, _) = fixed.into_iter().find(|(_, known)| known == name)?;
            Some(Column { name: name.clone(), field: Some(field) })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_known_again_by_name_and_list() {
        let fields = [
            Field::SpanId,
            Field::Name,
            Field::EventName,
            Field::attr("http.route", AttrType::Str),
            Field::attr("size", AttrType::Double),
            Field::attr("size", AttrType::Int),
            Field::attr("size#int", AttrType::Str),
        ];
        let columns = columns(Signal::Traces, fields);
        let names: Vec<String> = columns.iter().map(|column| column.name.clone()).collect();
        assert_eq!(
            names,
            [
                "trace_id",
                "span_id",
                "name",
                "event_name",
                "span.http.route",
                "span.size",
                "span.size#double",
                "span.size#int"
            ]
        );
        assert_eq!(read(&names, &describe(&columns)), Some(columns));
        assert_eq!(read(&["other".to_owned()], "[]"), None);
    }
}
