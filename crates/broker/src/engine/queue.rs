//! One queue: messages in order, and the consumers that could take one.
//!
//! Knows nothing of channels, prefetch or the wire; whether a consumer may really take a message is asked elsewhere.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use amq_protocol::types::FieldTable;

use super::message::{Entry, Message};
use super::{ConnectionId, ConsumerId, VhostId};

/// What a queue did since it was declared, in messages.
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
    pub(super) arguments: FieldTable,
    /// In the order of positions.
    ready: VecDeque<Entry>,
    ready_bytes: usize,
    next_position: u64,
    /// Delivered and not yet settled.
    pub(super) unacknowledged: usize,
    pub(super) consumers: BTreeSet<ConsumerId>,
    /// Whether the one consumer asked to be the only one.
    pub(super) exclusive_consumer: bool,
    /// Consumers that may be able to take a message, the next one first. The others are parked until something
    /// that held them up changes, so that a queue with many busy consumers does not ask them all for each message.
    pub(super) willing: VecDeque<ConsumerId>,
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
            arguments: FieldTable::default(),
            ready: VecDeque::new(),
            ready_bytes: 0,
            next_position: 0,
            unacknowledged: 0,
            consumers: BTreeSet::new(),
            exclusive_consumer: false,
            willing: VecDeque::new(),
            totals: QueueTotals::default(),
        }
    }

    /// Messages that wait for a consumer.
    pub(super) fn ready_count(&self) -> usize {
        self.ready.len()
    }

    /// What the messages that wait weigh, in octets.
    pub(super) fn ready_bytes(&self) -> usize {
        self.ready_bytes
    }

    /// Appends a message.
    pub(super) fn push(&mut self, message: Arc<Message>) {
        self.ready_bytes += message.weight();
        self.totals.published += 1;
        self.ready.push_back(Entry { position: self.next_position, message, redelivered: false });
        self.next_position += 1;
    }

    /// Takes the first message, to deliver it.
    pub(super) fn pop(&mut self) -> Option<Entry> {
        let entry = self.ready.pop_front()?;
        self.ready_bytes -= entry.message.weight();
        self.totals.delivered += 1;
        self.totals.redelivered += u64::from(entry.redelivered);
        Some(entry)
    }

    /// Puts messages back where they were, marked as redelivered.
    pub(super) fn requeue(&mut self, mut entries: Vec<Entry>) {
        entries.sort_unstable_by_key(|entry| entry.position);
        for entry in &mut entries {
            entry.redelivered = true;
            self.ready_bytes += entry.message.weight();
        }
        let (Some(first), Some(last)) = (entries.first(), entries.last()) else { return };
        if self.ready.front().is_none_or(|front| last.position < front.position) {
            for entry in entries.into_iter().rev() {
                self.ready.push_front(entry);
            }
        } else if first.position == last.position {
            let at = self.ready.partition_point(|ready| ready.position < first.position);
            self.ready.extend(entries);
            // The one that was appended, rotated to its place.
            self.ready.make_contiguous()[at..].rotate_right(1);
        } else {
            self.ready.extend(entries);
            // Two ascending runs: the sort merges them in linear time.
            self.ready.make_contiguous().sort_by_key(|entry| entry.position);
        }
    }

    /// Drops all messages that wait, and returns how many there were and what they weighed.
    pub(super) fn purge(&mut self) -> (usize, usize) {
        let count = self.ready.len();
        self.ready.clear();
        (count, std::mem::take(&mut self.ready_bytes))
    }

    /// Forgets a consumer; its unacknowledged messages are not the queue's business.
    pub(super) fn remove_consumer(&mut self, consumer: ConsumerId) {
        self.consumers.remove(&consumer);
        self.willing.retain(|willing| *willing != consumer);
        self.exclusive_consumer &= !self.consumers.is_empty();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::Content;
    use proptest::prelude::*;

    fn message(body: u64) -> Arc<Message> {
        let content = Content::new(&[0, 0], &body.to_be_bytes());
        Arc::new(Message { exchange: "".into(), routing_key: "q".into(), content })
    }

    fn queue(messages: u64) -> Queue {
        let mut queue = Queue::new("q".into(), VhostId(0));
        (0..messages).for_each(|body| queue.push(message(body)));
        queue
    }

    fn drain(queue: &mut Queue) -> Vec<(u64, bool)> {
        std::iter::from_fn(|| queue.pop()).map(|entry| (entry.position, entry.redelivered)).collect()
    }

    #[test]
    fn a_requeued_message_returns_to_its_place() {
        let mut queue = queue(4);
        let mut taken: Vec<_> = (0..3).filter_map(|_| queue.pop()).collect();
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
                let entry = queue.pop().unwrap();
                let at = group.index(batches.len());
                batches[at].push(entry);
            }
            batches.into_iter().for_each(|batch| queue.requeue(batch));
            let expected: Vec<_> = (0..40).map(|at| (at, at < taken as u64)).collect();
            prop_assert_eq!(drain(&mut queue), expected);
        }
    }
}
