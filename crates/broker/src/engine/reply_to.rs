//! Direct reply-to (RabbitMQ's extension): answers to a request go straight to the channel that asked, without a queue.
//!
//! A client consumes from a queue that does not exist and names it in `reply-to`; the broker replaces the name by an
//! address of that channel, to which anyone may publish through the default exchange. Nothing is kept: an answer to a
//! client that is gone, or does not take what it was sent already, is dropped, and returned if it is mandatory. Does
//! not know how a message is routed otherwise.

use std::sync::Arc;

use amq_protocol::protocol::AMQPClass;
use amq_protocol::protocol::basic::{AMQPMethod as Basic, CancelOk, Consume, ConsumeOk};
use amq_protocol::protocol::queue::{AMQPMethod as Queues, Declare, DeclareOk};

use super::channel::Channel;
use super::{ChannelKey, Engine, Outbound};
use crate::exception::Exception;
use crate::frame::Content;
use crate::message::Message;

/// The queue that clients name.
pub(super) const REPLY_QUEUE: &str = "amq.rabbitmq.reply-to";
/// What all addresses begin with.
const ADDRESS_PREFIX: &str = "amq.rabbitmq.reply-to.";

/// A channel's consumer of answers.
#[derive(Debug)]
pub(super) struct ReplyConsumer {
    tag: Arc<str>,
    address: Arc<str>,
}

/// Whether a queue of this name is answered here.
pub(super) fn is_reply_queue(name: &str) -> bool {
    name.strip_prefix(REPLY_QUEUE).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

impl Engine {
    pub(super) fn consume_replies(&mut self, key: ChannelKey, consume: &Consume) -> Result<(), Exception> {
        let tag: Arc<str> = match consume.consumer_tag.as_str() {
            "" => self.names.next("amq.ctag").into(),
            tag => tag.into(),
        };
        let address: Arc<str> = format!("{ADDRESS_PREFIX}{}", self.names.token()).into();
        let limit = self.limits.consumers;
        let channel = self.open_channel_or(key)?;
        if channel.is_tag_used(&tag) {
            return Err(Exception::ConsumerTagInUse(tag.to_string()));
        }
        if channel.consumers.len() >= limit {
            return Err(Exception::TooManyConsumers(limit));
        }
        if !consume.no_ack {
            return Err(Exception::Precondition("reply consumer cannot acknowledge"));
        }
        if channel.replies.is_some() {
            return Err(Exception::Precondition("reply consumer already set"));
        }
        channel.replies = Some(ReplyConsumer { tag: tag.clone(), address: address.clone() });
        self.reply_consumers.insert(address, key);
        let consumer_tag = (&*tag).into();
        self.reply_unless(consume.nowait, key, AMQPClass::Basic(Basic::ConsumeOk(ConsumeOk { consumer_tag })));
        Ok(())
    }

    /// Ends the consumer of answers if it has this tag; `false` if it has not.
    pub(super) fn cancel_replies(&mut self, key: ChannelKey, tag: &str, nowait: bool) -> bool {
        let Some(channel) = self.open_channel(key) else { return false };
        let Some(replies) = channel.replies.take_if(|replies| *replies.tag == *tag) else { return false };
        self.reply_consumers.remove(&replies.address);
        let ok = CancelOk { consumer_tag: tag.into() };
        self.reply_unless(nowait, key, AMQPClass::Basic(Basic::CancelOk(ok)));
        true
    }

    /// Ends the consumer of answers of a channel that ends.
    pub(super) fn end_replies(&mut self, channel: &mut Channel) {
        if let Some(replies) = channel.replies.take() {
            self.reply_consumers.remove(&replies.address);
        }
    }

    /// Answers whether an address still leads to somebody; the queue that clients name always exists.
    pub(super) fn declare_reply_queue(&mut self, key: ChannelKey, declare: &Declare) -> Result<(), Exception> {
        let name = declare.queue.as_str();
        if name != REPLY_QUEUE && !self.reply_consumers.contains_key(name) {
            return Err(self.vhost(key)?.not_found("queue", name));
        }
        let ok = DeclareOk { queue: name.into(), message_count: 0, consumer_count: 1 };
        self.reply_unless(declare.nowait, key, AMQPClass::Queue(Queues::DeclareOk(ok)));
        Ok(())
    }

    /// The content with the channel's address in place of the name of the queue, if it has that name in `reply-to`.
    pub(super) fn with_reply_address(
        &mut self,
        key: ChannelKey,
        reply_to: Option<&[u8]>,
        content: &Content,
    ) -> Result<Option<Content>, Exception> {
        if reply_to != Some(REPLY_QUEUE.as_bytes()) {
            return Ok(None);
        }
        const NO_CONSUMER: Exception = Exception::Precondition("fast reply consumer does not exist");
        let replies = self.open_channel_or(key)?.replies.as_ref().ok_or(NO_CONSUMER)?;
        Ok(Some(content.with_reply_to(&replies.address)))
    }

    /// The routing key of a message, published to the default exchange on some channel, as an address that leads to
    /// somebody: in the same virtual host, and as long as they take what they are sent.
    pub(super) fn reply_address(&self, from: ChannelKey, routing_key: &str) -> Option<Arc<str>> {
        if !routing_key.starts_with(ADDRESS_PREFIX) {
            return None;
        }
        let (address, key) = self.reply_consumers.get_key_value(routing_key)?;
        let (asked, answers) = (self.connections.get(&key.connection)?, self.connections.get(&from.connection)?);
        // There is no queue in which an answer could wait; RabbitMQ lets them pile up in memory.
        let takes = asked.backlog <= self.limits.delivery_bytes + self.limits.reply_bytes;
        (takes && asked.vhost == answers.vhost).then(|| Arc::clone(address))
    }

    /// Hands a message to the consumer of answers at this address, if it is still there.
    pub(super) fn deliver_reply(&mut self, address: &str, message: &Arc<Message>) {
        let Some(&key) = self.reply_consumers.get(address) else { return };
        let Some(channel) = self.open_channel(key) else { return };
        let Some(replies) = &channel.replies else { return };
        let (consumer_tag, message) = (Arc::clone(&replies.tag), Arc::clone(message));
        let delivery_tag = channel.next_delivery_tag();
        let outbound =
            Outbound::Deliver { channel: key.number, consumer_tag, delivery_tag, redelivered: false, message };
        if let Some(connection) = self.connections.get_mut(&key.connection) {
            connection.backlog += outbound.cost();
            self.send(key.connection, outbound);
        }
    }
}

impl Channel {
    /// Whether there is a consumer of this tag.
    pub(super) fn is_tag_used(&self, tag: &str) -> bool {
        self.consumers.contains_key(tag) || self.replies.as_ref().is_some_and(|replies| *replies.tag == *tag)
    }
}
