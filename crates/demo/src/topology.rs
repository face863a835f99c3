//! Who is part of the shop, and what each says about itself.

use tracewell_sdk::Resource;

use crate::random::Random;

/// One service.
pub(crate) struct Spec {
    pub(crate) name: &'static str,
    pub(crate) version: &'static str,
    pub(crate) namespace: &'static str,
    pub(crate) instances: usize,
    /// The port by which others know it; the socket itself has one that is free.
    pub(crate) port: u16,
}

const fn shop(name: &'static str, version: &'static str, instances: usize) -> Spec {
    Spec { name, version, namespace: "shop", instances, port: 8080 }
}

const fn store(name: &'static str, version: &'static str, port: u16) -> Spec {
    Spec { name, version, namespace: "shop-data", instances: 1, port }
}

/// Every service of the shop.
pub(crate) const SERVICES: &[Spec] = &[
    shop("web-frontend", "4.12.0", 1),
    shop("api-gateway", "2.3.1", 2),
    shop("authentication", "1.9.0", 1),
    shop("inventory", "3.1.4", 2),
    shop("pricing", "2.0.7", 1),
    shop("promotions", "0.14.2", 1),
    shop("user-profile", "5.2.0", 1),
    shop("cart", "1.22.3", 1),
    shop("checkout", "2.8.1", 1),
    shop("payment", "3.0.2", 1),
    shop("shipping", "1.4.9", 1),
    shop("notifications", "0.9.6", 1),
    store("session-cache", "7.4.2", 6379),
    store("pricing-cache", "7.4.2", 6379),
    store("cart-store", "8.1.0", 6379),
    store("inventory-db", "17.2", 5432),
    store("orders-db", "17.2", 5432),
    store("profile-db", "8.0.4", 27017),
    store("message-broker", "3.9.0", 9092),
    Spec { name: "payment-provider", version: "2026-10", namespace: "acme-pay", instances: 1, port: 8443 },
];

/// The services of the longest path, from the first to the last.
pub(crate) const CHAIN: &[&str] =
    &["web-frontend", "api-gateway", "checkout", "pricing", "promotions", "user-profile", "profile-db"];

impl Spec {
    /// Whether it sends telemetry. Brokers do not; what they carry does.
    pub(crate) fn traces(&self) -> bool {
        self.name != "message-broker"
    }

    /// The resource of one instance.
    pub(crate) fn resource(&self, random: &Random) -> Resource {
        let pod = format!("{}-{}-{}", self.name, random.hex(8), random.hex(5));
        Resource::new(self.name)
            .with("service.version", self.version)
            .with("service.namespace", self.namespace)
            .with("service.instance.id", pod.clone())
            .with("deployment.environment.name", "demo")
            .with("host.name", format!("node-{}", 1 + random.below(6)))
            .with("k8s.pod.name", pod)
            .with("cloud.region", "eu-central-1")
    }
}

/// The service of that name.
pub(crate) fn spec(name: &str) -> Option<&'static Spec> {
    SERVICES.iter().find(|spec| spec.name == name)
}
