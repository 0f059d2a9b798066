//! What the user of a connection may do with a queue or an exchange: RabbitMQ's table of operations and permissions
//! (its access control guide).
//!
//! | operation | configure | write | read |
//! |---|---|---|---|
//! | `exchange.declare`, `exchange.delete`, `queue.declare`, `queue.delete` | the thing itself | | |
//! | a new exchange with `alternate-exchange` | | the alternate | the exchange |
//! | a new queue with `x-dead-letter-exchange` | | that exchange | the queue |
//! | bindings and their removal | | the destination | the source |
//! | `basic.publish` | | the exchange | |
//! | `basic.get`, `basic.consume`, `queue.purge` | | | the queue |
//!
//! Passive declarations need nothing. Does not know what a pattern is (`permission`).

use amq_protocol::types::FieldTable;

use super::exchange::ALTERNATE;
use super::headers::text;
use super::{ChannelKey, Engine};
use crate::exception::Exception;

/// What an operation does with a queue or an exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Access {
    Configure,
    Write,
    Read,
}

/// A queue or an exchange, which need not exist.
#[derive(Clone, Copy, Debug)]
pub(super) enum Resource<'a> {
    Queue(&'a str),
    Exchange(&'a str),
}

impl Engine {
    /// Refuses what the user may not do.
    ///
    /// # Errors
    /// [`Exception::NoPermission`].
    pub(super) fn check_permission(&self, key: ChannelKey, access: Access, to: Resource<'_>) -> Result<(), Exception> {
        let Some(connection) = self.connections.get(&key.connection) else { return Ok(()) };
        let (client, permissions) = (&connection.client, &connection.client.permissions);
        let (kind, name) = match to {
            Resource::Queue(name) => ("queue", name),
            Resource::Exchange(name) => ("exchange", name),
        };
        let (verb, allowed) = match access {
            Access::Configure => ("configure", permissions.allows_configure(name)),
            Access::Write => ("write", permissions.allows_write(name)),
            Access::Read => ("read", permissions.allows_read(name)),
        };
        if allowed {
            return Ok(());
        }
        Err(Exception::NoPermission {
            access: verb,
            kind,
            name: if name.is_empty() { "amq.default".into() } else { name.into() },
            vhost: client.vhost.as_str().into(),
            user: client.user.as_str().into(),
        })
    }

    /// Refuses a publisher. Need not be asked again before the channel publishes to another exchange.
    pub(super) fn check_may_publish(&mut self, key: ChannelKey, exchange: &str) -> Result<(), Exception> {
        self.check_permission(key, Access::Write, Resource::Exchange(exchange))?;
        let last = self.open_channel_or(key)?.publishes_to.get_or_insert_default();
        exchange.clone_into(last);
        Ok(())
    }

    /// Refuses a new queue or exchange if its arguments send messages elsewhere and the user could not do that.
    pub(super) fn check_may_forward(
        &self,
        key: ChannelKey,
        from: Resource<'_>,
        arguments: &FieldTable,
    ) -> Result<(), Exception> {
        let argument = match from {
            Resource::Queue(_) => "x-dead-letter-exchange",
            Resource::Exchange(_) => ALTERNATE,
        };
        let Some(to) = arguments.inner().get(argument).and_then(text) else { return Ok(()) };
        self.check_permission(key, Access::Read, from)?;
        self.check_permission(key, Access::Write, Resource::Exchange(&to))
    }
}
