//! Headers of AMQP 0.9.1 messages, as `lapin` 4 has them.
//!
//! ```
//! use lapin::BasicProperties;
//! use tracewell_sdk::messaging::Destination;
//! use tracewell_sdk::messaging::amqp::{Received, with_context};
//!
//! let publish = Destination::rabbitmq("", "orders").send().start();
//! let properties = with_context(BasicProperties::default(), &publish); // `channel.basic_publish(…, properties)`
//!
//! let orders = Destination::rabbitmq_queue("", "orders", "orders");
//! let process = orders.process(&Received(properties.headers().as_ref())).start(); // `delivery.properties`
//! ```

use std::collections::BTreeMap;

use lapin::BasicProperties;
use lapin::types::{AMQPValue, FieldTable, ShortString};

use super::Active;
use crate::propagate::{Extract, Inject};

/// The headers of a message that has come: `Received(delivery.properties.headers().as_ref())`. Strings and
/// byte arrays are text; other values count as present but invalid.
#[derive(Debug, Clone, Copy)]
pub struct Received<'a>(pub Option<&'a FieldTable>);

/// What stands for a value that is not text; no format accepts it.
const NOT_TEXT: &str = "\u{fffd}";

fn text(value: &AMQPValue) -> &str {
    let bytes = match value {
        AMQPValue::LongString(value) => value.as_bytes(),
        AMQPValue::ShortString(value) => return value.as_str(),
        AMQPValue::ByteArray(value) => value.as_slice(),
        _ => return NOT_TEXT,
    };
    std::str::from_utf8(bytes).unwrap_or(NOT_TEXT)
}

impl Extract for Received<'_> {
    fn values(&self, name: &str, visit: &mut dyn FnMut(&str)) {
        for (key, value) in self.0.into_iter().flatten() {
            if key.as_str().eq_ignore_ascii_case(name) {
                visit(text(value));
            }
        }
    }

    fn prefixed(&self, prefix: &str, visit: &mut dyn FnMut(&str, &str)) {
        for (key, value) in self.0.into_iter().flatten() {
            let key = key.as_str();
            let start = key.get(..prefix.len()).filter(|start| start.eq_ignore_ascii_case(prefix));
            if let (Some(_), Some(rest)) = (start, key.get(prefix.len()..)) {
                visit(rest, text(value));
            }
        }
    }
}

/// The headers of a message that is about to be sent. A name beyond 255 bytes is not written.
#[derive(Debug)]
pub struct Sent<'a>(pub &'a mut FieldTable);

impl Inject for Sent<'_> {
    fn set(&mut self, name: &'static str, value: &str) {
        self.set_named(name, value);
    }

    fn set_named(&mut self, name: &str, value: &str) {
        let Ok(key) = ShortString::try_new(name) else { return };
        let stale = |known: &ShortString| known.as_str().eq_ignore_ascii_case(name) && known.as_str() != name;
        if self.0.inner().keys().any(stale) {
            let others = self.0.inner().iter().filter(|(known, _)| !stale(known));
            let others: BTreeMap<_, _> = others.map(|(known, value)| (known.clone(), value.clone())).collect();
            *self.0 = others.into();
        }
        self.0.insert(key, AMQPValue::LongString(value.into()));
    }
}

/// The properties with the context of `operation` among their headers.
#[must_use]
pub fn with_context(properties: BasicProperties, operation: &Active) -> BasicProperties {
    let mut headers = properties.headers().clone().unwrap_or_default();
    operation.inject(&mut Sent(&mut headers));
    properties.with_headers(headers)
}
