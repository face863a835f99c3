//! The tables, in SQL that PostgreSQL takes as well. Unsigned 64-bit numbers are stored as the signed number
//! with the same bits.

use std::path::Path;
use std::sync::Arc;

use rusqlite::{Connection, ErrorCode, Row, params};

use super::{BUSY, CatalogError, Contents, RequestHashes, SealedRow, SegmentRow, signal_code, signal_of, unusable};

pub(super) const VERSION: i64 = 1;
pub(super) const DIGEST: &str = "digest";
pub(super) const GENERATION: &str = "generation";
pub(super) const NEXT_SEGMENT: &str = "next_segment";

const TABLES: &str = "
CREATE TABLE IF NOT EXISTS meta (
    name TEXT PRIMARY KEY,
    value BIGINT NOT NULL,
    row_crc BIGINT NOT NULL
);
CREATE TABLE IF NOT EXISTS segments (
    id BIGINT PRIMARY KEY,
    tenant TEXT NOT NULL,
    signal SMALLINT NOT NULL,
    level SMALLINT NOT NULL,
    row_count BIGINT NOT NULL,
    traces BIGINT NOT NULL,
    min_start BIGINT NOT NULL,
    max_end BIGINT NOT NULL,
    partition_start BIGINT NOT NULL,
    data_bytes BIGINT NOT NULL,
    index_bytes BIGINT NOT NULL,
    data_footer_crc BIGINT NOT NULL,
    wal_from BIGINT NOT NULL,
    wal_to BIGINT NOT NULL,
    created_ms BIGINT NOT NULL,
    set_id BIGINT NOT NULL,
    row_crc BIGINT NOT NULL
);
CREATE TABLE IF NOT EXISTS sealed (
    tenant TEXT NOT NULL,
    signal SMALLINT NOT NULL,
    frame BIGINT NOT NULL,
    row_crc BIGINT NOT NULL,
    PRIMARY KEY (tenant, signal)
);
CREATE TABLE IF NOT EXISTS requests (
    frame BIGINT PRIMARY KEY,
    received_ms BIGINT NOT NULL,
    hashes BYTEA NOT NULL,
    row_crc BIGINT NOT NULL
);
";

const INSERT_SEGMENT: &str = "
INSERT INTO segments (id, tenant, signal, level, row_count, traces, min_start, max_end, partition_start, data_bytes,
    index_bytes, data_footer_crc, wal_from, wal_to, created_ms, set_id, row_crc)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17)
ON CONFLICT (id) DO UPDATE SET tenant = excluded.tenant, signal = excluded.signal, level = excluded.level,
    row_count = excluded.row_count, traces = excluded.traces, min_start = excluded.min_start,
    max_end = excluded.max_end, partition_start = excluded.partition_start, data_bytes = excluded.data_bytes,
    index_bytes = excluded.index_bytes, data_footer_crc = excluded.data_footer_crc, wal_from = excluded.wal_from,
    wal_to = excluded.wal_to, created_ms = excluded.created_ms, set_id = excluded.set_id, row_crc = excluded.row_crc
";

const SELECT_SEGMENTS: &str = "
SELECT id, tenant, signal, level, row_count, traces, min_start, max_end, partition_start, data_bytes, index_bytes,
    data_footer_crc, wal_from, wal_to, created_ms, set_id, row_crc
FROM segments ORDER BY id
";

/// Opens the database and makes sure that its tables exist.
pub(super) fn connect(path: &Path) -> rusqlite::Result<Connection> {
    let connection = Connection::open(path)?;
    connection.busy_timeout(BUSY)?;
    connection.pragma_update(None, "journal_mode", "DELETE")?;
    connection.pragma_update(None, "synchronous", "EXTRA")?;
    connection.pragma_update(None, "cell_size_check", true)?;
    let tables: i64 = connection.query_row("SELECT count(*) FROM sqlite_master", [], |row| row.get(0))?;
    if tables == 0 {
        connection.execute_batch("BEGIN IMMEDIATE")?;
        connection.execute_batch(TABLES)?;
        for (name, value) in [("version", VERSION), (DIGEST, 0), (GENERATION, 0), (NEXT_SEGMENT, 1)] {
            put_meta(&connection, name, value)?;
        }
        connection.execute_batch("COMMIT")?;
    }
    Ok(connection)
}

/// Tells damage from a database that merely cannot be used now.
pub(super) fn classify(path: &Path, error: rusqlite::Error) -> CatalogError {
    let damaged = match &error {
        rusqlite::Error::SqliteFailure(failure, message) => {
            let missing = message.as_deref().is_some_and(|message| message.contains("no such"));
            matches!(failure.code, ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) || missing
        }
        rusqlite::Error::SqlInputError { .. } => true,
        rusqlite::Error::QueryReturnedNoRows
        | rusqlite::Error::InvalidColumnType(..)
        | rusqlite::Error::FromSqlConversionFailure(..)
        | rusqlite::Error::IntegralValueOutOfRange(..)
        | rusqlite::Error::Utf8Error(..) => true,
        _ => false,
    };
    if damaged {
        return CatalogError::Damaged { path: path.display().to_string(), reason: error.to_string() };
    }
    unusable(path, error)
}

fn meta_crc(name: &str, value: i64) -> i64 {
    i64::from(crc32c::crc32c_append(crc32c::crc32c(name.as_bytes()), &value.to_le_bytes()))
}

/// A number from `meta`, its checksum verified.
pub(super) fn meta(connection: &Connection, name: &str) -> rusqlite::Result<i64> {
    let (value, crc): (i64, i64) =
        connection.query_row("SELECT value, row_crc FROM meta WHERE name = ?1", params![name], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })?;
    if crc == meta_crc(name, value) {
        return Ok(value);
    }
    let reason = format!("the row of {name} in meta does not match its checksum");
    Err(rusqlite::Error::FromSqlConversionFailure(0, rusqlite::types::Type::Integer, reason.into()))
}

pub(super) fn put_meta(connection: &Connection, name: &str, value: i64) -> rusqlite::Result<()> {
    connection
        .execute(
            "INSERT INTO meta (name, value, row_crc) VALUES (?1, ?2, ?3)
             ON CONFLICT (name) DO UPDATE SET value = excluded.value, row_crc = excluded.row_crc",
            params![name, value, meta_crc(name, value)],
        )
        .map(|_| ())
}

pub(super) fn insert_segment(connection: &Connection, row: &SegmentRow) -> rusqlite::Result<()> {
    connection
        .execute(
            INSERT_SEGMENT,
            params![
                row.id as i64,
                row.tenant,
                signal_code(row.signal),
                row.level,
                row.rows as i64,
                row.traces as i64,
                row.min_start as i64,
                row.max_end as i64,
                row.partition_start as i64,
                row.data_bytes as i64,
                row.index_bytes as i64,
                row.data_footer_crc,
                row.wal_from as i64,
                row.wal_to as i64,
                row.created_ms as i64,
                row.set_id as i64,
                row.crc()
            ],
        )
        .map(|_| ())
}

pub(super) fn put_sealed(connection: &Connection, sealed: &SealedRow) -> rusqlite::Result<()> {
    connection
        .execute(
            "INSERT INTO sealed (tenant, signal, frame, row_crc) VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT (tenant, signal) DO UPDATE SET frame = excluded.frame, row_crc = excluded.row_crc",
            params![&*sealed.tenant, signal_code(sealed.signal), sealed.frame as i64, sealed.crc()],
        )
        .map(|_| ())
}

pub(super) fn put_requests(connection: &Connection, requests: &RequestHashes) -> rusqlite::Result<()> {
    connection
        .execute(
            "INSERT INTO requests (frame, received_ms, hashes, row_crc) VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT (frame) DO UPDATE SET received_ms = excluded.received_ms, hashes = excluded.hashes,
                 row_crc = excluded.row_crc",
            params![requests.frame as i64, requests.received_ms as i64, requests.to_bytes(), requests.crc()],
        )
        .map(|_| ())
}

fn number(row: &Row<'_>, column: usize) -> rusqlite::Result<u64> {
    row.get::<_, i64>(column).map(|number| number as u64)
}

fn signal(row: &Row<'_>, column: usize) -> rusqlite::Result<crate::table::Signal> {
    let code: i64 = row.get(column)?;
    u8::try_from(code).ok().and_then(signal_of).ok_or(rusqlite::Error::IntegralValueOutOfRange(column, code))
}

fn segment_row(row: &Row<'_>) -> rusqlite::Result<(SegmentRow, u64)> {
    let segment = SegmentRow {
        id: number(row, 0)?,
        tenant: row.get(1)?,
        signal: signal(row, 2)?,
        level: row.get(3)?,
        rows: number(row, 4)?,
        traces: number(row, 5)?,
        min_start: number(row, 6)?,
        max_end: number(row, 7)?,
        partition_start: number(row, 8)?,
        data_bytes: number(row, 9)?,
        index_bytes: number(row, 10)?,
        data_footer_crc: row.get(11)?,
        wal_from: number(row, 12)?,
        wal_to: number(row, 13)?,
        created_ms: number(row, 14)?,
        set_id: number(row, 15)?,
    };
    Ok((segment, number(row, 16)?))
}

/// Everything in the database, verified.
pub(super) fn load(connection: &Connection, path: &Path) -> Result<Contents, CatalogError> {
    let failed = |error| classify(path, error);
    let damaged = |reason: String| CatalogError::Damaged { path: path.display().to_string(), reason };

    let version = meta(connection, "version").map_err(failed)?;
    if version > VERSION {
        return Err(CatalogError::Version { path: path.display().to_string(), version, known: VERSION });
    }
    let check: String = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0)).map_err(failed)?;
    if check != "ok" {
        return Err(damaged(check));
    }

    let mut contents = Contents::default();
    let mut digest = 0u64;
    let mut verify = |what: &str, found: u64, computed: u32| {
        if found != u64::from(computed) {
            return Err(damaged(format!("the row of {what} does not match its checksum")));
        }
        digest = digest.wrapping_add(found);
        Ok(())
    };
    let mut statement = connection.prepare(SELECT_SEGMENTS).map_err(failed)?;
    for row in statement.query_map([], segment_row).map_err(failed)? {
        let (row, crc) = row.map_err(failed)?;
        verify(&format!("segment {:016x}", row.id), crc, row.crc())?;
        contents.segments.push(row);
    }
    let mut statement = connection.prepare("SELECT tenant, signal, frame, row_crc FROM sealed").map_err(failed)?;
    let sealed = statement
        .query_map([], |row| {
            let tenant: Arc<str> = Arc::from(row.get::<_, String>(0)?);
            Ok((SealedRow { tenant, signal: signal(row, 1)?, frame: number(row, 2)? }, number(row, 3)?))
        })
        .map_err(failed)?;
    for row in sealed {
        let (row, crc) = row.map_err(failed)?;
        verify(&format!("tenant {}", row.tenant), crc, row.crc())?;
        contents.sealed.push(row);
    }
    let expected = meta(connection, DIGEST).map_err(failed)? as u64;
    if digest != expected {
        return Err(damaged("rows are missing".into()));
    }

    let mut statement =
        connection.prepare("SELECT frame, received_ms, hashes, row_crc FROM requests").map_err(failed)?;
    let requests = statement
        .query_map([], |row| {
            let bytes: Vec<u8> = row.get(2)?;
            Ok((RequestHashes::from_bytes(number(row, 0)?, number(row, 1)?, &bytes), number(row, 3)?))
        })
        .map_err(failed)?;
    for row in requests {
        match row.map_err(failed)? {
            (Some(requests), crc) if crc == u64::from(requests.crc()) => contents.requests.push(requests),
            _ => return Err(damaged("a row of recent requests does not match its checksum".into())),
        }
    }
    contents.next_segment = meta(connection, NEXT_SEGMENT).map_err(failed)? as u64;
    Ok(contents)
}
