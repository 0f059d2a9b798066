//! The exchange class: declare, delete, bind, unbind (section 1.6 of the reference; binding exchanges to exchanges
//! is RabbitMQ's extension).
//!
//! Does not know how an exchange routes.

use std::sync::Arc;

use amq_protocol::protocol::AMQPClass;
use amq_protocol::protocol::exchange::{
    AMQPMethod as Exchanges, Bind, BindOk, Declare, DeclareOk, Delete, DeleteOk, Unbind, UnbindOk,
};
use amq_protocol::types::FieldTable;

use super::access::{Access, Resource};
use super::exchange::{ALTERNATE, Exchange, ExchangeKind};
use super::queue_methods::{Place, missing_is_unbound};
use super::topology::Destination;
use super::{ChannelKey, Engine};
use crate::exception::Exception;
use crate::store::TopologyChange;

const EXCHANGE: &str = "exchange";
/// What names begin with that clients may not invent.
const RESERVED: &str = "amq.";

impl Engine {
    pub(super) fn exchange_declare(&mut self, key: ChannelKey, declare: Declare) -> Result<(), Exception> {
        let nowait = declare.nowait;
        self.declare_exchange(key, declare)?;
        self.reply_stored_unless(nowait, key, AMQPClass::Exchange(Exchanges::DeclareOk(DeclareOk {})));
        Ok(())
    }

    fn declare_exchange(&mut self, key: ChannelKey, declare: Declare) -> Result<(), Exception> {
        let (name, limit) = (declare.exchange.as_str(), self.limits.exchanges);
        if name.is_empty() {
            return Err(Exception::DefaultExchange);
        }
        if declare.passive {
            return self.vhost(key)?.exchange(name).map(drop);
        }
        let kind = ExchangeKind::parse(declare.kind.as_str())
            .ok_or_else(|| Exception::UnknownExchangeType(declare.kind.to_string()))?;
        let itself = Resource::Exchange(name);
        self.check_permission(key, Access::Configure, itself)?;
        if !self.vhost(key)?.exchanges.contains_key(name) {
            refuse_reserved(name)?;
            self.check_may_forward(key, itself, &declare.arguments)?;
        }
        let vhost = self.vhost_mut(key)?;
        let at = Place { kind: EXCHANGE, name, vhost: &vhost.name };
        if let Some(current) = vhost.exchanges.get(name) {
            at.value("type", kind.name(), current.kind.name())?;
            at.flag("durable", declare.durable, current.durable)?;
            at.flag("auto_delete", declare.auto_delete, current.auto_delete)?;
            at.flag("internal", declare.internal, current.internal)?;
            return at.arguments(&compared(&declare.arguments), &compared(&current.arguments));
        }
        if vhost.exchanges.len() >= limit {
            return Err(Exception::LimitReached { what: EXCHANGE, max: limit });
        }
        let mut exchange = Exchange::new(name.into(), kind);
        exchange.durable = declare.durable;
        exchange.auto_delete = declare.auto_delete;
        exchange.internal = declare.internal;
        exchange.set_arguments(declare.arguments).map_err(|found| {
            let (name, vhost) = (name.into(), (*vhost.name).into());
            Exception::WrongArgumentType { found, arg: ALTERNATE, kind: EXCHANGE, name, vhost }
        })?;
        let stored = exchange.durable.then(|| exchange.stored(&vhost.name));
        vhost.exchanges.insert(exchange.name.clone(), exchange);
        let vhost = vhost.name.clone();
        if self.logs_topology() {
            let Declare { durable, internal, auto_delete, .. } = declare;
            let (kind, vhost) = (kind.name(), &*vhost);
            tracing::info!(exchange = name, kind, vhost, durable, internal, auto_delete, "exchange declared");
        }
        if let Some(stored) = stored {
            self.storage.change(TopologyChange::ExchangeDeclared(stored));
        }
        Ok(())
    }

    pub(super) fn exchange_delete(&mut self, key: ChannelKey, delete: Delete) -> Result<(), Exception> {
        let name = delete.exchange.as_str();
        if name.is_empty() {
            return Err(Exception::DefaultExchange);
        }
        if name.starts_with(RESERVED) {
            let (name, vhost) = (name.to_owned(), self.vhost(key)?.name.to_string());
            return Err(Exception::SystemExchange { name, vhost });
        }
        self.check_permission(key, Access::Configure, Resource::Exchange(name))?;
        let vhost = self.vhost_mut(key)?;
        // Deleting what does not exist is fine, as in RabbitMQ.
        if let Some(exchange) = vhost.exchanges.get(name) {
            if delete.if_unused && exchange.binding_count() > 0 {
                let (name, vhost) = (name.to_owned(), vhost.name.to_string());
                return Err(Exception::InUse { kind: EXCHANGE, name, vhost });
            }
            let name = Arc::clone(&exchange.name);
            vhost.delete_exchange(name);
            self.collect_topology_changes();
        }
        self.reply_stored_unless(delete.nowait, key, AMQPClass::Exchange(Exchanges::DeleteOk(DeleteOk {})));
        Ok(())
    }

    pub(super) fn exchange_bind(&mut self, key: ChannelKey, bind: Bind) -> Result<(), Exception> {
        let destination = self.exchange_destination(key, bind.destination.as_str())?;
        let (source, routing_key) = (bind.source.as_str(), bind.routing_key.as_str());
        self.change_binding(key, source, routing_key, bind.arguments, destination, true)?;
        self.reply_stored_unless(bind.nowait, key, AMQPClass::Exchange(Exchanges::BindOk(BindOk {})));
        Ok(())
    }

    pub(super) fn exchange_unbind(&mut self, key: ChannelKey, unbind: Unbind) -> Result<(), Exception> {
        let (source, routing_key) = (unbind.source.as_str(), unbind.routing_key.as_str());
        let unbound = self.exchange_destination(key, unbind.destination.as_str()).and_then(|destination| {
            self.change_binding(key, source, routing_key, unbind.arguments, destination, false)
        });
        missing_is_unbound(unbound)?;
        self.reply_stored_unless(unbind.nowait, key, AMQPClass::Exchange(Exchanges::UnbindOk(UnbindOk {})));
        Ok(())
    }

    fn exchange_destination(&self, key: ChannelKey, name: &str) -> Result<Destination, Exception> {
        if name.is_empty() {
            return Err(Exception::DefaultExchange);
        }
        self.check_permission(key, Access::Write, Resource::Exchange(name))?;
        Ok(Destination::Exchange(Arc::clone(&self.vhost(key)?.exchange(name)?.name)))
    }
}

/// The arguments that make a difference when an exchange is declared again, as in RabbitMQ.
fn compared(arguments: &FieldTable) -> FieldTable {
    let mut compared = FieldTable::default();
    if let Some(value) = arguments.inner().get(ALTERNATE) {
        compared.insert(ALTERNATE.into(), value.clone());
    }
    compared
}

fn refuse_reserved(name: &str) -> Result<(), Exception> {
    if name.starts_with(RESERVED) {
        return Err(Exception::ReservedName { kind: EXCHANGE, name: name.to_owned() });
    }
    Ok(())
}
