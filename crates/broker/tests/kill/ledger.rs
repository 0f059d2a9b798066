//! What was published, confirmed, delivered and settled, over all lives of the broker, and what must never be.
//!
//! Knows no connection: clients say what they saw, in the order in which they saw it.

use std::collections::HashMap;

use super::lanes::{PUBLISHERS, Publisher, Queue, read_body};

/// Faults that are kept in full; a broken broker makes millions.
const FAULTS_KEPT: usize = 20;

/// What became of one message in one queue.
#[derive(Clone, Copy, Default)]
struct Seen {
    /// The life in which it was delivered last, counted from 1; 0 is never.
    life: u32,
    /// A transaction that acknowledged it was committed.
    settled: bool,
}

/// One publisher's messages in one queue.
#[derive(Default)]
struct Arrivals {
    seen: Vec<Seen>,
    /// One more than the greatest number that was delivered for the first time.
    first: u64,
    /// The same for the life that goes on, whether for the first time or not.
    in_life: u64,
}

#[derive(Default)]
pub(crate) struct Counts {
    pub(crate) published: u64,
    pub(crate) confirmed: u64,
    pub(crate) refused: u64,
    pub(crate) transactions: u64,
    pub(crate) delivered: u64,
    pub(crate) duplicated: u64,
    pub(crate) acknowledged: u64,
    pub(crate) settled: u64,
    pub(crate) rejected: u64,
    pub(crate) unexpected: u64,
    pub(crate) out_of_order: u64,
    pub(crate) lost: u64,
    pub(crate) hanging: u64,
}

#[derive(Default)]
pub(crate) struct Ledger {
    life: u32,
    /// For each publisher, whether its messages were confirmed.
    published: HashMap<Publisher, Vec<bool>>,
    arrivals: HashMap<(Queue, Publisher), Arrivals>,
    pub(crate) counts: Counts,
    pub(crate) faults: Vec<String>,
}

impl Ledger {
    /// The broker was started.
    pub(crate) fn begin_life(&mut self) {
        self.life += 1;
        self.arrivals.values_mut().for_each(|arrivals| arrivals.in_life = 0);
    }

    pub(crate) fn fault(&mut self, fault: String) {
        if self.faults.len() < FAULTS_KEPT {
            self.faults.push(format!("life {}: {fault}", self.life));
        }
    }

    /// The number of a message that is about to be published.
    pub(crate) fn publish(&mut self, publisher: Publisher) -> u64 {
        self.counts.published += 1;
        let published = self.published.entry(publisher).or_default();
        published.push(false);
        published.len() as u64 - 1
    }

    pub(crate) fn confirm(&mut self, publisher: Publisher, number: u64) {
        let known = self.published.get_mut(&publisher).and_then(|all| all.get_mut(number as usize));
        if let Some(confirmed) = known {
            self.counts.confirmed += u64::from(!*confirmed);
            *confirmed = true;
        }
    }

    /// Takes note of a delivery; which message it is.
    pub(crate) fn deliver(&mut self, queue: Queue, body: &[u8], redelivered: bool) -> Option<(Publisher, u64)> {
        self.counts.delivered += 1;
        let known = read_body(body).filter(|(publisher, number)| {
            let published = self.published.get(publisher).map_or(0, |all| all.len() as u64);
            *number < published && publisher.may_reach(queue)
        });
        let Some((publisher, number)) = known else {
            self.counts.unexpected += 1;
            self.fault(format!("{queue:?} delivered {} octets that nobody published to it", body.len()));
            return None;
        };
        let life = self.life;
        let arrivals = self.arrivals.entry((queue, publisher)).or_default();
        let at = number as usize;
        if arrivals.seen.len() <= at {
            arrivals.seen.resize(at + 1, Seen::default());
        }
        let before = arrivals.seen[at];
        arrivals.seen[at].life = life;
        // A message that became a dead letter and was delivered as such before that was stored does so again, as a new
        // one, when the broker was killed in between.
        let anew = queue == Queue::DeadLetters && before.life != life;
        let unmarked = before.life != 0 && !redelivered && !anew;
        let first_out_of_order = before.life == 0 && number < arrivals.first;
        let out_of_order = publisher.is_ordered() && (first_out_of_order || number < arrivals.in_life);
        arrivals.first = arrivals.first.max(number + 1);
        arrivals.in_life = arrivals.in_life.max(number + 1);
        let what = format!("message {number} of {publisher:?} in {queue:?}");
        self.counts.duplicated += u64::from(before.life != 0);
        if before.settled {
            self.counts.unexpected += 1;
            self.fault(format!("{what} was delivered after a committed transaction had acknowledged it"));
        }
        if unmarked {
            self.counts.unexpected += 1;
            self.fault(format!("{what} was delivered again without the redelivered flag"));
        }
        if out_of_order {
            self.counts.out_of_order += 1;
            self.fault(format!("{what} was delivered after a later one"));
        }
        Some((publisher, number))
    }

    /// A transaction that acknowledged the message is known to be committed.
    pub(crate) fn settle(&mut self, queue: Queue, publisher: Publisher, number: u64) {
        let arrivals = self.arrivals.get_mut(&(queue, publisher));
        if let Some(seen) = arrivals.and_then(|arrivals| arrivals.seen.get_mut(number as usize)) {
            self.counts.settled += u64::from(!seen.settled);
            seen.settled = true;
        }
    }

    /// Once everything was delivered: finds the confirmed messages that were not.
    pub(crate) fn find_lost(&mut self) {
        let mut lost = Vec::new();
        for publisher in PUBLISHERS {
            let published = self.published.get(&publisher).map_or(&[][..], Vec::as_slice);
            for queue in publisher.must_reach() {
                let seen = self.arrivals.get(&(*queue, publisher)).map_or(&[][..], |arrivals| &arrivals.seen);
                let confirmed = published.iter().enumerate().filter(|(_, confirmed)| **confirmed);
                let missing = confirmed.filter(|(at, _)| seen.get(*at).is_none_or(|seen| seen.life == 0));
                lost.extend(missing.map(|(number, _)| (publisher, *queue, number)));
            }
        }
        self.counts.lost = lost.len() as u64;
        for (publisher, queue, number) in lost {
            self.fault(format!("message {number} of {publisher:?} was confirmed and never came out of {queue:?}"));
        }
    }

    /// Messages of which it is not known whether they were stored.
    pub(crate) fn in_doubt(&self) -> u64 {
        self.counts.published - self.counts.confirmed
    }
}
