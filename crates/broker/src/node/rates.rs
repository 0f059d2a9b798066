//! How fast queues move: what their totals became since somebody looked before.
//!
//! Nothing is measured while nobody looks. Does not know where the totals come from.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::{QueueSnapshot, QueueTotals};

/// The shortest time a rate is taken over: those who look at the same moment see the same, and single messages do not
/// look like storms.
const SPAN_MIN: Duration = Duration::from_secs(1);

/// Messages per second of one queue.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(super) struct QueueRates {
    /// Routed into the queue.
    published: f64,
    /// Handed out, redeliveries included.
    delivered: f64,
    /// Settled for good.
    acknowledged: f64,
    /// The time these are averages over, in seconds.
    over_s: f64,
}

/// What was seen at the last looks.
#[derive(Debug, Default)]
pub(super) struct Rates(Mutex<Option<Looks>>);

#[derive(Debug)]
struct Looks {
    earlier: Option<Look>,
    last: Look,
}

#[derive(Debug)]
struct Look {
    at: Instant,
    /// By virtual host and name; as many as there are queues.
    totals: HashMap<(String, String), QueueTotals>,
}

impl Rates {
    /// Rates of queues in their order; `None` for one that was not there when somebody looked before.
    pub(super) fn of(&self, queues: &[QueueSnapshot], now: Instant) -> Vec<Option<QueueRates>> {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_old = |look: &Look| now.duration_since(look.at) >= SPAN_MIN;
        *seen = Some(match seen.take() {
            Some(Looks { last, .. }) if is_old(&last) => Looks { earlier: Some(last), last: Look::new(queues, now) },
            Some(looks) => looks,
            None => Looks { earlier: None, last: Look::new(queues, now) },
        });
        let earlier = seen.as_ref().and_then(|looks| looks.earlier.as_ref());
        queues.iter().map(|queue| earlier?.rates(queue, now)).collect()
    }
}

impl Look {
    fn new(queues: &[QueueSnapshot], at: Instant) -> Self {
        Self { at, totals: queues.iter().map(|queue| (key(queue), queue.totals)).collect() }
    }

    fn rates(&self, queue: &QueueSnapshot, now: Instant) -> Option<QueueRates> {
        let (before, after) = (self.totals.get(&key(queue))?, queue.totals);
        let over_s = now.duration_since(self.at).as_secs_f64();
        // A queue that was deleted and declared again counts from 0: nothing can be said of it yet.
        let rate = |before: u64, after: u64| after.checked_sub(before).map(|more| more as f64 / over_s);
        Some(QueueRates {
            published: rate(before.published, after.published)?,
            delivered: rate(before.delivered, after.delivered)?,
            acknowledged: rate(before.acknowledged, after.acknowledged)?,
            over_s,
        })
    }
}

fn key(queue: &QueueSnapshot) -> (String, String) {
    (queue.vhost.clone(), queue.name.clone())
}

#[cfg(test)]
mod tests {
    use super::super::metrics::tests::queue;
    use super::*;

    fn seen(published: u64) -> Vec<QueueSnapshot> {
        vec![QueueSnapshot { totals: QueueTotals { published, ..QueueTotals::default() }, ..queue("q", 0) }]
    }

    #[test]
    fn rates_are_averages_since_an_earlier_look() {
        let (rates, start) = (Rates::default(), Instant::now());
        let after = |milliseconds| start + Duration::from_millis(milliseconds);
        let published = |count, at| rates.of(&seen(count), after(at))[0].map(|rates| (rates.published, rates.over_s));
        assert_eq!(published(100, 0), None);
        assert_eq!(published(150, 500), None, "too early");
        assert_eq!(published(300, 2_000), Some((100.0, 2.0)));
        assert_eq!(published(350, 2_500), Some((100.0, 2.5)), "the look before is too new");
        assert_eq!(published(500, 4_000), Some((100.0, 2.0)));
        assert_eq!(published(3, 6_000), None, "declared again");
    }
}
