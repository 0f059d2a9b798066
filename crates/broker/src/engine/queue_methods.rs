//! The queue class: declare, bind, unbind, purge, delete (section 1.7 of the reference).
//!
//! Does not know how messages wait in a queue or how bindings are matched.

use std::collections::BTreeSet;
use std::sync::Arc;

use amq_protocol::protocol::AMQPClass;
use amq_protocol::protocol::queue::{
    AMQPMethod as Queues, Bind, BindOk, Declare, DeclareOk, Delete, DeleteOk, Purge, PurgeOk, Unbind, UnbindOk,
};
use amq_protocol::types::FieldTable;

use super::access::{Access, Resource};
use super::argument_text::{said, shown};
use super::queue::Queue;
use super::queue_arguments::{Declared, compared};
use super::reply_to::is_reply_queue;
use super::topology::{Binding, Destination, VirtualHost};
use super::{ChannelKey, Command, ConsumerId, Engine, QueueId};
use crate::exception::Exception;
use crate::store::{StoredBinding, StoredDestination, StoredQueue, TopologyChange};

const QUEUE: &str = "queue";

impl Engine {
    pub(super) fn queue_declare(&mut self, key: ChannelKey, declare: Declare) -> Result<(), Exception> {
        if is_reply_queue(declare.queue.as_str()) {
            return self.declare_reply_queue(key, &declare);
        }
        let name = match declare.queue.as_str() {
            "" if !declare.passive => self.unused_queue_name(key)?,
            name => name.to_owned(),
        };
        if !declare.passive {
            self.check_permission(key, Access::Configure, Resource::Queue(&name))?;
        }
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
        self.touch(id);
        let Some(queue) = self.queues.get(&id) else { return Ok(()) };
        let message_count = u32::try_from(queue.ready_count()).unwrap_or(u32::MAX);
        let consumer_count = u32::try_from(queue.consumers.len()).unwrap_or(u32::MAX);
        let name = queue.name.clone();
        let queue = (&*name).into();
        self.open_channel_or(key)?.last_queue = Some(name);
        let ok = DeclareOk { queue, message_count, consumer_count };
        self.reply_stored_unless(nowait, key, AMQPClass::Queue(Queues::DeclareOk(ok)));
        Ok(())
    }

    fn create_queue(&mut self, key: ChannelKey, name: &str, declare: Declare) -> Result<QueueId, Exception> {
        self.check_may_forward(key, Resource::Queue(name), &declare.arguments)?;
        let (vhost_id, limit) = (self.vhost_id(key)?, self.limits.queues);
        if self.vhost(key)?.queues.len() >= limit {
            return Err(Exception::LimitReached { what: QUEUE, max: limit });
        }
        let Declare { durable, exclusive, auto_delete, .. } = declare;
        let (vhost, server_named) = (&self.vhost(key)?.name, declare.queue.as_str().is_empty());
        let declared = Declared { name, vhost, durable, exclusive, auto_delete, server_named };
        let settings = declared.read(&declare.arguments)?;
        let id = QueueId(self.next_id());
        let name: Arc<str> = name.into();
        let mut queue = Queue::new(name.clone(), vhost_id);
        queue.durable = declare.durable;
        queue.auto_delete = declare.auto_delete;
        queue.owner = declare.exclusive.then_some(key.connection);
        queue.set_arguments(declare.arguments, settings);
        if self.logs_topology() {
            tracing::info!(
                queue = &*name,
                vhost = &*self.vhost(key)?.name,
                durable = queue.durable,
                exclusive = declare.exclusive,
                auto_delete = queue.auto_delete,
                "queue declared"
            );
        }
        let vhost = self.vhost_mut(key)?;
        vhost.queues.insert(name.clone(), id);
        if queue.survives() {
            let (vhost, auto_delete, arguments) =
                (vhost.name.clone(), queue.auto_delete, FieldTable::clone(&queue.arguments));
            let stored = StoredQueue { id, vhost, name, auto_delete, arguments };
            self.storage.change(TopologyChange::QueueDeclared(stored));
        }
        self.queues.insert(id, queue);
        Ok(id)
    }

    pub(super) fn queue_bind(&mut self, key: ChannelKey, bind: Bind) -> Result<(), Exception> {
        let (source, routing_key) = (bind.exchange.as_str(), bind.routing_key.as_str());
        self.bind_queue(key, bind.queue.as_str(), source, routing_key, bind.arguments, true)?;
        self.reply_stored_unless(bind.nowait, key, AMQPClass::Queue(Queues::BindOk(BindOk {})));
        Ok(())
    }

    pub(super) fn queue_unbind(&mut self, key: ChannelKey, unbind: Unbind) -> Result<(), Exception> {
        let (source, routing_key) = (unbind.exchange.as_str(), unbind.routing_key.as_str());
        let unbound = self.bind_queue(key, unbind.queue.as_str(), source, routing_key, unbind.arguments, false);
        missing_is_unbound(unbound)?;
        self.reply_stored_unless(false, key, AMQPClass::Queue(Queues::UnbindOk(UnbindOk {})));
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
        let (id, name) = self.queue_for(key, queue, Access::Write)?;
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
        self.check_permission(key, Access::Read, Resource::Exchange(source))?;
        let limit = self.limits.bindings;
        let target = self.destination_name(&destination);
        let vhost = self.vhost(key)?;
        let binding = Binding { source: source.into(), key: routing_key.into(), arguments: arguments.into() };
        let survives = vhost.exchange(source)?.durable && self.destination_survives(vhost, &destination);
        let stored = survives.then(|| stored_binding(vhost, &binding, &destination));
        let vhost = self.vhost_mut(key)?;
        if !add {
            if vhost.unbind(&binding, &destination) {
                self.storage_changes(stored.map(TopologyChange::Unbound));
            }
        } else if vhost.bind(binding, destination, limit)? {
            let vhost = vhost.name.clone();
            if self.logs_topology() {
                tracing::info!(exchange = source, routing_key, destination = &*target, vhost = &*vhost, "bound");
            }
            self.storage_changes(stored.map(TopologyChange::Bound));
        }
        Ok(())
    }

    /// Notes a change to a binding, if it is one that is stored, and what followed from it.
    fn storage_changes(&mut self, change: Option<TopologyChange>) {
        if let Some(change) = change {
            self.storage.change(change);
        }
        self.collect_topology_changes();
    }

    fn destination_survives(&self, vhost: &VirtualHost, destination: &Destination) -> bool {
        match destination {
            Destination::Queue(id) => self.queues.get(id).is_some_and(Queue::survives),
            Destination::Exchange(name) => vhost.exchanges.get(name).is_some_and(|exchange| exchange.durable),
        }
    }

    pub(super) fn destination_name(&self, destination: &Destination) -> Arc<str> {
        match destination {
            Destination::Exchange(name) => name.clone(),
            Destination::Queue(id) => self.queues.get(id).map_or_else(|| "".into(), |queue| queue.name.clone()),
        }
    }

    pub(super) fn queue_purge(&mut self, key: ChannelKey, purge: Purge) -> Result<(), Exception> {
        let (id, _) = self.queue_for(key, purge.queue.as_str(), Access::Read)?;
        let purged = self.queues.get_mut(&id).map(Queue::purge).unwrap_or_default();
        let message_count = u32::try_from(purged.len()).unwrap_or(u32::MAX);
        let ok = AMQPClass::Queue(Queues::PurgeOk(PurgeOk { message_count }));
        self.discard(id, purged, (!purge.nowait).then_some((key, ok)));
        Ok(())
    }

    pub(super) fn queue_delete(&mut self, key: ChannelKey, delete: Delete) -> Result<(), Exception> {
        let mut consumers = BTreeSet::new();
        let count = match self.queue_for(key, delete.queue.as_str(), Access::Configure) {
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
                if !queue.upkeep.dying.is_empty() {
                    let method = Box::new(AMQPClass::Queue(Queues::Delete(delete)));
                    self.wait_for_upkeep(key, id, Command::Method { channel: key, method });
                    return Ok(());
                }
                consumers = self.detach_queue(id);
                count
            }
        };
        let message_count = u32::try_from(count).unwrap_or(u32::MAX);
        self.reply_stored_unless(delete.nowait, key, AMQPClass::Queue(Queues::DeleteOk(DeleteOk { message_count })));
        // In RabbitMQ's order: who deletes a queue that it consumes from hears of the deletion first.
        consumers.into_iter().for_each(|consumer| self.cancel_by_server(consumer));
        Ok(())
    }

    /// Removes a queue with its messages, bindings and consumers; later, if some of its messages have yet to become dead
    /// letters.
    pub(super) fn remove_queue(&mut self, id: QueueId) {
        if !self.put_off_removal(id) {
            for consumer in self.detach_queue(id) {
                self.cancel_by_server(consumer);
            }
        }
    }

    /// Removes a queue with its messages and bindings, and returns its consumers, which are to be cancelled.
    fn detach_queue(&mut self, id: QueueId) -> BTreeSet<ConsumerId> {
        let Some(mut queue) = self.queues.remove(&id) else { return BTreeSet::new() };
        let vhost = &mut self.vhosts[queue.vhost.0];
        vhost.queues.remove(&queue.name);
        vhost.unbind_all(&Destination::Queue(id));
        let vhost = vhost.name.clone();
        if self.logs_topology() {
            tracing::info!(queue = &*queue.name, vhost = &*vhost, "queue deleted");
        }
        let (survives, purged) = (queue.survives(), queue.purge());
        self.discard(id, purged, None);
        if survives {
            self.storage.change(TopologyChange::QueueDeleted(id));
        }
        self.collect_topology_changes();
        self.resumable.append(&mut queue.waiting);
        queue.consumers
    }

    /// Removes an auto-delete queue after a consumer left it, if that was the last one.
    pub(super) fn remove_if_abandoned(&mut self, id: QueueId) {
        if self.queues.get(&id).is_some_and(|queue| queue.auto_delete && queue.consumers.is_empty()) {
            self.remove_queue(id);
        }
    }

    /// The queue a method names; an empty name stands for the last one declared on the channel.
    pub(super) fn queue_for(
        &mut self,
        key: ChannelKey,
        name: &str,
        access: Access,
    ) -> Result<(QueueId, Arc<str>), Exception> {
        let name = if name.is_empty() { self.last_queue(key)? } else { name.into() };
        self.check_permission(key, access, Resource::Queue(&name))?;
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
        // An exclusive queue is never durable, whatever was asked for: RabbitMQ does not compare it then.
        if !declare.exclusive {
            at.flag("durable", declare.durable, queue.durable)?;
        }
        at.flag("auto_delete", declare.auto_delete, queue.auto_delete)?;
        at.arguments(&compared(&declare.arguments), &compared(&queue.arguments))
    }
}

/// Where there is no queue or exchange, there is no binding either, and that was the wish: RabbitMQ's answer.
pub(super) fn missing_is_unbound(unbound: Result<(), Exception>) -> Result<(), Exception> {
    unbound.or_else(|exception| if matches!(exception, Exception::NotFound { .. }) { Ok(()) } else { Err(exception) })
}

fn stored_binding(vhost: &VirtualHost, binding: &Binding, destination: &Destination) -> StoredBinding {
    let destination = match destination {
        Destination::Queue(id) => StoredDestination::Queue(*id),
        Destination::Exchange(name) => StoredDestination::Exchange(name.clone()),
    };
    StoredBinding {
        vhost: vhost.name.clone(),
        source: binding.source.clone(),
        destination,
        key: (*binding.key).into(),
        arguments: FieldTable::clone(&binding.arguments),
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

    /// Compares optional arguments.
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
                let (received, current) = match (new, old) {
                    (Some(new), Some(old)) => (format!("'{}'", shown(new)), format!("'{}'", shown(old))),
                    _ => (said(new), said(old)),
                };
                return Err(self.inequivalent(name.as_str(), received, current));
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
