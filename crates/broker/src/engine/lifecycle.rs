//! Connections and channels come and go, by request or by exception.
//!
//! What they held goes back first: consumers stop, messages are requeued, exclusive queues end. Does not know how a
//! close travels over the wire.

use amq_protocol::protocol::channel::{AMQPMethod as ChannelMethod, Close, CloseOk, OpenOk};
use amq_protocol::protocol::connection::{AMQPMethod as ConnectionMethod, CloseOk as ConnectionCloseOk};
use amq_protocol::protocol::{AMQPClass, channel};

use super::channel::{Channel, ChannelState};
use super::confirms::Confirms;
use super::{ChannelKey, Client, Connection, ConnectionId, Effect, Engine, Outbound, VhostId};
use crate::exception::Exception;

/// What the log calls them when it leaves some out.
const EXCEPTIONS: &str = "channels and connections closed by the broker";

impl Engine {
    pub(super) fn connect(&mut self, id: ConnectionId, client: Client) {
        let Some(at) = self.vhosts.iter().position(|vhost| *vhost.name == *client.vhost) else {
            let exception = Exception::NoVhost(client.vhost);
            self.send(id, Outbound::Close { exception, class_id: 10, method_id: 40 });
            self.effects.push(Effect::Finish { connection: id });
            return;
        };
        let connection = Connection {
            client,
            vhost: VhostId(at),
            channels: Default::default(),
            backlog: 0,
            congested: false,
            publishes: false,
            blocked: false,
            connected_at: self.now,
        };
        self.connections.insert(id, connection);
    }

    pub(super) fn channel_open(&mut self, key: ChannelKey) -> Result<(), Exception> {
        let serial = self.next_id();
        let Some(connection) = self.connections.get_mut(&key.connection) else { return Ok(()) };
        // As RabbitMQ reads `channel-max`: how many, whatever their numbers are. Clients count on it.
        if connection.channels.len() >= usize::from(connection.client.channel_max) {
            return Err(Exception::TooManyChannels(connection.client.channel_max));
        }
        connection.channels.insert(key.number, ChannelState::Open(Box::new(Channel::new(serial))));
        self.reply(key, AMQPClass::Channel(ChannelMethod::OpenOk(OpenOk {})));
        Ok(())
    }

    pub(super) fn channel_close(&mut self, key: ChannelKey, close: &Close) {
        tracing::debug!(?key, code = close.reply_code, text = %close.reply_text, "channel closed by the client");
        let state = self.connections.get_mut(&key.connection).and_then(|c| c.channels.remove(&key.number));
        if let Some(ChannelState::Open(channel)) = state {
            self.release_channels(vec![(key, *channel)]);
        }
        self.reply(key, AMQPClass::Channel(ChannelMethod::CloseOk(CloseOk {})));
    }

    /// Closes the channel or the connection because of an exception.
    pub(super) fn raise(&mut self, key: ChannelKey, exception: Exception, (class_id, method_id): (u16, u16)) {
        let Some(connection) = self.connections.get_mut(&key.connection) else { return };
        let client = &connection.client;
        if exception.is_hard() {
            if self.exception_lines.allows(self.now.0, EXCEPTIONS) {
                let (channel, reason) = (key.number, exception.to_string());
                tracing::info!(
                    peer = client.peer,
                    name = client.name,
                    channel,
                    reason,
                    "connection closed by the broker"
                );
            }
            self.close_connection(key.connection, exception, (class_id, method_id));
            return;
        }
        let Some(state @ ChannelState::Open(_)) = connection.channels.get_mut(&key.number) else { return };
        if self.exception_lines.allows(self.now.0, EXCEPTIONS) {
            let (channel, reason) = (key.number, exception.to_string());
            tracing::info!(peer = client.peer, name = client.name, channel, reason, "channel closed by the broker");
        }
        let before = std::mem::replace(state, ChannelState::Closing);
        // Confirms for what was accepted before the exception go out before the close.
        if let ChannelState::Open(mut channel) = before {
            let due = channel.confirms.as_mut().map(Confirms::take_due).unwrap_or_default();
            self.send_each_confirm(key, due);
            self.release_channels(vec![(key, *channel)]);
        }
        let (reply_code, reply_text) = (exception.code(), exception.reply_text().as_str().into());
        let close = channel::Close { reply_code, reply_text, class_id, method_id };
        self.reply(key, AMQPClass::Channel(ChannelMethod::Close(close)));
    }

    fn close_connection(&mut self, id: ConnectionId, exception: Exception, (class_id, method_id): (u16, u16)) {
        self.release_connection(id);
        self.send(id, Outbound::Close { exception, class_id, method_id });
        self.effects.push(Effect::Finish { connection: id });
    }

    pub(super) fn close_requested(&mut self, id: ConnectionId) {
        if !self.connections.contains_key(&id) {
            return;
        }
        self.release_connection(id);
        let close_ok = AMQPClass::Connection(ConnectionMethod::CloseOk(ConnectionCloseOk {}));
        self.send(id, Outbound::Method { channel: 0, method: Box::new(close_ok) });
        self.effects.push(Effect::Finish { connection: id });
    }

    pub(super) fn disconnect(&mut self, id: ConnectionId) {
        if self.connections.contains_key(&id) {
            self.release_connection(id);
            self.effects.push(Effect::Finish { connection: id });
        }
    }

    pub(super) fn shutdown(&mut self) {
        let connections: Vec<_> = self.connections.keys().copied().collect();
        for id in connections {
            self.close_connection(id, Exception::Shutdown, (0, 0));
        }
    }

    /// Gives back all a connection held. Confirms that are due go out first: those messages are accepted.
    fn release_connection(&mut self, id: ConnectionId) {
        let Some(connection) = self.connections.remove(&id) else { return };
        self.deferred.retain(|key, _| key.connection != id);
        let mut channels = Vec::new();
        for (number, state) in connection.channels {
            let ChannelState::Open(mut channel) = state else { continue };
            let key = ChannelKey { connection: id, number };
            let due = channel.confirms.as_mut().map(Confirms::take_due).unwrap_or_default();
            self.send_each_confirm(key, due);
            channels.push((key, *channel));
        }
        self.release_channels(channels);
        let owned: Vec<_> = self.queues.iter().filter(|(_, q)| q.owner == Some(id)).map(|(id, _)| *id).collect();
        for queue in owned {
            self.remove_queue(queue);
        }
    }

    /// All consumers stop before anything is requeued, so that nothing is delivered to a channel that ends.
    fn release_channels(&mut self, channels: Vec<(ChannelKey, Channel)>) {
        let mut unsettled = Vec::new();
        let mut abandoned = Vec::new();
        for (_, mut channel) in channels {
            self.abandon_transaction(&mut channel);
            self.end_replies(&mut channel);
            for consumer in std::mem::take(&mut channel.consumers).into_values() {
                abandoned.extend(self.remove_consumer(consumer));
            }
            unsettled.extend(channel.settle_all());
        }
        self.requeue(unsettled);
        for queue in abandoned {
            self.remove_if_abandoned(queue);
            // Another consumer may be the active one now.
            self.pump(queue);
        }
    }
}
