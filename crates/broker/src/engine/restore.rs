//! What a store found at the start becomes exchanges, queues, bindings and waiting messages again.
//!
//! Runs once, before the first command. Does not know how it was found.

use crate::identity::QueueId;
use crate::store::{
    Log, Recovered, RecoveredEntry, StoredBinding, StoredDestination, StoredExchange, StoredQueue, TopologyChange,
};

use super::entry::Entry;
use super::exchange::{Exchange, ExchangeKind};
use super::queue::Queue;
use super::queue_arguments::{Declared, QueueArguments};
use super::topology::{Binding, Destination, VirtualHost};
use super::{Engine, VhostId};

impl Engine {
    /// Takes over what was stored. What this version cannot understand is left out, and said in the log; it stays on
    /// disk.
    pub(crate) fn restore(&mut self, recovered: Recovered) {
        self.last_id = self.last_id.max(recovered.last_queue);
        self.last_message = self.last_message.max(recovered.last_message);
        for change in recovered.topology {
            match change {
                TopologyChange::ExchangeDeclared(exchange) => self.restore_exchange(exchange),
                TopologyChange::QueueDeclared(queue) => self.restore_queue(queue),
                TopologyChange::Bound(binding) => self.restore_binding(binding),
                gone => tracing::warn!(?gone, "a deletion among what is stored means nothing"),
            }
        }
        for (queue, entries) in recovered.entries {
            self.restore_entries(queue, &entries);
        }
        self.storage.restored(self.last_message);
    }

    /// The virtual host of this name. One that the configuration no longer has keeps what it holds, though nobody can
    /// open it.
    fn restored_vhost(&mut self, name: &str) -> VhostId {
        let at = self.vhosts.iter().position(|vhost| *vhost.name == *name).unwrap_or_else(|| {
            tracing::warn!(vhost = name, "stored queues or exchanges of a virtual host that is not configured");
            self.vhosts.push(VirtualHost::new(name));
            self.vhosts.len() - 1
        });
        VhostId(at)
    }

    fn restore_exchange(&mut self, stored: StoredExchange) {
        let Some(kind) = ExchangeKind::parse(&stored.kind) else {
            tracing::error!(exchange = &*stored.name, kind = &*stored.kind, "a stored exchange of an unknown type");
            return;
        };
        let VhostId(at) = self.restored_vhost(&stored.vhost);
        let mut exchange = Exchange::new(stored.name.clone(), kind);
        (exchange.durable, exchange.auto_delete, exchange.internal) = (true, stored.auto_delete, stored.internal);
        if let Err(reason) = exchange.set_arguments(stored.arguments) {
            tracing::error!(exchange = &*stored.name, reason, "a stored exchange with a wrong argument");
        }
        self.vhosts[at].exchanges.insert(stored.name, exchange);
    }

    fn restore_queue(&mut self, stored: StoredQueue) {
        let vhost = self.restored_vhost(&stored.vhost);
        let mut queue = Queue::new(stored.name.clone(), vhost);
        (queue.durable, queue.auto_delete) = (true, stored.auto_delete);
        let declared = Declared {
            name: &stored.name,
            vhost: &stored.vhost,
            durable: true,
            exclusive: false,
            auto_delete: stored.auto_delete,
            server_named: false,
        };
        let settings = declared.read(&stored.arguments).unwrap_or_else(|exception| {
            tracing::error!(%exception, "a stored queue has arguments that mean nothing now");
            QueueArguments::default()
        });
        queue.set_arguments(stored.arguments, settings);
        self.vhosts[vhost.0].queues.insert(stored.name, stored.id);
        self.queues.insert(stored.id, queue);
        self.touch_restored(stored.id);
    }

    fn restore_binding(&mut self, stored: StoredBinding) {
        let VhostId(at) = self.restored_vhost(&stored.vhost);
        let destination = match stored.destination {
            StoredDestination::Queue(id) => Destination::Queue(id),
            StoredDestination::Exchange(name) => Destination::Exchange(name),
        };
        let binding = Binding { source: stored.source, key: (*stored.key).into(), arguments: stored.arguments.into() };
        // The bounds were checked when it was bound; lower ones since then do not take it away.
        if let Err(exception) = self.vhosts[at].bind(binding, destination, usize::MAX) {
            tracing::error!(%exception, "a stored binding cannot be restored");
        }
    }

    fn restore_entries(&mut self, id: QueueId, entries: &[RecoveredEntry]) {
        let Some(queue) = self.queues.get_mut(&id) else { return };
        for recovered in entries {
            let own = recovered.expires_at.unwrap_or(Entry::NEVER);
            queue.restore(Entry {
                id: recovered.id,
                message: None,
                expires_at: queue.settings.expires_at(recovered.published_at, own),
                weight: queue.restored_weight(recovered),
                returned: u16::from(recovered.redelivered),
                level: recovered.priority.min(queue.settings.max_priority),
                stored: Some(Log::Durable),
            });
        }
        self.entries += entries.len();
        tracing::info!(queue = &*queue.name, messages = entries.len(), "restored");
        self.load(id);
        self.check_room(id);
    }

    /// The messages in durable queues that were given out before, for an orderly end. Unacknowledged ones must have
    /// been put back.
    pub(crate) fn delivered_before(&self) -> Vec<(QueueId, crate::identity::MessageId)> {
        let durable = self.queues.iter().filter(|(_, queue)| queue.survives());
        let entries = durable.flat_map(|(id, queue)| queue.entries().map(move |entry| (*id, entry)));
        entries.filter(|(_, entry)| entry.redelivered()).map(|(id, entry)| (id, entry.id)).collect()
    }
}
