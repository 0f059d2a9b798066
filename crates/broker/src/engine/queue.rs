//! One queue: messages in order, and the consumers that could take one.
//!
//! Knows nothing of channels, prefetch, the wire or the store; whether a consumer may really take a message is asked
//! elsewhere, and so is what must leave memory.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use amq_protocol::types::FieldTable;

use super::entry::Entry;
use super::queue_arguments::QueueArguments;
use super::ready::Ready;
use super::upkeep::Upkeep;
use super::willing::Willing;
use super::{ChannelKey, ConnectionId, ConsumerId, VhostId};
use crate::identity::{MessageId, Timestamp};
use crate::message::{MESSAGE_OVERHEAD_BYTES, Message};
use crate::store::{Log, RecoveredEntry};

/// What a queue did since it was declared or the broker started, in messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct QueueTotals {
    /// Routed into the queue.
    pub published: u64,
    /// Handed to consumers and to `basic.get`, redeliveries included.
    pub delivered: u64,
    /// Of those, handed out before.
    pub redelivered: u64,
    /// Acknowledged, or delivered without the need to be.
    pub acknowledged: u64,
}

/// A queue.
#[derive(Debug)]
pub(super) struct Queue {
    pub(super) name: Arc<str>,
    pub(super) vhost: VhostId,
    pub(super) durable: bool,
    pub(super) auto_delete: bool,
    /// The one connection that may use the queue, and with which it ends.
    pub(super) owner: Option<ConnectionId>,
    pub(super) arguments: Arc<FieldTable>,
    /// What the arguments mean.
    pub(super) settings: QueueArguments,
    ready: Ready,
    /// What is to be done about it when its turn comes.
    pub(super) upkeep: Upkeep,
    /// Delivered and not yet settled.
    pub(super) unacknowledged: usize,
    pub(super) consumers: BTreeSet<ConsumerId>,
    /// Whether the one consumer asked to be the only one.
    pub(super) exclusive_consumer: bool,
    /// Consumers that may be able to take a message, the next one first. The others are parked until something
    /// that held them up changes, so that a queue with many busy consumers does not ask them all for each message.
    pub(super) willing: Willing,
    /// The one consumer that gets messages, if others are to wait.
    pub(super) active: Option<ConsumerId>,
    /// Whether messages of this queue are on their way from disk.
    pub(super) loading: bool,
    /// Channels that wait for that or for its upkeep.
    pub(super) waiting: Vec<ChannelKey>,
    pub(super) totals: QueueTotals,
}

impl Queue {
    pub(super) fn new(name: Arc<str>, vhost: VhostId) -> Self {
        Self {
            name,
            vhost,
            durable: false,
            auto_delete: false,
            owner: None,
            arguments: Arc::default(),
            settings: QueueArguments::default(),
            ready: Ready::new(0),
            upkeep: Upkeep::default(),
            unacknowledged: 0,
            consumers: BTreeSet::new(),
            exclusive_consumer: false,
            willing: Willing::default(),
            active: None,
            loading: false,
            waiting: Vec::new(),
            totals: QueueTotals::default(),
        }
    }

    /// Takes its optional arguments, as they came and as what they mean; before its first message.
    pub(super) fn set_arguments(&mut self, arguments: FieldTable, settings: QueueArguments) {
        self.ready = Ready::new(settings.max_priority);
        (self.arguments, self.settings) = (arguments.into(), settings);
    }

    /// Whether it outlives the broker: durable, and not tied to a connection.
    pub(super) fn survives(&self) -> bool {
        self.durable && self.owner.is_none()
    }

    /// Messages that wait for a consumer.
    pub(super) fn ready_count(&self) -> usize {
        self.ready.count
    }

    /// Octets of the messages that wait, in memory or not: properties and bodies, or bodies alone where those are bounded.
    pub(super) fn ready_bytes(&self) -> usize {
        match self.settings.max_length_bytes {
            None => self.ready.bytes - self.ready.count * MESSAGE_OVERHEAD_BYTES,
            Some(_) => self.ready.bytes,
        }
    }

    /// Gives a new message its level, its expiry and its weight in this queue.
    pub(super) fn admit(&self, entry: &mut Entry, message: &Message) {
        entry.level = message.priority.min(self.settings.max_priority);
        entry.expires_at = self.settings.expires_at(message.published_at, entry.expires_at);
        if self.settings.max_length_bytes.is_some() {
            entry.weight = body_weight(message);
        }
    }

    /// What a message from before the last restart weighs in this queue.
    pub(super) fn restored_weight(&self, recovered: &RecoveredEntry) -> u32 {
        if self.settings.max_length_bytes.is_some() { recovered.body } else { recovered.weight }
    }

    /// Whether one more message with such a body is too much.
    pub(super) fn would_overflow(&self, body: usize) -> bool {
        self.settings.is_too_much(self.ready.count + 1, self.ready.bytes + body)
    }

    /// Whether more messages wait than may.
    pub(super) fn overflows(&self) -> bool {
        self.settings.is_too_much(self.ready.count, self.ready.bytes)
    }

    /// When a message expires next.
    pub(super) fn next_expiry(&self) -> Timestamp {
        self.ready.next_expiry()
    }

    /// Takes a message that is to expire by now, to drop it.
    pub(super) fn pop_expired(&mut self, now: Timestamp) -> Option<Entry> {
        self.ready.pop_expired(now)
    }

    /// The message whose turn it is.
    pub(super) fn front(&self) -> Option<&Entry> {
        self.ready.front()
    }

    /// Appends a message.
    pub(super) fn push(&mut self, entry: Entry) {
        self.totals.published += 1;
        self.ready.push(entry);
    }

    /// Appends a message from before the last restart.
    pub(super) fn restore(&mut self, entry: Entry) {
        self.ready.push(entry);
    }

    /// Takes the first message, to deliver it.
    pub(super) fn pop_to_deliver(&mut self) -> Option<Entry> {
        let entry = self.ready.pop()?;
        self.totals.delivered += 1;
        self.totals.redelivered += u64::from(entry.redelivered());
        Some(entry)
    }

    /// Takes the first message, to drop it.
    pub(super) fn pop_to_drop(&mut self) -> Option<Entry> {
        self.ready.pop()
    }

    /// Puts messages back where they were, marked as given out before.
    pub(super) fn requeue(&mut self, mut entries: Vec<Entry>) {
        for entry in &mut entries {
            entry.returned = entry.returned.saturating_add(1);
        }
        self.ready.put_back(entries);
    }

    /// Takes out all messages that wait.
    pub(super) fn purge(&mut self) -> VecDeque<Entry> {
        self.ready.take_all()
    }

    /// All messages that wait or are to become dead letters, in no particular order.
    pub(super) fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.ready.levels.iter().flatten().chain(self.upkeep.dying.iter())
    }

    /// Lets a message leave memory that waits at this level, unless it is among the next to be delivered.
    pub(super) fn unload(&mut self, id: MessageId, level: u8, keep: usize) {
        let Some(level) = self.ready.levels.get_mut(usize::from(level)) else { return };
        if let Ok(at) = level.binary_search_by_key(&id, |entry| entry.id)
            && at >= keep
        {
            level[at].message = None;
        }
    }

    /// Which messages to read from disk so that the next `count` can be dead-lettered and delivered; no more than `octets`, but at
    /// least one.
    pub(super) fn missing(&self, count: usize, octets: usize) -> Vec<(Log, MessageId)> {
        let mut left = octets;
        let dying = self.upkeep.dying.iter().take(count);
        let next = dying.chain(self.ready.levels.iter().rev().flatten().take(count));
        let next = next.filter(|entry| entry.message.is_none());
        let affordable = next.enumerate().take_while(|(at, entry)| {
            let fits = *at == 0 || entry.weight as usize <= left;
            left = left.saturating_sub(entry.weight as usize);
            fits
        });
        affordable.filter_map(|(_, entry)| Some((entry.stored?, entry.id))).collect()
    }

    /// Whether the message this far behind the first is on disk only.
    pub(super) fn is_missing_at(&self, at: usize) -> bool {
        let highest = self.ready.levels.iter().rev().find(|level| !level.is_empty());
        highest.and_then(|level| level.get(at)).is_some_and(|entry| entry.message.is_none())
    }

    /// Gives a message back its content.
    pub(super) fn loaded(&mut self, id: MessageId, message: Arc<Message>) {
        if let Some(entry) = self.upkeep.dying.find(id).or_else(|| self.ready.find(id)) {
            entry.message = Some(message);
        }
    }

    /// Takes out a message by its id, if it waits or is to be dead-lettered.
    pub(super) fn remove(&mut self, id: MessageId) -> Option<Entry> {
        self.upkeep.dying.remove(id).or_else(|| self.ready.remove(id))
    }

    /// Forgets a consumer; its unacknowledged messages are not the queue's business.
    pub(super) fn remove_consumer(&mut self, consumer: ConsumerId) {
        self.consumers.remove(&consumer);
        self.willing.remove(consumer);
        self.active.take_if(|active| *active == consumer);
        self.exclusive_consumer &= !self.consumers.is_empty();
    }
}

/// What a message counts for in a queue that bounds the octets of bodies.
fn body_weight(message: &Message) -> u32 {
    u32::try_from(message.content.body().len()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::super::tests::message;
    use super::*;
    use proptest::prelude::*;

    fn entry(id: u64) -> Entry {
        Entry::new(MessageId(id), message(&id.to_be_bytes()), None)
    }

    fn queue(messages: u64) -> Queue {
        let mut queue = Queue::new("q".into(), VhostId(0));
        (0..messages).for_each(|id| queue.push(entry(id)));
        queue
    }

    fn drain(queue: &mut Queue) -> Vec<(u64, bool)> {
        std::iter::from_fn(|| queue.pop_to_deliver()).map(|entry| (entry.id.0, entry.redelivered())).collect()
    }

    #[test]
    fn a_requeued_message_returns_to_its_place() {
        let mut queue = queue(4);
        let mut taken: Vec<_> = (0..3).filter_map(|_| queue.pop_to_deliver()).collect();
        queue.requeue(vec![taken.remove(2)]);
        queue.requeue(vec![taken.remove(0)]);
        queue.requeue(taken);
        assert_eq!(drain(&mut queue), [(0, true), (1, true), (2, true), (3, false)]);
        assert_eq!(queue.ready_bytes(), 0);
    }

    proptest! {
        #[test]
        fn order_is_kept_through_any_requeues(
            taken in 1usize..30, groups in proptest::collection::vec(any::<proptest::sample::Index>(), 30),
        ) {
            let mut queue = queue(40);
            let mut batches: Vec<Vec<Entry>> = (0..5).map(|_| Vec::new()).collect();
            for group in groups.iter().take(taken) {
                let entry = queue.pop_to_deliver().unwrap();
                let at = group.index(batches.len());
                batches[at].push(entry);
            }
            batches.into_iter().for_each(|batch| queue.requeue(batch));
            let expected: Vec<_> = (0..40).map(|at| (at, at < taken as u64)).collect();
            prop_assert_eq!(drain(&mut queue), expected);
        }
    }
}
