//! The direct subscribers of a producer, bounded in number, each with a bounded backlog. It does not know how a
//! backlog is emptied.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures_util::future::join_all;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, mpsc},
    time::timeout,
};
use tracing::warn;

/// Most subscribers at the same time: each costs a connection, a task and a backlog.
pub(super) const SUBSCRIBERS_MAX: usize = 256;
/// Bytes that a subscriber may be behind, besides `pubsub.direct_backlog` messages: sixteen of the largest.
const BACKLOG_BYTES_MAX: u32 = 64 << 20;

/// Why the list, not the subscriber, ended a subscription.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Removed {
    /// Another connection subscribed under the same name: a subscriber that lost its connection is back before
    /// the producer noticed.
    Replaced,
    /// It was so far behind, for so long, that it held up the publisher.
    TooSlow,
}

/// No room for one more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{SUBSCRIBERS_MAX} subscribers are connected, the most that this producer serves")]
pub(super) struct Full;

/// The list.
#[derive(Default)]
pub(super) struct Subscribers {
    all: Mutex<Vec<Arc<Subscriber>>>,
    backlog: usize,
    next: AtomicU64,
}

struct Subscriber {
    id: u64,
    name: String,
    frames: mpsc::Sender<Held>,
    room: Arc<Semaphore>,
    removed: Arc<OnceLock<Removed>>,
}

/// A frame in a backlog, and the room that it takes there.
pub(super) struct Held {
    pub(super) frame: Bytes,
    _room: OwnedSemaphorePermit,
}

/// One subscriber's end of its backlog. Dropping it ends the subscription.
pub(super) struct Subscription {
    /// The subscriber's name.
    pub(super) name: String,
    id: u64,
    frames: mpsc::Receiver<Held>,
    removed: Arc<OnceLock<Removed>>,
    list: Arc<Subscribers>,
}

impl Subscribers {
    pub(super) fn new(backlog: usize) -> Self {
        Self { backlog, ..Self::default() }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Arc<Subscriber>>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn count(&self) -> usize {
        self.lock().len()
    }

    /// Adds a subscriber. From now on it gets every message; one of the same name gets no more.
    pub(super) fn join(self: &Arc<Self>, name: &str) -> Result<Subscription, Full> {
        let (sender, frames) = mpsc::channel(self.backlog);
        let subscriber = Arc::new(Subscriber {
            id: self.next.fetch_add(1, Ordering::Relaxed),
            name: name.to_owned(),
            frames: sender,
            room: Arc::new(Semaphore::new(BACKLOG_BYTES_MAX as usize)),
            removed: Arc::default(),
        });
        let (id, removed) = (subscriber.id, Arc::clone(&subscriber.removed));
        let mut all = self.lock();
        match all.iter().position(|known| known.name == name) {
            Some(place) => {
                // Already removed as too slow is as good: it keeps that reason.
                let _ = all[place].removed.set(Removed::Replaced);
                all[place] = subscriber;
            }
            None if all.len() >= SUBSCRIBERS_MAX => return Err(Full),
            None => all.push(subscriber),
        }
        Ok(Subscription { name: name.to_owned(), id, frames, removed, list: Arc::clone(self) })
    }

    /// Puts a frame into every backlog, waiting at most `patience` for room in one that is full; its subscriber is
    /// dropped then. Gives the number of subscribers that it is for. Awaiting this before the next frame keeps
    /// them in order.
    pub(super) async fn publish(&self, frame: &Bytes, patience: Duration) -> usize {
        let all: Vec<_> = self.lock().clone();
        let outcomes = join_all(all.iter().map(|subscriber| subscriber.offer(frame.clone(), patience))).await;
        let mut reached = 0;
        for (subscriber, taken) in all.iter().zip(outcomes) {
            if taken {
                reached += 1;
            } else if subscriber.removed.set(Removed::TooSlow).is_ok() {
                warn!("{} is too far behind and held up the publisher: dropped", subscriber.name);
                self.remove(subscriber.id);
            }
        }
        reached
    }

    fn remove(&self, id: u64) {
        self.lock().retain(|subscriber| subscriber.id != id);
    }
}

impl Subscriber {
    /// Whether there was room in time. A subscriber that has left needs none.
    async fn offer(&self, frame: Bytes, patience: Duration) -> bool {
        let bytes = u32::try_from(frame.len()).unwrap_or(BACKLOG_BYTES_MAX).min(BACKLOG_BYTES_MAX);
        let offering = async {
            if let Ok(room) = Arc::clone(&self.room).acquire_many_owned(bytes).await {
                // Fails only when the subscriber has left, and then nobody waits for the frame.
                let _ = self.frames.send(Held { frame, _room: room }).await;
            }
        };
        timeout(patience, offering).await.is_ok()
    }
}

impl Subscription {
    /// The next frame; the reason when the list has removed this subscriber and its backlog is empty.
    pub(super) async fn next(&mut self) -> Result<Held, Removed> {
        let next = self.frames.recv().await;
        next.ok_or_else(|| self.removed.get().copied().unwrap_or(Removed::Replaced))
    }

    /// The next frame, if there is one already.
    pub(super) fn ready(&mut self) -> Option<Held> {
        self.frames.try_recv().ok()
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.list.remove(self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(5);

    fn list(backlog: usize) -> Arc<Subscribers> {
        Arc::new(Subscribers::new(backlog))
    }

    #[tokio::test]
    async fn every_subscriber_gets_its_copy_in_order() {
        let list = list(8);
        assert_eq!(list.publish(&Bytes::from_static(b"missed"), PATIENCE).await, 0);
        let mut both = [list.join("a").unwrap(), list.join("b").unwrap()];
        for frame in [&b"1"[..], b"2", b"3"] {
            assert_eq!(list.publish(&Bytes::from_static(frame), PATIENCE).await, 2);
        }
        for subscription in &mut both {
            for frame in [b"1", b"2", b"3"] {
                assert_eq!(&subscription.next().await.ok().unwrap().frame[..], frame);
            }
            assert!(subscription.ready().is_none());
        }
        drop(both);
        assert_eq!(list.count(), 0);
    }

    #[tokio::test]
    async fn the_list_is_bounded_and_a_known_name_takes_its_own_place() {
        let list = list(1);
        let mut all: Vec<_> = (0..SUBSCRIBERS_MAX).map(|number| list.join(&number.to_string()).unwrap()).collect();
        assert_eq!(list.join("one more").err(), Some(Full));
        let again = list.join("0").unwrap();
        assert_eq!(all[0].next().await.err(), Some(Removed::Replaced));
        drop(all.remove(0));
        assert_eq!(list.count(), SUBSCRIBERS_MAX);
        drop(again);
        assert_eq!(list.count(), SUBSCRIBERS_MAX - 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_full_backlog_holds_the_publisher_and_then_costs_the_subscription() {
        let list = list(2);
        let mut slow = list.join("slow").unwrap();
        let mut quick = list.join("quick").unwrap();
        let frame = Bytes::from_static(b"x");
        for reached in [2, 2, 1, 1] {
            assert_eq!(list.publish(&frame, PATIENCE).await, reached);
            assert!(quick.ready().is_some());
        }
        assert_eq!(list.count(), 1);
        assert!(slow.next().await.is_ok());
        assert!(slow.next().await.is_ok());
        assert_eq!(slow.next().await.err(), Some(Removed::TooSlow));
    }

    #[tokio::test(start_paused = true)]
    async fn a_backlog_is_bounded_in_bytes_as_well() {
        let list = list(1000);
        let mut subscription = list.join("a").unwrap();
        let large = Bytes::from(vec![0; 4 << 20]);
        for _ in 0..16 {
            assert_eq!(list.publish(&large, PATIENCE).await, 1);
        }
        let held = tokio::spawn({
            let list = Arc::clone(&list);
            let large = large.clone();
            async move { list.publish(&large, PATIENCE).await }
        });
        tokio::task::yield_now().await;
        assert!(!held.is_finished());
        drop(subscription.next().await);
        assert_eq!(held.await.unwrap(), 1);
    }
}
