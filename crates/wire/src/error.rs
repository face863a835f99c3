//! Why input was not understood.

use std::fmt;

/// Bytes that are not what they claim to be. Small, so that hot loops can return it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Not well-formed protobuf of the expected message.
    #[error("malformed protobuf: {0}")]
    Protobuf(Box<ProtobufError>),
    /// Not JSON, or not JSON of the expected shape.
    #[error("malformed json: {0}")]
    Json(Box<JsonError>),
}

/// Where in a protobuf message decoding stopped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProtobufError {
    /// The way to the message, such as `resource_spans[0].scope_spans[1].spans[17]`; empty at the top.
    pub path: String,
    /// Protobuf name of the message that is broken.
    pub message: &'static str,
    /// What is wrong with it.
    pub problem: Problem,
}

/// What is wrong with a protobuf message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// A field is longer than what is left of its message.
    #[error("it ends within a field")]
    Truncated,
    /// A varint of more than 64 bits.
    #[error("a number has more than 64 bits")]
    VarintTooLong,
    /// A field header with field number 0, a number above 2^29 - 1, or a reserved wire type.
    #[error("a field header is invalid")]
    BadTag,
    /// A known field in an encoding that it cannot have.
    #[error("field {field} has wire type {found}, which this field cannot have")]
    WireType {
        /// Field number.
        field: u32,
        /// The wire type found.
        found: u8,
    },
    /// A group that does not end, or an end without a group.
    #[error("a group is not closed")]
    UnmatchedGroup,
    /// Values or groups nested deeper than [`crate::otlp::DEPTH_MAX`].
    #[error("values are nested deeper than {} levels", crate::otlp::DEPTH_MAX)]
    TooDeep,
}

impl fmt::Display for ProtobufError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.path.is_empty() {
            write!(f, "at {}: ", self.path)?;
        }
        write!(f, "{}: {}", self.message, self.problem)
    }
}

/// Where in a JSON text decoding stopped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JsonError {
    /// Line, from 1; 0 if unknown.
    pub line: usize,
    /// Column in bytes, from 1; 0 if unknown.
    pub column: usize,
    /// The way to the value, such as `resourceSpans[0].scopeSpans[1].spans[17].kind`; empty at the top.
    pub path: String,
    /// What was found and what was expected.
    pub reason: String,
}

impl fmt::Display for JsonError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.line != 0 {
            write!(f, "line {} column {}: ", self.line, self.column)?;
        }
        if !self.path.is_empty() {
            write!(f, "at {}: ", self.path)?;
        }
        f.write_str(&self.reason)
    }
}

impl DecodeError {
    /// An error in the protobuf message named `message`.
    #[cold]
    pub(crate) fn protobuf(message: &'static str, problem: Problem) -> Self {
        Self::Protobuf(Box::new(ProtobufError { path: String::new(), message, problem }))
    }

    /// The same error, seen from one level further out: `step` is put before its path.
    #[cold]
    pub(crate) fn inside(mut self, step: impl fmt::Display) -> Self {
        let path = match &mut self {
            Self::Protobuf(error) => &mut error.path,
            Self::Json(error) => &mut error.path,
        };
        *path = if path.is_empty() { step.to_string() } else { format!("{step}.{path}") };
        self
    }
}
