//! Message queue: the producer leaves messages with a broker, and consumers work them off when they can.
//!
//! | file | what stands there |
//! | --- | --- |
//! | [`wire`] | the queue that both ends agree on |
//! | [`producer`] | publishes persistent messages, and waits for the broker's confirm of each |
//! | [`consumer`] | takes messages, works on them, then acknowledges |
//!
//! The producer waits for the broker only, never for the consumer; several consumers would share the messages. It
//! does not know how a connection is kept: `crosstalk-amqp-link` does.

pub mod consumer;
pub mod producer;
pub mod wire;
