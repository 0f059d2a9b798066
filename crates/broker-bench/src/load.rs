//! The load: what is published and consumed, and how both ends of it tell each other how far they are.
//!
//! Does not know which broker it goes to, nor what becomes of the numbers.

mod confirms;
mod consumer;
mod crowd;
mod lapin_client;
mod publisher;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use hdrhistogram::Histogram;

pub use consumer::{Consumed, Consumer};
pub use crowd::{Crowd, CrowdPace};
pub use lapin_client::LapinPair;
pub use publisher::{Published, publish};

use crate::connection::{Connection, QueueKind};
use crate::error::BenchError;
use crate::wire::PublishTemplate;

/// The longest time told apart in a histogram: as long as a client waits at most.
const HISTOGRAM_MAX_NS: u64 = 120_000_000_000;
/// Significant decimal digits kept in a histogram.
const HISTOGRAM_DIGITS: u8 = 3;

/// How far a publisher may be ahead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Window {
    /// Publisher confirms; so many unconfirmed messages at most.
    Unconfirmed(u64),
    /// No confirms; so many messages published and not yet delivered at most. Without a bound the queue would grow as
    /// long as the run lasts, and the figure would be that of the publisher alone.
    Undelivered(u64),
}

/// Who sends and takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Client {
    /// The client of this program, on the raw protocol: costs as little as possible.
    Raw,
    /// lapin: what an application pays.
    Lapin,
}

/// What is published and consumed, and by whom.
#[derive(Debug, Clone)]
pub struct Workload {
    /// Who sends and takes it.
    pub client: Client,
    /// Queues, published to in turn, or all at once when `fanout`.
    pub queues: usize,
    /// How they keep messages.
    pub kind: QueueKind,
    /// Whether every queue gets a copy, through a fan-out exchange.
    pub fanout: bool,
    /// Octets of a body.
    pub body_bytes: usize,
    /// Delivery mode 2.
    pub persistent: bool,
    /// How far the publisher may be ahead.
    pub window: Window,
    /// Whether deliveries count as acknowledged when they are sent.
    pub auto_ack: bool,
    /// Unacknowledged messages for each consumer.
    pub prefetch: u16,
    /// Acknowledges at the latest after so many messages, `multiple`; 1 acknowledges each on its own.
    pub ack_every: u64,
}

impl Workload {
    /// Deliveries for each message published.
    #[must_use]
    pub fn copies(&self) -> u64 {
        if self.fanout { self.queues as u64 } else { 1 }
    }

    /// The name of a queue; its number is also the stream's.
    #[must_use]
    pub fn queue(&self, number: usize) -> String {
        format!("broker-bench.{number}")
    }

    fn exchange(&self) -> &'static str {
        if self.fanout { "broker-bench" } else { "" }
    }

    /// A message for each place that is published to in turn.
    fn templates(&self) -> Vec<PublishTemplate> {
        let turns = if self.fanout { 1 } else { self.queues };
        let key = |number| if self.fanout { String::new() } else { self.queue(number) };
        let template = |number| {
            let channel = crate::connection::CHANNEL;
            PublishTemplate::new(channel, self.exchange(), &key(number), self.persistent, self.body_bytes)
        };
        (0..turns).map(template).collect()
    }

    /// How many of `published` messages went to a stream.
    #[must_use]
    pub fn published_to(&self, stream: usize, published: u64) -> u64 {
        if self.fanout {
            return published;
        }
        let (queues, stream) = (self.queues as u64, stream as u64);
        published / queues + u64::from(stream < published % queues)
    }

    /// Makes the queues, new and empty. Transient ones are made by their consumer.
    ///
    /// # Errors
    /// When the broker refuses.
    pub fn set_up(&self, connection: &mut Connection) -> Result<(), BenchError> {
        self.tear_down(connection)?;
        if self.fanout {
            connection.declare_fanout(self.exchange())?;
        }
        for number in 0..self.queues {
            if self.kind != QueueKind::Transient {
                connection.declare(&self.queue(number), self.kind)?;
            }
            if self.fanout {
                connection.bind(&self.queue(number), self.exchange())?;
            }
        }
        Ok(())
    }

    /// Removes the queues.
    ///
    /// # Errors
    /// When the broker refuses.
    pub fn tear_down(&self, connection: &mut Connection) -> Result<(), BenchError> {
        for number in 0..self.queues {
            connection.delete(&self.queue(number))?;
        }
        if self.fanout {
            connection.delete_exchange(self.exchange())?;
        }
        Ok(())
    }
}

/// How far a run is; shared by its threads.
#[derive(Debug)]
pub struct Progress {
    started: Instant,
    /// Messages published.
    pub published: AtomicU64,
    /// Messages delivered, each copy counted.
    pub delivered: AtomicU64,
    /// Whether latencies count.
    pub recording: AtomicBool,
    /// Tells the publisher to publish nothing more.
    pub stop: AtomicBool,
    /// Messages published in all, once the publisher has ended; before, the highest number.
    total: AtomicU64,
    /// Set by Ctrl-C.
    interrupted: Arc<AtomicBool>,
}

impl Progress {
    /// A run that begins now.
    #[must_use]
    pub fn new(interrupted: Arc<AtomicBool>) -> Self {
        Self {
            started: Instant::now(),
            published: AtomicU64::new(0),
            delivered: AtomicU64::new(0),
            recording: AtomicBool::new(false),
            stop: AtomicBool::new(false),
            total: AtomicU64::new(u64::MAX),
            interrupted,
        }
    }

    /// Nanoseconds since the run began.
    #[must_use]
    pub fn now_ns(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    /// Tells consumers how many messages there are.
    pub fn finish(&self, published: u64) {
        self.total.store(published, Ordering::Release);
    }

    fn total(&self) -> Option<u64> {
        Some(self.total.load(Ordering::Acquire)).filter(|total| *total != u64::MAX)
    }

    /// # Errors
    /// When the user wants to end.
    pub fn go_on(&self) -> Result<(), BenchError> {
        if self.interrupted.load(Ordering::Relaxed) { Err(BenchError::Interrupted) } else { Ok(()) }
    }
}

/// A distribution of times.
#[derive(Debug, Clone)]
pub struct Times(Option<Histogram<u64>>);

impl Times {
    /// An empty one.
    #[must_use]
    pub fn new() -> Self {
        // The bounds are constants that the library accepts; it would be empty for ever otherwise.
        Self(Histogram::new_with_max(HISTOGRAM_MAX_NS, HISTOGRAM_DIGITS).ok())
    }

    /// Adds one, in nanoseconds.
    pub fn record(&mut self, ns: u64) {
        if let Some(times) = &mut self.0 {
            times.saturating_record(ns);
        }
    }

    /// The time that this part of all lies below, in milliseconds; `None` when there is none.
    #[must_use]
    pub fn ms_at(&self, quantile: f64) -> Option<f64> {
        let times = self.0.as_ref().filter(|times| !times.is_empty())?;
        Some(times.value_at_quantile(quantile).min(times.max()) as f64 / 1e6)
    }
}

impl Default for Times {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_in_turn_add_up() {
        let workload = Workload {
            client: Client::Raw,
            queues: 3,
            kind: QueueKind::Classic,
            fanout: false,
            body_bytes: 100,
            persistent: true,
            window: Window::Unconfirmed(1),
            auto_ack: false,
            prefetch: 1,
            ack_every: 1,
        };
        let to: Vec<u64> = (0..3).map(|stream| workload.published_to(stream, 8)).collect();
        assert_eq!(to, [3, 3, 2]);
        assert_eq!(Workload { fanout: true, ..workload }.published_to(2, 8), 8);
    }
}
