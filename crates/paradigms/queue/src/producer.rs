//! The producer of the queue. It waits until the broker has confirmed a message, and does not know whether a
//! consumer is there.

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    response::Response,
};
use crosstalk_amqp_link::{Link, Links, Outstanding, Pending, Publisher, Route};
use crosstalk_contract::{
    Identity,
    describe::{Demonstration, RoleDescription},
    units::shown,
};
use crosstalk_host::{
    Host,
    config::ConfigError,
    http::{Endpoint, Kind, Param, Params, Refusal, Role},
    runs::{self, Conclusion, Kept, LOAD, Plan, RunRequest},
};
use crosstalk_measure::{Exchange, Pace};
use futures_util::FutureExt;
use lapin::types::ShortString;

use crate::wire::{self, Options, PARADIGM};

/// The node that works off the queue.
const RECEIVER: &str = "consumer";

#[derive(Clone)]
struct Producer {
    host: Host,
    links: Links,
    queue: ShortString,
    options: Options,
    outstanding: Outstanding,
}

/// The producer's role: starts runs, and needs a broker.
///
/// # Errors
/// When `[queue]` is wrong.
pub fn role(host: &Host, links: &Links) -> Result<Role, ConfigError> {
    let options: Options = host.config().section(PARADIGM)?;
    let queue = ShortString::from(options.name.as_str());
    let outstanding = Outstanding::default();
    let producer = Producer { host: host.clone(), links: links.clone(), queue, options, outstanding };
    let broker = Param {
        name: "broker",
        kind: Kind::Name,
        default: "the first of the topology",
        about: "The broker that keeps the messages.",
    };
    let start = Endpoint::post(
        "/queue",
        "Publishes to the queue, and waits for the broker's confirm of each message, not for the consumer",
        start,
        producer,
    )
    .params([broker])
    .params(LOAD)
    .body("The payload of each message; without one, see payload")
    .curl("leave five messages in the queue, one at a time", "'{base}/queue?messages=5'")
    .curl("two hundred messages, fifty of them unconfirmed at once", "'{base}/queue?messages=200&in_flight=50'")
    .curl("an open loop: 100 messages a second", "'{base}/queue?messages=100&rate=100/s&payload=1KiB'")
    .curl(
        "your own payload; the answer comes at once, the result later",
        "-i -H 'Prefer: respond-async' -d 'hello' '{base}/queue?messages=1'",
    );
    Ok(Role { description: description(), endpoints: vec![start] })
}

fn description() -> RoleDescription {
    RoleDescription {
        paradigm: PARADIGM.to_owned(),
        about: "leaves messages with a broker, and waits for its confirm of each".to_owned(),
        starts: Some("/queue".to_owned()),
        receiver: Some(RECEIVER.to_owned()),
        demonstrations: vec![Demonstration {
            title: "Message queue".to_owned(),
            explanation: "The producer leaves messages with the broker and waits only until the broker confirms that it has them: synchronous with its neighbour. The consumer works them off in its own time, long after the producer went on: asynchronous with the final receiver.".to_owned(),
            query: "messages=10".to_owned(),
            per_broker: true,
            lossless: true,
        }],
    }
}

async fn start(State(producer): State<Producer>, params: Params, request: Request) -> Result<Response, Refusal> {
    let link = producer.links.choose(params.word("broker"));
    let link = link.map_err(|error| Refusal::bad("broker", error.to_string()))?.clone();
    let request = RunRequest::read(&producer.host, &params, request, Pace::Closed { in_flight: 1 }).await?;
    let plan = Plan {
        paradigm: PARADIGM,
        over: link.broker().to_owned(),
        receiver: RECEIVER.to_owned(),
        settle_idle: None,
        kept: Some(kept(&link, &producer)),
    };
    let host = producer.host.clone();
    runs::start(&host, request, plan, move |run| async move {
        let route = Route { exchange: ShortString::from(""), key: producer.queue.clone(), mandatory: true };
        let declare = wire::declare(&producer.queue);
        let timeout = producer.options.confirm_timeout.0;
        let publisher = Publisher::open(link.clone(), route, declare, producer.host.clock(), timeout).await?;
        let _publishing = producer.outstanding.begin(&link, std::slice::from_ref(&producer.queue), run.id).await;
        let producer = Arc::new(producer);
        run.drive(|message| {
            let (publisher, producer, link) = (Arc::clone(&publisher), Arc::clone(&producer), link.clone());
            // In two stages: messages leave one after the other, and their confirms are awaited together.
            async move { (publisher.publish(&message).await, message.identity) }
                .map(|(pending, id)| async move { producer.confirmed(&link, &id, pending).await })
        })
        .await?;
        Ok(Conclusion::default())
    })
    .await
}

/// What waits in the queue, when it can only be the run's.
fn kept(link: &Link, producer: &Producer) -> Kept {
    let (link, queue, outstanding) = (link.clone(), producer.queue.clone(), producer.outstanding.clone());
    Arc::new(move |run| {
        let (link, queue, outstanding) = (link.clone(), queue.clone(), outstanding.clone());
        Box::pin(async move { outstanding.waiting(&link, &[queue], run).await })
    })
}

impl Producer {
    async fn confirmed(&self, link: &Link, id: &Identity, pending: Pending) -> Exchange {
        let exchange = pending.outcome(&self.host.clock()).await;
        self.host.narrate(id.run, id.seq, || {
            let waited = shown(std::time::Duration::from_nanos(exchange.freed_ns.saturating_sub(id.sent_ns)));
            let outcome = exchange.error.as_deref().map_or_else(
                || format!("confirmed after {waited}"),
                |error| format!("in vain after {waited}: {error}"),
            );
            let (queue, broker) = (&self.queue, link.broker());
            format!("published {}/{} of run {} to queue {queue} at {broker}: {outcome}", id.seq, id.of, id.run)
        });
        exchange
    }
}
