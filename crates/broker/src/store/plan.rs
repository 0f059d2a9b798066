//! What is to be written for the commits that wait: one batch for as many as possible.
//!
//! A message that is removed again by what is written together with it is not written at all: a consumer that keeps
//! pace costs no disk. Does not know files.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

use super::log::Planned;
use super::operation::{Log, Operation, TopologyChange};
use crate::identity::{CommitId, MessageId, QueueId};
use crate::message::Message;

/// Octets of messages that are written with one call, so that what comes later does not wait for too long; one commit
/// may be larger.
const WRITE_MAX_OCTETS: usize = 8 * 1024 * 1024;

/// What was handed over together and is not stored yet.
#[derive(Debug)]
pub(super) struct Commit {
    pub(super) id: CommitId,
    pub(super) operations: Vec<Operation>,
    /// The journal knows of its topology already, but may not have been able to write it.
    pub(super) topology_known: bool,
    /// Its topology is synced already.
    pub(super) topology_done: bool,
    /// Its part in the overflow log is done already.
    pub(super) overflow_done: bool,
    /// It consists of removals, and the index knows of them already, although they are not written.
    pub(super) removed_early: bool,
    /// Writing it failed once: the disk may have it all the same, so that its removal has to be written too.
    pub(super) attempted: bool,
}

impl Commit {
    pub(super) fn new(id: CommitId, operations: Vec<Operation>) -> Self {
        Self {
            id,
            operations,
            topology_known: false,
            topology_done: false,
            overflow_done: false,
            removed_early: false,
            attempted: false,
        }
    }

    /// Whether it only takes away.
    pub(super) fn only_removes(&self) -> bool {
        self.operations.iter().all(|operation| matches!(operation, Operation::Remove { .. }))
    }

    /// The queues it deletes, unless that is synced already.
    fn deletes(&self) -> HashSet<QueueId> {
        let operations = if self.topology_done { &[][..] } else { &self.operations };
        operations.iter().filter_map(deleted).collect()
    }

    fn octets(&self) -> usize {
        let octets = |operation: &Operation| match operation {
            Operation::Put { message, .. } => message.weight(),
            Operation::Remove { .. } | Operation::Topology(_) => 0,
        };
        self.operations.iter().map(octets).sum()
    }

    /// The message, if this puts it there.
    pub(super) fn message(&self, log: Log, id: MessageId) -> Option<Arc<Message>> {
        self.operations.iter().find_map(|operation| match operation {
            Operation::Put { log: put_into, id: put, message, .. } if *put_into == log && *put == id => {
                Some(Arc::clone(message))
            }
            _ => None,
        })
    }
}

/// The queue that an operation deletes.
fn deleted(operation: &Operation) -> Option<QueueId> {
    match operation {
        Operation::Topology(TopologyChange::QueueDeleted(queue)) => Some(*queue),
        _ => None,
    }
}

/// Cuts what was handed over together in front of each deletion of a queue out of which it took messages before, so that
/// the parts can be written one after the other; see [`Plan::takes_from`]. The operations of one request stay together.
pub(super) fn cut(mut operations: Vec<Operation>) -> Vec<Vec<Operation>> {
    let mut parts = Vec::new();
    // Hardly ever is there a deletion.
    while let Some(at) = operations.iter().position(|operation| deleted(operation).is_some()) {
        let Some(place) = first_to_wait(&operations, at) else { break };
        let rest = operations.split_off(place);
        parts.push(std::mem::replace(&mut operations, rest));
    }
    parts.push(operations);
    parts
}

/// The first deletion, from the one at `at` on, of a queue out of which messages were taken before.
fn first_to_wait(operations: &[Operation], at: usize) -> Option<usize> {
    let source = |operation: &Operation| match operation {
        Operation::Remove { log: Log::Durable, queue, .. } => Some(*queue),
        _ => None,
    };
    let mut taken_from: HashSet<QueueId> = operations[..at].iter().filter_map(source).collect();
    for (place, operation) in operations.iter().enumerate().skip(at) {
        if deleted(operation).is_some_and(|queue| taken_from.contains(&queue)) {
            return Some(place);
        }
        taken_from.extend(source(operation));
    }
    None
}

/// What is to be written for a number of commits.
#[derive(Debug, Default)]
pub(super) struct Plan {
    /// How many of those that wait.
    pub(super) commits: usize,
    /// Whether there is topology to be synced.
    pub(super) changes_topology: bool,
    /// Those changes of it that the journal does not know of yet.
    pub(super) topology: Vec<TopologyChange>,
    pub(super) deleted: HashSet<QueueId>,
    pub(super) durable: LogPlan,
    pub(super) overflow: LogPlan,
}

/// The same for one log.
#[derive(Debug, Default)]
pub(super) struct LogPlan {
    pub(super) puts: Vec<Planned>,
    places: HashMap<MessageId, usize>,
    /// Removals of messages that were put before.
    pub(super) removals: Vec<(QueueId, MessageId)>,
}

impl LogPlan {
    fn put(&mut self, id: MessageId, queues: &[QueueId], message: &Arc<Message>, may_cancel_out: bool) {
        if may_cancel_out {
            self.places.insert(id, self.puts.len());
        }
        self.puts.push(Planned { id, queues: queues.to_vec(), message: Arc::clone(message) });
    }

    fn remove(&mut self, id: MessageId, queue: QueueId) {
        if let Some(put) = self.places.get(&id).and_then(|at| self.puts.get_mut(*at)) {
            put.queues.retain(|holder| *holder != queue);
        } else {
            self.removals.push((queue, id));
        }
    }
}

impl Plan {
    /// For the commits at the front.
    pub(super) fn new(pending: &VecDeque<Commit>) -> Self {
        let mut plan = Self::default();
        let mut octets = 0;
        for commit in pending {
            octets += commit.octets();
            if plan.commits > 0 && octets > WRITE_MAX_OCTETS {
                break;
            }
            if plan.takes_from(&commit.deletes()) {
                break;
            }
            plan.commits += 1;
            plan.add(commit);
        }
        plan.durable.puts.retain(|put| !put.queues.is_empty());
        plan.overflow.puts.retain(|put| !put.queues.is_empty());
        plan
    }

    /// Whether messages leave one of these queues, perhaps for another one: until that is on disk, the queue must not go,
    /// because the topology is written first, and after a crash in between they would be in neither.
    fn takes_from(&self, queues: &HashSet<QueueId>) -> bool {
        !queues.is_empty() && self.durable.removals.iter().any(|(from, _)| queues.contains(from))
    }

    fn add(&mut self, commit: &Commit) {
        for operation in &commit.operations {
            match operation {
                Operation::Put { log: Log::Durable, id, queues, message } => {
                    self.durable.put(*id, queues, message, !commit.attempted);
                }
                Operation::Remove { log: Log::Durable, id, queue } => self.durable.remove(*id, *queue),
                Operation::Topology(change) => {
                    if let TopologyChange::QueueDeleted(queue) = change {
                        self.deleted.insert(*queue);
                    }
                    self.changes_topology |= !commit.topology_done;
                    if !commit.topology_known {
                        self.topology.push(change.clone());
                    }
                }
                Operation::Put { .. } | Operation::Remove { .. } if commit.overflow_done || commit.removed_early => {}
                Operation::Put { id, queues, message, .. } => self.overflow.put(*id, queues, message, true),
                Operation::Remove { id, queue, .. } => self.overflow.remove(*id, *queue),
            }
        }
    }
}
