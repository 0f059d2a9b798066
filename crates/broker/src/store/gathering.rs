//! Whether a sync should wait a moment for more messages to share it.
//!
//! A publisher that sends one message at a time but does not wait for confirms, as most client libraries do, fills a sync
//! with two or three: then the work of syncs and of waking everybody up is most of the work there is. Waiting pays there,
//! and only there: one who waits for each confirm sends nothing meanwhile, and one who sends much at once fills a sync
//! anyway. So it is tried, and left alone for a while whenever nothing came. Does not know how to wait.

use std::ops::RangeInclusive;
use std::time::Duration;

/// How long a sync waits: about as long as it takes itself on a fast disk, so that a confirm comes at most twice as late.
pub(super) const GATHERING_TIME: Duration = Duration::from_micros(150);
/// Messages in a sync, on average, that make it likely that waiting pays: more than one publisher's at a time, and few
/// enough to gain from more.
const LIKELY: RangeInclusive<f32> = 1.5..=32.0;
/// The share of the last sync in the average.
const WEIGHT_OF_LAST: f32 = 0.25;
/// For how many syncs it is not tried again after it was in vain twice in a row; doubles each time up to the second.
const PAUSES: RangeInclusive<u32> = 4..=1024;

/// What earlier syncs have shown.
#[derive(Debug)]
pub(super) struct Gathering {
    /// Of messages in a sync.
    average: f32,
    in_vain: bool,
    pause: u32,
    next_pause: u32,
}

impl Default for Gathering {
    fn default() -> Self {
        Self { average: 0.0, in_vain: false, pause: 0, next_pause: *PAUSES.start() }
    }
}

impl Gathering {
    /// Whether to wait with a sync of so many messages.
    pub(super) fn is_due(&mut self, messages: usize) -> bool {
        if messages == 0 || !LIKELY.contains(&self.average) {
            return false;
        }
        let due = self.pause == 0;
        self.pause = self.pause.saturating_sub(1);
        due
    }

    /// It was waited, and so many messages more came.
    pub(super) fn waited_for(&mut self, more: usize) {
        if more > 0 {
            (self.in_vain, self.next_pause) = (false, *PAUSES.start());
        } else if std::mem::replace(&mut self.in_vain, true) {
            self.pause = self.next_pause;
            self.next_pause = (self.next_pause * 2).min(*PAUSES.end());
        }
    }

    /// So many messages were synced together.
    pub(super) fn synced(&mut self, messages: usize) {
        if messages > 0 {
            self.average += (messages as f32 - self.average) * WEIGHT_OF_LAST;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many of a number of syncs were waited with, when each has so many messages and so many come in the wait.
    fn waits(syncs: usize, messages: usize, more: usize) -> usize {
        let mut gathering = Gathering::default();
        let mut waits = 0;
        for _ in 0..syncs {
            let due = gathering.is_due(messages);
            if due {
                waits += 1;
                gathering.waited_for(more);
            }
            gathering.synced(messages + if due { more } else { 0 });
        }
        waits
    }

    #[test]
    fn a_trickle_of_messages_is_gathered() {
        assert!(waits(1000, 2, 3) > 990);
    }

    #[test]
    fn who_waits_for_each_confirm_is_not_waited_for() {
        assert_eq!(waits(1000, 1, 0), 0);
    }

    #[test]
    fn who_sends_much_at_once_is_soon_not_waited_for() {
        assert!(waits(1000, 100, 100) < 10);
    }

    #[test]
    fn where_nothing_comes_it_is_tried_more_and_more_rarely() {
        let in_vain = waits(100_000, 8, 0);
        assert!((10..150).contains(&in_vain), "{in_vain} of 100,000");
    }

    #[test]
    fn removals_alone_are_not_waited_with_and_change_nothing() {
        let mut gathering = Gathering::default();
        gathering.synced(20);
        gathering.synced(0);
        assert!(!gathering.is_due(0));
        assert!(gathering.is_due(1));
    }
}
