//! The statements that the shop uses.

/// A statement.
#[derive(Debug)]
pub(crate) struct Statement {
    /// How caller and database call it between them.
    pub(super) name: &'static str,
    pub(crate) database: &'static str,
    pub(crate) operation: &'static str,
    pub(crate) collection: &'static str,
    pub(crate) text: &'static str,
    /// Median time of its execution, besides what SQLite has to do for it.
    pub(super) median_ms: f64,
    /// Whether it waits when the table is locked.
    pub(super) locks: bool,
}

macro_rules! statements {
    ($($name:ident: $database:literal, $operation:literal $collection:literal, $median:literal, $locks:literal, $text:literal;)*) => {
        $(pub(crate) const $name: Statement = Statement {
            name: stringify!($name),
            database: $database,
            operation: $operation,
            collection: $collection,
            text: $text,
            median_ms: $median,
            locks: $locks,
        };)*
        pub(super) const ALL: &[&Statement] = &[$(&$name),*];
    };
}

statements! {
    SELECT_PRODUCTS: "inventory-db", "SELECT" "products", 2.0, false,
        "SELECT p.id, p.name, s.available - s.reserved AS stock FROM products p JOIN stock_levels s ON s.product_id = p.id WHERE p.category = ?1 ORDER BY p.popularity LIMIT 24";
    SELECT_CATEGORY: "inventory-db", "SELECT" "products", 1.5, false,
        "SELECT id, name FROM products WHERE category = ?1 ORDER BY popularity LIMIT 24";
    SELECT_STOCK: "inventory-db", "SELECT" "stock_levels", 2.0, true,
        "SELECT available, reserved FROM stock_levels WHERE product_id = ?1";
    RESERVE_STOCK: "inventory-db", "UPDATE" "stock_levels", 4.0, false,
        "UPDATE stock_levels SET reserved = reserved + 1 WHERE product_id = ?1 AND available - reserved >= 1";
    SELECT_LOW_STOCK: "inventory-db", "SELECT" "stock_levels", 3.0, false,
        "SELECT product_id FROM stock_levels WHERE available - reserved < 5 ORDER BY product_id LIMIT 20";
    RESTOCK: "inventory-db", "UPDATE" "stock_levels", 6.0, false,
        "UPDATE stock_levels SET available = available + 40 WHERE available - reserved < 5";
    INSERT_ORDER: "orders-db", "INSERT" "orders", 4.0, true,
        "INSERT INTO orders (id, user_id, total_cents, currency, placed_at) VALUES (?1, ?2, ?3, 'EUR', unixepoch())";
    INSERT_ORDER_ITEM: "orders-db", "INSERT" "order_items", 3.0, false,
        "INSERT INTO order_items (order_id, product_id, quantity) VALUES (?1, ?2, 1)";
    SELECT_ORDERS: "orders-db", "SELECT" "orders", 3.0, false,
        "SELECT id, total_cents, placed_at FROM orders WHERE user_id = ?1 ORDER BY placed_at DESC LIMIT 10";
    SELECT_ORDER_ITEMS: "orders-db", "SELECT" "order_items", 3.0, false,
        "SELECT order_id, product_id, quantity FROM order_items WHERE order_id IN (SELECT id FROM orders WHERE user_id = ?1)";
    SELECT_SHIPMENTS: "orders-db", "SELECT" "shipments", 2.0, false,
        "SELECT carrier, count(*) AS parcels FROM shipments WHERE warehouse = ?1 GROUP BY carrier";
    SELECT_USER: "profile-db", "SELECT" "users", 2.0, false,
        "SELECT id, language, country FROM users WHERE id = ?1";
    SELECT_CREDENTIALS: "profile-db", "SELECT" "credentials", 2.0, false,
        "SELECT password_hash, salt FROM credentials WHERE user_id = ?1";
    SELECT_SEGMENTS: "profile-db", "SELECT" "visits", 4.0, false,
        "SELECT segment, count(*) AS visits FROM visits WHERE user_id = ?1 GROUP BY segment";
    SEARCH_PRODUCTS: "search", "SELECT" "product_text", 3.0, false,
        "SELECT rowid, title FROM product_text WHERE product_text MATCH ?1 ORDER BY rank LIMIT 20";
    REFRESH_AVAILABILITY: "search", "UPDATE" "availability", 1.0, false,
        "UPDATE availability SET refreshed_at = unixepoch() WHERE product_id = ?1";
    SELECT_BINS: "warehouse-management", "SELECT" "bins", 1.0, false,
        "SELECT bin, quantity FROM bins WHERE product_id = ?1 AND quantity > 0 ORDER BY aisle LIMIT 3";
    SELECT_RATES: "carrier-rates", "SELECT" "rates", 1.0, false,
        "SELECT carrier, cents FROM rates WHERE country = ?1 ORDER BY cents LIMIT 5";
    SELECT_JURISDICTION: "tax-jurisdiction", "SELECT" "jurisdictions", 0.8, false,
        "SELECT name, vat_permille FROM jurisdictions WHERE country = ?1";
    SELECT_LEDGER_ENTRIES: "ledger", "SELECT" "ledger_entries", 1.0, false,
        "SELECT currency, sum(amount_cents) AS balance_cents FROM ledger_entries WHERE account = ?1 GROUP BY currency";
    INSERT_SALE: "analytics", "INSERT" "sales", 1.0, false,
        "INSERT INTO sales (product_id, sold_at) VALUES (?1, unixepoch())";
    SELECT_BESTSELLERS: "analytics", "SELECT" "sales", 5.0, false,
        "SELECT product_id, count(*) AS sold FROM sales GROUP BY product_id ORDER BY sold DESC LIMIT 10";
}

impl Statement {
    /// `SELECT products`
    pub(crate) fn summary(&self) -> String {
        format!("{} {}", self.operation, self.collection)
    }

    pub(super) fn reads(&self) -> bool {
        self.operation == "SELECT"
    }
}
