//! What goes wrong: a little always, a lot on demand.

use std::sync::{PoisonError, RwLock};

use serde::{Deserialize, Serialize};

/// A database whose queries wait two to four seconds for a lock.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SlowDatabase {
    /// `inventory-db` (default) or `orders-db`.
    #[serde(default = "default_database")]
    pub database: String,
}

fn default_database() -> String {
    "inventory-db".to_owned()
}

impl Default for SlowDatabase {
    fn default() -> Self {
        Self { database: default_database() }
    }
}

/// A fault that cannot be switched on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FaultError {
    /// The database is not one that can be slow.
    #[error("unknown database {database:?}, expected inventory-db or orders-db")]
    UnknownDatabase {
        /// The name as given.
        database: String,
    },
}

/// The switches.
#[derive(Default)]
pub(crate) struct Faults {
    slow_database: RwLock<Option<SlowDatabase>>,
}

impl Faults {
    pub(crate) fn set_slow_database(&self, slow: Option<SlowDatabase>) -> Result<(), FaultError> {
        if let Some(SlowDatabase { database }) = &slow
            && !matches!(database.as_str(), "inventory-db" | "orders-db")
        {
            return Err(FaultError::UnknownDatabase { database: database.clone() });
        }
        *self.slow_database.write().unwrap_or_else(PoisonError::into_inner) = slow;
        Ok(())
    }

    pub(crate) fn slow_database(&self) -> Option<SlowDatabase> {
        self.slow_database.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn is_slow(&self, database: &str) -> bool {
        self.slow_database().is_some_and(|slow| slow.database == database)
    }
}
