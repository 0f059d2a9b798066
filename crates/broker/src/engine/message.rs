//! A message inside the broker, shared by all the queues that hold it.

use std::sync::Arc;

use crate::frame::Content;

/// Octets that each held message counts for on top of its content: names, list entries and allocator overhead,
/// estimated high, so that a flood of empty messages is bounded too.
pub const MESSAGE_OVERHEAD_BYTES: usize = 256;

/// What was published, and how. Never changes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Message {
    pub(crate) exchange: Box<str>,
    pub(crate) routing_key: Box<str>,
    pub(crate) content: Content,
}

impl Message {
    /// What the message counts for in bounds, in octets.
    pub(crate) fn weight(&self) -> usize {
        self.content.len() + MESSAGE_OVERHEAD_BYTES
    }
}

/// A message in one queue. Its position never changes, which is what brings it back to its place when requeued.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) position: u64,
    pub(super) message: Arc<Message>,
    /// Whether it was delivered before, so that the next delivery may be a duplicate.
    pub(super) redelivered: bool,
}
