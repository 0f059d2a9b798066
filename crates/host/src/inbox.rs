//! The receiving end's memory: for each run, every message that arrived, when, in which order, in how many
//! copies, and when it was processed. What it has noted survives a kill of the process, so that a message
//! that was acknowledged is not lost and a report after a restart is as honest as one before it. It does not
//! know transports, and draws no conclusions: `measure` does.
//!
//! | part | what it does |
//! | --- | --- |
//! | `format` | the bytes of a file: header and records |
//! | `log` | one append-only file: written, repaired, read back |
//! | `book` | what is known of one run, in memory, without payloads |
//! | `run` | one run as threads share it |
//! | `store` | all runs: finding them, room, and who has to go when there is none |
//! | `messages` | reading the messages of a run again |
//!
//! A record goes to the page cache with write(2) before its message can be acknowledged. That outlives the
//! process, not the machine: nothing is synced, as a power cut is none of the faults that the lab claims to
//! survive, and a sync per message would make the disk the thing that is measured.
//!
//! Calls write on the thread that makes them, also where that thread runs async tasks: a small record takes
//! about a microsecond to reach the page cache, less than handing it to another thread. The largest takes
//! some milliseconds, and a disk that is slower than its messages holds the thread up: that is back pressure
//! where the alternative is memory without a bound. Calls that may read a whole file say so.

mod book;
mod format;
mod log;
mod messages;
mod run;
mod store;

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::PathBuf,
    sync::{Arc, Mutex},
    time::Duration,
};

use crosstalk_contract::{
    RunId,
    frame::FrameError,
    identity::Message,
    record::{InboxReport, ReceiverReport},
};
use crosstalk_measure::clock::Clock;
use serde::Serialize;

pub use messages::Messages;
use run::{Writing, lock};
use store::Store;

/// Longest name of a receiver, in bytes: it stands in every record.
pub const RECEIVER_NAME_MAX: usize = 64;
/// Longest name of a paradigm, in bytes.
pub const PARADIGM_NAME_MAX: usize = 32;
/// Most receivers of one run in one node.
pub const RECEIVERS_MAX: usize = 64;
/// Most different messages of one run for one receiver; each takes about 70 bytes of memory.
pub const MESSAGES_MAX: usize = 1_000_000;

/// How much an inbox keeps. When something new does not fit, the runs that were written to longest ago go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InboxLimits {
    /// Bytes of all files together, with the records still to come for messages at work.
    pub bytes_max: u64,
    /// Number of runs.
    pub runs_max: usize,
}

/// Why the inbox could not do it. What was noted before stays noted.
#[derive(Debug, thiserror::Error)]
pub enum InboxError {
    /// The file system refused.
    #[error("cannot {action} {}: {source}", path.display())]
    File {
        /// What was to be done with it.
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Two processes that append to the same files would damage them.
    #[error("{} is locked: another process or inbox uses this directory; give each node its own", path.display())]
    InUse {
        /// The lock file.
        path: PathBuf,
    },
    /// It does not fit, even if every run that may go went. The message must be refused.
    #[error(
        "inbox full: {needed} B more exceed {bytes_max} B or {runs_max} runs, and no run may go: all are being received"
    )]
    Full {
        /// Bytes that were asked for.
        needed: u64,
        /// Bytes allowed.
        bytes_max: u64,
        /// Runs allowed.
        runs_max: usize,
    },
    /// A number or length is out of its bounds.
    #[error("{what}: {got}, expected 1 to {max}")]
    Bound {
        /// What was counted, and in which unit.
        what: &'static str,
        /// What it came to.
        got: usize,
        /// The most that is allowed.
        max: usize,
    },
    /// The message cannot be written as a frame.
    #[error("the message cannot be kept: {0}")]
    Message(#[from] FrameError),
    /// A run belongs to the paradigm that first brought a message of it.
    #[error("run {run} came by {known}, a message of it must not come by {got}")]
    OtherParadigm {
        /// The run.
        run: RunId,
        /// The paradigm that brought it first.
        known: String,
        /// The paradigm that brought this message.
        got: String,
    },
    /// A record that was whole when it was written is not any more.
    #[error("{} is damaged at byte {offset}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where the record begins.
        offset: u64,
    },
}

/// One run, without its messages.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RunSummary {
    /// The run.
    pub run: RunId,
    /// The paradigm that brought it.
    pub paradigm: String,
    /// How many messages the run has, as its messages say; 0 when unknown.
    pub of: u64,
    /// What each receiver got, by name, without records.
    pub receivers: Vec<ReceiverReport>,
    /// Length of its file.
    pub bytes: u64,
    /// When its first message arrived, in nanoseconds since the Unix epoch.
    pub first_ns: u64,
    /// When the last thing happened to one of its messages, in nanoseconds since the Unix epoch.
    pub last_ns: u64,
}

/// A handle to the inbox; all clones are the same inbox.
#[derive(Debug, Clone)]
pub struct Inbox {
    store: Arc<Store>,
    /// Who receives what in this node, by paradigm. Not kept over a restart: the node says it again.
    registered: Arc<Mutex<BTreeMap<String, BTreeSet<String>>>>,
}

impl Inbox {
    /// Opens the inbox in `dir`, which is created if absent. Files of earlier processes are found but not
    /// read before their run is asked for.
    ///
    /// # Errors
    /// When the directory cannot be used, or another inbox uses it.
    pub fn open(dir: PathBuf, limits: InboxLimits, clock: Clock) -> Result<Self, InboxError> {
        let store = Arc::new(Store::open(dir, limits, clock)?);
        Ok(Self { store, registered: Arc::default() })
    }

    /// Says who receives a paradigm's messages in this node, so that a report also lists those that got
    /// nothing. Adds to what was said before.
    pub fn register(&self, paradigm: &str, receivers: &[String]) {
        let mut registered = lock(&self.registered);
        registered.entry(paradigm.to_owned()).or_default().extend(receivers.iter().cloned());
    }

    /// Notes that a copy of a message arrived. Once this has returned, the copy outlives the process and may
    /// be acknowledged. The message counts as being at work until the [`Arrival`] is finished or dropped.
    ///
    /// The first message of a run that an earlier process received reads the run's file.
    ///
    /// # Errors
    /// When it cannot be kept; it is not noted then and must not be acknowledged.
    pub fn received(&self, paradigm: &str, receiver: &str, message: &Message) -> Result<Arrival, InboxError> {
        // Taken before anything else, so that waiting for another message's write does not count as travel.
        let at_ns = self.store.now_ns();
        within("bytes of the paradigm's name", paradigm.len(), PARADIGM_NAME_MAX)?;
        within("bytes of the receiver's name", receiver.len(), RECEIVER_NAME_MAX)?;
        let writing = self.store.writing(message, paradigm, receiver, at_ns)?;
        Ok(Arrival { copy: writing.copy, writing, _store: Arc::clone(&self.store) })
    }

    /// What has arrived of a run. When nothing has, and a paradigm is given, the receivers registered for it
    /// with nothing; `None` otherwise. The first call for a run of an earlier process reads the run's file.
    ///
    /// # Errors
    /// When the run's file cannot be read.
    pub fn report(
        &self,
        run: RunId,
        paradigm: Option<&str>,
        with_records: bool,
    ) -> Result<Option<InboxReport>, InboxError> {
        let known = self.store.read(run, |_, book| {
            let receivers = book.receivers(&self.registered(book.paradigm()), with_records);
            InboxReport { run, paradigm: book.paradigm().to_owned(), of: book.of(), receivers }
        })?;
        let unknown = |paradigm| {
            let receivers = self.registered(paradigm).into_iter().map(|name| book::nothing(&name)).collect();
            InboxReport { run, paradigm: String::new(), of: 0, receivers }
        };
        Ok(known.or_else(|| paradigm.map(unknown)))
    }

    /// Waits until a run, which may not have begun yet, has at least so many processed messages over all
    /// receivers, or the time is over. Ends at once when the run's file cannot be read; the report says why.
    pub async fn wait_processed(&self, run: RunId, at_least: u64, timeout: Duration) {
        // Whether the number or the time ended it, the report that follows says what there is.
        let _ = tokio::time::timeout(timeout, self.store.until_processed(run, at_least)).await;
    }

    /// All runs, the one written to last first. The first call after a restart reads every file; one that
    /// cannot be read is left out, with a warning.
    #[must_use]
    pub fn runs(&self) -> Vec<RunSummary> {
        let mut runs: Vec<RunSummary> = self.store.ids().into_iter().filter_map(|run| self.summary(run)).collect();
        runs.sort_by_key(|summary| (std::cmp::Reverse(summary.last_ns), summary.run));
        runs
    }

    /// The messages that arrived for one receiver, or for any when none is named: each once, in the order of
    /// their numbers, those that are there now. `None` when the run is unknown; nothing when the receiver is.
    ///
    /// The iterator reads the file, and this call, too, when an earlier process left it: use them where waiting
    /// for a disk is no harm.
    ///
    /// # Errors
    /// When the run's file cannot be read.
    pub fn messages(&self, run: RunId, receiver: Option<&str>) -> Result<Option<Messages>, InboxError> {
        // The file is opened while the run is held, so that it is the file that the places belong to.
        self.store.read(run, |log, book| Messages::open(log.path(), book.places(receiver)))?.transpose()
    }

    fn summary(&self, run: RunId) -> Option<RunSummary> {
        let summary = self.store.read(run, |log, book| RunSummary {
            run,
            paradigm: book.paradigm().to_owned(),
            of: book.of(),
            receivers: book.receivers(&self.registered(book.paradigm()), false),
            bytes: log.len(),
            first_ns: book.first_ns(),
            last_ns: book.last_ns(),
        });
        summary.unwrap_or_else(|error| {
            tracing::warn!(%run, %error, "left a run out of the list");
            None
        })
    }

    fn registered(&self, paradigm: &str) -> BTreeSet<String> {
        lock(&self.registered).get(paradigm).cloned().unwrap_or_default()
    }
}

/// A message at work: dropping it unfinished leaves the message received but not processed.
#[derive(Debug)]
#[must_use = "a message counts as at work only as long as its arrival is held"]
pub struct Arrival {
    /// Which copy of the message this is, from 1.
    pub copy: u64,
    writing: Writing,
    /// Keeps the directory locked: another inbox must not read the file before this has had its last word.
    _store: Arc<Store>,
}

impl Arrival {
    /// Notes that the receiver has processed the message; only the first copy that ends counts.
    ///
    /// # Errors
    /// When that cannot be written; the message stays unprocessed then.
    pub fn finished(self) -> Result<(), InboxError> {
        self.writing.processed()
    }
}

fn within(what: &'static str, got: usize, max: usize) -> Result<(), InboxError> {
    if (1..=max).contains(&got) { Ok(()) } else { Err(InboxError::Bound { what, got, max }) }
}

#[cfg(test)]
mod tests;
