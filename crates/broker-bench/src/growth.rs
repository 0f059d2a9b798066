//! Cost per message while a queue grows without a consumer, and while it is emptied: flat, if all is well.
//!
//! Does not know how many messages are much for a broker.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use lapin::uri::AMQPUri;
use serde::Serialize;

use crate::connection::{Connection, QueueKind};
use crate::error::BenchError;
use crate::load::{Consumer, Progress, publish};
use crate::process::Processes;
use crate::rows::persistent;
use crate::stream::mib;

/// Unconfirmed messages while the queue grows.
const WINDOW: u64 = 1000;
/// Octets of each body.
const BODY_BYTES: usize = 100;
/// Parts that are told apart.
const PARTS: u64 = 10;
/// How often the count is looked at; far less than a part takes.
const LOOK: Duration = Duration::from_millis(2);

/// What it cost, part by part.
#[derive(Debug, Clone, Serialize)]
pub struct Growth {
    /// Messages in all.
    pub messages: u64,
    /// While the queue grew.
    pub fill: Vec<Part>,
    /// While it was emptied.
    pub drain: Vec<Part>,
}

/// A tenth of the messages.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Part {
    /// Messages in a second.
    pub messages_per_s: f64,
    /// CPU time of the broker for each, in microseconds.
    pub broker_us_per_message: Option<f64>,
    /// The broker's resident memory at the end of the part, in MiB.
    pub rss_mib: Option<f64>,
}

/// Measures; `tell` gets a line for each part.
///
/// # Errors
/// When the broker fails, is silent, or does not give back what it took.
pub fn run(
    uri: &AMQPUri,
    processes: Option<&Processes>,
    messages: u64,
    ack_every: u64,
    interrupted: &Arc<AtomicBool>,
    tell: &dyn Fn(&str),
) -> Result<Growth, BenchError> {
    let load = persistent(QueueKind::Classic, BODY_BYTES, WINDOW, ack_every);
    let mut control = Connection::open(uri)?;
    load.set_up(&mut control)?;
    let progress = Progress::new(Arc::clone(interrupted));
    let watch = |what, counter, done: &dyn Fn() -> bool| {
        let mut parts = Vec::new();
        while (parts.len() as u64) < PARTS && !done() {
            let part = watch_part(counter, messages, parts.len() as u64, processes, done);
            let cpu = part.broker_us_per_message.map(|us| format!(", {us:.1} µs of broker CPU each"));
            tell(&format!(
                "{what} {}/{PARTS}: {:.0} msg/s{}",
                parts.len() + 1,
                part.messages_per_s,
                cpu.unwrap_or_default()
            ));
            parts.push(part);
        }
        parts
    };
    let fill = thread::scope(|scope| {
        let publisher = scope.spawn(|| publish(uri, &load, &progress, messages));
        let parts = watch("in ", &progress.published, &|| publisher.is_finished());
        publisher.join().map_err(|_| BenchError::Panicked("publisher"))?.map(|_| parts)
    })?;
    let consumer = Consumer::open(uri, &load)?;
    let drain = thread::scope(|scope| {
        let consumer = scope.spawn(|| consumer.run(&load, &progress));
        let parts = watch("out", &progress.delivered, &|| consumer.is_finished());
        consumer.join().map_err(|_| BenchError::Panicked("consumer"))?.map(|_| parts)
    })?;
    load.tear_down(&mut control)?;
    control.close()?;
    Ok(Growth { messages, fill, drain })
}

/// Waits until the counter has passed the end of the part.
fn watch_part(
    counter: &AtomicU64,
    messages: u64,
    part: u64,
    processes: Option<&Processes>,
    done: &dyn Fn() -> bool,
) -> Part {
    let (first, start, used) = (counter.load(Ordering::Relaxed), Instant::now(), processes.map(Processes::cpu_seconds));
    let end = messages * (part + 1) / PARTS;
    while counter.load(Ordering::Relaxed) < end && !done() {
        thread::sleep(LOOK);
    }
    let count = (counter.load(Ordering::Relaxed) - first).max(1) as f64;
    let used = processes.map(Processes::cpu_seconds).zip(used).map(|(after, before)| after - before);
    Part {
        messages_per_s: count / start.elapsed().as_secs_f64(),
        broker_us_per_message: used.map(|seconds| seconds * 1e6 / count),
        rss_mib: processes.map(|processes| mib(processes.rss_bytes())),
    }
}
