//! Polling: the producer keeps messages in a mailbox, and whoever wants them asks.
//!
//! | file | what stands there |
//! | --- | --- |
//! | [`wire`] | paths, headers and the two forms of an answer that both ends agree on |
//! | [`producer`] | the mailbox's owner: deposits messages, answers polls at once or holds them open |
//! | [`poller`] | asks again and again (short polling), or asks once and waits (long polling) |
//! | `mailbox` | the mailbox itself: offsets, room, what was taken, what expired; it knows no HTTP |
//! | `options` | the section `[polling]` |
//!
//! Each attempt is a request with its response, so every hop is synchronous; the message itself lies in the
//! mailbox between its deposit and the attempt that finds it. It knows nothing of brokers, and keeps the mailbox
//! in memory: what nobody has fetched is gone with the producer's process.

mod error;
mod mailbox;
mod options;
pub mod poller;
pub mod producer;
pub mod wire;

pub use error::PollingError;
