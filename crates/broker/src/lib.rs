//! An embedded AMQP 0-9-1 message broker, over the real wire protocol: any AMQP client can connect.
//!
//! A [`Broker`] takes [`Options`] and a bound listener, and serves until it is told to stop. Messages are held in
//! memory: the `durable` flag of queues and the delivery mode of messages are remembered, not yet acted upon.
//!
//! The parts, from the wire inwards; each knows only those below it:
//!
//! * `server`: the listener, the shutdown, and the one task that drives the engine
//! * `connection`: handshake, heartbeats, reading and writing of one connection
//! * `engine`: everything a broker decides, free of I/O and of clocks: commands in, effects out
//! * `frame`: bytes to frames, frames to methods and contents, and back
//! * `exception`: every reason to close a channel or a connection
//! * `options`: every bound and choice
//!
//! [`node`] makes it a node of a cluster, with pages over HTTP; the broker itself does not know of it.
//!
//! # What it does
//!
//! Exchanges (default, direct, fanout, topic, headers, predeclared, internal, auto-delete, bound to one another,
//! `alternate-exchange`), queues (server-named, exclusive, auto-delete), consumers (round-robin, exclusive, prefetch per
//! consumer and per channel, cancelled by the server when their queue goes), `basic.get`, acknowledgements with requeue
//! to the original position, publisher confirms, mandatory messages, `connection.blocked`.
//!
//! # What it does not do
//!
//! Transactions and `basic.recover(requeue=false)` are refused with 540. All `x-` arguments of queues and consumers are
//! remembered and compared when a queue is declared again, and otherwise have **no effect**: in particular
//! `x-message-ttl`, `x-expires`, `x-max-length`, `x-max-length-bytes`, `x-overflow`, `x-dead-letter-exchange`,
//! `x-dead-letter-routing-key`, `x-max-priority`, `x-single-active-consumer`, `x-queue-type`, `x-queue-mode`, and for
//! consumers `x-priority`. The properties `expiration`, `priority` and `user-id` and the headers `CC` and `BCC` are passed
//! through without effect. `no-local` is ignored, as in RabbitMQ.

mod connection;
mod engine;
mod exception;
mod frame;
pub mod node;
mod options;
mod server;

pub use connection::Peer;
pub use engine::{
    BindingSnapshot, ChannelSnapshot, ConnectionSnapshot, ExchangeSnapshot, MESSAGE_OVERHEAD_BYTES, QueueSnapshot,
    QueueTotals, Snapshot,
};
pub use node::{SPEC, roles};
pub use options::{Limits, Options, User};
pub use server::{Broker, BrokerError};
