//! Attribute values: OTLP's `AnyValue`, with nothing rounded or flattened.

/// A typed attribute value (OTLP `AnyValue`).
#[derive(Debug, Clone, PartialEq, Default)]
pub enum Value {
    /// The `AnyValue` whose `value` is not set; the specification calls it empty, JSON shows `null`.
    #[default]
    Empty,
    /// UTF-8 text.
    Str(String),
    /// A truth value.
    Bool(bool),
    /// A signed 64-bit integer.
    Int(i64),
    /// An IEEE 754 double, NaN and infinities included.
    Double(f64),
    /// Arbitrary bytes.
    Bytes(Vec<u8>),
    /// A list of values, not necessarily of one type.
    Array(Vec<Value>),
    /// A list of key-value pairs in the order received.
    Map(Vec<KeyValue>),
}

/// One attribute.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct KeyValue {
    /// The attribute's name.
    pub key: String,
    /// Its value.
    pub value: Value,
}

impl KeyValue {
    /// An attribute from anything that converts to a value.
    pub fn new(key: impl Into<String>, value: impl Into<Value>) -> Self {
        Self { key: key.into(), value: value.into() }
    }
}

impl Value {
    /// The text, if this is text.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Value::Str(text) => Some(text),
            _ => None,
        }
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Value::Str(text.to_owned())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Value::Str(text)
    }
}

impl From<bool> for Value {
    fn from(truth: bool) -> Self {
        Value::Bool(truth)
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Value::Int(number)
    }
}

impl From<f64> for Value {
    fn from(number: f64) -> Self {
        Value::Double(number)
    }
}
