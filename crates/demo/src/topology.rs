//! Who is part of the shop, and what each says about itself.

use tracewell_sdk::Resource;

use crate::random::Random;

/// What a service speaks with its callers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocol {
    Http,
    Grpc,
}

/// Who runs a service, and where.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Domain {
    /// What customers see.
    Shop,
    /// Its databases and caches.
    Data,
    /// Warehouses and parcels: another cluster in another region.
    Logistics,
    /// Duties, taxes, money.
    Finance,
    /// The payment provider: somebody else's.
    Provider,
}

impl Domain {
    pub(crate) fn namespace(self) -> &'static str {
        match self {
            Domain::Shop => "shop",
            Domain::Data => "shop-data",
            Domain::Logistics => "shop-logistics",
            Domain::Finance => "shop-finance",
            Domain::Provider => "acme-pay",
        }
    }

    fn region(self) -> &'static str {
        match self {
            Domain::Logistics => "eu-west-1",
            Domain::Provider => "us-east1",
            Domain::Shop | Domain::Data | Domain::Finance => "eu-central-1",
        }
    }
}

/// One service.
#[derive(Debug)]
pub(crate) struct Spec {
    pub(crate) name: &'static str,
    pub(crate) version: &'static str,
    pub(crate) domain: Domain,
    pub(crate) protocol: Protocol,
    pub(crate) instances: usize,
    /// Instances of the next version, which take the place of as many others while it is rolled out.
    pub(crate) next: Option<Next>,
    /// The port by which others know it; the socket itself has one that is free.
    pub(crate) port: u16,
}

/// The version that is rolled out on demand.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Next {
    pub(crate) version: &'static str,
    pub(crate) instances: usize,
}

const fn http(domain: Domain, name: &'static str, version: &'static str, instances: usize) -> Spec {
    Spec { name, version, domain, protocol: Protocol::Http, instances, next: None, port: 8080 }
}

const fn grpc(domain: Domain, name: &'static str, version: &'static str, instances: usize) -> Spec {
    Spec { name, version, domain, protocol: Protocol::Grpc, instances, next: None, port: 9090 }
}

const fn store(name: &'static str, version: &'static str, port: u16) -> Spec {
    Spec { name, version, domain: Domain::Data, protocol: Protocol::Http, instances: 1, next: None, port }
}

/// Every service of the shop.
pub(crate) const SERVICES: &[Spec] = &[
    http(Domain::Shop, "web-frontend", "4.12.0", 2),
    http(Domain::Shop, "api-gateway", "2.3.1", 2),
    http(Domain::Shop, "authentication", "1.9.0", 1),
    Spec { next: Some(Next { version: "3.2.0", instances: 2 }), ..http(Domain::Shop, "inventory", "3.1.4", 3) },
    http(Domain::Shop, "pricing", "2.0.7", 1),
    http(Domain::Shop, "promotions", "0.14.2", 1),
    http(Domain::Shop, "user-profile", "5.2.0", 1),
    http(Domain::Shop, "search", "1.31.0", 1),
    grpc(Domain::Shop, "recommendations", "0.27.5", 1),
    http(Domain::Shop, "cart", "1.22.3", 1),
    http(Domain::Shop, "checkout", "2.8.1", 2),
    http(Domain::Shop, "order-history", "1.3.6", 1),
    http(Domain::Shop, "payment", "3.0.2", 1),
    http(Domain::Shop, "shipping", "1.4.9", 1),
    http(Domain::Shop, "notifications", "0.9.6", 1),
    http(Domain::Shop, "analytics", "2.2.8", 1),
    store("session-cache", "7.4.2", 6379),
    store("pricing-cache", "7.4.2", 6379),
    store("cart-store", "8.1.0", 6379),
    store("inventory-db", "2.5.1", 5432),
    store("orders-db", "2.5.1", 5432),
    store("profile-db", "2.5.1", 5432),
    store("message-broker", "3.9.0", 9092),
    Spec { port: 8443, ..http(Domain::Provider, "payment-provider", "2026-10", 1) },
    // The rest of the chain, from the fourth on.
    grpc(Domain::Shop, "order-management", "6.1.0", 2),
    grpc(Domain::Shop, "order-validation", "2.4.4", 1),
    grpc(Domain::Shop, "delivery-promise", "1.17.0", 1),
    grpc(Domain::Shop, "fulfilment-planner", "3.8.2", 1),
    grpc(Domain::Shop, "sourcing", "2.0.1", 1),
    grpc(Domain::Shop, "allocation", "1.12.6", 1),
    http(Domain::Shop, "logistics-gateway", "4.0.3", 1),
    http(Domain::Logistics, "warehouse-hub", "7.2.1", 1),
    grpc(Domain::Logistics, "warehouse-management", "11.4.0", 1),
    grpc(Domain::Logistics, "slotting", "0.19.1", 1),
    grpc(Domain::Logistics, "picking", "2.6.0", 1),
    grpc(Domain::Logistics, "packing", "2.6.0", 1),
    grpc(Domain::Logistics, "parcel-sizing", "1.0.12", 1),
    http(Domain::Logistics, "carrier-selection", "3.3.3", 1),
    http(Domain::Logistics, "carrier-rates", "5.1.0", 1),
    grpc(Domain::Logistics, "route-planner", "0.44.0", 1),
    grpc(Domain::Logistics, "transit-times", "1.8.5", 1),
    http(Domain::Finance, "customs", "2.9.0", 1),
    grpc(Domain::Finance, "duty-calculator", "1.5.2", 1),
    grpc(Domain::Finance, "tax", "4.4.1", 1),
    grpc(Domain::Finance, "tax-jurisdiction", "2.1.7", 1),
    grpc(Domain::Finance, "currency", "1.1.0", 1),
    grpc(Domain::Finance, "exchange-rates", "3.7.9", 1),
    grpc(Domain::Finance, "treasury", "2.2.2", 1),
    grpc(Domain::Finance, "hedging", "0.8.3", 1),
    http(Domain::Finance, "accounting", "9.0.5", 1),
    http(Domain::Finance, "ledger", "6.3.0", 1),
];

/// The services of the longest path, from the first to the last: an order crosses all of them, one below the other.
pub(crate) const CHAIN: [&str; 30] = [
    "web-frontend",
    "api-gateway",
    "checkout",
    "order-management",
    "order-validation",
    "delivery-promise",
    "fulfilment-planner",
    "sourcing",
    "allocation",
    "logistics-gateway",
    "warehouse-hub",
    "warehouse-management",
    "slotting",
    "picking",
    "packing",
    "parcel-sizing",
    "carrier-selection",
    "carrier-rates",
    "route-planner",
    "transit-times",
    "customs",
    "duty-calculator",
    "tax",
    "tax-jurisdiction",
    "currency",
    "exchange-rates",
    "treasury",
    "hedging",
    "accounting",
    "ledger",
];

impl Spec {
    /// Whether it sends telemetry. Brokers do not; what they carry does.
    pub(crate) fn traces(&self) -> bool {
        self.name != "message-broker"
    }

    /// The resource of one instance.
    pub(crate) fn resource(&self, version: &'static str, random: &Random) -> Resource {
        let (namespace, region) = (self.domain.namespace(), self.domain.region());
        let node = 1 + random.below(6);
        let resource = Resource::new(self.name)
            .with("service.version", version)
            .with("service.namespace", namespace)
            .with("deployment.environment.name", "demo");
        if self.domain == Domain::Provider {
            // Somebody else's machine says little about itself.
            return resource
                .with("service.instance.id", format!("pay-{}", random.hex(6)))
                .with("cloud.provider", "gcp")
                .with("cloud.region", region);
        }
        let pod = format!("{}-{}-{}", self.name, random.hex(9), random.hex(5));
        resource
            .with("service.instance.id", pod.clone())
            .with("host.name", format!("node-{node}.{region}.shop.example"))
            .with("k8s.cluster.name", format!("shop-{region}"))
            .with("k8s.namespace.name", namespace)
            .with("k8s.deployment.name", self.name)
            .with("k8s.pod.name", pod)
            .with("k8s.node.name", format!("node-{node}"))
            .with("cloud.provider", "aws")
            .with("cloud.region", region)
            .with("cloud.availability_zone", format!("{region}{}", ["a", "b", "c"][(node % 3) as usize]))
    }
}

/// The service of that name.
pub(crate) fn spec(name: &str) -> Option<&'static Spec> {
    SERVICES.iter().find(|spec| spec.name == name)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn fifty_services_and_thirty_of_them_in_a_row() {
        let names: BTreeSet<&str> = SERVICES.iter().filter(|spec| spec.traces()).map(|spec| spec.name).collect();
        assert_eq!(names.len(), 50);
        assert_eq!(SERVICES.len(), 51, "and the broker");
        let chain: BTreeSet<&str> = CHAIN.into_iter().collect();
        assert_eq!(chain.len(), 30);
        assert!(chain.is_subset(&names));
        assert_eq!((CHAIN[9], CHAIN[10], CHAIN[29]), ("logistics-gateway", "warehouse-hub", "ledger"));
    }
}
