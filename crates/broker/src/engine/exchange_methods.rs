//! The exchange class: declare, delete, bind, unbind (section 1.6 of the reference; binding exchanges to exchanges
//! is RabbitMQ's extension).
//!
//! Does not know how an exchange routes.

use std::sync::Arc;

use amq_protocol::protocol::AMQPClass;
use amq_protocol::protocol::exchange::{
    AMQPMethod as Exchanges, Bind, BindOk, Declare, DeclareOk, Delete, DeleteOk, Unbind, UnbindOk,
};

use super::exchange::{Exchange, ExchangeKind};
use super::headers::text;
use super::queue_methods::Place;
use super::topology::Destination;
use super::{ChannelKey, Engine};
use crate::exception::Exception;

const EXCHANGE: &str = "exchange";

impl Engine {
    pub(super) fn exchange_declare(&mut self, key: ChannelKey, declare: Declare) -> Result<(), Exception> {
        let nowait = declare.nowait;
        self.declare_exchange(key, declare)?;
        self.reply_unless(nowait, key, AMQPClass::Exchange(Exchanges::DeclareOk(DeclareOk {})));
        Ok(())
    }

    fn declare_exchange(&mut self, key: ChannelKey, declare: Declare) -> Result<(), Exception> {
        let (name, limit) = (declare.exchange.as_str(), self.limits.exchanges);
        if declare.passive {
            return if name.is_empty() { Ok(()) } else { self.vhost(key)?.exchange(name).map(drop) };
        }
        if name.is_empty() {
            return Err(Exception::DefaultExchange);
        }
        let kind = ExchangeKind::parse(declare.kind.as_str())
            .ok_or_else(|| Exception::UnknownExchangeType(declare.kind.to_string()))?;
        let vhost = self.vhost_mut(key)?;
        let at = Place { kind: EXCHANGE, name, vhost: &vhost.name };
        if let Some(current) = vhost.exchanges.get(name) {
            at.value("type", kind.name(), current.kind.name())?;
            at.flag("durable", declare.durable, current.durable)?;
            at.flag("auto_delete", declare.auto_delete, current.auto_delete)?;
            at.flag("internal", declare.internal, current.internal)?;
            return at.arguments(&declare.arguments, &current.arguments);
        }
        refuse_reserved(name)?;
        if vhost.exchanges.len() >= limit {
            return Err(Exception::LimitReached { what: EXCHANGE, max: limit });
        }
        let mut exchange = Exchange::new(name.into(), kind);
        exchange.durable = declare.durable;
        exchange.auto_delete = declare.auto_delete;
        exchange.internal = declare.internal;
        if let Some(value) = declare.arguments.inner().get("alternate-exchange") {
            let alternate = text(value).ok_or_else(|| Exception::InvalidArgument {
                arg: "alternate-exchange".into(),
                kind: EXCHANGE,
                name: name.into(),
                vhost: (*vhost.name).into(),
                reason: "expected a string".into(),
            })?;
            exchange.alternate = Some(alternate.into());
        }
        exchange.arguments = declare.arguments;
        tracing::info!(
            exchange = name,
            kind = kind.name(),
            vhost = &*vhost.name,
            durable = exchange.durable,
            internal = exchange.internal,
            auto_delete = exchange.auto_delete,
            "exchange declared"
        );
        vhost.exchanges.insert(exchange.name.clone(), exchange);
        Ok(())
    }

    pub(super) fn exchange_delete(&mut self, key: ChannelKey, delete: Delete) -> Result<(), Exception> {
        let name = delete.exchange.as_str();
        if name.is_empty() {
            return Err(Exception::DefaultExchange);
        }
        refuse_reserved(name)?;
        let vhost = self.vhost_mut(key)?;
        // Deleting what does not exist is fine, as in RabbitMQ.
        if let Some(exchange) = vhost.exchanges.get(name) {
            if delete.if_unused && exchange.binding_count() > 0 {
                let (name, vhost) = (name.to_owned(), vhost.name.to_string());
                return Err(Exception::InUse { kind: EXCHANGE, name, vhost });
            }
            let name = Arc::clone(&exchange.name);
            vhost.delete_exchange(name);
        }
        self.reply_unless(delete.nowait, key, AMQPClass::Exchange(Exchanges::DeleteOk(DeleteOk {})));
        Ok(())
    }

    pub(super) fn exchange_bind(&mut self, key: ChannelKey, bind: Bind) -> Result<(), Exception> {
        let destination = self.exchange_destination(key, bind.destination.as_str())?;
        let (source, routing_key) = (bind.source.as_str(), bind.routing_key.as_str());
        self.change_binding(key, source, routing_key, bind.arguments, destination, true)?;
        self.reply_unless(bind.nowait, key, AMQPClass::Exchange(Exchanges::BindOk(BindOk {})));
        Ok(())
    }

    pub(super) fn exchange_unbind(&mut self, key: ChannelKey, unbind: Unbind) -> Result<(), Exception> {
        let destination = self.exchange_destination(key, unbind.destination.as_str())?;
        let (source, routing_key) = (unbind.source.as_str(), unbind.routing_key.as_str());
        self.change_binding(key, source, routing_key, unbind.arguments, destination, false)?;
        self.reply_unless(unbind.nowait, key, AMQPClass::Exchange(Exchanges::UnbindOk(UnbindOk {})));
        Ok(())
    }

    fn exchange_destination(&self, key: ChannelKey, name: &str) -> Result<Destination, Exception> {
        if name.is_empty() {
            return Err(Exception::DefaultExchange);
        }
        Ok(Destination::Exchange(Arc::clone(&self.vhost(key)?.exchange(name)?.name)))
    }
}

fn refuse_reserved(name: &str) -> Result<(), Exception> {
    if name.starts_with("amq.") {
        return Err(Exception::ReservedName { kind: EXCHANGE, name: name.to_owned() });
    }
    Ok(())
}
