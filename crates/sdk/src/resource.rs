//! Who emits: the attributes that every span of one service shares.

use crate::Value;
use crate::proto;

/// The attributes of one service instance (OpenTelemetry semantic conventions, "Resource").
#[derive(Debug, Clone, PartialEq)]
pub struct Resource {
    attributes: Vec<(String, Value)>,
}

impl Resource {
    /// A resource of that `service.name`, with the attributes that name this SDK.
    pub fn new(service_name: impl Into<String>) -> Self {
        Self { attributes: Vec::new() }
            .with("service.name", service_name.into())
            .with("telemetry.sdk.name", "tracewell")
            .with("telemetry.sdk.language", "rust")
            .with("telemetry.sdk.version", env!("CARGO_PKG_VERSION"))
    }

    /// The resource with `key` set, replacing an earlier value.
    #[must_use]
    pub fn with(mut self, key: impl Into<String>, value: impl Into<Value>) -> Self {
        let key = key.into();
        self.attributes.retain(|(name, _)| *name != key);
        self.attributes.push((key, value.into()));
        self
    }

    /// The attributes in order.
    pub fn attributes(&self) -> &[(String, Value)] {
        &self.attributes
    }

    /// The value of `service.name`.
    pub(crate) fn service_name(&self) -> &str {
        let name = self.attributes.iter().find(|(key, _)| key == "service.name");
        match name {
            Some((_, Value::Str(name))) => name,
            _ => "unknown_service",
        }
    }

    /// The `resource` field of `ResourceSpans` and `ResourceLogs`.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut buffer = Vec::new();
        proto::message(&mut buffer, 1, |buffer| {
            for (key, value) in &self.attributes {
                proto::key_value(buffer, 1, key, value.as_ref());
            }
        });
        buffer
    }
}
