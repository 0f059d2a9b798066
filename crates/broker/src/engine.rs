//! The engine: everything a broker decides, free of I/O and of clocks.
//!
//! [`Command`]s and the time go in, [`Effect`]s come out, and the same commands at the same times always give the same
//! effects. One engine serves all connections. Its parts:
//!
//! * `command`: the commands and the effects
//! * `topology`, `exchange`, `targets`, `topic`, `headers`, `extra_keys`: where a message goes
//! * `queue`, `ready`, `entry`, `willing`, `channel`, `confirms`, `timers`: state, with its arithmetic
//! * `queue_arguments`, `argument_text`, `expiration`: what declarations and publishers ask of queues
//! * `dispatch`: which handler a method belongs to; `access`: whether the user may have it carried out
//! * `lifecycle`: connections and channels come and go
//! * `queue_methods`, `exchange_methods`, `consume`, `publish`, `deliver`, `settle`: what each method does
//! * `single_active`: which consumer gets messages when only one may
//! * `transactions`: what waits for `tx.commit`; `reply_to`: answers without a queue
//! * `upkeep`: what happens to messages and queues without anyone asking; `dead_letter`, `delivery_count`: messages that
//!   queues give up or give out again
//! * `storage`: what is handed to the store and what is waited for; `paging`: what leaves memory and comes back;
//!   `pressure`: when publishers must wait
//! * `restore`: what a store found at the start
//! * `snapshot`: a look at it from outside
//!
//! It does not know sockets, frames, heartbeats, passwords or files.

mod access;
mod argument_text;
mod channel;
mod command;
mod confirms;
mod consume;
#[cfg(test)]
mod crash_test;
mod dead_letter;
mod deliver;
mod delivery_count;
mod dispatch;
mod entry;
mod exchange;
mod exchange_methods;
mod expiration;
mod extra_keys;
mod headers;
mod lifecycle;
#[cfg(test)]
mod model_test;
mod names;
mod paging;
mod pressure;
mod publish;
mod queue;
mod queue_arguments;
mod queue_methods;
mod ready;
mod reply_to;
mod restore;
mod settle;
mod single_active;
mod snapshot;
mod storage;
mod targets;
#[cfg(test)]
mod tests;
mod timers;
mod topic;
mod topology;
mod transactions;
mod upkeep;
mod willing;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use amq_protocol::protocol::AMQPClass;

pub(crate) use command::{ChannelKey, Client, Command, ConnectionId, Effect, Octets, Outbound};
pub use queue::QueueTotals;
pub(crate) use snapshot::QueueSample;
pub use snapshot::{
    BindingSnapshot, ChannelSnapshot, ConnectionSnapshot, ConsumerSnapshot, ExchangeSnapshot, QueueSnapshot, Snapshot,
};
#[cfg(test)]
pub(crate) use tests::{Properties, consume_from, headers_of, number, table, text};

use crate::exception::Exception;
use crate::identity::{CommitId, MessageId, QueueId, Timestamp};
use crate::log_budget::LineBudget;
use crate::options::Limits;
use channel::{Channel, ChannelState, Consumer};
use names::NameGenerator;
use pressure::Pressure;
use publish::Routes;
use queue::Queue;
use storage::Storage;
use topology::VirtualHost;
use upkeep::Chores;

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
    /// Whether it has published, so that alarms concern it.
    publishes: bool,
    /// Whether it was told `connection.blocked`.
    blocked: bool,
    connected_at: Timestamp,
}

/// The state of a broker.
#[derive(Debug)]
pub(crate) struct Engine {
    limits: Limits,
    now: Timestamp,
    vhosts: Vec<VirtualHost>,
    queues: BTreeMap<QueueId, Queue>,
    consumers: BTreeMap<ConsumerId, Consumer>,
    connections: BTreeMap<ConnectionId, Connection>,
    names: NameGenerator,
    /// The last id given to a queue, a consumer or a channel.
    last_id: u64,
    /// The last id given to a message.
    last_message: u64,
    /// The message that is being put into queues.
    arriving: Option<MessageId>,
    storage: Storage,
    pressure: Pressure,
    /// Lines in the log about queues, exchanges and bindings.
    topology_lines: LineBudget,
    /// Lines in the log about channels and connections that are closed because of an exception.
    exception_lines: LineBudget,
    chores: Chores,
    /// Entries of all queues, ready or unacknowledged.
    entries: usize,
    /// Octets of all messages in memory, wherever they are held.
    resident: Arc<AtomicUsize>,
    /// Channels with confirms due at the end of the batch; may name one more than once.
    confirms_due: Vec<ChannelKey>,
    /// What came on channels after a command that waits for the disk or for upkeep.
    deferred: HashMap<ChannelKey, VecDeque<Command>>,
    /// Channels that wait no longer.
    resumable: Vec<ChannelKey>,
    effects: Vec<Effect>,
    /// What routing finds, kept to spare an allocation for each message.
    routes: Routes,
    /// Channels that take answers, by their addresses.
    reply_consumers: HashMap<Arc<str>, ChannelKey>,
    /// What messages in transactions that are not committed weigh, in octets.
    transaction_octets: usize,
}

impl Engine {
    /// An engine with empty virtual hosts of these names. `seed` makes the names it generates. With `stored`, effects
    /// ask for storage; without, nothing outlives the engine.
    pub(crate) fn new(limits: Limits, vhosts: &[String], seed: u64, stored: bool) -> Self {
        Self {
            limits,
            now: Timestamp(0),
            vhosts: vhosts.iter().map(|name| VirtualHost::new(name)).collect(),
            queues: BTreeMap::new(),
            consumers: BTreeMap::new(),
            connections: BTreeMap::new(),
            names: NameGenerator::new(seed),
            last_id: 0,
            last_message: 0,
            arriving: None,
            storage: Storage::new(stored),
            pressure: Pressure::default(),
            topology_lines: LineBudget::default(),
            exception_lines: LineBudget::default(),
            chores: Chores::default(),
            entries: 0,
            resident: Arc::default(),
            confirms_due: Vec::new(),
            deferred: HashMap::new(),
            resumable: Vec::new(),
            effects: Vec::new(),
            routes: Routes::default(),
            reply_consumers: HashMap::new(),
            transaction_octets: 0,
        }
    }

    /// Where messages in memory are to be counted.
    pub(crate) fn resident(&self) -> &Arc<AtomicUsize> {
        &self.resident
    }

    /// Whether one more line about queues, exchanges and bindings may be written to the log.
    fn logs_topology(&mut self) -> bool {
        self.topology_lines.allows(self.now.0, "queues, exchanges and bindings")
    }

    /// Tells the time, never an earlier one than before, and does what is due then. Its effects are kept until
    /// [`Self::finish_batch`].
    pub(crate) fn advance(&mut self, now: Timestamp) {
        self.now = self.now.max(now);
        self.fire_timers();
        self.settle_down();
    }

    /// When [`Self::advance`] is due next although no command comes.
    pub(crate) fn next_deadline(&self) -> Option<Timestamp> {
        [self.pressure_deadline(), self.chores.deadline(self.now)].into_iter().flatten().min()
    }

    /// Carries out one command. Its effects are kept until [`Self::finish_batch`].
    pub(crate) fn handle(&mut self, command: Command) {
        if let Some(command) = self.defer(command) {
            self.carry_out(command);
        }
        self.settle_down();
    }

    fn carry_out(&mut self, command: Command) {
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
            Command::Store(report) => self.store_report(report),
            Command::Shutdown => self.shutdown(),
        }
    }

    /// Ends a batch of commands: hands over what is to be stored, releases the confirms that have become due, checks
    /// whether publishers must wait, and hands out all effects in order.
    pub(crate) fn finish_batch(&mut self) -> std::vec::Drain<'_, Effect> {
        for key in std::mem::take(&mut self.confirms_due) {
            self.send_confirms(key);
        }
        self.end_commit();
        self.check_pressure();
        self.chores.next_turn();
        self.effects.drain(..)
    }

    /// Sends the confirms that are due on a channel.
    fn send_confirms(&mut self, key: ChannelKey) {
        let due = self.open_channel(key).and_then(|channel| Some(channel.confirms.as_mut()?.take_due()));
        self.send_each_confirm(key, due.unwrap_or_default());
    }

    fn send_each_confirm(&mut self, key: ChannelKey, confirms: Vec<confirms::Confirm>) {
        for confirms::Confirm { delivery_tag, multiple, ack } in confirms {
            self.send(key.connection, Outbound::Confirm { channel: key.number, delivery_tag, multiple, ack });
        }
    }

    /// What messages and entries take up in memory, in octets.
    fn held_bytes(&self) -> usize {
        self.resident.load(Ordering::Relaxed) + self.entries * entry::ENTRY_BYTES
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
        self.effects.push(Effect::Send { connection, outbound, after: None });
    }

    fn reply(&mut self, key: ChannelKey, method: AMQPClass) {
        self.send(key.connection, Outbound::Method { channel: key.number, method: Box::new(method) });
    }

    fn reply_unless(&mut self, nowait: bool, key: ChannelKey, method: AMQPClass) {
        if !nowait {
            self.reply(key, method);
        }
    }

    /// Replies once what this batch changes is stored, if it changes anything that is.
    fn reply_stored_unless(&mut self, nowait: bool, key: ChannelKey, method: AMQPClass) {
        if !nowait {
            let outbound = Outbound::Method { channel: key.number, method: Box::new(method) };
            let after = self.storage.pending_commit();
            self.effects.push(Effect::Send { connection: key.connection, outbound, after });
        }
    }
}
