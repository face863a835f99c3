//! Kinds of span: name, kind and the attributes of the semantic conventions, encoded once, and what has to be
//! filled in for each span.

use super::catalogue::{Database, Language, Service, Transport};
use super::proto::{self, Value};
use super::world::port;

/// What a request does to a thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// Reads one.
    Get,
    /// Reads many.
    List,
    /// Makes one.
    Create,
    /// Changes one.
    Update,
}

/// All of them, in the order in which operations are made.
pub const VERBS: &[Verb] = &[Verb::Get, Verb::List, Verb::Create, Verb::Update];

impl Verb {
    /// Does it change anything?
    pub fn writes(self) -> bool {
        matches!(self, Verb::Create | Verb::Update)
    }

    fn method(self) -> &'static str {
        match self {
            Verb::Get | Verb::List => "GET",
            Verb::Create => "POST",
            Verb::Update => "PUT",
        }
    }

    fn name(self) -> &'static str {
        match self {
            Verb::Get => "Get",
            Verb::List => "List",
            Verb::Create => "Create",
            Verb::Update => "Update",
        }
    }

    fn has_id(self) -> bool {
        matches!(self, Verb::Get | Verb::Update)
    }
}

/// An operation of a service, as a caller names it.
pub struct Route<'a> {
    /// The service.
    pub service: &'a Service,
    /// The thing.
    pub noun: &'static str,
    /// What is done to it.
    pub verb: Verb,
}

impl Route<'_> {
    fn http(&self) -> String {
        let id = if self.verb.has_id() { "/{id}" } else { "" };
        format!("/api/v1/{}s{id}", self.noun)
    }

    fn rpc(&self) -> (String, String) {
        let package = self.service.name.replace('-', "");
        let noun = capitalised(self.noun);
        let plural = if self.verb == Verb::List { "s" } else { "" };
        (format!("shop.{package}.v1.{}Service", capitalised(&package)), format!("{}{noun}{plural}", self.verb.name()))
    }
}

fn capitalised(word: &str) -> String {
    let mut characters = word.chars();
    characters.next().map(|first| first.to_uppercase().chain(characters).collect()).unwrap_or_default()
}

/// Something that differs from span to span.
pub enum Dynamic {
    /// `http.response.status_code`, the given one unless the span failed.
    HttpStatus(u16),
    /// `rpc.grpc.status_code`.
    GrpcStatus,
    /// `url.path`: the route with the request's own id.
    UrlPath(String),
    /// `url.full`: the same with scheme and host.
    UrlFull(String),
    /// `url.query` for a third of the requests.
    UrlQuery,
    /// `client.address`, and for some `http.request.header.x-forwarded-for` (a list).
    ClientAddress,
    /// `network.peer.address` and `network.peer.port` of the other side.
    Peer,
    /// `user_agent.original`.
    UserAgent,
    /// `user.id`.
    User,
    /// `session.id`.
    Session,
    /// `app.order.id`.
    Order,
    /// `app.request.id`, never the same twice.
    Request,
    /// `thread.id` and `thread.name`.
    Thread,
    /// `db.query.text` with a list of so many placeholders between the two parts.
    InList(String, String),
    /// `db.response.returned_rows`.
    Rows,
    /// Partition, offset and message id.
    Message,
    /// `app.cache.hit`.
    CacheHit,
    /// `app.amount` (a double) and `app.items.count`.
    Amount,
}

/// One kind of span.
pub struct Template {
    /// Number of the service that emits it.
    pub service: u8,
    /// Which of the service's four scopes.
    pub scope: u8,
    /// OTLP span kind.
    pub kind: u8,
    /// Encoded name and kind.
    pub head: Vec<u8>,
    /// Encoded attributes that never change, and how many they are.
    pub fixed: Vec<u8>,
    /// How many attributes `fixed` holds.
    pub fixed_count: u8,
    /// The others.
    pub dynamic: Vec<Dynamic>,
    /// Median of the time that the span takes by itself, in nanoseconds.
    pub own_ns: f64,
    /// Standard deviation of its logarithm.
    pub sigma: f64,
}

/// OTLP span kinds.
pub const INTERNAL: u8 = 1;
/// See [`INTERNAL`].
pub const SERVER: u8 = 2;
/// See [`INTERNAL`].
pub const CLIENT: u8 = 3;
/// See [`INTERNAL`].
pub const PRODUCER: u8 = 4;
/// See [`INTERNAL`].
pub const CONSUMER: u8 = 5;

impl Template {
    fn new(service: u8, scope: u8, kind: u8, name: &str, own_ns: f64, sigma: f64) -> Self {
        let mut head = Vec::new();
        proto::bytes(&mut head, 5, name.as_bytes());
        proto::number(&mut head, 6, u64::from(kind));
        let (fixed, dynamic) = Default::default();
        Self { service, scope, kind, head, fixed, fixed_count: 0, dynamic, own_ns, sigma }
    }

    fn text(mut self, key: &str, value: &str) -> Self {
        proto::attribute(&mut self.fixed, 9, key, Value::Str(value.as_bytes()));
        self.fixed_count += 1;
        self
    }

    fn int(mut self, key: &str, value: i64) -> Self {
        proto::attribute(&mut self.fixed, 9, key, Value::Int(value));
        self.fixed_count += 1;
        self
    }

    fn with(mut self, dynamic: Dynamic) -> Self {
        self.dynamic.push(dynamic);
        self
    }

    fn threads(self, service: &Service) -> Self {
        if service.language == Language::Java { self.with(Dynamic::Thread) } else { self }
    }
}

fn ok_status(verb: Verb) -> u16 {
    if verb == Verb::Create { 201 } else { 200 }
}

/// The span that serves an operation.
pub fn server(own: u8, route: &Route<'_>) -> Template {
    let service = route.service;
    match service.transport {
        Transport::Http => {
            let path = route.http();
            let name = format!("{} {path}", route.verb.method());
            let mut template = Template::new(own, 0, SERVER, &name, 700e3, 0.8)
                .text("http.request.method", route.verb.method())
                .text("http.route", &path)
                .text("url.scheme", "http")
                .text("network.protocol.version", "1.1")
                .text("server.address", service.name)
                .int("server.port", i64::from(port(service)))
                .with(Dynamic::UrlPath(path))
                .with(Dynamic::HttpStatus(ok_status(route.verb)));
            if service.layer == 0 {
                template = template
                    .with(Dynamic::ClientAddress)
                    .with(Dynamic::UserAgent)
                    .with(Dynamic::UrlQuery)
                    .with(Dynamic::User)
                    .with(Dynamic::Session)
                    .with(Dynamic::Request);
            } else if service.layer == 1 {
                template = template.with(Dynamic::User).with(Dynamic::UserAgent);
            } else {
                template = template.with(Dynamic::Peer);
            }
            template.threads(service)
        }
        Transport::Grpc => {
            let (rpc_service, method) = route.rpc();
            let mut template = Template::new(own, 1, SERVER, &format!("{rpc_service}/{method}"), 500e3, 0.8)
                .text("rpc.system", "grpc")
                .text("rpc.service", &rpc_service)
                .text("rpc.method", &method)
                .text("server.address", service.name)
                .int("server.port", i64::from(port(service)))
                .with(Dynamic::GrpcStatus)
                .with(Dynamic::Peer);
            if matches!(service.name, "checkout" | "orders" | "payment") {
                template = template.with(Dynamic::Order);
            }
            if service.layer == 2 {
                template = template.with(Dynamic::User);
            }
            template.threads(service)
        }
    }
}

/// The caller's span for an operation of another service.
pub fn client(own: u8, caller: &Service, route: &Route<'_>) -> Template {
    let callee = route.service;
    match callee.transport {
        Transport::Http => {
            let method = route.verb.method();
            Template::new(own, 1, CLIENT, method, 400e3, 0.9)
                .text("http.request.method", method)
                .text("server.address", callee.name)
                .int("server.port", i64::from(port(callee)))
                .text("network.protocol.version", "1.1")
                .with(Dynamic::UrlFull(format!("http://{}:{}{}", callee.name, port(callee), route.http())))
                .with(Dynamic::HttpStatus(ok_status(route.verb)))
                .threads(caller)
        }
        Transport::Grpc => {
            let (rpc_service, method) = route.rpc();
            Template::new(own, 1, CLIENT, &format!("{rpc_service}/{method}"), 300e3, 0.9)
                .text("rpc.system", "grpc")
                .text("rpc.service", &rpc_service)
                .text("rpc.method", &method)
                .text("server.address", callee.name)
                .int("server.port", i64::from(port(callee)))
                .with(Dynamic::GrpcStatus)
                .threads(caller)
        }
    }
}

/// How many forms of statement [`query`] knows.
pub const STATEMENT_FORMS: usize = 9;

/// A query of a service's database.
pub fn query(own: u8, service: &Service, noun: &'static str, form: usize) -> Template {
    let table = format!("{noun}s");
    let namespace = service.name.replace('-', "_");
    let (system, database_port) = match service.database {
        Database::Mysql => ("mysql", 3306),
        Database::Mongo => ("mongodb", 27017),
        Database::Postgres | Database::None => ("postgresql", 5432),
    };
    let (operation, text) = if service.database == Database::Mongo {
        mongo_statement(&table, form)
    } else {
        sql_statement(&table, noun, form)
    };
    let summary = format!("{operation} {table}");
    let template = Template::new(own, 2, CLIENT, &summary, 900e3, 1.1)
        .text("db.system.name", system)
        .text("db.namespace", &namespace)
        .text("db.operation.name", operation)
        .text("db.collection.name", &table)
        .text("db.query.summary", &summary)
        .text("network.peer.address", &format!("10.96.{own}.11"))
        .text("server.address", &format!("{namespace}-db"))
        .int("server.port", database_port);
    let template = match text.split_once("{list}") {
        Some((before, after)) => template.with(Dynamic::InList(before.to_owned(), after.to_owned())),
        None => template.text("db.query.text", &text),
    };
    let template = if operation == "SELECT" { template.with(Dynamic::Rows) } else { template };
    template.threads(service)
}

fn sql_statement(table: &str, noun: &str, form: usize) -> (&'static str, String) {
    match form {
        0 => ("SELECT", format!("SELECT id, status, version, payload FROM {table} WHERE id = $1")),
        1 => (
            "SELECT",
            format!(
                "SELECT t.id, t.status, t.created_at FROM {table} t WHERE t.customer_id = $1 AND t.status <> $2 ORDER BY t.created_at DESC LIMIT 50"
            ),
        ),
        2 => ("SELECT", format!("SELECT id, {noun}_key, amount FROM {table} WHERE id IN ({{list}})")),
        3 => ("SELECT", format!("SELECT count(*) FROM {table} WHERE tenant_id = $1 AND updated_at > $2")),
        4 => (
            "SELECT",
            format!(
                "SELECT t.*, a.name FROM {table} t JOIN {noun}_attributes a ON a.{noun}_id = t.id WHERE t.id = $1 FOR UPDATE OF t"
            ),
        ),
        5 => (
            "INSERT",
            format!(
                "INSERT INTO {table} (id, customer_id, status, amount, payload) VALUES ($1, $2, $3, $4, $5) ON CONFLICT (id) DO NOTHING"
            ),
        ),
        6 => (
            "UPDATE",
            format!(
                "UPDATE {table} SET status = $1, version = version + 1, updated_at = now() WHERE id = $2 AND version = $3"
            ),
        ),
        7 => (
            "SELECT",
            format!(
                "SELECT {noun}_id, sum(quantity) AS total FROM {noun}_lines WHERE {noun}_id IN ({{list}}) GROUP BY {noun}_id"
            ),
        ),
        _ => ("DELETE", format!("DELETE FROM {table} WHERE expires_at < now() - interval '1 day' AND shard = $1")),
    }
}

fn mongo_statement(table: &str, form: usize) -> (&'static str, String) {
    match form {
        0 | 1 => ("find", format!("{{\"find\":\"{table}\",\"filter\":{{\"_id\":\"?\"}},\"limit\":1}}")),
        2 | 7 => ("find", format!("{{\"find\":\"{table}\",\"filter\":{{\"_id\":{{\"$in\":[{{list}}]}}}}}}")),
        3 => (
            "aggregate",
            format!(
                "{{\"aggregate\":\"{table}\",\"pipeline\":[{{\"$match\":{{\"owner\":\"?\"}}}},{{\"$group\":{{\"_id\":\"$kind\",\"n\":{{\"$sum\":\"?\"}}}}}}]}}"
            ),
        ),
        4 | 5 => ("insert", format!("{{\"insert\":\"{table}\",\"documents\":[\"?\"],\"ordered\":true}}")),
        6 => (
            "update",
            format!("{{\"update\":\"{table}\",\"updates\":[{{\"q\":{{\"_id\":\"?\"}},\"u\":{{\"$set\":\"?\"}}}}]}}"),
        ),
        _ => (
            "delete",
            format!("{{\"delete\":\"{table}\",\"deletes\":[{{\"q\":{{\"expires\":{{\"$lt\":\"?\"}}}},\"limit\":0}}]}}"),
        ),
    }
}

/// A cache look-up, or the removal of an entry.
pub fn cache(own: u8, service: &Service, noun: &'static str, removes: bool) -> Template {
    let operation = if removes { "DEL" } else { "GET" };
    let template = Template::new(own, 2, CLIENT, operation, 220e3, 0.7)
        .text("db.system.name", "redis")
        .text("db.operation.name", operation)
        .text("db.query.text", &format!("{operation} {}:{noun}:?", service.name))
        .text("server.address", &format!("{}-cache", service.name))
        .int("server.port", 6379);
    let template = if removes { template } else { template.with(Dynamic::CacheHit) };
    template.threads(service)
}

/// Work inside a service.
pub fn internal(own: u8, service: &Service, noun: &'static str, what: &str) -> Template {
    let (function, file) = match service.language {
        Language::Go => (format!("shop/internal/{noun}.{}", capitalised(what)), format!("internal/{noun}/{what}.go")),
        Language::Java => {
            (format!("shop.{noun}.{}Step.{what}", capitalised(noun)), format!("{}Step.java", capitalised(noun)))
        }
        Language::Python => (format!("shop.{noun}.{what}"), format!("/app/shop/{noun}.py")),
        Language::Node => (format!("{what}{}", capitalised(noun)), format!("/app/dist/{noun}.js")),
        Language::Dotnet => {
            (format!("Shop.{}.{}Async", capitalised(noun), capitalised(what)), format!("{}.cs", capitalised(noun)))
        }
    };
    let line = 20 + (noun.len() * 37 + what.len() * 11) as i64 % 400;
    let template = Template::new(own, 3, INTERNAL, &format!("{what} {noun}"), 150e3, 0.9)
        .text("code.function.name", &function)
        .text("code.file.path", &file)
        .int("code.line.number", line)
        .text("app.component", noun);
    let template = match what {
        "render" => template.with(Dynamic::Request),
        _ if matches!(noun, "checkout" | "basket" | "cart" | "order" | "payment") => {
            template.with(Dynamic::Amount).with(Dynamic::Order)
        }
        _ => template,
    };
    template.threads(service)
}

/// Sending a message to the producer's topic, or taking it from there.
pub fn message(own: u8, service: &Service, producer: &Service, noun: &'static str, sends: bool) -> Template {
    let topic = format!("{}.{noun}-events", producer.name);
    let (kind, verb, operation) = if sends { (PRODUCER, "send", "send") } else { (CONSUMER, "process", "process") };
    let template = Template::new(own, 3, kind, &format!("{verb} {topic}"), 600e3, 1.0)
        .text("messaging.system", "kafka")
        .text("messaging.destination.name", &topic)
        .text("messaging.operation.name", verb)
        .text("messaging.operation.type", operation)
        .text("server.address", "kafka-0.kafka")
        .with(Dynamic::Message);
    let group = format!("{}-consumer", service.name);
    let template = if sends { template } else { template.text("messaging.consumer.group.name", &group) };
    template.threads(service)
}
