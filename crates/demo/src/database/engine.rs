//! The databases themselves: SQLite in memory, one for each service that keeps data, filled when the shop opens.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::types::{ToSqlOutput, Value as SqlValue, ValueRef};
use rusqlite::{Connection, StatementStatus, ToSql};
use serde_json::Value;

use super::statements::Statement;

/// Rows of an answer that are handed on; every statement has a smaller limit of its own.
const ROWS_MAX: usize = 200;

/// Tables, indexes and rows of each database. What grows is cut by a trigger.
const SCHEMAS: &[(&str, &str)] = &[
    (
        "inventory-db",
        "CREATE TABLE products (id INTEGER PRIMARY KEY, name TEXT NOT NULL, category TEXT NOT NULL, popularity INTEGER NOT NULL);
         CREATE TABLE stock_levels (product_id INTEGER PRIMARY KEY, available INTEGER NOT NULL, reserved INTEGER NOT NULL DEFAULT 0);
         WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 400)
         INSERT INTO products SELECT i, 'product ' || i, CASE i % 5 WHEN 0 THEN 'books' WHEN 1 THEN 'garden' WHEN 2 THEN 'kitchen' WHEN 3 THEN 'music' ELSE 'toys' END, i * 7919 % 400 FROM n;
         INSERT INTO stock_levels (product_id, available) SELECT id, 40 + id % 60 FROM products;
         CREATE INDEX products_by_category ON products (category, popularity);",
    ),
    (
        "orders-db",
        "CREATE TABLE orders (id TEXT PRIMARY KEY, user_id TEXT NOT NULL, total_cents INTEGER NOT NULL, currency TEXT NOT NULL, placed_at INTEGER NOT NULL);
         CREATE TABLE order_items (id INTEGER PRIMARY KEY, order_id TEXT NOT NULL, product_id INTEGER NOT NULL, quantity INTEGER NOT NULL);
         CREATE TABLE shipments (id INTEGER PRIMARY KEY, warehouse TEXT NOT NULL, carrier TEXT NOT NULL);
         CREATE INDEX orders_by_user ON orders (user_id, placed_at);
         CREATE INDEX items_by_order ON order_items (order_id);
         CREATE INDEX shipments_by_warehouse ON shipments (warehouse, carrier);
         WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 4000)
         INSERT INTO orders SELECT 'ord-' || printf('%010x', i), 'u' || (1 + i * 31 % 5000), 900 + i * 37 % 20000, 'EUR', unixepoch() - i * 60 FROM n;
         INSERT INTO order_items (order_id, product_id, quantity) SELECT id, 1 + rowid * 13 % 400, 1 FROM orders;
         WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 200)
         INSERT INTO shipments (warehouse, carrier) SELECT 'w' || (i % 4), CASE i % 3 WHEN 0 THEN 'acme-parcel' WHEN 1 THEN 'blue-van' ELSE 'night-mail' END FROM n;
         CREATE TRIGGER orders_kept AFTER INSERT ON orders BEGIN DELETE FROM orders WHERE rowid <= new.rowid - 5000; END;
         CREATE TRIGGER items_kept AFTER INSERT ON order_items BEGIN DELETE FROM order_items WHERE id <= new.id - 5000; END;",
    ),
    (
        "profile-db",
        "CREATE TABLE users (id TEXT PRIMARY KEY, language TEXT NOT NULL, country TEXT NOT NULL);
         CREATE TABLE credentials (user_id TEXT PRIMARY KEY, password_hash TEXT NOT NULL, salt TEXT NOT NULL);
         CREATE TABLE visits (user_id TEXT NOT NULL, segment TEXT NOT NULL);
         WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 5000)
         INSERT INTO users SELECT 'u' || i, CASE i % 3 WHEN 0 THEN 'de' WHEN 1 THEN 'en' ELSE 'fr' END, CASE i % 4 WHEN 0 THEN 'AT' WHEN 1 THEN 'CH' WHEN 2 THEN 'DE' ELSE 'FR' END FROM n;
         INSERT INTO credentials SELECT id, hex(randomblob(16)), hex(randomblob(4)) FROM users;
         INSERT INTO visits SELECT id, CASE rowid % 3 WHEN 0 THEN 'returning' WHEN 1 THEN 'newsletter' ELSE 'bargains' END FROM users;
         INSERT INTO visits SELECT id, 'mobile' FROM users WHERE rowid % 2;
         CREATE INDEX visits_by_user ON visits (user_id, segment);",
    ),
    (
        "search",
        "CREATE VIRTUAL TABLE product_text USING fts5(title, description);
         CREATE TABLE availability (product_id INTEGER PRIMARY KEY, refreshed_at INTEGER NOT NULL);
         WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 400)
         INSERT INTO product_text (rowid, title, description) SELECT i,
           CASE i % 4 WHEN 0 THEN 'blue' WHEN 1 THEN 'wooden' WHEN 2 THEN 'small' ELSE 'garden' END || ' ' || CASE i % 7 WHEN 0 THEN 'kettle' WHEN 1 THEN 'guitar' WHEN 2 THEN 'lamp' WHEN 3 THEN 'puzzle' WHEN 4 THEN 'spade' WHEN 5 THEN 'novel' ELSE 'teapot' END,
           'number ' || i || ' of our range' FROM n;
         INSERT INTO availability SELECT rowid, unixepoch() FROM product_text;",
    ),
    (
        "warehouse-management",
        "CREATE TABLE bins (bin TEXT PRIMARY KEY, product_id INTEGER NOT NULL, aisle INTEGER NOT NULL, quantity INTEGER NOT NULL);
         WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1200)
         INSERT INTO bins SELECT printf('%02d-%03d', i % 40, i), 1 + i % 400, i % 40, i % 9 FROM n;
         CREATE INDEX bins_by_product ON bins (product_id, aisle);",
    ),
    (
        "carrier-rates",
        "CREATE TABLE rates (country TEXT NOT NULL, carrier TEXT NOT NULL, cents INTEGER NOT NULL);
         WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 39)
         INSERT INTO rates SELECT CASE i % 4 WHEN 0 THEN 'AT' WHEN 1 THEN 'CH' WHEN 2 THEN 'DE' ELSE 'FR' END, 'carrier ' || (i / 4), 390 + i * 17 FROM n;
         CREATE INDEX rates_by_country ON rates (country, cents);",
    ),
    (
        "tax-jurisdiction",
        "CREATE TABLE jurisdictions (country TEXT PRIMARY KEY, name TEXT NOT NULL, vat_permille INTEGER NOT NULL);
         INSERT INTO jurisdictions VALUES ('AT', 'Austria', 200), ('CH', 'Switzerland', 81), ('DE', 'Germany', 190), ('FR', 'France', 200);",
    ),
    (
        "ledger",
        "CREATE TABLE ledger_entries (id INTEGER PRIMARY KEY, account TEXT NOT NULL, currency TEXT NOT NULL, amount_cents INTEGER NOT NULL);
         WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 24000)
         INSERT INTO ledger_entries SELECT i, 'hedge-' || CASE i % 400 WHEN 0 THEN 'AT' WHEN 1 THEN 'CH' WHEN 2 THEN 'DE' WHEN 3 THEN 'FR' ELSE i % 400 END, CASE i % 3 WHEN 0 THEN 'CHF' WHEN 1 THEN 'EUR' ELSE 'USD' END, i * 7 % 5000 - 2500 FROM n;",
    ),
    (
        "analytics",
        "CREATE TABLE sales (id INTEGER PRIMARY KEY, product_id INTEGER NOT NULL, sold_at INTEGER NOT NULL);
         CREATE INDEX sales_by_product ON sales (product_id);
         CREATE TRIGGER sales_kept AFTER INSERT ON sales BEGIN DELETE FROM sales WHERE id <= new.id - 2000; END;",
    ),
];

/// An index that can be lost.
struct Index {
    database: &'static str,
    create: &'static str,
    drop: &'static str,
}

const INDEXES: &[Index] = &[Index {
    database: "ledger",
    create: "CREATE INDEX IF NOT EXISTS ledger_by_account ON ledger_entries (account, currency, amount_cents)",
    drop: "DROP INDEX IF EXISTS ledger_by_account",
}];

/// What became of a statement.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Outcome {
    /// Its rows, each as a list of values.
    pub(super) rows: Vec<Value>,
    /// Rows that it changed.
    pub(super) changed: usize,
    /// Instructions that SQLite's virtual machine ran for it: how much work it was.
    pub(super) steps: u32,
    /// How it was carried out, as SQLite explains it: `SEARCH orders USING INDEX …`.
    pub(super) plan: String,
}

/// One database.
pub(super) struct Engine {
    connection: Mutex<Connection>,
    index: Option<&'static Index>,
    wants_index: AtomicBool,
    has_index: AtomicBool,
}

impl Engine {
    fn open(name: &str, schema: &str) -> rusqlite::Result<Self> {
        let connection = Connection::open_in_memory()?;
        connection.execute_batch(&format!("BEGIN; {schema} COMMIT;"))?;
        let index = INDEXES.iter().find(|index| index.database == name);
        let has_index = AtomicBool::new(index.is_none());
        Ok(Self { connection: Mutex::new(connection), index, wants_index: AtomicBool::new(true), has_index })
    }

    /// Runs a statement to its end. Takes milliseconds: not on a thread of the runtime.
    pub(super) fn execute(&self, statement: &Statement, parameters: &[Value]) -> rusqlite::Result<Outcome> {
        let connection = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
        self.mend_index(&connection)?;
        let parameters: Vec<Parameter<'_>> = parameters.iter().map(Parameter).collect();
        let bound = || rusqlite::params_from_iter(parameters.iter());
        let plan = {
            // Prepared anew: an explanation that is kept does not notice when an index comes or goes.
            let mut explain = connection.prepare(&format!("EXPLAIN QUERY PLAN {}", statement.text))?;
            let steps = explain.query_map(bound(), |row| row.get::<_, String>(3))?;
            steps.collect::<rusqlite::Result<Vec<_>>>()?.join("; ")
        };
        let mut prepared = connection.prepare_cached(statement.text)?;
        prepared.reset_status(StatementStatus::VmStep);
        let mut rows = Vec::new();
        let columns = prepared.column_count();
        let mut changed = 0;
        if columns == 0 {
            changed = prepared.execute(bound())?;
        } else {
            let mut found = prepared.query(bound())?;
            while let Some(row) = found.next()? {
                if rows.len() < ROWS_MAX {
                    rows.push(
                        (0..columns)
                            .map(|column| row.get::<_, SqlValue>(column).map(json))
                            .collect::<Result<_, _>>()?,
                    );
                }
            }
        }
        let steps = u32::try_from(prepared.get_status(StatementStatus::VmStep)).unwrap_or(0);
        Ok(Outcome { rows, changed, steps, plan })
    }

    fn mend_index(&self, connection: &Connection) -> rusqlite::Result<()> {
        let wanted = self.wants_index.load(Ordering::Relaxed);
        match self.index {
            Some(index) if self.has_index.swap(wanted, Ordering::Relaxed) != wanted => {
                connection.execute_batch(if wanted { index.create } else { index.drop })
            }
            _ => Ok(()),
        }
    }
}

/// A JSON value as a parameter.
struct Parameter<'a>(&'a Value);

impl ToSql for Parameter<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(match self.0 {
            Value::String(text) => ToSqlOutput::Borrowed(ValueRef::Text(text.as_bytes())),
            Value::Number(number) => ToSqlOutput::Owned(SqlValue::Integer(number.as_i64().unwrap_or_default())),
            _ => ToSqlOutput::Owned(SqlValue::Null),
        })
    }
}

fn json(value: SqlValue) -> Value {
    match value {
        SqlValue::Integer(number) => number.into(),
        SqlValue::Real(number) => number.into(),
        SqlValue::Text(text) => text.into(),
        SqlValue::Null | SqlValue::Blob(_) => Value::Null,
    }
}

/// Every database of the shop, by the service that keeps it.
pub(crate) struct Databases(HashMap<&'static str, Arc<Engine>>);

impl Databases {
    /// Creates and fills all of them. Takes some tens of milliseconds: not on a thread of the runtime.
    pub(crate) fn open() -> rusqlite::Result<Self> {
        let engine = |&(name, schema): &(&'static str, &str)| Ok((name, Arc::new(Engine::open(name, schema)?)));
        Ok(Self(SCHEMAS.iter().map(engine).collect::<rusqlite::Result<_>>()?))
    }

    pub(super) fn get(&self, name: &str) -> Option<Arc<Engine>> {
        self.0.get(name).cloned()
    }

    /// From the next statement on, a database has its index or has lost it.
    pub(crate) fn use_index(&self, name: &str, on: bool) {
        if let Some(engine) = self.0.get(name) {
            engine.wants_index.store(on, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::statements::{self, *};
    use super::*;

    #[test]
    fn every_statement_runs_by_an_index_and_finds_something() {
        let databases = Databases::open().unwrap();
        let parameters = |statement: &Statement| match statement.name {
            "SELECT_PRODUCTS" | "SELECT_CATEGORY" => vec![json!("books")],
            "INSERT_ORDER" => vec![json!("ord-x"), json!("u1"), json!(100)],
            "INSERT_ORDER_ITEM" => vec![json!("ord-x"), json!(3)],
            "SELECT_ORDERS" | "SELECT_ORDER_ITEMS" | "SELECT_USER" | "SELECT_CREDENTIALS" | "SELECT_SEGMENTS" => {
                vec![json!("u32")]
            }
            "SELECT_SHIPMENTS" => vec![json!("w1")],
            "SEARCH_PRODUCTS" => vec![json!("garden")],
            "SELECT_RATES" | "SELECT_JURISDICTION" => vec![json!("DE")],
            "SELECT_LEDGER_ENTRIES" => vec![json!("hedge-DE")],
            "SELECT_LOW_STOCK" | "RESTOCK" | "SELECT_BESTSELLERS" => vec![],
            _ => vec![json!(7)],
        };
        for statement in statements::ALL {
            let engine = databases.get(statement.database).unwrap();
            let outcome = engine.execute(statement, &parameters(statement)).unwrap();
            // At first no product is scarce.
            let scarce = matches!(statement.name, "SELECT_LOW_STOCK" | "RESTOCK");
            assert_eq!(outcome.rows.is_empty() && outcome.changed == 0, scarce, "{}: {outcome:?}", statement.name);
            assert!(outcome.steps > 0 && outcome.steps < 4_000, "{}: {outcome:?}", statement.name);
        }
    }

    #[test]
    fn without_its_index_the_ledger_reads_every_entry() {
        let databases = Databases::open().unwrap();
        let engine = databases.get("ledger").unwrap();
        let run = || engine.execute(&SELECT_LEDGER_ENTRIES, &[json!("hedge-DE")]).unwrap();
        let with = run();
        databases.use_index("ledger", false);
        let without = run();
        databases.use_index("ledger", true);
        assert_eq!(run(), with);
        assert!(with.plan.contains("USING COVERING INDEX ledger_by_account"), "{}", with.plan);
        assert!(without.plan.contains("SCAN ledger_entries"), "{}", without.plan);
        assert_eq!(without.rows, with.rows, "the answer is the same");
        assert!(without.steps > 50 * with.steps, "{} and {} steps", without.steps, with.steps);
    }
}
