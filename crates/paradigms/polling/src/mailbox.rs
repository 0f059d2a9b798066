//! A bounded mailbox that can be waited for: a deposit waits for room, a question waits for a message. It does not
//! know how questions come here, nor what becomes of the answers.

mod shelf;
#[cfg(test)]
mod tests;

use std::{
    pin::pin,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use crosstalk_contract::{Message, RunId};
use tokio::{
    sync::Notify,
    time::{sleep_until, timeout},
};
use tracing::warn;

use self::shelf::Shelf;
pub(crate) use self::shelf::{Batch, Found, Limits, Query};
use crate::{
    PollingError,
    wire::{Deposit, counted},
};

/// A mailbox.
#[derive(Debug)]
pub(crate) struct Mailbox {
    shelf: Mutex<Shelf>,
    batch: Batch,
    /// Something was put in, or a run's deposit ended.
    changed: Notify,
    /// Something may be dropped that could not be before.
    room: Notify,
    /// Only one deposit at a time looks for room, in the order in which they came: a large message would starve
    /// if smaller ones could pass it.
    door: tokio::sync::Mutex<()>,
}

impl Mailbox {
    pub(crate) fn new(limits: Limits, batch: Batch) -> Self {
        Self {
            shelf: Mutex::new(Shelf::new(limits)),
            batch,
            changed: Notify::new(),
            room: Notify::new(),
            door: tokio::sync::Mutex::default(),
        }
    }

    fn shelf(&self) -> MutexGuard<'_, Shelf> {
        self.shelf.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Messages of this run will come.
    pub(crate) fn open(&self, run: RunId) {
        self.shelf().open(run);
    }

    /// No more messages of this run will come: whoever waits for one hears it now.
    pub(crate) fn close(&self, run: RunId) {
        self.shelf().close(run);
        self.changed.notify_waiters();
    }

    /// Puts a message in, waiting up to `patience` for room.
    ///
    /// # Errors
    /// When there was none in that time.
    pub(crate) async fn deposit(&self, message: &Message, patience: Duration) -> Result<u64, PollingError> {
        let offset = timeout(patience, self.deposit_in_turn(message)).await;
        self.tell_expired();
        let offset = offset.map_err(|_| PollingError::Full { waited: patience })?;
        self.changed.notify_waiters();
        Ok(offset)
    }

    async fn deposit_in_turn(&self, message: &Message) -> u64 {
        let _door = self.door.lock().await;
        loop {
            // Listening begins before looking, or a confirmation in between would go unheard.
            let mut room = pin!(self.room.notified());
            room.as_mut().enable();
            let now = Instant::now();
            let next_expiry = match self.shelf().offer(message, now) {
                Ok(offset) => return offset,
                Err(full) => full.next_expiry,
            };
            match next_expiry {
                None => room.await,
                Some(at) => tokio::select! {
                    () = room => {}
                    () = sleep_until(at.into()) => {}
                },
            }
        }
    }

    /// What there is now.
    pub(crate) fn ask(&self, query: Query) -> Found {
        let (found, confirmed) = self.shelf().ask(query, self.batch, Instant::now());
        self.tell_expired();
        if confirmed {
            self.room.notify_waiters();
        }
        found
    }

    /// What there is as soon as there is something, or it is certain that nothing comes, or the time is over; and
    /// whether that was waited for.
    pub(crate) async fn ask_and_wait(&self, mut query: Query, wait: Duration) -> (Found, bool) {
        let deadline = tokio::time::Instant::now() + wait;
        let mut held = false;
        loop {
            let mut changed = pin!(self.changed.notified());
            changed.as_mut().enable();
            let found = self.ask(query);
            let answered = !found.messages.is_empty() || found.deposit == Some(Deposit::Over);
            if answered || tokio::time::Instant::now() >= deadline {
                return (found, held);
            }
            // An offset beyond the newest means "from now on", and that was when the question came.
            query.after = found.last;
            held = true;
            tokio::select! {
                () = changed => {}
                () = sleep_until(deadline) => {}
            }
        }
    }

    /// How many of a run's messages its poller has not confirmed.
    pub(crate) fn untaken(&self, run: RunId) -> u64 {
        self.shelf().untaken(run, Instant::now())
    }

    fn tell_expired(&self) {
        let expired = self.shelf().expired_unread();
        if expired > 0 {
            warn!("dropped {} that nobody took from the mailbox: polling.retention is over", counted(expired));
        }
    }
}
