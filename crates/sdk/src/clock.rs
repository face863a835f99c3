//! Time by one cheap reading: the monotonic clock, and how far it is from the wall clock.
//!
//! A span needs its start in wall-clock time and a duration that no adjustment of the clock can spoil. So
//! each moment is read from the monotonic clock alone; the distance between the two clocks is kept beside and
//! looked at again by the exporter's thread now and then, because wall clocks are set.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// A difference below this is noise of the measurement: correcting it would only make children begin
/// before their parents.
const NOISE_NS: u64 = 100_000;

/// Two readings of the monotonic clock this close together have a good reading of the wall clock between them.
const BRACKET_MAX: Duration = Duration::from_micros(5);

/// Attempts to get a good reading.
const ATTEMPTS: usize = 8;

static BEGIN: LazyLock<Instant> = LazyLock::new(Instant::now);

/// Nanoseconds from the Unix epoch to [`BEGIN`]; 0 until it has been measured.
static EPOCH_NS: AtomicU64 = AtomicU64::new(0);

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// Nanoseconds since some moment of this process, never running backwards.
pub(crate) fn monotonic_ns() -> u64 {
    let since = BEGIN.elapsed();
    since.as_secs().wrapping_mul(1_000_000_000).wrapping_add(u64::from(since.subsec_nanos()))
}

/// Nanoseconds since the Unix epoch of a [`monotonic_ns`].
pub(crate) fn unix_ns(monotonic_ns: u64) -> u64 {
    let epoch = match EPOCH_NS.load(Ordering::Relaxed) {
        0 => adjust(),
        epoch => epoch,
    };
    epoch.saturating_add(monotonic_ns)
}

/// Compares the clocks; returns nanoseconds from the Unix epoch to [`BEGIN`].
pub(crate) fn adjust() -> u64 {
    let mut best = (Duration::MAX, 0);
    for _ in 0..ATTEMPTS {
        let before = BEGIN.elapsed();
        let wall = nanoseconds(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default());
        let bracket = BEGIN.elapsed().saturating_sub(before);
        if bracket < best.0 {
            best = (bracket, wall.saturating_sub(nanoseconds(before + bracket / 2)));
        }
        if bracket <= BRACKET_MAX {
            break;
        }
    }
    let (known, measured) = (EPOCH_NS.load(Ordering::Relaxed), best.1.max(1));
    if known.abs_diff(measured) < NOISE_NS {
        return known;
    }
    EPOCH_NS.store(measured, Ordering::Relaxed);
    measured
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_is_that_of_the_wall_clock_and_never_runs_backwards() {
        let wall = nanoseconds(SystemTime::now().duration_since(UNIX_EPOCH).unwrap());
        let first = monotonic_ns();
        assert!(unix_ns(first).abs_diff(wall) < 5_000_000_000);
        let epoch = adjust();
        assert!(adjust().abs_diff(epoch) < 5_000_000_000);
        assert!(monotonic_ns() >= first);
    }
}
