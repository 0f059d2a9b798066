//! The sender: invites the receiver, waits until it opens a session, then streams at its pace. It does not know how
//! fast the receiver is, and over UDP not even whether it is still there.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use axum::{
    body::Body,
    extract::{
        Path, Request, State,
        ws::{WebSocketUpgrade, rejection::WebSocketUpgradeRejection},
    },
    http::StatusCode,
    response::{IntoResponse, Response},
};
use crosstalk_contract::{
    Message, RunId,
    describe::{Demonstration, RoleDescription},
    frame::{self, HEAD_LEN},
    units::shown,
};
use crosstalk_host::{
    Host,
    config::ConfigError,
    http::{Endpoint, Kind, Param, Params, Refusal, Role, body::read_whole},
    peers::Peers,
    receiver::run_in_path,
    runs::{self, Conclusion, LOAD, Plan, Run, RunFailure, RunRequest},
};
use crosstalk_measure::{Exchange, Pace, histogram::ms};
use futures_util::FutureExt;
use serde_json::{Map, Value, json};
use tokio::{sync::oneshot, time::timeout};
use tracing::{info, warn};

use crate::{
    StreamingError,
    offers::{NoOffer, Offers, Opened},
    options::Options,
    udp,
    websocket::{self, INBOUND_MAX},
    wire::{
        BODY_MAX, ENDINGS, Ended, Ending, INVITATIONS, Invitation, PARADIGM, SESSIONS, Transport, UdpSession,
        WEBSOCKET_SESSION,
    },
};

/// The node that receives streams.
const RECEIVER: &str = "consumer";
/// Pause between two invitations of a receiver that is not there.
const INVITE_PAUSE: Duration = Duration::from_millis(100);
/// Longest time for the receiver's last word, beyond its grace.
const ENDING_MAX: Duration = Duration::from_secs(5);
/// Longest pause within a request's body.
const BODY_IDLE: Duration = Duration::from_secs(10);
/// Silence after which a run's accounts are closed: the stream has ended, and the grace is over.
const SETTLE_IDLE: Duration = Duration::from_millis(500);

#[derive(Clone)]
struct Streamer {
    host: Host,
    options: Options,
    offers: Offers,
}

/// The streamer's role: starts runs, and needs the consumer.
///
/// # Errors
/// When `[streaming]` is wrong.
pub fn role(host: &Host) -> Result<Role, ConfigError> {
    let options = Options::read(host)?;
    Peers::need(host, RECEIVER);
    let offers = Offers::new(options.sessions_max);
    let streamer = Streamer { host: host.clone(), options, offers };
    let transport = Param {
        name: "transport",
        kind: Kind::Choice(Transport::WORDS),
        default: Transport::WORDS[0],
        about: "One datagram for each message, or one WebSocket for all of them.",
    };
    let start =
        Endpoint::post("/streaming", "Streams to the consumer, which opens the session", start, streamer.clone())
            .params(LOAD)
            .params([transport])
            .body("The payload of each message; without one, see payload")
            .curl(
                "a hundred datagrams, 500 a second; nobody answers",
                "'{base}/streaming?transport=udp&messages=100&rate=500/s'",
            )
            .curl(
                "the same over a WebSocket: nothing is lost, but a slow receiver slows the stream",
                "'{base}/streaming?transport=websocket&messages=100&rate=500/s'",
            )
            .curl(
                "your own payload; the answer comes at once, the result later",
                "-i -H 'Prefer: respond-async' -d 'hello' '{base}/streaming?transport=websocket&messages=3'",
            );
    let open_udp = Endpoint::post(
        SESSIONS,
        "The receiver says where it listens for a run's datagrams",
        open_udp,
        streamer.clone(),
    )
    .body(r#"JSON: {"run": "12 hexadecimal digits", "address": "host:port"}"#);
    let open_websocket =
        Endpoint::get(WEBSOCKET_SESSION, "The receiver opens a run's WebSocket", open_websocket, streamer);
    Ok(Role { description: description(), endpoints: vec![start, open_udp, open_websocket] })
}

fn description() -> RoleDescription {
    RoleDescription {
        paradigm: PARADIGM.to_owned(),
        about: "streams to the consumer at a pace, over UDP or a WebSocket".to_owned(),
        starts: Some("/streaming".to_owned()),
        receiver: Some(RECEIVER.to_owned()),
        demonstrations: vec![
            Demonstration {
                title: "Streaming over UDP".to_owned(),
                explanation: "The consumer opens a session, then a hundred datagrams leave at their pace. The streamer is free as soon as the system has taken a datagram; nobody answers, and nothing would tell it if one were lost. Only the consumer's own count shows how many arrived.".to_owned(),
                query: "transport=udp&messages=100&rate=500/s".to_owned(),
                per_broker: false,
                lossless: false,
            },
            Demonstration {
                title: "Streaming over WebSocket".to_owned(),
                explanation: "The same stream over one TCP connection. Nobody answers here either, but TCP brings every message, in order; when the consumer is slow the connection fills up, and then the streamer has to wait.".to_owned(),
                query: "transport=websocket&messages=100&rate=500/s".to_owned(),
                per_broker: false,
                lossless: true,
            },
        ],
    }
}

async fn start(State(streamer): State<Streamer>, params: Params, request: Request) -> Result<Response, Refusal> {
    let transport = Transport::named(params.word("transport"));
    let host = streamer.host.clone();
    let pace = Pace::Open(streamer.options.rate.0);
    let mut request = RunRequest::read(&host, &params, request, pace).await?;
    if transport == Transport::Udp {
        let max = streamer.options.datagram_max.as_usize().saturating_sub(HEAD_LEN + host.name().len());
        request.pace_upload(streamer.options.upload_rate.0);
        request.limit_payload(max, "a datagram (streaming.datagram_max, less the frame's head)")?;
    }
    let plan = Plan {
        paradigm: PARADIGM,
        over: transport.word().to_owned(),
        receiver: RECEIVER.to_owned(),
        settle_idle: Some(SETTLE_IDLE),
        kept: None,
    };
    runs::start(&host, request, plan, move |run| async move { streamer.stream(run, transport).await }).await
}

/// What a stream goes into.
#[derive(Clone)]
enum Way {
    Udp(Arc<udp::Outbound>),
    Websocket(Arc<websocket::Outbound>),
}

/// What left, counted while it leaves.
#[derive(Default)]
struct Tally {
    tried: AtomicU64,
    sent: AtomicU64,
    bytes: AtomicU64,
    first_ns: AtomicU64,
    last_ns: AtomicU64,
}

impl Streamer {
    async fn stream(&self, run: Run, transport: Transport) -> Result<Conclusion, RunFailure> {
        let (id, fault) = (run.id, run.payloads.fault());
        let (_standing, opened) = self.offers.make(id, transport)?;
        let began = Instant::now();
        let invitation = Invitation { run: id, transport, messages: run.load.messages };
        let way = match self.invited(&invitation, opened).await? {
            Opened::Udp(to) => Way::Udp(Arc::new(udp::Outbound::open(to).await?)),
            Opened::Websocket(socket) => {
                Way::Websocket(websocket::Outbound::new(&self.host, *socket, self.options.stall_max.0))
            }
        };
        let opened_after = began.elapsed();
        info!("run {id}: {RECEIVER} opened a session over {} after {}", transport.word(), shown(opened_after));
        let tally = Tally::default();
        let sending = {
            let (streamer, way, tally) = (self, &way, &tally);
            // Each message is handed over before the next one begins, so that they leave in order.
            run.drive(move |message| streamer.send(way, message, tally).map(std::future::ready))
        };
        // A broken upload is told as the run's failure, beside what was sent until then.
        let _ = sending.await;
        if let Way::Websocket(outbound) = &way {
            outbound.close(&self.host).await;
        }
        let ended = self.host.shutdown().run_until_cancelled(self.end(id, &tally)).await.flatten();
        let details = details(opened_after, &tally, ended);
        Ok(Conclusion { details, failure: fault.get().map(RunFailure::from), ..Conclusion::default() })
    }

    /// Invites the receiver until it opens a session.
    async fn invited(
        &self,
        invitation: &Invitation,
        mut opened: oneshot::Receiver<Opened>,
    ) -> Result<Opened, StreamingError> {
        let url = format!("{}{INVITATIONS}", self.host.peers().url(RECEIVER)?);
        let waited = self.options.open_timeout.0;
        let mut reason = None;
        let inviting = async {
            loop {
                let request = self.host.peers().client().post(&url).timeout(waited).json(invitation);
                reason = Peers::checked(RECEIVER, request).await.err().map(|error| error.to_string());
                // Who accepted has opened the session by now, or almost. Who did not is asked again: a receiver
                // that is late is not absent.
                if let Ok(Ok(session)) = timeout(INVITE_PAUSE, &mut opened).await {
                    return session;
                }
            }
        };
        let opened = timeout(waited, self.host.shutdown().run_until_cancelled(inviting)).await;
        match opened {
            Ok(session) => session.ok_or(StreamingError::Stopping),
            Err(_) => Err(StreamingError::NotThere { waited, reason }),
        }
    }

    async fn send(&self, way: &Way, message: Message, tally: &Tally) -> Exchange {
        let (clock, began) = (self.host.clock(), Instant::now());
        tally.tried.fetch_add(1, Ordering::Relaxed);
        let sending = async {
            let frame = frame::encoded(&message)?;
            match way {
                Way::Udp(outbound) => outbound.send(frame).await,
                Way::Websocket(outbound) => outbound.send(frame).await,
            }
        };
        let sent = self.host.shutdown().run_until_cancelled(sending).await.unwrap_or(Err(StreamingError::Stopping));
        let exchange = match &sent {
            Ok(()) => Exchange::unanswered(&clock),
            Err(error) => Exchange::failed(&clock, error.to_string()),
        };
        if sent.is_ok() {
            tally.count(message.payload.len(), exchange.freed_ns);
        }
        let id = &message.identity;
        self.host.narrate(id.run, id.seq, || {
            let (seq, of, run) = (id.seq, id.of, id.run);
            let transport = match way {
                Way::Udp(_) => "a datagram",
                Way::Websocket(_) => "a WebSocket message",
            };
            match &sent {
                Ok(()) => format!(
                    "streamed {seq}/{of} of run {run} to {RECEIVER} as {transport}: free after {}, nobody answers",
                    shown(began.elapsed())
                ),
                Err(error) => format!("could not stream {seq}/{of} of run {run}: {error}"),
            }
        });
        exchange
    }

    /// Tells the receiver that this was all, and hears what it got.
    async fn end(&self, run: RunId, tally: &Tally) -> Option<Ended> {
        let url = format!("{}{ENDINGS}", self.host.peers().url(RECEIVER).ok()?);
        let ending = Ending { run, sent: tally.tried.load(Ordering::Relaxed) };
        let patience = self.options.grace.0 * super::consumer::GRACES_MAX + ENDING_MAX;
        let request = self.host.peers().client().post(url).timeout(patience).json(&ending);
        let ended = Peers::json(RECEIVER, request).await;
        ended.map_err(|error| warn!("run {run}: cannot tell the receiver that the stream is over: {error}")).ok()
    }
}

impl Tally {
    fn count(&self, bytes: usize, at_ns: u64) {
        if self.sent.fetch_add(1, Ordering::Relaxed) == 0 {
            self.first_ns.store(at_ns, Ordering::Relaxed);
        }
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        self.last_ns.store(at_ns, Ordering::Relaxed);
    }
}

#[expect(clippy::cast_precision_loss, reason = "a count of messages of one run")]
fn details(opened_after: Duration, tally: &Tally, ended: Option<Ended>) -> Map<String, Value> {
    let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    let mut details = Map::new();
    let mut note = |name: &str, value: Value| details.insert(name.to_owned(), value);
    let sent = get(&tally.sent);
    note("session_open_ms", json!(opened_after.as_secs_f64() * 1e3));
    note("sent", json!(sent));
    note("bytes", json!(get(&tally.bytes)));
    let took_ms = ms(get(&tally.last_ns).saturating_sub(get(&tally.first_ns)));
    if sent > 1 && took_ms > 0.0 {
        // Between the first and the last message there is one pause less than there are messages.
        note("achieved_rate_per_s", json!((sent - 1) as f64 / took_ms * 1e3));
    }
    if let Some(ended) = ended {
        note("receiver_received", json!(ended.received));
        note("receiver_dropped", json!(ended.dropped));
    }
    details
}

async fn open_udp(State(streamer): State<Streamer>, _: Params, body: Body) -> Result<StatusCode, Refusal> {
    let text = read_whole(body, BODY_MAX, BODY_IDLE).await?;
    let session: UdpSession = serde_json::from_slice(&text)
        .map_err(|error| Refusal::bad("body", format!("expected {{\"run\": …, \"address\": …}}: {error}")))?;
    let claimed: String = session.address.chars().take(80).collect();
    let to = udp::address_in_topology(&streamer.host, RECEIVER, &claimed).await.map_err(Refusal::internal)?;
    let Some(to) = to else {
        let detail = format!(
            "datagrams are sent to nobody but {RECEIVER} at its UDP address in this node's topology, which {claimed:?} is not"
        );
        return Err(Refusal::new(StatusCode::FORBIDDEN, detail));
    };
    streamer.offers.check(session.run, Transport::Udp).map_err(|why| refused(session.run, why))?;
    streamer
        .offers
        .take(session.run, Opened::Udp(to))
        .map(|()| StatusCode::NO_CONTENT)
        .map_err(|_| refused(session.run, NoOffer::Taken))
}

async fn open_websocket(
    State(streamer): State<Streamer>,
    Path(run): Path<String>,
    _: Params,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response, Refusal> {
    let run = run_in_path(&run)?;
    streamer.offers.check(run, Transport::Websocket).map_err(|why| refused(run, why))?;
    let upgrade = upgrade.map_err(|rejection| {
        let detail = format!("a session is a WebSocket (RFC 6455): {}", rejection.body_text());
        Refusal::new(rejection.into_response().status(), detail)
    })?;
    let upgrade = upgrade.max_message_size(INBOUND_MAX).max_frame_size(INBOUND_MAX);
    Ok(upgrade.on_upgrade(move |socket| async move {
        if streamer.offers.take(run, Opened::Websocket(Box::new(socket))).is_err() {
            warn!("a WebSocket for run {run} came too late: another had opened the session, or nobody waits any more");
        }
    }))
}

fn refused(run: RunId, why: NoOffer) -> Refusal {
    match why {
        NoOffer::Unknown => Refusal::not_found(format!(
            "no stream with run {run} waits for its receiver; a stream begins with POST /streaming, and whoever it invites opens the session"
        )),
        NoOffer::Other(transport) => {
            Refusal::new(StatusCode::CONFLICT, format!("run {run} goes over {}", transport.word()))
        }
        NoOffer::Taken => Refusal::new(StatusCode::CONFLICT, format!("the session for run {run} is open already")),
    }
}
