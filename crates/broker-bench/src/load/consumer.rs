//! The consuming end: deliveries walked in place, checked, acknowledged in batches.
//!
//! Does not know who publishes; learns only how many messages there are in the end.

use std::sync::atomic::Ordering;
use std::time::Instant;

use lapin::uri::AMQPUri;

use super::{Progress, Times, Workload};
use crate::connection::{CHANNEL, Connection, QueueKind, STALL, stream_of};
use crate::error::BenchError;
use crate::ledger::Ledger;
use crate::wire::{Event, Method, WireError, read_stamp};

/// What became of a consumer.
#[derive(Debug)]
pub struct Consumed {
    /// Messages delivered.
    pub count: u64,
    /// From sending to delivery.
    pub end_to_end: Times,
}

/// A consumer of all queues of a load.
#[derive(Debug)]
pub struct Consumer {
    connection: Connection,
}

impl Consumer {
    /// Connects and asks for messages; makes the queues if they are its own.
    ///
    /// # Errors
    /// When the broker refuses.
    pub fn open(uri: &AMQPUri, load: &Workload) -> Result<Self, BenchError> {
        let mut connection = Connection::open(uri)?;
        if !load.auto_ack {
            connection.prefetch(load.prefetch)?;
        }
        for stream in 0..load.queues {
            if load.kind == QueueKind::Transient {
                connection.declare(&load.queue(stream), load.kind)?;
            }
            connection.consume(&load.queue(stream), stream, load.auto_ack)?;
        }
        Ok(Self { connection })
    }

    /// Takes messages until all that the publisher says there are have come.
    ///
    /// # Errors
    /// When the broker fails or is silent, and when messages are lost, duplicated or out of order.
    pub fn run(mut self, load: &Workload, progress: &Progress) -> Result<Consumed, BenchError> {
        let mut deliveries = Deliveries::new(load.queues);
        let mut acknowledged = 0;
        let mut heard = Instant::now();
        let account = loop {
            progress.go_on()?;
            let before = deliveries.ledger.count();
            if progress.total().is_some_and(|total| before >= total * load.copies()) {
                break None;
            }
            if self.connection.receive()? {
                heard = Instant::now();
            } else if heard.elapsed() > STALL {
                match progress.total() {
                    Some(total) => break Some(total),
                    None => return Err(self.connection.stalled("waiting for deliveries")),
                }
            }
            deliveries.now_ns = progress.now_ns();
            deliveries.recording = progress.recording.load(Ordering::Relaxed);
            self.connection.drain(|event| deliveries.take(event))?;
            let count = deliveries.ledger.count();
            if !load.auto_ack && count > acknowledged {
                self.acknowledge(acknowledged, count, load.ack_every)?;
                acknowledged = count;
            }
            progress.delivered.fetch_add(count - before, Ordering::Relaxed);
        };
        // Lost ones are named as such, and not as a broker that is silent.
        let published = account.or(progress.total()).unwrap_or_default();
        let (count, end_to_end) = (deliveries.ledger.count(), deliveries.end_to_end);
        let account = deliveries.ledger.close(|stream| load.published_to(stream, published));
        if !account.is_clean() {
            return Err(BenchError::Account(account));
        }
        self.connection.close()?;
        Ok(Consumed { count, end_to_end })
    }

    /// Acknowledges all up to `last`, `every` so many. Tags count deliveries on the channel from 1.
    fn acknowledge(&mut self, done: u64, last: u64, every: u64) -> Result<(), BenchError> {
        let mut out = Vec::new();
        let multiple = u8::from(every > 1);
        let mut tag = done;
        while tag < last {
            tag = (tag + every.max(1)).min(last);
            out.extend_from_slice(&Method::new(CHANNEL, 60, 80).long_long(tag).octet(multiple).finish());
        }
        self.connection.send(&out)
    }
}

/// Puts deliveries together and books them.
#[derive(Debug)]
pub(super) struct Deliveries {
    pub(super) ledger: Ledger,
    pub(super) now_ns: u64,
    pub(super) recording: bool,
    end_to_end: Times,
    /// The stream of the delivery whose body is due, and its octets still to come once the header is here.
    due: Option<(usize, Option<u64>)>,
}

impl Deliveries {
    pub(super) fn new(streams: usize) -> Self {
        let (ledger, end_to_end) = (Ledger::new(streams), Times::new());
        Self { ledger, now_ns: 0, recording: false, end_to_end, due: None }
    }

    /// Takes an event; one that is no part of a delivery is ignored.
    pub(super) fn take(&mut self, event: Event<'_>) -> Result<(), BenchError> {
        match event {
            Event::Deliver { consumer, .. } => self.due = Some((stream_of(consumer)?, None)),
            Event::Header { body_bytes } => match &mut self.due {
                Some((_, size)) => *size = Some(body_bytes),
                None => return Err(WireError::StrayContent.into()),
            },
            Event::Body(piece) => {
                let Some((stream, Some(size))) = self.due else { return Err(WireError::StrayContent.into()) };
                let rest = size.saturating_sub(piece.len() as u64);
                // Our bodies fit one frame.
                if rest > 0 {
                    return Err(WireError::Short("a message's body").into());
                }
                let (sequence, sent_ns) = read_stamp(piece)?;
                self.ledger.delivered(stream, sequence);
                if self.recording {
                    self.end_to_end.record(self.now_ns.saturating_sub(sent_ns));
                }
                self.due = None;
            }
            _ => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_delivery_is_booked_when_its_body_is_here() {
        let mut deliveries = Deliveries::new(2);
        let body = [0u64.to_be_bytes(), 5u64.to_be_bytes()].concat();
        deliveries.take(Event::Deliver { consumer: b"1", tag: 1, redelivered: false }).unwrap();
        deliveries.take(Event::Header { body_bytes: 16 }).unwrap();
        assert_eq!(deliveries.ledger.count(), 0);
        deliveries.take(Event::Body(&body)).unwrap();
        assert_eq!(deliveries.ledger.count(), 1);
        assert!(deliveries.take(Event::Body(&body)).is_err());
        assert!(deliveries.ledger.close(|stream| stream as u64).is_clean());
    }
}
