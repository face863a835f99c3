//! The faults, one by one.

use super::{Expected, Fault, FaultId, Kind};

/// Every fault, in the order in which they are best shown.
pub const FAULTS: &[Fault; 1] = &[Fault {
    id: FaultId::SlowDatabase,
    name: "slow-database",
    title: "A database waits for a lock",
    description: "someone holds a table of the database: its statements wait two to four seconds before they run",
    look: "requests that take seconds, all of it below one statement, in a span that waits for a lock and says who holds it",
    query: "{ name = \"wait for lock\" }",
    settings: &["inventory-db", "orders-db"],
    services: &["inventory-db", "orders-db"],
    expected: Expected {
        service: Some("inventory-db"),
        operation: Some("wait for lock"),
        ..Expected::new(Kind::LockWait, "inventory-db waits two to four seconds for a lock before it answers")
    },
}];
