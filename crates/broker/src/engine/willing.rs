//! The consumers of a queue that may be able to take a message, in the order of their turns.
//!
//! Those of a higher priority come first, and those of the same take turns. Does not know what a consumer is.

use std::collections::VecDeque;

use super::ConsumerId;

/// What a consumer asks for with `x-priority`; 0 unless it asks.
pub(super) type Priority = i64;

/// Consumers with their priorities, the highest in front.
#[derive(Debug, Default)]
pub(super) struct Willing(VecDeque<(Priority, ConsumerId)>);

impl Willing {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Takes out the one whose turn it is.
    pub(super) fn next(&mut self) -> Option<ConsumerId> {
        self.0.pop_front().map(|(_, id)| id)
    }

    /// Adds a consumer behind all others of its priority.
    pub(super) fn add(&mut self, priority: Priority, id: ConsumerId) {
        // At the end, unless priorities differ: nearly always.
        if self.0.back().is_none_or(|(last, _)| *last >= priority) {
            self.0.push_back((priority, id));
        } else {
            let at = self.0.partition_point(|(other, _)| *other >= priority);
            self.0.insert(at, (priority, id));
        }
    }

    pub(super) fn remove(&mut self, id: ConsumerId) {
        self.0.retain(|(_, other)| *other != id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn priorities_come_in_order_and_equals_take_turns() {
        let mut willing = Willing::default();
        for (id, priority) in [(1, 0), (2, 5), (3, 0), (4, -1), (5, 5)] {
            willing.add(priority, ConsumerId(id));
        }
        assert_eq!(willing.next(), Some(ConsumerId(2)));
        willing.add(5, ConsumerId(2));
        willing.remove(ConsumerId(3));
        let order: Vec<_> = std::iter::from_fn(|| willing.next()).map(|id| id.0).collect();
        assert_eq!(order, [5, 2, 1, 4]);
        assert!(willing.is_empty());
    }
}
