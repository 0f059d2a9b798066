//! What the owner of a broker decides: who may log in, what is announced, and every bound.
//!
//! Holds values only. Does not know where they were read from (the binary's configuration) or who enforces them.

mod user;

use std::path::PathBuf;
use std::time::Duration;

pub use user::User;

use crate::store::StoreOptions;

/// How a [`Broker`](crate::Broker) behaves. The default is a broker for one machine: user `guest`, vhost `/`.
#[derive(Clone, Debug)]
pub struct Options {
    /// Every bound, in one place.
    pub limits: Limits,
    /// The heartbeat interval offered to clients; they may ask for a shorter one or for none (0). Whole seconds,
    /// as on the wire. Default 60 s, RabbitMQ's.
    pub heartbeat: Duration,
    /// The `product` in the server properties.
    pub product: String,
    /// The `cluster_name` in the server properties, for people who look at clients' logs.
    pub name: String,
    /// Who may log in. Default: `guest` with password `guest`.
    pub users: Vec<User>,
    /// Whether the user `guest` may log in with its default password from elsewhere than loopback. Default `false`:
    /// a password that everyone knows must not open a broker to a network.
    pub allow_remote_default_user: bool,
    /// The virtual hosts, each a namespace of its own for queues and exchanges. Default: `/` alone.
    pub vhosts: Vec<String>,
    /// The directory for what is to survive a restart and what does not fit into memory; one broker at a time. `None`
    /// keeps everything in memory. Default `None`.
    pub data: Option<PathBuf>,
    /// How much of the disk that may take.
    pub store: StoreOptions,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            limits: Limits::default(),
            heartbeat: Duration::from_secs(60),
            product: "Crosstalk broker".to_owned(),
            name: "crosstalk".to_owned(),
            users: vec![User::default_user()],
            allow_remote_default_user: false,
            vhosts: vec!["/".to_owned()],
            data: None,
            store: StoreOptions::default(),
        }
    }
}

/// Every bound of the broker. A peer that breaks one gets the AMQP error named here; nothing grows without one.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Open connections, those still in the handshake included. Default 4,096: below the usual 8,192 or more file
    /// descriptors of a service. Further ones are closed at once.
    pub connections: usize,
    /// Open connections of one user. Default 4,096: all there are. Broken: 530.
    pub connections_per_user: usize,
    /// Channels per connection offered in `connection.tune`. Default 2,047, RabbitMQ's. Broken: 530.
    pub channel_max: u16,
    /// Octets of a frame offered in `connection.tune`, header and end octet included; at least 4,096. Default
    /// 131,072, RabbitMQ's. Broken: 501.
    pub frame_max: u32,
    /// From the first byte to `connection.open-ok`. Default 10 s, RabbitMQ's. Broken: the socket is closed.
    pub handshake: Duration,
    /// Longest pause between two pieces of what a client sends before it is open. Default 5 s: whoever connects and
    /// says nothing gives the place back sooner than a slow handshake would. Broken: the socket is closed.
    pub login_idle: Duration,
    /// How long a client may take nothing of what is written to it. Default 2 min: a consumer that pauses for longer
    /// would rather miss its heartbeats. Broken: the socket is closed, and what was delivered goes back.
    pub stall: Duration,
    /// How long a peer may take to answer `connection.close`, and a shutdown to drain. Default 500 ms.
    pub close: Duration,
    /// Octets of one message's body. Default 16 MiB, RabbitMQ 4's. Broken: 406.
    pub message_bytes: u64,
    /// Octets of one message's properties, its headers among them, as they are encoded. Default 128 KiB: what fits
    /// into a frame of RabbitMQ's size. Broken: 506.
    pub properties_bytes: usize,
    /// Octets of contents that have begun to arrive and are not whole, per connection, over all its channels. Default
    /// 64 MiB: four of the largest messages side by side. Broken: 506.
    pub incomplete_bytes: usize,
    /// The same over all connections, looked at after each read of a connection that has one. Default 256 MiB: many
    /// connections at once must not hold what one may. Broken by whoever reaches it: 506.
    pub incomplete_total_bytes: usize,
    /// Octets that messages take up in memory, with [`MESSAGE_OVERHEAD_BYTES`](crate::MESSAGE_OVERHEAD_BYTES) for
    /// each, and 64 octets for each place in a queue, whether the message there is in memory or on disk. Above it,
    /// connections that publish are told `connection.blocked` and no longer read from, until it has fallen to nine
    /// tenths. Default 1 GiB.
    pub held_bytes: usize,
    /// Octets of messages in memory above which those that wait further back in a queue are kept on disk only. Has no
    /// effect without a store. Default 16 MiB: what a consumer that keeps up never reaches, and the whole broker stays
    /// under 50 MiB.
    pub resident_bytes: usize,
    /// Messages at the head of each queue that stay in memory even so, and that are read back at once. Default 64: the
    /// disk is asked rarely, and thousands of queues can afford it.
    pub resident_head: usize,
    /// Octets of deliveries on their way to one connection. Above it, its consumers get nothing more until half
    /// of it is written. Default 1 MiB: several socket buffers, so that a fast reader never waits for the broker.
    pub delivery_bytes: usize,
    /// Octets of everything else on its way to one connection (answers, confirms, returned messages), on top of
    /// `delivery_bytes`. Above it, the connection is not read from. Default 4 MiB.
    pub reply_bytes: usize,
    /// Queues per virtual host. Default 65,536. Broken: 406.
    pub queues: usize,
    /// Exchanges per virtual host, the predeclared ones included. Default 16,384. Broken: 406.
    pub exchanges: usize,
    /// Bindings per virtual host. Default 262,144. Broken: 406.
    pub bindings: usize,
    /// Consumers per channel. Default 4,096. Broken: 530.
    pub consumers: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 4_096,
            connections_per_user: 4_096,
            channel_max: 2_047,
            frame_max: 131_072,
            handshake: Duration::from_secs(10),
            login_idle: Duration::from_secs(5),
            stall: Duration::from_secs(120),
            close: Duration::from_millis(500),
            message_bytes: 16 << 20,
            properties_bytes: 128 << 10,
            incomplete_bytes: 64 << 20,
            incomplete_total_bytes: 256 << 20,
            held_bytes: 1 << 30,
            resident_bytes: 16 << 20,
            resident_head: 64,
            delivery_bytes: 1 << 20,
            reply_bytes: 4 << 20,
            queues: 65_536,
            exchanges: 16_384,
            bindings: 262_144,
            consumers: 4_096,
        }
    }
}
