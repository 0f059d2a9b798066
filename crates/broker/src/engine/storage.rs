//! The engine's side of the store: what is handed over in one commit, and who waits for it.
//!
//! Does not know how anything is stored (`store`) or what leaves memory (`paging`).

use std::collections::VecDeque;
use std::sync::Arc;

use super::entry::Entry;
use super::{ChannelKey, CommitId, Effect, Engine};
use crate::identity::{MessageId, QueueId};
use crate::message::Message;
use crate::store::{Log, Operation, Report, StoreState, TopologyChange};

/// What the engine has handed to the store and what it heard from it.
#[derive(Debug)]
pub(super) struct Storage {
    enabled: bool,
    /// The commit that is being collected.
    commit: CommitId,
    operations: Vec<Operation>,
    /// What the messages in `operations` weigh, in octets.
    bytes: usize,
    in_flight: VecDeque<InFlight>,
    /// What the messages in `in_flight` weigh, in octets.
    pub(super) uncommitted_bytes: usize,
    awaiting: VecDeque<AwaitingConfirm>,
    /// In the order of their commits.
    leaving: VecDeque<Leaving>,
    /// All messages put up to this one are where they belong.
    committed: MessageId,
    pub(super) state: StoreState,
}

#[derive(Debug)]
struct InFlight {
    commit: CommitId,
    /// The last message that there was when it was handed over.
    last: MessageId,
    bytes: usize,
}

/// A published message whose confirm waits for a commit.
#[derive(Debug)]
struct AwaitingConfirm {
    commit: CommitId,
    channel: ChannelKey,
    serial: u64,
    tag: u64,
}

/// A message that may leave memory once it is committed.
#[derive(Debug)]
pub(super) struct Leaving {
    commit: CommitId,
    pub(super) queue: QueueId,
    pub(super) id: MessageId,
    pub(super) level: u8,
}

impl Storage {
    pub(super) fn new(enabled: bool) -> Self {
        Self {
            enabled,
            commit: CommitId(1),
            operations: Vec::new(),
            bytes: 0,
            in_flight: VecDeque::new(),
            uncommitted_bytes: 0,
            awaiting: VecDeque::new(),
            leaving: VecDeque::new(),
            committed: MessageId(0),
            state: StoreState::Working,
        }
    }

    /// Whether there is a store.
    pub(super) fn enabled(&self) -> bool {
        self.enabled
    }

    /// The commit that is being collected, if there is anything in it.
    pub(super) fn pending_commit(&self) -> Option<CommitId> {
        (!self.operations.is_empty()).then_some(self.commit)
    }

    /// Hands a message over for queues that hold it from now on.
    pub(super) fn put(&mut self, log: Log, id: MessageId, queues: Box<[QueueId]>, message: &Arc<Message>) {
        self.bytes += message.weight();
        self.operations.push(Operation::Put { log, id, queues, message: Arc::clone(message) });
    }

    /// A queue holds a message no longer.
    pub(super) fn remove(&mut self, queue: QueueId, entry: &Entry) {
        if let Some(log) = entry.stored {
            self.operations.push(Operation::Remove { log, id: entry.id, queue });
        }
    }

    /// A change to durable topology.
    pub(super) fn change(&mut self, change: TopologyChange) {
        if self.enabled {
            self.operations.push(Operation::Topology(change));
        }
    }

    /// A message's confirm waits for the commit that is being collected.
    pub(super) fn confirm_later(&mut self, channel: ChannelKey, serial: u64, tag: u64) {
        self.awaiting.push_back(AwaitingConfirm { commit: self.commit, channel, serial, tag });
    }

    /// Notes that a message which was just put may leave memory.
    pub(super) fn leave_memory_later(&mut self, queue: QueueId, entry: &Entry) {
        let (commit, id, level) = (self.commit, entry.id, entry.level);
        self.leaving.push_back(Leaving { commit, queue, id, level });
    }

    /// The next message that may leave memory now that this commit is done.
    pub(super) fn take_leaving(&mut self, commit: CommitId) -> Option<Leaving> {
        self.leaving.pop_front_if(|first| first.commit <= commit)
    }

    /// Whether a message can be read back from the store.
    pub(super) fn can_be_read(&self, entry: &Entry) -> bool {
        entry.stored.is_some() && entry.id <= self.committed
    }

    /// All messages up to this one are in the store already.
    pub(super) fn restored(&mut self, last: u64) {
        self.committed = MessageId(last);
    }

    fn take_confirmed(&mut self, commit: CommitId) -> Option<AwaitingConfirm> {
        self.awaiting.pop_front_if(|first| first.commit <= commit)
    }

    fn committed(&mut self, commit: CommitId) {
        while let Some(done) = self.in_flight.pop_front_if(|first| first.commit <= commit) {
            self.uncommitted_bytes -= done.bytes;
            self.committed = done.last;
        }
    }
}

impl Engine {
    /// Takes note of exchanges that went, by request or with their last binding.
    pub(super) fn collect_topology_changes(&mut self) {
        for at in 0..self.vhosts.len() {
            for exchange in std::mem::take(&mut self.vhosts[at].deleted) {
                let vhost = self.vhosts[at].name.clone();
                if self.logs_topology() {
                    tracing::info!(exchange = &*exchange.name, vhost = &*vhost, "exchange deleted");
                }
                if exchange.durable {
                    self.storage.change(TopologyChange::ExchangeDeleted { vhost, name: exchange.name });
                }
            }
        }
    }

    /// Hands over what was collected.
    pub(super) fn end_commit(&mut self) {
        let storage = &mut self.storage;
        if storage.operations.is_empty() {
            return;
        }
        let (commit, bytes) = (storage.commit, std::mem::take(&mut storage.bytes));
        storage.commit = CommitId(commit.0 + 1);
        storage.uncommitted_bytes += bytes;
        storage.in_flight.push_back(InFlight { commit, last: MessageId(self.last_message), bytes });
        let operations = std::mem::take(&mut storage.operations);
        self.effects.push(Effect::Commit { commit, operations });
    }

    pub(super) fn store_report(&mut self, report: Report) {
        match report {
            Report::Committed(commit) => self.committed(commit),
            Report::Loaded { queue, messages } => self.loaded(queue, messages),
            Report::State(state) => {
                match &state {
                    StoreState::Working => tracing::info!("the store takes messages again"),
                    StoreState::Full { reason } => tracing::warn!(%reason, "the store is full: publishers wait"),
                    StoreState::Failing { reason } => {
                        tracing::error!(%reason, "the store fails: nothing more is confirmed, publishers wait");
                    }
                }
                self.storage.state = state;
            }
        }
    }

    fn committed(&mut self, commit: CommitId) {
        self.storage.committed(commit);
        while let Some(AwaitingConfirm { channel: key, serial, tag, .. }) = self.storage.take_confirmed(commit) {
            let channel = self.open_channel(key).filter(|channel| channel.serial == serial);
            if let Some(confirms) = channel.and_then(|channel| channel.confirms.as_mut()) {
                confirms.settle(tag, true);
                if self.confirms_due.last() != Some(&key) {
                    self.confirms_due.push(key);
                }
            }
        }
        self.unload_committed(commit);
    }
}
