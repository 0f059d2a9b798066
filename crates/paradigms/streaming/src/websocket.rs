//! Both ends of a stream over a WebSocket: one frame in each binary message. It does not know how a session came
//! about, and opens no second connection when the first one breaks.

use std::{sync::Arc, time::Duration};

use axum::extract::ws::{CloseFrame, Message, WebSocket, close_code};
use bytes::Bytes;
use crosstalk_contract::{
    RunId,
    frame::{self, OVERHEAD_MAX, PAYLOAD_MAX},
};
use crosstalk_host::{Host, Receiver};
use futures_util::{
    SinkExt, StreamExt,
    stream::{SplitSink, SplitStream},
};
use tokio::{
    net::TcpStream,
    sync::{Mutex, watch},
    time::timeout,
};
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, connect_async_with_config,
    tungstenite::{
        self,
        error::ProtocolError,
        protocol::{self, WebSocketConfig, frame::coding::CloseCode},
    },
};
use tracing::{info, warn};

use crate::{
    StreamingError,
    options::Options,
    sessions::Session,
    wire::{PARADIGM, SESSIONS},
};

/// Largest message that a streamer reads: it expects none, only closes and pongs.
pub(crate) const INBOUND_MAX: usize = 1024;
/// How long a closed connection is still read, so that the other end can learn why it was closed: unread bytes would
/// make the system cut the connection before that.
const LINGER: Duration = Duration::from_secs(1);

/// The streamer's end.
pub(crate) struct Outbound {
    sink: Mutex<SplitSink<WebSocket, Message>>,
    /// Why the session is over, once it is.
    gone: watch::Sender<Option<String>>,
    stall_max: Duration,
}

impl Outbound {
    /// Takes the socket, and reads it in the background: a receiver says nothing but goodbye.
    pub(crate) fn new(host: &Host, socket: WebSocket, stall_max: Duration) -> Arc<Self> {
        let (sink, stream) = socket.split();
        let outbound = Arc::new(Self { sink: Mutex::new(sink), gone: watch::Sender::new(None), stall_max });
        host.spawn(Arc::clone(&outbound).listen(stream));
        outbound
    }

    /// Sends one message, waiting while the receiver does not read on and everything in between is full.
    pub(crate) async fn send(&self, frame: Bytes) -> Result<(), StreamingError> {
        let mut gone = self.gone.subscribe();
        let sending = async { self.sink.lock().await.send(Message::Binary(frame)).await };
        let sent = tokio::select! {
            biased;
            Ok(reason) = gone.wait_for(Option::is_some) => Err(reason.clone().unwrap_or_default()),
            sent = timeout(self.stall_max, sending) => match sent {
                Ok(sent) => sent.map_err(|error| error.to_string()),
                Err(_) => Err(format!("the receiver did not read on within streaming.stall_max, {:?}", self.stall_max)),
            },
        };
        sent.map_err(|reason| {
            // What was written may be half a message: nothing can follow it.
            self.over(&reason);
            StreamingError::Gone(reason)
        })
    }

    /// Says that the stream ends, and waits until the receiver has read all of it, which is when it answers. A node
    /// that stops only says so.
    pub(crate) async fn close(&self, host: &Host) {
        let mut gone = self.gone.subscribe();
        if gone.borrow().is_some() {
            return;
        }
        if host.shutdown().is_cancelled() {
            return self.say_goodbye(close_code::AWAY, "the streamer is stopping").await;
        }
        self.say_goodbye(close_code::NORMAL, "that was all").await;
        let read = timeout(self.stall_max, gone.wait_for(Option::is_some));
        host.shutdown().run_until_cancelled(read).await;
    }

    async fn say_goodbye(&self, code: u16, reason: &'static str) {
        let frame = CloseFrame { code, reason: reason.into() };
        let goodbye = async { self.sink.lock().await.send(Message::Close(Some(frame))).await };
        // Whether it can still be said or not, the session is over.
        let _ = timeout(LINGER, goodbye).await;
    }

    fn over(&self, reason: &str) {
        self.gone.send_if_modified(|gone| {
            let first = gone.is_none();
            gone.get_or_insert_with(|| reason.to_owned());
            first
        });
    }

    async fn listen(self: Arc<Self>, mut stream: SplitStream<WebSocket>) {
        let (code, reason) = loop {
            match stream.next().await {
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                // The next turn of the loop writes the answer to it, and ends.
                Some(Ok(Message::Close(_))) => self.over("the receiver closed it"),
                Some(Ok(Message::Text(_) | Message::Binary(_))) => {
                    break (close_code::UNSUPPORTED, "a receiver of a stream sends nothing");
                }
                Some(Err(error)) => match fault(&error) {
                    Some(fault) => break fault,
                    None => return self.over(&error.to_string()),
                },
                None => return self.over("the connection ended"),
            }
        };
        warn!("closed the session with a receiver: {reason}");
        self.over(reason);
        self.say_goodbye(code, reason).await;
        let rest = async { while let Some(Ok(_)) = stream.next().await {} };
        let _ = timeout(LINGER, rest).await;
    }
}

/// What the other end did wrong, if that is what the error says.
fn fault(error: &axum::Error) -> Option<(u16, &'static str)> {
    match std::error::Error::source(error)?.downcast_ref::<tungstenite::Error>()? {
        tungstenite::Error::Capacity(_) => {
            Some((close_code::SIZE, "a receiver of a stream sends nothing, least of all this much"))
        }
        // A connection that just ends is reported in the same way, but is nobody's fault.
        tungstenite::Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) => None,
        tungstenite::Error::Protocol(_) | tungstenite::Error::Utf8(_) => {
            Some((close_code::PROTOCOL, "that is no WebSocket frame of a client (RFC 6455)"))
        }
        _ => None,
    }
}

/// The receiver's end.
pub(crate) struct Inbound {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    run: RunId,
    idle: Duration,
}

impl Inbound {
    /// Opens the session at the streamer whose URL this is.
    pub(crate) async fn open(streamer: &str, run: RunId, options: &Options) -> Result<Self, StreamingError> {
        let url = format!("{}{SESSIONS}/{run}", streamer.replacen("http://", "ws://", 1));
        let config = WebSocketConfig::default()
            .max_message_size(Some(PAYLOAD_MAX + OVERHEAD_MAX))
            .max_frame_size(Some(PAYLOAD_MAX + OVERHEAD_MAX));
        let opening = connect_async_with_config(url, Some(config), true);
        let opened = timeout(options.open_timeout.0, opening).await;
        let (socket, _) = opened
            .map_err(|_| StreamingError::Open("no answer in time".to_owned()))?
            .map_err(|error| StreamingError::Open(error.to_string()))?;
        Ok(Self { socket, run, idle: options.session_idle.0 })
    }

    /// Reads until the stream ends. Each message waits for the receiver's turn before the next one is read: who is
    /// slow lets the connection fill up, and so slows the streamer instead of losing anything.
    pub(crate) async fn listen(mut self, host: Host, receiver: Receiver, session: Arc<Session>) {
        let run = self.run;
        let (code, reason) = loop {
            let next = match timeout(self.idle, self.socket.next()).await {
                Err(_) => break (CloseCode::Away, "nothing came for too long"),
                Ok(None) => return,
                Ok(Some(Err(error))) => return warn!("the stream of run {run} broke off: {error}"),
                Ok(Some(Ok(message))) => message,
            };
            session.touch();
            let bytes = match next {
                protocol::Message::Binary(bytes) => bytes,
                protocol::Message::Ping(_) | protocol::Message::Pong(_) => continue,
                // The next turn of the loop writes the answer to it, and ends.
                protocol::Message::Close(why) => {
                    if let Some(why) = why.filter(|why| why.code != CloseCode::Normal) {
                        warn!("the streamer ended the stream of run {run}: {}", why.reason);
                    }
                    continue;
                }
                protocol::Message::Text(_) | protocol::Message::Frame(_) => {
                    break (CloseCode::Unsupported, "a stream is made of binary messages");
                }
            };
            let message = match frame::decode_one(bytes) {
                Ok(message) if message.identity.run == run => message,
                Ok(_) => break (CloseCode::Policy, "a message of another run"),
                Err(_) => break (CloseCode::Invalid, "a message that is no frame"),
            };
            let arrived = match receiver.arrived(PARADIGM, host.name(), &message) {
                Ok(arrived) => arrived,
                Err(error) => {
                    warn!("closing the stream of run {run}: {error}");
                    break (CloseCode::Error, "the receiver cannot keep messages");
                }
            };
            let turn = receiver.turn().await;
            let receiver = receiver.clone();
            host.spawn(async move {
                if let Err(error) = receiver.work(arrived, turn).await {
                    warn!("a message was worked on, but that cannot be noted: {error}");
                }
            });
        };
        info!("closed the stream of run {run}: {reason}");
        let goodbye = self.socket.close(Some(protocol::CloseFrame { code, reason: reason.into() }));
        let _ = timeout(LINGER, goodbye).await;
    }
}
