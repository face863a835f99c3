//! OTLP, the OpenTelemetry protocol (release line 1.11): requests and responses of its trace and log
//! services, as protobuf and as JSON. The wire format is read and written by hand: the messages are
//! few and stable, and a borrowed view is an order of magnitude faster than generated structures.

mod check;
mod decode;
mod encode;
pub mod json;
mod logs;
mod merge;
mod parts;
mod pb;
mod pb_write;
pub mod response;
mod schema;
mod value;
pub mod view;

pub use check::{Checked, DEPTH_MAX, check_logs, check_traces};
pub use decode::{
    decode_attribute, decode_event, decode_link, decode_log, decode_logs, decode_resource, decode_scope, decode_span,
    decode_text, decode_traces, decode_value,
};
pub use encode::{encode_logs, encode_traces, encode_traces_data};
pub use parts::{EventView, LinkView};
pub use view::InvalidSpan;
