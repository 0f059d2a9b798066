//! The publisher. What it pays for a message depends on who is in between: a broker, or nobody.

mod brokered;
mod direct;
mod subscribers;

use std::{sync::Arc, time::Duration};

use axum::{
    extract::{Request, State},
    response::Response,
};
use crosstalk_amqp_link::{Links, Outstanding};
use crosstalk_contract::{
    Identity,
    describe::{Demonstration, RoleDescription},
    units::shown,
};
use crosstalk_host::{
    Host,
    config::ConfigError,
    http::{Endpoint, Kind, Param, Params, Refusal, Role},
    runs::{LOAD, RunRequest},
};
use crosstalk_measure::{Exchange, Pace};

use self::subscribers::Subscribers;
use crate::wire::{Options, PARADIGM};

/// The node whose subscribers the account of a run asks.
const RECEIVER: &str = "consumer";

#[derive(Clone)]
struct Publisher {
    host: Host,
    links: Links,
    options: Options,
    subscribers: Arc<Subscribers>,
    outstanding: Outstanding,
}

/// The publisher's role: starts runs, and lets subscribers in.
///
/// # Errors
/// When `[pubsub]` is wrong.
pub fn role(host: &Host, links: &Links) -> Result<Role, ConfigError> {
    let options: Options = host.config().section(PARADIGM)?;
    let subscribers = Arc::new(Subscribers::new(options.direct_backlog));
    let subscribe = direct::endpoint(host, &subscribers);
    let outstanding = Outstanding::default();
    let publisher = Publisher { host: host.clone(), links: links.clone(), options, subscribers, outstanding };
    let start = Endpoint::post(
        "/pubsub",
        "Publishes to all subscribers: through a broker, or directly to those on /subscribe",
        start,
        publisher,
    )
    .params([
        Param {
            name: "via",
            kind: Kind::Choice(&["broker", "direct"]),
            default: "broker",
            about: "Who makes the copies: a broker, or the producer itself.",
        },
        Param {
            name: "broker",
            kind: Kind::Name,
            default: "the first of the topology",
            about: "The broker that makes the copies. Not together with via=direct.",
        },
    ])
    .params(LOAD)
    .body("The payload of each message; without one, see payload")
    .curl("publish five messages through a broker", "'{base}/pubsub?messages=5'")
    .curl("publish five messages to the subscribers directly", "'{base}/pubsub?via=direct&messages=5'")
    .curl("an open loop: 100 messages a second", "'{base}/pubsub?messages=100&rate=100/s&payload=1KiB'")
    .curl(
        "your own payload; the answer comes at once, the result later",
        "-i -H 'Prefer: respond-async' -d 'hello' '{base}/pubsub?messages=1'",
    );
    Ok(Role { description: description(), endpoints: vec![start, subscribe] })
}

fn description() -> RoleDescription {
    RoleDescription {
        paradigm: PARADIGM.to_owned(),
        about: "publishes to every subscriber, through a broker or directly over WebSocket".to_owned(),
        starts: Some("/pubsub".to_owned()),
        receiver: Some(RECEIVER.to_owned()),
        demonstrations: vec![
            Demonstration {
                title: "Publish/subscribe, brokered".to_owned(),
                explanation: "The producer publishes each message once and waits for one confirm. The broker makes a copy for every subscriber and keeps it until that subscriber has acknowledged it: the publisher does not know how many there are, and does not pay for them.".to_owned(),
                query: "via=broker&messages=10".to_owned(),
                per_broker: true,
                lossless: true,
            },
            Demonstration {
                title: "Publish/subscribe, direct".to_owned(),
                explanation: "No third party: the subscribers hold connections to the producer, and it sends the copies itself. Nobody confirms anything, so the producer is free as soon as the copies wait in its memory; it is held only when a subscriber falls too far behind.".to_owned(),
                query: "via=direct&messages=10".to_owned(),
                per_broker: false,
                lossless: true,
            },
        ],
    }
}

async fn start(State(publisher): State<Publisher>, params: Params, request: Request) -> Result<Response, Refusal> {
    let direct = params.word("via") == Some("direct");
    let broker = params.word("broker");
    if direct && broker.is_some() {
        return Err(Refusal::bad("broker", "via=direct goes through no broker: leave out broker, or say via=broker"));
    }
    let link = match direct {
        true => None,
        false => {
            let link = publisher.links.choose(broker);
            Some(link.map_err(|error| Refusal::bad("broker", format!("{error}; or say via=direct")))?.clone())
        }
    };
    let request = RunRequest::read(&publisher.host, &params, request, Pace::Closed { in_flight: 1 }).await?;
    match link {
        Some(link) => brokered::start(publisher, request, link).await,
        None => direct::start(publisher, request).await,
    }
}

impl Publisher {
    /// Tells what became of a message, if it is one of the first of its run. `done` is for a message that nothing
    /// happened to.
    fn tell(&self, id: &Identity, to: &str, done: &str, exchange: &Exchange) {
        self.host.narrate(id.run, id.seq, || {
            let waited = shown(Duration::from_nanos(exchange.freed_ns.saturating_sub(id.sent_ns)));
            let outcome = exchange
                .error
                .as_deref()
                .map_or_else(|| format!("{done} after {waited}"), |error| format!("in vain after {waited}: {error}"));
            format!("published {}/{} of run {} to {to}: {outcome}", id.seq, id.of, id.run)
        });
    }
}
