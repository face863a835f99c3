//! W3C Baggage: what the application itself sends along, readable by every service on the way.
//!
//! ```text
//! baggage: userId=alice%20%C3%A9;ttl=60,region=eu
//!          key    value          property
//! ```

use crate::{Extract, Inject, Problem, Propagated, Propagator, percent};

const BAGGAGE: &str = "baggage";

/// Members that every participant carries on (W3C Baggage §3.3.2).
pub const MAX_BAGGAGE_MEMBERS: usize = 64;

/// Bytes of the encoded list that every participant carries on (W3C Baggage §3.3.2).
pub const MAX_BAGGAGE_BYTES: usize = 8192;

/// One member of the baggage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BaggageItem {
    /// Its name, an HTTP token.
    pub key: String,
    /// Its value, decoded.
    pub value: String,
    /// Properties as they stood after the first `;`, not interpreted.
    pub properties: String,
}

/// Why a member was not added.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BaggageError {
    /// The key is not an HTTP token.
    #[error("baggage key {key:?} is not an HTTP token (letters, digits and !#$%&'*+-.^_`|~)")]
    Key {
        /// The key as given.
        key: String,
    },
    /// The list would outgrow what every participant carries on.
    #[error("baggage has no room for {key:?}: at most 64 members and 8192 encoded bytes are carried")]
    Full {
        /// The key as given.
        key: String,
    },
}

/// Name and value pairs that travel with a request. Keys are unique; the order is that of the
/// sender. Never more than [`MAX_BAGGAGE_MEMBERS`] members and [`MAX_BAGGAGE_BYTES`] encoded bytes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Baggage {
    items: Vec<BaggageItem>,
    /// Size of the header, without its commas.
    encoded_bytes: usize,
}

impl Baggage {
    /// True when it holds no member.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// The members in order.
    pub fn items(&self) -> &[BaggageItem] {
        &self.items
    }

    /// The value stored under `key`.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.items.iter().find(|item| item.key == key).map(|item| item.value.as_str())
    }

    /// Sets `key` to `value`, replacing a member of that name with its properties.
    ///
    /// # Errors
    ///
    /// [`BaggageError`] when the key is not a token or the list is full; it is then unchanged.
    pub fn set(&mut self, key: &str, value: &str) -> Result<(), BaggageError> {
        self.put(BaggageItem { key: key.to_owned(), value: value.to_owned(), properties: String::new() })
    }

    /// Removes `key`; true if it was there.
    pub fn remove(&mut self, key: &str) -> bool {
        let Some(place) = self.items.iter().position(|item| item.key == key) else { return false };
        self.encoded_bytes -= encoded_size(&self.items.remove(place));
        true
    }

    fn put(&mut self, item: BaggageItem) -> Result<(), BaggageError> {
        if !is_token(&item.key) {
            return Err(BaggageError::Key { key: item.key });
        }
        let place = self.items.iter().position(|other| other.key == item.key);
        let replaced = place.and_then(|place| self.items.get(place)).map_or(0, encoded_size);
        let members = self.items.len() + usize::from(place.is_none());
        let encoded_bytes = self.encoded_bytes - replaced + encoded_size(&item);
        if members > MAX_BAGGAGE_MEMBERS || encoded_bytes + members - 1 > MAX_BAGGAGE_BYTES {
            return Err(BaggageError::Full { key: item.key });
        }
        self.encoded_bytes = encoded_bytes;
        match place.and_then(|place| self.items.get_mut(place)) {
            Some(slot) => *slot = item,
            None => self.items.push(item),
        }
        Ok(())
    }

    /// Reads a header. A member that breaks the grammar is left out alone; of a repeated key the last
    /// member counts; what is beyond the limits is left out.
    pub fn parse(header: &str) -> Self {
        let mut baggage = Self::default();
        baggage.parse_more(header, &mut |_| {});
        baggage
    }

    fn parse_more(&mut self, header: &str, problem: &mut dyn FnMut(&'static str)) {
        for member in header.split(',').filter(|member| !trim(member).is_empty()) {
            match parse_member(member) {
                Ok(item) => {
                    if self.put(item).is_err() {
                        problem("more than 64 members or 8192 bytes");
                    }
                }
                Err(reason) => problem(reason),
            }
        }
    }

    /// The header to send; empty for empty baggage.
    pub fn to_header(&self) -> String {
        let mut header = String::with_capacity(self.encoded_bytes + self.items.len());
        for item in &self.items {
            if !header.is_empty() {
                header.push(',');
            }
            encode_item(&mut header, item);
        }
        header
    }
}

fn encoded_size(item: &BaggageItem) -> usize {
    let value: usize = item.value.bytes().map(|byte| if is_plain(byte) { 1 } else { 3 }).sum();
    let properties = if item.properties.is_empty() { 0 } else { 1 + item.properties.len() };
    item.key.len() + 1 + value + properties
}

fn encode_item(out: &mut String, item: &BaggageItem) {
    out.push_str(&item.key);
    out.push('=');
    percent::encode_into(out, &item.value, is_plain);
    if !item.properties.is_empty() {
        out.push(';');
        out.push_str(&item.properties);
    }
}

fn parse_member(member: &str) -> Result<BaggageItem, &'static str> {
    let (pair, properties) = member.split_once(';').unwrap_or((member, ""));
    let (key, value) = pair.split_once('=').ok_or("a member has no `=`")?;
    let (key, value, properties) = (trim(key), trim(value), trim(properties));
    if !is_token(key) {
        return Err("a key is not a token");
    }
    if !value.bytes().all(is_baggage_octet) {
        return Err("a value holds a character that has to be encoded");
    }
    if !properties.bytes().all(|byte| byte == b'\t' || (b' '..=b'~').contains(&byte)) {
        return Err("a property holds a character that has to be encoded");
    }
    Ok(BaggageItem {
        key: key.to_owned(),
        value: percent::percent_decode(value).into_owned(),
        properties: properties.to_owned(),
    })
}

/// Without spaces and tabs around it.
fn trim(text: &str) -> &str {
    match text.as_bytes() {
        [first, .., last] if *first > b' ' && *last > b' ' => text,
        _ => text.trim_matches([' ', '\t']),
    }
}

/// What a byte may be part of.
const TOKEN: u8 = 1;
const OCTET: u8 = 2;
const PLAIN: u8 = 4;

const CLASSES: [u8; 256] = {
    let mut classes = [0; 256];
    let mut byte = 0;
    while byte < 128 {
        let value = byte as u8;
        if value.is_ascii_alphanumeric() || is_one_of(value, b"!#$%&'*+-.^_`|~") {
            classes[byte] |= TOKEN;
        }
        if matches!(value, 0x21 | 0x23..=0x2b | 0x2d..=0x3a | 0x3c..=0x5b | 0x5d..=0x7e) {
            classes[byte] |= OCTET;
            if value != b'%' && value != b'=' {
                classes[byte] |= PLAIN;
            }
        }
        byte += 1;
    }
    classes
};

const fn is_one_of(byte: u8, list: &[u8]) -> bool {
    let mut at = 0;
    while at < list.len() {
        if list[at] == byte {
            return true;
        }
        at += 1;
    }
    false
}

fn is(byte: u8, class: u8) -> bool {
    CLASSES[usize::from(byte)] & class != 0
}

/// RFC 9110 §5.6.2.
fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| is(byte, TOKEN))
}

/// Printable ASCII without space, `"`, `,`, `;` and `\` (W3C Baggage §3.2.1.3).
fn is_baggage_octet(byte: u8) -> bool {
    is(byte, OCTET)
}

/// An octet that is written as it is. `=` could be, but readers exist that split at each.
fn is_plain(byte: u8) -> bool {
    is(byte, PLAIN)
}

/// The `baggage` propagator.
#[derive(Debug, Clone, Copy, Default)]
pub struct BaggagePropagator;

impl Propagator for BaggagePropagator {
    fn fields(&self) -> &'static [&'static str] {
        &[BAGGAGE]
    }

    fn extract(&self, carrier: &dyn Extract, into: &mut Propagated, problem: &mut dyn FnMut(Problem)) {
        let mut tell = |reason| problem(Problem { header: BAGGAGE, reason });
        carrier.values(BAGGAGE, &mut |value| into.baggage.parse_more(value, &mut tell));
    }

    fn inject(&self, propagated: &Propagated, carrier: &mut dyn Inject) {
        if !propagated.baggage.is_empty() {
            carrier.set(BAGGAGE, &propagated.baggage.to_header());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_limits_hold_on_both_sides() {
        let many: Vec<String> = (0..70).map(|member| format!("k{member}=v")).collect();
        let baggage = Baggage::parse(&many.join(","));
        assert_eq!((baggage.items().len(), baggage.get("k63"), baggage.get("k64")), (64, Some("v"), None));
        let mut baggage = Baggage::parse(&format!("big={},small=1", "v".repeat(8181)));
        assert_eq!((baggage.items().len(), baggage.get("small")), (1, None), "8185 bytes leave no room");
        assert_eq!(baggage.set("small", "1"), Err(BaggageError::Full { key: "small".to_owned() }));
        assert!(baggage.set("big", "v").is_ok() && baggage.set("small", "1").is_ok());
        assert!(baggage.remove("big") && !baggage.remove("big"));
        assert!(matches!(baggage.set("no token", "1"), Err(BaggageError::Key { .. })));
    }

    #[test]
    fn properties_travel_unchanged() {
        assert_eq!(Baggage::parse("a=1;p1;p2=x, b = 2 ;q").to_header(), "a=1;p1;p2=x,b=2;q");
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_again(pairs in prop::collection::btree_map("[a-zA-Z0-9!._-]{1,8}", "\\PC{0,20}", 0..20)) {
            let mut baggage = Baggage::default();
            for (key, value) in &pairs {
                prop_assert!(baggage.set(key, value).is_ok());
            }
            let header = baggage.to_header();
            prop_assert!(header.bytes().all(|byte| byte.is_ascii_graphic()));
            prop_assert_eq!(header.len() + 1, baggage.encoded_bytes + baggage.items.len() + usize::from(baggage.is_empty()));
            prop_assert_eq!(Baggage::parse(&header), baggage);
        }
    }
}
