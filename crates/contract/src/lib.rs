//! Everything that crosses a process boundary in Crosstalk, as plain data.
//!
//! | module | what it describes |
//! | --- | --- |
//! | [`identity`] | which run a message belongs to, who sent it, its number, when it was due and sent |
//! | [`frame`] | the binary form of a message: WebSocket, UDP, mailbox bodies, uploads |
//! | [`text`] | the textual form of an identity: HTTP headers and AMQP header tables |
//! | [`record`] | what a sender and a receiver each noted about one message |
//! | [`report`] | what a run amounted to: totals, waits, latencies, the observed mode |
//! | [`describe`] | what a node says about itself on `/` |
//! | [`topology`] | which node lives at which address |
//! | [`units`] | rates, durations and sizes as people write them |
//! | [`problem`] | errors over HTTP (RFC 9457) |
//!
//! It does no input or output, reads no clock, and knows no paradigm: a paradigm's own contract stands
//! in the `wire.rs` of its folder.

pub mod describe;
pub mod frame;
pub mod identity;
pub mod problem;
pub mod record;
pub mod report;
pub mod text;
pub mod topology;
pub mod units;

pub use identity::{Identity, Message, RunId};
