//! What the store counts, for pages and metrics.
//!
//! Does not know who reads it.

use std::sync::atomic::{AtomicU64, Ordering};

/// A number that one thread writes and others read.
#[derive(Debug, Default)]
pub struct Count(AtomicU64);

impl Count {
    /// What it is now.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    pub(super) fn add(&self, more: u64) {
        self.0.fetch_add(more, Ordering::Relaxed);
    }

    pub(super) fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }
}

/// Counts since the store was opened, and what it takes up now.
#[derive(Debug, Default)]
pub struct StoreMetrics {
    /// Syncs of files and directories.
    pub syncs: Count,
    /// Octets written.
    pub written_octets: Count,
    /// Octets of messages that were written once more so that an old segment could go.
    pub moved_octets: Count,
    /// Writes and syncs that failed.
    pub failures: Count,
    /// Segments of both logs now.
    pub segments: Count,
    /// Octets of all files now.
    pub disk_octets: Count,
    /// Octets of messages that a queue still holds.
    pub live_octets: Count,
    /// Messages that a queue still holds, those in both logs twice.
    pub live_messages: Count,
}
