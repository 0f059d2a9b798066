//! What the engine asks of the store and what it hears from it.
//!
//! Values only: the engine makes and reads them without knowing files, the store without knowing what a queue does.

use std::sync::Arc;

use amq_protocol::types::FieldTable;

use crate::identity::{CommitId, MessageId, QueueId, Timestamp};
use crate::message::Message;

/// Which of the two logs a message stands in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Log {
    /// Synced before the commit counts as done; read again after a restart.
    Durable,
    /// For messages that only have to leave memory; never synced, forgotten at a restart.
    Overflow,
}

/// One change to what is stored, in order. All operations of one batch become durable together or not at all.
#[derive(Debug)]
pub(crate) enum Operation {
    /// A message that these queues hold from now on. The same message may be put into both logs, for different
    /// queues, but only once into each.
    Put { log: Log, id: MessageId, queues: Box<[QueueId]>, message: Arc<Message> },
    /// A queue no longer holds a message that was put for it.
    Remove { log: Log, id: MessageId, queue: QueueId },
    /// A queue's topology changed.
    Topology(TopologyChange),
}

/// A change to durable exchanges, queues and bindings.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum TopologyChange {
    QueueDeclared(StoredQueue),
    /// Its bindings and its messages are gone with it.
    QueueDeleted(QueueId),
    ExchangeDeclared(StoredExchange),
    /// The bindings from it and to it are gone with it.
    ExchangeDeleted {
        vhost: Arc<str>,
        name: Arc<str>,
    },
    Bound(StoredBinding),
    Unbound(StoredBinding),
}

/// A durable queue.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct StoredQueue {
    pub(crate) id: QueueId,
    pub(crate) vhost: Arc<str>,
    pub(crate) name: Arc<str>,
    pub(crate) auto_delete: bool,
    pub(crate) arguments: FieldTable,
}

/// A durable exchange; predeclared ones are not stored.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct StoredExchange {
    pub(crate) vhost: Arc<str>,
    pub(crate) name: Arc<str>,
    /// As in `exchange.declare`.
    pub(crate) kind: Arc<str>,
    pub(crate) auto_delete: bool,
    pub(crate) internal: bool,
    pub(crate) arguments: FieldTable,
}

/// A binding from a durable exchange to a durable queue or exchange. All of it together is its identity.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct StoredBinding {
    pub(crate) vhost: Arc<str>,
    pub(crate) source: Arc<str>,
    pub(crate) destination: StoredDestination,
    pub(crate) key: Arc<str>,
    pub(crate) arguments: FieldTable,
}

/// What a binding leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum StoredDestination {
    Queue(QueueId),
    Exchange(Arc<str>),
}

/// What was found when a store was opened.
#[derive(Debug, Default)]
pub(crate) struct Recovered {
    /// What declares everything that exists: exchanges, then queues, then bindings, each in the order of declaration.
    pub(crate) topology: Vec<TopologyChange>,
    /// Messages of the queues in `topology`, ascending by queue and then by message.
    pub(crate) entries: Vec<(QueueId, Vec<RecoveredEntry>)>,
    /// No queue that was ever stored has a greater id.
    pub(crate) last_queue: u64,
    /// No message that was ever stored has a greater id.
    pub(crate) last_message: u64,
}

/// A message in a queue, without its content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RecoveredEntry {
    pub(crate) id: MessageId,
    /// As [`Message::weight`].
    pub(crate) weight: u32,
    /// Octets of its body.
    pub(crate) body: u32,
    pub(crate) published_at: Timestamp,
    pub(crate) expires_at: Option<Timestamp>,
    pub(crate) priority: u8,
    /// Whether it may have been delivered before the restart. Exact after an orderly end, and otherwise true for all.
    pub(crate) redelivered: bool,
}

/// What the store says to the engine.
#[derive(Debug)]
pub(crate) enum Report {
    /// Everything up to this batch is where it belongs: synced, if it was durable.
    Committed(CommitId),
    /// The messages that were asked for, in the order asked; `None` for one that cannot be read (the reason is logged).
    Loaded { queue: QueueId, messages: Vec<(MessageId, Option<Arc<Message>>)> },
    /// Whether the store can take more.
    State(StoreState),
}

/// Whether the store can take more.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum StoreState {
    #[default]
    Working,
    /// The bound on disk use is reached, or the disk is nearly full: publishers should wait. What is handed over is
    /// still stored.
    Full { reason: Arc<str> },
    /// Writing or syncing failed. What was handed over since is kept in memory, not committed, and tried again.
    Failing { reason: Arc<str> },
}
