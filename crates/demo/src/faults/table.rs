//! The faults, one by one.

use super::{Direction, Edge, Expected, Fault, FaultId, Kind};

const INTERCONNECT: Edge = Edge { caller: "logistics-gateway", callee: "warehouse-hub" };

/// Every fault, in the order in which they are best shown.
pub const FAULTS: &[Fault; 12] = &[
    Fault {
        id: FaultId::SlowQuery,
        name: "slow-query",
        title: "Slow query in the thirtieth service",
        description: "ledger loses the index of its table: the statement that every checkout ends with reads all of its 24,000 entries",
        look: "checkouts that take more than a second longer, nearly all of it in one span at the very end of the chain; its attribute app.db.plan says SCAN where it said SEARCH",
        query: "{ resource.service.name = \"ledger\" && span.db.query.summary = \"SELECT ledger_entries\" && duration > 500ms }",
        settings: &[],
        services: &["ledger"],
        expected: Expected {
            service: Some("ledger"),
            operation: Some("SELECT ledger_entries"),
            statement: Some(crate::database::SELECT_LEDGER_ENTRIES.text),
            ..Expected::new(
                Kind::SlowOperation,
                "ledger, thirty services deep, is slow by itself: its statement SELECT ledger_entries takes more than a second",
            )
        },
    },
    Fault {
        id: FaultId::CongestionRequest,
        name: "congestion-request",
        title: "Congestion between the tenth and the eleventh service, on the way there",
        description: "the line from logistics-gateway to warehouse-hub is congested: requests wait some 400 ms on their way, more when several come at once; answers come back at once",
        look: "the client span of logistics-gateway is long, the server span of warehouse-hub below it is not and begins late; neither service does anything in between",
        query: "{ resource.service.name = \"logistics-gateway\" && kind = client && duration > 300ms }",
        settings: &[],
        services: &["logistics-gateway", "warehouse-hub"],
        expected: Expected {
            edge: Some(INTERCONNECT),
            direction: Some(Direction::Request),
            ..Expected::new(
                Kind::Network,
                "the time goes between logistics-gateway and warehouse-hub, on the way there; neither of the two is slow",
            )
        },
    },
    Fault {
        id: FaultId::CongestionResponse,
        name: "congestion-response",
        title: "Congestion between the tenth and the eleventh service, on the way back",
        description: "the line from warehouse-hub back to logistics-gateway is congested: answers wait some 400 ms on their way, more when several come at once; requests arrive at once",
        look: "the client span of logistics-gateway is long, the server span of warehouse-hub below it is not and ends early; neither service does anything in between",
        query: "{ resource.service.name = \"logistics-gateway\" && kind = client && duration > 300ms }",
        settings: &[],
        services: &["logistics-gateway", "warehouse-hub"],
        expected: Expected {
            edge: Some(INTERCONNECT),
            direction: Some(Direction::Response),
            ..Expected::new(
                Kind::Network,
                "the time goes between logistics-gateway and warehouse-hub, on the way back; neither of the two is slow",
            )
        },
    },
    Fault {
        id: FaultId::SlowDatabase,
        name: "slow-database",
        title: "A database waits for a lock",
        description: "someone holds a table of the database: the statements that need it wait two to four seconds before they run",
        look: "requests that take seconds, all of it below one statement, in a span that waits for a lock and says who holds it",
        query: "{ name = \"wait for lock\" }",
        settings: &["inventory-db", "orders-db"],
        services: &["inventory-db", "orders-db"],
        expected: Expected {
            service: Some("inventory-db"),
            operation: Some("wait for lock"),
            ..Expected::new(Kind::LockWait, "inventory-db waits two to four seconds for a lock before it answers")
        },
    },
    Fault {
        id: FaultId::RetryStorm,
        name: "retry-storm",
        title: "A storm of retries against the payment provider",
        description: "payment-provider refuses nine of ten charges with 503; payment repeats each up to five times without a pause, and checkout repeats payment up to three times",
        look: "one checkout with up to fifteen charges, nearly all of them failed, below repeated calls to payment",
        query: "{ resource.service.name = \"payment-provider\" && status = error }",
        settings: &[],
        services: &["checkout", "payment", "payment-provider"],
        expected: Expected {
            edge: Some(Edge { caller: "payment", callee: "payment-provider" }),
            operation: Some("POST /v1/charges"),
            ..Expected::new(
                Kind::RetryStorm,
                "payment and checkout both repeat what fails: up to fifteen calls of POST /v1/charges to payment-provider for one order",
            )
        },
    },
    Fault {
        id: FaultId::NPlusOne,
        name: "n-plus-one",
        title: "One query for each product of a list",
        description: "inventory reads a category with one statement, and then the stock of each of its 24 products with one statement each, one after the other",
        look: "the list of products makes 25 calls to inventory-db where it made one; the same statement again and again",
        query: "{ resource.service.name = \"inventory\" && name = \"SELECT stock_levels\" } | count() > 10",
        settings: &[],
        services: &["inventory"],
        expected: Expected {
            service: Some("inventory"),
            edge: Some(Edge { caller: "inventory", callee: "inventory-db" }),
            operation: Some("SELECT stock_levels"),
            statement: Some(crate::database::SELECT_STOCK.text),
            ..Expected::new(
                Kind::NPlusOne,
                "GET /products in inventory runs SELECT stock_levels 24 times, one after the other, where one statement would do",
            )
        },
    },
    Fault {
        id: FaultId::SerialCalls,
        name: "serial-calls",
        title: "Calls that wait for each other without need",
        description: "api-gateway asks inventory, pricing, user-profile and recommendations one after the other instead of side by side",
        look: "a staircase of client spans in api-gateway where they began together; the page takes their sum",
        query: "{ resource.service.name = \"api-gateway\" && name = \"GET /api/products/{id}\" }",
        settings: &[],
        services: &["api-gateway"],
        expected: Expected {
            service: Some("api-gateway"),
            operation: Some("GET /api/products/{id}"),
            ..Expected::new(
                Kind::SerialCalls,
                "GET /api/products/{id} in api-gateway makes four calls one after the other that do not need each other",
            )
        },
    },
    Fault {
        id: FaultId::LostContext,
        name: "lost-context",
        title: "A service that drops the context",
        description: "what recommendations sends goes through a proxy that forwards only headers it knows: traceparent is not among them",
        look: "client spans of recommendations with nothing below them, and traces that begin in the middle of the shop, with a server span of user-profile or inventory",
        query: "{ trace:rootService = \"user-profile\" }",
        settings: &[],
        services: &["recommendations", "user-profile", "inventory"],
        expected: Expected {
            service: Some("recommendations"),
            edge: Some(Edge { caller: "recommendations", callee: "user-profile" }),
            ..Expected::new(
                Kind::LostContext,
                "recommendations does not pass the context on: what it calls in user-profile and inventory begins traces of its own",
            )
        },
    },
    Fault {
        id: FaultId::ClockSkew,
        name: "clock-skew",
        title: "A service whose clock is wrong",
        description: "the clock of pricing is 180 ms ahead, 180 ms behind, or ahead and gaining a millisecond each second; nothing takes longer",
        look: "server spans of pricing that begin before or end after the client spans that they answer, all shifted by as much; their durations are as ever",
        query: "{ resource.service.name = \"pricing\" && kind = server }",
        settings: &["ahead", "behind", "drifting"],
        services: &["pricing"],
        expected: Expected {
            service: Some("pricing"),
            ..Expected::new(Kind::ClockSkew, "the clock of pricing is about 180 ms ahead of its callers' and callees'")
        },
    },
    Fault {
        id: FaultId::SwallowedError,
        name: "swallowed-error",
        title: "An error that nobody is told",
        description: "recommendations fails for every product page; api-gateway shows the page without recommendations and answers 200",
        look: "traces whose root is fine with failed spans below: a client span of api-gateway that failed within a server span that did not",
        query: "{ resource.service.name = \"recommendations\" && kind = server && status = error }",
        settings: &[],
        services: &["recommendations", "api-gateway"],
        expected: Expected {
            service: Some("recommendations"),
            edge: Some(Edge { caller: "api-gateway", callee: "recommendations" }),
            operation: Some("shop.recommendations.v1.Recommendations/ForProduct"),
            ..Expected::new(
                Kind::SwallowedError,
                "every call of recommendations fails, and api-gateway answers as if nothing had happened",
            )
        },
    },
    Fault {
        id: FaultId::BadDeploy,
        name: "bad-deploy",
        title: "A new version that is slower",
        description: "two of the three instances of inventory are replaced by version 3.2.0, which takes some 140 ms longer for each request",
        look: "inventory is slow in two requests of three; what the slow ones have in common is resource.service.version",
        query: "{ resource.service.name = \"inventory\" && resource.service.version = \"3.2.0\" && kind = server }",
        settings: &[],
        services: &["inventory"],
        expected: Expected {
            service: Some("inventory"),
            attribute: Some(("resource.service.version", "3.2.0")),
            ..Expected::new(
                Kind::Regression,
                "inventory is slower since version 3.2.0: requests to its instances take some 140 ms longer than those to 3.1.4",
            )
        },
    },
    Fault {
        id: FaultId::CallerSampling,
        name: "caller-sampling",
        title: "A service that samples by itself",
        description: "cart records one trace in ten, whatever its caller has decided, and passes its decision on",
        look: "nine of ten calls to cart with nothing below them, where cart and everything it calls is missing; no error anywhere",
        query: "{ resource.service.name = \"api-gateway\" && name = \"POST /carts/{user}/items\" }",
        settings: &[],
        services: &["cart"],
        expected: Expected {
            service: Some("cart"),
            edge: Some(Edge { caller: "api-gateway", callee: "cart" }),
            ..Expected::new(
                Kind::MidSampling,
                "cart records about 10 % of the traces that its callers record, and those below follow it",
            )
        },
    },
];
