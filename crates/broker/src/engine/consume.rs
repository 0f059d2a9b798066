//! Consumers: `basic.consume`, `basic.cancel`, `basic.qos`, and the end of a consumer whose queue goes.
//!
//! Does not know when a consumer gets a message (`deliver`).

use std::sync::Arc;

use amq_protocol::protocol::AMQPClass;
use amq_protocol::protocol::basic::{AMQPMethod as Basic, Cancel, CancelOk, Consume, ConsumeOk, Qos, QosOk};
use amq_protocol::types::FieldTable;

use super::access::Access;
use super::argument_text::type_name;
use super::channel::Consumer;
use super::headers::integer;
use super::reply_to::REPLY_QUEUE;
use super::willing::Priority;
use super::{ChannelKey, ConsumerId, Engine, QueueId};
use crate::exception::Exception;

/// The argument of `basic.consume` that says who comes first.
const PRIORITY: &str = "x-priority";

/// The priority that a consumer asks for.
///
/// # Errors
/// What is wrong with the argument, in RabbitMQ's words.
fn priority(arguments: &FieldTable) -> Result<Priority, String> {
    let Some(value) = arguments.inner().get(PRIORITY) else { return Ok(0) };
    integer(value).ok_or_else(|| format!("\"expected integer, got {}\"", type_name(value)))
}

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
            let queues = self.wake_channel(key);
            self.pump_all(queues);
        }
        Ok(())
    }

    pub(super) fn consume(&mut self, key: ChannelKey, consume: Consume) -> Result<(), Exception> {
        if consume.queue.as_str() == REPLY_QUEUE {
            return self.consume_replies(key, &consume);
        }
        let (queue_id, name) = self.queue_for(key, consume.queue.as_str(), Access::Read)?;
        let limit = self.limits.consumers;
        let tag = match consume.consumer_tag.as_str() {
            "" => self.names.next("amq.ctag"),
            tag => tag.to_owned(),
        };
        let channel = self.open_channel_or(key)?;
        if channel.is_tag_used(&tag) {
            return Err(Exception::ConsumerTagInUse(tag));
        }
        if channel.consumers.len() >= limit {
            return Err(Exception::TooManyConsumers(limit));
        }
        let prefetch = channel.consumer_prefetch;
        let vhost = self.vhost(key)?.name.to_string();
        let priority = priority(&consume.arguments).map_err(|reason| Exception::InvalidArgument {
            arg: PRIORITY.into(),
            kind: "queue",
            name: (*name).into(),
            vhost: vhost.as_str().into(),
            reason: reason.into(),
        })?;
        let id = ConsumerId(self.next_id());
        let Some(queue) = self.queues.get_mut(&queue_id) else { return Ok(()) };
        let single_active = queue.settings.single_active_consumer;
        if queue.exclusive_consumer || consume.exclusive && (single_active || !queue.consumers.is_empty()) {
            return Err(Exception::ExclusiveUse { name: name.to_string(), vhost });
        }
        queue.exclusive_consumer = consume.exclusive;
        queue.consumers.insert(id);
        if !single_active {
            queue.willing.add(priority, id);
        }
        let tag: Arc<str> = tag.into();
        tracing::debug!(?key, consumer_tag = &*tag, queue = &*name, "consumer");
        let no_ack = consume.no_ack;
        let consumer = Consumer {
            tag: tag.clone(),
            channel: key,
            queue: queue_id,
            no_ack,
            priority,
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
        if self.cancel_replies(key, cancel.consumer_tag.as_str(), cancel.nowait) {
            return Ok(());
        }
        let consumer = self.open_channel_or(key)?.consumers.remove(cancel.consumer_tag.as_str());
        let queue = consumer.and_then(|consumer| self.remove_consumer(consumer));
        let ok = CancelOk { consumer_tag: cancel.consumer_tag };
        self.reply_unless(cancel.nowait, key, AMQPClass::Basic(Basic::CancelOk(ok)));
        if let Some(queue) = queue {
            self.remove_if_abandoned(queue);
            self.pump(queue);
        }
        Ok(())
    }

    /// Forgets a consumer that its channel has forgotten already, and returns its queue. What was delivered to it
    /// stays with the channel.
    pub(super) fn remove_consumer(&mut self, consumer: ConsumerId) -> Option<QueueId> {
        let removed = self.consumers.remove(&consumer)?;
        let queue = self.queues.get_mut(&removed.queue)?;
        queue.remove_consumer(consumer);
        if queue.consumers.is_empty() {
            self.touch(removed.queue);
        }
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
