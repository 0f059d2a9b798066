//! Frames out: what the engine sends, encoded in batches, and heartbeats when there is nothing to send.
//!
//! Reports deliveries that have left, so that the engine delivers more. Does not know why anything is sent.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use amq_protocol::protocol::AMQPClass;
use amq_protocol::protocol::connection::{AMQPMethod as Connection, Close};
use bytes::BytesMut;
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio::time::{Interval, MissedTickBehavior, interval};

use crate::engine::{Command, ConnectionId, Octets, Outbound};
use crate::frame::{
    ContentMethod, FRAME_OVERHEAD_BYTES, encode_body, encode_confirm, encode_content_header, encode_content_method,
    encode_heartbeat, encode_method,
};
use crate::message::Message;
use crate::server::{Input, OutboxReceiver, Traffic};

/// Octets collected before they are written. Above it lies at most one frame more.
const WRITE_BYTES: usize = 64 * 1024;

/// The writing half of a connection.
#[derive(Debug)]
pub(super) struct Writer<W> {
    pub(super) sink: W,
    pub(super) inbox: OutboxReceiver,
    pub(super) engine: mpsc::Sender<Input>,
    pub(super) traffic: Arc<Traffic>,
    pub(super) octets: Arc<Octets>,
    /// Frames encoded since the last write, not yet counted.
    pub(super) encoded: u64,
    pub(super) connection: ConnectionId,
    pub(super) frame_max: u32,
    pub(super) heartbeat: Option<Duration>,
    /// How long the client may take nothing.
    pub(super) stall: Duration,
    /// Deliveries are reported as drained in parts of at least this many octets.
    pub(super) report_bytes: usize,
}

impl<W: AsyncWrite + Unpin> Writer<W> {
    /// Writes until the engine has finished with the connection, and hands the transport back.
    pub(super) async fn run(mut self) -> io::Result<W> {
        let mut out = BytesMut::with_capacity(WRITE_BYTES);
        let mut half_interval = self.heartbeat.map(|heartbeat| {
            let mut ticks = interval(heartbeat / 2);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            ticks
        });
        let mut idle = false;
        let mut drained = 0;
        loop {
            tokio::select! {
                biased;
                batch = self.inbox.recv() => {
                    let Some(batch) = batch else { return Ok(self.sink) };
                    idle = false;
                    self.write_batches(batch, &mut out, &mut drained).await?;
                }
                () = tick(&mut half_interval) => {
                    // A half interval without a frame: one is due before the interval is over.
                    if std::mem::replace(&mut idle, true) {
                        encode_heartbeat(&mut out);
                        self.encoded += 1;
                        self.write(&mut out).await?;
                    }
                }
            }
            if drained > self.report_bytes {
                let report = Command::Drained { connection: self.connection, bytes: std::mem::take(&mut drained) };
                if self.engine.send(Input::Commands(vec![report])).await.is_err() {
                    return Ok(self.sink);
                }
            }
        }
    }

    /// Writes a batch and those that came meanwhile, as long as they fit into one write.
    async fn write_batches(&mut self, first: Vec<Outbound>, out: &mut BytesMut, drained: &mut usize) -> io::Result<()> {
        let mut next = Some(first);
        let mut cost = 0;
        while let Some(batch) = next {
            for outbound in &batch {
                self.encode(outbound, out).await?;
                cost += outbound.cost();
                if outbound.is_delivery() {
                    *drained += outbound.cost();
                }
                if out.len() >= WRITE_BYTES {
                    self.write(out).await?;
                    self.inbox.written(std::mem::take(&mut cost));
                }
            }
            next = self.inbox.try_recv();
        }
        self.write(out).await?;
        self.inbox.written(cost);
        Ok(())
    }

    async fn encode(&mut self, outbound: &Outbound, out: &mut BytesMut) -> io::Result<()> {
        self.encoded += 1;
        match outbound {
            Outbound::Method { channel, method } => encode_method(out, *channel, method),
            Outbound::Confirm { channel, delivery_tag, multiple, ack } => {
                encode_confirm(out, *channel, *delivery_tag, *multiple, *ack);
            }
            Outbound::Deliver { channel, consumer_tag, delivery_tag, redelivered, message } => {
                let (delivery_tag, redelivered) = (*delivery_tag, *redelivered);
                let method = ContentMethod::Deliver { consumer_tag, delivery_tag, redelivered };
                self.encode_content(*channel, method, message, out).await?;
            }
            Outbound::GetOk { channel, delivery_tag, redelivered, message_count, message } => {
                let (delivery_tag, redelivered, message_count) = (*delivery_tag, *redelivered, *message_count);
                let method = ContentMethod::GetOk { delivery_tag, redelivered, message_count };
                self.encode_content(*channel, method, message, out).await?;
            }
            Outbound::Return { channel, message } => {
                let method = ContentMethod::Return { reply_code: 312, reply_text: "NO_ROUTE" };
                self.encode_content(*channel, method, message, out).await?;
            }
            Outbound::Close { exception, class_id, method_id } => {
                let (reply_code, reply_text) = (exception.code(), exception.reply_text().as_str().into());
                let close = Close { reply_code, reply_text, class_id: *class_id, method_id: *method_id };
                encode_method(out, 0, &AMQPClass::Connection(Connection::Close(close)));
            }
        }
        Ok(())
    }

    /// A method, its content header, and the body cut to the negotiated frame size. A large body is written as it is
    /// cut, so that it never stands in the buffer as a whole.
    async fn encode_content(
        &mut self,
        channel: u16,
        method: ContentMethod<'_>,
        message: &Message,
        out: &mut BytesMut,
    ) -> io::Result<()> {
        let body = message.content.body();
        encode_content_method(out, channel, method, &message.exchange, &message.routing_key);
        encode_content_header(out, channel, message.content.properties(), body.len());
        self.encoded += 1;
        for piece in body.chunks(self.frame_max as usize - FRAME_OVERHEAD_BYTES) {
            encode_body(out, channel, piece);
            self.encoded += 1;
            if out.len() >= WRITE_BYTES {
                self.write(out).await?;
            }
        }
        Ok(())
    }

    async fn write(&mut self, out: &mut BytesMut) -> io::Result<()> {
        if out.is_empty() {
            return Ok(());
        }
        let mut written = 0;
        while written < out.len() {
            match self.patiently(async |sink| sink.write(&out[written..]).await).await? {
                0 => return Err(io::ErrorKind::WriteZero.into()),
                more => written += more,
            }
        }
        self.traffic.sent_bytes.add(written as u64);
        self.octets.sent.fetch_add(written as u64, Ordering::Relaxed);
        self.traffic.sent_frames.add(std::mem::take(&mut self.encoded));
        out.clear();
        self.patiently(async |sink| sink.flush().await).await
    }

    /// Gives a client up that takes nothing for too long: what is on its way to it is memory.
    async fn patiently<T>(&mut self, step: impl AsyncFnOnce(&mut W) -> io::Result<T>) -> io::Result<T> {
        let in_time = tokio::time::timeout(self.stall, step(&mut self.sink)).await;
        in_time.unwrap_or_else(|_| Err(io::Error::new(io::ErrorKind::TimedOut, "the client took nothing for too long")))
    }
}

async fn tick(ticks: &mut Option<Interval>) {
    match ticks {
        Some(ticks) => drop(ticks.tick().await),
        None => std::future::pending().await,
    }
}
