//! Frames in: contents put together, commands sent to the engine, a batch for each read.
//!
//! Stops reading while the client takes nothing or must not publish. Does not know what commands do.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use amq_protocol::protocol::AMQPClass;
use amq_protocol::protocol::basic::AMQPMethod as Basic;
use amq_protocol::protocol::connection::AMQPMethod as Connection;
use tokio::io::AsyncRead;
use tokio::sync::watch;
use tokio::time::{Interval, MissedTickBehavior, interval};

use super::ConnectionError;
use super::source::FrameSource;
use crate::engine::{ChannelKey, Command, ConnectionId};
use crate::exception::Exception;
use crate::frame::{Assembled, ContentAssembler, Frame, FrameKind, decode_method, method_ids};
use crate::server::{Input, OutboxGauge, Share, Shared};

/// Commands sent to the engine at once, so that one connection's read cannot hold up the others for long.
const COMMANDS_PER_BATCH: usize = 256;
/// Half intervals without a byte after which a peer counts as dead: two whole intervals have surely passed.
const SILENT_HALF_INTERVALS: u32 = 5;

/// How reading ended.
#[derive(Debug)]
pub(super) enum ReaderEnd {
    /// The transport or the client is gone: nothing can be said any more.
    Gone(ConnectionError),
    /// The connection is being closed in order, and what is left to write should be written. With what the client
    /// gave as its reason, if it was the client's wish.
    Closing(Option<String>),
}

/// What a frame means for the connection.
enum Next {
    Continue,
    /// The client asked to close.
    Close,
}

/// The reading half of a connection.
pub(super) struct Reader<R> {
    shared: Arc<Shared>,
    source: FrameSource<R>,
    connection: ConnectionId,
    gauge: Arc<OutboxGauge>,
    alarm: watch::Receiver<bool>,
    half_interval: Option<Interval>,
    /// Half intervals since something came.
    silent: u32,
    contents: HashMap<u16, ContentAssembler>,
    /// Octets held by `contents`.
    incomplete_bytes: usize,
    /// How much of them is counted in what all connections hold.
    incomplete_share: Share,
    publishes: bool,
    commands: Vec<Command>,
    /// The code and the text with which the client closed.
    close_reason: Option<String>,
}

impl<R: AsyncRead + Unpin> Reader<R> {
    pub(super) fn new(
        shared: Arc<Shared>,
        source: FrameSource<R>,
        connection: ConnectionId,
        gauge: Arc<OutboxGauge>,
        heartbeat: Option<Duration>,
    ) -> Self {
        let half_interval = heartbeat.map(|heartbeat| {
            let mut ticks = interval(heartbeat / 2);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            ticks
        });
        let (alarm, incomplete_share) = (shared.alarm.clone(), shared.incomplete.share());
        Self {
            shared,
            source,
            connection,
            gauge,
            alarm,
            half_interval,
            silent: 0,
            contents: HashMap::new(),
            incomplete_bytes: 0,
            incomplete_share,
            publishes: false,
            commands: Vec::new(),
            close_reason: None,
        }
    }

    /// Reads until the client or the engine closes.
    pub(super) async fn run(mut self) -> ReaderEnd {
        let gauge = Arc::clone(&self.gauge);
        let end = tokio::select! {
            biased;
            () = gauge.finished().cancelled() => Ok(()),
            end = self.read() => end,
        };
        match end {
            // The engine has finished with the connection, at its own or the client's wish: the answer to
            // `connection.close` is waited for, or the client hanging up.
            Ok(()) => {
                drop(tokio::time::timeout(self.shared.options.limits.close, self.await_close_ok()).await);
                ReaderEnd::Closing(self.close_reason)
            }
            Err(error) => ReaderEnd::Gone(error),
        }
    }

    async fn read(&mut self) -> Result<(), ConnectionError> {
        let reply_bound = self.shared.options.limits.delivery_bytes + self.shared.options.limits.reply_bytes;
        loop {
            match self.take_frames().await {
                Ok(Next::Continue) => {}
                Ok(Next::Close) => {
                    self.commands.push(Command::Close { connection: self.connection });
                    self.submit().await?;
                    self.gauge.finished().cancelled().await;
                    return Ok(());
                }
                Err((exception, channel, (class_id, method_id))) => {
                    let channel = ChannelKey { connection: self.connection, number: channel };
                    self.commands.push(Command::Fault { channel, exception, class_id, method_id });
                    self.submit().await?;
                    // The exception is a hard one, and the engine finishes with the connection. What comes until
                    // then cannot be understood.
                    loop {
                        self.source.discard().await?;
                    }
                }
            }
            self.submit().await?;
            self.wait_until_welcome(reply_bound).await;
            self.fill().await?;
        }
    }

    /// Waits while the client does not take what it is sent, or publishes while the memory alarm is raised.
    async fn wait_until_welcome(&mut self, reply_bound: usize) {
        let mut waited = false;
        if self.publishes && *self.alarm.borrow_and_update() {
            waited = true;
            // The sender lives as long as the engine; if it is gone, so is this connection.
            drop(self.alarm.wait_for(|raised| !raised).await);
        }
        self.gauge.below(reply_bound).await;
        if waited {
            self.silent = 0;
        }
    }

    /// Reads once, counting heartbeat intervals meanwhile.
    async fn fill(&mut self) -> Result<(), ConnectionError> {
        loop {
            let tick = async {
                match &mut self.half_interval {
                    Some(ticks) => drop(ticks.tick().await),
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                read = self.source.fill() => {
                    self.silent = 0;
                    return read;
                }
                () = tick => self.silent += 1,
            }
            if self.silent > SILENT_HALF_INTERVALS {
                return Err(ConnectionError::MissedHeartbeats);
            }
        }
    }

    /// Turns all frames that are here into commands.
    async fn take_frames(&mut self) -> Result<Next, (Exception, u16, (u16, u16))> {
        loop {
            let frame = self.source.next_ready().map_err(|exception| (exception, 0, (0, 0)))?;
            let Some(frame) = frame else {
                return self.account().map(|()| Next::Continue).map_err(|exception| (exception, 0, (0, 0)));
            };
            let channel = frame.channel;
            let ids = if frame.kind == FrameKind::Method { method_ids(&frame.payload) } else { (0, 0) };
            if let Next::Close = self.take_frame(frame).map_err(|exception| (exception, channel, ids))? {
                return Ok(Next::Close);
            }
            if self.commands.len() >= COMMANDS_PER_BATCH && self.submit().await.is_err() {
                return Ok(Next::Close);
            }
        }
    }

    fn take_frame(&mut self, frame: Frame) -> Result<Next, Exception> {
        match frame.kind {
            FrameKind::Heartbeat => Ok(Next::Continue),
            FrameKind::Method => self.take_method(&frame),
            FrameKind::Header | FrameKind::Body => self.take_content(&frame).map(|()| Next::Continue),
        }
    }

    fn take_method(&mut self, frame: &Frame) -> Result<Next, Exception> {
        let channel = ChannelKey { connection: self.connection, number: frame.channel };
        match decode_method(&frame.payload)? {
            AMQPClass::Connection(Connection::Close(close)) if frame.channel == 0 => {
                self.close_reason = Some(format!("{} {}", close.reply_code, close.reply_text));
                return Ok(Next::Close);
            }
            AMQPClass::Channel(method) => {
                // Opening or closing a channel abandons a content that was not sent to its end.
                if let Some(abandoned) = self.contents.remove(&frame.channel) {
                    self.incomplete_bytes -= abandoned.held_bytes();
                }
                self.commands.push(Command::Method { channel, method: Box::new(AMQPClass::Channel(method)) });
            }
            _ if self.contents.contains_key(&frame.channel) => {
                let text = "expected content header for class 60, got a method frame instead";
                return Err(Exception::UnexpectedFrame(text));
            }
            AMQPClass::Basic(Basic::Publish(publish)) if frame.channel != 0 => {
                self.publishes = true;
                self.keep(frame.channel, ContentAssembler::Publish(publish))?;
            }
            method => self.commands.push(Command::Method { channel, method: Box::new(method) }),
        }
        Ok(Next::Continue)
    }

    fn take_content(&mut self, frame: &Frame) -> Result<(), Exception> {
        let Some(assembler) = self.contents.remove(&frame.channel) else {
            return Err(Exception::UnexpectedFrame("content frame without basic.publish"));
        };
        self.incomplete_bytes -= assembler.held_bytes();
        let limits = &self.shared.options.limits;
        if frame.kind == FrameKind::Header && frame.payload.len() > limits.properties_bytes {
            return Err(Exception::ResourceError("the message's properties are larger than allowed"));
        }
        let assembled = match frame.kind {
            FrameKind::Header => assembler.header(&frame.payload, limits.message_bytes)?,
            _ => assembler.body(&frame.payload)?,
        };
        let channel = ChannelKey { connection: self.connection, number: frame.channel };
        let pending = match assembled {
            Assembled::Whole(publish, content) => {
                self.commands.push(Command::Publish { channel, publish, content });
                return Ok(());
            }
            Assembled::Discarded(untold) => {
                self.commands.extend(untold.map(|exception| fault(channel, exception)));
                return Ok(());
            }
            Assembled::Pending(pending) => pending,
            Assembled::Refused(pending, exception) => {
                self.commands.push(fault(channel, exception));
                pending
            }
        };
        self.keep(frame.channel, pending)
    }

    /// Keeps a content whose rest is still to come. The channel it is on may turn out never to have been opened.
    fn keep(&mut self, channel: u16, pending: ContentAssembler) -> Result<(), Exception> {
        self.incomplete_bytes += pending.held_bytes();
        self.contents.insert(channel, pending);
        if self.incomplete_bytes > self.shared.options.limits.incomplete_bytes {
            return Err(Exception::ResourceError("too many incomplete messages on this connection"));
        }
        Ok(())
    }

    /// Counts the incomplete contents of this connection among those of all.
    fn account(&mut self) -> Result<(), Exception> {
        let limit = self.shared.options.limits.incomplete_total_bytes;
        let grown = self.incomplete_bytes > self.incomplete_share.get();
        if self.incomplete_share.set(self.incomplete_bytes) > limit && grown {
            return Err(Exception::ResourceError("too many incomplete messages on all connections"));
        }
        Ok(())
    }

    async fn submit(&mut self) -> Result<(), ConnectionError> {
        if self.commands.is_empty() {
            return Ok(());
        }
        let commands = std::mem::take(&mut self.commands);
        self.shared.engine.send(Input::Commands(commands)).await.map_err(|_| ConnectionError::Shutdown)
    }

    /// Reads on until `connection.close-ok` or the end of the stream.
    async fn await_close_ok(&mut self) {
        loop {
            let more = match self.source.next_ready() {
                Ok(Some(frame)) if frame.channel == 0 && method_ids(&frame.payload) == (10, 51) => return,
                Ok(Some(_)) => Ok(()),
                Ok(None) => self.source.fill().await,
                Err(_) => self.source.discard().await,
            };
            if more.is_err() {
                return;
            }
        }
    }
}

/// A content was refused, and with it the `basic.publish` it belongs to.
fn fault(channel: ChannelKey, exception: Exception) -> Command {
    Command::Fault { channel, exception, class_id: 60, method_id: 40 }
}
