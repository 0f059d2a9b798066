//! A virtual host: exchanges, the names of queues, and the bindings between them.
//!
//! Decides where a message goes and what disappears when something is deleted. Knows queues only by their ids;
//! messages, consumers and permissions are elsewhere.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use amq_protocol::types::FieldTable;

use super::QueueId;
use super::exchange::{Exchange, ExchangeKind, Routed};
use crate::exception::Exception;

/// What a binding leads to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Destination {
    Queue(QueueId),
    Exchange(Arc<str>),
}

/// A binding, kept with its destination. Source, key and arguments together are its identity.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Binding {
    pub(super) source: Arc<str>,
    pub(super) key: Box<str>,
    pub(super) arguments: Arc<FieldTable>,
}

/// The exchanges every virtual host has (section 3.1.3; `amq.headers` is RabbitMQ's second name for `amq.match`).
const PREDECLARED: [(&str, ExchangeKind); 5] = [
    ("amq.direct", ExchangeKind::Direct),
    ("amq.fanout", ExchangeKind::Fanout),
    ("amq.topic", ExchangeKind::Topic),
    ("amq.headers", ExchangeKind::Headers),
    ("amq.match", ExchangeKind::Headers),
];

/// A virtual host.
#[derive(Debug)]
pub(super) struct VirtualHost {
    pub(super) name: Arc<str>,
    pub(super) exchanges: BTreeMap<Arc<str>, Exchange>,
    pub(super) queues: HashMap<Arc<str>, QueueId>,
    bindings: BTreeMap<Destination, Vec<Binding>>,
    binding_count: usize,
    /// Exchanges that were deleted, until someone takes note.
    pub(super) deleted: Vec<Exchange>,
}

impl VirtualHost {
    /// A virtual host with the predeclared exchanges.
    pub(super) fn new(name: &str) -> Self {
        let mut exchanges = BTreeMap::new();
        for (name, kind) in PREDECLARED {
            let mut exchange = Exchange::new(name.into(), kind);
            exchange.durable = true;
            exchanges.insert(exchange.name.clone(), exchange);
        }
        let (queues, bindings) = (HashMap::new(), BTreeMap::new());
        Self { name: name.into(), exchanges, queues, bindings, binding_count: 0, deleted: Vec::new() }
    }

    /// The exception for something that does not exist here.
    pub(super) fn not_found(&self, kind: &'static str, name: &str) -> Exception {
        Exception::NotFound { kind, name: name.to_owned(), vhost: self.name.to_string() }
    }

    /// An exchange by name; the default exchange is none that could be found.
    ///
    /// # Errors
    /// [`Exception::NotFound`].
    pub(super) fn exchange(&self, name: &str) -> Result<&Exchange, Exception> {
        self.exchanges.get(name).ok_or_else(|| self.not_found("exchange", name))
    }

    /// All bindings with their destinations, in a fixed order.
    pub(super) fn bindings(&self) -> impl Iterator<Item = (&Destination, &Binding)> {
        self.bindings.iter().flat_map(|(destination, bindings)| bindings.iter().map(move |b| (destination, b)))
    }

    /// Collects the queues that a message published to `exchange` goes to, each once, in the order of their ids.
    pub(super) fn route(&self, exchange: &Exchange, message: &Routed<'_>, queues: &mut Vec<QueueId>) {
        let mut seen = vec![&*exchange.name];
        let mut pending = vec![exchange];
        while let Some(exchange) = pending.pop() {
            let mut follow = |name: &'_ Arc<str>| {
                if let Some(exchange) = self.exchanges.get(name).filter(|found| !seen.contains(&&*found.name)) {
                    seen.push(&exchange.name);
                    pending.push(exchange);
                }
            };
            let mut found = false;
            exchange.route(message, |destination| {
                found = true;
                match destination {
                    Destination::Queue(queue) => queues.push(*queue),
                    Destination::Exchange(name) => follow(name),
                }
            });
            if let Some(alternate) = exchange.alternate.as_ref().filter(|_| !found) {
                follow(alternate);
            }
        }
        queues.sort_unstable();
        queues.dedup();
    }

    /// Adds a binding; `false` when there was the same one already.
    ///
    /// # Errors
    /// [`Exception::NotFound`] for the source, [`Exception::InvalidMatch`] for `x-match`,
    /// [`Exception::LimitReached`].
    pub(super) fn bind(&mut self, binding: Binding, to: Destination, limit: usize) -> Result<bool, Exception> {
        let Some(source) = self.exchanges.get_mut(&binding.source) else {
            return Err(self.not_found("exchange", &binding.source));
        };
        let existing = self.bindings.entry(to.clone()).or_default();
        if existing.contains(&binding) {
            return Ok(false);
        }
        let refusal = if self.binding_count >= limit {
            Some(Exception::LimitReached { what: "binding", max: limit })
        } else {
            let bound = source.bind(&binding.key, &binding.arguments, &to);
            bound.err().map(|reason| Exception::InvalidMatch(reason.into()))
        };
        if let Some(refusal) = refusal {
            if existing.is_empty() {
                self.bindings.remove(&to);
            }
            return Err(refusal);
        }
        existing.push(binding);
        self.binding_count += 1;
        Ok(true)
    }

    /// Removes a binding, and the source exchange if it is auto-delete and this was its last one. There being no
    /// such binding is fine, as in RabbitMQ; `false` then.
    pub(super) fn unbind(&mut self, binding: &Binding, from: &Destination) -> bool {
        let Some(existing) = self.bindings.get_mut(from) else { return false };
        let Some(at) = existing.iter().position(|other| other == binding) else { return false };
        existing.remove(at);
        if existing.is_empty() {
            self.bindings.remove(from);
        }
        let mut orphans = Vec::new();
        self.unlink(binding, from, &mut orphans);
        self.delete_exchanges(orphans);
        true
    }

    /// Removes all bindings to something that is being deleted.
    pub(super) fn unbind_all(&mut self, from: &Destination) {
        let mut orphans = Vec::new();
        for binding in self.bindings.remove(from).unwrap_or_default() {
            self.unlink(&binding, from, &mut orphans);
        }
        self.delete_exchanges(orphans);
    }

    /// Removes an exchange with all bindings from it and to it.
    pub(super) fn delete_exchange(&mut self, name: Arc<str>) {
        self.delete_exchanges(vec![name]);
    }

    /// Takes a binding, already gone from `bindings`, out of its source exchange.
    fn unlink(&mut self, binding: &Binding, from: &Destination, orphans: &mut Vec<Arc<str>>) {
        self.binding_count -= 1;
        if let Some(source) = self.exchanges.get_mut(&binding.source) {
            source.unbind(&binding.key, &binding.arguments, from);
            if source.auto_delete && source.binding_count() == 0 {
                orphans.push(source.name.clone());
            }
        }
    }

    /// Deleting an exchange may take the last binding from an auto-delete exchange, and so on: a list, not recursion.
    fn delete_exchanges(&mut self, mut names: Vec<Arc<str>>) {
        while let Some(name) = names.pop() {
            let Some(exchange) = self.exchanges.remove(&name) else { continue };
            if exchange.binding_count() > 0 {
                self.bindings.retain(|_, bindings| {
                    bindings.retain(|binding| binding.source != name);
                    !bindings.is_empty()
                });
                self.binding_count -= exchange.binding_count();
            }
            self.deleted.push(exchange);
            let destination = Destination::Exchange(name);
            for binding in self.bindings.remove(&destination).unwrap_or_default() {
                self.unlink(&binding, &destination, &mut names);
            }
        }
    }
}
