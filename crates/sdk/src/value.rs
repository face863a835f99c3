//! Attribute values that an application may set.

use std::borrow::Cow;

use crate::proto::ValueRef;

/// An attribute value (OTLP `AnyValue` without maps).
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// UTF-8 text.
    Str(Cow<'static, str>),
    /// A truth value.
    Bool(bool),
    /// A signed 64-bit integer.
    Int(i64),
    /// An IEEE 754 double.
    Double(f64),
    /// Arbitrary bytes.
    Bytes(Vec<u8>),
    /// A list.
    Array(Vec<Value>),
}

impl Value {
    pub(crate) fn as_ref(&self) -> ValueRef<'_> {
        match self {
            Value::Str(text) => ValueRef::Str(text),
            Value::Bool(truth) => ValueRef::Bool(*truth),
            Value::Int(number) => ValueRef::Int(*number),
            Value::Double(number) => ValueRef::Double(*number),
            Value::Bytes(content) => ValueRef::Bytes(content),
            Value::Array(values) => ValueRef::Array(values),
        }
    }
}

macro_rules! from {
    ($($source:ty => $variant:ident($convert:expr)),* $(,)?) => {
        $(impl From<$source> for Value {
            fn from(value: $source) -> Self {
                Value::$variant($convert(value))
            }
        })*
    };
}

from! {
    &'static str => Str(Cow::Borrowed),
    String => Str(Cow::Owned),
    Cow<'static, str> => Str(std::convert::identity),
    bool => Bool(std::convert::identity),
    i64 => Int(std::convert::identity),
    i32 => Int(i64::from),
    u32 => Int(i64::from),
    u16 => Int(i64::from),
    f64 => Double(std::convert::identity),
    Vec<u8> => Bytes(std::convert::identity),
    Vec<Value> => Array(std::convert::identity),
}
