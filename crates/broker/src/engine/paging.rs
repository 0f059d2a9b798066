//! What leaves memory for the disk when messages pile up, and what comes back when its turn is near.
//!
//! The first messages of each queue stay, so that consumers find something at once. Does not know files.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::{ChannelKey, Command, CommitId, Effect, Engine};
use crate::exception::Exception;
use crate::identity::{MessageId, QueueId};
use crate::message::Message;

/// Octets read back at once, unless a single message is larger.
const READ_BYTES: usize = 1 << 20;
/// Commands kept of a channel that waits for the disk or for upkeep. A client that sends more meanwhile does not wait
/// for answers and is refused.
const DEFERRED_MAX: usize = 10_000;

impl Engine {
    /// Whether messages should rather be on disk only.
    pub(super) fn memory_is_short(&self) -> bool {
        self.storage.enabled() && self.resident.load(Ordering::Relaxed) > self.limits.resident_bytes
    }

    /// Drops from memory what a commit has made readable, as long as memory is short.
    pub(super) fn unload_committed(&mut self, commit: CommitId) {
        while let Some(leaving) = self.storage.take_leaving(commit) {
            if self.memory_is_short()
                && let Some(queue) = self.queues.get_mut(&leaving.queue)
            {
                queue.unload(leaving.id, leaving.level, self.limits.resident_head);
            }
        }
    }

    /// Asks for the next messages of a queue, unless that was done already.
    pub(super) fn load(&mut self, id: QueueId) {
        let Some(queue) = self.queues.get_mut(&id).filter(|queue| !queue.loading) else { return };
        let wanted = queue.missing(self.limits.resident_head, READ_BYTES);
        if !wanted.is_empty() {
            queue.loading = true;
            self.effects.push(Effect::Load { queue: id, wanted });
        }
    }

    /// Asks for the next messages early enough that consumers need not wait.
    pub(super) fn read_ahead(&mut self, id: QueueId) {
        let half = self.limits.resident_head / 2;
        if self.queues.get(&id).is_some_and(|queue| !queue.loading && queue.is_missing_at(half)) {
            self.load(id);
        }
    }

    pub(super) fn loaded(&mut self, id: QueueId, messages: Vec<(MessageId, Option<Arc<Message>>)>) {
        let Some(queue) = self.queues.get_mut(&id) else { return };
        queue.loading = false;
        for (message_id, message) in messages {
            match message {
                Some(message) => queue.loaded(message_id, message),
                // It stays on disk for whoever repairs it, and cannot be delivered now.
                None => self.entries -= usize::from(queue.remove(message_id).is_some()),
            }
        }
        self.resumable.append(&mut queue.waiting);
        self.look_after(id);
        self.pump(id);
    }

    /// Makes a channel wait until a queue's first message is in memory; the command is carried out again then.
    pub(super) fn wait_for_load(&mut self, key: ChannelKey, queue_id: QueueId, command: Command) {
        if let Some(queue) = self.queues.get_mut(&queue_id) {
            queue.waiting.push(key);
            self.deferred.entry(key).or_default().push_front(command);
            self.load(queue_id);
        }
    }

    /// Keeps a command of a channel that waits; gives it back when it is to be carried out now.
    pub(super) fn defer(&mut self, command: Command) -> Option<Command> {
        if self.deferred.is_empty() {
            return Some(command);
        }
        let key = match &command {
            Command::Method { channel, .. } | Command::Publish { channel, .. } | Command::Fault { channel, .. } => {
                *channel
            }
            _ => return Some(command),
        };
        let Some(waiting) = self.deferred.get_mut(&key) else { return Some(command) };
        if waiting.len() >= DEFERRED_MAX {
            waiting.clear();
            let exception = Exception::ResourceError("too many commands while an answer is due");
            return Some(Command::Fault { channel: key, exception, class_id: 60, method_id: 70 });
        }
        waiting.push_back(command);
        None
    }

    /// Carries out what had to wait and waits no longer, until it has to wait again.
    pub(super) fn resume_deferred(&mut self) {
        while let Some(key) = self.resumable.pop() {
            let mut waiting = self.deferred.remove(&key).unwrap_or_default();
            while let Some(command) = waiting.pop_front() {
                self.carry_out(command);
                if let Some(again) = self.deferred.get_mut(&key) {
                    again.append(&mut waiting);
                }
            }
        }
    }
}
