//! A message in one queue.
//!
//! Small, because there may be millions: what the queue must know without the message at hand, and the message itself
//! only while it is in memory. Does not know when it leaves memory or where to.

use std::sync::Arc;

use crate::identity::{MessageId, Timestamp};
use crate::message::Message;
use crate::store::Log;

/// Octets that each entry counts for in the bound on memory: the entry itself, the store's index of it, and room for
/// the lists they stand in to grow.
pub(super) const ENTRY_BYTES: usize = 64;

/// A message in one queue. Its id never changes, which is what brings it back to its place when requeued.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) id: MessageId,
    /// `None` while it is on disk only.
    pub(super) message: Option<Arc<Message>>,
    /// [`Entry::NEVER`] if it does not expire.
    pub(super) expires_at: Timestamp,
    /// What it counts for in its queue, in octets: as [`Message::weight`], or its body where the queue bounds those.
    pub(super) weight: u32,
    /// How often it was given out and came back. Above 0, the next delivery may be a duplicate.
    pub(super) returned: u16,
    /// The level of the queue it waits in.
    pub(super) level: u8,
    /// The log that has it, if one does.
    pub(super) stored: Option<Log>,
}

impl Entry {
    /// Later than any time there is.
    pub(super) const NEVER: Timestamp = Timestamp(u64::MAX);

    pub(super) fn new(id: MessageId, message: Arc<Message>, stored: Option<Log>) -> Self {
        let weight = u32::try_from(message.weight()).unwrap_or(u32::MAX);
        let expires_at = message.expires_at.unwrap_or(Self::NEVER);
        Self { id, message: Some(message), expires_at, weight, returned: 0, level: 0, stored }
    }

    /// Whether it is to be dropped at some time.
    pub(super) fn expires(&self) -> bool {
        self.expires_at != Self::NEVER
    }

    /// Whether it may no longer be delivered. The one that is `arriving` may, even if it expires at once.
    pub(super) fn has_expired(&self, now: Timestamp, arriving: Option<MessageId>) -> bool {
        self.expires_at <= now && arriving != Some(self.id)
    }

    /// Whether its content must be read before anything is done with it.
    pub(super) fn is_on_disk(&self) -> bool {
        self.message.is_none()
    }

    /// Whether it was given out before, as told to the consumer.
    pub(super) fn redelivered(&self) -> bool {
        self.returned > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_small() {
        assert_eq!(size_of::<Entry>(), 32);
    }
}
