//! The names by which the parts of the broker speak of the same thing, and the time they agree on.
//!
//! Values only. Does not know who gives them out.

/// A queue; never used twice, unlike its name, not even after a restart if it is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct QueueId(pub(crate) u64);

/// A published message, the same in all queues that hold it. Ascends in the order in which messages were accepted, so
/// that it is also a message's place in a queue; never used twice, not even after a restart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct MessageId(pub(crate) u64);

/// Storage operations that were handed over together; ascends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct CommitId(pub(crate) u64);

/// Milliseconds since 1970 in UTC, as told by whoever drives the engine; never goes back while the broker runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Timestamp(pub(crate) u64);

impl Timestamp {
    /// This long after; the end of time when that is nearer.
    pub(crate) fn after(self, milliseconds: u64) -> Self {
        Self(self.0.saturating_add(milliseconds))
    }
}
