//! A store in memory, for tests of what the engine asks of one. Knows no test.

use std::collections::{BTreeMap, HashMap};

use super::*;
use crate::identity::MessageId;
use crate::store::{Operation, Recovered, RecoveredEntry, Report, TopologyChange};

/// A store that does at once what it is asked, and remembers what it holds.
#[derive(Default)]
pub(super) struct Disk {
    messages: HashMap<MessageId, Arc<Message>>,
    pub(super) held: Vec<(QueueId, MessageId)>,
    pub(super) changes: Vec<TopologyChange>,
}

impl Disk {
    /// Answers what was asked of the store until nothing more is; returns everything else.
    pub(super) fn serve(&mut self, bench: &mut Bench, effects: Vec<Effect>) -> Vec<Effect> {
        let mut others = Vec::new();
        let mut pending = effects;
        while !pending.is_empty() {
            for effect in std::mem::take(&mut pending) {
                let report = match effect {
                    Effect::Commit { commit, operations } => {
                        operations.into_iter().for_each(|operation| self.apply(operation));
                        Report::Committed(commit)
                    }
                    Effect::Load { queue, wanted } => {
                        let read = wanted.iter().map(|(_, id)| (*id, self.messages.get(id).map(copy))).collect();
                        Report::Loaded { queue, messages: read }
                    }
                    other => {
                        others.push(other);
                        continue;
                    }
                };
                pending.extend(bench.run(Command::Store(report)));
            }
        }
        others
    }

    /// What it would be opened with after a crash.
    pub(super) fn recovered(&self) -> Recovered {
        let mut entries: BTreeMap<QueueId, Vec<RecoveredEntry>> = BTreeMap::new();
        let mut held = self.held.clone();
        held.sort_unstable();
        for (queue, id) in held {
            let message = &self.messages[&id];
            entries.entry(queue).or_default().push(RecoveredEntry {
                id,
                weight: u32::try_from(message.weight()).unwrap(),
                body: u32::try_from(message.content.body().len()).unwrap(),
                published_at: message.published_at,
                expires_at: message.expires_at,
                priority: message.priority,
                redelivered: true,
            });
        }
        let (last_queue, last_message) = (1000, self.messages.keys().map(|id| id.0).max().unwrap_or(0));
        Recovered { topology: self.changes.clone(), entries: entries.into_iter().collect(), last_queue, last_message }
    }

    fn apply(&mut self, operation: Operation) {
        match operation {
            Operation::Put { id, queues, message, .. } => {
                self.messages.insert(id, copy(&message));
                self.held.extend(queues.iter().map(|queue| (*queue, id)));
            }
            Operation::Remove { id, queue, .. } => self.held.retain(|held| *held != (queue, id)),
            Operation::Topology(change) => self.changes.push(change),
        }
    }
}

/// As read from disk: not counted as being in memory.
fn copy(message: &Arc<Message>) -> Arc<Message> {
    Arc::new(message.with_content(message.content.clone(), Resident::default()))
}
