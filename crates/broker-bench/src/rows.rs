//! Every measurement there is, by name, in one place. Does not know how any is carried out.

use std::time::Duration;

use crate::connection::QueueKind;
use crate::load::{Client, CrowdPace, Window, Workload};
use crate::stream::CrowdLoad;

/// The smaller body.
const SMALL: usize = 100;
/// The larger body.
const LARGE: usize = 1024;
/// Unacknowledged messages for each consumer.
const PREFETCH: u16 = 1000;
/// Messages on their way where there are no confirms: a tenth of a second's worth at the rates measured, so that
/// neither end ever waits for the other.
const UNDELIVERED: u64 = 10_000;
/// Queues or connections where there are many.
const MANY: usize = 1000;

/// A measurement.
#[derive(Debug, Clone)]
pub struct Row {
    /// What a user calls it.
    pub name: String,
    /// What it is, for people.
    pub about: String,
    /// What is to be done.
    pub task: Task,
}

/// What a row asks for.
#[derive(Debug, Clone)]
pub enum Task {
    /// A steady state, of a main pair, a crowd, or both.
    Stream(Option<Workload>, Option<CrowdLoad>),
    /// Memory of a broker that was just started.
    Idle,
    /// Memory with so many messages of so many octets queued.
    Backlog {
        /// Messages.
        messages: u64,
        /// Octets of each body.
        body_bytes: usize,
    },
    /// Cost per message while a queue grows, and while it is emptied.
    Growth,
    /// Syncs for each confirm, on a queue of this kind.
    Syncs(QueueKind),
}

impl Task {
    /// Whether only a broker without a past gives a true figure.
    #[must_use]
    pub fn needs_fresh_broker(&self) -> bool {
        matches!(self, Self::Idle | Self::Backlog { .. })
    }

    /// Whether one run is enough: what is counted, not timed, does not vary; growth takes long and is ten figures.
    #[must_use]
    pub fn is_run_once(&self) -> bool {
        !matches!(self, Self::Stream(..))
    }
}

/// All rows, in the order in which they run.
#[must_use]
pub fn all(ack_every: u64) -> Vec<Row> {
    let row = |name: &str, about: &str, task| Row { name: name.to_owned(), about: about.to_owned(), task };
    let mut rows = vec![
        row("idle", "memory of a broker that has just started", Task::Idle),
        row(
            "backlog",
            "memory with 100,000 persistent messages of 1 KB queued",
            Task::Backlog { messages: 100_000, body_bytes: LARGE },
        ),
    ];
    for (kind, name, words) in
        [(QueueKind::Classic, "durable", "durable queue"), (QueueKind::Quorum, "quorum", "quorum queue, one node")]
    {
        for (body_bytes, size) in [(SMALL, "100b"), (LARGE, "1kb")] {
            for window in [1, 100, 1000] {
                if body_bytes == SMALL || window == 1000 {
                    let load = persistent(kind, body_bytes, window, ack_every);
                    let about =
                        format!("{words}, persistent, confirms, manual ack, {body_bytes} B, {window} unconfirmed");
                    rows.push(row(&format!("{name}-{size}-w{window}"), &about, Task::Stream(Some(load), None)));
                }
            }
        }
    }
    for (body_bytes, size) in [(SMALL, "100b"), (LARGE, "1kb")] {
        let about = format!("transient queue and messages, auto-ack, {body_bytes} B");
        let load = transient(body_bytes, ack_every);
        rows.push(row(&format!("transient-{size}"), &about, Task::Stream(Some(load), None)));
    }
    for (name, load) in lapin(ack_every) {
        let about = format!("as {name}, by a client that uses lapin, as applications do");
        rows.push(row(&format!("lapin-{name}"), &about, Task::Stream(Some(load), None)));
    }
    let single = persistent(QueueKind::Classic, SMALL, 1000, ack_every);
    let many_queues = Workload { queues: MANY, ..single.clone() };
    let about = "as durable-100b-w1000, over 1,000 queues in turn";
    rows.push(row("queues-1000", about, Task::Stream(Some(many_queues), None)));
    let crowd = |pace| Some(CrowdLoad { size: MANY, pace, body_bytes: SMALL });
    let beside = Task::Stream(Some(single.clone()), crowd(CrowdPace::Round(Duration::from_secs(1))));
    let about = "as durable-100b-w1000, beside 1,000 connections that each send and take up to 1 message/s";
    rows.push(row("connections-1000", about, beside));
    let about = "1,000 connections alone, each with its own queue and 1 unconfirmed message, all at once";
    rows.push(row("connections-1000-busy", about, Task::Stream(None, crowd(CrowdPace::Full))));
    for queues in [1, 10, 100] {
        let load = Workload { queues, fanout: true, ..single.clone() };
        let about = format!("as durable-100b-w1000, through a fan-out exchange to {queues} queues; deliveries counted");
        rows.push(row(&format!("fanout-{queues}"), &about, Task::Stream(Some(load), None)));
    }
    rows.push(row("growth", "persistent messages of 100 B into a queue that nobody consumes, then out", Task::Growth));
    for (kind, name, words) in [(QueueKind::Classic, "syncs", "durable"), (QueueKind::Quorum, "syncs-quorum", "quorum")]
    {
        let about = format!("fsync and fdatasync for each confirm of a {words} queue, 1 unconfirmed (strace)");
        rows.push(row(name, &about, Task::Syncs(kind)));
    }
    rows
}

/// The load on durable queues.
#[must_use]
pub fn persistent(kind: QueueKind, body_bytes: usize, window: u64, ack_every: u64) -> Workload {
    let window = Window::Unconfirmed(window);
    Workload {
        client: Client::Raw,
        queues: 1,
        kind,
        fanout: false,
        body_bytes,
        persistent: true,
        window,
        auto_ack: false,
        prefetch: PREFETCH,
        ack_every,
    }
}

/// The loads that are also sent by lapin, by the names of the rows that do not.
fn lapin(ack_every: u64) -> impl Iterator<Item = (String, Workload)> {
    let window = move |window| persistent(QueueKind::Classic, SMALL, window, ack_every);
    let durable = [1, 100, 1000].map(|size| (format!("durable-100b-w{size}"), window(size)));
    let all = durable.into_iter().chain([("transient-100b".to_owned(), transient(SMALL, ack_every))]);
    all.map(|(name, load)| (name, Workload { client: Client::Lapin, ..load }))
}

fn transient(body_bytes: usize, ack_every: u64) -> Workload {
    let window = Window::Undelivered(UNDELIVERED);
    let persistent = persistent(QueueKind::Transient, body_bytes, 1, ack_every);
    Workload { persistent: false, window, auto_ack: true, ..persistent }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    #[test]
    fn names_are_unique_and_acks_come_before_the_prefetch_is_used_up() {
        let rows = super::all(50);
        let names: HashSet<_> = rows.iter().map(|row| &row.name).collect();
        assert_eq!(names.len(), rows.len());
        assert!(names.contains(&"durable-100b-w1".to_owned()) && !names.contains(&"durable-1kb-w1".to_owned()));
    }
}
