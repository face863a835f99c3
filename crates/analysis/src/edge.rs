//! A hop by its names.

use serde::Serialize;

/// Who calls whom.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Edge {
    /// The service that calls.
    pub caller: String,
    /// The service that is called.
    pub callee: String,
}
