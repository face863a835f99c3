//! Which segments exist.
//!
//! It is: one SQLite database with a row for each segment, and how far each tenant's log is stored in segments. A
//! segment exists exactly when the catalog says so: files first, then their set file, then one transaction. It is
//! not: a cache of what the segments hold.
//!
//! ```text
//! segment files ─▶ set file (what belongs together, what it replaces) ─▶ transaction ─▶ the log may be trimmed
//!                     └─ with these the catalog can be rebuilt when it is damaged or lost
//! ```
//!
//! SQLite has no checksums of its own, so every row carries one and [`Catalog::open`] verifies them all, together
//! with a sum that notices rows that vanished. The journal is deleted at each commit and the folder synced after it
//! (`synchronous=EXTRA`): a commit that was reported is in the database file, not in a side file that a flipped bit
//! could make SQLite ignore in silence.

mod reconcile;
mod row;
mod schema;
mod set;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, Transaction, params};

pub use reconcile::{Reality, Verdict, reconcile};
pub use row::{RequestHashes, SealedRow, SegmentRow};
pub use set::{SegmentSet, SetFiles, read_sets, remove_set, write_set};

use crate::wal::format::{signal_code, signal_of};

/// Why the catalog could not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum CatalogError {
    /// The database was read and is not what was written.
    #[error("the catalog {path} is damaged: {reason}")]
    Damaged {
        /// The database.
        path: String,
        /// What does not fit.
        reason: String,
    },
    /// Written by a later version of this program.
    #[error("the catalog {path} has version {version}, this program reads version {known}: start the newer program")]
    Version {
        /// The database.
        path: String,
        /// Its version.
        version: i64,
        /// The latest version that is understood.
        known: i64,
    },
    /// The database cannot be read or written now; nothing was changed, or it is not known whether it was.
    #[error("the catalog {path} cannot be used: {reason}")]
    Unusable {
        /// The database.
        path: String,
        /// SQLite's words.
        reason: String,
        /// False when a transaction may have been stored. Repeating it is safe.
        unchanged: bool,
    },
}

/// Everything in the catalog.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Contents {
    /// The segments that exist, by id.
    pub segments: Vec<SegmentRow>,
    /// How far each tenant's log is stored.
    pub sealed: Vec<SealedRow>,
    /// Recent requests whose frames may be gone from the log.
    pub requests: Vec<RequestHashes>,
    /// Ids below this were given out.
    pub next_segment: u64,
}

/// What one transaction changes. Applying the same change again changes nothing.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Change {
    /// Segments that exist from now on.
    pub insert: Vec<SegmentRow>,
    /// Segments that no longer exist.
    pub delete: Vec<u64>,
    /// Progress of logs.
    pub sealed: Vec<SealedRow>,
    /// Requests to remember.
    pub requests: Option<RequestHashes>,
    /// Requests received before this time (milliseconds since the epoch) are forgotten.
    pub forget_before_ms: Option<u64>,
}

/// An open catalog. One writer at a time; the caller serialises.
pub struct Catalog {
    path: PathBuf,
    /// `None` after a failed commit, until the database could be opened again.
    connection: Option<Connection>,
    /// Transactions so far; tells after a failed commit whether it was stored all the same.
    generation: i64,
    next_segment: u64,
}

impl Catalog {
    /// Opens the database, or creates it where there is none, and verifies everything in it.
    pub fn open(path: &Path) -> Result<(Self, Contents), CatalogError> {
        let connection = connect(path)?;
        let contents = schema::load(&connection, path)?;
        let generation = schema::meta(&connection, schema::GENERATION).map_err(|error| unusable(path, error))?;
        let next_segment = contents.next_segment;
        Ok((Self { path: path.to_owned(), connection: Some(connection), generation, next_segment }, contents))
    }

    /// Applies a change durably: all of it, or none. After an error that leaves open which, the same change may
    /// be applied again.
    pub fn apply(&mut self, change: &Change) -> Result<(), CatalogError> {
        let generation = self.generation;
        self.reopen()?;
        if self.generation != generation {
            tracing::info!("a commit that had failed turned out to be stored");
        }
        let expected = self.generation + 1;
        let Some(connection) = &mut self.connection else { return Err(self.lost("it is not open")) };
        let next_segment = change.insert.iter().map(|row| row.id + 1).fold(self.next_segment, u64::max);
        let error = match store(connection, change, expected, next_segment) {
            Ok(()) => {
                self.generation = expected;
                self.next_segment = next_segment;
                return Ok(());
            }
            Err(error) => error,
        };
        // Opening anew rolls back what was left half done, so that the state is certain again.
        self.connection = None;
        self.reopen()?;
        if self.generation == expected {
            self.next_segment = next_segment;
            return Ok(());
        }
        Err(CatalogError::Unusable {
            path: self.path.display().to_string(),
            reason: error.to_string(),
            unchanged: true,
        })
    }

    fn reopen(&mut self) -> Result<(), CatalogError> {
        if self.connection.is_none() {
            let connection = connect(&self.path)?;
            self.generation =
                schema::meta(&connection, schema::GENERATION).map_err(|error| unusable(&self.path, error))?;
            self.connection = Some(connection);
        }
        Ok(())
    }

    fn lost(&self, reason: &str) -> CatalogError {
        let path = self.path.display().to_string();
        CatalogError::Unusable { path, reason: reason.to_owned(), unchanged: true }
    }
}

fn unusable(path: &Path, error: rusqlite::Error) -> CatalogError {
    CatalogError::Unusable { path: path.display().to_string(), reason: error.to_string(), unchanged: false }
}

fn connect(path: &Path) -> Result<Connection, CatalogError> {
    schema::connect(path).map_err(|error| schema::classify(path, error))
}

fn store(connection: &mut Connection, change: &Change, generation: i64, next_segment: u64) -> rusqlite::Result<()> {
    let transaction = connection.transaction()?;
    let mut digest = schema::meta(&transaction, schema::DIGEST)? as u64;
    for row in &change.insert {
        digest = digest.wrapping_sub(segment_crc(&transaction, row.id)?.unwrap_or(0));
        schema::insert_segment(&transaction, row)?;
        digest = digest.wrapping_add(u64::from(row.crc()));
    }
    for id in &change.delete {
        digest = digest.wrapping_sub(segment_crc(&transaction, *id)?.unwrap_or(0));
        transaction.execute("DELETE FROM segments WHERE id = ?1", params![*id as i64])?;
    }
    for sealed in &change.sealed {
        let known: Option<i64> = transaction
            .query_row(
                "SELECT row_crc FROM sealed WHERE tenant = ?1 AND signal = ?2",
                params![&*sealed.tenant, signal_code(sealed.signal)],
                |row| row.get(0),
            )
            .optional()?;
        digest = digest.wrapping_sub(known.unwrap_or(0) as u64).wrapping_add(u64::from(sealed.crc()));
        schema::put_sealed(&transaction, sealed)?;
    }
    if let Some(requests) = &change.requests {
        schema::put_requests(&transaction, requests)?;
    }
    if let Some(before) = change.forget_before_ms {
        transaction.execute("DELETE FROM requests WHERE received_ms < ?1", params![before as i64])?;
    }
    schema::put_meta(&transaction, schema::DIGEST, digest as i64)?;
    schema::put_meta(&transaction, schema::NEXT_SEGMENT, next_segment as i64)?;
    schema::put_meta(&transaction, schema::GENERATION, generation)?;
    transaction.commit()
}

fn segment_crc(transaction: &Transaction<'_>, id: u64) -> rusqlite::Result<Option<u64>> {
    transaction
        .query_row("SELECT row_crc FROM segments WHERE id = ?1", params![id as i64], |row| row.get::<_, i64>(0))
        .optional()
        .map(|crc| crc.map(|crc| crc as u64))
}

/// Moves a damaged database aside, under a name that says when, so that it can be looked at.
pub fn set_aside(path: &Path, now_ms: u64) -> std::io::Result<PathBuf> {
    let mut aside = path.to_owned().into_os_string();
    aside.push(format!(".damaged-{now_ms}"));
    let aside = PathBuf::from(aside);
    std::fs::rename(path, &aside)?;
    let mut journal = path.to_owned().into_os_string();
    journal.push("-journal");
    let journal = PathBuf::from(journal);
    if journal.exists() {
        let mut journal_aside = aside.clone().into_os_string();
        journal_aside.push("-journal");
        std::fs::rename(&journal, journal_aside)?;
    }
    Ok(aside)
}

/// How long a commit waits for somebody else who reads the database.
const BUSY: Duration = Duration::from_secs(5);
