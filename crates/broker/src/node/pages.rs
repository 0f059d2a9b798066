//! What the broker holds, as JSON for people with curl. Read-only. It does not know where the figures come from.

use std::sync::Arc;
use std::time::Instant;

use axum::extract::State;
use crosstalk_host::Host;
use crosstalk_host::http::{Endpoint, Kind, Param, Params, Pretty, Refusal, Role};
use serde::Serialize;

use super::rates::{self, QueueRates, Rates};
use crate::{
    BindingSnapshot, Broker, ChannelSnapshot, ConnectionSnapshot, ConsumerSnapshot, ExchangeSnapshot, QueueSnapshot,
    Snapshot,
};

/// Entries in one answer unless a request asks for more: what one can still scroll through.
const LIMIT_DEFAULT: u64 = 1000;
/// Entries in one answer at most; each takes some hundred bytes of memory for a moment.
const LIMIT_MAX: u64 = 1_000_000;

/// Longest name in AMQP: a short string (specification section 4.2.5.3).
const NAME_MAX_BYTES: usize = 255;

/// What is to be known about rates.
const RATES: &str = "The rates in per_second are averages over the last 5 to 10 s, whoever asks and however often: the \
    broker takes all totals every 5 s, and over_s says how long before this answer those were taken that it is compared \
    with. They are null in a queue's first seconds. Where there are more than 10,000 queues, totals are taken only while \
    somebody asks at least every 5 minutes; the first answer after a pause has null.";

/// All pages, with what they need to be kept up to date.
pub(super) fn role(host: &Host, broker: Broker) -> Role {
    let limit = || Param {
        name: "limit",
        kind: Kind::Count { min: 1, max: LIMIT_MAX },
        default: "1000",
        about: "Entries in the answer at most",
    };
    let named = |about| Param { name: "name", kind: Kind::Text(NAME_MAX_BYTES), default: "all", about };
    let vhost = || Param {
        name: "vhost",
        kind: Kind::Text(NAME_MAX_BYTES),
        default: "all",
        about: "Only those of a virtual host",
    };
    let watched = Watched { broker: broker.clone(), rates: Arc::default() };
    host.spawn(rates::keep(Arc::clone(&watched.rates), broker.clone()));
    let endpoints = vec![
        Endpoint::get("/queues", "Queues: what waits, what is out with consumers, totals, rates", queues, watched)
            .details(RATES)
            .params([named("Only the queue of this name"), vhost(), limit()])
            .curl("watch the queues, with rates over the last 5 to 10 s", "'{base}/queues'"),
        Endpoint::get("/exchanges", "Exchanges, without the default one", exchanges, broker.clone())
            .params([named("Only the exchange of this name"), vhost(), limit()])
            .curl("the exchanges", "'{base}/exchanges'"),
        Endpoint::get("/bindings", "Bindings from exchanges to queues and exchanges", bindings, broker.clone())
            .params([named("Only those from or to this name"), vhost(), limit()])
            .curl("what is bound to what", "'{base}/bindings'"),
        Endpoint::get("/connections", "Who is connected, with channels", connections, broker.clone())
            .params([named("Only those of this user"), vhost(), limit()])
            .curl("who is connected", "'{base}/connections'"),
        Endpoint::get("/channels", "Open channels of all connections", channels, broker.clone())
            .params([vhost(), limit()])
            .curl("the channels", "'{base}/channels'"),
        Endpoint::get("/consumers", "Who consumes from which queue", consumers, broker)
            .params([named("Only those of the queue of this name"), vhost(), limit()])
            .curl("who consumes what", "'{base}/consumers'"),
    ];
    Role::pages(endpoints)
}

/// A broker, and how fast its queues are.
#[derive(Clone)]
struct Watched {
    broker: Broker,
    rates: Arc<Rates>,
}

/// A queue with its rates.
#[derive(Debug, Serialize)]
struct QueueView {
    #[serde(flatten)]
    queue: QueueSnapshot,
    /// Over the last 5 to 10 s; `null` in the queue's first ones.
    per_second: Option<QueueRates>,
}

/// A channel with its connection.
#[derive(Debug, Serialize)]
struct ChannelView {
    connection: u64,
    peer: String,
    user: String,
    vhost: String,
    #[serde(flatten)]
    channel: ChannelSnapshot,
}

type Page<T> = Result<Pretty<Vec<T>>, Refusal>;

async fn look(broker: &Broker) -> Result<Snapshot, Refusal> {
    broker.snapshot().await.map_err(Refusal::internal)
}

/// What of `all` was asked for, by virtual host and by one of the names that `names` gives.
fn chosen<T>(all: Vec<T>, params: &Params, vhost: fn(&T) -> &str, names: fn(&T) -> [&str; 2]) -> Pretty<Vec<T>> {
    let wanted = |entry: &T| {
        let here = params.word("vhost").is_none_or(|wanted| vhost(entry) == wanted);
        here && params.word("name").is_none_or(|wanted| names(entry).contains(&wanted))
    };
    let limit = usize::try_from(params.count("limit").unwrap_or(LIMIT_DEFAULT)).unwrap_or(usize::MAX);
    Pretty(all.into_iter().filter(wanted).take(limit).collect())
}

async fn queues(State(watched): State<Watched>, params: Params) -> Page<QueueView> {
    let queues = look(&watched.broker).await?.queues;
    let rates = watched.rates.of(&queues, Instant::now());
    let all = queues.into_iter().zip(rates).map(|(queue, per_second)| QueueView { queue, per_second });
    Ok(chosen(all.collect(), &params, |view| &view.queue.vhost, |view| [view.queue.name.as_str(); 2]))
}

async fn exchanges(State(broker): State<Broker>, params: Params) -> Page<ExchangeSnapshot> {
    let all = look(&broker).await?.exchanges;
    Ok(chosen(all, &params, |exchange| &exchange.vhost, |exchange| [exchange.name.as_str(); 2]))
}

async fn bindings(State(broker): State<Broker>, params: Params) -> Page<BindingSnapshot> {
    let all = look(&broker).await?.bindings;
    Ok(chosen(all, &params, |binding| &binding.vhost, |binding| [&binding.source, &binding.destination]))
}

async fn connections(State(broker): State<Broker>, params: Params) -> Page<ConnectionSnapshot> {
    let all = look(&broker).await?.connections;
    Ok(chosen(all, &params, |connection| &connection.vhost, |connection| [connection.user.as_str(); 2]))
}

async fn channels(State(broker): State<Broker>, params: Params) -> Page<ChannelView> {
    let connections = look(&broker).await?.connections.into_iter();
    let all = connections.flat_map(|ConnectionSnapshot { id, peer, user, vhost, channels, .. }| {
        channels.into_iter().map(move |channel| {
            let (peer, user, vhost) = (peer.clone(), user.clone(), vhost.clone());
            ChannelView { connection: id, peer, user, vhost, channel }
        })
    });
    Ok(chosen(all.collect(), &params, |view| &view.vhost, |view| [view.user.as_str(); 2]))
}

async fn consumers(State(broker): State<Broker>, params: Params) -> Page<ConsumerSnapshot> {
    let all = look(&broker).await?.consumers;
    Ok(chosen(all, &params, |consumer| &consumer.vhost, |consumer| [consumer.queue.as_str(); 2]))
}
