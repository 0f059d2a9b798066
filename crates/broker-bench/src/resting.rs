//! Memory of a broker that has nothing to do, or only a full queue. Does not start brokers.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread;
use std::time::{Duration, Instant};

use lapin::uri::AMQPUri;
use serde::Serialize;

use crate::connection::{Connection, QueueKind};
use crate::error::BenchError;
use crate::load::{Progress, publish};
use crate::process::Processes;
use crate::rows::persistent;
use crate::stream::mib;

/// How long a broker is left alone before its memory counts: long enough for buffers to be given back.
const SETTLE: Duration = Duration::from_secs(3);
/// How often memory is looked at meanwhile.
const LOOK: Duration = Duration::from_millis(100);
/// Unconfirmed messages while the queue is filled.
const WINDOW: u64 = 1000;

/// Resident memory.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Resting {
    /// Once the broker had settled, in MiB.
    pub rss_mib: f64,
}

/// Memory with nothing queued, and nobody connected.
///
/// # Errors
/// When the user wants to end.
pub fn idle(processes: Option<&Processes>, interrupted: &Arc<AtomicBool>) -> Result<Resting, BenchError> {
    settled(processes, &Progress::new(Arc::clone(interrupted)))
}

/// Memory with so many persistent messages queued.
///
/// # Errors
/// When the broker fails or is silent, or holds another number of messages.
pub fn backlog(
    uri: &AMQPUri,
    processes: Option<&Processes>,
    messages: u64,
    body_bytes: usize,
    interrupted: &Arc<AtomicBool>,
) -> Result<Resting, BenchError> {
    let load = persistent(QueueKind::Classic, body_bytes, WINDOW, 1);
    let mut control = Connection::open(uri)?;
    load.set_up(&mut control)?;
    let progress = Progress::new(Arc::clone(interrupted));
    publish(uri, &load, &progress, messages)?;
    let resting = settled(processes, &progress)?;
    let held = u64::from(control.ready(&load.queue(0))?);
    load.tear_down(&mut control)?;
    control.close()?;
    if held != messages {
        let account = crate::ledger::Account {
            lost: messages.saturating_sub(held),
            duplicated: held.saturating_sub(messages),
            reordered: 0,
        };
        return Err(BenchError::Account(account));
    }
    Ok(resting)
}

fn settled(processes: Option<&Processes>, progress: &Progress) -> Result<Resting, BenchError> {
    let processes = processes.ok_or(BenchError::NoProcess("memory can only be read from the broker's process"))?;
    let deadline = Instant::now() + SETTLE;
    while Instant::now() < deadline {
        progress.go_on()?;
        thread::sleep(LOOK);
    }
    Ok(Resting { rss_mib: mib(processes.rss_bytes()) })
}
