//! Attributes as analyses see them: single values only.

use std::fmt;

use super::{Text, Texts};

/// A single value. Lists, maps and bytes are left out when traces are built: no analysis looks into them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Scalar {
    /// Text.
    Text(Text),
    /// A truth value.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A number.
    Double(f64),
}

/// One attribute.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Attribute {
    /// Its key.
    pub key: Text,
    /// Its value.
    pub value: Scalar,
}

impl Scalar {
    /// The value as TraceQL writes it: texts quoted.
    pub fn traceql(self, texts: &Texts) -> impl fmt::Display + '_ {
        struct Shown<'a>(Scalar, &'a Texts);
        impl fmt::Display for Shown<'_> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match self.0 {
                    Scalar::Text(text) => write!(f, "{}", quoted(self.1.get(text))),
                    Scalar::Bool(value) => write!(f, "{value}"),
                    Scalar::Int(value) => write!(f, "{value}"),
                    Scalar::Double(value) => write!(f, "{value:?}"),
                }
            }
        }
        Shown(self, texts)
    }
}

/// A text in quotes, as TraceQL reads it.
pub fn quoted(text: &str) -> impl fmt::Display + '_ {
    struct Quoted<'a>(&'a str);
    impl fmt::Display for Quoted<'_> {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            use fmt::Write;
            f.write_char('"')?;
            for c in self.0.chars() {
                match c {
                    '"' | '\\' => write!(f, "\\{c}")?,
                    '\n' => f.write_str("\\n")?,
                    '\r' => f.write_str("\\r")?,
                    '\t' => f.write_str("\\t")?,
                    c if c.is_control() => write!(f, "\\u{:04x}", u32::from(c))?,
                    c => f.write_char(c)?,
                }
            }
            f.write_char('"')
        }
    }
    Quoted(text)
}
