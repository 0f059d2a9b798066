//! Settlements: acknowledge, reject, requeue, recover.
//!
//! Does not know how tags are kept (`channel`) or in which order a queue takes messages back (`queue`).

use std::collections::BTreeMap;

use amq_protocol::protocol::AMQPClass;
use amq_protocol::protocol::basic::{AMQPMethod as Basic, RecoverOk};

use super::channel::Unacknowledged;
use super::dead_letter::Reason;
use super::entry::Entry;
use super::{ChannelKey, Engine, QueueId};
use crate::exception::Exception;

/// What becomes of deliveries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Settlement {
    Acknowledge,
    /// They go back to their places.
    Requeue,
    /// They are refused for good.
    Discard,
}

impl Engine {
    pub(super) fn ack(&mut self, key: ChannelKey, tag: u64, multiple: bool) -> Result<(), Exception> {
        self.settle_tags(key, tag, multiple, Settlement::Acknowledge)
    }

    pub(super) fn nack(&mut self, key: ChannelKey, tag: u64, multiple: bool, requeue: bool) -> Result<(), Exception> {
        let settlement = if requeue { Settlement::Requeue } else { Settlement::Discard };
        self.settle_tags(key, tag, multiple, settlement)
    }

    fn settle_tags(&mut self, key: ChannelKey, tag: u64, multiple: bool, how: Settlement) -> Result<(), Exception> {
        let channel = self.open_channel_or(key)?;
        if !channel.settle_later(tag, multiple, how)? {
            let settled = channel.settle(tag, multiple)?;
            self.settle(key, settled, how);
        }
        Ok(())
    }

    /// Settles deliveries that were already taken out of their channel.
    pub(super) fn settle(&mut self, key: ChannelKey, settled: Vec<Unacknowledged>, how: Settlement) {
        self.lower_outstanding(&settled);
        let queues = self.wake_settled(key, &settled);
        match how {
            Settlement::Acknowledge => self.acknowledge(&settled),
            Settlement::Requeue => self.requeue(settled),
            Settlement::Discard => self.reject(settled),
        }
        self.pump_all(queues);
    }

    fn acknowledge(&mut self, settled: &[Unacknowledged]) {
        for delivery in settled {
            self.release(delivery.queue, &delivery.entry);
            if let Some(queue) = self.queues.get_mut(&delivery.queue) {
                queue.unacknowledged -= 1;
                queue.totals.acknowledged += 1;
            }
        }
    }

    pub(super) fn recover(&mut self, key: ChannelKey, requeue: bool, answer: bool) -> Result<(), Exception> {
        if !requeue {
            return Err(Exception::NotImplemented("requeue=false"));
        }
        let settled = self.open_channel_or(key)?.settle_all();
        self.lower_outstanding(&settled);
        if answer {
            self.reply(key, AMQPClass::Basic(Basic::RecoverOk(RecoverOk {})));
        }
        let queues = self.wake_settled(key, &settled);
        self.requeue(settled);
        self.pump_all(queues);
        Ok(())
    }

    /// Puts deliveries, already taken out of their channels, back into their queues. Those of a queue that is gone
    /// are gone with it.
    pub(super) fn requeue(&mut self, settled: Vec<Unacknowledged>) {
        let mut by_queue: BTreeMap<QueueId, Vec<Entry>> = BTreeMap::new();
        for delivery in settled {
            by_queue.entry(delivery.queue).or_default().push(delivery.entry);
        }
        for (id, mut entries) in by_queue {
            match self.queues.get_mut(&id) {
                Some(queue) => {
                    queue.unacknowledged -= entries.len();
                    let spent = queue.take_spent(&mut entries);
                    queue.requeue(entries);
                    for entry in spent {
                        self.bury(id, entry, Reason::DeliveryLimit);
                    }
                    self.pump(id);
                    self.check_room(id);
                }
                None => self.forget(id, &entries),
            }
        }
    }

    fn reject(&mut self, settled: Vec<Unacknowledged>) {
        for delivery in settled {
            if let Some(queue) = self.queues.get_mut(&delivery.queue) {
                queue.unacknowledged -= 1;
            }
            self.bury(delivery.queue, delivery.entry, Reason::Rejected);
        }
    }

    /// Lets go of messages that a queue no longer has.
    pub(super) fn forget(&mut self, queue: QueueId, entries: &[Entry]) {
        entries.iter().for_each(|entry| self.release(queue, entry));
    }

    fn lower_outstanding(&mut self, settled: &[Unacknowledged]) {
        for id in settled.iter().filter_map(|delivery| delivery.consumer) {
            if let Some(consumer) = self.consumers.get_mut(&id) {
                consumer.outstanding -= 1;
            }
        }
    }

    /// Settling may have made room for the consumers that had the deliveries, and under a limit on the channel for
    /// all of its consumers; the queues that are to be pumped for it.
    fn wake_settled(&mut self, key: ChannelKey, settled: &[Unacknowledged]) -> Vec<QueueId> {
        if self.open_channel(key).is_some_and(|channel| channel.channel_prefetch > 0) {
            return self.wake_channel(key);
        }
        self.wake(settled.iter().filter_map(|delivery| delivery.consumer))
    }
}
