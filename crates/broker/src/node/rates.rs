//! How fast queues move: averages over the last 5 to 10 s, whoever asks and however often.
//!
//! The totals of all queues are taken every 5 s, and the last two samples kept. Does not know where the totals come
//! from.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde::Serialize;
use tokio::time::{MissedTickBehavior, interval};

use crate::engine::QueueSample;
use crate::{Broker, QueueSnapshot};

/// The time between two samples. RabbitMQ's value.
const SAMPLE_EVERY: Duration = Duration::from_secs(5);
/// How many samples are kept: the older one is 5 to 10 s old, the newer one knows the queues that are new.
const SAMPLES: usize = 2;
/// The shortest time a rate is taken over, for a queue that only the newer sample knows: single messages are not to
/// look like storms.
const SPAN_MIN: Duration = Duration::from_secs(1);
/// With more queues than this, samples are taken only while somebody looks: up to here, one costs less than a
/// millisecond.
const QUEUES_UNWATCHED_MAX: usize = 10_000;
/// How long after the last look somebody still counts as looking.
const WATCHED_FOR: Duration = Duration::from_mins(5);

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

/// The last samples.
#[derive(Debug, Default)]
pub(super) struct Rates(Mutex<Seen>);

#[derive(Debug, Default)]
struct Seen {
    /// Oldest first.
    samples: VecDeque<Sample>,
    /// How many queues there were last.
    queues: usize,
    /// When somebody looked last.
    looked: Option<Instant>,
}

#[derive(Debug)]
struct Sample {
    at: Instant,
    /// Ascending by queue.
    totals: Vec<QueueSample>,
}

/// Takes a broker's samples as long as there is one.
pub(super) async fn keep(rates: Arc<Rates>, broker: Broker) {
    let mut ticks = interval(SAMPLE_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        if rates.rests(Instant::now()) {
            continue;
        }
        let Ok(totals) = broker.queue_samples().await else { return };
        rates.note(totals, Instant::now());
    }
}

impl Rates {
    /// Rates of queues in their order; `None` for one that no sample knows that is old enough.
    pub(super) fn of(&self, queues: &[QueueSnapshot], now: Instant) -> Vec<Option<QueueRates>> {
        let mut seen = self.seen();
        seen.looked = Some(now);
        let old_enough = |sample: &&Sample| now.duration_since(sample.at) >= SPAN_MIN;
        let rates = |queue| seen.samples.iter().filter(old_enough).find_map(|sample| sample.rates(queue, now));
        queues.iter().map(rates).collect()
    }

    fn note(&self, totals: Vec<QueueSample>, at: Instant) {
        let mut seen = self.seen();
        seen.queues = totals.len();
        seen.samples.push_back(Sample { at, totals });
        let superfluous = seen.samples.len().saturating_sub(SAMPLES);
        seen.samples.drain(..superfluous);
    }

    /// Whether a sample would cost more than it is worth. What there was is forgotten then: it would make rates over a
    /// time that has nothing to do with the one who asks.
    fn rests(&self, now: Instant) -> bool {
        let mut seen = self.seen();
        let watched = seen.looked.is_some_and(|looked| now.duration_since(looked) < WATCHED_FOR);
        let rests = seen.queues > QUEUES_UNWATCHED_MAX && !watched;
        if rests {
            seen.samples = VecDeque::new();
        }
        rests
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sample {
    fn rates(&self, queue: &QueueSnapshot, now: Instant) -> Option<QueueRates> {
        let at = self.totals.binary_search_by_key(&queue.id, |(id, _)| *id).ok()?;
        let (before, after) = (self.totals.get(at)?.1, queue.totals);
        let over_s = now.duration_since(self.at).as_secs_f64();
        // A snapshot that was under way while the sample was taken may be the older one.
        let rate = |before: u64, after: u64| in_thousandths(after.saturating_sub(before) as f64 / over_s);
        Some(QueueRates {
            published: rate(before.published, after.published),
            delivered: rate(before.delivered, after.delivered),
            acknowledged: rate(before.acknowledged, after.acknowledged),
            over_s: in_thousandths(over_s),
        })
    }
}

/// Rounded: what is read by people needs no more digits.
fn in_thousandths(figure: f64) -> f64 {
    (figure * 1000.0).round() / 1000.0
}

#[cfg(test)]
mod tests {
    use super::super::metrics::tests::queue;
    use super::*;
    use crate::QueueTotals;
    use crate::identity::QueueId;

    fn totals(published: u64) -> QueueTotals {
        QueueTotals { published, ..QueueTotals::default() }
    }

    #[test]
    fn rates_are_over_the_older_of_the_last_two_samples_whoever_looked_when() {
        let (rates, start) = (Rates::default(), Instant::now());
        let after = |seconds| start + Duration::from_secs(seconds);
        let look = |id, published, at| {
            let queues = [QueueSnapshot { id: QueueId(id), totals: totals(published), ..queue("q", 0) }];
            rates.of(&queues, after(at))[0].map(|rates| (rates.published, rates.over_s))
        };
        assert_eq!(look(1, 0, 0), None, "nothing is known");
        rates.note(vec![(QueueId(1), totals(100))], after(1));
        assert_eq!(look(1, 150, 1), None, "too early");
        assert_eq!(look(1, 300, 3), Some((100.0, 2.0)), "the only one");
        rates.note(vec![(QueueId(1), totals(500)), (QueueId(2), totals(0))], after(6));
        assert_eq!(look(1, 600, 6), Some((100.0, 5.0)));
        assert_eq!(look(1, 1000, 10), Some((100.0, 9.0)));
        assert_eq!(look(2, 40, 10), Some((10.0, 4.0)), "the older one does not know it");
        assert_eq!(look(3, 40, 10), None, "declared since");
        rates.note(vec![(QueueId(1), totals(1000))], after(11));
        assert_eq!(look(1, 1500, 16), Some((100.0, 10.0)), "only two are kept");
    }

    #[test]
    fn many_queues_are_sampled_while_somebody_looks() {
        let (rates, start) = (Rates::default(), Instant::now());
        let many = || (0..=QUEUES_UNWATCHED_MAX as u64).map(|id| (QueueId(id), totals(0))).collect::<Vec<_>>();
        let looked = |at| rates.of(&[QueueSnapshot { id: QueueId(7), ..queue("q", 0) }], at)[0].is_some();
        rates.note(many(), start);
        assert!(rates.rests(start) && !looked(start + SPAN_MIN), "a sample of before");
        assert!(!rates.rests(start + WATCHED_FOR));
        rates.note(many(), start + WATCHED_FOR);
        assert!(looked(start + WATCHED_FOR + SPAN_MIN));
        assert!(rates.rests(start + 3 * WATCHED_FOR));
        rates.note(many()[1..].to_vec(), start);
        assert!(!rates.rests(start + 3 * WATCHED_FOR));
    }
}
