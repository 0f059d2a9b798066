//! Publisher confirms of a channel (RabbitMQ's extension `confirm.select`).
//!
//! Keeps which messages are settled and makes as few confirms of them as possible. Does not know why a message is
//! settled, or what a commit is.

use std::collections::VecDeque;

/// A confirm to send: tag, `multiple`, and whether it is an ack or a nack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Confirm {
    pub(super) delivery_tag: u64,
    pub(super) multiple: bool,
    pub(super) ack: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Waiting,
    Accepted,
    Refused,
    Told,
}

/// What a channel in confirm mode has published and not been told about.
#[derive(Debug, Default)]
pub(super) struct Confirms {
    /// The tag before the first in `pending`.
    told: u64,
    pending: VecDeque<State>,
    /// Settled and not told: the indices are those of `pending` at this moment, as none is removed in between.
    due: Vec<u64>,
}

impl Confirms {
    /// The tag of the next message, which is settled later.
    pub(super) fn publish(&mut self) -> u64 {
        self.pending.push_back(State::Waiting);
        self.told + self.pending.len() as u64
    }

    /// The broker has taken responsibility for a message (`accepted`), or it has not.
    pub(super) fn settle(&mut self, tag: u64, accepted: bool) {
        let Some(at) = tag.checked_sub(self.told + 1) else { return };
        if let Some(state @ State::Waiting) = usize::try_from(at).ok().and_then(|at| self.pending.get_mut(at)) {
            *state = if accepted { State::Accepted } else { State::Refused };
            self.due.push(tag);
        }
    }

    /// The confirms that are due, in the order of their tags: one for all at the front that were accepted, and
    /// one each for others, so that no message waits for another one's disk.
    pub(super) fn take_due(&mut self) -> Vec<Confirm> {
        if self.due.is_empty() {
            return Vec::new();
        }
        let mut confirms = Vec::new();
        let prefix = self.pending.iter().take_while(|state| matches!(state, State::Accepted | State::Told)).count();
        let last = self.told + prefix as u64;
        let fresh = self.pending.drain(..prefix).filter(|state| *state == State::Accepted).count();
        self.told = last;
        if fresh > 0 {
            confirms.push(Confirm { delivery_tag: last, multiple: prefix > 1, ack: true });
        }
        let mut due = std::mem::take(&mut self.due);
        due.retain(|tag| *tag > last);
        due.sort_unstable();
        for tag in due {
            let state = &mut self.pending[(tag - last - 1) as usize];
            confirms.push(Confirm { delivery_tag: tag, multiple: false, ack: *state == State::Accepted });
            *state = State::Told;
        }
        while self.pending.front() == Some(&State::Told) {
            self.pending.pop_front();
            self.told += 1;
        }
        confirms
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ack(delivery_tag: u64, multiple: bool) -> Confirm {
        Confirm { delivery_tag, multiple, ack: true }
    }

    fn published(count: u64) -> Confirms {
        let mut confirms = Confirms::default();
        (0..count).for_each(|at| assert_eq!(confirms.publish(), at + 1));
        confirms
    }

    #[test]
    fn confirms_in_order_are_batched() {
        let mut confirms = published(3);
        assert_eq!(confirms.take_due(), []);
        confirms.settle(1, true);
        assert_eq!(confirms.take_due(), [ack(1, false)]);
        confirms.settle(2, true);
        confirms.settle(3, true);
        assert_eq!((confirms.take_due(), confirms.take_due()), (vec![ack(3, true)], vec![]));
    }

    #[test]
    fn a_message_does_not_wait_for_one_before_it() {
        let mut confirms = published(4);
        confirms.settle(3, true);
        confirms.settle(2, false);
        let nack = Confirm { delivery_tag: 2, multiple: false, ack: false };
        assert_eq!(confirms.take_due(), [nack, ack(3, false)]);
        confirms.settle(1, true);
        confirms.settle(4, true);
        // Tags 2 and 3 were told; "all up to 4" includes them, which means nothing new to a client.
        assert_eq!(confirms.take_due(), [ack(4, true)]);
    }

    proptest! {
        #[test]
        fn each_message_is_told_once_and_rightly(
            order in Just((1u64..=40).collect::<Vec<_>>()).prop_shuffle(),
            accepted in proptest::collection::vec(any::<bool>(), 40),
            flush in proptest::collection::vec(any::<bool>(), 40),
        ) {
            let mut confirms = published(40);
            let mut told: Vec<Option<bool>> = vec![None; 41];
            for (step, tag) in order.iter().enumerate() {
                confirms.settle(*tag, accepted[*tag as usize - 1]);
                if !flush[step] && step < 39 {
                    continue;
                }
                for confirm in confirms.take_due() {
                    let first = if confirm.multiple { 1 } else { confirm.delivery_tag };
                    let mut news = 0;
                    for tag in first..=confirm.delivery_tag {
                        if told[tag as usize].is_none() {
                            told[tag as usize] = Some(confirm.ack);
                            news += 1;
                        }
                    }
                    prop_assert!(news > 0, "told twice");
                }
            }
            for (at, accepted) in accepted.iter().enumerate() {
                prop_assert_eq!(told[at + 1], Some(*accepted));
            }
            prop_assert!(confirms.pending.is_empty());
        }
    }
}
