//! How many lines somebody may cause in the log, so that a flood does not fill the disk and hide what matters.
//!
//! Where lines are left out, the log says so at once, and how many when it goes on. Does not know what the lines say, nor
//! what time it is.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

/// Lines at once. An application that starts with some hundred connections, or declares as many queues, is logged in full.
const BURST_LINES: u64 = 1000;
/// A line more that may be written every so many milliseconds: about 1 MB an hour, whatever somebody does.
const LINE_MILLISECONDS: u64 = 200;
/// Lines that must have come together before it goes on, so that a flood is not cut into single lines.
const RESUME_LINES: u64 = 100;
/// Hosts that are told apart; more of them at a time share a budget. Each takes some hundred bytes.
const HOSTS: usize = 1024;
/// The name of those that share one.
const OTHERS: &str = "other hosts";

/// The budget for lines of one kind.
#[derive(Debug, Default)]
pub(crate) struct LineBudget {
    /// How much of it is used, in milliseconds until it is whole again, at [`Self::at`].
    used: u64,
    /// When a line was last asked for, in milliseconds from anywhere.
    at: u64,
    /// Lines left out since the last one.
    left_out: u64,
}

/// What becomes of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Written,
    /// Written after so many were not.
    WrittenAfter(u64),
    /// The first one that is not written.
    LeftOut,
    /// One more that is not written.
    LeftOutToo,
}

impl LineBudget {
    /// Whether one more line `about` something may be written at `now`, in milliseconds from anywhere.
    pub(crate) fn allows(&mut self, now: u64, about: &str) -> bool {
        match self.take(now) {
            Verdict::Written => return true,
            Verdict::WrittenAfter(lines) => {
                tracing::warn!(about, lines, "left out log lines until here");
                return true;
            }
            Verdict::LeftOut => tracing::warn!(about, "too many log lines, leaving some out from here"),
            Verdict::LeftOutToo => {}
        }
        false
    }

    fn take(&mut self, now: u64) -> Verdict {
        self.used = self.used.saturating_sub(now.saturating_sub(self.at));
        self.at = now;
        let room = if self.left_out > 0 { RESUME_LINES } else { 1 };
        if self.used + room * LINE_MILLISECONDS > BURST_LINES * LINE_MILLISECONDS {
            self.left_out += 1;
            return if self.left_out == 1 { Verdict::LeftOut } else { Verdict::LeftOutToo };
        }
        self.used += LINE_MILLISECONDS;
        match std::mem::take(&mut self.left_out) {
            0 => Verdict::Written,
            lines => Verdict::WrittenAfter(lines),
        }
    }

    /// Whether forgetting it makes no difference.
    fn is_whole(&self, now: u64) -> bool {
        self.left_out == 0 && self.used <= now.saturating_sub(self.at)
    }
}

/// What lines about a host are about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Concern {
    /// It comes and goes.
    Presence,
    /// It is refused, which must not be hidden by the others.
    Refusal,
}

/// The budgets of all hosts.
#[derive(Debug)]
pub(crate) struct HostBudgets {
    hosts: Mutex<HashMap<String, HostBudget>>,
    start: Instant,
}

#[derive(Debug, Default)]
struct HostBudget {
    presence: LineBudget,
    refusals: LineBudget,
}

impl HostBudgets {
    pub(crate) fn new() -> Self {
        Self { hosts: Mutex::default(), start: Instant::now() }
    }

    /// Whether `host` may cause one more line.
    pub(crate) fn allow(&self, host: &str, concern: Concern) -> bool {
        let now = u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.allow_at(host, concern, now)
    }

    fn allow_at(&self, host: &str, concern: Concern, now: u64) -> bool {
        let mut hosts = self.hosts.lock().unwrap_or_else(PoisonError::into_inner);
        if hosts.len() >= HOSTS && !hosts.contains_key(host) {
            hosts.retain(|_, budget| !(budget.presence.is_whole(now) && budget.refusals.is_whole(now)));
        }
        let host = if hosts.len() < HOSTS || hosts.contains_key(host) { host } else { OTHERS };
        let budget = hosts.entry(host.to_owned()).or_default();
        match concern {
            Concern::Presence => budget.presence.allows(now, host),
            Concern::Refusal => budget.refusals.allows(now, host),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_cut_counted_and_resumed_in_pieces() {
        let mut budget = LineBudget::default();
        let flood = |budget: &mut LineBudget, lines, now| (0..lines).map(|_| budget.take(now)).collect::<Vec<_>>();
        assert!(flood(&mut budget, BURST_LINES, 0).iter().all(|verdict| *verdict == Verdict::Written));
        assert_eq!(flood(&mut budget, 3, 0), [Verdict::LeftOut, Verdict::LeftOutToo, Verdict::LeftOutToo]);
        let resumed = RESUME_LINES * LINE_MILLISECONDS;
        assert_eq!(budget.take(resumed - 1), Verdict::LeftOutToo);
        let next = flood(&mut budget, RESUME_LINES + 1, resumed);
        assert_eq!((next[0], next[1]), (Verdict::WrittenAfter(4), Verdict::Written));
        assert_eq!((next[99], next[100]), (Verdict::Written, Verdict::LeftOut));
    }

    #[test]
    fn what_comes_at_a_pace_is_written_for_ever() {
        let mut budget = LineBudget::default();
        assert!((0..10_000).all(|turn| budget.take(turn * LINE_MILLISECONDS) == Verdict::Written));
    }

    #[test]
    fn hosts_do_not_hide_each_other_and_presence_hides_no_refusal() {
        let budgets = HostBudgets::new();
        let allowed = (0..2 * BURST_LINES).filter(|_| budgets.allow_at("flood", Concern::Presence, 0)).count();
        assert_eq!(allowed as u64, BURST_LINES);
        assert!(budgets.allow_at("flood", Concern::Refusal, 0) && budgets.allow_at("other", Concern::Presence, 0));
    }

    #[test]
    fn many_hosts_share_a_budget_and_take_no_more_room() {
        let budgets = HostBudgets::new();
        for host in 0..HOSTS + 10 {
            budgets.allow_at(&host.to_string(), Concern::Presence, 0);
        }
        assert_eq!(budgets.hosts.lock().unwrap().len(), HOSTS + 1);
        assert!(budgets.allow_at("later", Concern::Presence, BURST_LINES * LINE_MILLISECONDS));
        assert_eq!(budgets.hosts.lock().unwrap().len(), 1);
    }
}
