//! Deliveries: from a queue to its consumers in turn, and to `basic.get`.
//!
//! A consumer that cannot take a message (its prefetch, its channel's prefetch, or the unsent backlog of its
//! connection) is parked and asked again only when one of these has changed. Does not know what a backlog is made of.

use std::sync::Arc;

use amq_protocol::protocol::AMQPClass;
use amq_protocol::protocol::basic::{AMQPMethod as Basic, Get, GetEmpty};

use super::access::Access;
use super::channel::{ChannelState, Unacknowledged};
use super::entry::Entry;
use super::{ChannelKey, Command, ConnectionId, ConsumerId, Engine, Outbound, QueueId};
use crate::exception::Exception;
use crate::message::Message;

impl Engine {
    /// Delivers what can be delivered from a queue.
    pub(super) fn pump(&mut self, queue_id: QueueId) {
        let (now, arriving) = (self.now, self.arriving);
        self.elect(queue_id);
        while let Some(queue) = self.queues.get_mut(&queue_id) {
            let Some(front) = queue.front().filter(|_| !queue.willing.is_empty()) else { return };
            if front.has_expired(now, arriving) {
                self.look_after(queue_id);
                return;
            }
            if front.message.is_none() {
                self.load(queue_id);
                return;
            }
            let Some(id) = queue.willing.next() else { return };
            if self.can_take(id) {
                self.deliver(id, queue_id);
            } else if let Some(consumer) = self.consumers.get_mut(&id) {
                consumer.parked = true;
            }
        }
    }

    /// Whether nothing holds the consumer up. Notes congestion of its connection, so that it is woken after.
    fn can_take(&mut self, consumer: ConsumerId) -> bool {
        let Some(consumer) = self.consumers.get(&consumer) else { return false };
        let Some(connection) = self.connections.get_mut(&consumer.channel.connection) else { return false };
        let Some(ChannelState::Open(channel)) = connection.channels.get(&consumer.channel.number) else { return false };
        if connection.backlog > self.limits.delivery_bytes {
            connection.congested = true;
            return false;
        }
        consumer.has_room() && (consumer.no_ack || channel.has_room())
    }

    /// Hands the queue's first message to a consumer, who goes to the end of the round.
    fn deliver(&mut self, id: ConsumerId, queue_id: QueueId) {
        let Some((message, entry)) = self.take_front(queue_id) else { return };
        let Some(consumer) = self.consumers.get_mut(&id) else { return };
        let key = consumer.channel;
        let Some(connection) = self.connections.get_mut(&key.connection) else { return };
        let Some(ChannelState::Open(channel)) = connection.channels.get_mut(&key.number) else { return };
        let Some(queue) = self.queues.get_mut(&queue_id) else { return };
        queue.willing.add(consumer.priority, id);
        let redelivered = entry.redelivered();
        let delivery_tag = if consumer.no_ack {
            self.entries -= 1;
            self.storage.remove(queue_id, &entry);
            queue.totals.acknowledged += 1;
            channel.next_delivery_tag()
        } else {
            consumer.outstanding += 1;
            queue.unacknowledged += 1;
            channel.remember(Unacknowledged { queue: queue_id, consumer: Some(id), entry })
        };
        let consumer_tag = Arc::clone(&consumer.tag);
        let outbound = Outbound::Deliver { channel: key.number, consumer_tag, delivery_tag, redelivered, message };
        connection.backlog += outbound.cost();
        self.send(key.connection, outbound);
    }

    /// Takes a queue's first message, which is in memory, to give it to a client. What is kept of it until it is
    /// settled stays in memory only if there is room.
    fn take_front(&mut self, queue_id: QueueId) -> Option<(Arc<Message>, Entry)> {
        let queue = self.queues.get_mut(&queue_id)?;
        let mut entry = queue.pop_to_deliver()?;
        let (counted, unwatched) = (queue.tells_count_of(&entry), queue.expires_unwatched());
        let mut message = Arc::clone(entry.message.as_ref()?);
        if counted {
            message = self.with_delivery_count(&message, entry.returned);
        }
        if self.memory_is_short() && self.storage.can_be_read(&entry) {
            entry.message = None;
        }
        self.read_ahead(queue_id);
        if unwatched {
            self.watch_expiry(queue_id);
        }
        Some((message, entry))
    }

    pub(super) fn get(&mut self, key: ChannelKey, get: Get) -> Result<(), Exception> {
        let (queue_id, _) = self.queue_for(key, get.queue.as_str(), Access::Read)?;
        self.touch(queue_id);
        let (now, arriving) = (self.now, self.arriving);
        let Some(queue) = self.queues.get_mut(&queue_id) else { return Ok(()) };
        match queue.front() {
            None => {
                self.reply(key, AMQPClass::Basic(Basic::GetEmpty(GetEmpty {})));
                return Ok(());
            }
            Some(front) if front.has_expired(now, arriving) => {
                let method = Box::new(AMQPClass::Basic(Basic::Get(get)));
                self.wait_for_upkeep(key, queue_id, Command::Method { channel: key, method });
                return Ok(());
            }
            Some(front) if front.message.is_none() => {
                let method = Box::new(AMQPClass::Basic(Basic::Get(get)));
                self.wait_for_load(key, queue_id, Command::Method { channel: key, method });
                return Ok(());
            }
            Some(_) => {}
        }
        let Some((message, entry)) = self.take_front(queue_id) else { return Ok(()) };
        let Some(queue) = self.queues.get_mut(&queue_id) else { return Ok(()) };
        let message_count = u32::try_from(queue.ready_count()).unwrap_or(u32::MAX);
        let redelivered = entry.redelivered();
        let delivery_tag = if get.no_ack {
            queue.totals.acknowledged += 1;
            self.entries -= 1;
            self.storage.remove(queue_id, &entry);
            self.open_channel_or(key)?.next_delivery_tag()
        } else {
            queue.unacknowledged += 1;
            self.open_channel_or(key)?.remember(Unacknowledged { queue: queue_id, consumer: None, entry })
        };
        let outbound = Outbound::GetOk { channel: key.number, delivery_tag, redelivered, message_count, message };
        self.send(key.connection, outbound);
        Ok(())
    }

    /// Deliveries have left towards a client: once half the bound is free, its consumers are asked again.
    pub(super) fn drained(&mut self, id: ConnectionId, bytes: usize) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        connection.backlog = connection.backlog.saturating_sub(bytes);
        if !connection.congested || connection.backlog > self.limits.delivery_bytes / 2 {
            return;
        }
        connection.congested = false;
        let channels: Vec<_> = connection.channels.keys().copied().collect();
        let queues = channels.into_iter().flat_map(|number| self.wake_channel(ChannelKey { connection: id, number }));
        let queues = queues.collect();
        self.pump_all(queues);
    }

    /// Delivers what can be delivered from queues that may be named more than once.
    pub(super) fn pump_all(&mut self, mut queues: Vec<QueueId>) {
        queues.dedup();
        queues.into_iter().for_each(|queue| self.pump(queue));
    }

    /// Puts all parked consumers of a channel back into their queues' rounds; these queues are to be pumped then, but
    /// not before all consumers are back, or one of a lower priority would come first.
    pub(super) fn wake_channel(&mut self, key: ChannelKey) -> Vec<QueueId> {
        let consumers = self.open_channel(key).map(|channel| channel.consumers.values().copied().collect::<Vec<_>>());
        self.wake(consumers.unwrap_or_default())
    }

    /// As [`Self::wake_channel`], for some consumers.
    pub(super) fn wake(&mut self, consumers: impl IntoIterator<Item = ConsumerId>) -> Vec<QueueId> {
        let mut queues = Vec::new();
        for id in consumers {
            let Some(consumer) = self.consumers.get_mut(&id).filter(|consumer| consumer.parked) else { continue };
            consumer.parked = false;
            if let Some(queue) = self.queues.get_mut(&consumer.queue) {
                queue.willing.add(consumer.priority, id);
                queues.push(consumer.queue);
            }
        }
        queues
    }
}
