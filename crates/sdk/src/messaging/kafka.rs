//! Headers of Kafka messages, as `rdkafka` 0.39 has them.
//!
//! ```
//! use rdkafka::message::OwnedHeaders;
//! use tracewell_sdk::messaging::Destination;
//! use tracewell_sdk::messaging::kafka::{Received, Sent};
//!
//! let orders = Destination::new("kafka", "orders");
//! let mut headers = OwnedHeaders::new();
//! let send = orders.send().start();
//! send.inject(&mut Sent(&mut headers)); // `FutureRecord::to("orders").headers(headers)`
//!
//! let process = orders.process(&Received(Some(&headers))).start(); // `Received(message.headers())`
//! ```

use rdkafka::message::{Header, Headers, OwnedHeaders};

use crate::propagate::{Extract, Inject};

/// The headers of a message that has come: `Received(message.headers())`.
#[derive(Debug, Clone, Copy)]
pub struct Received<'a, H>(pub Option<&'a H>);

/// What stands for a value that is not text; no format accepts it.
const NOT_TEXT: &str = "\u{fffd}";

impl<H: Headers> Received<'_, H> {
    fn visit(&self, mut matches: impl FnMut(&str, &str)) {
        for header in self.0.into_iter().flat_map(Headers::iter) {
            let value = header.value.map_or(Ok(""), std::str::from_utf8);
            matches(header.key, value.unwrap_or(NOT_TEXT));
        }
    }
}

impl<H: Headers> Extract for Received<'_, H> {
    fn values(&self, name: &str, visit: &mut dyn FnMut(&str)) {
        self.visit(|key, value| {
            if key.eq_ignore_ascii_case(name) {
                visit(value);
            }
        });
    }

    fn prefixed(&self, prefix: &str, visit: &mut dyn FnMut(&str, &str)) {
        self.visit(|key, value| {
            let start = key.get(..prefix.len()).filter(|start| start.eq_ignore_ascii_case(prefix));
            if let (Some(_), Some(rest)) = (start, key.get(prefix.len()..)) {
                visit(rest, value);
            }
        });
    }
}

/// The headers of a message that is about to be sent.
#[derive(Debug)]
pub struct Sent<'a>(pub &'a mut OwnedHeaders);

impl Inject for Sent<'_> {
    fn set(&mut self, name: &'static str, value: &str) {
        self.set_named(name, value);
    }

    fn set_named(&mut self, name: &str, value: &str) {
        let mut headers = std::mem::take(self.0);
        if headers.iter().any(|header| header.key.eq_ignore_ascii_case(name)) {
            // Headers can only be added: the others move over.
            let mut others = OwnedHeaders::new_with_capacity(headers.count());
            for header in headers.iter().filter(|header| !header.key.eq_ignore_ascii_case(name)) {
                others = others.insert(Header { key: header.key, value: header.value });
            }
            headers = others;
        }
        *self.0 = headers.insert(Header { key: name, value: Some(value) });
    }
}
