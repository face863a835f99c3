//! Which inbound requests are being served, found by their request id: how an outbound request of an application that
//! forwards no context finds its parent.
//!
//! Bounded in entries, bytes and time. What does not fit is not remembered, which costs a link and never a request.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hashbrown::HashMap;
use http::{HeaderMap, HeaderName, HeaderValue};
use parking_lot::Mutex;
use tracewell_propagate::Propagated;

/// Longest request id that is remembered; ids are UUIDs or about as long.
const ID_BYTES_MAX: usize = 256;

/// What an entry takes beside its ids and baggage.
const ENTRY_BYTES: usize = 512;

/// A request id as it is compared.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Id {
    /// A UUID without its version digit: Envoy keeps its sampling decision there and changes it on the way.
    Uuid(u128),
    /// Anything else, byte by byte.
    Text(Box<[u8]>),
}

impl Id {
    /// `None` for ids that are empty or too long.
    pub(crate) fn of(value: &HeaderValue) -> Option<Self> {
        let text = value.as_bytes().trim_ascii();
        if text.is_empty() || text.len() > ID_BYTES_MAX {
            return None;
        }
        Some(uuid(text).map_or_else(|| Self::Text(text.into()), Self::Uuid))
    }
}

fn uuid(text: &[u8]) -> Option<u128> {
    if text.len() != 36 {
        return None;
    }
    let mut number = 0u128;
    for (at, byte) in text.iter().enumerate() {
        match (at, byte) {
            (8 | 13 | 18 | 23, b'-') => {}
            (8 | 13 | 18 | 23, _) => return None,
            (14, byte) if byte.is_ascii_hexdigit() => number <<= 4,
            _ => number = number << 4 | u128::from(char::from(*byte).to_digit(16)?),
        }
    }
    Some(number)
}

/// The ids that a request carries, each with the header it stands in.
pub(crate) fn ids(headers: &HeaderMap, names: &[HeaderName]) -> Vec<(HeaderName, HeaderValue, Id)> {
    let read = |name: &HeaderName| {
        let value = headers.get(name)?;
        Some((name.clone(), value.clone(), Id::of(value)?))
    };
    names.iter().filter_map(read).collect()
}

/// An inbound request as its outbound ones need to know it.
#[derive(Debug)]
pub(crate) struct Served {
    serial: u64,
    /// What the application was given: the span that its calls are children of, and the baggage.
    pub(crate) propagated: Propagated,
    /// The request id, to be handed on.
    pub(crate) request_id: Option<(HeaderName, HeaderValue)>,
    bytes: usize,
}

/// What a request id leads to.
#[derive(Debug)]
pub(crate) enum Found {
    /// Nothing that is known.
    Nobody,
    /// One inbound request.
    One(Arc<Served>),
    /// Several of one trace; the one that came last first.
    OneTrace(Vec<Arc<Served>>),
    /// Several of different traces: no answer.
    ManyTraces(Vec<Arc<Served>>),
}

/// The inbound requests under way and those that ended a short while ago.
pub(crate) struct Table {
    inner: Mutex<Inner>,
    entries_max: usize,
    bytes_max: usize,
    linger: Duration,
}

#[derive(Default)]
struct Inner {
    by_id: HashMap<Id, Vec<Kept>>,
    in_flight: HashMap<u64, Arc<Served>>,
    /// Ended ones in the order of their end.
    ended: VecDeque<(Instant, u64, Vec<Id>, usize)>,
    next: u64,
    entries: usize,
    bytes: usize,
}

struct Kept {
    served: Arc<Served>,
    ended: bool,
}

impl Table {
    pub(crate) fn new(entries_max: usize, bytes_max: usize, linger: Duration) -> Arc<Self> {
        Arc::new(Self { inner: Mutex::default(), entries_max, bytes_max, linger })
    }

    /// Remembers an inbound request until the guard is dropped, and for the time of lingering after that. `None` where
    /// there is no room.
    pub(crate) fn begin(
        self: &Arc<Self>,
        ids: Vec<Id>,
        propagated: Propagated,
        request_id: Option<(HeaderName, HeaderValue)>,
        now: Instant,
    ) -> Option<Place> {
        let baggage: usize = propagated.baggage.items().iter().map(|item| item.key.len() + item.value.len() + 64).sum();
        let names: usize = ids.iter().map(|id| if let Id::Text(text) = id { text.len() } else { 0 }).sum();
        let bytes = ENTRY_BYTES + baggage + names;
        let mut inner = self.inner.lock();
        inner.forget(now);
        while inner.entries >= self.entries_max || inner.bytes + bytes > self.bytes_max {
            // Those under way matter more than those that have ended.
            let (_, serial, ids, bytes) = inner.ended.pop_front()?;
            inner.remove(serial, &ids, bytes);
        }
        inner.next += 1;
        let serial = inner.next;
        let served = Arc::new(Served { serial, propagated, request_id, bytes });
        inner.entries += 1;
        inner.bytes += bytes;
        inner.in_flight.insert(serial, Arc::clone(&served));
        for id in &ids {
            inner.by_id.entry(id.clone()).or_default().push(Kept { served: Arc::clone(&served), ended: false });
        }
        Some(Place { table: Arc::clone(self), served, ids })
    }

    /// Who is being served with that id; else who was a short while ago.
    pub(crate) fn find(&self, id: &Id, now: Instant) -> Found {
        let mut inner = self.inner.lock();
        inner.forget(now);
        let Some(kept) = inner.by_id.get(id) else { return Found::Nobody };
        let mut found: Vec<_> = kept.iter().filter(|kept| !kept.ended).map(|kept| Arc::clone(&kept.served)).collect();
        if found.is_empty() {
            found = kept.iter().map(|kept| Arc::clone(&kept.served)).collect();
        }
        drop(inner);
        found.sort_by_key(|served| std::cmp::Reverse(served.serial));
        let trace = |served: &Arc<Served>| served.propagated.context.as_ref().map(|context| context.trace_id);
        match found.as_slice() {
            [] => Found::Nobody,
            [one] => Found::One(Arc::clone(one)),
            [first, rest @ ..] if rest.iter().all(|other| trace(other) == trace(first)) => Found::OneTrace(found),
            _ => Found::ManyTraces(found),
        }
    }

    /// The inbound request under way, where there is exactly one.
    pub(crate) fn only(&self) -> Option<Arc<Served>> {
        let inner = self.inner.lock();
        let mut in_flight = inner.in_flight.values();
        in_flight.next().filter(|_| inner.in_flight.len() == 1).cloned()
    }

    /// Requests remembered, and how many of them are under way.
    pub(crate) fn size(&self) -> (usize, usize) {
        let inner = self.inner.lock();
        (inner.entries, inner.in_flight.len())
    }

    fn end(&self, served: &Served, ids: Vec<Id>, now: Instant) {
        let mut inner = self.inner.lock();
        inner.in_flight.remove(&served.serial);
        for id in &ids {
            for kept in inner.by_id.get_mut(id).into_iter().flatten() {
                kept.ended |= kept.served.serial == served.serial;
            }
        }
        inner.ended.push_back((now + self.linger, served.serial, ids, served.bytes));
        inner.forget(now);
    }
}

impl Inner {
    fn forget(&mut self, now: Instant) {
        while self.ended.front().is_some_and(|(until, ..)| *until <= now)
            && let Some((_, serial, ids, bytes)) = self.ended.pop_front()
        {
            self.remove(serial, &ids, bytes);
        }
    }

    fn remove(&mut self, serial: u64, ids: &[Id], bytes: usize) {
        self.entries = self.entries.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(bytes);
        for id in ids {
            if let Some(kept) = self.by_id.get_mut(id) {
                kept.retain(|kept| kept.served.serial != serial);
                if kept.is_empty() {
                    self.by_id.remove(id);
                }
            }
        }
    }
}

/// Keeps an inbound request among those under way.
pub(crate) struct Place {
    table: Arc<Table>,
    served: Arc<Served>,
    ids: Vec<Id>,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.table.end(&self.served, std::mem::take(&mut self.ids), Instant::now());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tracewell_propagate::{Context, SpanId, TraceId};

    fn id(text: &str) -> Id {
        Id::of(&HeaderValue::from_bytes(text.as_bytes()).unwrap()).unwrap()
    }

    fn of(trace: u8, span: u8) -> Propagated {
        let context = Context { trace_id: TraceId([trace; 16]), span_id: SpanId([span; 8]), ..Context::default() };
        Propagated { context: Some(context), ..Propagated::default() }
    }

    fn spans(found: &Found) -> (&'static str, Vec<u8>) {
        let span = |served: &Arc<Served>| served.propagated.context.as_ref().unwrap().span_id.0[0];
        match found {
            Found::Nobody => ("nobody", vec![]),
            Found::One(one) => ("one", vec![span(one)]),
            Found::OneTrace(all) => ("one trace", all.iter().map(span).collect()),
            Found::ManyTraces(all) => ("many traces", all.iter().map(span).collect()),
        }
    }

    #[test]
    fn uuids_match_without_their_version_digit() {
        let uuid = id("6BA7B810-9dad-41d1-80b4-00c04fd430c8");
        assert_eq!(uuid, id("6ba7b810-9dad-91d1-80b4-00c04fd430c8"));
        assert_ne!(uuid, id("6ba7b810-9dad-41d1-80b4-00c04fd430c9"));
        assert_eq!(id(" a\u{fc} "), Id::Text("a\u{fc}".as_bytes().into()));
        assert_ne!(id("6ba7b810x9dad-41d1-80b4-00c04fd430c8"), uuid);
        for bad in ["", "  ", &"x".repeat(257)] {
            assert_eq!(Id::of(&HeaderValue::from_str(bad).unwrap()), None, "{bad:?}");
        }
    }

    #[test]
    fn those_under_way_come_before_those_that_ended_and_doubt_is_told() {
        let table = Table::new(100, 1 << 20, Duration::from_secs(5));
        let now = Instant::now();
        let begin = |name: &str, propagated| table.begin(vec![id(name)], propagated, None, now);
        let find = |name: &str, at| spans(&table.find(&id(name), at));
        assert_eq!(find("a", now), ("nobody", vec![]));
        let first = begin("a", of(1, 1));
        assert_eq!(find("a", now), ("one", vec![1]));
        assert_eq!(spans(&Found::One(table.only().unwrap())), ("one", vec![1]));
        let second = begin("a", of(1, 2));
        assert_eq!(find("a", now), ("one trace", vec![2, 1]));
        assert!(table.only().is_none());
        let third = begin("a", of(3, 3));
        assert_eq!(find("a", now), ("many traces", vec![3, 2, 1]));
        drop((first, third));
        assert_eq!(find("a", now), ("one", vec![2]));
        drop(second);
        assert_eq!(find("a", now).0, "many traces");
        assert_eq!(find("a", Instant::now() + Duration::from_secs(6)), ("nobody", vec![]));
        assert_eq!((table.size(), table.inner.lock().by_id.len()), ((0, 0), 0));
        assert_eq!(table.inner.lock().bytes, 0);
    }

    #[test]
    fn the_table_is_bounded_and_gives_up_the_ended_first() {
        let table = Table::new(2, 1 << 20, Duration::from_secs(5));
        let now = Instant::now();
        let begin = |name: &str| table.begin(vec![id(name)], of(1, 1), None, now);
        let (first, second) = (begin("a"), begin("b"));
        assert!(first.is_some() && begin("c").is_none(), "both are under way");
        drop(second);
        let third = begin("c");
        assert!(third.is_some());
        assert_eq!(spans(&table.find(&id("b"), now)).0, "nobody");
        assert_eq!(table.size(), (2, 2));
        let narrow = Table::new(100, ENTRY_BYTES + 10, Duration::ZERO);
        assert!(narrow.begin(vec![id("a")], of(1, 1), None, now).is_some());
        assert!(narrow.begin(vec![id(&"x".repeat(200))], of(1, 1), None, now).is_none());
    }
}
