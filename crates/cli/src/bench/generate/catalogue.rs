//! The shop that the generated spans come from: fifty services in layers, and what each of them is built of.

/// How a service is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// HTTP with JSON.
    Http,
    /// gRPC.
    Grpc,
}

/// The database behind a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Database {
    /// None.
    None,
    /// PostgreSQL.
    Postgres,
    /// MySQL.
    Mysql,
    /// MongoDB.
    Mongo,
}

/// Language and OpenTelemetry SDK of a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Language {
    /// Go.
    Go,
    /// Java.
    Java,
    /// Python.
    Python,
    /// JavaScript on Node.
    Node,
    /// C#.
    Dotnet,
}

/// One service.
pub struct Service {
    /// `service.name`.
    pub name: &'static str,
    /// Layer, 0 at the top; calls go to deeper layers only.
    pub layer: u8,
    /// What it is written in.
    pub language: Language,
    /// How it is called.
    pub transport: Transport,
    /// Its database.
    pub database: Database,
    /// Does it keep a Redis cache?
    pub cache: bool,
    /// Does it publish to Kafka?
    pub queue: bool,
    /// Running instances.
    pub instances: u8,
    /// What it manages, singular; routes, methods and tables are named after these.
    pub nouns: &'static [&'static str],
}

macro_rules! services {
    ($($name:literal $layer:literal $language:ident $transport:ident $database:ident
       $cache:literal $queue:literal $instances:literal [$($noun:literal)+];)+) => {
        &[$(Service {
            name: $name,
            layer: $layer,
            language: Language::$language,
            transport: Transport::$transport,
            database: Database::$database,
            cache: $cache,
            queue: $queue,
            instances: $instances,
            nouns: &[$($noun),+],
        }),+]
    };
}

/// All services, top layer first.
#[rustfmt::skip]
pub const SERVICES: &[Service] = services! {
//  name              layer lang  transport database cache queue pods nouns
    "gateway"          0 Go     Http None     true  false 4 ["cart" "order" "product" "account" "search" "return" "dispute"];

    "storefront"       1 Node   Http None     true  false 4 ["page" "product" "cart"];
    "mobile-bff"       1 Node   Http None     true  false 3 ["feed" "product" "order"];
    "partner-api"      1 Java   Http Postgres true  false 2 ["offer" "feed"];
    "admin-console"    1 Python Http Postgres false false 1 ["report" "user"];

    "checkout"         2 Java   Grpc Postgres true  true  3 ["checkout" "basket"];
    "cart"             2 Dotnet Grpc Mongo    true  true  3 ["cart" "line"];
    "catalog"          2 Go     Grpc Postgres true  false 3 ["product" "category"];
    "search"           2 Java   Http None     true  false 3 ["query" "suggestion"];
    "account"          2 Java   Http Mysql    true  true  2 ["account" "preference"];
    "orders"           2 Java   Grpc Postgres true  true  3 ["order" "item"];
    "content"          2 Python Http Mongo    true  false 2 ["article" "banner"];
    "support"          2 Python Http Postgres false true  1 ["ticket" "conversation"];

    "payment"          3 Java   Grpc Postgres false true  3 ["payment" "refund"];
    "inventory"        3 Go     Grpc Postgres true  true  3 ["stock" "reservation"];
    "pricing"          3 Go     Grpc Mysql    true  false 3 ["price" "discount"];
    "promotions"       3 Python Http Mysql    true  false 2 ["promotion" "coupon"];
    "recommendations"  3 Python Http Mongo    true  false 3 ["recommendation" "model"];
    "shipping"         3 Dotnet Grpc Postgres false true  2 ["shipment" "label"];
    "profile"          3 Node   Http Mongo    true  false 2 ["profile" "avatar"];
    "reviews"          3 Node   Http Mongo    true  true  2 ["review" "rating"];
    "auth"             3 Go     Grpc Postgres true  false 3 ["login" "grant"];
    "notifications"    3 Node   Http Mongo    false true  2 ["notification" "template"];
    "tax"              3 Java   Grpc Mysql    true  false 2 ["rate" "exemption"];
    "wishlist"         3 Dotnet Http Postgres true  false 1 ["wishlist" "entry"];

    "fraud"            4 Python Grpc Postgres true  true  2 ["score" "rule"];
    "ledger"           4 Java   Grpc Postgres false true  2 ["booking" "balance"];
    "warehouse"        4 Java   Grpc Mysql    true  true  2 ["bin" "pick"];
    "carrier-rates"    4 Go     Http None     true  false 2 ["quote" "carrier"];
    "currency"         4 Go     Grpc None     true  false 2 ["conversion" "currency"];
    "loyalty"          4 Dotnet Http Mysql    true  true  2 ["point" "tier"];
    "personalisation"  4 Python Http Mongo    true  false 2 ["segment" "experiment"];
    "media"            4 Go     Http None     true  false 2 ["image" "video"];
    "email"            4 Node   Http Mongo    false true  1 ["message" "bounce"];
    "sms"              4 Node   Http Mongo    false true  1 ["text" "receipt"];
    "push"             4 Node   Http Mongo    false true  1 ["device" "push"];
    "session"          4 Go     Grpc None     true  false 3 ["session" "csrf"];
    "address"          4 Dotnet Http Postgres true  false 1 ["address" "zone"];
    "catalog-index"    4 Java   Http None     true  true  2 ["document" "facet"];
    "returns"          4 Python Http Postgres false true  1 ["claim" "inspection"];

    "risk-model"       5 Python Grpc None     true  false 2 ["feature" "verdict"];
    "geo"              5 Go     Grpc Postgres true  false 2 ["place" "route"];
    "feature-flags"    5 Go     Grpc None     true  false 2 ["flag" "variant"];
    "stock-events"     5 Java   Http Postgres false true  2 ["movement" "snapshot"];
    "invoice"          5 Dotnet Http Postgres false true  1 ["invoice" "credit"];
    "audit"            5 Java   Grpc Postgres false true  2 ["record" "actor"];
    "ranking"          5 Python Grpc Mongo    true  false 2 ["rank" "signal"];
    "image-resize"     5 Go     Http None     true  false 2 ["rendition" "preset"];
    "token"            5 Go     Grpc Postgres true  false 2 ["token" "key"];
    "rate-limit"       5 Go     Grpc None     true  false 2 ["quota" "window"];
};

impl Language {
    /// `telemetry.sdk.language`, `telemetry.sdk.version`.
    pub fn sdk(self) -> (&'static str, &'static str) {
        match self {
            Language::Go => ("go", "1.38.0"),
            Language::Java => ("java", "1.54.0"),
            Language::Python => ("python", "1.38.0"),
            Language::Node => ("nodejs", "2.1.0"),
            Language::Dotnet => ("dotnet", "1.13.0"),
        }
    }

    /// Instrumentation scopes for serving, calling out, databases and own code: name and version.
    pub fn scopes(self) -> [(&'static str, &'static str); 4] {
        match self {
            Language::Go => [
                ("go.opentelemetry.io/contrib/instrumentation/net/http/otelhttp", "0.63.0"),
                ("go.opentelemetry.io/contrib/instrumentation/google.golang.org/grpc/otelgrpc", "0.63.0"),
                ("github.com/XSAM/otelsql", "0.40.0"),
                ("shop/internal", "2.4.1"),
            ],
            Language::Java => [
                ("io.opentelemetry.tomcat-10.0", "2.20.0-alpha"),
                ("io.opentelemetry.grpc-1.6", "2.20.0-alpha"),
                ("io.opentelemetry.jdbc", "2.20.0-alpha"),
                ("shop.domain", "5.11.3"),
            ],
            Language::Python => [
                ("opentelemetry.instrumentation.fastapi", "0.59b0"),
                ("opentelemetry.instrumentation.httpx", "0.59b0"),
                ("opentelemetry.instrumentation.sqlalchemy", "0.59b0"),
                ("shop", "1.9.0"),
            ],
            Language::Node => [
                ("@opentelemetry/instrumentation-http", "0.205.0"),
                ("@opentelemetry/instrumentation-undici", "0.16.0"),
                ("@opentelemetry/instrumentation-mongodb", "0.58.0"),
                ("shop", "3.2.0"),
            ],
            Language::Dotnet => {
                [("Microsoft.AspNetCore", ""), ("System.Net.Http", ""), ("Npgsql", "9.0.3"), ("Shop.Domain", "7.1.0")]
            }
        }
    }
}

/// User agents of the shop's visitors, the frequent ones first.
pub const USER_AGENTS: &[&str] = &[
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 18_6 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/26.0 Mobile/15E148 Safari/604.1",
    "ShopApp/8.14.2 (Android 16; Pixel 9)",
    "ShopApp/8.14.1 (iOS 18.6; iPhone16,2)",
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/26.0 Safari/605.1.15",
    "Mozilla/5.0 (X11; Linux x86_64; rv:144.0) Gecko/20100101 Firefox/144.0",
    "partner-sync/3.1 (+https://partners.example.com)",
    "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)",
];

/// What goes wrong: type, message, and the frames of a stack trace.
pub const EXCEPTIONS: &[(&str, &str, &[&str])] = &[
    (
        "java.net.SocketTimeoutException",
        "Read timed out after 3000 ms",
        &[
            "java.base/sun.nio.ch.NioSocketImpl.timedRead",
            "java.base/sun.nio.ch.NioSocketImpl.implRead",
            "okhttp3.internal.connection.RealCall.execute",
            "shop.client.Caller.call",
            "shop.domain.Handler.handle",
            "org.apache.catalina.core.ApplicationFilterChain.doFilter",
            "java.base/java.lang.Thread.run",
        ],
    ),
    (
        "org.postgresql.util.PSQLException",
        "ERROR: deadlock detected",
        &[
            "org.postgresql.core.v3.QueryExecutorImpl.receiveErrorResponse",
            "org.postgresql.jdbc.PgStatement.execute",
            "com.zaxxer.hikari.pool.ProxyPreparedStatement.execute",
            "shop.domain.Repository.save",
            "shop.domain.Handler.handle",
        ],
    ),
    (
        "sqlalchemy.exc.TimeoutError",
        "QueuePool limit of size 5 overflow 10 reached, connection timed out, timeout 30.00",
        &[
            "sqlalchemy/pool/impl.py in _do_get",
            "sqlalchemy/engine/base.py in _execute_context",
            "shop/repository.py in load",
            "shop/handlers.py in handle",
            "starlette/routing.py in app",
        ],
    ),
    (
        "*errors.errorString",
        "rpc error: code = Unavailable desc = connection error: dial tcp: connect: connection refused",
        &[
            "google.golang.org/grpc.(*ClientConn).Invoke",
            "shop/internal/client.(*Client).Call",
            "shop/internal/service.(*Server).Handle",
        ],
    ),
    (
        "System.InvalidOperationException",
        "Sequence contains no matching element",
        &[
            "System.Linq.ThrowHelper.ThrowNoMatchException()",
            "Shop.Domain.Handlers.Handler.HandleAsync(Request request)",
            "Grpc.AspNetCore.Server.Internal.CallHandlers.UnaryServerCallHandler`3.HandleCallAsyncCore(HttpContext httpContext)",
        ],
    ),
    (
        "TypeError",
        "Cannot read properties of undefined (reading 'id')",
        &[
            "handle (/app/dist/handlers.js",
            "async Router.dispatch (/app/node_modules/express/lib/router/index.js",
            "process.processTicksAndRejections (node:internal/process/task_queues",
        ],
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_fifty_services_with_names_of_their_own_in_order_of_their_layer() {
        assert_eq!(SERVICES.len(), 50);
        let names: std::collections::BTreeSet<_> = SERVICES.iter().map(|service| service.name).collect();
        assert_eq!(names.len(), 50);
        assert!(SERVICES.is_sorted_by_key(|service| service.layer));
    }
}
