//! One clock per process. It does not know the clocks of other machines, nor how far they are off.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Nanoseconds since the Unix epoch that never run backwards: the wall clock is read once, and the monotonic
/// clock counts from there. Two processes on one machine agree to within microseconds, as both clocks of a
/// machine tick at the same rate; only a step of the wall clock between their starts shows as an offset.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    wall_ns: u64,
    anchor: Instant,
}

impl Clock {
    /// Reads the wall clock.
    #[must_use]
    pub fn start() -> Self {
        // The wall clock is read between two readings of the monotonic clock, so that being preempted in
        // between does not become an offset; the closest of a few tries counts.
        let mut best: Option<(Duration, Self)> = None;
        for _ in 0..5 {
            let before = Instant::now();
            let wall = SystemTime::now();
            let gap = before.elapsed();
            let wall_ns = wall.duration_since(UNIX_EPOCH).map_or(0, nanos);
            if best.as_ref().is_none_or(|(least, _)| gap < *least) {
                best = Some((gap, Self { wall_ns, anchor: before + gap / 2 }));
            }
        }
        best.map_or(Self { wall_ns: 0, anchor: Instant::now() }, |(_, clock)| clock)
    }

    /// Now, in nanoseconds since the Unix epoch.
    #[must_use]
    pub fn now_ns(&self) -> u64 {
        self.wall_ns + nanos(self.anchor.elapsed())
    }

    /// The instant at which [`Clock::now_ns`] gives `at_ns`; the anchor for times before it.
    #[must_use]
    pub fn instant_of(&self, at_ns: u64) -> Instant {
        self.anchor + Duration::from_nanos(at_ns.saturating_sub(self.wall_ns))
    }
}

/// Whole nanoseconds; a `u64` of them lasts 584 years.
#[must_use]
pub fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_and_nanoseconds_agree() {
        let clock = Clock::start();
        let now = clock.now_ns();
        assert_eq!(clock.instant_of(now + 1000) - clock.instant_of(now), Duration::from_micros(1));
        assert!(clock.now_ns() >= now);
    }
}
