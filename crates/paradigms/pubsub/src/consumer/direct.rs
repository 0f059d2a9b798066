//! A subscriber at the producer itself: one WebSocket, made again when it is lost. What is published while it is
//! away it misses, and does not know that it did.

use std::time::Duration;

use bytes::Bytes;
use crosstalk_contract::frame;
use crosstalk_host::{
    Host, Receiver,
    readiness::Needed,
    receiver::{Arrived, Turn},
};
use futures_util::{SinkExt, StreamExt, stream};
use tokio::{
    net::TcpStream,
    sync::mpsc,
    time::{MissedTickBehavior, interval, timeout},
};
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, connect_async_with_config,
    tungstenite::{self, Message, protocol::WebSocketConfig},
};
use tracing::warn;

use crate::wire::{FRAME_MAX, PARADIGM, SIGN_OF_LIFE, SILENCE_MAX, SUBSCRIBE_PATH};

/// The node to subscribe at.
const PUBLISHER: &str = "producer";
/// Longest time for connecting and the handshake.
const CONNECT_MAX: Duration = Duration::from_secs(2);
/// First pause between two attempts; each is twice as long as the one before.
const PAUSE_MIN: Duration = Duration::from_millis(50);
/// Longest pause between two attempts: what a subscriber misses at most after the producer is back.
const PAUSE_MAX: Duration = Duration::from_secs(1);
/// How long a sign of life may take to be written.
const SIGN_MAX: Duration = Duration::from_secs(1);

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

struct Subscriber {
    host: Host,
    receiver: Receiver,
    name: String,
    to_work: mpsc::Sender<(Arrived, Turn)>,
}

/// Subscribes under `name` until the node stops.
pub(super) fn start(host: &Host, receiver: &Receiver, name: String) {
    let needed = host.readiness().need(&format!("{PUBLISHER}'s subscription {name}"));
    // Who has a turn is taken over at once: the channel only hands over.
    let (to_work, at_work) = mpsc::channel(1);
    let subscriber = Subscriber { host: host.clone(), receiver: receiver.clone(), name, to_work };
    host.spawn(async move { subscriber.keep(&needed).await });
    host.spawn(work(receiver.clone(), at_work));
}

/// Works on messages that have their turn, each beginning in the order of arrival.
async fn work(receiver: Receiver, in_turn: mpsc::Receiver<(Arrived, Turn)>) {
    let in_turn = stream::unfold(in_turn, |mut in_turn| async move { Some((in_turn.recv().await?, in_turn)) });
    let work = async |(arrived, turn)| {
        if let Err(error) = receiver.work(arrived, turn).await {
            warn!("a message could not be finished: {error}");
        }
    };
    in_turn.for_each_concurrent(None, work).await;
}

impl Subscriber {
    async fn keep(&self, needed: &Needed) {
        let Some(address) = self.host.topology().nodes.get(PUBLISHER).map(|node| &node.http) else {
            return needed.missing("the producer is not in the topology");
        };
        let url = format!("ws://{address}{SUBSCRIBE_PATH}?name={}", self.name);
        let mut pause = PAUSE_MIN;
        loop {
            match connect(&url).await {
                Ok(mut socket) => {
                    needed.there();
                    pause = PAUSE_MIN;
                    let why = self.listen(&mut socket).await;
                    needed.missing(&why);
                }
                // A producer that starts at the same time needs a moment; only then is it worth a line.
                Err(why) if pause >= PAUSE_MAX => needed.missing(&why),
                Err(_) => {}
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    /// Takes messages until the connection ends, and says why it did.
    async fn listen(&self, socket: &mut Socket) -> String {
        loop {
            let message = match timeout(SILENCE_MAX, socket.next()).await {
                Err(_) => return "no sign of life".to_owned(),
                Ok(None) => return "the connection ended".to_owned(),
                Ok(Some(Err(error))) => return told(&error),
                Ok(Some(Ok(message))) => message,
            };
            match message {
                Message::Binary(bytes) => {
                    if let Err(why) = self.take(bytes, socket).await {
                        return why;
                    }
                }
                // Pings are answered by the library while it reads.
                Message::Ping(_) | Message::Pong(_) => {}
                Message::Close(close) => {
                    let reason = close.map(|close| format!(": {} {}", u16::from(close.code), close.reason));
                    return format!("closed by the {PUBLISHER}{}", reason.unwrap_or_default());
                }
                Message::Text(_) | Message::Frame(_) => return "something else than frames came".to_owned(),
            }
        }
    }

    /// Notes a message and begins to work on it when its turn comes. Not reading on before holds the producer
    /// back once everything in between is full.
    async fn take(&self, bytes: Bytes, socket: &mut Socket) -> Result<(), String> {
        let message = frame::decode_one(bytes).map_err(|error| error.to_string())?;
        let arrived = match self.receiver.arrived(PARADIGM, &self.name, &message) {
            Ok(arrived) => arrived,
            Err(error) => {
                // Nobody waits to hear it, and nobody sends it again.
                warn!("{} loses a message that it cannot keep: {error}", self.name);
                return Ok(());
            }
        };
        let turn = self.turn(socket).await?;
        self.to_work.send((arrived, turn)).await.map_err(|_| "the node stops".to_owned())
    }

    /// Waits for a turn. As pings are not read meanwhile, signs of life go out unasked (RFC 6455, section 5.5.3):
    /// a slow subscriber is not a dead one.
    async fn turn(&self, socket: &mut Socket) -> Result<Turn, String> {
        let mut turn = std::pin::pin!(self.receiver.turn());
        let mut signs = interval(SIGN_OF_LIFE);
        signs.set_missed_tick_behavior(MissedTickBehavior::Delay);
        signs.reset();
        loop {
            tokio::select! {
                biased;
                turn = &mut turn => return Ok(turn),
                _ = signs.tick() => match timeout(SIGN_MAX, socket.send(Message::Pong(Bytes::new()))).await {
                    Ok(Ok(())) => {}
                    Ok(Err(error)) => return Err(told(&error)),
                    Err(_) => return Err("a sign of life could not be sent".to_owned()),
                },
            }
        }
    }
}

async fn connect(url: &str) -> Result<Socket, String> {
    let config = WebSocketConfig::default().max_message_size(Some(FRAME_MAX)).max_frame_size(Some(FRAME_MAX));
    match timeout(CONNECT_MAX, connect_async_with_config(url, Some(config), true)).await {
        Ok(Ok((socket, _))) => Ok(socket),
        Ok(Err(error)) => Err(told(&error)),
        Err(_) => Err("no answer in time".to_owned()),
    }
}

/// The reason behind an error, in one line.
fn told(error: &tungstenite::Error) -> String {
    match error {
        tungstenite::Error::Io(error) => error.to_string(),
        _ => error.to_string(),
    }
}
