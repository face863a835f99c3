//! A shop that makes traces: two kinds of request, five services, attributes of every kind, and a hook for what goes wrong.

use tracewell_analysis::{Attribute, Builder, Log, LogSource, NO_SPAN, Scalar, Span, Status, Text, Traces};
use tracewell_model::{SpanId, SpanKind, TraceId};

/// Numbers that look random (SplitMix64; Steele, Lea and Flood 2014).
#[derive(Debug, Clone)]
pub struct Dice(pub u64);

impl Dice {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    pub fn chance(&mut self, share: f64) -> bool {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64 <= share
    }
}

/// What is special about a trace; all of it is ordinary by default.
#[derive(Debug, Clone, Default)]
pub struct Order {
    /// Milliseconds that inventory takes longer.
    pub delay_ms: u64,
    /// The instance of inventory that answers; the first two run version 3.2.0.
    pub instance: u64,
    pub region: &'static str,
    pub premium: bool,
    /// How often the stock is asked for.
    pub queries: usize,
    /// The database waits for a lock.
    pub locked: bool,
    /// Pricing is not asked.
    pub no_pricing: bool,
    /// Pricing fails.
    pub fails: bool,
    pub log: Option<&'static str>,
    pub payload: i64,
    pub checkout: bool,
}

impl Order {
    /// An ordinary request.
    pub fn any(dice: &mut Dice) -> Self {
        Self {
            instance: dice.below(3),
            region: ["eu", "us", "ap"][dice.below(3) as usize],
            premium: dice.chance(0.3),
            queries: 1 + dice.below(3) as usize,
            payload: 100 + dice.below(900) as i64,
            checkout: dice.chance(0.3),
            log: dice.chance(0.2).then_some("stock is low"),
            ..Self::default()
        }
    }
}

/// Makes traces, one for each order.
pub struct Shop {
    builder: Builder,
    dice: Dice,
    number: u64,
}

const MS: u64 = 1_000_000;

impl Shop {
    pub fn new(seed: u64) -> Self {
        Self { builder: Builder::new(), dice: Dice(seed), number: 0 }
    }

    /// Traces of orders made by a function of the number of the trace.
    pub fn traces(seed: u64, count: u64, mut order: impl FnMut(u64, &mut Dice) -> Order) -> Traces {
        let (mut shop, mut dice) = (Self::new(seed), Dice(seed ^ 0xabcd));
        (0..count).for_each(|number| shop.trace(&order(number, &mut dice)));
        shop.builder.finish()
    }

    fn text(&mut self, text: &str) -> Text {
        self.builder.texts().number(text)
    }

    fn attributes(&mut self, pairs: &[(&str, Is<'_>)]) -> Vec<Attribute> {
        let attribute = |(key, value): &(&str, Is<'_>)| Attribute {
            key: self.builder.texts().number(key),
            value: match value {
                Is::Text(text) => Scalar::Text(self.builder.texts().number(text)),
                Is::Int(value) => Scalar::Int(*value),
                Is::Bool(value) => Scalar::Bool(*value),
                Is::Double(value) => Scalar::Double(*value),
            },
        };
        pairs.iter().map(attribute).collect()
    }

    fn span(&mut self, place: Place<'_>, attributes: &[(&str, Is<'_>)]) {
        let version = if place.service == "inventory" && place.instance < 2 { "3.2.0" } else { "3.1.4" };
        let pod = format!("{}-{}", place.service, place.instance);
        let resource = self.attributes(&[
            ("service.name", Is::Text(place.service)),
            ("service.version", Is::Text(version)),
            ("service.instance.id", Is::Text(&pod)),
            ("process.pid", Is::Int(1000 + place.instance as i64 * 7)),
            ("telemetry.sdk.language", Is::Text("rust")),
        ]);
        let resource = self.builder.resource(resource);
        let attributes = self.attributes(attributes);
        let span = Span {
            id: SpanId::from_u64(place.id),
            parent_id: (place.parent != 0).then(|| SpanId::from_u64(place.parent)),
            start_ns: self.number * 1_000 * MS + place.start_us * 1_000 + MS,
            end_ns: self.number * 1_000 * MS + (place.start_us + place.us) * 1_000 + MS,
            kind: place.kind.unwrap_or(SpanKind::Internal) as u8,
            status: if place.fails { Status::Error } else { Status::Unset },
            service: self.text(place.service),
            operation: self.text(place.operation),
            instance: self.text(&pod),
            version: self.text(version),
            resource,
            ..Span::default()
        };
        self.builder.span(span, &attributes);
    }

    fn trace(&mut self, order: &Order) {
        self.number += 1;
        let id = self.number;
        let (noise, thread) = (self.dice.below(2_000) + self.dice.below(2_000), self.dice.below(64) as i64);
        let user = format!("user-{}", self.dice.below(1_000_000_000));
        let product = format!("product-{}", self.dice.below(40));
        let inventory_us = 4_000 + noise + order.delay_ms * 1_000 + order.queries as u64 * 300;
        let us = inventory_us + 6_000 + if order.checkout { 20_000 } else { 0 };
        let root = if order.checkout { "POST /checkout" } else { "GET /products/{id}" };
        let at = |id, parent, service, operation| Place { id, parent, service, operation, ..Place::default() };
        self.span(
            Place { kind: Some(SpanKind::Server), us, ..at(1, 0, "gateway", root) },
            &[
                ("http.route", Is::Text(root)),
                ("user.id", Is::Text(&user)),
                ("request.time", Is::Int(id as i64 * 1_000)),
                ("net.peer.port", Is::Int(30_000 + (noise as i64 * 7) % 30_000)),
                ("thread.id", Is::Int(thread)),
                ("region", Is::Text(order.region)),
                ("user.premium", Is::Bool(order.premium)),
                ("load", Is::Double(noise as f64 / 100.0)),
            ],
        );
        let client = Place {
            kind: Some(SpanKind::Client),
            start_us: 1_000,
            us: inventory_us + 1_000,
            ..at(2, 1, "gateway", "GET")
        };
        self.span(client, &[("server.address", Is::Text("inventory"))]);
        let server = Place {
            kind: Some(SpanKind::Server),
            start_us: 1_500,
            us: inventory_us,
            instance: order.instance,
            ..at(3, 2, "inventory", "GET /stock")
        };
        self.span(
            server,
            &[
                ("product.id", Is::Text(&product)),
                ("payload.bytes", Is::Int(order.payload)),
                ("thread.id", Is::Int(thread)),
            ],
        );
        for query in 0..order.queries as u64 {
            let call = Place {
                kind: Some(SpanKind::Client),
                start_us: 2_000 + query * 300,
                us: 250,
                instance: order.instance,
                ..at(10 + query, 3, "inventory", "SELECT stock")
            };
            self.span(call, &[("db.system.name", Is::Text("postgresql"))]);
        }
        if order.locked {
            self.span(Place { start_us: 2_000, us: 200, ..at(8, 10, "inventory-db", "wait for lock") }, &[]);
        }
        if !order.no_pricing {
            let call =
                Place { kind: Some(SpanKind::Client), start_us: 1_000, us: 2_000, ..at(4, 1, "gateway", "price") };
            self.span(call, &[]);
            let price = Place {
                kind: Some(SpanKind::Server),
                start_us: 1_500,
                us: 1_000,
                fails: order.fails,
                ..at(5, 4, "pricing", "Price/Get")
            };
            self.span(price, &[("rpc.grpc.status_code", Is::Int(if order.fails { 14 } else { 0 }))]);
        }
        if order.checkout {
            self.span(
                Place { kind: Some(SpanKind::Client), start_us: 3_000, us: 15_000, ..at(6, 1, "gateway", "pay") },
                &[],
            );
            self.span(
                Place {
                    kind: Some(SpanKind::Server),
                    start_us: 3_500,
                    us: 14_000,
                    ..at(7, 6, "payment", "POST /charge")
                },
                &[],
            );
        }
        if let Some(site) = order.log {
            let (service, site) = (self.text("inventory"), self.text(site));
            let log =
                Log { span: NO_SPAN, time_ns: id * 1_000 * MS, service, severity: 13, site, source: LogSource::Record };
            self.builder.log(Some(SpanId::from_u64(3)), log);
        }
        self.builder.finish_trace(TraceId(u128::from(id).to_be_bytes()), 1.0);
    }
}

enum Is<'a> {
    Text(&'a str),
    Int(i64),
    Bool(bool),
    Double(f64),
}

#[derive(Default)]
struct Place<'a> {
    id: u64,
    parent: u64,
    service: &'a str,
    operation: &'a str,
    kind: Option<SpanKind>,
    start_us: u64,
    us: u64,
    instance: u64,
    fails: bool,
}
