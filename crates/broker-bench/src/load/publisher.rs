//! The publishing end: messages prebuilt, written many at a time, confirms taken in place.
//!
//! One thread writes and reads in turn: what is written at once never exceeds the window, which a broker takes in
//! while it writes confirms. Does not know who consumes.

use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use lapin::uri::AMQPUri;

use super::confirms::Unconfirmed;
use super::{Progress, Times, Window, Workload};
use crate::connection::{Connection, STALL};
use crate::error::BenchError;
use crate::wire::{Event, PublishTemplate};

/// Messages written at once: some 64 KiB of the smallest, so that no write blocks for long.
const BATCH_MAX: u64 = 512;
/// The window is filled again when this part of it is free: fewer, larger writes, for the broker too.
const REFILL_PART: u64 = 8;
/// Wait for deliveries when the window without confirms is full: far shorter than it takes to empty it.
const UNDELIVERED_WAIT: Duration = Duration::from_micros(200);

/// What became of a publisher.
#[derive(Debug)]
pub struct Published {
    /// Messages published, and confirmed where confirms were asked for.
    pub count: u64,
    /// From sending to confirm.
    pub confirm: Times,
}

/// Publishes until it is told to stop, or `limit` messages; then waits for all confirms, and says in `progress` how
/// many there were.
///
/// # Errors
/// When the broker fails, refuses, or is silent.
pub fn publish(uri: &AMQPUri, load: &Workload, progress: &Progress, limit: u64) -> Result<Published, BenchError> {
    let mut connection = Connection::open(uri)?;
    let mut publisher = Publisher { templates: load.templates(), out: Vec::new(), count: 0, limit, progress };
    let confirm = match load.window {
        Window::Unconfirmed(window) => {
            connection.confirm_select()?;
            publisher.confirmed(&mut connection, window)?
        }
        Window::Undelivered(window) => {
            publisher.unconfirmed(&mut connection, window, load.copies())?;
            Times::new()
        }
    };
    // Closing in order also proves that the broker has taken all that was written.
    connection.close()?;
    progress.finish(publisher.count);
    Ok(Published { count: publisher.count, confirm })
}

struct Publisher<'a> {
    templates: Vec<PublishTemplate>,
    out: Vec<u8>,
    count: u64,
    limit: u64,
    progress: &'a Progress,
}

impl Publisher<'_> {
    fn is_done(&self) -> bool {
        self.count >= self.limit || self.progress.stop.load(Ordering::Relaxed)
    }

    /// Writes up to `free` messages; gives how many, and when.
    fn write(&mut self, connection: &mut Connection, free: u64) -> Result<(u64, u64), BenchError> {
        let now_ns = self.progress.now_ns();
        let messages = free.min(BATCH_MAX).min(self.limit - self.count);
        self.out.clear();
        let turns = self.templates.len() as u64;
        for number in self.count..self.count + messages {
            self.templates[(number % turns) as usize].append(&mut self.out, number / turns, now_ns);
        }
        connection.send(&self.out)?;
        self.count += messages;
        self.progress.published.fetch_add(messages, Ordering::Relaxed);
        Ok((messages, now_ns))
    }

    fn confirmed(&mut self, connection: &mut Connection, window: u64) -> Result<Times, BenchError> {
        let (mut book, mut times) = (Unconfirmed::default(), Times::new());
        let refill = (window / REFILL_PART).max(1);
        let mut heard = Instant::now();
        loop {
            self.progress.go_on()?;
            while !self.is_done() && window - book.span() >= refill {
                let (messages, now_ns) = self.write(connection, window - book.span())?;
                (0..messages).for_each(|_| book.sent(now_ns));
            }
            if book.span() == 0 && self.is_done() {
                return Ok(times);
            }
            if connection.receive()? {
                heard = Instant::now();
            } else if heard.elapsed() > STALL {
                return Err(connection.stalled("waiting for confirms"));
            }
            let (now_ns, recording) = (self.progress.now_ns(), self.progress.recording.load(Ordering::Relaxed));
            connection.drain(|event| match event {
                Event::Confirm { tag, positive: false, .. } => Err(BenchError::Refused(tag)),
                Event::Confirm { tag, multiple, .. } => book.confirm(tag, multiple, |sent_ns| {
                    if recording {
                        times.record(now_ns.saturating_sub(sent_ns));
                    }
                }),
                _ => Ok(()),
            })?;
        }
    }

    fn unconfirmed(&mut self, connection: &mut Connection, window: u64, copies: u64) -> Result<(), BenchError> {
        let mut written = Instant::now();
        while !self.is_done() {
            self.progress.go_on()?;
            let undelivered = self.count.saturating_sub(self.progress.delivered.load(Ordering::Relaxed) / copies);
            if undelivered < window {
                self.write(connection, window - undelivered)?;
                written = Instant::now();
            } else if written.elapsed() > STALL {
                connection.receive()?;
                connection.drain(|_| Ok(()))?;
                return Err(connection.stalled("waiting for deliveries"));
            } else {
                thread::sleep(UNDELIVERED_WAIT);
            }
        }
        Ok(())
    }
}
