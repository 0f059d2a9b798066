//! What publisher and subscribers agree on. It knows neither of them.
//!
//! The names of the subscriptions belong here although the publisher never publishes to one: the account of a run
//! asks the broker what still waits in them, and without a convention it could not tell a message that waits for
//! an absent subscriber from a lost one.

use std::{sync::Arc, time::Duration};

use crosstalk_amqp_link::Declare;
use crosstalk_contract::{
    RunId,
    frame::{OVERHEAD_MAX, PAYLOAD_MAX},
};
use crosstalk_host::config::Span;
use lapin::{
    Channel, ExchangeKind,
    options::{ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions},
    types::{FieldTable, ShortString},
};
use serde::Deserialize;

/// The paradigm's name in runs, reports and metrics; its options stand in the section of this name.
pub const PARADIGM: &str = "pubsub";
/// Path of direct subscriptions at the producer: a WebSocket on which each binary message is one frame.
pub const SUBSCRIBE_PATH: &str = "/subscribe";
/// Largest WebSocket message of a subscription, in bytes.
pub const FRAME_MAX: usize = PAYLOAD_MAX + OVERHEAD_MAX;
/// Time between two signs of life on a direct subscription, given by both sides.
pub const SIGN_OF_LIFE: Duration = Duration::from_secs(10);
/// A side that was silent for so long is gone: three signs of life are missing.
pub const SILENCE_MAX: Duration = Duration::from_secs(35);

/// What subscriptions are bound with: all runs.
const ALL_RUNS: &str = "run.#";

/// The options of both ends (`[pubsub]`).
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Options {
    pub(crate) exchange: String,
    pub(crate) subscribers: u32,
    pub(crate) prefetch: u16,
    pub(crate) confirm_timeout: Span,
    pub(crate) direct_backlog: usize,
}

/// The name of a consumer's subscriber, counted from 1.
#[must_use]
pub fn subscriber(number: u32) -> String {
    format!("subscriber-{number}")
}

/// The routing key of a run's messages.
#[must_use]
pub fn routing_key(run: RunId) -> String {
    format!("run.{run}")
}

/// The queue that keeps a subscriber's copies.
#[must_use]
pub fn subscription(exchange: &str, subscriber: &str) -> String {
    format!("{exchange}.{subscriber}")
}

/// The exchange, declared by both ends, as neither knows which comes first.
pub(crate) fn declare_exchange(exchange: &ShortString) -> Declare {
    let exchange = exchange.clone();
    Arc::new(move |channel| Box::pin(topic(channel, exchange.clone())))
}

/// The exchange and one subscription to it: durable, so that a subscriber that is away misses nothing.
pub(crate) fn declare_subscription(exchange: &ShortString, queue: &ShortString) -> Declare {
    let (exchange, queue) = (exchange.clone(), queue.clone());
    Arc::new(move |channel| {
        let (exchange, queue) = (exchange.clone(), queue.clone());
        Box::pin(async move {
            topic(channel.clone(), exchange.clone()).await?;
            let durable = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
            channel.queue_declare(queue.clone(), durable, FieldTable::default()).await?;
            let key = ShortString::from(ALL_RUNS);
            channel.queue_bind(queue, exchange, key, QueueBindOptions::default(), FieldTable::default()).await
        })
    })
}

async fn topic(channel: Channel, exchange: ShortString) -> lapin::Result<()> {
    let durable = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
    channel.exchange_declare(exchange, ExchangeKind::Topic, durable, FieldTable::default()).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_fit_into_amqp() {
        let exchange = "x".repeat(200);
        let longest = subscription(&exchange, &subscriber(u32::MAX));
        assert!(ShortString::try_new(longest).is_ok());
        assert_eq!(routing_key(RunId::from_low_bits(0xab)), "run.0000000000ab");
    }
}
