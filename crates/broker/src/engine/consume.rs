//! Consumers: `basic.consume`, `basic.cancel`, `basic.qos`, and the end of a consumer whose queue goes.
//!
//! Does not know when a consumer gets a message (`deliver`).

use std::sync::Arc;

use amq_protocol::protocol::AMQPClass;
use amq_protocol::protocol::basic::{AMQPMethod as Basic, Cancel, CancelOk, Consume, ConsumeOk, Qos, QosOk};

use super::channel::Consumer;
use super::{ChannelKey, ConsumerId, Engine, QueueId};
use crate::exception::Exception;

impl Engine {
    pub(super) fn qos(&mut self, key: ChannelKey, qos: &Qos) -> Result<(), Exception> {
        let channel = self.open_channel_or(key)?;
        if qos.global {
            channel.channel_prefetch = qos.prefetch_count;
        } else {
            channel.consumer_prefetch = qos.prefetch_count;
        }
        self.reply(key, AMQPClass::Basic(Basic::QosOk(QosOk {})));
        if qos.global {
            self.wake_channel(key);
        }
        Ok(())
    }

    pub(super) fn consume(&mut self, key: ChannelKey, consume: Consume) -> Result<(), Exception> {
        let (queue_id, name) = self.queue_for(key, consume.queue.as_str())?;
        let limit = self.limits.consumers;
        let tag = match consume.consumer_tag.as_str() {
            "" => self.names.next("amq.ctag"),
            tag => tag.to_owned(),
        };
        let channel = self.open_channel_or(key)?;
        if channel.consumers.contains_key(tag.as_str()) {
            return Err(Exception::ConsumerTagInUse(tag));
        }
        if channel.consumers.len() >= limit {
            return Err(Exception::TooManyConsumers(limit));
        }
        let prefetch = channel.consumer_prefetch;
        let vhost = self.vhost(key)?.name.to_string();
        let id = ConsumerId(self.next_id());
        let Some(queue) = self.queues.get_mut(&queue_id) else { return Ok(()) };
        if queue.exclusive_consumer || consume.exclusive && !queue.consumers.is_empty() {
            return Err(Exception::ExclusiveUse { name: name.to_string(), vhost });
        }
        queue.exclusive_consumer = consume.exclusive;
        queue.consumers.insert(id);
        queue.willing.push_back(id);
        let tag: Arc<str> = tag.into();
        tracing::debug!(?key, consumer_tag = &*tag, queue = &*name, "consumer");
        let no_ack = consume.no_ack;
        let consumer = Consumer {
            tag: tag.clone(),
            channel: key,
            queue: queue_id,
            no_ack,
            prefetch,
            outstanding: 0,
            parked: false,
        };
        self.consumers.insert(id, consumer);
        self.open_channel_or(key)?.consumers.insert(tag.clone(), id);
        let consumer_tag = (&*tag).into();
        self.reply_unless(consume.nowait, key, AMQPClass::Basic(Basic::ConsumeOk(ConsumeOk { consumer_tag })));
        self.pump(queue_id);
        Ok(())
    }

    pub(super) fn cancel(&mut self, key: ChannelKey, cancel: Cancel) -> Result<(), Exception> {
        let consumer = self.open_channel_or(key)?.consumers.remove(cancel.consumer_tag.as_str());
        let queue = consumer.and_then(|consumer| self.remove_consumer(consumer));
        let ok = CancelOk { consumer_tag: cancel.consumer_tag };
        self.reply_unless(cancel.nowait, key, AMQPClass::Basic(Basic::CancelOk(ok)));
        if let Some(queue) = queue {
            self.remove_if_abandoned(queue);
        }
        Ok(())
    }

    /// Forgets a consumer that its channel has forgotten already, and returns its queue. What was delivered to it
    /// stays with the channel.
    pub(super) fn remove_consumer(&mut self, consumer: ConsumerId) -> Option<QueueId> {
        let removed = self.consumers.remove(&consumer)?;
        self.queues.get_mut(&removed.queue)?.remove_consumer(consumer);
        Some(removed.queue)
    }

    /// Ends a consumer because its queue ends, and tells the client if it wants to know.
    pub(super) fn cancel_by_server(&mut self, consumer: ConsumerId) {
        let Some(removed) = self.consumers.remove(&consumer) else { return };
        let key = removed.channel;
        if let Some(channel) = self.open_channel(key) {
            channel.consumers.remove(&removed.tag);
        }
        if self.connections.get(&key.connection).is_some_and(|c| c.client.consumer_cancel_notify) {
            let cancel = Cancel { consumer_tag: (&*removed.tag).into(), nowait: true };
            self.reply(key, AMQPClass::Basic(Basic::Cancel(cancel)));
        }
    }
}
