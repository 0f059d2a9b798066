//! How many lines one host may cause in the log, so that a flood does not fill the disk and hide what matters.
//!
//! Does not know what the lines say.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Lines of one host in one window. An application that starts with a few dozen connections is logged in full.
const LINES: u32 = 100;
/// How long a window is.
const WINDOW: Duration = Duration::from_secs(10);
/// Hosts that are told apart; more of them in one window share a budget. Each takes some hundred bytes.
const HOSTS: usize = 1024;
/// The name of those that share one.
const OTHERS: &str = "other hosts";

/// The budgets of all hosts.
#[derive(Debug, Default)]
pub(crate) struct LogBudget(Mutex<HashMap<String, Window>>);

#[derive(Debug)]
struct Window {
    began: Instant,
    lines: u32,
    left_out: u64,
}

impl LogBudget {
    /// Whether `host` may cause one more line. The first one after some were left out is preceded by their number.
    pub(crate) fn allows(&self, host: &str) -> bool {
        let (allowed, left_out) = self.take(host, Instant::now());
        if left_out > 0 {
            tracing::warn!(host, lines = left_out, "left out log lines about this host");
        }
        allowed
    }

    /// Whether there is a line left at `now`, and how many were left out in a window that is over.
    fn take(&self, host: &str, now: Instant) -> (bool, u64) {
        let mut hosts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if hosts.len() >= HOSTS && !hosts.contains_key(host) {
            hosts.retain(|_, window| now.duration_since(window.began) < WINDOW);
        }
        let known = hosts.len() < HOSTS || hosts.contains_key(host);
        let fresh = || Window { began: now, lines: 0, left_out: 0 };
        let window = hosts.entry(if known { host } else { OTHERS }.to_owned()).or_insert_with(fresh);
        let mut left_out = 0;
        if now.duration_since(window.began) >= WINDOW {
            left_out = window.left_out;
            *window = fresh();
        }
        if window.lines < LINES {
            window.lines += 1;
            return (true, left_out);
        }
        window.left_out += 1;
        (false, left_out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_cut_and_counted() {
        let (budget, now) = (LogBudget::default(), Instant::now());
        let allowed = (0..LINES + 7).filter(|_| budget.take("flood", now).0).count();
        assert_eq!(allowed, LINES as usize);
        assert_eq!(budget.take("other", now), (true, 0));
        assert_eq!(budget.take("flood", now + WINDOW), (true, 7));
        assert_eq!(budget.take("flood", now + WINDOW), (true, 0));
    }

    #[test]
    fn many_hosts_share_a_budget_and_take_no_more_room() {
        let (budget, now) = (LogBudget::default(), Instant::now());
        let allowed = (0..2 * HOSTS).filter(|host| budget.take(&host.to_string(), now).0).count();
        assert_eq!(allowed, HOSTS + LINES as usize);
        assert_eq!(budget.0.lock().unwrap().len(), HOSTS + 1);
        assert_eq!(budget.take("later", now + WINDOW), (true, 0));
        assert_eq!(budget.0.lock().unwrap().len(), 1);
    }
}
