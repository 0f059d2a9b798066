//! Single active consumer (RabbitMQ's extension): a queue that delivers to one consumer at a time, though others wait
//! to take over.
//!
//! The next one, by priority and then by age, takes over when the active one is gone; nobody is replaced before. Does
//! not know what a consumer can take.

use std::cmp::Reverse;

use super::{Engine, QueueId};

impl Engine {
    /// Makes one of the waiting consumers the active one if there is none.
    pub(super) fn elect(&mut self, id: QueueId) {
        let Some(queue) = self.queues.get_mut(&id) else { return };
        if queue.active.is_some() || queue.consumers.is_empty() || !queue.settings.single_active_consumer {
            return;
        }
        let waiting = queue.consumers.iter().filter_map(|id| Some((self.consumers.get(id)?.priority, Reverse(*id))));
        if let Some((priority, Reverse(next))) = waiting.max() {
            queue.active = Some(next);
            queue.willing.add(priority, next);
        }
    }
}
