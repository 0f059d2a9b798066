//! A message comes in: routed, returned if nobody wants it, put into queues, confirmed when it is safe there.
//!
//! Does not know by which rule an exchange chooses (`exchange`), who gets the message (`deliver`) or how it is stored.

use std::sync::Arc;

use amq_protocol::protocol::basic::Publish;

use super::dead_letter::Reason;
use super::entry::Entry;
use super::exchange::Routed;
use super::expiration::parse_expiration;
use super::extra_keys::ExtraKeys;
use super::queue::Queue;
use super::queue_arguments::Overflow;
use super::transactions::HeldPublish;
use super::{ChannelKey, Engine, Outbound};
use crate::exception::Exception;
use crate::frame::{Content, PropertyView};
use crate::identity::{MessageId, QueueId};
use crate::message::{Message, Resident};
use crate::store::Log;

/// The delivery mode of messages that are to survive a restart.
const PERSISTENT: u8 = 2;

/// What became of a message that was put into queues.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Placed {
    /// Whether a commit must be waited for before it is safe.
    stored: bool,
    /// Whether one of the queues had no room for it and did not make any.
    refused: bool,
}

/// Where a message goes.
#[derive(Debug, Default)]
pub(super) struct Routes {
    /// Each once, in the order of their ids.
    pub(super) queues: Vec<QueueId>,
    /// Addresses of channels that wait for answers.
    replies: Vec<Arc<str>>,
}

impl Routes {
    fn clear(&mut self) {
        self.queues.clear();
        self.replies.clear();
    }

    fn is_empty(&self) -> bool {
        self.queues.is_empty() && self.replies.is_empty()
    }
}

impl Engine {
    pub(super) fn publish(&mut self, key: ChannelKey, publish: Publish, content: Content) -> Result<(), Exception> {
        let Some(connection) = self.connections.get_mut(&key.connection) else { return Ok(()) };
        let first = !std::mem::replace(&mut connection.publishes, true);
        if !connection.channels.contains_key(&key.number) {
            return Err(Exception::ChannelError("expected 'channel.open'"));
        }
        if first && self.pressure.alarm.is_some() {
            self.tell_blocked();
        }
        let Some(channel) = self.open_channel(key) else { return Ok(()) };
        let transactional = channel.transaction.is_some();
        let is_allowed = channel.publishes_to.as_deref() == Some(publish.exchange.as_str());
        if publish.immediate {
            return Err(Exception::NotImplemented("immediate=true"));
        }
        if !is_allowed {
            self.check_may_publish(key, publish.exchange.as_str())?;
        }
        let mandatory = publish.mandatory;
        let (message, extra_keys) = self.message(key, publish, content)?;
        let message = Arc::new(message);
        let mut routes = std::mem::take(&mut self.routes);
        routes.clear();
        self.route(key, &message, &extra_keys, &mut routes)?;
        if transactional {
            return self.hold(key, HeldPublish { message, routes, mandatory });
        }
        self.accept(key, &message, &routes, mandatory);
        self.routes = routes;
        Ok(())
    }

    /// Takes responsibility for a message; `false` if one of its queues refused it.
    pub(super) fn accept(&mut self, key: ChannelKey, message: &Arc<Message>, routes: &Routes, mandatory: bool) -> bool {
        if routes.is_empty() && mandatory {
            let message = Arc::clone(message);
            self.send(key.connection, Outbound::Return { channel: key.number, message });
        }
        for reply in &routes.replies {
            self.deliver_reply(reply, message);
        }
        let placed = self.place(message, &routes.queues);
        self.confirm(key, placed);
        !placed.refused
    }

    /// What was published, with what the broker acts upon read from its properties, and the routing keys it has besides
    /// its own.
    fn message(
        &mut self,
        key: ChannelKey,
        publish: Publish,
        mut content: Content,
    ) -> Result<(Message, Vec<Box<str>>), Exception> {
        let properties = PropertyView::parse(content.properties()).ok_or(Exception::BadContentHeader)?;
        let addressed = self.with_reply_address(key, properties.reply_to, &content)?;
        let expiration = properties.expiration.map(parse_expiration).transpose()?;
        let extra = ExtraKeys::parse(properties.headers)?;
        self.check_user_id(key, properties.user_id)?;
        let (priority, delivery_mode) = (properties.priority, properties.delivery_mode);
        let visible = extra.visible(addressed.as_ref().unwrap_or(&content));
        if let Some(changed) = visible.or(addressed) {
            content = changed;
        }
        let message = Message {
            exchange: String::from(publish.exchange).into_boxed_str(),
            routing_key: String::from(publish.routing_key).into_boxed_str(),
            published_at: self.now,
            expires_at: expiration.map(|milliseconds| self.now.after(milliseconds)),
            priority: priority.unwrap_or(0),
            persistent: delivery_mode == Some(PERSISTENT),
            dead_letter: false,
            resident: Resident::new(&content, &self.resident),
            content,
        };
        Ok((message, extra.keys))
    }

    /// The property `user-id` is for recipients who trust the broker, so it must name the one who logged in.
    fn check_user_id(&self, key: ChannelKey, claimed: Option<&[u8]>) -> Result<(), Exception> {
        let (Some(claimed), Some(connection)) = (claimed, self.connections.get(&key.connection)) else { return Ok(()) };
        let actual = &connection.client.user;
        if claimed == actual.as_bytes() {
            return Ok(());
        }
        let claimed = String::from_utf8_lossy(claimed).into_owned();
        Err(Exception::WrongUserId { claimed, actual: actual.clone() })
    }

    fn route(
        &self,
        key: ChannelKey,
        message: &Message,
        extra_keys: &[Box<str>],
        routes: &mut Routes,
    ) -> Result<(), Exception> {
        let vhost = self.vhost(key)?;
        if message.exchange.is_empty() {
            for name in std::iter::once(&message.routing_key).chain(extra_keys) {
                match vhost.queues.get(&**name) {
                    Some(queue) => routes.queues.push(*queue),
                    None => routes.replies.extend(self.reply_address(key, name)),
                }
            }
            routes.queues.sort_unstable();
            routes.queues.dedup();
            routes.replies.sort_unstable();
            routes.replies.dedup();
            return Ok(());
        }
        let exchange = vhost.exchange(&message.exchange)?;
        if exchange.internal {
            let (name, vhost) = (message.exchange.to_string(), vhost.name.to_string());
            return Err(Exception::InternalExchange { name, vhost });
        }
        vhost.route(exchange, &Routed::new(message).with_extra_keys(extra_keys), &mut routes.queues);
        Ok(())
    }

    /// Puts a message into queues, and hands it to the store for those that survive a restart, or for all when memory
    /// is short.
    pub(super) fn place(&mut self, message: &Arc<Message>, routes: &[QueueId]) -> Placed {
        self.last_message += 1;
        let id = MessageId(self.last_message);
        let full = self.full_queues(message, routes);
        if !full.is_empty() {
            self.refuse(id, message, &full);
            let room: Vec<_> = routes.iter().copied().filter(|queue| !full.contains(queue)).collect();
            return Placed { refused: true, ..self.place_as(id, message, &room) };
        }
        self.place_as(id, message, routes)
    }

    fn place_as(&mut self, id: MessageId, message: &Arc<Message>, routes: &[QueueId]) -> Placed {
        self.arriving = Some(id);
        let short = self.memory_is_short();
        let stored = self.put_for(Log::Durable, id, message, routes, short);
        if short {
            self.put_for(Log::Overflow, id, message, routes, short);
        }
        for &queue_id in routes {
            let log = self.log_for(message, queue_id, short);
            let Some(queue) = self.queues.get_mut(&queue_id) else { continue };
            let mut entry = Entry::new(id, Arc::clone(message), log);
            queue.admit(&mut entry, message);
            self.entries += 1;
            if short {
                self.storage.leave_memory_later(queue_id, &entry);
            }
            queue.push(entry);
            let look = queue.overflows() || queue.expires_unwatched();
            self.pump(queue_id);
            if look {
                self.check_room(queue_id);
            }
        }
        self.arriving = None;
        Placed { stored, refused: false }
    }

    /// Those of the queues that have no room for a message and refuse it.
    fn full_queues(&self, message: &Message, routes: &[QueueId]) -> Vec<QueueId> {
        let body = message.content.body().len();
        let is_full = |queue: &Queue| queue.settings.overflow != Overflow::DropHead && queue.would_overflow(body);
        routes.iter().copied().filter(|id| self.queues.get(id).is_some_and(is_full)).collect()
    }

    /// Turns a message away from queues without room; those that want it make it a dead letter.
    fn refuse(&mut self, id: MessageId, message: &Arc<Message>, queues: &[QueueId]) {
        for queue_id in queues {
            let wants_it = |queue: &&Queue| queue.settings.overflow == Overflow::RejectPublishDlx;
            if self.queues.get(queue_id).filter(wants_it).is_some() {
                self.entries += 1;
                self.bury(*queue_id, Entry::new(id, Arc::clone(message), None), Reason::MaxLength);
            }
        }
    }

    /// Has a queue looked after if a message in it expires earlier than was known, or if there are too many.
    pub(super) fn check_room(&mut self, id: QueueId) {
        let Some(queue) = self.queues.get(&id) else { return };
        if queue.overflows() {
            self.look_after(id);
        } else if queue.expires_unwatched() {
            self.watch_expiry(id);
        }
    }

    /// Hands a message over for those of the queues whose copy belongs into this log; `false` if there is none.
    fn put_for(&mut self, log: Log, id: MessageId, message: &Arc<Message>, routes: &[QueueId], short: bool) -> bool {
        let queues = routes.iter().copied().filter(|queue| self.log_for(message, *queue, short) == Some(log));
        let queues: Box<[QueueId]> = queues.collect();
        if queues.is_empty() {
            return false;
        }
        self.storage.put(log, id, queues, message);
        true
    }

    /// Where a queue's copy of a message is stored, with memory being short or not.
    fn log_for(&self, message: &Message, queue: QueueId, short: bool) -> Option<Log> {
        if !self.storage.enabled() {
            return None;
        }
        let survives = message.persistent && self.queues.get(&queue).is_some_and(Queue::survives);
        if survives { Some(Log::Durable) } else { short.then_some(Log::Overflow) }
    }

    fn confirm(&mut self, key: ChannelKey, placed: Placed) {
        let Some(channel) = self.open_channel(key) else { return };
        let serial = channel.serial;
        let Some(confirms) = channel.confirms.as_mut() else { return };
        let tag = confirms.publish();
        if placed.stored && !placed.refused {
            self.storage.confirm_later(key, serial, tag);
            return;
        }
        confirms.settle(tag, !placed.refused);
        if self.confirms_due.last() != Some(&key) {
            self.confirms_due.push(key);
        }
    }
}
