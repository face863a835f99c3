//! The running shop: instances, operations and what they call, with everything that never changes between two
//! spans of one kind already encoded.

use super::catalogue::{Database, SERVICES, Service, Transport};
use super::proto::{self, Value};
use super::rng::Rng;
use super::template::{self, Template};

/// Number of a template in [`World::templates`].
pub type TemplateId = u32;
/// Number of an operation in [`World::operations`].
pub type OperationId = u32;
/// Number of an instance in [`World::instances`].
pub type InstanceId = u16;

/// A running copy of a service.
pub struct Instance {
    /// The encoded `Resource`.
    pub resource: Vec<u8>,
    /// Its number in [`SERVICES`].
    pub service: u8,
    /// Address in the cluster.
    pub address: String,
}

/// Something a service does when called.
pub struct Operation {
    /// Number of the service.
    pub service: u8,
    /// The span that serves it.
    pub server: TemplateId,
    /// What it does in turn, in this order, again from the start when a request needs more.
    pub calls: Vec<Call>,
    /// Are the calls made side by side?
    pub concurrent: bool,
}

/// One step of an operation.
#[derive(Clone, Copy)]
pub enum Call {
    /// A span without spans below it: a query, a cache look-up, own work.
    Leaf(TemplateId),
    /// A call of another service: the caller's client span, then the operation.
    Remote(TemplateId, OperationId),
    /// A message: the producer's span and the span of the service that consumes it.
    Message(TemplateId, TemplateId),
}

/// The shop.
pub struct World {
    /// Instances, those of one service side by side.
    pub instances: Vec<Instance>,
    /// First instance of each service, and one past the last of all.
    pub first_instance: Vec<InstanceId>,
    /// Kinds of span.
    pub templates: Vec<Template>,
    /// Operations.
    pub operations: Vec<Operation>,
    /// The gateway's operations, from the most frequent; those of its last noun are rare.
    pub entries: Vec<OperationId>,
    /// Encoded `InstrumentationScope`s of each service.
    pub scopes: Vec<[Vec<u8>; 4]>,
    /// How many calls lead to each service.
    callers: Vec<u32>,
}

/// Share of requests for the gateway's last noun.
pub const RARE_ENTRIES: f64 = 0.001;

impl World {
    /// The shop for a seed.
    pub fn new(seed: u64) -> Self {
        let mut rng = Rng::new(seed ^ 0x5409);
        let mut world = Self {
            instances: Vec::new(),
            first_instance: Vec::new(),
            templates: Vec::new(),
            operations: Vec::new(),
            entries: Vec::new(),
            scopes: Vec::new(),
            callers: vec![0; SERVICES.len()],
        };
        for (number, service) in SERVICES.iter().enumerate() {
            world.first_instance.push(world.instances.len() as InstanceId);
            for _ in 0..service.instances {
                let instance = instance(number as u8, service, &mut rng);
                world.instances.push(instance);
            }
            world.scopes.push(service.language.scopes().map(|(name, version)| scope(name, version)));
        }
        world.first_instance.push(world.instances.len() as InstanceId);
        // Deepest first, so that an operation exists before its callers ask for it.
        let mut of_service: Vec<Vec<OperationId>> = vec![Vec::new(); SERVICES.len()];
        for (number, service) in SERVICES.iter().enumerate().rev() {
            for noun in service.nouns {
                for verb in template::VERBS {
                    let operation = world.operation(number, service, noun, *verb, &of_service, &mut rng);
                    of_service[number].push(operation);
                }
            }
        }
        world.entries = of_service.swap_remove(0);
        world
    }

    /// Any instance of a service.
    pub fn pick_instance(&self, service: u8, rng: &mut Rng) -> InstanceId {
        let first = self.first_instance[usize::from(service)];
        let end = self.first_instance[usize::from(service) + 1];
        first + rng.below(u64::from(end - first)) as InstanceId
    }

    fn add(&mut self, template: Template) -> TemplateId {
        self.templates.push(template);
        self.templates.len() as TemplateId - 1
    }

    fn operation(
        &mut self,
        number: usize,
        service: &Service,
        noun: &'static str,
        verb: template::Verb,
        of_service: &[Vec<OperationId>],
        rng: &mut Rng,
    ) -> OperationId {
        let own = number as u8;
        let route = template::Route { service, noun, verb };
        let server = self.add(template::server(own, &route));
        let mut calls = Vec::new();
        if service.cache && rng.chance(0.7) {
            let cache = self.add(template::cache(own, service, noun, false));
            calls.push(Call::Leaf(cache));
        }
        let inner = self.add(template::internal(own, service, noun, "validate"));
        calls.push(Call::Leaf(inner));
        if service.database != Database::None {
            let count = 1 + rng.index(3);
            for _ in 0..count {
                let query = self.add(template::query(own, service, noun, rng.index(template::STATEMENT_FORMS)));
                calls.push(Call::Leaf(query));
            }
        }
        let fan_out = match service.layer {
            0 => 3 + rng.index(3),
            1 | 2 => 2 + rng.index(3),
            3 => 1 + rng.index(3),
            4 => rng.index(3),
            _ => 0,
        };
        for _ in 0..fan_out {
            if let Some(call) = self.remote_call(own, service, of_service, rng) {
                calls.push(call);
            }
        }
        if service.queue && verb.writes() {
            let consumers: Vec<usize> = (0..SERVICES.len()).filter(|c| SERVICES[*c].queue && *c != number).collect();
            let consumer = consumers[rng.index(consumers.len())];
            let producer = self.add(template::message(own, service, service, noun, true));
            let consumer = self.add(template::message(consumer as u8, &SERVICES[consumer], service, noun, false));
            calls.push(Call::Message(producer, consumer));
        }
        if service.cache && verb.writes() {
            let cache = self.add(template::cache(own, service, noun, true));
            calls.push(Call::Leaf(cache));
        }
        if rng.chance(0.4) {
            let render = self.add(template::internal(own, service, noun, "render"));
            calls.push(Call::Leaf(render));
        }
        let concurrent = fan_out >= 2 && rng.chance(0.4);
        self.operations.push(Operation { service: own, server, calls, concurrent });
        self.operations.len() as OperationId - 1
    }

    fn remote_call(
        &mut self,
        own: u8,
        service: &Service,
        of_service: &[Vec<OperationId>],
        rng: &mut Rng,
    ) -> Option<Call> {
        // Mostly the next layer, sometimes the one after.
        let layer = service.layer + if rng.chance(0.8) { 1 } else { 2 };
        let callees: Vec<usize> = (0..SERVICES.len()).filter(|c| SERVICES[*c].layer == layer.min(5)).collect();
        // Of two, the one with fewer callers, so that no service is left without any.
        let (one, other) = (callees[rng.index(callees.len())], callees[rng.index(callees.len())]);
        let callee = if self.callers[one] <= self.callers[other] { one } else { other };
        self.callers[callee] += 1;
        let operations = of_service.get(callee).filter(|operations| !operations.is_empty())?;
        let target = operations[rng.index(operations.len())];
        let noun = rng.index(SERVICES[callee].nouns.len());
        let verb = template::VERBS[target_verb(operations, target)];
        let noun = SERVICES[callee].nouns[target_noun(operations, target).unwrap_or(noun)];
        let route = template::Route { service: &SERVICES[callee], noun, verb };
        let client = self.add(template::client(own, service, &route));
        Some(Call::Remote(client, target))
    }
}

/// Which verb an operation has: a service's operations are listed noun by noun, verb by verb.
fn target_verb(operations: &[OperationId], target: OperationId) -> usize {
    operations.iter().position(|operation| *operation == target).unwrap_or(0) % template::VERBS.len()
}

fn target_noun(operations: &[OperationId], target: OperationId) -> Option<usize> {
    operations.iter().position(|operation| *operation == target).map(|at| at / template::VERBS.len())
}

fn scope(name: &str, version: &str) -> Vec<u8> {
    let mut out = Vec::new();
    proto::bytes(&mut out, 1, name.as_bytes());
    if !version.is_empty() {
        proto::bytes(&mut out, 2, version.as_bytes());
    }
    out
}

const CONSONANTS: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";

fn suffix(rng: &mut Rng, len: usize) -> String {
    (0..len).map(|_| char::from(CONSONANTS[rng.index(CONSONANTS.len())])).collect()
}

fn instance(number: u8, service: &Service, rng: &mut Rng) -> Instance {
    let address = format!("10.42.{}.{}", 1 + rng.below(8), 2 + rng.below(250));
    let pod = format!("{}-{}-{}", service.name, suffix(rng, 9), suffix(rng, 5));
    let node = format!("ip-10-42-{}-17.eu-central-1.compute.internal", 1 + rng.below(8));
    let version = format!("{}.{}.{}", 1 + number % 4, number % 13, number % 7);
    let (language, sdk_version) = service.language.sdk();
    let id = rng.bits();
    let instance_id = format!(
        "{:08x}-{:04x}-4{:03x}-8{:03x}-{:012x}",
        id as u32,
        id >> 48,
        id >> 36 & 0xfff,
        id >> 32 & 0xfff,
        id >> 8 & 0xffff_ffff_ffff
    );
    let mut resource = Vec::new();
    let mut put = |key: &str, value: &str| proto::attribute(&mut resource, 1, key, Value::Str(value.as_bytes()));
    put("service.name", service.name);
    put("service.namespace", "shop");
    put("service.version", &version);
    put("deployment.environment.name", "production");
    put("service.instance.id", &instance_id);
    put("k8s.namespace.name", "shop");
    put("k8s.pod.name", &pod);
    put("host.name", &node);
    put("telemetry.sdk.name", "opentelemetry");
    put("telemetry.sdk.language", language);
    put("telemetry.sdk.version", sdk_version);
    Instance { resource, service: number, address }
}

/// How a service names its transport in addresses.
pub fn port(service: &Service) -> u16 {
    match service.transport {
        Transport::Http => 8080,
        Transport::Grpc => 9090,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_service_is_called_by_another_and_calls_lead_down() {
        let world = World::new(1);
        let mut called = vec![false; SERVICES.len()];
        for operation in &world.operations {
            for call in &operation.calls {
                if let Call::Remote(client, target) = call {
                    let target = world.operations[*target as usize].service;
                    called[usize::from(target)] = true;
                    assert_eq!(world.templates[*client as usize].service, operation.service);
                    assert!(SERVICES[usize::from(operation.service)].layer < SERVICES[usize::from(target)].layer);
                }
            }
        }
        let uncalled: Vec<_> = (0..SERVICES.len()).filter(|service| !called[*service]).collect();
        assert_eq!(uncalled, [0], "only the gateway has no caller");
    }
}
