//! Jaeger's formats, by the OpenTelemetry mapping between Jaeger and OTLP
//! (specification, "SDK Exporters / Jaeger": what OTLP becomes in Jaeger, read backwards).

mod ids;
pub mod json;
mod tags;
