//! The two spans of a request, by the semantic conventions 1.44 for HTTP and RPC.

use std::net::SocketAddr;

use http::Method;
use http::header::{self, HeaderMap};
use http::request::Parts;
use tracewell_propagate::Propagated;
use tracewell_sdk::{SpanExt, Value, semconv};
use tracing::Span;
use tracing::field::Empty;

use crate::backend::Backend;
use crate::names::{Names, template};

/// The name of a `grpc-status`; UNKNOWN for what is no status.
pub(crate) fn grpc_status(headers: &HeaderMap) -> Option<&'static str> {
    let text = headers.get("grpc-status")?.to_str().ok();
    let number: Option<usize> = text.and_then(|text| text.trim().parse().ok());
    Some(number.map_or("UNKNOWN", semconv::grpc_status))
}

/// What both spans of a request say about it.
pub(crate) struct About {
    name: String,
    method: &'static str,
    original_method: Option<String>,
    template: Option<String>,
    /// `pkg.Service/Method`.
    rpc_method: Option<String>,
    query: Option<String>,
    path: String,
    version: &'static str,
}

impl About {
    pub(crate) fn new(parts: &Parts, grpc: bool, names: &Names) -> Self {
        let known = semconv::http_method(&parts.method);
        let (method, spoken) = (known.unwrap_or("_OTHER"), known.unwrap_or("HTTP"));
        let path = parts.uri.path();
        let (mut name, mut found, mut rpc_method) = (spoken.to_owned(), None, None);
        if grpc {
            rpc_method = names.admit(path.trim_start_matches('/').to_owned()).or_else(|| Some("_OTHER".to_owned()));
            name = rpc_method.clone().filter(|method| method != "_OTHER").unwrap_or(name);
        } else if parts.method != Method::CONNECT {
            found = names.admit(template(path).into_owned());
            if let Some(found) = &found {
                name = format!("{spoken} {found}");
            }
        }
        Self {
            name,
            method,
            original_method: known.is_none().then(|| parts.method.as_str().to_owned()),
            template: found,
            rpc_method,
            query: parts.uri.query().map(|query| semconv::redacted_query(query).into_owned()),
            path: path.to_owned(),
            version: semconv::protocol_version(parts.version),
        }
    }

    fn on_both(&self, span: &Span) {
        span.set_name(self.name.clone());
        if let Some(template) = &self.template {
            span.record("url.template", template.as_str());
        }
        if let Some(method) = &self.original_method {
            span.record("http.request.method_original", method.as_str());
        }
        if let Some(method) = &self.rpc_method {
            span.record("rpc.system.name", "grpc");
            span.record("rpc.method", method.as_str());
        }
    }

    /// The span of a request that the application serves.
    pub(crate) fn server_span(&self, parts: &Parts, peer: SocketAddr, remote: &Propagated) -> Span {
        let span = tracing::info_span!(
            parent: None,
            "HTTP",
            otel.kind = "server",
            otel.status_code = Empty,
            otel.status_message = Empty,
            http.request.method = self.method,
            http.request.method_original = Empty,
            http.request.body.size = Empty,
            http.response.status_code = Empty,
            http.response.body.size = Empty,
            rpc.system.name = Empty,
            rpc.method = Empty,
            rpc.response.status_code = Empty,
            url.scheme = "http",
            url.path = self.path.as_str(),
            url.query = Empty,
            url.template = Empty,
            server.address = Empty,
            server.port = Empty,
            client.address = Empty,
            network.peer.address = Empty,
            network.peer.port = peer.port(),
            network.protocol.version = self.version,
            user_agent.original = Empty,
            error.type = Empty,
            tracewell.proxy.role = "inbound",
        );
        span.set_remote(remote);
        if span.is_disabled() {
            return span;
        }
        self.on_both(&span);
        if let Some(query) = &self.query {
            span.record("url.query", query.as_str());
        }
        let address = peer.ip().to_canonical().to_string();
        span.record("network.peer.address", address.as_str());
        span.record("client.address", forwarded_for(&parts.headers).unwrap_or(&address));
        if let Some(authority) = crate::backend::authority_of(&parts.uri, &parts.headers) {
            span.record("server.address", authority.host());
            if let Some(port) = authority.port_u16() {
                span.record("server.port", port);
            }
        }
        let agent = parts.headers.get(header::USER_AGENT).and_then(|value| value.to_str().ok());
        if let Some(agent) = agent {
            span.record("user_agent.original", agent);
        }
        span
    }

    /// The span of a request that goes to `backend`, below `parent` where that is of this process.
    pub(crate) fn client_span(&self, parent: Option<&Span>, backend: &Backend, role: &'static str) -> Span {
        let span = tracing::info_span!(
            parent: parent.and_then(Span::id),
            "HTTP",
            otel.kind = "client",
            otel.status_code = Empty,
            otel.status_message = Empty,
            http.request.method = self.method,
            http.request.method_original = Empty,
            http.request.body.size = Empty,
            http.request.resend_count = Empty,
            http.response.status_code = Empty,
            http.response.body.size = Empty,
            rpc.system.name = Empty,
            rpc.method = Empty,
            rpc.response.status_code = Empty,
            url.full = Empty,
            url.template = Empty,
            server.address = backend.host.as_str(),
            server.port = backend.port,
            network.protocol.version = Empty,
            error.type = Empty,
            tracewell.inferred = Empty,
            tracewell.inferred.by = Empty,
            tracewell.inferred.candidates = Empty,
            tracewell.inferred.refused = Empty,
            tracewell.proxy.role = role,
            tracewell.proxy.connection = Empty,
            tracewell.proxy.connect_ns = Empty,
            tracewell.proxy.first_byte_ns = Empty,
        );
        if span.is_disabled() {
            return span;
        }
        self.on_both(&span);
        if self.method != "CONNECT" {
            let query = self.query.as_ref().map(|query| format!("?{query}")).unwrap_or_default();
            let url = format!("{}://{}{}{query}", backend.url_scheme(), backend.authority(), self.path);
            span.record("url.full", url);
        }
        span
    }
}

/// Notes the request id as the header that it is (`http.request.header.<key>`).
pub(crate) fn note_request_id(span: &Span, name: &http::HeaderName, value: &http::HeaderValue) {
    if let Ok(text) = value.to_str() {
        let values = Value::Array(vec![Value::from(text.to_owned())]);
        span.set_attribute(&format!("http.request.header.{name}"), values);
    }
}

/// The client as proxies before this one name it.
fn forwarded_for(headers: &HeaderMap) -> Option<&str> {
    let first = headers.get("x-forwarded-for")?.to_str().ok()?.split(',').next()?.trim();
    (!first.is_empty()).then_some(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grpc_status_has_names() {
        for (value, expected) in [("0", "OK"), ("14", "UNAVAILABLE"), ("99", "UNKNOWN"), ("x", "UNKNOWN")] {
            let mut headers = HeaderMap::new();
            headers.insert("grpc-status", value.parse().unwrap());
            assert_eq!(grpc_status(&headers), Some(expected));
        }
        assert_eq!(grpc_status(&HeaderMap::new()), None);
    }
}
