//! Settlements: acknowledge, reject, requeue, recover.
//!
//! Does not know how tags are kept (`channel`) or in which order a queue takes messages back (`queue`).

use std::collections::BTreeMap;

use amq_protocol::protocol::AMQPClass;
use amq_protocol::protocol::basic::{AMQPMethod as Basic, RecoverOk};

use super::channel::Unacknowledged;
use super::message::Entry;
use super::{ChannelKey, Engine, QueueId};
use crate::exception::Exception;

impl Engine {
    pub(super) fn ack(&mut self, key: ChannelKey, tag: u64, multiple: bool) -> Result<(), Exception> {
        let settled = self.open_channel_or(key)?.settle(tag, multiple)?;
        for delivery in &settled {
            self.held_bytes -= delivery.entry.message.weight();
            if let Some(queue) = self.queues.get_mut(&delivery.queue) {
                queue.unacknowledged -= 1;
                queue.totals.acknowledged += 1;
            }
        }
        self.make_room(key, &settled);
        Ok(())
    }

    pub(super) fn nack(&mut self, key: ChannelKey, tag: u64, multiple: bool, requeue: bool) -> Result<(), Exception> {
        let settled = self.open_channel_or(key)?.settle(tag, multiple)?;
        self.lower_outstanding(&settled);
        let consumers: Vec<_> = settled.iter().filter_map(|delivery| delivery.consumer).collect();
        if requeue {
            self.requeue(settled);
        } else {
            self.discard(&settled);
        }
        self.wake_settled(key, consumers);
        Ok(())
    }

    pub(super) fn recover(&mut self, key: ChannelKey, requeue: bool, answer: bool) -> Result<(), Exception> {
        if !requeue {
            return Err(Exception::NotImplemented("recover with requeue=false"));
        }
        let settled = self.open_channel_or(key)?.settle_all();
        self.lower_outstanding(&settled);
        if answer {
            self.reply(key, AMQPClass::Basic(Basic::RecoverOk(RecoverOk {})));
        }
        let consumers: Vec<_> = settled.iter().filter_map(|delivery| delivery.consumer).collect();
        self.requeue(settled);
        self.wake_settled(key, consumers);
        Ok(())
    }

    /// Puts deliveries, already taken out of their channels, back into their queues. Those of a queue that is gone
    /// are gone with it.
    pub(super) fn requeue(&mut self, settled: Vec<Unacknowledged>) {
        let mut by_queue: BTreeMap<QueueId, Vec<Entry>> = BTreeMap::new();
        for delivery in settled {
            by_queue.entry(delivery.queue).or_default().push(delivery.entry);
        }
        for (id, entries) in by_queue {
            match self.queues.get_mut(&id) {
                Some(queue) => {
                    queue.unacknowledged -= entries.len();
                    queue.requeue(entries);
                    self.pump(id);
                }
                None => self.held_bytes -= entries.iter().map(|entry| entry.message.weight()).sum::<usize>(),
            }
        }
    }

    fn discard(&mut self, settled: &[Unacknowledged]) {
        for delivery in settled {
            self.held_bytes -= delivery.entry.message.weight();
            if let Some(queue) = self.queues.get_mut(&delivery.queue) {
                queue.unacknowledged -= 1;
            }
        }
    }

    fn make_room(&mut self, key: ChannelKey, settled: &[Unacknowledged]) {
        self.lower_outstanding(settled);
        self.wake_settled(key, settled.iter().filter_map(|delivery| delivery.consumer).collect());
    }

    fn lower_outstanding(&mut self, settled: &[Unacknowledged]) {
        for id in settled.iter().filter_map(|delivery| delivery.consumer) {
            if let Some(consumer) = self.consumers.get_mut(&id) {
                consumer.outstanding -= 1;
            }
        }
    }

    /// Settling may have made room for the consumers that had the deliveries, and under a limit on the channel for
    /// all of its consumers.
    fn wake_settled(&mut self, key: ChannelKey, mut consumers: Vec<super::ConsumerId>) {
        if self.open_channel(key).is_some_and(|channel| channel.channel_prefetch > 0) {
            self.wake_channel(key);
            return;
        }
        consumers.dedup();
        for consumer in consumers {
            if let Some(queue) = self.wake(consumer) {
                self.pump(queue);
            }
        }
    }
}
