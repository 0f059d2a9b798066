//! What went over the wire, counted over all connections since the start.
//!
//! Counters only. They are added to once for each read or write, not for each message.

use std::sync::atomic::{AtomicU64, Ordering};

use serde::Serialize;

/// The counters.
#[derive(Debug, Default)]
pub(crate) struct Traffic {
    pub(crate) received_bytes: Count,
    pub(crate) received_frames: Count,
    pub(crate) sent_bytes: Count,
    pub(crate) sent_frames: Count,
    pub(crate) opened: Count,
    pub(crate) refused: Count,
    pub(crate) displaced: Count,
    pub(crate) logins_refused: Count,
}

/// One counter.
#[derive(Debug, Default)]
pub(crate) struct Count(AtomicU64);

impl Count {
    pub(crate) fn add(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What went over the wire since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct TrafficTotals {
    /// Octets read, after decryption.
    pub received_bytes: u64,
    /// Frames read.
    pub received_frames: u64,
    /// Octets written, before encryption.
    pub sent_bytes: u64,
    /// Frames written.
    pub sent_frames: u64,
    /// Connections that logged in and opened a virtual host.
    pub connections_opened: u64,
    /// Connections closed at once because [`Limits::connections`](crate::Limits::connections) was reached.
    pub connections_refused: u64,
    /// Connections closed before login because all places were taken and someone else came.
    pub connections_displaced: u64,
    /// Attempts to log in that failed.
    pub logins_refused: u64,
}

impl Traffic {
    pub(crate) fn totals(&self) -> TrafficTotals {
        TrafficTotals {
            received_bytes: self.received_bytes.get(),
            received_frames: self.received_frames.get(),
            sent_bytes: self.sent_bytes.get(),
            sent_frames: self.sent_frames.get(),
            connections_opened: self.opened.get(),
            connections_refused: self.refused.get(),
            connections_displaced: self.displaced.get(),
            logins_refused: self.logins_refused.get(),
        }
    }
}
