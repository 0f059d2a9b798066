//! A message inside the broker, shared by all the queues that hold it and by what is on its way to clients.
//!
//! Does not know queues.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::frame::Content;
use crate::identity::Timestamp;

/// Octets that each message in memory counts for on top of its content: names, list entries and allocator overhead,
/// estimated high, so that a flood of empty messages is bounded too.
pub const MESSAGE_OVERHEAD_BYTES: usize = 256;

/// What was published, and how. Never changes.
#[derive(Debug)]
pub(crate) struct Message {
    pub(crate) exchange: Box<str>,
    pub(crate) routing_key: Box<str>,
    pub(crate) content: Content,
    /// When the broker accepted it.
    pub(crate) published_at: Timestamp,
    /// When it is to be dropped wherever it waits, as its own `expiration` property says.
    pub(crate) expires_at: Option<Timestamp>,
    /// Its `priority` property; 0 without one.
    pub(crate) priority: u8,
    /// Whether it asked to survive a restart (`delivery-mode` 2).
    pub(crate) persistent: bool,
    /// Whether it is a dead letter, so that what its headers say of its deaths is ours.
    pub(crate) dead_letter: bool,
    /// Where it is counted while it is in memory.
    #[allow(dead_code, reason = "kept for what happens when it is dropped")]
    pub(crate) resident: Resident,
}

impl Message {
    /// What the message counts for in bounds, in octets.
    pub(crate) fn weight(&self) -> usize {
        self.content.len() + MESSAGE_OVERHEAD_BYTES
    }

    /// The same message with other properties or another body, counted as `resident` says.
    pub(crate) fn with_content(&self, content: Content, resident: Resident) -> Self {
        Self {
            exchange: self.exchange.clone(),
            routing_key: self.routing_key.clone(),
            content,
            published_at: self.published_at,
            expires_at: self.expires_at,
            priority: self.priority,
            persistent: self.persistent,
            dead_letter: self.dead_letter,
            resident,
        }
    }
}

/// A share in the count of octets that messages take up in memory, given back when the message is dropped, whoever
/// held it last.
#[derive(Debug, Default)]
pub(crate) struct Resident {
    octets: usize,
    total: Arc<AtomicUsize>,
}

impl Resident {
    /// Counts a message of this content.
    pub(crate) fn new(content: &Content, total: &Arc<AtomicUsize>) -> Self {
        let octets = content.len() + MESSAGE_OVERHEAD_BYTES;
        total.fetch_add(octets, Ordering::Relaxed);
        Self { octets, total: Arc::clone(total) }
    }
}

impl Drop for Resident {
    fn drop(&mut self) {
        self.total.fetch_sub(self.octets, Ordering::Relaxed);
    }
}
