//! Streaming: messages leave at a pace, and nobody answers them.
//!
//! | file | what stands there |
//! | --- | --- |
//! | [`wire`] | what both ends tell each other over HTTP around a stream |
//! | [`streamer`] | the sender: invites the receiver, waits until it opens a session, streams |
//! | [`consumer`] | the receiver: opens sessions, and says in the end what is missing |
//! | `udp` | one datagram for each message, at both ends; what is lost stays lost |
//! | `websocket` | one binary message for each message, at both ends; nothing is lost, but a slow reader slows the stream |
//! | `offers`, `sessions` | what each end knows of streams that are to begin or under way |
//! | `options` | the section `[streaming]` |
//!
//! A stream begins with a session that the receiver opens, so both must be there. The streamer sends datagrams to
//! no address but the consumer's in its topology, whatever a session asks for. Nothing is sent twice.

pub mod consumer;
mod error;
mod offers;
mod options;
mod sessions;
pub mod streamer;
mod udp;
mod websocket;
pub mod wire;

pub use error::StreamingError;
