//! Ways between services that take long compared with the other ways, where no other time tells what is usual: networks
//! are alike, services are not.

use super::profile::Place;

/// A way takes long if it takes this many times as long as nine in ten other ways …
const FACTOR: u64 = 10;

/// … of which there are at least so many, …
const OTHERS_MIN: usize = 5;

/// … and this share of the time.
pub(super) const SHARE_MIN: f64 = 0.2;

/// The longest of some ways, if it takes much longer than the others, and what nine in ten of these take at most. Times in
/// nanoseconds; places that are no ways are passed over.
pub(super) fn long(places: impl Iterator<Item = (Place, u64)>) -> Option<(Place, u64)> {
    let mut ways: Vec<(u64, Place)> =
        places.filter(|(place, _)| matches!(place, Place::Hop { .. })).map(|(place, ns)| (ns, place)).collect();
    ways.sort_unstable();
    let (longest, way) = ways.pop()?;
    let most = ways.get(ways.len() * 9 / 10)?.0;
    (ways.len() >= OTHERS_MIN && longest > most.saturating_mul(FACTOR)).then_some((way, most))
}
