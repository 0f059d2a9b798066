//! Places for connections: so many in total, so many for each user.
//!
//! A place is held by whoever connected first, with one exception: while all are taken, a newcomer displaces the
//! oldest connection that has not logged in. Otherwise someone who opens connections and says nothing would lock
//! everyone else out. Does not know what a connection is.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

/// All places of a broker.
#[derive(Debug)]
pub(crate) struct Places {
    free: Arc<Semaphore>,
    /// Newcomers by the order in which they came.
    newcomers: Mutex<Newcomers>,
    users: Mutex<HashMap<String, usize>>,
}

#[derive(Debug, Default)]
struct Newcomers {
    last: u64,
    held: BTreeMap<u64, Held>,
}

#[derive(Debug)]
struct Held {
    permit: OwnedSemaphorePermit,
    displaced: CancellationToken,
}

/// A place of someone who has not logged in.
#[derive(Debug)]
pub(crate) struct Newcomer {
    places: Arc<Places>,
    number: u64,
    displaced: CancellationToken,
    /// Whether another newcomer had to go for this one.
    pub(crate) displaces: bool,
}

/// One of the places of a user.
#[derive(Debug)]
pub(crate) struct UserPlace {
    places: Arc<Places>,
    user: String,
}

impl Places {
    pub(crate) fn new(connections: usize) -> Self {
        let free = Arc::new(Semaphore::new(connections.min(Semaphore::MAX_PERMITS)));
        Self { free, newcomers: Mutex::default(), users: Mutex::default() }
    }

    /// A place for someone who has just connected; `None` if all are taken by connections that have logged in.
    pub(crate) fn enter(self: &Arc<Self>) -> Option<Newcomer> {
        let mut newcomers = lock(&self.newcomers);
        let (permit, displaces) = match Arc::clone(&self.free).try_acquire_owned() {
            Ok(permit) => (permit, false),
            Err(_) => {
                let (_, oldest) = newcomers.held.pop_first()?;
                oldest.displaced.cancel();
                (oldest.permit, true)
            }
        };
        newcomers.last += 1;
        let (number, displaced) = (newcomers.last, CancellationToken::new());
        newcomers.held.insert(number, Held { permit, displaced: displaced.clone() });
        Some(Newcomer { places: Arc::clone(self), number, displaced, displaces })
    }

    /// One of at most `limit` places of a user.
    pub(crate) fn enter_as(self: &Arc<Self>, user: &str, limit: usize) -> Option<UserPlace> {
        let mut users = lock(&self.users);
        let count = users.entry(user.to_owned()).or_default();
        if *count >= limit {
            return None;
        }
        *count += 1;
        Some(UserPlace { places: Arc::clone(self), user: user.to_owned() })
    }
}

impl Newcomer {
    /// Cancelled when the place has gone to another newcomer.
    pub(crate) fn displaced(&self) -> &CancellationToken {
        &self.displaced
    }

    /// Makes the place a lasting one, until the permit is dropped; `None` if it has gone to another newcomer.
    pub(crate) fn settle(self) -> Option<OwnedSemaphorePermit> {
        lock(&self.places.newcomers).held.remove(&self.number).map(|held| held.permit)
    }
}

impl Drop for Newcomer {
    fn drop(&mut self) {
        lock(&self.places.newcomers).held.remove(&self.number);
    }
}

impl Drop for UserPlace {
    fn drop(&mut self) {
        let mut users = lock(&self.places.users);
        if let Some(count) = users.get_mut(&self.user) {
            *count -= 1;
            if *count == 0 {
                users.remove(&self.user);
            }
        }
    }
}

/// Nothing is left half done under these locks, so a panic elsewhere does not spoil what they hold.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_newcomer_displaces_the_oldest_newcomer_but_nobody_who_has_settled() {
        let places = Arc::new(Places::new(2));
        let (first, second) = (places.enter().unwrap(), places.enter().unwrap());
        let third = places.enter().unwrap();
        assert!(third.displaces && first.displaced().is_cancelled() && !second.displaced().is_cancelled());
        assert!(first.settle().is_none());
        let (second, third) = (second.settle().unwrap(), third.settle().unwrap());
        assert!(places.enter().is_none());
        drop(second);
        assert!(places.enter().is_some_and(|newcomer| !newcomer.displaces));
        drop(third);
        assert_eq!(places.free.available_permits(), 2);
    }

    #[test]
    fn a_user_has_so_many_places_and_leaves_no_trace() {
        let places = Arc::new(Places::new(9));
        let held: Vec<_> = (0..2).map(|_| places.enter_as("ada", 2).unwrap()).collect();
        assert!(places.enter_as("ada", 2).is_none() && places.enter_as("bob", 2).is_some());
        drop(held);
        assert!(lock(&places.users).is_empty());
    }
}
