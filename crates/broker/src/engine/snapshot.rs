//! A look at the engine from outside, for metrics and pages.
//!
//! Copies, or shares what does not change; holds nothing of the engine. Does not know how it will be shown.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use serde::Serialize;

use super::channel::{ChannelState, Consumer};
use super::pressure::Alarm;
use super::queue::QueueTotals;
use super::topology::Destination;
use super::{ChannelKey, Connection, ConsumerId, Engine};
use crate::arguments::Arguments;
use crate::identity::QueueId;

/// Everything a broker holds at one moment.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Snapshot {
    /// Open connections, oldest first.
    pub connections: Vec<ConnectionSnapshot>,
    /// Queues, oldest first.
    pub queues: Vec<QueueSnapshot>,
    /// Exchanges by virtual host and name; the default exchange is not among them.
    pub exchanges: Vec<ExchangeSnapshot>,
    /// Bindings; those of the default exchange are not among them.
    pub bindings: Vec<BindingSnapshot>,
    /// Consumers, by connection and channel.
    pub consumers: Vec<ConsumerSnapshot>,
    /// Octets that messages take up in memory, overhead included.
    pub held_bytes: usize,
    /// Why publishers are blocked, if they are.
    pub blocked: Option<&'static str>,
}

/// A connection that has logged in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ConnectionSnapshot {
    /// Its number, never used twice while the broker runs.
    pub id: u64,
    /// The address it connects from.
    pub peer: String,
    /// The name the client gave itself (`connection_name`).
    pub client_name: Option<String>,
    /// Who logged in.
    pub user: String,
    /// The virtual host.
    pub vhost: String,
    /// Its open channels.
    pub channels: Vec<ChannelSnapshot>,
    /// Octets of deliveries on their way to it.
    pub backlog_bytes: usize,
    /// Octets it sent, after decryption.
    pub recv_oct: u64,
    /// Octets written to it since it logged in, before encryption.
    pub send_oct: u64,
    /// When it had logged in, in milliseconds since 1970 in UTC.
    pub connected_at: u64,
    /// Whether it is encrypted.
    pub tls: bool,
    /// Whether it has published and is held back, because memory or disk is used up.
    pub blocked: bool,
}

/// An open channel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ChannelSnapshot {
    /// Its number in the connection.
    pub number: u16,
    /// Consumers started on it.
    pub consumers: usize,
    /// Deliveries that wait for a settlement.
    pub unacknowledged: usize,
    /// The limit that new consumers get; 0 is none.
    pub consumer_prefetch: u16,
    /// The limit over all its consumers; 0 is none.
    pub channel_prefetch: u16,
    /// Whether it is in confirm mode.
    pub confirms: bool,
}

/// What a queue did until some moment.
pub(crate) type QueueSample = (QueueId, QueueTotals);

/// A queue.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct QueueSnapshot {
    /// Tells it from others that had the same name before.
    #[serde(skip)]
    pub(crate) id: QueueId,
    /// Its name.
    pub name: String,
    /// The virtual host.
    pub vhost: String,
    /// Whether it was declared durable.
    pub durable: bool,
    /// Whether it ends with its last consumer.
    pub auto_delete: bool,
    /// Whether it belongs to one connection.
    pub exclusive: bool,
    /// `classic` or `quorum`, as it was declared.
    #[serde(rename = "type")]
    pub queue_type: &'static str,
    /// Its optional arguments, as they were declared.
    pub arguments: Arguments,
    /// Messages that wait for a consumer.
    pub ready: usize,
    /// Octets of those, in memory or on disk: properties and bodies; bodies alone where `x-max-length-bytes` bounds them.
    pub ready_bytes: usize,
    /// Messages delivered and not yet settled.
    pub unacknowledged: usize,
    /// Consumers.
    pub consumers: usize,
    /// What it did since it was declared.
    pub totals: QueueTotals,
}

/// An exchange.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ExchangeSnapshot {
    /// Its name.
    pub name: String,
    /// The virtual host.
    pub vhost: String,
    /// `direct`, `fanout`, `topic` or `headers`.
    pub kind: &'static str,
    /// Whether it was declared durable.
    pub durable: bool,
    /// Whether it ends with its last binding.
    pub auto_delete: bool,
    /// Whether clients may not publish to it.
    pub internal: bool,
    /// Its optional arguments, as they were declared.
    pub arguments: Arguments,
}

/// A binding from an exchange to a queue or an exchange.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct BindingSnapshot {
    /// The virtual host.
    pub vhost: String,
    /// The exchange.
    pub source: String,
    /// The queue or the exchange it leads to.
    pub destination: String,
    /// Whether the destination is an exchange.
    pub to_exchange: bool,
    /// The binding key.
    pub routing_key: String,
    /// Its optional arguments; what a headers exchange looks for.
    pub arguments: Arguments,
}

/// A consumer of a queue.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ConsumerSnapshot {
    /// Its tag, unique in its channel.
    pub tag: String,
    /// The queue.
    pub queue: String,
    /// The virtual host.
    pub vhost: String,
    /// Its connection's number.
    pub connection: u64,
    /// Its channel's number in the connection.
    pub channel: u16,
    /// The address it connects from.
    pub peer: String,
    /// Who logged in.
    pub user: String,
    /// Whether deliveries to it need no acknowledgement.
    pub no_ack: bool,
    /// How many deliveries may be unsettled; 0 is any number.
    pub prefetch: u16,
    /// How many are.
    pub unacknowledged: usize,
    /// Whether the queue is to have no other consumer.
    pub exclusive: bool,
    /// `x-priority`, 0 without it: those of a higher one are served first.
    pub priority: i64,
    /// Whether it is served; `false` while it waits behind the queue's single active consumer.
    pub active: bool,
}

impl Engine {
    /// Everything there is, copied.
    pub(crate) fn snapshot(&self) -> Snapshot {
        let alarm = self.pressure.alarm;
        let snapshot = |id, connection| connection_snapshot(id, connection, alarm.is_some());
        let connections = self.connections.iter().map(|(id, connection)| snapshot(id.0, connection));
        Snapshot {
            connections: connections.collect(),
            queues: self.queue_snapshots(),
            exchanges: self.exchange_snapshots(),
            bindings: self.binding_snapshots(),
            consumers: self.consumer_snapshots(),
            held_bytes: self.held_bytes(),
            blocked: alarm.map(Alarm::reason),
        }
    }

    /// What each queue did so far, ascending by queue.
    pub(crate) fn queue_samples(&self) -> Vec<QueueSample> {
        self.queues.iter().map(|(id, queue)| (*id, queue.totals)).collect()
    }

    fn queue_snapshots(&self) -> Vec<QueueSnapshot> {
        let queues = self.queues.iter().map(|(id, queue)| QueueSnapshot {
            id: *id,
            name: queue.name.to_string(),
            vhost: self.vhosts[queue.vhost.0].name.to_string(),
            durable: queue.durable,
            auto_delete: queue.auto_delete,
            exclusive: queue.owner.is_some(),
            queue_type: queue.settings.queue_type(),
            arguments: Arguments(Arc::clone(&queue.arguments)),
            ready: queue.ready_count(),
            ready_bytes: queue.ready_bytes(),
            unacknowledged: queue.unacknowledged,
            consumers: queue.consumers.len(),
            totals: queue.totals,
        });
        queues.collect()
    }

    fn exchange_snapshots(&self) -> Vec<ExchangeSnapshot> {
        let in_vhosts = self.vhosts.iter().flat_map(|vhost| {
            vhost.exchanges.values().map(|exchange| ExchangeSnapshot {
                name: exchange.name.to_string(),
                vhost: vhost.name.to_string(),
                kind: exchange.kind.name(),
                durable: exchange.durable,
                auto_delete: exchange.auto_delete,
                internal: exchange.internal,
                arguments: Arguments(Arc::clone(&exchange.arguments)),
            })
        });
        in_vhosts.collect()
    }

    fn consumer_snapshots(&self) -> Vec<ConsumerSnapshot> {
        let consumers = self.consumers.iter().filter_map(|(id, consumer)| self.consumer_snapshot(*id, consumer));
        let mut consumers: Vec<_> = consumers.collect();
        consumers.sort_by_key(|consumer| (consumer.connection, consumer.channel));
        consumers
    }

    fn consumer_snapshot(&self, id: ConsumerId, consumer: &Consumer) -> Option<ConsumerSnapshot> {
        let ChannelKey { connection, number } = consumer.channel;
        let client = &self.connections.get(&connection)?.client;
        let queue = self.queues.get(&consumer.queue)?;
        Some(ConsumerSnapshot {
            tag: consumer.tag.to_string(),
            queue: queue.name.to_string(),
            vhost: client.vhost.clone(),
            connection: connection.0,
            channel: number,
            peer: client.peer.clone(),
            user: client.user.clone(),
            no_ack: consumer.no_ack,
            prefetch: consumer.prefetch,
            unacknowledged: consumer.outstanding,
            exclusive: queue.exclusive_consumer,
            priority: consumer.priority,
            active: !queue.settings.single_active_consumer || queue.active == Some(id),
        })
    }

    fn binding_snapshots(&self) -> Vec<BindingSnapshot> {
        let in_vhosts = self.vhosts.iter().flat_map(|vhost| {
            vhost.bindings().map(|(destination, binding)| BindingSnapshot {
                vhost: vhost.name.to_string(),
                source: binding.source.to_string(),
                destination: self.destination_name(destination).to_string(),
                to_exchange: matches!(destination, Destination::Exchange(_)),
                routing_key: binding.key.to_string(),
                arguments: Arguments(Arc::clone(&binding.arguments)),
            })
        });
        in_vhosts.collect()
    }
}

fn connection_snapshot(id: u64, connection: &Connection, alarmed: bool) -> ConnectionSnapshot {
    let channels = connection.channels.iter().filter_map(|(number, state)| match state {
        ChannelState::Closing => None,
        ChannelState::Open(channel) => Some(ChannelSnapshot {
            number: *number,
            consumers: channel.consumers.len(),
            unacknowledged: channel.unacknowledged_count(),
            consumer_prefetch: channel.consumer_prefetch,
            channel_prefetch: channel.channel_prefetch,
            confirms: channel.confirms.is_some(),
        }),
    });
    ConnectionSnapshot {
        id,
        peer: connection.client.peer.clone(),
        client_name: connection.client.name.clone(),
        user: connection.client.user.clone(),
        vhost: connection.client.vhost.clone(),
        channels: channels.collect(),
        backlog_bytes: connection.backlog,
        recv_oct: connection.client.octets.received.load(Ordering::Relaxed),
        send_oct: connection.client.octets.sent.load(Ordering::Relaxed),
        connected_at: connection.connected_at.0,
        tls: connection.client.tls,
        blocked: alarmed && connection.publishes,
    }
}
