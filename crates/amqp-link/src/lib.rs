//! One connection to each broker of the topology, kept up for as long as the node runs, and what every way of
//! using a broker needs on it.
//!
//! | part | what it does |
//! | --- | --- |
//! | `links` | one link for each broker of the topology, shared by all roles of a node |
//! | `link` | one connection: watched, made again when it is lost, given to those who wait |
//! | `presence` | whether a broker answers, for the readiness of the node |
//! | `handshake` | one attempt to connect, bounded in time, that leaves nothing behind when it fails |
//! | `properties` | a message's identity in the places that AMQP has for it |
//! | `publisher` | publishing in order with confirms, on one channel after the other if need be |
//! | `intake` | consuming for good: each delivery is noted, worked on, then acknowledged |
//! | `outstanding` | whose messages wait at a broker, when that can be known |
//! | `error` | what can go wrong, without passwords |
//!
//! It does not know which exchanges and queues there are: a paradigm says so, as a [`Declare`].

mod error;
mod handshake;
mod intake;
mod link;
mod links;
mod outstanding;
mod presence;
mod properties;
mod publisher;

use std::sync::Arc;

use futures_util::future::BoxFuture;

pub use self::{
    error::LinkError,
    intake::Intake,
    link::Link,
    links::Links,
    outstanding::{Outstanding, Publishing},
    properties::{identity, properties},
    publisher::{Pending, Publisher, Route},
};

/// Declares on a fresh channel what a paradigm needs on the broker. Done again after every reconnect, as a broker
/// that lost its disk may have forgotten it.
pub type Declare = Arc<dyn Fn(lapin::Channel) -> BoxFuture<'static, lapin::Result<()>> + Send + Sync>;
