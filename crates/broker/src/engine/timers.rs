//! When something is to be looked at although no command comes.
//!
//! A sorted list of times; does not read a clock, and does not know what is done then.

use std::collections::BTreeSet;

use crate::identity::{QueueId, Timestamp};

/// What about a queue is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Timer {
    /// A message at the head expires.
    Message,
    /// The queue may have been unused for too long.
    Queue,
}

/// Timers; a queue has at most one of each kind.
#[derive(Debug, Default)]
pub(super) struct Timers(BTreeSet<(Timestamp, QueueId, Timer)>);

impl Timers {
    pub(super) fn set(&mut self, at: Timestamp, queue: QueueId, timer: Timer) {
        self.0.insert((at, queue, timer));
    }

    pub(super) fn cancel(&mut self, at: Timestamp, queue: QueueId, timer: Timer) {
        self.0.remove(&(at, queue, timer));
    }

    /// When the next one is due.
    pub(super) fn next(&self) -> Option<Timestamp> {
        self.0.first().map(|(at, ..)| *at)
    }

    /// Takes the next one that is due by now.
    pub(super) fn take_due(&mut self, now: Timestamp) -> Option<(QueueId, Timer)> {
        let (at, queue, timer) = *self.0.first().filter(|(at, ..)| *at <= now)?;
        self.cancel(at, queue, timer);
        Some((queue, timer))
    }
}
