//! Publish/subscribe: every subscriber gets its own copy of each message.
//!
//! | file | what stands there |
//! | --- | --- |
//! | [`wire`] | names that both ends agree on: exchange, keys, subscriptions, the path of direct subscribers |
//! | [`producer`] | the publisher: through a broker, or directly to who listens on a WebSocket |
//! | [`consumer`] | the subscribers, each at every broker and at the producer |
//!
//! Through a broker the publisher pays for one copy and waits for one confirm, whoever subscribed; directly it
//! pays for each subscriber, and nobody confirms anything. The publisher does not know its brokered subscribers.

pub mod consumer;
pub mod producer;
pub mod wire;
