//! An embedded AMQP 0-9-1 message broker, over the real wire protocol: any AMQP client can connect.
//!
//! A [`Broker`] takes [`Options`] and a bound listener, and serves until it is told to stop. With a data directory,
//! durable queues and exchanges, their bindings and persistent messages survive a restart and a crash: a message is on
//! disk, synced, before it is confirmed.
//!
//! The parts, from the wire inwards; each knows only those below it:
//!
//! * `tls`: encryption of what passes a listener
//! * `server`: the listener, the shutdown, and the one task that drives the engine
//! * `connection`: handshake, heartbeats, reading and writing of one connection
//! * `engine`: everything a broker decides, free of I/O and of clocks: commands and time in, effects out
//! * `store`: what survives: a log of messages, a journal of topology, recovery, repair; its page is the format's
//!   document
//! * `frame`: bytes to frames, frames to methods and contents, and back
//! * `identity`, `message`: what engine and store speak of
//! * `arguments`: what was said at a declaration, as JSON
//! * `exception`: every reason to close a channel or a connection
//! * `options`: every bound and choice
//! * `permission`: what a user may do with which names
//!
//! [`node`] makes it a node of a cluster, with pages over HTTP; the broker itself does not know of it.
//!
//! # What it does
//!
//! Exchanges (default, direct, fanout, topic, headers, predeclared, internal, auto-delete, bound to one another,
//! `alternate-exchange`), queues (server-named, exclusive, auto-delete), consumers (round-robin, exclusive, prefetch per
//! consumer and per channel, cancelled by the server when their queue goes), `basic.get`, acknowledgements with requeue
//! to the original position, publisher confirms, mandatory messages, `connection.blocked`. Transactions, direct
//! reply-to, `CC` and `BCC`, a checked `user-id`, permissions, priorities of consumers (`x-priority`), a single active
//! consumer (`x-single-active-consumer`). Messages and queues that expire (`x-message-ttl`, `expiration`, `x-expires`),
//! queues of bounded length (`x-max-length`, `x-max-length-bytes`, `x-overflow`), dead letters
//! (`x-dead-letter-exchange`, `x-dead-letter-routing-key`), priorities (`x-max-priority`), quorum queues as durable
//! queues that count deliveries (`x-queue-type`, `x-delivery-limit`).
//!
//! # What it does not do
//!
//! Streams, policies, clusters: that is RabbitMQ's. `basic.recover(requeue=false)` and `channel.flow(active=false)` are
//! refused with 540. `x-queue-mode` and what else concerns how RabbitMQ keeps a queue is accepted and has **no effect**.
//! `no-local` is ignored, as in RabbitMQ.

mod arguments;
mod connection;
mod engine;
mod exception;
mod frame;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod identity;
mod log_budget;
mod message;
pub mod node;
mod options;
mod permission;
mod server;
#[cfg(test)]
mod simulation;
mod store;
mod tls;

pub use arguments::Arguments;
pub use connection::Peer;
pub use engine::{
    BindingSnapshot, ChannelSnapshot, ConnectionSnapshot, ConsumerSnapshot, ExchangeSnapshot, QueueSnapshot,
    QueueTotals, Snapshot,
};
pub use message::MESSAGE_OVERHEAD_BYTES;
pub use node::{SPEC, roles};
pub use options::{Limits, Options, User};
pub use permission::{PatternError, Permissions};
pub use server::{Broker, BrokerError, TrafficTotals};
pub use store::{Count, Loss, RepairReport, RepairedFile, StoreError, StoreMetrics, StoreOptions, repair};
pub use tls::{Secure, TlsError};
