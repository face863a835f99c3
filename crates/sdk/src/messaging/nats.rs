//! Headers of NATS messages, as `async-nats` 0.51 has them.
//!
//! ```
//! use async_nats::HeaderMap;
//! use tracewell_sdk::messaging::Destination;
//! use tracewell_sdk::messaging::nats::{Received, Sent};
//!
//! let orders = Destination::new("nats", "orders");
//! let mut headers = HeaderMap::new();
//! let publish = orders.send().start();
//! publish.inject(&mut Sent(&mut headers)); // `client.publish_with_headers("orders", headers, payload)`
//!
//! let process = orders.process(&Received(Some(&headers))).start(); // `Received(message.headers.as_ref())`
//! ```

use async_nats::{HeaderMap, HeaderName, HeaderValue};

use crate::propagate::{Extract, Inject};

/// The headers of a message that has come: `Received(message.headers.as_ref())`. Names are read without
/// regard to case, though NATS itself regards it.
#[derive(Debug, Clone, Copy)]
pub struct Received<'a>(pub Option<&'a HeaderMap>);

impl Extract for Received<'_> {
    fn values(&self, name: &str, visit: &mut dyn FnMut(&str)) {
        for (key, values) in self.0.into_iter().flat_map(HeaderMap::iter) {
            if AsRef::<str>::as_ref(key).eq_ignore_ascii_case(name) {
                values.iter().for_each(|value| visit(value.as_str()));
            }
        }
    }

    fn prefixed(&self, prefix: &str, visit: &mut dyn FnMut(&str, &str)) {
        for (key, values) in self.0.into_iter().flat_map(HeaderMap::iter) {
            let key: &str = key.as_ref();
            let start = key.get(..prefix.len()).filter(|start| start.eq_ignore_ascii_case(prefix));
            if let (Some(_), Some(rest)) = (start, key.get(prefix.len()..)) {
                values.iter().for_each(|value| visit(rest, value.as_str()));
            }
        }
    }
}

/// The headers of a message that is about to be sent. What NATS does not allow is not written.
#[derive(Debug)]
pub struct Sent<'a>(pub &'a mut HeaderMap);

impl Inject for Sent<'_> {
    fn set(&mut self, name: &'static str, value: &str) {
        self.set_named(name, value);
    }

    fn set_named(&mut self, name: &str, value: &str) {
        let (Ok(key), Ok(value)) = (name.parse::<HeaderName>(), value.parse::<HeaderValue>()) else { return };
        let stale = |known: &HeaderName| {
            let known: &str = known.as_ref();
            known.eq_ignore_ascii_case(name) && known != name
        };
        if self.0.iter().any(|(known, _)| stale(known)) {
            // Nothing can be taken out of the map: the others move over.
            let mut others = HeaderMap::new();
            for (known, values) in self.0.iter().filter(|(known, _)| !stale(known)) {
                values.iter().for_each(|value| others.append(known.clone(), value.clone()));
            }
            *self.0 = others;
        }
        self.0.insert(key, value);
    }
}
