//! The queue class: declare, bind, unbind, purge, delete (section 1.7 of the reference).
//!
//! Does not know how messages wait in a queue or how bindings are matched.

use std::sync::Arc;

use amq_protocol::protocol::AMQPClass;
use amq_protocol::protocol::queue::{
    AMQPMethod as Queues, Bind, BindOk, Declare, DeclareOk, Delete, DeleteOk, Purge, PurgeOk, Unbind, UnbindOk,
};
use amq_protocol::types::FieldTable;

use super::queue::Queue;
use super::topology::{Binding, Destination};
use super::{ChannelKey, Engine, QueueId};
use crate::exception::Exception;

const QUEUE: &str = "queue";

impl Engine {
    pub(super) fn queue_declare(&mut self, key: ChannelKey, declare: Declare) -> Result<(), Exception> {
        let name = match declare.queue.as_str() {
            "" if declare.passive => self.last_queue(key)?.to_string(),
            "" => self.unused_queue_name(key)?,
            name => name.to_owned(),
        };
        let nowait = declare.nowait;
        let id = match self.vhost(key)?.queues.get(name.as_str()).copied() {
            Some(id) => {
                self.check_access(key, id)?;
                if !declare.passive {
                    self.check_equivalence(key, id, &declare)?;
                }
                id
            }
            None if declare.passive => return Err(self.vhost(key)?.not_found(QUEUE, &name)),
            // Clients may not invent names under the prefix; a name that the broker made exists already.
            None if name.starts_with("amq.") && !declare.queue.as_str().is_empty() => {
                return Err(Exception::ReservedName { kind: QUEUE, name });
            }
            None => self.create_queue(key, &name, declare)?,
        };
        let Some(queue) = self.queues.get(&id) else { return Ok(()) };
        let message_count = u32::try_from(queue.ready_count()).unwrap_or(u32::MAX);
        let consumer_count = u32::try_from(queue.consumers.len()).unwrap_or(u32::MAX);
        let name = queue.name.clone();
        let queue = (&*name).into();
        self.open_channel_or(key)?.last_queue = Some(name);
        let ok = DeclareOk { queue, message_count, consumer_count };
        self.reply_unless(nowait, key, AMQPClass::Queue(Queues::DeclareOk(ok)));
        Ok(())
    }

    fn create_queue(&mut self, key: ChannelKey, name: &str, declare: Declare) -> Result<QueueId, Exception> {
        let (vhost_id, limit) = (self.vhost_id(key)?, self.limits.queues);
        if self.vhost(key)?.queues.len() >= limit {
            return Err(Exception::LimitReached { what: QUEUE, max: limit });
        }
        let id = QueueId(self.next_id());
        let name: Arc<str> = name.into();
        let mut queue = Queue::new(name.clone(), vhost_id);
        queue.durable = declare.durable;
        queue.auto_delete = declare.auto_delete;
        queue.owner = declare.exclusive.then_some(key.connection);
        queue.arguments = declare.arguments;
        tracing::info!(
            queue = &*name,
            vhost = &*self.vhost(key)?.name,
            durable = queue.durable,
            exclusive = declare.exclusive,
            auto_delete = queue.auto_delete,
            "queue declared"
        );
        self.vhost_mut(key)?.queues.insert(name, id);
        self.queues.insert(id, queue);
        Ok(id)
    }

    pub(super) fn queue_bind(&mut self, key: ChannelKey, bind: Bind) -> Result<(), Exception> {
        let (source, routing_key) = (bind.exchange.as_str(), bind.routing_key.as_str());
        self.bind_queue(key, bind.queue.as_str(), source, routing_key, bind.arguments, true)?;
        self.reply_unless(bind.nowait, key, AMQPClass::Queue(Queues::BindOk(BindOk {})));
        Ok(())
    }

    pub(super) fn queue_unbind(&mut self, key: ChannelKey, unbind: Unbind) -> Result<(), Exception> {
        let (source, routing_key) = (unbind.exchange.as_str(), unbind.routing_key.as_str());
        self.bind_queue(key, unbind.queue.as_str(), source, routing_key, unbind.arguments, false)?;
        self.reply(key, AMQPClass::Queue(Queues::UnbindOk(UnbindOk {})));
        Ok(())
    }

    fn bind_queue(
        &mut self,
        key: ChannelKey,
        queue: &str,
        source: &str,
        routing_key: &str,
        arguments: FieldTable,
        add: bool,
    ) -> Result<(), Exception> {
        let (id, name) = self.queue_for(key, queue)?;
        // An empty key with an empty queue name means the queue's own name (queue.bind, routing-key).
        let routing_key = if queue.is_empty() && routing_key.is_empty() { &*name } else { routing_key };
        self.change_binding(key, source, routing_key, arguments, Destination::Queue(id), add)
    }

    /// Adds or removes a binding to a queue or an exchange.
    pub(super) fn change_binding(
        &mut self,
        key: ChannelKey,
        source: &str,
        routing_key: &str,
        arguments: FieldTable,
        destination: Destination,
        add: bool,
    ) -> Result<(), Exception> {
        if source.is_empty() {
            return Err(Exception::DefaultExchange);
        }
        let limit = self.limits.bindings;
        let target = self.destination_name(&destination);
        let vhost = self.vhost_mut(key)?;
        vhost.exchange(source)?;
        let binding = Binding { source: source.into(), key: routing_key.into(), arguments };
        if !add {
            vhost.unbind(&binding, &destination);
        } else if vhost.bind(binding, destination, limit)? {
            tracing::info!(exchange = source, routing_key, destination = &*target, vhost = &*vhost.name, "bound");
        }
        Ok(())
    }

    pub(super) fn destination_name(&self, destination: &Destination) -> Arc<str> {
        match destination {
            Destination::Exchange(name) => name.clone(),
            Destination::Queue(id) => self.queues.get(id).map_or_else(|| "".into(), |queue| queue.name.clone()),
        }
    }

    pub(super) fn queue_purge(&mut self, key: ChannelKey, purge: Purge) -> Result<(), Exception> {
        let (id, _) = self.queue_for(key, purge.queue.as_str())?;
        let (count, bytes) = self.queues.get_mut(&id).map_or((0, 0), Queue::purge);
        self.held_bytes -= bytes;
        let message_count = u32::try_from(count).unwrap_or(u32::MAX);
        self.reply_unless(purge.nowait, key, AMQPClass::Queue(Queues::PurgeOk(PurgeOk { message_count })));
        Ok(())
    }

    pub(super) fn queue_delete(&mut self, key: ChannelKey, delete: Delete) -> Result<(), Exception> {
        let count = match self.queue_for(key, delete.queue.as_str()) {
            // Deleting what does not exist is fine, as in RabbitMQ.
            Err(Exception::NotFound { .. }) => 0,
            Err(exception) => return Err(exception),
            Ok((id, name)) => {
                let vhost = self.vhost(key)?.name.to_string();
                let Some(queue) = self.queues.get(&id) else { return Ok(()) };
                if delete.if_unused && !queue.consumers.is_empty() {
                    return Err(Exception::InUse { kind: QUEUE, name: name.to_string(), vhost });
                }
                let count = queue.ready_count();
                if delete.if_empty && count > 0 {
                    return Err(Exception::NotEmpty { name: name.to_string(), vhost });
                }
                self.remove_queue(id);
                count
            }
        };
        let message_count = u32::try_from(count).unwrap_or(u32::MAX);
        self.reply_unless(delete.nowait, key, AMQPClass::Queue(Queues::DeleteOk(DeleteOk { message_count })));
        Ok(())
    }

    /// Removes a queue with its messages, bindings and consumers.
    pub(super) fn remove_queue(&mut self, id: QueueId) {
        let Some(mut queue) = self.queues.remove(&id) else { return };
        let vhost = &mut self.vhosts[queue.vhost.0];
        tracing::info!(queue = &*queue.name, vhost = &*vhost.name, "queue deleted");
        vhost.queues.remove(&queue.name);
        vhost.unbind_all(&Destination::Queue(id));
        self.held_bytes -= queue.purge().1;
        for consumer in std::mem::take(&mut queue.consumers) {
            self.cancel_by_server(consumer);
        }
    }

    /// Removes an auto-delete queue after a consumer left it, if that was the last one.
    pub(super) fn remove_if_abandoned(&mut self, id: QueueId) {
        if self.queues.get(&id).is_some_and(|queue| queue.auto_delete && queue.consumers.is_empty()) {
            self.remove_queue(id);
        }
    }

    /// The queue a method names; an empty name stands for the last one declared on the channel.
    pub(super) fn queue_for(&mut self, key: ChannelKey, name: &str) -> Result<(QueueId, Arc<str>), Exception> {
        let name = if name.is_empty() { self.last_queue(key)? } else { name.into() };
        let vhost = self.vhost(key)?;
        let id = *vhost.queues.get(&*name).ok_or_else(|| vhost.not_found(QUEUE, &name))?;
        self.check_access(key, id)?;
        Ok((id, name))
    }

    fn last_queue(&mut self, key: ChannelKey) -> Result<Arc<str>, Exception> {
        self.open_channel_or(key)?.last_queue.clone().ok_or(Exception::NoPreviousQueue)
    }

    fn unused_queue_name(&mut self, key: ChannelKey) -> Result<String, Exception> {
        loop {
            let name = self.names.next("amq.gen");
            if !self.vhost(key)?.queues.contains_key(name.as_str()) {
                return Ok(name);
            }
        }
    }

    /// Refuses an exclusive queue of another connection.
    fn check_access(&self, key: ChannelKey, id: QueueId) -> Result<(), Exception> {
        match self.queues.get(&id) {
            Some(queue) if queue.owner.is_some_and(|owner| owner != key.connection) => Err(self.locked(queue)),
            _ => Ok(()),
        }
    }

    fn locked(&self, queue: &Queue) -> Exception {
        Exception::Locked { name: queue.name.to_string(), vhost: self.vhosts[queue.vhost.0].name.to_string() }
    }

    fn check_equivalence(&self, key: ChannelKey, id: QueueId, declare: &Declare) -> Result<(), Exception> {
        let Some(queue) = self.queues.get(&id) else { return Ok(()) };
        if declare.exclusive != queue.owner.is_some() {
            return Err(self.locked(queue));
        }
        let at = Place { kind: QUEUE, name: &queue.name, vhost: &self.vhost(key)?.name };
        at.flag("durable", declare.durable, queue.durable)?;
        at.flag("auto_delete", declare.auto_delete, queue.auto_delete)?;
        at.arguments(&declare.arguments, &queue.arguments)
    }
}

/// What a declaration is compared with, for the text of the exception.
pub(super) struct Place<'a> {
    pub(super) kind: &'static str,
    pub(super) name: &'a str,
    pub(super) vhost: &'a str,
}

impl Place<'_> {
    /// # Errors
    /// [`Exception::Inequivalent`].
    pub(super) fn flag(&self, arg: &str, received: bool, current: bool) -> Result<(), Exception> {
        self.value(arg, &received.to_string(), &current.to_string())
    }

    /// # Errors
    /// [`Exception::Inequivalent`].
    pub(super) fn value(&self, arg: &str, received: &str, current: &str) -> Result<(), Exception> {
        if received == current {
            return Ok(());
        }
        Err(self.inequivalent(arg, format!("'{received}'"), format!("'{current}'")))
    }

    /// Compares all optional arguments, unknown ones too, so that none of them can be half honoured.
    ///
    /// # Errors
    /// [`Exception::Inequivalent`] for the first that differs.
    pub(super) fn arguments(&self, received: &FieldTable, current: &FieldTable) -> Result<(), Exception> {
        let (received, current) = (received.inner(), current.inner());
        for name in current.keys().chain(received.keys()) {
            let (new, old) = (received.get(name), current.get(name));
            let same = match (new, old) {
                (Some(new), Some(old)) => super::headers::same(new, old),
                _ => false,
            };
            if !same {
                let say = |value: Option<&_>| value.map_or_else(|| "none".to_owned(), |v| format!("the value '{v:?}'"));
                return Err(self.inequivalent(name.as_str(), say(new), say(old)));
            }
        }
        Ok(())
    }

    fn inequivalent(&self, arg: &str, received: String, current: String) -> Exception {
        Exception::Inequivalent {
            arg: arg.into(),
            kind: self.kind,
            name: self.name.into(),
            vhost: self.vhost.into(),
            received: received.into(),
            current: current.into(),
        }
    }
}
