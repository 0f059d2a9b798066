//! Deliveries: from a queue to its consumers in turn, and to `basic.get`.
//!
//! A consumer that cannot take a message (its prefetch, its channel's prefetch, or the unsent backlog of its
//! connection) is parked and asked again only when one of these has changed. Does not know what a backlog is made of.

use std::sync::Arc;

use amq_protocol::protocol::AMQPClass;
use amq_protocol::protocol::basic::{AMQPMethod as Basic, Get, GetEmpty};

use super::channel::{ChannelState, Unacknowledged};
use super::{ChannelKey, ConnectionId, ConsumerId, Engine, Outbound, QueueId};
use crate::exception::Exception;

impl Engine {
    /// Delivers what can be delivered from a queue.
    pub(super) fn pump(&mut self, queue_id: QueueId) {
        while let Some(queue) = self.queues.get_mut(&queue_id).filter(|queue| queue.ready_count() > 0) {
            let Some(id) = queue.willing.pop_front() else { return };
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
        let Some(consumer) = self.consumers.get_mut(&id) else { return };
        let key = consumer.channel;
        let Some(connection) = self.connections.get_mut(&key.connection) else { return };
        let Some(ChannelState::Open(channel)) = connection.channels.get_mut(&key.number) else { return };
        let Some(queue) = self.queues.get_mut(&queue_id) else { return };
        queue.willing.push_back(id);
        let Some(entry) = queue.pop() else { return };
        let (message, redelivered) = (entry.message.clone(), entry.redelivered);
        let delivery_tag = if consumer.no_ack {
            self.held_bytes -= message.weight();
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

    pub(super) fn get(&mut self, key: ChannelKey, get: &Get) -> Result<(), Exception> {
        let (queue_id, _) = self.queue_for(key, get.queue.as_str())?;
        let Some(queue) = self.queues.get_mut(&queue_id) else { return Ok(()) };
        let Some(entry) = queue.pop() else {
            self.reply(key, AMQPClass::Basic(Basic::GetEmpty(GetEmpty {})));
            return Ok(());
        };
        let message_count = u32::try_from(queue.ready_count()).unwrap_or(u32::MAX);
        let (message, redelivered) = (entry.message.clone(), entry.redelivered);
        if get.no_ack {
            queue.totals.acknowledged += 1;
            self.held_bytes -= message.weight();
        } else {
            queue.unacknowledged += 1;
        }
        let channel = self.open_channel_or(key)?;
        let delivery_tag = if get.no_ack {
            channel.next_delivery_tag()
        } else {
            channel.remember(Unacknowledged { queue: queue_id, consumer: None, entry })
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
        for number in channels {
            self.wake_channel(ChannelKey { connection: id, number });
        }
    }

    /// Asks all parked consumers of a channel again.
    pub(super) fn wake_channel(&mut self, key: ChannelKey) {
        let Some(channel) = self.open_channel(key) else { return };
        let consumers: Vec<_> = channel.consumers.values().copied().collect();
        for consumer in consumers {
            if let Some(queue) = self.wake(consumer) {
                self.pump(queue);
            }
        }
    }

    /// Puts a parked consumer back into its queue's round; the queue is to be pumped then.
    pub(super) fn wake(&mut self, id: ConsumerId) -> Option<QueueId> {
        let consumer = self.consumers.get_mut(&id).filter(|consumer| consumer.parked)?;
        consumer.parked = false;
        self.queues.get_mut(&consumer.queue)?.willing.push_back(id);
        Some(consumer.queue)
    }
}
