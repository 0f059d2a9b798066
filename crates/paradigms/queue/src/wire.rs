//! What both ends of the queue agree on. It knows neither of them.

use std::sync::Arc;

use crosstalk_amqp_link::Declare;
use crosstalk_host::config::Span;
use lapin::{
    options::QueueDeclareOptions,
    types::{FieldTable, ShortString},
};
use serde::Deserialize;

/// The paradigm's name in runs, reports and metrics; its options stand in the section of this name.
pub const PARADIGM: &str = "queue";

/// The options of both ends (`[queue]`).
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Options {
    pub(crate) name: String,
    pub(crate) prefetch: u16,
    pub(crate) confirm_timeout: Span,
}

/// The queue: durable, so that it and its persistent messages outlive the broker's process. Both ends declare it,
/// as neither knows which comes first.
pub(crate) fn declare(queue: &ShortString) -> Declare {
    let queue = queue.clone();
    Arc::new(move |channel| {
        let queue = queue.clone();
        Box::pin(async move {
            let options = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
            channel.queue_declare(queue, options, FieldTable::default()).await.map(drop)
        })
    })
}
