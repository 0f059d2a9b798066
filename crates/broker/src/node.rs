//! The broker as a node: its options from the configuration, its pages over HTTP. It does not know AMQP, nor what a
//! message means.

use std::error::Error;

use axum::extract::State;
use crosstalk_host::{
    Host, NodeSpec, Sockets,
    config::{Size, Span},
    http::{Endpoint, Params, Pretty, Refusal, Role},
};
use serde::Deserialize;

use crate::{Broker, ConnectionSnapshot, Limits, Options, QueueSnapshot, User};

/// What the broker is.
pub const SPEC: NodeSpec = NodeSpec {
    name: "broker",
    about: "keeps messages between those who publish and those who consume; any AMQP 0-9-1 client can connect",
    udp: false,
    amqp: true,
};

/// Bounds and users (`[broker]`).
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct BrokerOptions {
    users: Vec<String>,
    connections_max: usize,
    channels_max: u16,
    queues_max: usize,
    message_max: Size,
    memory_max: Size,
    heartbeat: Span,
    handshake: Span,
}

/// Why the broker cannot start.
#[derive(Debug, thiserror::Error)]
enum NodeError {
    #[error("broker.users: expected NAME:PASSWORD, got an entry of {0} characters that is not")]
    User(usize),
    #[error("the broker has no AMQP listener")]
    NoListener,
}

/// Starts the broker, and gives its pages.
///
/// # Errors
/// When an option is wrong.
pub async fn roles(host: Host, sockets: Sockets) -> Result<Vec<Role>, Box<dyn Error + Send + Sync>> {
    let broker = Broker::new(options(host.config().section("broker")?)?);
    let listener = sockets.amqp.ok_or(NodeError::NoListener)?;
    let (serving, stopping) = (broker.clone(), host.clone());
    let needed = host.readiness().need("the AMQP listener");
    needed.there();
    host.spawn_to_end(async move {
        if let Err(error) = serving.serve(listener, stopping.shutdown().clone()).await {
            needed.missing(&error.to_string());
        }
    });
    Ok(vec![pages(broker)])
}

fn options(options: BrokerOptions) -> Result<Options, NodeError> {
    // The entry itself is not shown: it may hold a password.
    let user = |entry: &String| entry.split_once(':').map(|(name, password)| User::new(name, password));
    let users = options.users.iter().map(|entry| user(entry).ok_or(NodeError::User(entry.chars().count())));
    Ok(Options {
        limits: Limits {
            connections: options.connections_max,
            channel_max: options.channels_max,
            queues: options.queues_max,
            message_bytes: options.message_max.0,
            held_bytes: options.memory_max.as_usize(),
            handshake: options.handshake.0,
            ..Limits::default()
        },
        heartbeat: options.heartbeat.0,
        users: users.collect::<Result<_, _>>()?,
        ..Options::default()
    })
}

fn pages(broker: Broker) -> Role {
    let endpoints = vec![
        Endpoint::get(
            "/queues",
            "Every queue: what waits in it, what is out with consumers, what went through",
            queues,
            broker.clone(),
        )
        .curl("watch the queues", "'{base}/queues'"),
        Endpoint::get("/connections", "Who is connected, with channels and consumers", connections, broker)
            .curl("who is connected", "'{base}/connections'"),
    ];
    Role::pages(endpoints)
}

async fn queues(State(broker): State<Broker>, _: Params) -> Result<Pretty<Vec<QueueSnapshot>>, Refusal> {
    Ok(Pretty(broker.snapshot().await.map_err(Refusal::internal)?.queues))
}

async fn connections(State(broker): State<Broker>, _: Params) -> Result<Pretty<Vec<ConnectionSnapshot>>, Refusal> {
    Ok(Pretty(broker.snapshot().await.map_err(Refusal::internal)?.connections))
}
