//! Which durable exchanges, queues and bindings there are, as the changes so far say.
//!
//! Does not know files, nor what the engine makes of it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use super::operation::{StoredBinding, StoredDestination, StoredExchange, StoredQueue, TopologyChange};
use super::topology_record::encode_binding;
use crate::identity::QueueId;

/// What a binding hangs on, at either end.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum End {
    Queue(QueueId),
    Exchange(Arc<str>, Arc<str>),
}

/// Everything that exists, in the order in which it was declared.
#[derive(Debug, Default)]
pub(super) struct Topology {
    /// What was declared so far, as a place in the order.
    declared: u64,
    last_queue: u64,
    queues: BTreeMap<u64, StoredQueue>,
    queue_places: HashMap<QueueId, u64>,
    exchanges: BTreeMap<u64, StoredExchange>,
    exchange_places: HashMap<(Arc<str>, Arc<str>), u64>,
    bindings: BTreeMap<u64, StoredBinding>,
    binding_places: HashMap<Box<[u8]>, u64>,
    bindings_at: HashMap<End, BTreeSet<u64>>,
}

impl Topology {
    pub(super) fn apply(&mut self, change: &TopologyChange) {
        self.declared += 1;
        let next = self.declared;
        match change {
            TopologyChange::QueueDeclared(queue) => {
                self.seen_queue(queue.id.0);
                let place = *self.queue_places.entry(queue.id).or_insert(next);
                self.queues.insert(place, queue.clone());
            }
            TopologyChange::QueueDeleted(id) => {
                self.seen_queue(id.0);
                if let Some(place) = self.queue_places.remove(id) {
                    self.queues.remove(&place);
                }
                self.unbind_all(&End::Queue(*id));
            }
            TopologyChange::ExchangeDeclared(exchange) => {
                let key = (Arc::clone(&exchange.vhost), Arc::clone(&exchange.name));
                let place = *self.exchange_places.entry(key).or_insert(next);
                self.exchanges.insert(place, exchange.clone());
            }
            TopologyChange::ExchangeDeleted { vhost, name } => {
                let key = (Arc::clone(vhost), Arc::clone(name));
                if let Some(place) = self.exchange_places.remove(&key) {
                    self.exchanges.remove(&place);
                }
                self.unbind_all(&End::Exchange(key.0, key.1));
            }
            TopologyChange::Bound(binding) => self.bind(binding, next),
            TopologyChange::Unbound(binding) => {
                if let Some(place) = self.binding_places.get(&*octets(binding)) {
                    self.unbind(*place);
                }
            }
        }
    }

    fn bind(&mut self, binding: &StoredBinding, place: u64) {
        let key = octets(binding);
        if self.binding_places.contains_key(&key) {
            return;
        }
        self.binding_places.insert(key, place);
        for end in ends(binding) {
            self.bindings_at.entry(end).or_default().insert(place);
        }
        self.bindings.insert(place, binding.clone());
    }

    fn unbind(&mut self, place: u64) {
        let Some(binding) = self.bindings.remove(&place) else { return };
        self.binding_places.remove(&*octets(&binding));
        for end in ends(&binding) {
            if let Some(places) = self.bindings_at.get_mut(&end) {
                places.remove(&place);
                if places.is_empty() {
                    self.bindings_at.remove(&end);
                }
            }
        }
    }

    fn unbind_all(&mut self, end: &End) {
        for place in self.bindings_at.get(end).cloned().unwrap_or_default() {
            self.unbind(place);
        }
    }

    /// Notes that an id was given out.
    pub(super) fn seen_queue(&mut self, id: u64) {
        self.last_queue = self.last_queue.max(id);
    }

    /// No queue so far had a greater id.
    pub(super) fn last_queue(&self) -> u64 {
        self.last_queue
    }

    pub(super) fn has_queue(&self, id: QueueId) -> bool {
        self.queue_places.contains_key(&id)
    }

    /// What declares everything: exchanges, then queues, then bindings, each in the order of declaration.
    pub(super) fn declarations(&self) -> impl Iterator<Item = TopologyChange> {
        let exchanges = self.exchanges.values().cloned().map(TopologyChange::ExchangeDeclared);
        let queues = self.queues.values().cloned().map(TopologyChange::QueueDeclared);
        exchanges.chain(queues).chain(self.bindings.values().cloned().map(TopologyChange::Bound))
    }
}

fn octets(binding: &StoredBinding) -> Box<[u8]> {
    let mut octets = Vec::new();
    encode_binding(&mut octets, binding);
    octets.into()
}

/// A binding of an exchange to itself has one.
fn ends(binding: &StoredBinding) -> BTreeSet<End> {
    let vhost = || Arc::clone(&binding.vhost);
    let destination = match &binding.destination {
        StoredDestination::Queue(queue) => End::Queue(*queue),
        StoredDestination::Exchange(name) => End::Exchange(vhost(), Arc::clone(name)),
    };
    BTreeSet::from([End::Exchange(vhost(), Arc::clone(&binding.source)), destination])
}
