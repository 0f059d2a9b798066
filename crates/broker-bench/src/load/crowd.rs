//! Many connections, each with a queue of its own that it publishes to and consumes from, one message at a time.
//!
//! One thread goes round: it writes to a group of connections and then waits for each of them, so that thousands of
//! connections need neither threads nor an event loop. Does not know what else the broker is doing meanwhile.

use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use lapin::uri::AMQPUri;

use super::consumer::Deliveries;
use super::{Progress, Times};
use crate::connection::{CHANNEL, Connection, QueueKind, STALL};
use crate::error::BenchError;
use crate::wire::{Event, Method, PublishTemplate};

/// How fast the crowd goes round.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CrowdPace {
    /// Every connection at once, again and again.
    Full,
    /// Each connection sends one message in this time at most, ten of them at once.
    Round(Duration),
}

/// Connections written to at once when there is a pace.
const GROUP: usize = 10;

/// The connections.
#[derive(Debug)]
pub struct Crowd {
    members: Vec<Member>,
    deliveries: Deliveries,
    confirm: Times,
}

#[derive(Debug)]
struct Member {
    connection: Connection,
    template: PublishTemplate,
    queue: String,
    sent: u64,
}

impl Crowd {
    /// Opens so many connections, each with its queue.
    ///
    /// # Errors
    /// When the broker refuses.
    pub fn open(uri: &AMQPUri, size: usize, body_bytes: usize, progress: &Progress) -> Result<Self, BenchError> {
        let member = |number: usize| {
            progress.go_on()?;
            let mut connection = Connection::open(uri)?;
            let queue = format!("broker-bench.crowd.{number}");
            connection.delete(&queue)?;
            connection.declare(&queue, QueueKind::Classic)?;
            connection.confirm_select()?;
            connection.prefetch(1)?;
            connection.consume(&queue, number, false)?;
            let template = PublishTemplate::new(CHANNEL, "", &queue, true, body_bytes);
            Ok(Member { connection, template, queue, sent: 0 })
        };
        let members = (0..size).map(member).collect::<Result<_, BenchError>>()?;
        Ok(Self { members, deliveries: Deliveries::new(size), confirm: Times::new() })
    }

    /// Goes round until it is told to stop; gives the times from sending to confirm.
    ///
    /// # Errors
    /// When the broker fails, refuses or is silent, and when messages are lost, duplicated or out of order.
    pub fn run(mut self, pace: CrowdPace, progress: &Progress) -> Result<Times, BenchError> {
        let size = self.members.len().max(1);
        let (group, round) = match pace {
            CrowdPace::Full => (size, Duration::ZERO),
            CrowdPace::Round(round) => (GROUP, round),
        };
        let mut due = Instant::now();
        let mut first = 0;
        while !progress.stop.load(Ordering::Relaxed) {
            progress.go_on()?;
            let last = (first + group).min(size);
            self.exchange(first..last, progress)?;
            first = last % size;
            // A broker that is behind is not met by a burst.
            due = (due + round * group as u32 / size as u32).max(Instant::now());
            thread::sleep(due.saturating_duration_since(Instant::now()));
        }
        let sent: Vec<u64> = self.members.iter().map(|member| member.sent).collect();
        let account = self.deliveries.ledger.close(|stream| sent.get(stream).copied().unwrap_or_default());
        if !account.is_clean() {
            return Err(BenchError::Account(account));
        }
        for mut member in self.members {
            member.connection.delete(&member.queue)?;
            member.connection.close()?;
        }
        Ok(self.confirm)
    }

    /// One message for each of these connections, to the end: confirmed, delivered, acknowledged.
    fn exchange(&mut self, members: std::ops::Range<usize>, progress: &Progress) -> Result<(), BenchError> {
        let sent_ns = progress.now_ns();
        let mut out = Vec::new();
        for member in &mut self.members[members.clone()] {
            out.clear();
            member.template.append(&mut out, member.sent, sent_ns);
            member.connection.send(&out)?;
            member.sent += 1;
        }
        progress.published.fetch_add(members.len() as u64, Ordering::Relaxed);
        for member in &mut self.members[members] {
            let (mut confirmed, before, deadline) = (false, self.deliveries.ledger.count(), Instant::now() + STALL);
            while !confirmed || self.deliveries.ledger.count() == before {
                progress.go_on()?;
                if !member.connection.receive()? && Instant::now() > deadline {
                    return Err(member.connection.stalled("waiting for one of many connections"));
                }
                self.deliveries.now_ns = progress.now_ns();
                let (deliveries, confirm) = (&mut self.deliveries, &mut self.confirm);
                let recording = progress.recording.load(Ordering::Relaxed);
                deliveries.recording = recording;
                let now_ns = deliveries.now_ns;
                member.connection.drain(|event| match event {
                    Event::Confirm { tag, positive: false, .. } => Err(BenchError::Refused(tag)),
                    Event::Confirm { .. } => {
                        confirmed = true;
                        if recording {
                            confirm.record(now_ns.saturating_sub(sent_ns));
                        }
                        Ok(())
                    }
                    event => deliveries.take(event),
                })?;
            }
            member.connection.send(&Method::new(CHANNEL, 60, 80).long_long(member.sent).octet(0).finish())?;
            progress.delivered.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }
}
