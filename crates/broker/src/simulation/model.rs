//! What clients may rely on, whatever happens in between.
//!
//! Follows single messages from queue to queue by what was sent and heard. Does not know the engine or the store.

use std::collections::{BTreeMap, BTreeSet};

/// The queue for dead letters.
pub(super) const DEAD: &str = "dead";

/// What a queue may do with messages by itself.
#[derive(Clone, Debug, Default)]
pub(super) struct Rules {
    pub(super) durable: bool,
    pub(super) ttl: Option<u64>,
    pub(super) max_length: Option<u64>,
    pub(super) refuses: bool,
    pub(super) dead_letters: bool,
    pub(super) max_priority: u8,
    pub(super) delivery_limit: Option<u16>,
}

#[derive(Clone, Debug)]
pub(super) struct Queue {
    pub(super) rules: Rules,
    /// Whether the declaration, or the deletion, was answered.
    pub(super) answered: bool,
    pub(super) deleted: bool,
    /// Whether it is bound to the exchange, and whether that was answered.
    pub(super) bound: bool,
    pub(super) bound_answered: bool,
}

/// A message in a queue; dead letters also have the queue they died in, so that this is never twice.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Copy {
    pub(super) queue: String,
    pub(super) message: u64,
    pub(super) origin: String,
}

#[derive(Clone, Debug)]
pub(super) struct Published {
    pub(super) persistent: bool,
    pub(super) priority: u8,
    pub(super) expires_at: Option<u64>,
    pub(super) at: u64,
    /// Where it went; nowhere if it was rolled back.
    pub(super) routes: Vec<String>,
    /// Where it went too, unless a deletion was carried out before.
    pub(super) maybe: Vec<String>,
    /// Its place among all that were accepted.
    pub(super) order: u64,
    pub(super) confirmed: bool,
    /// Whether a queue turned it away, or may have.
    pub(super) refused: bool,
}

#[derive(Default)]
pub(super) struct Model {
    pub(super) queues: BTreeMap<String, Queue>,
    /// Queues that have or had dead letters.
    mortal: BTreeSet<String>,
    /// Since the last start.
    pub(super) messages: BTreeMap<u64, Published>,
    /// Of those before.
    old: BTreeMap<u64, Published>,
    /// What there was of `old` at the last start.
    survivors: BTreeSet<Copy>,
    /// Settled by a client, and of those the ones whose settlement is on the disk.
    gone: BTreeSet<Copy>,
    fresh_gone: Vec<Copy>,
    surely_gone: BTreeSet<Copy>,
    delivered: BTreeSet<Copy>,
    /// With clients.
    held: BTreeSet<Copy>,
    /// The order of the last first delivery, by queue and level.
    last_first: BTreeMap<(String, u8), u64>,
}

impl Model {
    pub(super) fn queues_that(&self, have: impl Fn(&Queue) -> bool) -> Vec<String> {
        self.queues.iter().filter(|(_, queue)| have(queue)).map(|(name, _)| name.clone()).collect()
    }

    pub(super) fn alive(&self) -> Vec<String> {
        self.queues_that(|queue| !queue.deleted)
    }

    fn published(&self, message: u64) -> Option<&Published> {
        self.messages.get(&message).or_else(|| self.old.get(&message))
    }

    pub(super) fn declared(&mut self, name: String, rules: Rules) {
        if rules.dead_letters {
            self.mortal.insert(name.clone());
        }
        let queue = Queue { rules, answered: false, deleted: false, bound: false, bound_answered: true };
        self.queues.insert(name, queue);
    }

    fn dead_letters(&self, queue: &str) -> bool {
        self.mortal.contains(queue)
    }

    /// The dead letter a copy may become.
    fn letter(&self, copy: &Copy) -> Option<Copy> {
        let dies = self.dead_letters(&copy.queue);
        dies.then(|| Copy { queue: DEAD.to_owned(), message: copy.message, origin: copy.queue.clone() })
    }

    /// Whether a copy may be somewhere at all.
    fn may_be(&self, copy: &Copy) -> bool {
        let first = |queue: &str| match self.messages.get(&copy.message) {
            Some(published) => published.routes.iter().chain(&published.maybe).any(|route| route == queue),
            None => {
                self.survivors.contains(&Copy { queue: queue.to_owned(), message: copy.message, origin: String::new() })
            }
        };
        if copy.origin.is_empty() {
            first(&copy.queue)
        } else {
            self.survivors.contains(copy) || (self.dead_letters(&copy.origin) && first(&copy.origin))
        }
    }

    /// Whether a queue may have dropped a copy by its own rules.
    fn may_vanish(&self, copy: &Copy, now: u64) -> bool {
        let (Some(queue), Some(published)) = (self.queues.get(&copy.queue), self.published(copy.message)) else {
            return true;
        };
        let expired = |at: u64| at <= now;
        let rules = &queue.rules;
        let own_expiry = copy.origin.is_empty() && published.expires_at.is_some_and(expired);
        let by_rule = rules.ttl.is_some_and(|ttl| expired(published.at + ttl))
            || (rules.max_length.is_some() && !rules.refuses)
            || (rules.delivery_limit.is_some() && self.delivered.contains(copy));
        (own_expiry || by_rule) && !rules.dead_letters
    }

    /// Nothing is lost: `there` is all there is.
    pub(super) fn check_nothing_lost(&self, there: &BTreeSet<Copy>, now: u64) {
        let confirmed = self.messages.iter().filter(|(_, published)| published.confirmed && published.persistent);
        let confirmed = confirmed.flat_map(|(id, published)| {
            let copy = |queue: &String| Copy { queue: queue.clone(), message: *id, origin: String::new() };
            published.routes.iter().map(copy)
        });
        for copy in confirmed.chain(self.survivors.iter().cloned()) {
            let Some(queue) = self.queues.get(&copy.queue).filter(|queue| !queue.deleted) else { continue };
            if !queue.rules.durable || self.may_vanish(&copy, now) {
                continue;
            }
            let is_known = |copy: &Copy| there.contains(copy) || self.gone.contains(copy);
            let known = is_known(&copy) || self.letter(&copy).is_some_and(|letter| is_known(&letter));
            assert!(known, "lost: {copy:?} of {:?} in {queue:?}", self.published(copy.message));
        }
    }

    /// A message arrived at a client; which copy it is.
    pub(super) fn delivery(&mut self, copy: &Copy, redelivered: bool, now: u64) {
        assert!(self.may_be(copy), "unexpected: {copy:?}");
        assert!(!self.gone.contains(copy), "delivered after it was settled: {copy:?}");
        assert!(self.held.insert(copy.clone()), "delivered to two at once: {copy:?}");
        assert_eq!(redelivered, !self.delivered.insert(copy.clone()), "redelivered flag of {copy:?} at {now}");
        let Some(published) = self.published(copy.message).filter(|_| copy.queue != DEAD) else { return };
        let rules = &self.queues[&copy.queue].rules;
        let (level, order) = (published.priority.min(rules.max_priority), published.order);
        // What was dropped, and no dead letter yet when the broker ended, is back at its place after others went past it.
        let is_back = rules.dead_letters && self.survivors.contains(copy);
        if !redelivered && !is_back {
            let last = self.last_first.insert((copy.queue.clone(), level), order).unwrap_or(0);
            assert!(last < order, "{copy:?} came after a later one");
        }
    }

    /// The broker has taken responsibility for a message, or it has not for all of its queues.
    pub(super) fn confirm(&mut self, message: u64, accepted: bool) {
        if let Some(published) = self.messages.get_mut(&message) {
            (published.confirmed, published.refused) = (accepted, !accepted);
        }
    }

    /// A client has settled a delivery; with `rejected` it may become a dead letter.
    pub(super) fn settled(&mut self, copy: Copy, rejected: bool) {
        self.held.remove(&copy);
        if rejected && self.letter(&copy).is_some() {
            return;
        }
        self.fresh_gone.push(copy.clone());
        self.gone.insert(copy);
    }

    pub(super) fn returned(&mut self, copy: &Copy) {
        self.held.remove(copy);
    }

    /// All that was decided is on the disk.
    pub(super) fn synced(&mut self) {
        self.surely_gone.extend(self.fresh_gone.drain(..));
    }

    /// All that was accepted counts as confirmed: the broker has ended in order.
    pub(super) fn closed(&mut self) {
        self.messages.values_mut().for_each(|published| published.confirmed |= !published.refused);
    }

    /// Checks what was found after the end, and begins anew from it. `marks` is whether it is known exactly what was
    /// delivered.
    pub(super) fn restart(&mut self, found: Vec<(Copy, bool)>, there: &BTreeMap<String, bool>, marks: bool, now: u64) {
        let copies: BTreeSet<Copy> = found.iter().map(|(copy, _)| copy.clone()).collect();
        assert_eq!(copies.len(), found.len(), "the same message twice in a queue");
        for (copy, redelivered) in &found {
            assert!(self.may_be(copy), "unexpected: {copy:?}");
            assert!(self.published(copy.message).is_some_and(|published| published.persistent), "transient: {copy:?}");
            assert!(!self.surely_gone.contains(copy), "settled for good and back: {copy:?}");
            let both = self.letter(copy).is_some_and(|letter| copies.contains(&letter));
            assert!(!both, "both a message and its dead letter: {copy:?}");
            let before = !marks || self.delivered.contains(copy);
            assert_eq!(
                *redelivered,
                before,
                "delivered before? {copy:?}, marks {marks}, {:?}",
                self.queues.get(&copy.queue)
            );
        }
        // Before the topology is: a queue whose deletion was asked for and not answered may be there still, and empty.
        self.check_nothing_lost(&copies, now);
        self.check_topology(there);
        // What comes back can die once more, as if it were for the first time.
        let again: BTreeSet<Copy> = copies.iter().filter_map(|copy| self.letter(copy)).collect();
        self.gone.retain(|copy| !copies.contains(copy) && !again.contains(copy));
        self.surely_gone.retain(|copy| !again.contains(copy));
        self.fresh_gone.clear();
        self.delivered.retain(|copy| copies.contains(copy));
        if !marks {
            self.delivered.extend(copies.iter().cloned());
        }
        self.held.clear();
        self.old.append(&mut self.messages);
        self.old.retain(|id, _| copies.iter().any(|copy| copy.message == *id));
        self.survivors = copies;
    }

    /// What was answered is there; `there` has the names of all queues and whether they are bound.
    fn check_topology(&mut self, there: &BTreeMap<String, bool>) {
        for (name, queue) in &mut self.queues {
            match there.get(name) {
                None => {
                    let may_go = !queue.rules.durable || queue.deleted || !queue.answered;
                    assert!(may_go, "lost: queue {name} {queue:?}");
                    queue.deleted = true;
                }
                Some(bound) => {
                    assert!(queue.rules.durable, "transient: queue {name}");
                    assert!(!(queue.deleted && queue.answered), "deleted and back: queue {name}");
                    assert!(*bound == queue.bound || !queue.bound_answered, "binding of {name}: {bound}, {queue:?}");
                    (queue.deleted, queue.answered) = (false, true);
                    (queue.bound, queue.bound_answered) = (*bound, true);
                }
            }
        }
        self.queues.retain(|_, queue| !queue.deleted);
        assert_eq!(there.len(), self.queues.len(), "unexpected queue: {there:?}");
    }
}
