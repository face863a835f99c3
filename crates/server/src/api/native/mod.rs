//! The native API, `docs/api.md`.
//!
//! `openapi.json` describes every route of [`routes`], and a test sees to it that it describes no other.

mod demo;
mod explain;
mod hops;
mod json;
mod logs;
mod names;
mod search;
mod server;
mod trace;

use axum::routing::{get, post};

use super::Route;

pub(super) use names::{scope, scope_name};
pub(super) use trace::{PROTOBUF, wants_protobuf};

/// The routes.
pub(super) fn routes() -> Vec<Route> {
    let mut routes = vec![
        Route { path: "/api/v1/search", handler: get(search::search) },
        Route { path: "/api/v1/services", handler: get(names::services) },
        Route { path: "/api/v1/operations", handler: get(names::operations) },
        Route { path: "/api/v1/attributes", handler: get(names::attributes) },
        Route { path: "/api/v1/attributes/{scope}/{key}/values", handler: get(names::values) },
        Route { path: "/api/v1/services/{name}/red", handler: get(hops::red) },
        Route { path: "/api/v1/hops", handler: get(hops::hops) },
        Route { path: "/api/v1/hops/changes", handler: get(hops::changes) },
        Route { path: "/api/v1/traces/{id}", handler: get(trace::trace) },
        Route { path: "/api/v1/traces/{id}/columns", handler: get(trace::columns) },
        Route { path: "/api/v1/traces/{id}/spans/{spanId}", handler: get(trace::span) },
        Route { path: "/api/v1/traces/{id}/logs", handler: get(logs::of_trace) },
        Route { path: "/api/v1/logs", handler: get(logs::search) },
        Route { path: "/api/v1/demo", handler: get(demo::state) },
        Route { path: "/api/v1/demo/faults/{name}", handler: post(demo::switch) },
        Route { path: "/api/v1/status", handler: get(server::status) },
        Route { path: "/api/v1/openapi.json", handler: get(server::openapi) },
        Route { path: "/healthz", handler: get(server::healthz) },
        Route { path: "/readyz", handler: get(server::readyz) },
        Route { path: "/metrics", handler: get(server::metrics) },
    ];
    routes.extend(explain::routes());
    routes
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_route_is_described_and_every_description_has_a_route() {
        let description: serde_json::Value = serde_json::from_str(server::OPENAPI).unwrap();
        let described: BTreeSet<String> = description["paths"].as_object().unwrap().keys().cloned().collect();
        let routed: BTreeSet<String> = routes().iter().map(|route| route.path.to_owned()).collect();
        assert_eq!(described, routed);
    }

    /// Every `$ref` of the description leads somewhere.
    #[test]
    fn references_within_the_description_resolve() {
        fn visit(value: &serde_json::Value, root: &serde_json::Value) {
            match value {
                serde_json::Value::Object(fields) => {
                    if let Some(reference) = fields.get("$ref").and_then(|reference| reference.as_str()) {
                        let pointer = reference.strip_prefix('#').expect("references stay within the document");
                        assert!(root.pointer(pointer).is_some(), "{reference} leads nowhere");
                    }
                    fields.values().for_each(|field| visit(field, root));
                }
                serde_json::Value::Array(items) => items.iter().for_each(|item| visit(item, root)),
                _ => {}
            }
        }
        let description: serde_json::Value = serde_json::from_str(server::OPENAPI).unwrap();
        visit(&description, &description);
    }

    /// The parameters in a path are those that the description lists.
    #[test]
    fn path_parameters_are_described() {
        let description: serde_json::Value = serde_json::from_str(server::OPENAPI).unwrap();
        for (path, methods) in description["paths"].as_object().unwrap() {
            let in_path: BTreeSet<String> =
                path.split('{').skip(1).filter_map(|part| Some(part.split_once('}')?.0.to_owned())).collect();
            let method = methods.get("get").or_else(|| methods.get("post")).unwrap();
            let listed =
                method["parameters"].as_array().unwrap().iter().map(|parameter| match parameter["$ref"].as_str() {
                    Some(reference) => description.pointer(&reference[1..]).unwrap(),
                    None => parameter,
                });
            let described: BTreeSet<String> = listed
                .filter(|parameter| parameter["in"] == "path")
                .map(|parameter| parameter["name"].as_str().unwrap().to_owned())
                .collect();
            assert_eq!(in_path, described, "{path}");
        }
    }
}
