//! Whether a broker is there, as the node's readiness says it: connected, and not silent. A hung broker keeps its
//! connection until two heartbeats are missing, far longer than a message waits. It does not know how a broker is
//! connected to.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crosstalk_host::readiness::Needed;

/// How one broker stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stand {
    Away,
    Answers,
    Silent,
}

/// Tells the readiness of the node how one broker stands. The lock is held while it does, so that a late sign of
/// life never hides that the connection was lost.
#[derive(Debug)]
pub(crate) struct Presence {
    needed: Needed,
    stand: Mutex<Stand>,
}

impl Presence {
    pub(crate) fn new(needed: Needed) -> Self {
        Self { needed, stand: Mutex::new(Stand::Away) }
    }

    fn lock(&self) -> MutexGuard<'_, Stand> {
        self.stand.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// There is a connection.
    pub(crate) fn connected(&self) {
        let mut stand = self.lock();
        *stand = Stand::Answers;
        self.needed.there();
    }

    /// There is none; `tell` says so.
    pub(crate) fn away(&self, fault: &str, tell: bool) {
        let mut stand = self.lock();
        *stand = Stand::Away;
        if tell {
            self.needed.missing(fault);
        }
    }

    /// There is a connection, but no answer on it. Gives whether that is news; without a connection there is a
    /// better reason already.
    pub(crate) fn silent(&self, why: &str) -> bool {
        let mut stand = self.lock();
        let news = *stand == Stand::Answers;
        if news {
            *stand = Stand::Silent;
            self.needed.missing(&format!("does not answer: {why}"));
        }
        news
    }

    /// It gave a sign of life.
    pub(crate) fn answers(&self) {
        let mut stand = self.lock();
        if *stand == Stand::Silent {
            *stand = Stand::Answers;
            self.needed.there();
        }
    }
}

#[cfg(test)]
mod tests {
    use crosstalk_host::readiness::Readiness;

    use super::*;

    #[test]
    fn a_silent_broker_is_missing_until_a_sign_of_life_and_a_lost_one_stays_so() {
        let needed = Readiness::default().need("broker b");
        let presence = Presence::new(needed.clone());
        assert!(!presence.silent("no confirm within 5 s"));
        presence.connected();
        assert!(presence.silent("no confirm within 5 s"));
        assert!(!presence.silent("again"));
        assert_eq!(needed.fault().as_deref(), Some("does not answer: no confirm within 5 s"));
        presence.answers();
        assert_eq!(needed.fault(), None);
        presence.away("reset", true);
        presence.answers();
        assert!(!presence.silent("too late"));
        assert_eq!(needed.fault().as_deref(), Some("reset"));
    }
}
