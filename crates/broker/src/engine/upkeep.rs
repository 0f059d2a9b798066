//! What queues need without anyone asking: messages that expire or have no room are dropped or dead-lettered, queues
//! that nobody uses end, and what was purged is let go of.
//!
//! All of it in turns of bounded length: what is left over is done in the next one, which is due at once. Does not know
//! what a dead letter looks like (`dead_letter`).

use std::collections::VecDeque;

use amq_protocol::protocol::AMQPClass;

use super::dead_letter::Reason;
use super::entry::Entry;
use super::queue_arguments::Overflow;
use super::timers::{Timer, Timers};
use super::{ChannelKey, Command, Engine};
use crate::identity::{MessageId, QueueId, Timestamp};

/// Messages dropped or dead-lettered between two batches of commands: a few milliseconds of work, so that a million
/// messages that expire at once hold nobody up.
pub(super) const TURN_MESSAGES: usize = 2_000;

/// Octets of a dead letter, which is a copy, that count for as much work as a message: 8 MiB are a turn.
const WORK_BYTES: usize = 4096;

/// What is to be done for one queue.
#[derive(Debug)]
pub(super) struct Upkeep {
    /// Messages that have left the queue and become dead letters in this order, each as soon as its content is in
    /// memory. Until then they are neither ready nor unacknowledged, and still stored.
    pub(super) dying: Dying,
    /// When its timer for expiring messages is set, or [`Entry::NEVER`].
    message_timer: Timestamp,
    /// Since when it may be unused; not known yet after a restart.
    unused_since: Option<Timestamp>,
    /// Whether its timer for being unused is set.
    watched: bool,
    /// Whether it is in the list of queues to look after.
    due: bool,
    /// Whether it is to be removed once nothing of it is left to become a dead letter.
    abandoned: bool,
}

impl Default for Upkeep {
    fn default() -> Self {
        Self {
            dying: Dying::default(),
            message_timer: Entry::NEVER,
            unused_since: None,
            watched: false,
            due: false,
            abandoned: false,
        }
    }
}

/// Messages that are to become dead letters, in this order.
#[derive(Debug, Default)]
pub(super) struct Dying(VecDeque<(Entry, Reason)>);

impl Dying {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Entry> {
        self.0.iter().map(|(entry, _)| entry)
    }

    /// A message by its id. Looks from the front, where those are that are waited for.
    pub(super) fn find(&mut self, id: MessageId) -> Option<&mut Entry> {
        self.0.iter_mut().map(|(entry, _)| entry).find(|entry| entry.id == id)
    }

    /// Takes out a message by its id.
    pub(super) fn remove(&mut self, id: MessageId) -> Option<Entry> {
        let at = self.0.iter().position(|(entry, _)| entry.id == id)?;
        self.0.remove(at).map(|(entry, _)| entry)
    }
}

/// Messages that a queue no longer has and that are being let go of.
#[derive(Debug)]
struct Discard {
    queue: QueueId,
    entries: VecDeque<Entry>,
    /// Who is told when it is done.
    answer: Option<(ChannelKey, AMQPClass)>,
}

/// What is to be done for all queues.
#[derive(Debug)]
pub(super) struct Chores {
    due: VecDeque<QueueId>,
    timers: Timers,
    discards: VecDeque<Discard>,
    /// Messages that may still be dropped in this turn.
    left: usize,
}

impl Default for Chores {
    fn default() -> Self {
        Self { due: VecDeque::new(), timers: Timers::default(), discards: VecDeque::new(), left: TURN_MESSAGES }
    }
}

impl Chores {
    /// A new turn begins.
    pub(super) fn next_turn(&mut self) {
        self.left = TURN_MESSAGES;
    }

    /// When the engine has something to do although no command comes.
    pub(super) fn deadline(&self, now: Timestamp) -> Option<Timestamp> {
        if self.due.is_empty() && self.discards.is_empty() { self.timers.next() } else { Some(now) }
    }
}

impl Engine {
    /// Does what is due by now.
    pub(super) fn fire_timers(&mut self) {
        while let Some((id, timer)) = self.chores.timers.take_due(self.now) {
            let Some(queue) = self.queues.get_mut(&id) else { continue };
            match timer {
                Timer::Message => {
                    queue.upkeep.message_timer = Entry::NEVER;
                    self.look_after(id);
                }
                Timer::Queue => self.end_if_unused(id),
            }
        }
    }

    /// Looks after queues and carries out commands that waited for it, as far as this turn goes.
    pub(super) fn settle_down(&mut self) {
        loop {
            while self.chores.left > 0
                && let Some(id) = self.chores.due.pop_front()
            {
                self.tend(id);
            }
            self.discard_more();
            if self.resumable.is_empty() {
                return;
            }
            self.resume_deferred();
        }
    }

    /// Notes that there is something to do for a queue.
    pub(super) fn look_after(&mut self, id: QueueId) {
        if let Some(queue) = self.queues.get_mut(&id)
            && !std::mem::replace(&mut queue.upkeep.due, true)
        {
            self.chores.due.push_back(id);
        }
    }

    /// Drops and dead-letters what must go from a queue.
    fn tend(&mut self, id: QueueId) {
        if let Some(queue) = self.queues.get_mut(&id) {
            queue.upkeep.due = false;
        }
        while self.chores.left > 0 {
            let Some(queue) = self.queues.get_mut(&id) else { return };
            let Some((entry, reason)) = queue.pop_to_go(self.now) else { break };
            self.chores.left -= 1;
            self.bury(id, entry, reason);
        }
        self.bury_more(id);
        if self.chores.left == 0 {
            self.look_after(id);
            return;
        }
        self.watch_expiry(id);
        let Some(queue) = self.queues.get_mut(&id) else { return };
        // Otherwise they go on when the disk has answered.
        if !queue.loading {
            self.resumable.append(&mut queue.waiting);
        }
        if queue.upkeep.abandoned && queue.upkeep.dying.is_empty() {
            self.remove_queue(id);
        } else {
            self.pump(id);
        }
    }

    /// A message has left a queue for this reason: it becomes a dead letter if the queue wants that, and ends
    /// otherwise.
    pub(super) fn bury(&mut self, id: QueueId, mut entry: Entry, reason: Reason) {
        if matches!(reason, Reason::Rejected | Reason::DeliveryLimit) {
            // It was given out. Should the broker end before it is a dead letter, it is found again and must say so.
            entry.returned = entry.returned.max(1);
        }
        match self.queues.get_mut(&id).filter(|queue| queue.settings.dead_letter.is_some()) {
            Some(queue) => {
                queue.upkeep.dying.0.push_back((entry, reason));
                self.look_after(id);
            }
            None => self.release(id, &entry),
        }
    }

    /// Makes dead letters as long as their content is in memory, and asks for more.
    fn bury_more(&mut self, id: QueueId) {
        while self.chores.left > 0 {
            let Some(queue) = self.queues.get_mut(&id) else { return };
            let in_memory = |(entry, _): &mut (Entry, Reason)| entry.message.is_some();
            let Some((entry, reason)) = queue.upkeep.dying.0.pop_front_if(in_memory) else { break };
            self.release(id, &entry);
            if let Some(message) = &entry.message {
                let work = 1 + message.content.len() / WORK_BYTES;
                self.chores.left = self.chores.left.saturating_sub(work);
                self.dead_letter(id, message, reason);
            }
        }
        if self.queues.get(&id).is_some_and(|queue| queue.upkeep.dying.iter().next().is_some_and(Entry::is_on_disk)) {
            self.load(id);
        }
    }

    /// Makes sure that the next message that expires is noticed.
    pub(super) fn watch_expiry(&mut self, id: QueueId) {
        let Some(queue) = self.queues.get_mut(&id) else { return };
        let (next, set) = (queue.next_expiry(), queue.upkeep.message_timer);
        if next >= set {
            return;
        }
        if next <= self.now {
            self.look_after(id);
            return;
        }
        queue.upkeep.message_timer = next;
        self.chores.timers.cancel(set, id, Timer::Message);
        self.chores.timers.set(next, id, Timer::Message);
    }

    /// Notes that a queue is being used, or has just lost its last consumer.
    pub(super) fn touch(&mut self, id: QueueId) {
        let now = self.now;
        let Some(queue) = self.queues.get_mut(&id) else { return };
        let Some(expires) = queue.settings.expires else { return };
        queue.upkeep.unused_since = Some(now);
        if !std::mem::replace(&mut queue.upkeep.watched, true) {
            self.chores.timers.set(now.after(expires), id, Timer::Queue);
        }
    }

    /// Makes sure that a queue from before the restart is looked at when the time is known.
    pub(super) fn touch_restored(&mut self, id: QueueId) {
        if let Some(queue) = self.queues.get_mut(&id).filter(|queue| queue.settings.expires.is_some()) {
            queue.upkeep.watched = true;
            self.chores.timers.set(self.now, id, Timer::Queue);
        }
    }

    /// Removes a queue that has been unused for as long as it may; looks again later if not.
    fn end_if_unused(&mut self, id: QueueId) {
        let Some(queue) = self.queues.get_mut(&id) else { return };
        queue.upkeep.watched = false;
        let Some(expires) = queue.settings.expires.filter(|_| queue.consumers.is_empty()) else { return };
        match queue.upkeep.unused_since.map(|since| since.after(expires)) {
            None => self.touch(id),
            Some(end) if end <= self.now => {
                let (queue, vhost) = (queue.name.clone(), queue.vhost);
                if self.logs_topology() {
                    let vhost = &*self.vhosts[vhost.0].name;
                    tracing::info!(queue = &*queue, vhost, "a queue was unused for too long");
                }
                self.remove_queue(id);
            }
            Some(end) => {
                queue.upkeep.watched = true;
                self.chores.timers.set(end, id, Timer::Queue);
            }
        }
    }

    /// Puts off the removal of a queue until its messages that are to become dead letters have done so; `false` if
    /// there are none.
    pub(super) fn put_off_removal(&mut self, id: QueueId) -> bool {
        let Some(queue) = self.queues.get_mut(&id).filter(|queue| !queue.upkeep.dying.is_empty()) else {
            return false;
        };
        queue.upkeep.abandoned = true;
        self.look_after(id);
        true
    }

    /// Makes a channel wait until a queue has been looked after; the command is carried out again then.
    pub(super) fn wait_for_upkeep(&mut self, key: ChannelKey, id: QueueId, command: Command) {
        if let Some(queue) = self.queues.get_mut(&id) {
            queue.waiting.push(key);
            self.deferred.entry(key).or_default().push_front(command);
            self.look_after(id);
        }
    }

    /// Lets go of a message that a queue no longer has.
    pub(super) fn release(&mut self, id: QueueId, entry: &Entry) {
        self.entries -= 1;
        self.storage.remove(id, entry);
    }

    /// Lets go of messages that a queue no longer has. The answer goes out when that is done; if it takes longer than
    /// this turn, the channel waits for it.
    pub(super) fn discard(&mut self, id: QueueId, entries: VecDeque<Entry>, answer: Option<(ChannelKey, AMQPClass)>) {
        let key = answer.as_ref().map(|(key, _)| *key);
        self.chores.discards.push_back(Discard { queue: id, entries, answer });
        self.discard_more();
        if let Some(key) = key.filter(|_| !self.chores.discards.is_empty()) {
            self.deferred.entry(key).or_default();
        }
    }

    fn discard_more(&mut self) {
        while let Some(mut first) = self.chores.discards.pop_front() {
            while self.chores.left > 0
                && let Some(entry) = first.entries.pop_front()
            {
                self.chores.left -= 1;
                self.release(first.queue, &entry);
            }
            if !first.entries.is_empty() {
                self.chores.discards.push_front(first);
                return;
            }
            if let Some((key, method)) = first.answer {
                self.reply_stored_unless(false, key, method);
                self.resumable.push(key);
            }
        }
    }
}

impl super::queue::Queue {
    /// Takes a message that must go, and why.
    fn pop_to_go(&mut self, now: Timestamp) -> Option<(Entry, Reason)> {
        if let Some(entry) = self.pop_expired(now) {
            return Some((entry, Reason::Expired));
        }
        let too_many = self.settings.overflow == Overflow::DropHead && self.overflows();
        if too_many { self.pop_to_drop().map(|entry| (entry, Reason::MaxLength)) } else { None }
    }

    /// Whether a message expires before the timer that is set for it.
    pub(super) fn expires_unwatched(&self) -> bool {
        self.next_expiry() < self.upkeep.message_timer
    }
}
