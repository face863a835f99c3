//! OTLP/JSON: protobuf's JSON mapping with the exceptions that the OTLP specification makes (ids in
//! hexadecimal, enums as numbers, unknown fields ignored).
//!
//! JSON is never turned into the model directly: it is rewritten into protobuf while it is parsed, and
//! written from protobuf, by the tables in `schema`. So there is one decoder of requests, and what a
//! JSON client sends is stored in the same bytes as what a protobuf client sends.
//!
//! ```text
//! JSON ──parse──▶ protobuf ──decode_*──▶ model
//! JSON ◀──write── protobuf ◀──encode_*── model
//! ```

mod base64;
mod model;
mod parse;
mod text;
mod write;

pub use model::{
    attributes_from_json, attributes_to_json, events_from_json, events_to_json, links_from_json, links_to_json,
    resource_from_json, resource_to_json, scope_from_json, scope_to_json, value_from_json, value_to_json, write_logs,
    write_traces,
};
pub use parse::{logs_to_protobuf, traces_to_protobuf};
pub(crate) use parse::{parse_batches, parse_logs_file, parse_traces_file};
pub(crate) use text::{put_integer, put_string};
pub use write::{
    Style, logs_to_json, traces_to_json, write_attribute, write_events, write_links, write_resource, write_scope,
    write_value,
};

/// The bytes that a text in base64 stands for, in either alphabet, with or without padding.
pub(crate) fn decode_base64(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3);
    base64::decode(text, &mut bytes).map(|()| bytes)
}
