//! Whose messages wait at a broker. It says how many, not of which run they are, so a count is a run's only when
//! nobody else's messages can be among them. It does not know what the messages are.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use crosstalk_contract::RunId;
use lapin::types::ShortString;

use crate::Link;

/// The runs of one paradigm that share queues, at each broker; cheap to clone. Bounded by the number of brokers,
/// as only the newest run at each can have the queues to itself.
#[derive(Clone, Default)]
pub struct Outstanding(Arc<Mutex<BTreeMap<String, Shared>>>);

/// The queues of the paradigm at one broker.
#[derive(Default)]
struct Shared {
    /// Held by each run that publishes.
    publishing: Arc<()>,
    /// The newest run, when the queues were its own as it began.
    alone: Option<Alone>,
}

/// A run that found the queues empty and unused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Alone {
    run: RunId,
    generation: u64,
}

/// To be held while a run publishes.
#[must_use]
pub struct Publishing(#[expect(dead_code, reason = "counted, not read")] Arc<()>);

impl Outstanding {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Shared>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that a run begins to publish. From now on no earlier run has these queues to itself.
    pub async fn begin(&self, link: &Link, queues: &[ShortString], run: RunId) -> Publishing {
        // Read before the queues are asked for: a broker that is lost in between may have lost messages, too.
        let generation = link.generation();
        let publishing = self.enter(link.broker(), run, generation);
        if link.waiting_in(queues).await != Some(0) {
            self.shares(link.broker(), run);
        }
        publishing
    }

    /// How many messages of a run wait in these queues; `None` when that cannot be known. Nothing is certain: then
    /// nothing of this run waits either.
    pub async fn waiting(&self, link: &Link, queues: &[ShortString], run: RunId) -> Option<u64> {
        let waiting = link.waiting_in(queues).await?;
        // Read after the queues were asked for, for the same reason.
        (waiting == 0 || self.is_alone(link.broker(), run, link.generation())).then_some(waiting)
    }

    fn enter(&self, broker: &str, run: RunId, generation: u64) -> Publishing {
        let mut all = self.lock();
        let shared = all.entry(broker.to_owned()).or_default();
        let unused = Arc::strong_count(&shared.publishing) == 1;
        shared.alone = unused.then_some(Alone { run, generation });
        Publishing(Arc::clone(&shared.publishing))
    }

    /// What waited before the run is not its own.
    fn shares(&self, broker: &str, run: RunId) {
        if let Some(shared) = self.lock().get_mut(broker) {
            shared.alone = shared.alone.filter(|alone| alone.run != run);
        }
    }

    fn is_alone(&self, broker: &str, run: RunId, generation: u64) -> bool {
        self.lock().get(broker).is_some_and(|shared| shared.alone == Some(Alone { run, generation }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_run_that_nobody_shares_the_queues_with_can_be_told_apart() {
        let [first, second, third] = [1, 2, 3].map(RunId::from_low_bits);
        let runs = Outstanding::default();
        let publishing = runs.enter("b", first, 1);
        assert!(runs.is_alone("b", first, 1));
        // An in-memory broker may be empty after it was connected to again.
        assert!(!runs.is_alone("b", first, 2));
        let elsewhere = runs.enter("c", second, 1);
        assert!(runs.is_alone("b", first, 1) && runs.is_alone("c", second, 1));
        // At the same time: neither.
        let overlapping = runs.enter("b", second, 1);
        assert!(!runs.is_alone("b", first, 1) && !runs.is_alone("b", second, 1));
        // The second has ended, the first goes on.
        drop((overlapping, elsewhere));
        drop(runs.enter("b", third, 1));
        assert!(!runs.is_alone("b", third, 1));
        drop(publishing);
        drop(runs.enter("b", third, 1));
        assert!(runs.is_alone("b", third, 1));
        runs.shares("b", third);
        assert!(!runs.is_alone("b", third, 1));
    }
}
