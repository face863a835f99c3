//! Where a connection leads, from the options that it is opened with.

use std::panic::{AssertUnwindSafe, catch_unwind};

use ::sqlx::{ConnectOptions, Connection, Database as Driver};

use crate::db::Database;

/// The options of a driver's connections.
type Options<DB> = <<DB as Driver>::Connection as Connection>::Options;

/// The description of the database that `options` lead to. User name and password are left out.
pub(super) fn database_of<DB: Driver>(options: &Options<DB>) -> Database {
    let system = match DB::NAME {
        "PostgreSQL" => "postgresql",
        "MySQL" => "mysql",
        // The URL of a database in memory is not a URL; the name of the file is not to be had otherwise.
        "SQLite" => return sqlite(&format!("{options:?}")),
        _ => "other_sql",
    };
    // sqlx panics where a user name or a host makes no URL.
    let Ok(url) = catch_unwind(AssertUnwindSafe(|| options.to_url_lossy())) else { return Database::new(system) };
    let system = match url.scheme() {
        "postgres" | "postgresql" => "postgresql",
        "mysql" => "mysql",
        "mariadb" => "mariadb",
        "sqlite" => "sqlite",
        _ => system,
    };
    let mut database = Database::new(system);
    let socket = url.query_pairs().find(|(key, _)| key == "socket").map(|(_, path)| path.into_owned());
    let host = url.host_str().unwrap_or_default();
    // A socket of PostgreSQL is the host, percent-encoded.
    let socket = socket.or_else(|| {
        host.get(..3)
            .filter(|start| start.eq_ignore_ascii_case("%2f"))
            .map(|_| tracewell_propagate::percent_decode(host).into_owned())
    });
    let port = url.port().unwrap_or(if system == "postgresql" { 5432 } else { 3306 });
    if let Some(path) = socket {
        database = database.socket(path);
    } else if !host.is_empty() && system != "sqlite" {
        database = database.server(host.trim_matches(['[', ']']), port);
    }
    let path = if system == "sqlite" { url.path() } else { url.path().trim_start_matches('/') };
    if path.is_empty() { database } else { database.namespace(tracewell_propagate::percent_decode(path)) }
}

/// The file of a SQLite database, from what its options show of themselves.
fn sqlite(options: &str) -> Database {
    let database = Database::new("sqlite");
    if options.contains("in_memory: true") {
        return database.namespace(":memory:");
    }
    let file = options.split_once("filename: \"").and_then(|(_, rest)| rest.split_once('"')).map(|(file, _)| file);
    match file {
        Some(file) => database.namespace(file),
        None => database,
    }
}
