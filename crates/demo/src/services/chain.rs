//! The long way of an order: from the fourth service of the chain to the thirtieth, each below the one before.
//!
//! To promise a delivery date and a final price, somebody plans the fulfilment, picks and packs on paper, asks carriers
//! and customs, and ends at the books, where the last rate of exchange is kept. What each service does is one row of a
//! table; that it does it over real sockets is the same code for all.

use axum::extract::State;
use axum::routing::post;
use axum::{Json, Router};
use serde_json::json;
use tracewell_sdk::SpanExt;
use tracing::{Instrument, Span};

use crate::database::{SELECT_BINS, SELECT_JURISDICTION, SELECT_LEDGER_ENTRIES, SELECT_RATES, Statement};
use crate::rpc::{self, Subject};
use crate::service::{CallError, Service};

/// How a service is asked.
#[derive(Clone, Copy)]
enum Entry {
    Rpc(rpc::Method),
    /// `POST` to this route.
    Http(&'static str),
}

/// What else a service needs for its answer.
#[derive(Clone, Copy)]
enum Needs {
    Nothing,
    /// Its own database, by the product or by the country.
    Product(&'static Statement),
    Country(&'static Statement),
    /// What it remembers of earlier answers.
    Cache(&'static str),
}

/// One service of the chain.
struct Link {
    service: &'static str,
    entry: Entry,
    /// What it does itself before it asks the next, and about how long.
    work: &'static str,
    work_ms: f64,
    needs: Needs,
}

const fn link(service: &'static str, entry: Entry, work: &'static str, work_ms: f64) -> Link {
    Link { service, entry, work, work_ms, needs: Needs::Nothing }
}

/// From the fourth to the thirtieth.
const LINKS: &[Link] = &[
    link("order-management", Entry::Rpc("shop.orders.v1.OrderManagement/Confirm"), "open order", 1.5),
    link("order-validation", Entry::Rpc("shop.orders.v1.OrderValidation/Validate"), "check rules", 1.0),
    link("delivery-promise", Entry::Rpc("shop.promise.v1.DeliveryPromise/Quote"), "choose promise window", 1.0),
    link("fulfilment-planner", Entry::Rpc("shop.fulfilment.v1.Planner/Plan"), "split order", 1.5),
    link("sourcing", Entry::Rpc("shop.fulfilment.v1.Sourcing/FindSources"), "rank warehouses", 1.2),
    link("allocation", Entry::Rpc("shop.fulfilment.v1.Allocation/Allocate"), "allocate stock", 1.0),
    link("logistics-gateway", Entry::Http("/allocations"), "sign request", 0.8),
    link("warehouse-hub", Entry::Http("/v2/work-orders"), "route to warehouse", 0.8),
    Link {
        needs: Needs::Product(&SELECT_BINS),
        ..link("warehouse-management", Entry::Rpc("wms.v3.WarehouseManagement/Reserve"), "open work order", 1.2)
    },
    link("slotting", Entry::Rpc("wms.v3.Slotting/Locate"), "locate slots", 1.0),
    link("picking", Entry::Rpc("wms.v3.Picking/PlanTour"), "plan tour", 1.6),
    link("packing", Entry::Rpc("wms.v3.Packing/Pack"), "choose packing station", 0.8),
    link("parcel-sizing", Entry::Rpc("wms.v3.ParcelSizing/Fit"), "fit into parcel", 2.0),
    link("carrier-selection", Entry::Http("/selections"), "filter carriers", 0.8),
    Link { needs: Needs::Country(&SELECT_RATES), ..link("carrier-rates", Entry::Http("/rates"), "weigh parcel", 0.6) },
    link("route-planner", Entry::Rpc("transport.v1.RoutePlanner/Plan"), "plan route", 1.8),
    link("transit-times", Entry::Rpc("transport.v1.TransitTimes/Estimate"), "estimate transit", 0.8),
    link("customs", Entry::Http("/declarations"), "classify goods", 1.2),
    link("duty-calculator", Entry::Rpc("finance.duty.v1.DutyCalculator/Calculate"), "calculate duty", 1.0),
    link("tax", Entry::Rpc("finance.tax.v1.Tax/Quote"), "calculate tax", 1.2),
    Link {
        needs: Needs::Country(&SELECT_JURISDICTION),
        ..link("tax-jurisdiction", Entry::Rpc("finance.tax.v1.Jurisdictions/Resolve"), "match address", 0.8)
    },
    link("currency", Entry::Rpc("finance.fx.v1.Currency/Convert"), "round amount", 0.5),
    Link {
        needs: Needs::Cache("pricing-cache"),
        ..link("exchange-rates", Entry::Rpc("finance.fx.v1.ExchangeRates/Current"), "interpolate rate", 0.6)
    },
    link("treasury", Entry::Rpc("finance.treasury.v1.Treasury/Position"), "sum positions", 0.8),
    link("hedging", Entry::Rpc("finance.treasury.v1.Hedging/Cover"), "find cover", 0.8),
    link("accounting", Entry::Http("/balances"), "map account", 0.6),
    Link {
        needs: Needs::Country(&SELECT_LEDGER_ENTRIES),
        ..link("ledger", Entry::Http("/accounts/balance"), "close balance", 0.6)
    },
];

fn place_of(name: &str) -> Option<usize> {
    LINKS.iter().position(|link| link.service == name)
}

/// The routes of a service of the chain; `None` for others.
pub(super) fn router(service: &Service) -> Option<Router> {
    let place = place_of(service.spec.name)?;
    let handle = move |service: Service, subject: Subject| handle(service, place, subject);
    Some(match LINKS[place].entry {
        Entry::Rpc(method) => rpc::method(service, method, handle),
        Entry::Http(route) => {
            let serve = move |State(service): State<Service>, Json(subject): Json<Subject>| async move {
                handle(service, subject).await.map(Json)
            };
            service.traced(Router::new().route(route, post(serve)).with_state(service.clone()))
        }
    })
}

/// Asks the first service of the table, for an order.
pub(super) async fn confirm(service: &Service, subject: Subject) -> Result<Subject, CallError> {
    ask(service, &LINKS[0], subject).await
}

async fn ask(service: &Service, link: &Link, subject: Subject) -> Result<Subject, CallError> {
    match link.entry {
        Entry::Rpc(method) => service.rpc(link.service, method, subject).await,
        Entry::Http(route) => {
            let answer = service.post(link.service, route, route, json!(subject)).await?;
            Ok(serde_json::from_value(answer).unwrap_or_default())
        }
    }
}

async fn handle(service: Service, place: usize, mut subject: Subject) -> Result<Subject, CallError> {
    let link = &LINKS[place];
    Span::current().set_attribute("app.order.id", subject.order.clone());
    let work = tracing::info_span!("work", otel.name = link.work);
    service.think(link.work_ms).instrument(work).await;
    match link.needs {
        Needs::Nothing => {}
        Needs::Product(statement) => drop(service.query_own(statement, vec![json!(subject.product)]).await?),
        Needs::Country(statement) => {
            let key = if statement.database == "ledger" { account(&subject) } else { subject.country.clone() };
            let found = service.query_own(statement, vec![key.into()]).await?;
            if found["rows"].as_array().is_none_or(Vec::is_empty) {
                tracing::warn!(app.country = subject.country, "nothing known about this country");
            }
        }
        Needs::Cache(cache) => {
            let key = format!("rate:{}", subject.country);
            if !service.cached(cache, "GET", &key).await? {
                service.cached(cache, "SETEX", &key).await?;
            }
        }
    }
    if let Some(next) = LINKS.get(place + 1) {
        subject = ask(&service, next, subject).await?;
        // Each adds its part to the price.
        subject.cents += 1 + place as u64;
    }
    Ok(subject)
}

/// The account of the books that hedges a country's currency.
fn account(subject: &Subject) -> String {
    format!("hedge-{}", subject.country)
}

/// For tests and documentation: how each service of the chain is asked.
#[cfg(test)]
pub(crate) fn entries() -> impl Iterator<Item = (&'static str, String)> {
    LINKS.iter().map(|link| {
        let operation = match link.entry {
            Entry::Rpc(method) => format!("gRPC {method}"),
            Entry::Http(route) => format!("POST {route}"),
        };
        (link.service, operation)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology::{CHAIN, Protocol, spec};

    #[test]
    fn the_table_is_the_chain_from_the_fourth_on() {
        assert_eq!(entries().map(|(service, _)| service).collect::<Vec<_>>(), CHAIN[3..]);
        for link in LINKS {
            let speaks_grpc = spec(link.service).unwrap().protocol == Protocol::Grpc;
            assert_eq!(matches!(link.entry, Entry::Rpc(_)), speaks_grpc, "{}", link.service);
        }
    }
}
