//! What is wrong with a query, and where.

use super::Pos;

/// A query that cannot be read or makes no sense.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Error {
    /// What is wrong.
    pub message: String,
    /// Byte offset in the query.
    pub position: usize,
    /// Length in bytes of what the message is about; 0 at the end of the query.
    pub length: usize,
    /// What to write instead, where that is known.
    pub hint: Option<String>,
}

impl Error {
    pub(crate) fn new(pos: Pos, message: impl Into<String>) -> Self {
        Self { message: message.into(), position: pos.start, length: pos.len, hint: None }
    }

    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}
