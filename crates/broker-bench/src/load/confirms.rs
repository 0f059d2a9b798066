//! Which messages are unconfirmed, and since when. Does not know frames.

use std::collections::VecDeque;

use crate::error::BenchError;

/// In place of a time: confirmed, but not the oldest.
const CONFIRMED: u64 = u64::MAX;

/// The unconfirmed messages of one channel. Tags count from 1, as on the wire.
#[derive(Debug, Default)]
pub(super) struct Unconfirmed {
    /// Messages confirmed before the oldest of `since`.
    before: u64,
    /// When each message was sent, from the oldest unconfirmed one on. Its length is bounded by the window of the
    /// publisher, which waits for the oldest.
    since: VecDeque<u64>,
}

impl Unconfirmed {
    /// Messages from the oldest unconfirmed one to the newest.
    pub(super) fn span(&self) -> u64 {
        self.since.len() as u64
    }

    pub(super) fn sent(&mut self, at_ns: u64) {
        self.since.push_back(at_ns);
    }

    /// Takes a confirm; calls `each` with the time of sending of every message that it confirms.
    pub(super) fn confirm(&mut self, tag: u64, multiple: bool, mut each: impl FnMut(u64)) -> Result<(), BenchError> {
        let stray = || BenchError::StrayConfirm(tag);
        // Tag 0 with `multiple` means all (specification, basic.ack).
        let tag = if tag == 0 && multiple { self.before + self.span() } else { tag };
        let at = tag.checked_sub(self.before + 1).ok_or_else(stray)? as usize;
        if at >= self.since.len() {
            return Err(stray());
        }
        let first = if multiple { 0 } else { at };
        for slot in self.since.range_mut(first..=at) {
            match std::mem::replace(slot, CONFIRMED) {
                CONFIRMED if !multiple => return Err(stray()),
                CONFIRMED => {}
                sent_ns => each(sent_ns),
            }
        }
        while self.since.front() == Some(&CONFIRMED) {
            self.since.pop_front();
            self.before += 1;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn confirmed(book: &mut Unconfirmed, tag: u64, multiple: bool) -> Option<Vec<u64>> {
        let mut times = Vec::new();
        book.confirm(tag, multiple, |sent| times.push(sent)).ok().map(|()| times)
    }

    #[test]
    fn confirms_come_in_any_order_and_once() {
        let mut book = Unconfirmed::default();
        (10..15).for_each(|at| book.sent(at));
        assert_eq!(confirmed(&mut book, 2, false), Some(vec![11]));
        assert_eq!(book.span(), 5);
        assert_eq!(confirmed(&mut book, 3, true), Some(vec![10, 12]));
        assert_eq!(book.span(), 2);
        assert_eq!(confirmed(&mut book, 3, false), None);
        assert_eq!(confirmed(&mut book, 6, false), None);
        assert_eq!(confirmed(&mut book, 0, true), Some(vec![13, 14]));
        assert_eq!(book.span(), 0);
        assert_eq!(confirmed(&mut book, 5, true), None);
    }
}
