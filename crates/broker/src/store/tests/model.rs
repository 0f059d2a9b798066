//! What a store must and may contain after a crash, given what was handed over and what was reported.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::super::simulated::{Crash, Random};
use super::super::topology::Topology;
use super::*;

/// What became of one message in one queue: in which commits it was put and removed; 0 for before the last start.
#[derive(Clone, Copy, Debug, Default)]
struct Life {
    put: u64,
    removed: Option<u64>,
}

/// Everything since the last start.
#[derive(Default)]
pub(super) struct Model {
    lives: BTreeMap<(u64, u64), Life>,
    pub(super) overflow: BTreeSet<(u64, u64)>,
    pub(super) contents: BTreeMap<u64, Arc<Message>>,
    /// In which commit a queue was deleted.
    deleted: BTreeMap<u64, u64>,
    pub(super) queues: BTreeSet<u64>,
    /// The topology after each commit, beginning with the one at the start.
    topologies: Vec<Vec<TopologyChange>>,
    topology: Topology,
    /// Reported as committed, and known to be synced with all removals.
    pub(super) committed: u64,
    pub(super) synced: u64,
    next_message: u64,
    next_queue: u64,
    last_seen: u64,
}

impl Model {
    /// Begins anew from what was recovered.
    pub(super) fn restart(&mut self, recovered: &Recovered) {
        let topology = &recovered.topology;
        (self.lives, self.deleted, self.overflow) = Default::default();
        for (queue, ids) in ids(recovered) {
            self.lives.extend(ids.into_iter().map(|id| ((queue, id), Life::default())));
        }
        self.topology = Topology::default();
        topology.iter().for_each(|change| self.topology.apply(change));
        let queue = |change: &TopologyChange| match change {
            TopologyChange::QueueDeclared(queue) => Some(queue.id.0),
            _ => None,
        };
        self.queues = topology.iter().filter_map(queue).collect();
        self.topologies = vec![topology.clone()];
        (self.committed, self.synced) = (0, 0);
        self.last_seen = self.last_seen.max(recovered.last_message);
        self.next_message = self.next_message.max(recovered.last_message);
        self.next_queue = self.next_queue.max(recovered.last_queue);
    }

    /// Notes what is handed over as the next commit.
    pub(super) fn submit(&mut self, operations: &[Operation]) {
        let commit = self.topologies.len() as u64;
        for operation in operations {
            match operation {
                Operation::Put { log, id, queues, message } => {
                    self.contents.insert(id.0, Arc::clone(message));
                    for queue in queues {
                        match log {
                            Log::Durable => {
                                self.lives.insert((queue.0, id.0), Life { put: commit, removed: None });
                            }
                            Log::Overflow => {
                                self.overflow.insert((queue.0, id.0));
                            }
                        }
                    }
                }
                Operation::Remove { log: Log::Durable, id, queue } => {
                    self.lives.get_mut(&(queue.0, id.0)).unwrap().removed = Some(commit);
                }
                Operation::Remove { id, queue, .. } => {
                    self.overflow.remove(&(queue.0, id.0));
                }
                Operation::Topology(change) => {
                    match change {
                        TopologyChange::QueueDeclared(queue) => {
                            self.queues.insert(queue.id.0);
                        }
                        TopologyChange::QueueDeleted(queue) => {
                            self.queues.remove(&queue.0);
                            self.deleted.insert(queue.0, commit);
                            self.overflow.retain(|(of, _)| *of != queue.0);
                        }
                        _ => {}
                    }
                    self.topology.apply(change);
                }
            }
        }
        self.topologies.push(self.topology.declarations().collect());
    }

    /// What is in the queues when all is done.
    pub(super) fn held(&self) -> Vec<(u64, u64)> {
        let held = |(key, life): (&(u64, u64), &Life)| {
            (life.removed.is_none() && !self.deleted.contains_key(&key.0)).then_some(*key)
        };
        self.lives.iter().filter_map(held).collect()
    }

    /// Checks what was found after a crash; `ended` when everything was written orderly before.
    pub(super) fn check(&self, recovered: &Recovered, crash: Crash, ended: bool) {
        let found: BTreeSet<(u64, u64)> =
            ids(recovered).into_iter().flat_map(|(queue, ids)| ids.into_iter().map(move |id| (queue, id))).collect();
        let submitted = self.topologies.len() as u64 - 1;
        let committed = if ended { submitted } else { self.committed };
        let synced = if ended || crash == Crash::Process { committed } else { self.synced };
        let allowed = &self.topologies[committed as usize..];
        assert!(allowed.contains(&recovered.topology), "topology {:?} is none of {allowed:#?}", recovered.topology);
        for (queue, id) in &found {
            let life = self.lives.get(&(*queue, *id));
            let life = life.unwrap_or_else(|| panic!("unexpected: message {id} in queue {queue}"));
            let gone = life.removed.is_some_and(|removed| removed <= synced);
            assert!(!gone, "recovered although removed: message {id} in queue {queue}, {life:?}, synced {synced}");
            let gone = self.deleted.get(queue).is_some_and(|deleted| *deleted <= committed);
            assert!(!gone, "recovered although the queue is gone: message {id} in queue {queue}");
        }
        for ((queue, id), life) in &self.lives {
            let must = life.put <= committed && life.removed.is_none() && !self.deleted.contains_key(queue);
            assert!(!must || found.contains(&(*queue, *id)), "lost: message {id} in queue {queue}, {life:?}");
        }
        self.check_atomic(&found, committed);
        for (_, entries) in &recovered.entries {
            assert!(entries.is_sorted_by(|a, b| a.id < b.id));
            for entry in entries {
                let message = &self.contents[&entry.id.0];
                assert_eq!(entry.weight as usize, message.weight());
                assert_eq!(entry.body as usize, message.content.body().len());
                assert_eq!((entry.published_at, entry.expires_at), (message.published_at, message.expires_at));
                assert_eq!(entry.priority, message.priority);
                assert!(entry.redelivered || ended);
            }
        }
        assert!(recovered.last_message >= self.last_seen, "ids would be used twice");
        assert!(found.iter().all(|(_, id)| *id <= recovered.last_message));
    }

    /// What is not committed is there commit by commit, each as a whole.
    fn check_atomic(&self, found: &BTreeSet<(u64, u64)>, committed: u64) {
        let mut there = BTreeMap::new();
        for ((queue, id), life) in &self.lives {
            if life.put > committed && life.removed.is_none() && !self.deleted.contains_key(queue) {
                let is_there = found.contains(&(*queue, *id));
                assert_eq!(*there.entry(life.put).or_insert(is_there), is_there, "commit {} is torn", life.put);
            }
        }
        assert!(there.values().is_sorted_by(|a, b| a >= b), "a commit was skipped: {there:?}");
        for (key, life) in &self.lives {
            let Some(removed) = life.removed.filter(|removed| *removed > committed) else { continue };
            if life.put > committed || self.deleted.contains_key(&key.0) {
                continue;
            }
            if let Some(is_there) = there.get(&removed) {
                assert_ne!(*is_there, found.contains(key), "commit {removed} is torn at {key:?}");
            }
        }
    }

    /// Something an engine may hand over now.
    pub(super) fn operations(&mut self, random: &mut Random) -> Vec<Operation> {
        let queues: Vec<u64> = self.queues.iter().copied().collect();
        if queues.is_empty() || random.below(12) == 0 {
            return vec![self.topology_change(&queues, random)];
        }
        let held = self.held();
        let overflow: Vec<(u64, u64)> = self.overflow.iter().copied().collect();
        let mut operations: Vec<Operation> = Vec::new();
        for _ in 0..=random.below(4) {
            let log = if random.below(5) == 0 { Log::Overflow } else { Log::Durable };
            let candidates = if log == Log::Durable { &held } else { &overflow };
            // Sometimes from the front, as consumers do, sometimes from anywhere.
            let taken = match (candidates.len() as u64, random.below(3)) {
                (0, _) => None,
                (_, 0) => candidates.first(),
                (count, _) => candidates.get(random.below(count) as usize),
            };
            if let (Some((queue, id)), true) = (taken, random.below(5) < 2) {
                let again = operations.iter().any(|operation| {
                    matches!(operation, Operation::Remove { log: of, id: removed, queue: from }
                        if *of == log && removed.0 == *id && from.0 == *queue)
                });
                if !again {
                    operations.push(remove(log, *id, *queue));
                }
                continue;
            }
            self.next_message += 1;
            let first = random.below(queues.len() as u64) as usize;
            let count = 1 + random.below(3) as usize;
            let holders: Vec<u64> = queues.iter().cycle().skip(first).take(count.min(queues.len())).copied().collect();
            let octets = if random.below(20) == 0 { 12_000 } else { random.below(1500) };
            operations.push(put(log, self.next_message, &holders, octets as usize));
        }
        operations
    }

    fn topology_change(&mut self, queues: &[u64], random: &mut Random) -> Operation {
        let exchange: Arc<str> = format!("exchange-{}", random.below(3)).into();
        let vhost: Arc<str> = "/".into();
        Operation::Topology(match random.below(6) {
            0 if queues.len() > 2 => TopologyChange::QueueDeleted(QueueId(queues[random.below(3) as usize])),
            1 => TopologyChange::ExchangeDeclared(StoredExchange {
                vhost,
                name: exchange,
                kind: "direct".into(),
                auto_delete: false,
                internal: false,
                arguments: Default::default(),
            }),
            2 => TopologyChange::ExchangeDeleted { vhost, name: exchange },
            kind @ 3..=4 if !queues.is_empty() => {
                let binding = StoredBinding {
                    vhost,
                    source: exchange,
                    destination: StoredDestination::Queue(QueueId(queues[0])),
                    key: format!("key-{}", random.below(2)).into(),
                    arguments: Default::default(),
                };
                if kind == 3 { TopologyChange::Bound(binding) } else { TopologyChange::Unbound(binding) }
            }
            _ => {
                self.next_queue += 1;
                let Operation::Topology(change) = queue(self.next_queue) else { unreachable!() };
                change
            }
        })
    }
}
