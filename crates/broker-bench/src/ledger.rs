//! Whether every message came once and in order. Does not know how messages travel.
//!
//! Each queue is a stream of its own, numbered from 0 by the publisher. A broker owes the one consumer of a queue all
//! of the stream in order, once, unless it says `redelivered`; in a run without faults nothing is redelivered.

use std::collections::BTreeSet;
use std::fmt;

/// Numbers kept as missing in all streams together; beyond it a number that comes late counts as a duplicate. By then
/// the run has failed anyway.
const MISSING_MAX: usize = 100_000;

/// What is wrong with a run; all zero when nothing is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Account {
    /// Published, never delivered.
    pub lost: u64,
    /// Delivered again, or never published.
    pub duplicated: u64,
    /// Delivered after a later one.
    pub reordered: u64,
}

impl Account {
    /// Whether every message came once and in order.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        *self == Self::default()
    }
}

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} lost, {} duplicated, {} out of order", self.lost, self.duplicated, self.reordered)
    }
}

/// The consumer's book over all streams.
#[derive(Debug, Clone)]
pub struct Ledger {
    /// The next number expected of each stream.
    next: Vec<u64>,
    missing: BTreeSet<(usize, u64)>,
    /// Gaps that did not fit `missing`.
    forgotten: u64,
    account: Account,
    delivered: u64,
}

impl Ledger {
    /// A book for so many streams, each expected to begin with 0.
    #[must_use]
    pub fn new(streams: usize) -> Self {
        let next = vec![0; streams];
        Self { next, missing: BTreeSet::new(), forgotten: 0, account: Account::default(), delivered: 0 }
    }

    /// Notes a delivery.
    pub fn delivered(&mut self, stream: usize, sequence: u64) {
        self.delivered += 1;
        match self.next.get_mut(stream) {
            Some(next) if *next == sequence => *next += 1,
            Some(next) if *next < sequence => {
                let gap = *next..sequence;
                *next = sequence + 1;
                for number in gap {
                    if self.missing.len() < MISSING_MAX {
                        self.missing.insert((stream, number));
                    } else {
                        self.forgotten += 1;
                    }
                }
            }
            Some(_) if self.missing.remove(&(stream, sequence)) => self.account.reordered += 1,
            _ => self.account.duplicated += 1,
        }
    }

    /// Deliveries noted, duplicates included.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.delivered
    }

    /// The account when `published` were published to each stream, as `of` says.
    #[must_use]
    pub fn close(self, of: impl Fn(usize) -> u64) -> Account {
        let mut account = self.account;
        account.lost += self.missing.len() as u64 + self.forgotten;
        for (stream, next) in self.next.iter().enumerate() {
            let published = of(stream);
            account.lost += published.saturating_sub(*next);
            account.duplicated += next.saturating_sub(published);
        }
        account
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn account(sequence: &[u64], published: u64) -> Account {
        let mut ledger = Ledger::new(1);
        sequence.iter().for_each(|number| ledger.delivered(0, *number));
        ledger.close(|_| published)
    }

    #[test]
    fn each_fault_is_told_apart() {
        assert!(account(&[0, 1, 2], 3).is_clean());
        assert_eq!(account(&[0, 2], 3), Account { lost: 1, ..Account::default() });
        assert_eq!(account(&[0, 1], 3), Account { lost: 1, ..Account::default() });
        assert_eq!(account(&[0, 1, 1, 2], 3), Account { duplicated: 1, ..Account::default() });
        assert_eq!(account(&[0, 2, 1], 3), Account { reordered: 1, ..Account::default() });
        assert_eq!(account(&[0, 1, 2, 3], 3), Account { duplicated: 1, ..Account::default() });
    }

    #[test]
    fn streams_are_apart_and_an_unknown_one_is_unexpected() {
        let mut ledger = Ledger::new(2);
        for (stream, number) in [(0, 0), (1, 0), (1, 1), (2, 0)] {
            ledger.delivered(stream, number);
        }
        assert_eq!(ledger.count(), 4);
        assert_eq!(ledger.close(|stream| stream as u64 + 1), Account { duplicated: 1, ..Account::default() });
    }

    proptest! {
        #[test]
        fn any_shuffle_loses_nothing(mut order in Just((0..50u64).collect::<Vec<_>>()).prop_shuffle(), drop in 0usize..50) {
            prop_assert_eq!(account(&order, 50).lost, 0);
            prop_assert_eq!(account(&order, 50).duplicated, 0);
            order.remove(drop);
            prop_assert_eq!(account(&order, 50).lost, 1);
        }
    }
}
