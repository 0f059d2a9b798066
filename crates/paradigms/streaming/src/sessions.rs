//! The sessions that a receiver has opened, bounded in number and in silence. It does not know what arrives.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use crosstalk_contract::RunId;

use crate::{StreamingError, wire::Transport};

/// One session.
#[derive(Debug)]
pub(crate) struct Session {
    transport: Transport,
    heard: Mutex<Instant>,
    dropped: AtomicU64,
}

impl Session {
    /// What it goes over.
    pub(crate) fn transport(&self) -> Transport {
        self.transport
    }

    /// Something arrived.
    pub(crate) fn touch(&self) {
        *self.heard.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    /// How long it has been silent.
    pub(crate) fn silent(&self) -> Duration {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner).elapsed()
    }

    /// A message was dropped; tells how many have been.
    pub(crate) fn drop_one(&self) -> u64 {
        self.dropped.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// How many messages were dropped.
    pub(crate) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }
}

/// All sessions of one receiver; clones share them.
#[derive(Debug, Clone)]
pub(crate) struct Sessions {
    open: Arc<Mutex<HashMap<RunId, Arc<Session>>>>,
    max: usize,
    idle: Duration,
}

impl Sessions {
    /// At most `max` sessions; one that is silent for `idle` is forgotten.
    pub(crate) fn new(max: usize, idle: Duration) -> Self {
        Self { open: Arc::default(), max, idle }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<RunId, Arc<Session>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens a session; `None` when it is open already, as after an invitation that was repeated.
    pub(crate) fn open(&self, run: RunId, transport: Transport) -> Result<Option<Arc<Session>>, StreamingError> {
        let mut open = self.lock();
        open.retain(|_, session| session.silent() < self.idle);
        if open.contains_key(&run) {
            return Ok(None);
        }
        if open.len() >= self.max {
            return Err(StreamingError::TooMany { max: self.max });
        }
        let session = Arc::new(Session { transport, heard: Mutex::new(Instant::now()), dropped: AtomicU64::new(0) });
        open.insert(run, Arc::clone(&session));
        Ok(Some(session))
    }

    /// The session over `transport` that a message of `run` belongs to.
    pub(crate) fn over(&self, run: RunId, transport: Transport) -> Option<Arc<Session>> {
        self.get(run).filter(|session| session.transport == transport)
    }

    /// The session of `run`.
    pub(crate) fn get(&self, run: RunId) -> Option<Arc<Session>> {
        self.lock().get(&run).filter(|session| session.silent() < self.idle).cloned()
    }

    /// Ends a session.
    pub(crate) fn close(&self, run: RunId) {
        self.lock().remove(&run);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(600);

    fn run(number: u64) -> RunId {
        RunId::from_low_bits(number)
    }

    #[test]
    fn sessions_are_bounded_and_belong_to_one_transport() {
        let sessions = Sessions::new(1, LONG);
        assert!(sessions.open(run(1), Transport::Udp).unwrap().is_some());
        assert!(sessions.open(run(1), Transport::Udp).unwrap().is_none());
        assert!(matches!(sessions.open(run(2), Transport::Udp), Err(StreamingError::TooMany { max: 1 })));
        assert!(sessions.over(run(1), Transport::Udp).is_some());
        assert!(sessions.over(run(1), Transport::Websocket).is_none());
        sessions.close(run(1));
        assert!(sessions.get(run(1)).is_none());
    }

    #[test]
    fn a_silent_session_makes_room() {
        let sessions = Sessions::new(1, Duration::ZERO);
        assert!(sessions.open(run(1), Transport::Udp).unwrap().is_some());
        assert!(sessions.get(run(1)).is_none());
        assert!(sessions.open(run(2), Transport::Udp).unwrap().is_some());
    }
}
