//! Publishing through a broker: one copy, one confirm, whoever subscribed. It does not know the subscribers, only
//! by which names the broker would keep their copies.

use std::sync::Arc;

use axum::response::Response;
use crosstalk_amqp_link::{Link, Outstanding, Publisher as Channel, Route};
use crosstalk_host::{
    http::Refusal,
    runs::{self, Conclusion, Kept, Plan, RunRequest},
};
use futures_util::FutureExt;
use lapin::types::ShortString;

use super::{Publisher, RECEIVER};
use crate::wire::{self, Options, PARADIGM};

pub(super) async fn start(publisher: Publisher, request: RunRequest, link: Link) -> Result<Response, Refusal> {
    let exchange = ShortString::from(publisher.options.exchange.as_str());
    let queues = subscriptions(&publisher.options);
    let plan = Plan {
        paradigm: PARADIGM,
        over: link.broker().to_owned(),
        receiver: RECEIVER.to_owned(),
        settle_idle: None,
        kept: Some(kept(&link, &queues, &publisher.outstanding)),
    };
    let host = publisher.host.clone();
    runs::start(&host, request, plan, move |run| async move {
        // Not mandatory: a topic without subscribers is no error, the message is for nobody then.
        let key = ShortString::from(wire::routing_key(run.id));
        let route = Route { exchange: exchange.clone(), key, mandatory: false };
        let declare = wire::declare_exchange(&exchange);
        let clock = publisher.host.clock();
        let timeout = publisher.options.confirm_timeout.0;
        let to = Arc::<str>::from(format!("exchange {exchange} at {}", link.broker()));
        let channel = Channel::open(link.clone(), route, declare, clock, timeout).await?;
        let _publishing = publisher.outstanding.begin(&link, &queues, run.id).await;
        let publisher = Arc::new(publisher);
        run.drive(|message| {
            let (publisher, channel, to) = (Arc::clone(&publisher), Arc::clone(&channel), Arc::clone(&to));
            // In two stages: messages leave one after the other, and their confirms are awaited together.
            async move { (channel.publish(&message).await, message.identity) }.map(move |(pending, id)| async move {
                let exchange = pending.outcome(&clock).await;
                publisher.tell(&id, &to, "confirmed", &exchange);
                exchange
            })
        })
        .await?;
        Ok(Conclusion::default())
    })
    .await
}

/// The subscriptions of the consumer's subscribers. How many there are stands in the options of both ends;
/// publishing does not need it.
fn subscriptions(options: &Options) -> Arc<[ShortString]> {
    let subscription = |number| wire::subscription(&options.exchange, &wire::subscriber(number));
    (1..=options.subscribers).map(|number| ShortString::from(subscription(number))).collect()
}

/// What waits in the subscriptions, when it can only be the run's.
fn kept(link: &Link, queues: &Arc<[ShortString]>, outstanding: &Outstanding) -> Kept {
    let (link, queues, outstanding) = (link.clone(), Arc::clone(queues), outstanding.clone());
    Arc::new(move |run| {
        let (link, queues, outstanding) = (link.clone(), Arc::clone(&queues), outstanding.clone());
        Box::pin(async move { outstanding.waiting(&link, &queues, run).await })
    })
}
