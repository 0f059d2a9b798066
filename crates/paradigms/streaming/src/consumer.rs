//! The receiver: opens a session with the streamer that invites it, and says in the end what is missing. It does not
//! know how fast messages are meant to come, and asks for none of them again.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{Json, body::Body, extract::State, http::StatusCode};
use crosstalk_contract::{RunId, describe::RoleDescription, record::ReceivedRecord};
use crosstalk_host::{
    Host, Receiver,
    http::{Endpoint, Params, Refusal, Role, body::read_whole},
    peers::Peers,
};
use serde::de::DeserializeOwned;
use tokio::{
    net::UdpSocket,
    time::{sleep, timeout},
};
use tracing::{info, warn};

use crate::{
    StreamingError,
    options::Options,
    sessions::{Session, Sessions},
    udp,
    websocket::Inbound,
    wire::{
        BODY_MAX, ENDINGS, Ended, Ending, INVITATIONS, Invitation, PARADIGM, SESSIONS, Transport, UdpSession, missing,
    },
};

/// The node that streams.
const STREAMER: &str = "streamer";
/// Longest pause within a request's body.
const BODY_IDLE: Duration = Duration::from_secs(10);
/// Ranges of missing messages in a log line.
const RANGES_TOLD: usize = 12;
/// While messages still come after the end of a stream, it is listened to for so many times the grace at most.
pub(crate) const GRACES_MAX: u32 = 10;

#[derive(Clone)]
struct Consumer {
    host: Host,
    receiver: Receiver,
    options: Options,
    sessions: Sessions,
}

/// The receiver's role. It reads `udp` from now on, for all streams over UDP.
///
/// # Errors
/// When `[streaming]` is wrong or there is no socket.
pub fn role(host: &Host, receiver: &Receiver, udp: Option<UdpSocket>) -> Result<Role, StreamingError> {
    let options = Options::read(host)?;
    let socket = udp.ok_or(StreamingError::NoSocket)?;
    receiver.inbox().register(PARADIGM, &[host.name().to_owned()]);
    let sessions = Sessions::new(options.sessions_max, options.session_idle.0);
    udp::listen(host, receiver, &sessions, socket, &options);
    let consumer = Consumer { host: host.clone(), receiver: receiver.clone(), options, sessions };
    let invitation = Endpoint::post(
        INVITATIONS,
        "The streamer asks this node to open a session for a run",
        invited,
        consumer.clone(),
    )
    .body(r#"JSON: {"run": "12 hexadecimal digits", "transport": "udp" or "websocket", "messages": 100}"#);
    let ending = Endpoint::post(ENDINGS, "The streamer says that a run's stream is over", ended, consumer)
        .body(r#"JSON: {"run": "12 hexadecimal digits", "sent": 100}"#);
    let description = RoleDescription {
        paradigm: PARADIGM.to_owned(),
        about: "opens sessions with the streamer, and listens".to_owned(),
        starts: None,
        receiver: None,
        demonstrations: Vec::new(),
    };
    Ok(Role { description, endpoints: vec![invitation, ending] })
}

async fn read_json<T: DeserializeOwned>(body: Body) -> Result<T, Refusal> {
    let text = read_whole(body, BODY_MAX, BODY_IDLE).await?;
    serde_json::from_slice(&text).map_err(|error| Refusal::bad("body", format!("expected JSON: {error}")))
}

/// Answers when the session is open, so that whoever invited knows.
async fn invited(State(consumer): State<Consumer>, _: Params, body: Body) -> Result<StatusCode, Refusal> {
    let invitation: Invitation = read_json(body).await?;
    // A task of its own: half a session must not stay behind when whoever invited does not wait for the answer.
    let opened = tokio::spawn(async move { consumer.open(&invitation).await }).await.map_err(Refusal::internal)?;
    opened.map(|()| StatusCode::NO_CONTENT).map_err(|error| Refusal::unavailable(error.to_string()))
}

async fn ended(State(consumer): State<Consumer>, _: Params, body: Body) -> Result<Json<Ended>, Refusal> {
    let ending: Ending = read_json(body).await?;
    let session = consumer.sessions.get(ending.run).ok_or_else(|| {
        Refusal::not_found(format!("no session is open here for run {}: it was never, or before a restart", ending.run))
    })?;
    let grace = consumer.grace(&session);
    consumer.host.shutdown().run_until_cancelled(grace).await;
    consumer.sessions.close(ending.run);
    let records = consumer.records(ending.run)?;
    consumer.tell(&ending, &records, session.dropped());
    Ok(Json(Ended { received: records.len() as u64, dropped: session.dropped() }))
}

impl Consumer {
    async fn open(&self, invitation: &Invitation) -> Result<(), StreamingError> {
        let Invitation { run, transport, messages } = *invitation;
        // Before the streamer hears of it: the first datagram may be faster than its answer.
        let Some(session) = self.sessions.open(run, transport)? else { return Ok(()) };
        let opening = self.open_at_streamer(run, transport, session);
        let opened = timeout(self.options.open_timeout.0, opening).await;
        let opened = opened.unwrap_or_else(|_| Err(StreamingError::Open("no answer in time".to_owned())));
        match &opened {
            Ok(()) => info!("opened a session over {} for run {run} of up to {messages} messages", transport.word()),
            Err(_) => self.sessions.close(run),
        }
        opened
    }

    async fn open_at_streamer(
        &self,
        run: RunId,
        transport: Transport,
        session: Arc<Session>,
    ) -> Result<(), StreamingError> {
        let peers = self.host.peers();
        let streamer = peers.url(STREAMER)?;
        match transport {
            Transport::Udp => {
                let me = self.host.topology().nodes.get(self.host.name()).and_then(|node| node.udp.clone());
                let address = me.ok_or_else(|| StreamingError::NoAddress { node: self.host.name().to_owned() })?;
                let request = peers.client().post(format!("{streamer}{SESSIONS}"));
                Peers::checked(STREAMER, request.json(&UdpSession { run, address })).await?;
            }
            Transport::Websocket => {
                let inbound = Inbound::open(streamer, run, &self.options).await?;
                self.host.spawn(inbound.listen(self.host.clone(), self.receiver.clone(), session));
            }
        }
        Ok(())
    }

    /// Waits until nothing has come for the grace, as the last messages may still be under way.
    async fn grace(&self, session: &Session) {
        if session.transport() == Transport::Websocket {
            return; // The connection itself has an end, behind the last message.
        }
        let grace = self.options.grace.0;
        let until = Instant::now() + grace * GRACES_MAX;
        session.touch();
        while Instant::now() < until {
            let left = grace.saturating_sub(session.silent());
            if left.is_zero() {
                break;
            }
            sleep(left).await;
        }
    }

    fn records(&self, run: RunId) -> Result<Vec<ReceivedRecord>, Refusal> {
        let report = self.receiver.inbox().report(run, None, true).map_err(Refusal::internal)?;
        let receivers = report.map(|report| report.receivers).unwrap_or_default();
        let own = receivers.into_iter().find(|receiver| receiver.receiver == self.host.name());
        Ok(own.map(|receiver| receiver.records).unwrap_or_default())
    }

    fn tell(&self, ending: &Ending, records: &[ReceivedRecord], dropped: u64) {
        let Ending { run, sent } = ending;
        let here = records.iter().map(|record| record.seq);
        let received = records.len();
        let dropped = if dropped > 0 { format!("; {dropped} of them dropped here") } else { String::new() };
        match missing(here, *sent, RANGES_TOLD) {
            None => info!("the stream of run {run} is over: all {sent} messages arrived"),
            Some(missing) => {
                warn!(
                    "the stream of run {run} is over: {received} of {sent} messages arrived, missing {missing}{dropped}"
                );
            }
        }
    }
}
