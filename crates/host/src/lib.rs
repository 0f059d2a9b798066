//! What every node needs, whatever it says to whom.
//!
//! | module | what it does |
//! | --- | --- |
//! | [`config`] | options: compiled-in defaults, then a file, the environment, flags |
//! | [`topology`] | addresses of nodes and brokers, and nothing else |
//! | [`node`] | the life of a node: arguments, sockets, roles, serving, stopping |
//! | [`host`] | what a role may use: clock, peers, readiness, metrics, tasks |
//! | [`http`] | endpoints that describe themselves, parameters, bodies, errors |
//! | [`runs`] | the sending end: a load becomes messages, records and a report |
//! | [`receiver`] | the receiving end: how slow it is, and what it remembers |
//! | [`inbox`] | what arrived, on disk, so that a kill does not forget it |
//! | [`peers`] | the other nodes, asked over HTTP, and whether they are there |
//! | [`readiness`], [`metrics`], [`logs`], [`lifecycle`] | what operators look at, and how a node ends |
//!
//! It knows no paradigm and never speaks AMQP, WebSocket or UDP: those stand in `paradigms/`.

pub mod config;
pub mod host;
pub mod http;
pub mod inbox;
pub mod lifecycle;
pub mod logs;
pub mod metrics;
pub mod node;
pub mod peers;
pub mod readiness;
pub mod receiver;
pub mod runs;
pub mod topology;

pub use host::Host;
pub use node::{NodeArgs, NodeSpec, Sockets};
pub use receiver::Receiver;
