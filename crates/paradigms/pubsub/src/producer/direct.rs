//! Publishing without a third party: subscribers hold a WebSocket each, and the producer sends every copy itself.
//! Nobody acknowledges, so it does not know what became of a copy.

use std::{sync::Arc, time::Duration};

use axum::{
    extract::{
        State,
        ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade, close_code, rejection::WebSocketUpgradeRejection},
    },
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use crosstalk_contract::frame;
use crosstalk_host::{
    Host,
    http::{Endpoint, Kind, Param, Params, Refusal},
    runs::{self, Conclusion, Plan, RunRequest},
};
use crosstalk_measure::Exchange;
use futures_util::{
    FutureExt, SinkExt, StreamExt,
    stream::{SplitSink, SplitStream},
};
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};
use tokio_tungstenite::tungstenite;
use tracing::{debug, info};

use super::{
    Publisher, RECEIVER,
    subscribers::{Removed, Subscribers, Subscription},
};
use crate::wire::{PARADIGM, SIGN_OF_LIFE, SILENCE_MAX, SUBSCRIBE_PATH};

/// After the last message only what is in buffers and sockets is still to come.
const SETTLE_IDLE: Duration = Duration::from_secs(1);
/// Largest message that is read from a subscriber, in bytes. It has nothing to say but control frames, which are
/// at most 125 B.
const INBOUND_MAX: usize = 1024;
/// Frames written before they are flushed: enough for full packets, few enough that none waits for long.
const FLUSH_EVERY: usize = 64;
/// Longest subscription whose end is set in advance.
const DURATION_MAX: Duration = Duration::from_secs(24 * 60 * 60);
/// How long a subscriber may take to answer that the connection is closed.
const CLOSE_MAX: Duration = Duration::from_secs(1);

#[derive(Clone)]
struct Door {
    host: Host,
    subscribers: Arc<Subscribers>,
}

pub(super) fn endpoint(host: &Host, subscribers: &Arc<Subscribers>) -> Endpoint {
    let door = Door { host: host.clone(), subscribers: Arc::clone(subscribers) };
    Endpoint::get(
        SUBSCRIBE_PATH,
        "A WebSocket on which everything published with via=direct arrives, one frame in each binary message",
        subscribe,
        door,
    )
    .params([
        Param {
            name: "name",
            kind: Kind::Name,
            default: "",
            about: "Who subscribes; has to be given. A new connection takes the place of one of the same name.",
        },
        Param {
            name: "for",
            kind: Kind::Duration(DURATION_MAX),
            default: "",
            about: "Ends the subscription after this time; without it, the subscriber does when it likes.",
        },
    ])
    .curl(
        "listen for a second: the 101 of a WebSocket, then frames (publish some meanwhile)",
        "--http1.1 -i -N --max-time 5 --output - -H 'Connection: Upgrade' -H 'Upgrade: websocket' -H 'Sec-WebSocket-Version: 13' -H 'Sec-WebSocket-Key: Y3Jvc3N0YWxrLWNyb3NzdA==' '{base}/subscribe?name=curl&for=1s'",
    )
}

async fn subscribe(
    State(door): State<Door>,
    params: Params,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response, Response> {
    let upgrade = upgrade.map_err(|rejection| not_a_websocket(&rejection))?;
    let name = params.word("name").ok_or_else(|| {
        Refusal::bad("name", "parameter name is missing: say who subscribes, such as name=me").into_response()
    })?;
    // Before the answer goes out: who has read it gets everything that is published from then on.
    let subscription =
        door.subscribers.join(name).map_err(|full| Refusal::unavailable(full.to_string()).into_response())?;
    let host = door.host;
    let duration = params.duration("for").unwrap_or(Duration::MAX);
    let answer = upgrade
        .max_message_size(INBOUND_MAX)
        .max_frame_size(INBOUND_MAX)
        .on_upgrade(move |socket| async move { serve(socket, subscription, duration, &host).await });
    Ok(answer)
}

fn not_a_websocket(rejection: &WebSocketUpgradeRejection) -> Response {
    let detail = format!("this path speaks WebSocket only: {rejection}");
    let refusal = Refusal::new(StatusCode::UPGRADE_REQUIRED, detail);
    // RFC 9110, section 15.5.22: the answer has to name the protocol.
    ([(header::UPGRADE, "websocket"), (header::CONNECTION, "upgrade")], refusal).into_response()
}

/// Why a subscription ended.
enum End {
    /// The subscriber is gone, or said goodbye.
    Left(String),
    /// This side ends it, with a code of RFC 6455, section 7.4.1, and why.
    Closed(u16, &'static str),
}

async fn serve(socket: WebSocket, mut subscription: Subscription, duration: Duration, host: &Host) {
    let name = subscription.name.clone();
    info!("{name} subscribed");
    let (mut sink, mut stream) = socket.split();
    let end = tokio::select! {
        end = listen(&mut stream) => end,
        end = send_all(&mut sink, &mut subscription) => end,
        () = sleep(duration) => End::Closed(close_code::NORMAL, "the time that was asked for is over"),
        () = host.shutdown().cancelled() => End::Closed(close_code::AWAY, "the producer stops"),
    };
    drop(subscription);
    match end {
        End::Left(why) => info!("{name} is no longer subscribed: {why}"),
        End::Closed(code, why) => {
            info!("{name} is no longer subscribed: {why}");
            let close = Message::Close(Some(CloseFrame { code, reason: why.into() }));
            if !matches!(timeout(CLOSE_MAX, sink.send(close)).await, Ok(Ok(()))) {
                debug!("{name} could not be told");
            }
        }
    }
    // Until the subscriber has closed its side, too; reading also answers its own close.
    let closing = async { while let Some(Ok(_)) = stream.next().await {} };
    let _ = timeout(CLOSE_MAX, closing).await;
}

/// A subscriber has nothing to say, but has to show that it is there.
async fn listen(stream: &mut SplitStream<WebSocket>) -> End {
    loop {
        match timeout(SILENCE_MAX, stream.next()).await {
            Err(_) => return End::Closed(close_code::POLICY, "no sign of life: answer pings, or send pongs"),
            Ok(None) => return End::Left("its connection ended".to_owned()),
            Ok(Some(Ok(Message::Ping(_) | Message::Pong(_)))) => {}
            Ok(Some(Ok(Message::Close(_)))) => return End::Left("it said goodbye".to_owned()),
            Ok(Some(Ok(Message::Text(_) | Message::Binary(_)))) => {
                return End::Closed(close_code::UNSUPPORTED, "subscribers only listen: nothing is taken here");
            }
            Ok(Some(Err(error))) => return broken(error),
        }
    }
}

fn broken(error: axum::Error) -> End {
    use tungstenite::Error;
    let inner = error.into_inner();
    match inner.downcast_ref() {
        Some(Error::Capacity(_)) => {
            End::Closed(close_code::SIZE, "subscribers only listen: such a large message is not even read")
        }
        Some(Error::Utf8(_)) => End::Closed(close_code::INVALID, "a text message that is no UTF-8"),
        // Who just drops the connection breaks the protocol, too, but is not there to be told.
        Some(Error::Protocol(tungstenite::error::ProtocolError::ResetWithoutClosingHandshake)) => {
            End::Left("its connection ended".to_owned())
        }
        Some(Error::Protocol(_)) => End::Closed(close_code::PROTOCOL, "that is no WebSocket frame"),
        _ => End::Left(inner.to_string()),
    }
}

async fn send_all(sink: &mut SplitSink<WebSocket, Message>, subscription: &mut Subscription) -> End {
    let mut signs = interval(SIGN_OF_LIFE);
    signs.set_missed_tick_behavior(MissedTickBehavior::Delay);
    signs.reset();
    loop {
        let sent = tokio::select! {
            next = subscription.next() => match next {
                Ok(held) => {
                    let mut fed = sink.feed(Message::Binary(held.frame)).await;
                    for held in std::iter::from_fn(|| subscription.ready()).take(FLUSH_EVERY) {
                        if fed.is_err() {
                            break;
                        }
                        fed = sink.feed(Message::Binary(held.frame)).await;
                    }
                    match fed {
                        Ok(()) => sink.flush().await,
                        Err(error) => Err(error),
                    }
                }
                Err(Removed::Replaced) => {
                    return End::Closed(close_code::POLICY, "a new connection subscribed under this name");
                }
                Err(Removed::TooSlow) => {
                    return End::Closed(close_code::AGAIN, "too far behind: subscribe again when there is time");
                }
            },
            _ = signs.tick() => sink.send(Message::Ping(bytes::Bytes::new())).await,
        };
        if let Err(error) = sent {
            return End::Left(error.to_string());
        }
    }
}

pub(super) async fn start(publisher: Publisher, request: RunRequest) -> Result<Response, Refusal> {
    let plan = Plan {
        paradigm: PARADIGM,
        over: "direct".to_owned(),
        receiver: RECEIVER.to_owned(),
        settle_idle: Some(SETTLE_IDLE),
        kept: None,
    };
    let host = publisher.host.clone();
    runs::start(&host, request, plan, move |run| async move {
        let mut conclusion = Conclusion::default();
        // Whoever was not there missed it (PS4): so that a loss can be told from an absence.
        conclusion.details.insert("direct_subscribers".to_owned(), publisher.subscribers.count().into());
        let publisher = Arc::new(publisher);
        run.drive(|message| {
            let publisher = Arc::clone(&publisher);
            async move {
                let (clock, patience) = (publisher.host.clock(), publisher.options.confirm_timeout.0);
                let (exchange, reached) = match frame::encoded(&message) {
                    Ok(frame) => {
                        let reached = publisher.subscribers.publish(&frame, patience).await;
                        (Exchange::unanswered(&clock), reached)
                    }
                    Err(error) => (Exchange::failed(&clock, error.to_string()), 0),
                };
                publisher.tell(&message.identity, &format!("{reached} subscribers directly"), "free", &exchange);
                exchange
            }
            .map(std::future::ready)
        })
        .await?;
        Ok(conclusion)
    })
    .await
}
