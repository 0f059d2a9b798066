//! One run as it is shared between threads: its lock, what is read without it, and the guards that keep it
//! from being deleted. It does not know other runs, nor how much room there is.

use std::{
    ops::Deref,
    path::PathBuf,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
};

use crosstalk_contract::RunId;
use crosstalk_measure::clock::Clock;
use tokio::sync::watch;

use super::{InboxError, book::Book, format, log::Log};

/// One run.
#[derive(Debug)]
pub(super) struct Run {
    pub(super) id: RunId,
    pub(super) path: PathBuf,
    /// Arrivals that are being noted or are at work. Grows only under the table's lock, so that a run that
    /// has none there has none until the lock is released.
    pub(super) writers: AtomicUsize,
    pub(super) last_ns: AtomicU64,
    /// Bytes of its file, and of the records still to come for unprocessed messages: a message that was let
    /// in must not fail to end for want of room.
    pub(super) charge: AtomicU64,
    pub(super) processed: watch::Sender<u64>,
    pub(super) content: Mutex<Content>,
}

#[derive(Debug)]
pub(super) struct Content {
    /// There is a file that this process has not read.
    pub(super) unread: bool,
    /// `None` also before the first message, and after the run was deleted.
    pub(super) kept: Option<Kept>,
}

#[derive(Debug)]
pub(super) struct Kept {
    pub(super) log: Log,
    pub(super) book: Book,
}

/// As long as it lives, its run is not deleted.
#[derive(Debug)]
pub(super) struct Pin(Arc<Run>);

impl Pin {
    /// Only under the table's lock.
    pub(super) fn new(run: &Arc<Run>) -> Self {
        run.writers.fetch_add(1, Ordering::AcqRel);
        Self(Arc::clone(run))
    }
}

impl Deref for Pin {
    type Target = Run;

    fn deref(&self) -> &Run {
        &self.0
    }
}

impl Drop for Pin {
    fn drop(&mut self) {
        self.writers.fetch_sub(1, Ordering::AcqRel);
    }
}

/// A copy at work.
#[derive(Debug)]
pub(super) struct Writing {
    /// Which copy it is, from 1.
    pub(super) copy: u64,
    pin: Pin,
    clock: Clock,
    receiver: Box<str>,
    seq: u64,
}

impl Writing {
    /// For a copy that was noted just now.
    pub(super) fn new(pin: Pin, clock: Clock, receiver: &str, seq: u64, copy: u64) -> Self {
        Self { copy, pin, clock, receiver: receiver.into(), seq }
    }

    /// Notes the end of the work, unless another copy's end was noted before.
    pub(super) fn processed(&self) -> Result<(), InboxError> {
        let Self { pin: run, receiver, seq, .. } = self;
        let mut content = lock(&run.content);
        let Some(Kept { log, book }) = &mut content.kept else { return Ok(()) };
        if book.known(receiver, *seq).is_none_or(|(_, processed)| processed) {
            return Ok(());
        }
        let at_ns = self.clock.now_ns();
        log.append(&format::processed(receiver, at_ns, *seq))?;
        book.finished(receiver, *seq, at_ns);
        run.last_ns.fetch_max(at_ns, Ordering::Relaxed);
        run.processed.send_replace(book.processed());
        Ok(())
    }
}

impl Drop for Writing {
    fn drop(&mut self) {
        if let Some(kept) = &mut lock(&self.pin.content).kept {
            kept.book.ends_work(&self.receiver);
        }
    }
}

impl Run {
    /// `unread`: length of the file that is there, and when it was written to.
    pub(super) fn new(id: RunId, path: PathBuf, unread: Option<(u64, u64)>) -> Self {
        let (charge, last_ns) = unread.unwrap_or_default();
        Self {
            id,
            path,
            writers: AtomicUsize::new(0),
            last_ns: AtomicU64::new(last_ns),
            charge: AtomicU64::new(charge),
            processed: watch::Sender::new(0),
            content: Mutex::new(Content { unread: unread.is_some(), kept: None }),
        }
    }
}

/// A panic elsewhere does not spoil what is locked: every change is made whole, after its write succeeded.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
