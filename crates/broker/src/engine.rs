//! The engine: everything a broker decides, free of I/O and of clocks.
//!
//! [`Command`]s go in, [`Effect`]s come out, and the same commands always give the same effects. One engine serves all
//! connections. Its parts:
//!
//! * `command`: the commands and the effects
//! * `topology`, `exchange`, `targets`, `topic`, `headers`: where a message goes
//! * `queue`, `message`, `channel`: state, with its arithmetic
//! * `lifecycle`: connections and channels come and go
//! * `queue_methods`, `exchange_methods`, `consume`, `publish`, `deliver`, `settle`: what each method does
//! * `snapshot`: a look at it from outside
//!
//! It does not know sockets, frames, heartbeats or passwords.

mod channel;
mod command;
mod consume;
mod deliver;
mod exchange;
mod exchange_methods;
mod headers;
mod lifecycle;
mod message;
#[cfg(test)]
mod model_test;
mod names;
mod publish;
mod queue;
mod queue_methods;
mod settle;
mod snapshot;
mod targets;
#[cfg(test)]
mod tests;
mod topic;
mod topology;

use std::collections::BTreeMap;

use amq_protocol::protocol::{
    AMQPClass, basic, channel as channel_class, confirm, connection as connection_class, exchange as exchange_class,
    queue as queue_class,
};

pub(crate) use command::{ChannelKey, Client, Command, ConnectionId, Effect, Outbound};
pub use message::MESSAGE_OVERHEAD_BYTES;
pub(crate) use message::Message;
pub use queue::QueueTotals;
pub use snapshot::{BindingSnapshot, ChannelSnapshot, ConnectionSnapshot, ExchangeSnapshot, QueueSnapshot, Snapshot};

use crate::exception::Exception;
use crate::options::Limits;
use channel::{Channel, ChannelState, Consumer};
use names::NameGenerator;
use queue::Queue;
use topology::VirtualHost;

/// A queue; never used twice, unlike its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct QueueId(u64);

/// A consumer; never used twice, unlike its tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct ConsumerId(u64);

/// A virtual host's place in the engine's list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct VhostId(usize);

#[derive(Debug)]
struct Connection {
    client: Client,
    vhost: VhostId,
    channels: BTreeMap<u16, ChannelState>,
    /// Octets of deliveries sent and not yet reported as drained.
    backlog: usize,
    /// Whether consumers were parked because of the backlog.
    congested: bool,
    /// Whether it has published, so that the memory alarm concerns it.
    publishes: bool,
    /// Whether it was told `connection.blocked`.
    blocked: bool,
}

/// The state of a broker.
#[derive(Debug)]
pub(crate) struct Engine {
    limits: Limits,
    vhosts: Vec<VirtualHost>,
    queues: BTreeMap<QueueId, Queue>,
    consumers: BTreeMap<ConsumerId, Consumer>,
    connections: BTreeMap<ConnectionId, Connection>,
    names: NameGenerator,
    /// The last id given to a queue or a consumer.
    last_id: u64,
    /// Weight of all entries, ready or unacknowledged.
    held_bytes: usize,
    alarm: bool,
    /// Channels with confirms due at the end of the batch; may name one more than once.
    confirms_due: Vec<ChannelKey>,
    effects: Vec<Effect>,
    /// Where routing collects queues, kept to spare an allocation for each message.
    routes: Vec<QueueId>,
}

impl Engine {
    /// An engine with empty virtual hosts of these names. `seed` makes the names it generates.
    pub(crate) fn new(limits: Limits, vhosts: &[String], seed: u64) -> Self {
        Self {
            limits,
            vhosts: vhosts.iter().map(|name| VirtualHost::new(name)).collect(),
            queues: BTreeMap::new(),
            consumers: BTreeMap::new(),
            connections: BTreeMap::new(),
            names: NameGenerator::new(seed),
            last_id: 0,
            held_bytes: 0,
            alarm: false,
            confirms_due: Vec::new(),
            effects: Vec::new(),
            routes: Vec::new(),
        }
    }

    /// Carries out one command. Its effects are kept until [`Self::finish_batch`].
    pub(crate) fn handle(&mut self, command: Command) {
        match command {
            Command::Connect { connection, client } => self.connect(connection, client),
            Command::Method { channel, method } => {
                let ids = (method.get_amqp_class_id(), method.get_amqp_method_id());
                if let Err(exception) = self.method(channel, *method) {
                    self.raise(channel, exception, ids);
                }
            }
            Command::Publish { channel, publish, content } => {
                if let Err(exception) = self.publish(channel, publish, content) {
                    self.raise(channel, exception, (60, 40));
                }
            }
            Command::Fault { channel, exception, class_id, method_id } => {
                self.raise(channel, exception, (class_id, method_id));
            }
            Command::Close { connection } => self.close_requested(connection),
            Command::Disconnect { connection } => self.disconnect(connection),
            Command::Drained { connection, bytes } => self.drained(connection, bytes),
            Command::Shutdown => self.shutdown(),
        }
    }

    /// Ends a batch of commands: releases the confirms that have become due, several at once where possible, checks
    /// the memory bound, and hands out all effects in order.
    pub(crate) fn finish_batch(&mut self) -> std::vec::Drain<'_, Effect> {
        for key in std::mem::take(&mut self.confirms_due) {
            let due = self.open_channel(key).and_then(|channel| channel.confirms.as_mut()?.take_due());
            if let Some((delivery_tag, multiple)) = due {
                self.send(key.connection, Outbound::Confirm { channel: key.number, delivery_tag, multiple });
            }
        }
        let release_at = self.limits.held_bytes / 10 * 9;
        if self.alarm
            != if self.alarm { self.held_bytes > release_at } else { self.held_bytes > self.limits.held_bytes }
        {
            self.alarm = !self.alarm;
            tracing::warn!(held_bytes = self.held_bytes, blocked = self.alarm, "memory bound for messages");
            self.effects.push(Effect::MemoryAlarm(self.alarm));
            self.tell_blocked();
        }
        self.effects.drain(..)
    }

    /// Carries out a method, if the channel is in a state to have one carried out.
    fn method(&mut self, key: ChannelKey, method: AMQPClass) -> Result<(), Exception> {
        use channel_class::AMQPMethod as Channels;
        let Some(connection) = self.connections.get_mut(&key.connection) else { return Ok(()) };
        if key.number == 0 {
            return self.connection_method(key, &method);
        }
        match (connection.channels.get(&key.number), method) {
            (Some(ChannelState::Open(_)), AMQPClass::Channel(Channels::Open(_))) => {
                Err(Exception::ChannelError("second 'channel.open' seen"))
            }
            (_, AMQPClass::Channel(Channels::Open(_))) => self.channel_open(key),
            (Some(ChannelState::Closing), AMQPClass::Channel(Channels::Close(_))) => {
                self.reply(key, AMQPClass::Channel(Channels::CloseOk(channel_class::CloseOk {})));
                Ok(())
            }
            (Some(ChannelState::Closing), AMQPClass::Channel(Channels::CloseOk(_))) => {
                connection.channels.remove(&key.number);
                Ok(())
            }
            (Some(ChannelState::Closing), _) => Ok(()),
            // Both sides closed at once, and the client's answer comes after the channel is gone.
            (None, AMQPClass::Channel(Channels::CloseOk(_))) => Ok(()),
            (None, _) => Err(Exception::ChannelError("expected 'channel.open'")),
            (Some(ChannelState::Open(_)), method) => self.channel_method(key, method),
        }
    }

    /// What is left of the connection class once a connection is open and `close` is dealt with.
    fn connection_method(&mut self, key: ChannelKey, method: &AMQPClass) -> Result<(), Exception> {
        use connection_class::AMQPMethod as Connections;
        match method {
            // Passwords are checked at login only, so a new one changes nothing for this connection.
            AMQPClass::Connection(Connections::UpdateSecret(_)) => {
                let ok = Connections::UpdateSecretOk(connection_class::UpdateSecretOk {});
                self.reply(key, AMQPClass::Connection(ok));
                Ok(())
            }
            AMQPClass::Connection(_) => Err(Exception::CommandInvalid("unexpected method of the connection class")),
            _ => Err(Exception::ChannelError("method of a channel on channel 0")),
        }
    }

    fn channel_method(&mut self, key: ChannelKey, method: AMQPClass) -> Result<(), Exception> {
        use exchange_class::AMQPMethod as Exchanges;
        use queue_class::AMQPMethod as Queues;
        match method {
            AMQPClass::Basic(method) => self.basic_method(key, method),
            AMQPClass::Queue(Queues::Declare(declare)) => self.queue_declare(key, declare),
            AMQPClass::Queue(Queues::Bind(bind)) => self.queue_bind(key, bind),
            AMQPClass::Queue(Queues::Unbind(unbind)) => self.queue_unbind(key, unbind),
            AMQPClass::Queue(Queues::Purge(purge)) => self.queue_purge(key, purge),
            AMQPClass::Queue(Queues::Delete(delete)) => self.queue_delete(key, delete),
            AMQPClass::Exchange(Exchanges::Declare(declare)) => self.exchange_declare(key, declare),
            AMQPClass::Exchange(Exchanges::Delete(delete)) => self.exchange_delete(key, delete),
            AMQPClass::Exchange(Exchanges::Bind(bind)) => self.exchange_bind(key, bind),
            AMQPClass::Exchange(Exchanges::Unbind(unbind)) => self.exchange_unbind(key, unbind),
            AMQPClass::Channel(method) => self.channel_class_method(key, method),
            AMQPClass::Confirm(confirm::AMQPMethod::Select(select)) => self.confirm_select(key, &select),
            AMQPClass::Tx(_) => Err(Exception::NotImplemented("transactions")),
            AMQPClass::Access(_) => Err(Exception::NotImplemented("access.request")),
            _ => Err(Exception::CommandInvalid("unimplemented method")),
        }
    }

    fn basic_method(&mut self, key: ChannelKey, method: basic::AMQPMethod) -> Result<(), Exception> {
        use basic::AMQPMethod as Basic;
        match method {
            Basic::Qos(qos) => self.qos(key, &qos),
            Basic::Consume(consume) => self.consume(key, consume),
            Basic::Cancel(cancel) => self.cancel(key, cancel),
            // The answer to a cancel from the server; nothing waits for it.
            Basic::CancelOk(_) => Ok(()),
            Basic::Get(get) => self.get(key, &get),
            Basic::Ack(ack) => self.ack(key, ack.delivery_tag, ack.multiple),
            Basic::Nack(nack) => self.nack(key, nack.delivery_tag, nack.multiple, nack.requeue),
            Basic::Reject(reject) => self.nack(key, reject.delivery_tag, false, reject.requeue),
            Basic::Recover(recover) => self.recover(key, recover.requeue, true),
            Basic::RecoverAsync(recover) => self.recover(key, recover.requeue, false),
            _ => Err(Exception::CommandInvalid("unimplemented method")),
        }
    }

    fn channel_class_method(&mut self, key: ChannelKey, method: channel_class::AMQPMethod) -> Result<(), Exception> {
        use channel_class::AMQPMethod as Channels;
        match method {
            Channels::Close(close) => {
                self.channel_close(key, &close);
                Ok(())
            }
            Channels::Flow(channel_class::Flow { active: true }) => {
                self.reply(key, AMQPClass::Channel(Channels::FlowOk(channel_class::FlowOk { active: true })));
                Ok(())
            }
            // RabbitMQ's answer too: prefetch is how a client slows the broker down.
            Channels::Flow(_) => Err(Exception::NotImplemented("active=false")),
            Channels::FlowOk(_) | Channels::CloseOk(_) => Ok(()),
            Channels::Open(_) | Channels::OpenOk(_) => Err(Exception::CommandInvalid("unimplemented method")),
        }
    }

    fn confirm_select(&mut self, key: ChannelKey, select: &confirm::Select) -> Result<(), Exception> {
        self.open_channel_or(key)?.confirms.get_or_insert_default();
        self.reply_unless(select.nowait, key, AMQPClass::Confirm(confirm::AMQPMethod::SelectOk(confirm::SelectOk {})));
        Ok(())
    }

    fn open_channel(&mut self, key: ChannelKey) -> Option<&mut Channel> {
        match self.connections.get_mut(&key.connection)?.channels.get_mut(&key.number)? {
            ChannelState::Open(channel) => Some(channel),
            ChannelState::Closing => None,
        }
    }

    /// The open channel, or the exception for using one that is not.
    fn open_channel_or(&mut self, key: ChannelKey) -> Result<&mut Channel, Exception> {
        self.open_channel(key).ok_or(Exception::ChannelError("expected 'channel.open'"))
    }

    fn vhost_id(&self, key: ChannelKey) -> Result<VhostId, Exception> {
        let connection = self.connections.get(&key.connection);
        Ok(connection.ok_or(Exception::ChannelError("expected 'channel.open'"))?.vhost)
    }

    fn vhost(&self, key: ChannelKey) -> Result<&VirtualHost, Exception> {
        Ok(&self.vhosts[self.vhost_id(key)?.0])
    }

    fn vhost_mut(&mut self, key: ChannelKey) -> Result<&mut VirtualHost, Exception> {
        let VhostId(at) = self.vhost_id(key)?;
        Ok(&mut self.vhosts[at])
    }

    fn next_id(&mut self) -> u64 {
        self.last_id += 1;
        self.last_id
    }

    fn send(&mut self, connection: ConnectionId, outbound: Outbound) {
        self.effects.push(Effect::Send { connection, outbound });
    }

    fn reply(&mut self, key: ChannelKey, method: AMQPClass) {
        self.send(key.connection, Outbound::Method { channel: key.number, method: Box::new(method) });
    }

    fn reply_unless(&mut self, nowait: bool, key: ChannelKey, method: AMQPClass) {
        if !nowait {
            self.reply(key, method);
        }
    }
}
